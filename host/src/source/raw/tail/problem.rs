//! What keeps files from being read, and how that is told. Pure.

use super::followed::COPY;
use super::search::MOST_ENTRIES;
use super::slot::MOST_OPEN;

/// What keeps files from being read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum TailProblem {
    /// There is none yet, or none any more.
    Missing,
    /// More fit than are looked at.
    NotLookedAt,
    /// So many wait for their turn.
    Waiting(usize),
    /// One cannot be read, and why.
    Unreadable(String, String),
    /// Nothing in one can be a frame any more.
    OutOfStep(String),
    /// So many others have theirs.
    Others(usize),
    /// One that has nothing that another one has not: that one.
    Copy(String, String),
}

impl TailProblem {
    /// Whether it goes on where that one was, however many files have it.
    pub(super) fn goes_on(&self, other: &Self) -> bool {
        use std::mem::discriminant;
        let is_counted = matches!(self, Self::Waiting(_) | Self::Others(_));
        self == other || is_counted && discriminant(self) == discriminant(other)
    }

    /// Its sort, what there is to say of it, and the same without names.
    pub(super) fn words(&self, at: &str) -> (&'static str, String, &'static str) {
        match self {
            Self::Missing => (
                "file-missing",
                format!("there is no file `{at}`: it is waited for"),
                "its file is not there",
            ),
            Self::Unreadable(path, why) => (
                "file-unreadable",
                format!("cannot read `{path}`: {why}"),
                "a file cannot be read",
            ),
            Self::OutOfStep(path) => (
                "file-out-of-step",
                format!(
                    "`{path}` is not read any further: no message begins there as `framing` says; correct that, or take the file away"
                ),
                "a file is out of step and not read any further",
            ),
            Self::Waiting(count) => (
                "too-many-files",
                format!(
                    "more files fit `{at}` than the {MOST_OPEN} that are open at a time, and {count} wait until those are read: move away those that are done with"
                ),
                "files wait, as more fit than are open at a time",
            ),
            Self::NotLookedAt => (
                "files-not-looked-at",
                format!(
                    "more than {MOST_ENTRIES} names fit `{at}`: files behind those are not looked at; move away those that are done with"
                ),
                "more files fit than are looked at",
            ),
            Self::Others(count) => (
                "file-unreadable",
                format!("{count} more files at `{at}` are not read, each for a reason of its own"),
                "more files are not read",
            ),
            Self::Copy(path, of) => (
                "file-like-another",
                format!(
                    "`{path}` waits: all that it has stands in `{of}`, too, so that it may be a copy before that is cut; if not, it is read {} s after it was found",
                    COPY.as_secs()
                ),
                "a file waits as it may be a copy of another one",
            ),
        }
    }
}
