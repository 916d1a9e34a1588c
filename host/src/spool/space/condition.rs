//! How the store is, in a word.

use std::io;

/// How the store is. Ordered by how little it can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum StoreCondition {
    /// It can be read and written.
    #[default]
    Well = 0,
    /// Free space is below the reserve, or there is none: nothing is spilled but what other messages made room for.
    DiskFull = 1,
    /// The file system can only be read.
    ReadOnly = 2,
    /// It failed, or a commit hangs.
    Failing = 3,
}

impl StoreCondition {
    /// All that need an operator.
    pub const BAD: [Self; 3] = [Self::DiskFull, Self::ReadOnly, Self::Failing];

    /// The word for logs, metrics and `/readyz`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::DiskFull => "disk-full",
            Self::ReadOnly => "store-read-only",
            Self::Failing => "store-failing",
        }
    }

    /// What an operator can do.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Well => "nothing to do",
            Self::DiskFull => {
                "free space on its file system, the gateway goes on by itself; once memory is full, classes give up what they may"
            }
            Self::ReadOnly => {
                "look at the kernel's log, then mount it writable; the gateway goes on by itself"
            }
            Self::Failing => {
                "look at the kernel's log: the card may be dying; the gateway tries again by itself"
            }
        }
    }

    /// What an error of the system means for the store.
    pub(crate) fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Self::DiskFull,
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly,
            _ => Self::Failing,
        }
    }

    pub(crate) fn from_number(number: u8) -> Self {
        Self::BAD
            .into_iter()
            .find(|bad| *bad as u8 == number)
            .unwrap_or(Self::Well)
    }
}
