//! How long an answer is waited for, and how long it may be.

use std::io::{self, ErrorKind};
use std::time::Duration;

/// How long one answer may take, and how long it may be, in all.
#[derive(Clone, Copy)]
pub(super) struct AnswerBound {
    pub(super) patience: Duration,
    pub(super) bytes: usize,
}

impl AnswerBound {
    /// A retry waits for a commit, and a tired card takes many seconds for one; lists are cut into pages far below.
    pub(super) const USUAL: Self = Self {
        patience: Duration::from_secs(120),
        bytes: 64 << 20,
    };

    /// The system's words for a time that is over are none.
    pub(super) fn explain(self, error: io::Error) -> io::Error {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => self.late(),
            _ => error,
        }
    }

    pub(super) fn late(self) -> io::Error {
        let words = format!(
            "its answer was not complete within {:?}: it hangs, or is stopped",
            self.patience
        );
        io::Error::new(ErrorKind::TimedOut, words)
    }

    /// Whether so many bytes are an answer still.
    pub(super) fn holds(self, bytes: usize) -> io::Result<()> {
        if bytes <= self.bytes {
            return Ok(());
        }
        let words = format!("its answer has more than {} bytes", self.bytes);
        Err(io::Error::new(ErrorKind::FileTooLarge, words))
    }
}

/// Whether the other end went away.
pub(super) fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof
    )
}
