//! What can go wrong with the store.

use std::io;

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

/// An error of the store with its cause, on one line.
pub(crate) fn describe(error: &StoreError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
