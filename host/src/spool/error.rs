//! Why the spool cannot be opened or closed. Every text names the folder or the number of messages.

use std::path::PathBuf;

use crate::spool::disk::sealing::sealer::KeyId;

/// Why the spool cannot be opened or closed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder cannot be made, locked or synced.
    #[error("the data folder `{}` cannot be used", path.display())]
    Folder {
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It, or something in it, belongs to somebody else.
    #[error(
        "`{}` may not be written by user {user}: give it to that user (`chown -R {user} {}`), \
         or run as the user it belongs to", path.display(), path.display()
    )]
    Denied {
        path: PathBuf,
        user: u32,
        /// What the system says.
        source: std::io::Error,
    },
    /// Another gateway has it.
    #[error("the data folder `{}` is in use by process {holder}", path.display())]
    Locked {
        path: PathBuf,
        /// Its process id, as far as known.
        holder: String,
    },
    /// Another version wrote the store.
    #[error(
        "the store in `{}` has format {found}, and this version reads format {known}: \
         install the version that wrote it and drain the store there", path.display()
    )]
    Format {
        path: PathBuf,
        /// Format of the store.
        found: u8,
        /// Format this version knows.
        known: u8,
    },
    /// Something in it is sealed with a key that the config does not have.
    #[error(
        "the store in `{}` is sealed with key {key}, {}; nothing was touched", path.display(),
        if *has_others {
            "which is not among those of the config: add it to `encrypt.old_keys` in [spool], until what it has sealed is gone"
        } else {
            "and the config has none: set `encrypt.key` in [spool]"
        }
    )]
    Key {
        path: PathBuf,
        /// The key, by its id.
        key: KeyId,
        /// The config has another.
        has_others: bool,
    },
    #[error("the store in `{}` cannot be opened", path.display())]
    Store {
        path: PathBuf,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Somebody wants to look, and what would be written to is not copied.
    #[error(
        "the index of the store in `{}` cannot be copied to memory, where it is looked at: start the gateway and ask it", path.display()
    )]
    NotCopied {
        path: PathBuf,
        source: std::io::Error,
    },
    /// The thread cannot be started.
    #[error("the store's thread cannot be started")]
    Thread(#[source] std::io::Error),
    /// The last commit failed: these messages are in RAM only. Those with a receipt come again from their broker.
    #[error("{messages} messages and {letters} dead letters could not be written")]
    Unwritten {
        /// Messages owed in RAM.
        messages: u64,
        letters: u64,
    },
    /// The writer's thread has panicked.
    #[error("the store's thread has panicked")]
    Panicked,
}

/// Why a queue is not added while the spool is open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAdded {
    #[error("the store does not answer: the disk hangs, or the gateway stops")]
    Hangs,
    /// The store has gone back to an earlier start since.
    #[error(
        "what the store owes to the queue `{queue}` is of start {start}, which is later than this one: restart the gateway"
    )]
    Overtaken { queue: String, start: u32 },
    #[error("there are as many queues as can be numbered until a restart")]
    Full,
}
