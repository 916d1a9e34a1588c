//! The machine as its files tell it, below a root that a test makes up.

use std::fs;
use std::path::{Path, PathBuf};

use crate::file;

/// Bytes of a file of the kernel's that are read at most: the list of sockets has one line each.
const MOST: u64 = 4 << 20;
/// Entries of a folder that are looked at.
const MOST_ENTRIES: usize = 1_000;

/// A tree with `proc`, `sys`, `etc` and `run` in it.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    root: PathBuf,
}

impl Machine {
    pub(super) fn below(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// What stands in a file, without the space around it; `None` when it cannot be read.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        let text = file::read_text(&self.at(path), MOST).ok()?;
        Some(text.trim().to_owned())
    }

    pub(super) fn number(&self, path: &str) -> Option<u64> {
        self.text(path)?.parse().ok()
    }

    pub(super) fn exists(&self, path: &str) -> bool {
        self.at(path).exists()
    }

    /// Whether there is something of that name, be it a link that leads nowhere.
    pub(super) fn has(&self, path: &str) -> bool {
        self.at(path).symlink_metadata().is_ok()
    }

    /// Where a link leads, as it says.
    pub(super) fn link(&self, path: &str) -> Option<PathBuf> {
        fs::read_link(self.at(path)).ok()
    }

    /// Names in a folder, sorted.
    pub(super) fn names(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.at(path)).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .take(MOST_ENTRIES)
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }
}

/// The value of `key` in lines like `key: value unit`.
pub(super) fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    Some(line.trim())
}

/// The same in kibibytes, as bytes.
pub(super) fn kibibytes(text: &str, key: &str) -> Option<u64> {
    let number: u64 = value(text, key)?.split_whitespace().next()?.parse().ok()?;
    number.checked_mul(1_024)
}

/// A path as it is shown.
pub(super) fn shown(path: &Path) -> String {
    path.display().to_string()
}
