//! Why a queue stands still.

/// Why a queue stands still, and since when (running clock).
#[derive(Clone, Debug)]
pub(crate) struct Sick {
    pub since_us: u64,
    pub next_us: u64,
    pub delay_us: u64,
    /// How often it was asked.
    pub tries: u32,
    pub why: String,
}
