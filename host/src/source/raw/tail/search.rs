//! Which files there are. Waits for the disk.

use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::pattern::FilePattern;

/// Entries of a folder that are looked at.
const MOST_ENTRIES: usize = 20_000;
/// Files in which the rest of another one is looked for.
const MOST_SIBLINGS: usize = 64;

/// A file that there is.
#[derive(Clone, Debug)]
pub(super) struct FoundFile {
    pub(super) path: PathBuf,
    pub(super) inode: u64,
    /// When its content changed last.
    pub(super) changed: (i64, i64),
}

impl FoundFile {
    fn of(path: PathBuf, about: &Metadata) -> Option<Self> {
        about.is_file().then(|| Self {
            path,
            inode: about.ino(),
            changed: (about.mtime(), about.mtime_nsec()),
        })
    }
}

/// Those that fit, the oldest first. A link counts as what it leads to; where other names may fit, what is no file is left out.
///
/// # Errors
/// The system's, or the one path leads to something else.
pub(super) fn found(pattern: &FilePattern) -> io::Result<Vec<FoundFile>> {
    if let Some(path) = pattern.single() {
        let Some(about) = about(&path)? else {
            return Ok(Vec::new());
        };
        return match FoundFile::of(path, &about) {
            Some(file) => Ok(vec![file]),
            None => Err(io::Error::other(
                "it is no file but a folder, a device or a pipe",
            )),
        };
    }
    let mut files = listed(&pattern.folder, |name| pattern.fits(name))?;
    files.sort_by(|one, other| (one.changed, &one.path).cmp(&(other.changed, &other.path)));
    Ok(files)
}

/// Files in the folder of one, whose names begin with its own, the newest first; what cannot be read is none.
pub(super) fn beside(path: &Path) -> Vec<FoundFile> {
    let (Some(folder), Some(own)) = (path.parent(), path.file_name()) else {
        return Vec::new();
    };
    let begins = |name: &std::ffi::OsStr| {
        let own = own.as_encoded_bytes();
        name.as_encoded_bytes().starts_with(own)
    };
    let mut files = listed(folder, begins).unwrap_or_default();
    files.sort_by_key(|file| std::cmp::Reverse(file.changed));
    files.truncate(MOST_SIBLINGS);
    files
}

/// Those of them that one was renamed to, or copied, since then, the oldest first: their names go on with the numbers and dates of a rotation.
pub(super) fn rotated(path: &Path, since: (i64, i64)) -> Vec<FoundFile> {
    let own = path
        .file_name()
        .map_or(0, |name| name.as_encoded_bytes().len());
    let is_rotated = |one: &FoundFile| {
        let name = one.path.file_name().unwrap_or_default().as_encoded_bytes();
        let rest = name.get(own..).unwrap_or_default();
        !rest.is_empty()
            && rest
                .iter()
                .all(|byte| byte.is_ascii_digit() || b".-_T".contains(byte))
    };
    let found = beside(path).into_iter().rev();
    found
        .filter(|one| one.changed >= since && is_rotated(one))
        .collect()
}

fn listed(folder: &Path, fits: impl Fn(&std::ffi::OsStr) -> bool) -> io::Result<Vec<FoundFile>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries.take(MOST_ENTRIES) {
        let entry = entry?;
        if fits(&entry.file_name())
            && let Ok(Some(about)) = about(&entry.path())
        {
            files.extend(FoundFile::of(entry.path(), &about));
        }
    }
    Ok(files)
}

/// What stands at a path, if it leads anywhere.
fn about(path: &Path) -> io::Result<Option<Metadata>> {
    match fs::metadata(path) {
        Ok(about) => Ok(Some(about)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
