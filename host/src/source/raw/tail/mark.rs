//! By what a file is known again: some bytes at its beginning, and some before the place up to which it is read. A file that is renamed
//! or copied has them still, one that was cut and written anew has not; a number of the file system may be given to another file.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::pattern;

/// Bytes that are looked at in either place.
const BYTES: u64 = 1 << 10;
/// Of a digest, as much as makes two alike a matter for no one.
const DIGEST_BYTES: usize = 12;

/// What a file has before a place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileMark {
    pub(super) offset: u64,
    pub(super) head: String,
    pub(super) before: String,
}

impl FileMark {
    /// That of a file at `offset`.
    ///
    /// # Errors
    /// It is shorter, or the system's.
    pub(super) fn of(file: &File, offset: u64) -> io::Result<Self> {
        let bytes = offset.min(BYTES);
        Ok(Self {
            offset,
            head: digest(file, 0, bytes)?,
            before: digest(file, offset - bytes, bytes)?,
        })
    }

    /// Whether a file has this one.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn is_on(&self, file: &File) -> io::Result<bool> {
        // Before the beginning any file has the same.
        if self.offset == 0 {
            return Ok(true);
        }
        match Self::of(file, self.offset) {
            Ok(found) => Ok(found == *self),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn digest(file: &File, from: u64, bytes: u64) -> io::Result<String> {
    let mut read = vec![0; usize::try_from(bytes).unwrap_or_default()];
    file.read_exact_at(&mut read, from)?;
    let digest = ring::digest::digest(&ring::digest::SHA256, &read);
    let start = &digest.as_ref()[..DIGEST_BYTES];
    Ok(start.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The file system's number for a file, and which file system that is: each of them counts for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct FileId {
    /// That of its medium, which may be another one after a restart of the machine; in notes of before there is none.
    #[serde(default)]
    pub(super) device: Option<u64>,
    pub(super) inode: u64,
}

impl FileId {
    pub(super) fn of(about: &Metadata) -> Self {
        Self {
            device: Some(about.dev()),
            inode: about.ino(),
        }
    }
}

/// Up to where a file is read, and how it is found again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ReadPlace {
    /// Its number among those of the source.
    pub(super) number: u64,
    /// Where it was when it was found first.
    #[serde(with = "pattern::noted")]
    pub(super) home: PathBuf,
    #[serde(flatten)]
    pub(super) id: FileId,
    /// When its content had changed last as it was found first: seconds, and nanoseconds of one.
    pub(super) since: (i64, i64),
    /// It was read to its end when it was seen last, and had been renamed: nothing is missing of one that goes away then.
    #[serde(default)]
    pub(super) is_through: bool,
    pub(super) mark: FileMark,
}

impl ReadPlace {
    /// The same place in another file.
    pub(super) fn with(&self, number: u64, id: FileId) -> Self {
        Self {
            number,
            id,
            is_through: false,
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_by_its_beginning_and_what_was_read_last() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            File::open(path).unwrap()
        };
        let line = "x".repeat(3_000);
        let mark = FileMark::of(&write("one", &format!("{line}tail and more")), 3_004).unwrap();
        let has = |content: &str| mark.is_on(&write("other", content)).unwrap();
        assert!(has(&format!("{line}tail")) && has(&format!("{line}tail, other ones")));
        assert!(!has(&format!("y{}tail", &line[1..])), "another beginning");
        assert!(!has(&format!("{line}text")), "the same beginning");
        assert!(!has(&line) && !has(""), "too short");
        assert!(FileMark::default().offset == 0);
        let nothing = FileMark::of(&write("one", "x"), 0).unwrap();
        assert!(nothing.is_on(&write("other", "")).unwrap());
    }
}
