//! How far a queue is on disk, as its index keeps it.

use crate::clock::RunningTime;
use crate::message::Seq;

pub(super) const MARK: &[u8] = b"m";

/// What the store knows of a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct QueueMark {
    /// The first place that is not accepted, as far as the store was told.
    pub low: Seq,
    /// The place behind the last chunk.
    pub end: Seq,
    /// Messages on disk that are not accepted.
    pub owed: u64,
    /// Bytes of all chunks.
    pub bytes: u64,
    /// When it was written, microseconds.
    pub clock: RunningTime,
}

pub(super) fn encode_mark(mark: QueueMark) -> Vec<u8> {
    let QueueMark {
        low,
        end,
        owed,
        bytes,
        clock,
    } = mark;
    rmp_serde::to_vec(&(low, end, owed, bytes, clock)).expect("five numbers always go into a Vec")
}

pub(super) fn decode_mark(value: &[u8]) -> Option<QueueMark> {
    let (low, end, owed, bytes, clock) = rmp_serde::from_slice(value).ok()?;
    Some(QueueMark {
        low,
        end,
        owed,
        bytes,
        clock,
    })
}
