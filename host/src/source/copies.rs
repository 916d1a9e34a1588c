//! Copies of one message: a broker may send it once for each subscription that it matches. Where two filters overlap and none
//! covers the other, both are needed, and every copy says for which one it came. No sockets; time is an argument.
//!
//! Of messages with one topic and payload, as many are different ones as came for the subscription that had most of them. So a
//! copy too few, which the broker has left out, costs nothing, and one that comes late is still known.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};

use super::Pattern;
use super::pattern::overlap;
use crate::mqtt::Subscribed;

/// Messages of which a copy is still to come, at most: about a megabyte.
const MOST: usize = 8_192;
/// So long a copy is waited for.
const PATIENCE_US: u64 = 10_000_000;

type Print = [u64; 2];

#[derive(Debug, Default)]
struct Came {
    /// How often for each subscription, in the order of [`Copies::marked`].
    counts: Vec<(usize, u32)>,
    at_us: u64,
}

/// What came of the overlapping subscriptions of one source, on one connection.
#[derive(Debug)]
pub(super) struct Copies {
    /// Subscriptions that overlap others: their ids, and what they take.
    marked: Vec<(u32, Pattern)>,
    keys: [RandomState; 2],
    open: HashMap<Print, Came>,
    order: VecDeque<(u64, Print)>,
}

impl Copies {
    /// Of these filters, those that overlap others.
    pub(super) fn new<'p>(patterns: impl Iterator<Item = &'p Pattern> + Clone) -> Self {
        let filters: Vec<String> = patterns.clone().map(Pattern::filter).collect();
        let overlaps =
            |index: usize| filters.iter().enumerate().any(|(other, filter)| other != index && overlap(&filters[index], filter));
        let marked = patterns
            .enumerate()
            .filter(|(index, _)| overlaps(*index))
            .map(|(index, pattern)| (id(&filters[index]), pattern.clone()))
            .collect();
        Self { marked, keys: [RandomState::new(), RandomState::new()], open: HashMap::new(), order: VecDeque::new() }
    }

    /// The id to subscribe to `filter` with, where it needs one.
    pub(super) fn id(&self, filter: &str) -> Option<u32> {
        self.marked.iter().find(|(_, pattern)| pattern.filter() == filter).map(|(id, _)| *id)
    }

    /// A new connection: what came over the last one is sent again.
    pub(super) fn reconnected(&mut self) {
        self.open.clear();
        self.order.clear();
    }

    /// Whether a message that came for subscription `of` is a copy of one that came for another.
    pub(super) fn is_copy(&mut self, of: Subscribed, topic: &str, payload: &[u8], now_us: u64) -> bool {
        let Subscribed::One(id) = of else { return false };
        let Some(place) = self.marked.iter().position(|(known, _)| *known == id) else { return false };
        let takers = self.marked.iter().filter(|(_, pattern)| pattern.matches(topic).is_some()).count();
        if takers < 2 {
            return false;
        }
        self.forget(now_us);
        let print = [0, 1].map(|key: usize| self.keys[key].hash_one((topic, payload)));
        let came = self.open.entry(print).or_insert_with(|| {
            self.order.push_back((now_us, print));
            Came { counts: Vec::with_capacity(takers), at_us: now_us }
        });
        let most = came.counts.iter().map(|(_, count)| *count).max().unwrap_or(0);
        let own = match came.counts.iter_mut().find(|(known, _)| *known == place) {
            Some((_, count)) => {
                *count += 1;
                *count
            }
            None => {
                came.counts.push((place, 1));
                1
            }
        };
        let is_copy = own <= most;
        if is_copy && came.counts.len() == takers && came.counts.iter().all(|(_, count)| *count == most) {
            self.open.remove(&print);
        }
        is_copy
    }

    fn forget(&mut self, now_us: u64) {
        let limit_us = now_us.saturating_sub(PATIENCE_US);
        while self.order.len() > MOST || self.order.front().is_some_and(|(at_us, _)| *at_us < limit_us) {
            let Some((at_us, print)) = self.order.pop_front() else { break };
            if self.open.get(&print).is_some_and(|came| came.at_us == at_us) {
                self.open.remove(&print);
            }
        }
    }
}

/// FNV-1a in 28 bits: the same in every run, since the broker may hold messages that it has marked with it for an earlier one.
fn id(filter: &str) -> u32 {
    let hash = filter.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (hash & 0x0fff_ffff).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn patterns(filters: &[&str]) -> Vec<Pattern> {
        filters.iter().map(|filter| Pattern::parse(filter).unwrap()).collect()
    }

    fn copies(filters: &[&str]) -> (Copies, Vec<Subscribed>) {
        let patterns = patterns(filters);
        let copies = Copies::new(patterns.iter());
        let ids = filters.iter().map(|filter| copies.id(filter).map_or(Subscribed::Unknown, Subscribed::One)).collect();
        (copies, ids)
    }

    #[test]
    fn only_filters_that_overlap_are_marked() {
        let (copies, ids) = copies(&["a/+/c", "a/b/+", "x/+"]);
        assert_eq!(copies.marked.len(), 2);
        assert!(ids[0] != ids[1] && ids[2] == Subscribed::Unknown);
    }

    #[test]
    fn a_message_for_two_subscriptions_counts_once_and_one_sent_twice_counts_twice() {
        let (mut copies, ids) = copies(&["a/+/c", "a/b/+"]);
        let mut taken = |of, topic: &str| !copies.is_copy(of, topic, b"x", 5);
        assert_eq!([taken(ids[0], "a/b/c"), taken(ids[1], "a/b/c")], [true, false]);
        // The same again, and interleaved.
        assert_eq!(
            [taken(ids[0], "a/b/c"), taken(ids[0], "a/b/c"), taken(ids[1], "a/b/c"), taken(ids[1], "a/b/c")],
            [true, true, false, false]
        );
        // One subscription only, and a broker that does not say or has merged the copies.
        assert!(taken(ids[0], "a/x/c") && taken(ids[0], "a/x/c"));
        assert!(taken(Subscribed::Several, "a/b/c") && taken(Subscribed::Unknown, "a/b/c"));
        assert!(copies.open.is_empty());
    }

    #[test]
    fn a_copy_that_never_comes_is_not_waited_for_long_and_costs_no_later_message() {
        let (mut copies, ids) = copies(&["a/+/c", "a/b/+"]);
        assert!(!copies.is_copy(ids[0], "a/b/c", b"x", 5));
        assert!(!copies.is_copy(ids[0], "a/b/c", b"x", 6));
        assert!(!copies.is_copy(ids[1], "a/b/c", b"x", 7 + PATIENCE_US));
    }

    proptest! {
        #[test]
        fn however_the_copies_are_mixed_each_message_counts_once(counts in proptest::collection::vec(1_usize..4, 1..6), order in any::<u64>()) {
            let (mut copies, ids) = copies(&["a/+/c", "a/b/+", "+/b/c"]);
            let mut arriving: Vec<(usize, usize)> = Vec::new();
            for (payload, count) in counts.iter().enumerate() {
                for _ in 0..*count {
                    arriving.extend((0..3).map(|of| (payload, of)));
                }
            }
            fastrand::Rng::with_seed(order).shuffle(&mut arriving);
            let mut taken = vec![0; counts.len()];
            for (payload, of) in arriving {
                taken[payload] += usize::from(!copies.is_copy(ids[of], "a/b/c", &[payload as u8], 5));
            }
            prop_assert_eq!(taken, counts);
            prop_assert!(copies.open.is_empty());
        }
    }
}
