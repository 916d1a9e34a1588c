//! What one commit is about, and what it has in hand until it is through, or until it is known what of it is on disk.

use crate::clock::RunningTime;
use crate::message::Seq;
use crate::spool::dead_letters::kept::KeptLetters;
use crate::spool::dead_letters::waiting::{Forgotten, WaitingLetter};
use crate::spool::disk::chunk::Extent;
use crate::spool::disk::mark::QueueMark;
use crate::spool::ledger::LedgerEntry;
use crate::spool::ledger::store::{LedgerStore, Settling};
use crate::spool::memory::checkpoints::StateChanges;

/// What one commit is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Demand {
    /// What is due by now.
    Due(RunningTime),
    All,
}

impl Demand {
    /// Whether it is about what is due then.
    pub(super) fn includes(self, due: Option<RunningTime>) -> bool {
        match self {
            Self::Due(now) => due.is_some_and(|due| due <= now),
            Self::All => true,
        }
    }
}

/// What a commit has in hand until it is through.
#[derive(Default)]
pub(super) struct CommitWork {
    pub(super) queues: Vec<QueueWork>,
    pub(super) letters: Vec<WaitingLetter>,
    pub(super) forgotten: Forgotten,
    pub(super) kept: Option<KeptLetters>,
    pub(super) evicted: u64,
    pub(super) bytes: u64,
    pub(super) states: StateChanges,
    pub(super) state_bytes: u64,
    /// The ledger as it will be.
    pub(super) draft: Option<LedgerStore>,
    /// What was given up before this commit, and the number of the change that holds it.
    pub(super) pending: Vec<LedgerEntry>,
    pub(super) settling: Settling,
    pub(super) pending_stamp: Option<u64>,
}

impl CommitWork {
    /// Whether it has written what must survive a power cut.
    pub(super) fn must_last(&self) -> bool {
        self.bytes > 0 || self.state_bytes > 0 || self.draft.is_some()
    }
}

pub(super) struct QueueWork {
    pub(super) index: usize,
    pub(super) extents: Vec<Extent>,
    pub(super) mark: QueueMark,
    pub(super) gone: Vec<Seq>,
    /// Chunks that are given up.
    pub(super) victims: Vec<Extent>,
    pub(super) lost: Vec<LedgerEntry>,
    /// Number of the ledger's change that went with it, when something is given up.
    pub(super) stamp: Option<u64>,
}

/// What may be on disk although its commit failed.
#[derive(Default)]
pub(super) struct Doubt {
    pub(super) queues: Vec<QueueWork>,
    pub(super) pending: Vec<LedgerEntry>,
    pub(super) settling: Settling,
    pub(super) pending_stamp: Option<u64>,
}
