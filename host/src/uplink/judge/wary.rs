//! Devices of which a message was convicted: what else comes of them is tried with care, so that the others need not wait for
//! one connection after the other.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::case::{Face, REMEMBERED};

/// How many of its messages have to be accepted before the rest is sent as any other: as many again with each conviction.
const MOST: u32 = 16;
/// From which number on one more of its key is as good as known.
const OFTEN: u32 = 4;
/// How long that is remembered.
const FORGOTTEN: Duration = Duration::from_secs(600);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offence {
    /// Upstream ended connections over it.
    HangUp,
    /// Upstream did not answer it.
    Mute,
}

#[derive(Clone, Copy, Debug)]
struct Convicted {
    key: u64,
    topic: u64,
    kind: Offence,
    at: Instant,
    /// How many have to be accepted, and how many still.
    price: u32,
    left: u32,
}

#[derive(Debug, Default)]
pub(super) struct Wary {
    /// The last convicted one is the last.
    entries: VecDeque<Convicted>,
}

impl Wary {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// In which way it is tried, if it is.
    pub(super) fn kind(&self, face: Face) -> Option<Offence> {
        let is_it = |entry: &&Convicted| entry.key == face.key || entry.topic == face.topic;
        self.entries
            .iter()
            .rev()
            .find(is_it)
            .map(|entry| entry.kind)
    }

    /// Whether upstream ended connections over this topic, or again and again over others of its key.
    pub(super) fn is_sure(&self, face: Face) -> bool {
        let is_it = |entry: &Convicted| {
            entry.topic == face.topic || (entry.key == face.key && entry.price >= OFTEN)
        };
        let mut entries = self.entries.iter();
        entries.any(|entry| entry.kind == Offence::HangUp && is_it(entry))
    }

    pub(super) fn convicted(&mut self, face: Face, kind: Offence, at: Instant) {
        let known = self.entries.iter().position(|entry| entry.key == face.key);
        let known = known.and_then(|place| self.entries.remove(place));
        let price = known.map_or(1, |entry| (entry.price * 2).min(MOST));
        self.entries.push_back(Convicted {
            key: face.key,
            topic: face.topic,
            kind,
            at,
            price,
            left: price,
        });
        if self.entries.len() > REMEMBERED {
            self.entries.pop_front();
        }
    }

    /// One that was tried is accepted: whether the others of its key may go.
    pub(super) fn accepted(&mut self, face: Face) -> bool {
        for entry in &mut self.entries {
            if entry.key == face.key || entry.topic == face.topic {
                entry.left = entry.left.saturating_sub(1);
            }
        }
        let before = self.entries.len();
        self.entries.retain(|entry| entry.left > 0);
        self.entries.len() < before && self.kind(face).is_none()
    }

    pub(super) fn forget(&mut self, now: Instant) {
        self.entries
            .pop_front_if(|entry| entry.at + FORGOTTEN <= now);
    }
}
