//! Why a queue stands still.

use crate::clock::RunningTime;

/// Why a queue stands still, and since when.
#[derive(Clone, Debug)]
pub(crate) struct Sick {
    pub since: RunningTime,
    pub next: RunningTime,
    pub delay_us: u64,
    /// How often it was asked.
    pub tries: u32,
    pub why: String,
}
