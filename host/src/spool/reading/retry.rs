//! A queue whose next chunk cannot be read at the moment: that is a condition, not damage. It is tried again with a delay
//! that doubles; other queues go on. Only when the disk is well otherwise, and has been asked for long enough, does what
//! lies there count as lost.

use std::time::Duration;

use crate::clock::RunningTime;
use crate::message::Seq;
use crate::spool::account::UnreadableQueue;
use crate::spool::disk::error::{StoreError, describe};
use crate::spool::disk::folder::prove;
use crate::spool::disk::store::Store;
use crate::spool::lock::locked;
use crate::spool::reading::reader::QueueReader;
use crate::spool::reading::sick::Sick;
use crate::spool::shared::Shared;

/// The first delay before a chunk is read again, and the longest.
const RETRY_US: (u64, u64) = (100_000, 5_000_000);
/// How long a disk that takes writes may refuse to give one chunk back.
const PATIENCE_US: u64 = if cfg!(test) { 500_000 } else { 30_000_000 };
/// How often it has to have refused at least: of a process that stood still, time says nothing.
const TRIES: u32 = if cfg!(test) { 4 } else { 8 };
/// How long a reader waits at most.
const WAIT: Duration = Duration::from_secs(1);

impl Shared {
    /// Queues that stand still since what they owe cannot be read.
    pub(crate) fn unreadable(&self) -> Vec<UnreadableQueue> {
        let now = self.clock.now();
        let sick = |slot: &crate::spool::shared::slot::Slot| {
            let told = |sick: &Sick| {
                let since = now.since(sick.since);
                UnreadableQueue {
                    queue: slot.name.clone(),
                    why: sick.why.clone(),
                    since,
                }
            };
            locked(&slot.sick).as_ref().map(told)
        };
        self.slots.iter().filter_map(sick).collect()
    }
}

impl QueueReader<'_> {
    /// Whether it is time to read; waits a little where it is not.
    pub(crate) fn may_try(&self) -> bool {
        let now = self.shared.clock.now();
        let next = locked(&self.slot.sick)
            .as_ref()
            .map_or(RunningTime::START, |sick| sick.next);
        if next <= now {
            return true;
        }
        let wait = next.since(now);
        self.shared.end.pause(wait.min(WAIT));
        wait <= WAIT
    }

    /// What it owes can be read.
    pub(crate) fn recover(&self) {
        if locked(&self.slot.sick).take().is_some() {
            tracing::info!(
                queue = self.slot.name,
                "what this queue owes can be read again"
            );
        }
    }

    /// The chunk at `place` cannot be read: it is tried again later.
    pub(crate) fn fall_sick(&self, store: &Store, error: &StoreError, place: Seq) {
        let now = self.shared.clock.now();
        let why = describe(error);
        let (since, tries) = {
            let mut sick = locked(&self.slot.sick);
            let is_new = sick.as_ref().is_none_or(|sick| sick.why != why);
            if is_new {
                let queue = &self.slot.name;
                tracing::error!(
                    queue,
                    place = place.0,
                    why,
                    "what this queue owes cannot be read: it waits and is tried again; others go on"
                );
            }
            let first = Sick {
                since: now,
                next: RunningTime::START,
                delay_us: RETRY_US.0,
                tries: 0,
                why: why.clone(),
            };
            let sick = sick.get_or_insert(first);
            sick.why = why.clone();
            sick.next = now.plus_us(sick.delay_us);
            sick.delay_us = (sick.delay_us * 2).min(RETRY_US.1);
            sick.tries = sick.tries.saturating_add(1);
            (sick.since, sick.tries)
        };
        let is_over = now.us_since(since) > PATIENCE_US && tries >= TRIES;
        // What a newer version wrote waits for that one.
        if is_over
            && matches!(error, StoreError::Unread(_))
            && prove(&self.shared.config.path).is_ok()
        {
            self.pass_over(store, place, &why);
        }
    }

    /// The disk is well, and does not give this chunk back.
    fn pass_over(&self, store: &Store, place: Seq, why: &str) {
        locked(&self.slot.sick).take();
        match store.known(self.index, place) {
            Ok(Some((places, count))) => {
                self.lose(
                    place..places.end,
                    Some(count),
                    &format!("the disk does not give its chunk back: {why}"),
                );
            }
            // It lies in a file that could not be looked through.
            Ok(None) => store.give_up_sick(self.index),
            Err(error) => self.shared.report_trouble(&error),
        }
    }
}
