//! What stands before each chunk of a file, and how chunks are found again by it.

use super::Located;
use crate::spool::chunk;

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
