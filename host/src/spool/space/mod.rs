//! The room that the data folder has, and what it costs: free space and the reserve file, and what the card bears.

pub(crate) mod condition;
pub(crate) mod disk_full;
pub(crate) mod free_space;
pub(crate) mod wear;

/// What the file system says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Space {
    /// Bytes free for this process.
    pub free: u64,
    pub total: u64,
    pub read_only: bool,
}
