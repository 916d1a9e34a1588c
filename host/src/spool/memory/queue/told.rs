//! What is known outside of how far a queue is accepted.

use crate::clock::RunningTime;
use crate::message::Seq;

/// How far the store and the low marks are behind.
#[derive(Debug, Default)]
pub(super) struct MarkLag {
    /// Since when the store is behind.
    pub(super) changed: Option<RunningTime>,
    /// `low` as the low marks have it, and since when they are behind.
    pub(super) noted: Seq,
    pub(super) unnoted: Option<RunningTime>,
    /// Up to where the last spill went, whether it is through or not.
    pub(super) spill_end: Seq,
}
