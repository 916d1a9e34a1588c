//! Which messages of a stream are in hand, and which were acknowledged lately: what comes again of them is no new one. No sockets;
//! time is an argument.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

/// Places that are remembered once they are acknowledged: that may have been lost on its way.
const REMEMBERED: usize = 20_000;

/// A message that is not settled.
#[derive(Debug)]
struct HeldMessage {
    /// Where its acknowledgement goes, as it was told last.
    reply: Bytes,
    /// When the server last heard of it.
    told: Instant,
}

/// What is to be made of a message that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PlaceKind {
    New,
    /// It is being worked on.
    InHand,
    /// It was acknowledged before.
    Settled,
}

#[derive(Debug, Default)]
pub(super) struct MessagesInHand {
    held: BTreeMap<u64, HeldMessage>,
    settled: BTreeSet<u64>,
    order: VecDeque<u64>,
    /// Where was acknowledged what the server is not known to have read, the newest of it, in that order.
    unheard: VecDeque<Bytes>,
    /// So many acknowledgements were said before the first of these.
    heard: u64,
}

impl MessagesInHand {
    pub(super) fn count(&self) -> usize {
        self.held.len()
    }

    /// A message came, and where its acknowledgement goes.
    pub(super) fn came(&mut self, sequence: u64, reply: &Bytes, now: Instant) -> PlaceKind {
        if self.settled.contains(&sequence) {
            return PlaceKind::Settled;
        }
        let held = HeldMessage {
            // A copy: a slice would keep the whole read buffer.
            reply: Bytes::copy_from_slice(reply),
            told: now,
        };
        match self.held.insert(sequence, held) {
            None => PlaceKind::New,
            Some(_) => PlaceKind::InHand,
        }
    }

    /// It is settled: where that is said.
    pub(super) fn settled(&mut self, sequence: u64) -> Option<Bytes> {
        let held = self.held.remove(&sequence)?;
        if self.settled.insert(sequence) {
            self.order.push_back(sequence);
        }
        while self.order.len() > REMEMBERED {
            if let Some(first) = self.order.pop_front() {
                self.settled.remove(&first);
            }
        }
        self.unheard.push_back(held.reply.clone());
        if self.unheard.len() > REMEMBERED {
            self.unheard.pop_front();
            self.heard += 1;
        }
        Some(held.reply)
    }

    /// How many acknowledgements were said.
    pub(super) fn said(&self) -> u64 {
        self.heard + self.unheard.len() as u64
    }

    /// The server has read that many of them.
    pub(super) fn heard(&mut self, said: u64) {
        while self.heard < said && self.unheard.pop_front().is_some() {
            self.heard += 1;
        }
    }

    /// Where those went that it may not have read.
    pub(super) fn unheard(&self) -> impl ExactSizeIterator<Item = &Bytes> {
        self.unheard.iter()
    }

    /// They were lost inside: they are to come again.
    pub(super) fn forget(&mut self, lost: impl Iterator<Item = u64>) {
        for sequence in lost {
            self.held.remove(&sequence);
        }
    }

    /// Of which the server has heard nothing for so long, each with where that is told, counted as told.
    pub(super) fn overdue(&mut self, after: Duration, now: Instant) -> Vec<Bytes> {
        let late = |held: &&mut HeldMessage| now.saturating_duration_since(held.told) >= after;
        let told = self.held.values_mut().filter(late).map(|held| {
            held.told = now;
            held.reply.clone()
        });
        told.collect()
    }

    /// All places in hand.
    pub(super) fn places(&self) -> impl Iterator<Item = u64> {
        self.held.keys().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_again_is_known_while_it_is_in_hand_and_after() {
        let (mut hand, now) = (MessagesInHand::default(), Instant::now());
        let reply = Bytes::from_static(b"r1");
        assert_eq!(hand.came(7, &reply, now), PlaceKind::New);
        assert_eq!(
            hand.came(7, &Bytes::from_static(b"r2"), now),
            PlaceKind::InHand
        );
        assert_eq!(hand.settled(7).as_deref(), Some(&b"r2"[..]));
        assert_eq!((hand.settled(7), hand.count()), (None, 0));
        assert_eq!(hand.came(7, &reply, now), PlaceKind::Settled);
        assert_eq!(hand.came(8, &reply, now), PlaceKind::New);
        hand.forget([8].into_iter());
        assert_eq!(hand.came(8, &reply, now), PlaceKind::New);
        for sequence in 100..100 + 2 * REMEMBERED as u64 {
            hand.came(sequence, &reply, now);
            hand.settled(sequence);
        }
        assert_eq!(
            (hand.settled.len(), hand.order.len()),
            (REMEMBERED, REMEMBERED)
        );
    }

    #[test]
    fn what_was_said_is_known_until_the_server_has_read_it() {
        let (mut hand, now) = (MessagesInHand::default(), Instant::now());
        for sequence in 0..5 {
            hand.came(sequence, &Bytes::from(format!("r{sequence}")), now);
            hand.settled(sequence);
            if sequence == 2 {
                hand.heard(hand.said());
            }
        }
        let unheard = |hand: &MessagesInHand| hand.unheard().cloned().collect::<Vec<_>>();
        assert_eq!(unheard(&hand), ["r3", "r4"]);
        assert_eq!(hand.said(), 5);
        hand.heard(4);
        hand.heard(2);
        assert_eq!(unheard(&hand), ["r4"]);
        for sequence in 100..100 + 2 * REMEMBERED as u64 {
            hand.came(sequence, &Bytes::from_static(b"r"), now);
            hand.settled(sequence);
        }
        assert_eq!(hand.unheard().len(), REMEMBERED);
        assert_eq!(hand.said(), 5 + 2 * REMEMBERED as u64);
    }

    #[test]
    fn the_server_hears_of_what_waits_before_it_would_send_it_again() {
        let (mut hand, start) = (MessagesInHand::default(), Instant::now());
        let second = Duration::from_secs(1);
        hand.came(1, &Bytes::from_static(b"a"), start);
        hand.came(2, &Bytes::from_static(b"b"), start + 2 * second);
        assert_eq!(hand.overdue(3 * second, start + 3 * second), [&b"a"[..]]);
        assert!(hand.overdue(3 * second, start + 4 * second).is_empty());
        assert_eq!(hand.overdue(3 * second, start + 5 * second), [&b"b"[..]]);
        assert_eq!(hand.places().collect::<Vec<_>>(), [1, 2]);
    }
}
