//! What stands before each piece of a file that only grows, and how the pieces are found again by it.
//!
//! ```text
//! 0          4          8          12
//! ┌──────────┬──────────┬──────────┬──────────────────┐
//! │ kind     │ len u32  │ sum u32  │ body, `len` bytes│  and the next
//! └──────────┴──────────┴──────────┴──────────────────┘
//!                          └ CRC-32 of the eight bytes before it and of their offset in the file (u64)
//! ```
//!
//! Numbers are little endian. Where a head is damaged, the next whole one is looked for.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::spool::disk::fault_injection::{DiskCall, FaultInjection};

/// Bytes before a body.
pub(super) const HEAD: usize = 12;
/// How every kind begins.
const PREFIX: &[u8] = b"TG";

/// What a piece is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PieceKind {
    Chunk,
    /// What was safe when it was written (`log`).
    Stand,
    /// Changes of letters, ledger and state (`records`).
    Record,
}

impl PieceKind {
    const ALL: [Self; 3] = [Self::Chunk, Self::Stand, Self::Record];

    fn magic(self) -> [u8; 4] {
        *match self {
            Self::Chunk => b"TGc1",
            Self::Stand => b"TGs1",
            Self::Record => b"TGr1",
        }
    }
}

/// What a file holds at a place.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'b> {
    /// A body with a whole head; it begins at `at`.
    Whole {
        kind: PieceKind,
        /// Where the body begins.
        at: usize,
        body: &'b [u8],
    },
    /// Bytes that belong to none.
    Torn,
}

/// What stands before a body of `length` bytes; the head begins at `offset`.
pub(super) fn head(kind: PieceKind, length: u32, offset: u64) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..4].copy_from_slice(&kind.magic());
    head[4..8].copy_from_slice(&length.to_le_bytes());
    let mut sum = crc32fast::Hasher::new();
    sum.update(&head[..8]);
    sum.update(&offset.to_le_bytes());
    head[8..].copy_from_slice(&sum.finalize().to_le_bytes());
    head
}

/// The kind and length that a whole head at `at` tells.
fn head_at(bytes: &[u8], at: usize) -> Option<(PieceKind, usize)> {
    let found: &[u8; HEAD] = bytes.get(at..)?.first_chunk()?;
    let kind = PieceKind::ALL
        .into_iter()
        .find(|kind| found.starts_with(&kind.magic()))?;
    let length = u32::from_le_bytes([found[4], found[5], found[6], found[7]]);
    (*found == head(kind, length, at as u64)).then_some((kind, length as usize))
}

/// The pieces of a file, in order. Zeros at its end are none: a power cut leaves them.
pub(super) fn pieces(bytes: &[u8]) -> impl Iterator<Item = Piece<'_>> {
    let used = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    let mut at = 0;
    std::iter::from_fn(move || {
        if at >= used {
            return None;
        }
        if let Some((kind, length)) = head_at(bytes, at) {
            let begin = at + HEAD;
            at = begin.saturating_add(length);
            let whole = bytes.get(begin..at).map(|body| Piece::Whole {
                kind,
                at: begin,
                body,
            });
            return Some(whole.unwrap_or(Piece::Torn));
        }
        let rest = bytes.get(at + 1..).unwrap_or_default();
        let starts = rest
            .windows(PREFIX.len())
            .enumerate()
            .filter(|(_, window)| *window == PREFIX);
        let next = starts
            .map(|(index, _)| at + 1 + index)
            .find(|next| head_at(bytes, *next).is_some());
        at = next.unwrap_or(usize::MAX);
        Some(Piece::Torn)
    })
}

/// Opens a file to read it. What is no regular file is refused, and nothing waits for a pipe that nobody writes to.
pub(crate) fn open_regular(path: &Path, fault_injection: &FaultInjection) -> io::Result<File> {
    fault_injection.pass_file(path)?;
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is no regular file",
        ));
    }
    Ok(file)
}

/// Whether trying again can be of no use: there is no such file, or none that can be read as one.
pub(crate) fn is_no_file(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::InvalidInput | io::ErrorKind::IsADirectory
    ) || error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
        || error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error())
}

/// All bytes of a regular file of at most `most` bytes from its beginning.
pub(crate) fn read_regular(
    path: &Path,
    most: u64,
    fault_injection: &FaultInjection,
) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = open_regular(path, fault_injection)?;
    fault_injection.pass(DiskCall::Read)?;
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bodies: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for body in bodies {
            let offset = bytes.len() as u64;
            bytes.extend_from_slice(&head(
                PieceKind::Record,
                u32::try_from(body.len()).unwrap(),
                offset,
            ));
            bytes.extend_from_slice(body);
        }
        bytes
    }

    fn bodies(bytes: &[u8]) -> Vec<&[u8]> {
        let whole = pieces(bytes).filter_map(|piece| match piece {
            Piece::Whole { body, .. } => Some(body),
            Piece::Torn => None,
        });
        whole.collect()
    }

    #[test]
    fn a_damaged_head_costs_its_own_piece_only() {
        let whole = file(&[b"one", b"TGc1", b"three"]);
        assert_eq!(bodies(&whole), [&b"one"[..], b"TGc1", b"three"]);
        let second = HEAD + 3;
        for at in second..second + HEAD {
            let mut hurt = whole.clone();
            hurt[at] ^= 1;
            assert_eq!(bodies(&hurt), [&b"one"[..], b"three"], "byte {at}");
        }
        assert_eq!(bodies(&whole[..whole.len() - 1]), [&b"one"[..], b"TGc1"]);
        assert_eq!(pieces(&[0; 99]).count(), 0);
    }

    #[test]
    fn a_pipe_a_folder_and_a_dangling_link_are_refused_without_waiting() {
        let folder = crate::spool::tests::tempdir();
        let fault_injection = FaultInjection::default();
        let of = |name: &str| folder.path().join(name);
        rustix::fs::mkfifoat(rustix::fs::CWD, of("pipe"), rustix::fs::Mode::RWXU).unwrap();
        std::fs::create_dir(of("folder")).unwrap();
        std::os::unix::fs::symlink("nowhere", of("link")).unwrap();
        for name in ["pipe", "folder", "link", "missing"] {
            let error = read_regular(&of(name), 9, &fault_injection).unwrap_err();
            assert!(is_no_file(&error), "{name}: {error}");
        }
        std::fs::write(of("file"), "0123456789").unwrap();
        assert_eq!(
            read_regular(&of("file"), 9, &fault_injection).unwrap(),
            b"012345678"
        );
    }
}
