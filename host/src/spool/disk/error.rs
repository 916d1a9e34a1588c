//! What can go wrong with the store, and how calls into sled are made.

use std::io;

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::spool::disk::FORMAT;
use crate::spool::disk::sealing::sealer::KeyId;

/// What went wrong with the store.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("the disk refuses")]
    Disk(#[source] io::Error),
    /// Chunks cannot be read: nothing else is wrong.
    #[error("a file of chunks cannot be read")]
    Unread(#[source] io::Error),
    /// A newer version wrote them.
    #[error(
        "what is owed was written by a newer version of this program (version {0} of a chunk): it waits for that one"
    )]
    Newer(u8),
    /// The folder is not where it was.
    #[error("the data folder was removed, or moved to another place")]
    Away,
    /// A later start than this one has used the store.
    #[error("the store was used by start {0}, which is later than this one: restart the gateway")]
    Overtaken(u32),
    /// The files make no sense.
    #[error("the store's files are damaged: {0}")]
    Damaged(String),
    /// Another version wrote it.
    #[error("the store has format {0}, and this program knows {known}", known = FORMAT)]
    Format(u8),
    /// A key is not here.
    #[error("the store is sealed with key {0}, which the config does not have")]
    Key(KeyId),
}

impl StoreError {
    /// Whether it is about one chunk: nothing else is wrong.
    pub(crate) fn is_of_a_chunk(&self) -> bool {
        matches!(self, Self::Unread(_) | Self::Newer(_))
    }
}

impl From<sled::Error> for StoreError {
    fn from(error: sled::Error) -> Self {
        match error {
            sled::Error::Io(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
                ) =>
            {
                Self::Damaged(error.to_string())
            }
            sled::Error::Io(error) => Self::Disk(error),
            other => Self::Damaged(other.to_string()),
        }
    }
}

/// An error of the store with its cause, on one line.
pub(crate) fn describe(error: &StoreError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// Runs sled code; a panic in it is damage.
pub(super) fn guarded<T>(work: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => Ok(result?),
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied());
            Err(StoreError::Damaged(format!(
                "sled panicked: {}",
                text.unwrap_or("without a word")
            )))
        }
    }
}
