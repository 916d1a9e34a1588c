//! How a source of files ends, and what it does about files at rest: what waits for the disk is `disk`'s.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::TailSource;
use super::disk::ended;
use super::handover::TailNext;
use super::progress::FileProgress;
use super::slot::RestingFile;
use crate::clock::sleep_until;
use crate::link::Stop;
use crate::message::LossReason;

/// What there is for deleted files that nobody goes on with: the lanes end two seconds after the gateway was told to stop, and a source that
/// begins anew, or goes, has ten.
const REST_AT_STOP: Duration = Duration::from_millis(1_500);
const REST: Duration = Duration::from_secs(8);

impl TailSource {
    /// Reads what is gone otherwise, waits until all that was taken is settled, or for the end; and notes it.
    pub(super) async fn leave(&mut self, stop: &mut watch::Receiver<Stop>) {
        let next = self.handover.next();
        let patience = match next {
            TailNext::Stop => REST_AT_STOP,
            TailNext::Nothing | TailNext::Files(_) => REST,
        };
        self.read_rest(&next, Instant::now() + patience, stop).await;
        // The gateway may have begun to stop, and nobody goes on then.
        let (disk, next) = (Arc::clone(&self.disk), self.handover.next());
        let given_up = tokio::task::spawn_blocking(move || disk.give_up(next)).await;
        for one in given_up.unwrap_or_default() {
            let (file, bytes, messages) = (one.file, one.bytes, one.frames);
            tracing::warn!(source = %self.name, file, bytes, messages, "the file is deleted, and not all of it was taken when the source ended: the rest is gone");
            self.desk.lost(LossReason::FileGone, &one.topic, one.frames);
        }
        self.desk.cease();
        let settled = self.desk.settled();
        loop {
            self.settle(true);
            if self.desk.is_empty() || *stop.borrow_and_update() == Stop::Now {
                break;
            }
            tokio::select! {
                changed = stop.changed() => if changed.is_err() {
                    break;
                },
                () = settled.changed() => {}
                () = sleep_until(self.desk.look_at()) => {}
            }
        }
        let (disk, places) = (Arc::clone(&self.disk), self.places.clone());
        let resting = self.rests_to_note(true);
        let noted = tokio::task::spawn_blocking(move || disk.note_all(&places, resting));
        if let Ok(Err(error)) = noted.await {
            tracing::warn!(source = %self.name, %error, "up to where files are read was not noted: some of it comes again");
        }
    }

    /// Takes what the last turn brought, and reads on in deleted files as far as there is room.
    async fn read_rest(
        &mut self,
        next: &TailNext,
        until: Instant,
        stop: &mut watch::Receiver<Stop>,
    ) {
        let settled = self.desk.settled();
        let mut is_known = false;
        loop {
            self.settle(true);
            let now = Instant::now();
            if *stop.borrow_and_update() == Stop::Now || now >= until {
                break;
            }
            let has_more = !is_known || self.rest > 0;
            if self.running.is_none() {
                if !has_more || self.hanging.is_some() {
                    break;
                }
                if !is_known || !self.desk.is_full() {
                    self.begin_turn(!self.desk.is_full(), Some(next.clone()));
                    is_known = true;
                }
            }
            tokio::select! {
                changed = stop.changed() => if changed.is_err() {
                    break;
                },
                ended = ended(&mut self.running) => self.turned(ended),
                () = settled.changed() => {}
                () = sleep_until(self.desk.look_at()) => {}
                () = sleep_until(Some(until)) => {}
            }
        }
        if self.running.is_some() {
            // It does not wait for room, and for a disk that hangs for a while only.
            let last = ended(&mut self.running).await;
            self.turned(last);
        }
    }

    /// Files at rest, where it is time to note them.
    pub(super) fn rests_to_note(&mut self, is_last: bool) -> Option<Vec<Arc<RestingFile>>> {
        let (progress, places) = (&self.progress, &self.places);
        let is_safe = |number: u64| {
            let own = progress.get(&number);
            own.is_none_or(FileProgress::is_settled)
        };
        let own = &self.at_rest;
        let unnoted = own.numbers();
        let unnoted = unnoted.filter(|number| places.contains_key(number) && is_safe(*number));
        let unnoted = unnoted.count();
        self.at_rest
            .due(unnoted, is_safe, (is_last, Instant::now()))
    }

    /// What is noted of files at rest is forgotten by the other notes.
    pub(super) fn rests_noted(&mut self, noted: Option<io::Result<Vec<Arc<RestingFile>>>>) {
        let now = Instant::now();
        match noted {
            None => {}
            Some(Ok(files)) => {
                for one in files.iter().filter(|one| self.at_rest.has(one)) {
                    let number = one.place.number;
                    let own = self.progress.get(&number);
                    if own.is_none_or(FileProgress::is_settled) {
                        self.progress.remove(&number);
                        self.places.remove(&number);
                        self.unnoted.get_or_insert(now);
                    }
                }
            }
            Some(Err(error)) => {
                tracing::warn!(source = %self.name, %error, "up to where files are read that are closed was not noted: after a restart more of them comes again");
                self.at_rest.failed(now);
            }
        }
    }

    /// One is at rest no more.
    pub(super) fn woken(&mut self, number: u64, now: Instant) {
        if let Some(one) = self.at_rest.take(number, now) {
            let place = || one.place.clone();
            self.places.entry(number).or_insert_with(place);
            self.unnoted.get_or_insert(now);
        }
    }
}

/// However it ends, what it has open is for whoever comes next.
impl Drop for TailSource {
    fn drop(&mut self) {
        if self.handover.next() == TailNext::Nothing {
            return;
        }
        let places = std::mem::take(&mut self.places);
        if let Some(left) = self.disk.leave(places) {
            self.handover.leave(left);
        }
    }
}
