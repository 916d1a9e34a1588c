//! What a gateway is made of, in one file, and back: config, plugins, their versions and state, what is owed, dead letters,
//! ledger.
//!
//! `gathered` puts everything into a folder of its own, as it is at one moment: the store between two commits, by second names
//! for files that only grow. `archive` is the file: a tar of it, compressed, whose last entry says what has to be in it.
//! Restored, a store is one that was copied: it says so, and its messages get ids of another name.
//!
//! Not in it: what the config refers to (passwords, certificates, keys), recordings, compiled code.

pub mod archive;
pub mod gathered;

use std::path::{Component, Path};

/// The file of the config in a backup, and the folders beside it.
pub(crate) const CONFIG: &str = "config";
/// The data folder in a backup.
pub(crate) const DATA: &str = "data";

/// Why a backup is not made, or not put back.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("`{}`", path.display())]
    File {
        path: std::path::PathBuf,
        source: std::io::Error,
    },
    #[error("the backup cannot be written")]
    Write(#[source] std::io::Error),
    #[error("it is no backup of tidegate, or a damaged one")]
    Read(#[source] std::io::Error),
    #[error("it is damaged, and nothing was put in place: {0}")]
    Damaged(String),
    #[error(transparent)]
    Store(#[from] crate::spool::SnapshotError),
    #[error("it has form {0}, and this version knows form {FORM}: install a newer one")]
    Form(u32),
}

/// The form of the file that this version writes, and the newest that it reads.
pub const FORM: u32 = 1;

impl BackupError {
    pub(crate) fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }
}

/// Whether a name in a backup leads to nowhere but below the folder it is unpacked into.
pub(crate) fn is_below(name: &Path) -> bool {
    let mut parts = name.components();
    let first = parts.next();
    matches!(first, Some(Component::Normal(first)) if first == CONFIG || first == DATA)
        && parts.clone().next().is_some()
        && parts.all(|part| matches!(part, Component::Normal(_)))
}
