//! What a source of files leaves to the one that comes after it: the files that it has open, so that what stands in deleted ones is not
//! gone with it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::followed::FollowedFile;
use super::mark::{FileId, ReadPlace};
use super::pattern::FilePattern;
use super::slot::RestingFile;

/// What comes after a source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TailNext {
    /// Nothing, as the gateway stops.
    #[default]
    Stop,
    /// Nothing: it is gone for good.
    Nothing,
    /// One that follows these.
    Files(FilePattern),
}

impl TailNext {
    /// Whether a file that was found at a path is followed by whoever comes after.
    pub(super) fn takes(&self, place: &ReadPlace) -> bool {
        matches!(self, Self::Files(pattern) if pattern.covers(&place.home))
    }
}

/// What is left of a source: what is open, and up to where all of it is safe.
#[derive(Debug, Default)]
pub(super) struct LeftFiles {
    pub(super) files: BTreeMap<u64, FollowedFile>,
    pub(super) places: BTreeMap<u64, ReadPlace>,
    pub(super) resting: BTreeMap<FileId, Arc<RestingFile>>,
    pub(super) away: VecDeque<(ReadPlace, Instant)>,
    /// The number that the next file has.
    pub(super) next: u64,
}

/// Where one source leaves its files for the next one of its name.
#[derive(Clone, Debug, Default)]
pub struct TailHandover(Arc<Mutex<(TailNext, Option<LeftFiles>)>>);

impl TailHandover {
    /// Tells the source what comes after it, before it is told to leave.
    pub(in crate::source) fn tell(&self, next: TailNext) {
        self.own().0 = next;
    }

    pub(super) fn next(&self) -> TailNext {
        self.own().0.clone()
    }

    pub(super) fn leave(&self, files: LeftFiles) {
        self.own().1 = Some(files);
    }

    /// What the one before has left, for one that begins.
    pub(super) fn take(&self) -> Option<LeftFiles> {
        let mut own = self.own();
        own.0 = TailNext::Stop;
        own.1.take()
    }

    fn own(&self) -> MutexGuard<'_, (TailNext, Option<LeftFiles>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
