//! What a file of chunks says of itself, and what is found behind a place of it.

use std::io;
use std::ops::Range;
use std::path::Path;

use crate::message::Seq;
use crate::spool::disk::chunk;
use crate::spool::disk::fault_injection::FaultInjection;
use crate::spool::disk::frame::{HEAD, Piece, PieceKind, pieces, read_regular};
use crate::spool::disk::log::located::Located;
use crate::spool::disk::sealing::sealer::KeyId;

/// Bytes of a file that are read to find its first chunk: enough, as a rule.
const START: u64 = 128 << 10;
/// Bytes of a file's first stand, at the most.
const FIRST: u64 = 256;
const SUM: usize = 4;

/// The body of a stand: a checksum, and in MessagePack the name of the store, where the queue ends, and how many messages
/// this file has got.
pub(super) fn encode(store: &str, end: Seq, messages: u64) -> Vec<u8> {
    let mut body = vec![0; SUM];
    rmp_serde::encode::write(&mut body, &(store, end, messages))
        .expect("a name and two numbers always go into a Vec");
    let sum = crc32fast::hash(&body[SUM..]).to_le_bytes();
    body[..SUM].copy_from_slice(&sum);
    body
}

fn decode(body: &[u8]) -> Option<(&str, Seq, u64)> {
    let (sum, rest) = body.split_first_chunk::<SUM>()?;
    (crc32fast::hash(rest) == u32::from_le_bytes(*sum)).then(|| rmp_serde::from_slice(rest).ok())?
}

/// The store that a file belongs to; `None` where it does not tell.
pub(super) fn owner(path: &Path, fault_injection: &FaultInjection) -> io::Result<Option<String>> {
    let start = read_regular(path, FIRST, fault_injection)?;
    let first = pieces(&start).next();
    Ok(match first {
        Some(Piece::Whole {
            kind: PieceKind::Stand,
            body,
            ..
        }) => decode(body).map(|(store, ..)| store.to_owned()),
        _ => None,
    })
}

/// What was found behind a place.
#[derive(Debug, Default)]
pub(crate) struct Behind {
    pub chunks: Vec<Located>,
    /// Where the queue ended when that was last safe.
    pub end: Seq,
    /// Places between two stands, and how many messages are missing of what was written there.
    pub missing: Vec<(Range<Seq>, u64)>,
    /// Pieces that are hurt although they were safe.
    pub damaged: usize,
}

impl Behind {
    /// Looks through a file from `offset` on.
    pub(super) fn take(&mut self, bytes: &[u8], file: u64, offset: u64) {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        // Of the file until the last stand: its messages, those that were found since, and where the queue ended.
        let mut told = 0_u64;
        let mut found = 0_u64;
        let mut from = Seq::FIRST;
        let mut hurt = 0_usize;
        for piece in pieces(bytes) {
            let (kind, at, body) = match piece {
                Piece::Whole { kind, at, body } => (kind, at, body),
                Piece::Torn => {
                    hurt += 1;
                    continue;
                }
            };
            if kind == PieceKind::Chunk {
                match chunk::summary(body) {
                    Ok((extent, count)) => {
                        found += u64::from(count);
                        if at >= offset.saturating_add(HEAD) || offset == 0 {
                            self.chunks.push(Located {
                                file,
                                offset: at as u64,
                                count,
                                extent,
                            });
                        }
                    }
                    Err(_) => hurt += 1,
                }
                continue;
            }
            let Some((_, end, messages)) = decode(body).filter(|_| kind == PieceKind::Stand) else {
                continue;
            };
            if at >= offset {
                self.end = self.end.max(end);
                let lacking = messages.saturating_sub(told + found);
                if lacking > 0 {
                    self.missing.push((from..end, lacking));
                }
                self.damaged += hurt;
            }
            (told, found, from, hurt) = (messages, 0, end, 0);
        }
    }
}

/// How the first chunk of a file is sealed, and with it all others: a file is written by one process, with one key. `None`
/// when no chunk in it can be read.
pub(super) fn first_seal(path: &Path) -> io::Result<Option<Option<KeyId>>> {
    let fault_injection = FaultInjection::default();
    let start = read_regular(path, START, &fault_injection)?;
    match first_in(&start) {
        None if start.len() as u64 == START => {
            Ok(first_in(&read_regular(path, u64::MAX, &fault_injection)?))
        }
        found => Ok(found),
    }
}

/// A hole is never sealed.
fn first_in(bytes: &[u8]) -> Option<Option<KeyId>> {
    let mut behind = Behind::default();
    behind.take(bytes, 0, 0);
    let found = behind.chunks.into_iter().find(|found| found.count > 0)?;
    chunk::sealed_with(&bytes[usize::try_from(found.offset).ok()?..])
}
