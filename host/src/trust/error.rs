//! Why a component is not let in, and what is wrong with a key.

use std::path::PathBuf;

use semver::Version;

use super::manifest::Field;
use crate::clock::utc;

/// Why a component's signature does not let it in.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// A signature is required.
    #[error(
        "it is not signed, and the config has `require_signature = true`: put its signature beside it, with `.minisig` behind the component's name (`tidegate plugin sign` makes one)"
    )]
    Unsigned,
    /// Not the form of a signature.
    #[error("its signature cannot be read: {0}")]
    Unreadable(String),
    /// Signed by somebody else.
    #[error(
        "it is signed with the key {id}, and `plugin_keys` has {}: sign it with one of these, or add that key",
        list(known)
    )]
    UnknownKey { id: String, known: Vec<String> },
    /// The key that it is signed with may be in a file that cannot be read.
    #[error(
        "it is signed with the key {id}, and {} of `plugin_keys` cannot be read, or holds no key: put it back",
        paths(files)
    )]
    KeyAway { id: String, files: Vec<PathBuf> },
    /// Component, manifest and signature do not belong together.
    #[error(
        "its signature by {id} does not fit: component or signature were changed after signing"
    )]
    Altered {
        /// Who is said to have signed.
        id: String,
    },
    /// The trusted comment is not a manifest.
    #[error("its signature holds no manifest: {} {why}; sign it with `tidegate plugin sign`, or with minisign -t 'name=… version=…'", field.name())]
    NoManifest {
        field: Field,
        /// What is wrong with it.
        why: String,
    },
    #[error(
        "it is signed as `{signed}`, and this is the place of `{expected}`: a plugin of another name in the config needs `signed_as`"
    )]
    OtherName {
        /// What the manifest says.
        signed: String,
        /// What the config says.
        expected: String,
    },
    #[error("its signature expired on {}: it has to be signed anew", utc(*expired_us))]
    Expired {
        /// When it ended, microseconds since 1970.
        expired_us: u64,
    },
    /// Older than what ran.
    #[error(
        "it is version {signed}, and {highest} was confirmed here: to go back all the same, use `tidegate swap --downgrade`"
    )]
    Downgrade {
        /// What the manifest says.
        signed: Version,
        highest: Version,
    },
}

fn list(known: &[String]) -> String {
    known.join(", ")
}

fn paths(files: &[PathBuf]) -> String {
    let files: Vec<_> = files
        .iter()
        .map(|file| format!("`{}`", file.display()))
        .collect();
    files.join(", ")
}

/// What is wrong with a key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Not the form of a key.
    #[error("it is not a key of minisign: {0}")]
    NotAKey(String),
    /// A key is never written over.
    #[error("`{}` is there already: choose another name", .0.display())]
    Exists(PathBuf),
    /// A file cannot be read or written.
    #[error("cannot {verb} `{}`", path.display())]
    File {
        verb: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    /// No terminal to ask on.
    #[error("cannot ask for the password: give --password-file, or --no-password")]
    NoTerminal(#[source] std::io::Error),
    #[error("the two passwords differ")]
    Differ,
    /// The password does not open it.
    #[error("the secret key does not open: {0}")]
    Locked(String),
    /// Keys cannot be made or used.
    #[error("cannot {verb}: {why}")]
    Failed {
        /// Make a key, sign.
        verb: &'static str,
        why: String,
    },
}
