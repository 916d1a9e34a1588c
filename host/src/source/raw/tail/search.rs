//! Which files there are. Waits for the disk.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::mark::FileId;
use super::pattern::{self, FilePattern};

/// Files of a folder that are looked at, of those whose names fit.
pub(super) const MOST_ENTRIES: usize = 20_000;
/// Files in which the rest of another one is looked for.
const MOST_SIBLINGS: usize = 64;

/// A file that there is.
#[derive(Clone, Debug)]
pub(super) struct FoundFile {
    pub(super) path: PathBuf,
    pub(super) id: FileId,
    /// When its content changed last.
    pub(super) changed: (i64, i64),
    pub(super) length: u64,
}

/// Files that there are, as far as they were looked at.
#[derive(Debug, Default)]
pub(super) struct FoundFiles {
    pub(super) files: Vec<FoundFile>,
    /// More names fit than are looked at: which of them were is by chance.
    pub(super) has_more: bool,
}

impl FoundFile {
    fn of(path: PathBuf, about: &Metadata) -> Option<Self> {
        about.is_file().then(|| Self {
            path,
            id: FileId::of(about),
            changed: (about.mtime(), about.mtime_nsec()),
            length: about.len(),
        })
    }
}

/// Those that fit, the oldest first. A link counts as what it leads to; where other names may fit, what is no file is left out.
///
/// # Errors
/// The system's, or the one path leads to something else.
pub(super) fn found(pattern: &FilePattern) -> io::Result<FoundFiles> {
    if let Some(path) = pattern.single() {
        let Some(about) = about(&path)? else {
            return Ok(FoundFiles::default());
        };
        return match FoundFile::of(path, &about) {
            Some(file) => Ok(FoundFiles {
                files: vec![file],
                has_more: false,
            }),
            None => Err(io::Error::other(
                "it is no file but a folder, a device or a pipe",
            )),
        };
    }
    let mut found = listed(&pattern.folder, |name| pattern.fits(name))?;
    let files = &mut found.files;
    files.sort_by(|one, other| (one.changed, &one.path).cmp(&(other.changed, &other.path)));
    Ok(found)
}

/// The file at a path and those in its folder that may be rotations of it by their names, the newest first; what cannot be read is none.
pub(super) fn beside(path: &Path) -> Vec<FoundFile> {
    let Some(folder) = path.parent() else {
        return Vec::new();
    };
    let is_kin = |name: &OsStr| pattern::is_named_after(path, Path::new(name));
    let mut files = listed(folder, is_kin).unwrap_or_default().files;
    files.sort_by_key(|file| std::cmp::Reverse(file.changed));
    files.truncate(MOST_SIBLINGS);
    files
}

/// Those of them that one was renamed to, or copied, since then, the oldest first: their names go on with the numbers and dates of a rotation.
pub(super) fn rotated(path: &Path, since: (i64, i64)) -> Vec<FoundFile> {
    let found = beside(path).into_iter().rev();
    found
        .filter(|one| one.changed >= since && pattern::is_rotated(path, &one.path))
        .collect()
}

fn listed(folder: &Path, fits: impl Fn(&OsStr) -> bool) -> io::Result<FoundFiles> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(FoundFiles::default()),
        Err(error) => return Err(error),
    };
    let mut found = FoundFiles::default();
    let mut looked_at = 0;
    for entry in entries {
        let entry = entry?;
        // Only names are looked at of the others, however many there are.
        if !fits(&entry.file_name()) {
            continue;
        }
        if looked_at == MOST_ENTRIES {
            found.has_more = true;
            break;
        }
        looked_at += 1;
        if let Ok(Some(about)) = about(&entry.path()) {
            found.files.extend(FoundFile::of(entry.path(), &about));
        }
    }
    Ok(found)
}

/// What stands at a path, if it leads anywhere.
fn about(path: &Path) -> io::Result<Option<Metadata>> {
    match fs::metadata(path) {
        Ok(about) => Ok(Some(about)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
