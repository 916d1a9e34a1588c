//! What is known outside of how far a queue is accepted.

/// How far the store and the low marks are behind.
#[derive(Debug, Default)]
pub(super) struct MarkLag {
    /// Since when the store is behind (running clock).
    pub(super) changed_us: Option<u64>,
    /// `low` as the low marks have it, and since when they are behind.
    pub(super) noted: u64,
    pub(super) unnoted_us: Option<u64>,
    /// Up to where the last spill went, whether it is through or not.
    pub(super) spill_end: u64,
}
