//! How the store is, as far as that is known without asking the disk: what the free space allows, whether it failed,
//! whether a commit hangs. The log says once that an operator is needed, and once that he no longer is.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use crate::clock::RunningTime;
use crate::spool::account::Turning;
use crate::spool::lock::locked;
use crate::spool::space::condition::StoreCondition;
use crate::spool::space::free_space::SpaceLevel;

/// A commit that takes longer counts as a store that cannot write.
const STALL_US: u64 = 2_000_000;

/// How the store is.
#[derive(Debug)]
pub(crate) struct StoreHealth {
    /// The folder, for the log.
    path: PathBuf,
    /// The store has failed and is not back.
    is_in_trouble: AtomicBool,
    /// What kind of failure: a [`StoreCondition`].
    fault: AtomicU8,
    /// What the free space allows: a [`StoreCondition`]; the rest of it below.
    space: AtomicU8,
    space_level: Mutex<SpaceLevel>,
    /// The failure was logged, and nothing has been written since.
    is_reported: AtomicBool,
    /// When the commit under way began (running clock); 0 when there is none.
    commit_since: AtomicU64,
    /// When the writer last looked at what is due (running clock).
    turned: AtomicU64,
}

impl StoreHealth {
    /// Nothing is wrong so far with the store in this folder.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            is_in_trouble: AtomicBool::new(false),
            fault: AtomicU8::new(0),
            space: AtomicU8::new(0),
            space_level: Mutex::default(),
            is_reported: AtomicBool::new(false),
            commit_since: AtomicU64::new(0),
            turned: AtomicU64::new(0),
        }
    }

    /// How the store is.
    pub(crate) fn condition(&self, now: RunningTime) -> StoreCondition {
        let since = self.commit_since.load(Ordering::Acquire);
        let hangs = since > 0 && now.us_since(RunningTime(since)) > STALL_US;
        let space = StoreCondition::from_number(self.space.load(Ordering::Acquire));
        match space {
            StoreCondition::Well if self.is_in_trouble() => {
                StoreCondition::from_number(self.fault.load(Ordering::Acquire))
            }
            StoreCondition::Well if hangs => StoreCondition::Failing,
            space => space,
        }
    }

    /// Whether the store has failed and is not back.
    pub(crate) fn is_in_trouble(&self) -> bool {
        self.is_in_trouble.load(Ordering::Acquire)
    }

    /// The store has failed, and the log says so. Answers whether that is news.
    pub(crate) fn fail(&self, condition: StoreCondition, why: &str) -> bool {
        let is_new = !self.is_in_trouble.swap(true, Ordering::AcqRel);
        self.fault.store(condition as u8, Ordering::Release);
        self.alarm(condition, why);
        is_new
    }

    /// The store was opened anew.
    pub(crate) fn recover(&self) {
        self.is_in_trouble.store(false, Ordering::Release);
    }

    /// The writer looks at what is due.
    pub(crate) fn turn(&self, now: RunningTime) {
        self.turned.store(now.0, Ordering::Relaxed);
    }

    /// For how long the writer has not looked at what is due, and whether it is the disk that it waits for.
    pub(crate) fn turning(&self, now: RunningTime) -> Turning {
        let turned = RunningTime(self.turned.load(Ordering::Relaxed));
        Turning {
            idle: now.since(turned),
            is_at_disk: self.commit_since.load(Ordering::Acquire) > 0 || self.is_in_trouble(),
        }
    }

    /// A commit begins, which may hang from now on.
    pub(crate) fn begin_commit(&self, now: RunningTime) {
        self.commit_since.store(now.0.max(1), Ordering::Release);
    }

    /// It is through, or has failed.
    pub(crate) fn end_commit(&self) {
        self.commit_since.store(0, Ordering::Release);
    }

    /// The free space as last seen.
    pub(crate) fn space_level(&self) -> SpaceLevel {
        *locked(&self.space_level)
    }

    /// So much space there is; `is_over` when nothing else is wrong.
    pub(crate) fn note_space(&self, space_level: SpaceLevel, is_over: bool) {
        self.space
            .store(space_level.condition as u8, Ordering::Release);
        *locked(&self.space_level) = space_level;
        if space_level.condition != StoreCondition::Well {
            let why = format!(
                "{} KiB free, {} KiB are the reserve",
                space_level.free >> 10,
                space_level.reserve >> 10
            );
            self.alarm(space_level.condition, &why);
        } else if is_over {
            self.all_clear();
        }
    }

    /// Says once that an operator is needed.
    fn alarm(&self, condition: StoreCondition, why: &str) {
        if !self.is_reported.swap(true, Ordering::AcqRel) {
            let path = self.path.display();
            let reason = condition.name();
            let advice = condition.advice();
            tracing::error!(%path, reason, why, advice, "the store does not take what it should; messages stay in memory until it does");
        }
    }

    /// Says that the operator is no longer needed, if that was said.
    pub(crate) fn all_clear(&self) {
        if self.is_reported.swap(false, Ordering::AcqRel) {
            tracing::info!(path = %self.path.display(), "the store can be written again");
        }
    }

    /// Whether an operator was told that he is needed.
    #[cfg(test)]
    pub(crate) fn is_reported(&self) -> bool {
        self.is_reported.load(Ordering::Relaxed)
    }
}
