//! What stands before each chunk of a file, and how chunks are found again by it.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use super::Located;
use crate::spool::chunk;
use crate::spool::vault::KeyId;

/// Bytes of a file that are read to find its first chunk: enough, as a rule.
const START: u64 = 128 << 10;
const MAGIC: [u8; 4] = *b"TGc1";
/// Bytes before a chunk.
pub(super) const HEAD: usize = 12;

/// What stands before a chunk of `length` bytes; the head begins at `offset`.
pub(super) fn head(length: u32, offset: u64) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..4].copy_from_slice(&MAGIC);
    head[4..8].copy_from_slice(&length.to_le_bytes());
    let mut sum = crc32fast::Hasher::new();
    sum.update(&head[..8]);
    sum.update(&offset.to_le_bytes());
    head[8..].copy_from_slice(&sum.finalize().to_le_bytes());
    head
}

/// The length that a whole head at `at` tells.
fn length_at(bytes: &[u8], at: usize) -> Option<usize> {
    let found: &[u8; HEAD] = bytes.get(at..)?.first_chunk()?;
    let length = u32::from_le_bytes([found[4], found[5], found[6], found[7]]);
    (*found == head(length, at as u64)).then_some(length as usize)
}

/// The whole chunks in a file from `at` on.
pub(super) fn whole_chunks(bytes: &[u8], mut at: usize, file: u64) -> Vec<Located> {
    let mut found = Vec::new();
    while at < bytes.len() {
        let Some(length) = length_at(bytes, at) else {
            // Not a head: the next one that is whole. A file's end that a power cut has torn has none.
            let next = bytes[at + 1..].windows(MAGIC.len()).position(|window| window == MAGIC);
            let Some(next) = next else { break };
            at += 1 + next;
            continue;
        };
        let begin = at + HEAD;
        let value = bytes.get(begin..begin.saturating_add(length));
        if let Some((extent, count)) = value.and_then(|value| chunk::summary(value).ok()) {
            found.push(Located { file, offset: begin as u64, count, extent });
        }
        at = begin.saturating_add(length);
    }
    found
}

/// How the first chunk of a file is sealed, and with it all others: a file is written by one process, with one key. `None`
/// when no chunk in it can be read.
pub(super) fn first_seal(path: &Path) -> io::Result<Option<Option<KeyId>>> {
    let mut start = Vec::new();
    File::open(path)?.take(START).read_to_end(&mut start)?;
    match first_in(&start) {
        None if start.len() as u64 == START => Ok(first_in(&fs::read(path)?)),
        found => Ok(found),
    }
}

/// A hole is never sealed.
fn first_in(bytes: &[u8]) -> Option<Option<KeyId>> {
    let found = whole_chunks(bytes, 0, 0).into_iter().find(|found| found.count > 0)?;
    chunk::sealed_with(&bytes[usize::try_from(found.offset).ok()?..])
}
