//! What is in a file that is watched, or in a folder with parts of the config, which counts as one.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::{config, file};

/// Larger files are not read.
const MAX_FILE_BYTES: u64 = 32 << 20;

pub(super) type ContentDigest = [u8; 32];

/// What tells without reading that a file may have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Signature {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Signature {
    /// Of a file, or of all parts of a config in a folder.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let metadata = file::about(path)?;
        let whole = Self::from(&metadata);
        if !metadata.is_dir() {
            return Ok(whole);
        }
        let parts = config::parts_in(path)?;
        let parts = parts.iter().filter_map(|part| file::about(part).ok());
        Ok(parts.fold(whole, |whole, part| whole.and(&part)))
    }

    /// Sums, so that whatever changes in one of them shows, and no clock has to go forward for it.
    fn and(self, part: &Metadata) -> Self {
        let part = Self::from(part);
        let sum = |one: (i64, i64), two: (i64, i64)| {
            (one.0.wrapping_add(two.0), one.1.wrapping_add(two.1))
        };
        Self {
            inode: self.inode.wrapping_add(part.inode),
            bytes: self.bytes.wrapping_add(part.bytes),
            modified: sum(self.modified, part.modified),
            changed: sum(self.changed, part.changed),
            ..self
        }
    }
}

impl From<&Metadata> for Signature {
    fn from(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Reads it; of a folder each part with its name and length.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    if !file::about(path)?.is_dir() {
        return file::read(path, MAX_FILE_BYTES);
    }
    let mut whole = Vec::new();
    for part in config::parts_in(path)? {
        let content = file::read(&part, file::BY_HAND)?;
        whole.extend_from_slice(part.as_os_str().as_encoded_bytes());
        whole.extend_from_slice(&(content.len() as u64).to_le_bytes());
        whole.extend_from_slice(&content);
    }
    Ok(whole)
}

pub(super) fn digest(content: &[u8]) -> ContentDigest {
    let mut digest = ContentDigest::default();
    digest.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, content).as_ref());
    digest
}

/// Whether a file may be complete: not empty, and if it is WebAssembly, its sections end where the file does. Of
/// other files nothing can be said.
pub(super) fn is_whole(content: &[u8]) -> bool {
    const MAGIC: &[u8] = b"\0asm";
    const HEADER_BYTES: usize = 8;
    if !content.starts_with(MAGIC) {
        return !MAGIC.starts_with(content);
    }
    let Some(mut rest) = content.get(HEADER_BYTES..) else {
        return false;
    };
    while let [_section, body @ ..] = rest {
        match sized(body) {
            Some(behind) => rest = behind,
            None => return false,
        }
    }
    true
}

/// What follows a part with its length (LEB128) in front; `None` when it is cut short.
fn sized(body: &[u8]) -> Option<&[u8]> {
    let mut length = 0_usize;
    for (index, byte) in body.iter().take(5).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return body.get(index + 1..)?.get(length..);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn sections_tell_whether_a_component_is_whole() {
        let whole = b"\0asm\x0d\0\x01\0\x00\x03\x01ab\x07\x00";
        assert!(is_whole(whole) && is_whole(&whole[..8]) && is_whole(&whole[..13]));
        for cut in [0, 1, 4, 7, 9, 10, 12, 14] {
            assert!(!is_whole(&whole[..cut]), "cut at {cut}");
        }
        assert!(is_whole(b"# a config"));
        assert!(!is_whole(b"\0asm\x0d\0\x01\0\x00\xff\xff\xff\xff\xff\x00"));
    }

    #[test]
    fn a_folder_changes_with_each_part_that_comes_goes_or_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let mut seen = vec![(Signature::of(path).unwrap(), read(path).unwrap())];
        let mut is_another = || {
            let found = (Signature::of(path).unwrap(), read(path).unwrap());
            let is_another = seen
                .last()
                .is_some_and(|(signature, _)| *signature != found.0)
                && seen.last().is_some_and(|(_, content)| *content != found.1);
            seen.push(found);
            is_another
        };
        fs::write(path.join("10-a.toml"), "[log]\n").unwrap();
        assert!(is_another());
        fs::write(path.join("20-b.toml"), "").unwrap();
        assert!(is_another());
        fs::write(path.join("20-b.toml"), "[admin]\n").unwrap();
        assert!(is_another());
        fs::remove_file(path.join("10-a.toml")).unwrap();
        assert!(is_another());
        fs::write(path.join("notes.txt"), "no part").unwrap();
        let found = read(path).unwrap();
        assert!(seen.last().is_some_and(|(_, content)| *content == found));
    }
}
