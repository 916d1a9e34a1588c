//! Which files have given up their slots, kept over restarts: a file that is written as a whole, now and then, and is on the medium before
//! the other notes forget what it has.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::slot::RestingFile;
use crate::file;

/// Longer ones are not written.
const MOST_BYTES: u64 = 64 << 20;

/// Where they are kept. No source has a name that begins as these do.
#[derive(Clone, Debug)]
pub(super) struct RestNotes {
    path: PathBuf,
    fresh: PathBuf,
}

impl RestNotes {
    /// Beside the other notes of a source.
    pub(super) fn beside(notes: &Path) -> Self {
        let name = notes.file_name().unwrap_or_default().to_string_lossy();
        Self {
            path: notes.with_file_name(format!(".rest-{name}")),
            fresh: notes.with_file_name(format!(".new-{name}")),
        }
    }

    /// What was written last; none where there is nothing.
    ///
    /// # Errors
    /// The disk's, or it is damaged.
    pub(super) fn read(&self) -> io::Result<Vec<RestingFile>> {
        let found = match file::read(&self.path, MOST_BYTES) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            found => found?,
        };
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "it is damaged");
        let (sum, text) = found.split_first_chunk::<4>().ok_or_else(damaged)?;
        if crc32fast::hash(text) != u32::from_be_bytes(*sum) {
            return Err(damaged());
        }
        serde_json::from_slice(text).map_err(|_| damaged())
    }

    /// Writes all of them in place of what was; it is on the medium then.
    ///
    /// # Errors
    /// The disk's, or they are too many.
    pub(super) fn write(&self, files: &[Arc<RestingFile>]) -> io::Result<()> {
        let files: Vec<&RestingFile> = files.iter().map(|one| &**one).collect();
        let text = serde_json::to_vec(&files)?;
        if text.len() as u64 + 4 > MOST_BYTES {
            return Err(io::Error::other("the names of the files are too long"));
        }
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        // It must be new: the rights of a file that is there stay as they are.
        drop(fs::remove_file(&self.fresh));
        let mut options = OpenOptions::new();
        let mut written = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&self.fresh)?;
        let sum = crc32fast::hash(&text).to_be_bytes();
        written
            .write_all(&sum)
            .and_then(|()| written.write_all(&text))
            .and_then(|()| written.sync_all())
            .inspect_err(|_| drop(fs::remove_file(&self.fresh)))?;
        fs::rename(&self.fresh, &self.path)?;
        file::sync_folder(folder)
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::super::mark::{FileId, FileMark, ReadPlace};
    use super::*;

    #[test]
    fn what_was_written_is_there_with_names_of_any_bytes_and_damage_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let notes = RestNotes::beside(&folder.path().join("tails/field"));
        assert!(notes.read().unwrap().is_empty());
        let home = PathBuf::from(OsStr::from_bytes(b"/var/log/a\xff.log"));
        let one = RestingFile {
            place: ReadPlace {
                number: 7,
                home: home.clone(),
                id: FileId {
                    device: Some(1),
                    inode: 2,
                },
                since: (3, 4),
                is_through: true,
                mark: FileMark::default(),
            },
            path: home,
            seen: Some(((5, 6), 7)),
        };
        notes.write(&[Arc::new(one.clone())]).unwrap();
        assert_eq!(notes.read().unwrap(), [one]);
        let mut bytes = fs::read(&notes.path).unwrap();
        bytes[9] ^= 1;
        fs::write(&notes.path, bytes).unwrap();
        assert!(notes.read().is_err());
        notes.write(&[]).unwrap();
        assert!(notes.read().unwrap().is_empty());
    }
}
