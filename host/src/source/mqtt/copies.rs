//! Copies of one message: a broker may send it once for each subscription that it matches. Where two filters overlap and none
//! covers the other, both are needed, and every copy says for which one it came. No sockets; time is an argument.
//!
//! Two messages may have one topic and payload, and a broker may leave copies out. So a message is dropped only where it can
//! be nothing but a copy: it comes right behind the first, under the next packet id, for another subscription, and the broker
//! did send copies of the message before. A broker sends the copies of one message together. In doubt it goes on, twice.

use std::hash::{BuildHasher, RandomState};

use crate::clock::Uptime;
use crate::message::Pattern;
use crate::message::pattern::overlap;
use crate::mqtt::{Publish, Subscribed};

/// A copy that comes later than that behind another is taken for a message of its own.
const TOGETHER_US: u64 = 50_000;

type Print = [u64; 2];

/// A message, and the copies that came right behind it.
#[derive(Debug)]
struct CopyRun {
    print: Print,
    /// Of the last of them; `None` for level 0.
    packet_id: Option<u16>,
    at: Uptime,
    /// The subscriptions they came for.
    came: Vec<u32>,
}

impl CopyRun {
    fn is_followed_by(&self, next: &Self) -> bool {
        let is_next_id = match (self.packet_id, next.packet_id) {
            (Some(last), Some(id)) => id == last.checked_add(1).unwrap_or(1),
            (last, id) => last == id,
        };
        is_next_id
            && next.at.us_since(self.at) <= TOGETHER_US
            && self.print == next.print
            && next.came.iter().all(|of| !self.came.contains(of))
    }
}

/// What came of the overlapping subscriptions of one source, on one connection.
#[derive(Debug)]
pub(super) struct Copies {
    /// Subscriptions that overlap others: their ids, and what they take.
    marked: Vec<(u32, Pattern)>,
    keys: [RandomState; 2],
    /// What came last, if several subscriptions take it.
    last: Option<CopyRun>,
    /// Of the last message that several subscriptions take, several copies came. A broker that sends one is free to choose
    /// for which of them.
    sends_copies: bool,
}

impl Copies {
    /// Of these filters, those that overlap others.
    pub(super) fn new<'p>(patterns: impl Iterator<Item = &'p Pattern> + Clone) -> Self {
        let filters: Vec<String> = patterns.clone().map(Pattern::filter).collect();
        let overlaps = |index: usize| {
            filters
                .iter()
                .enumerate()
                .any(|(other, filter)| other != index && overlap(&filters[index], filter))
        };
        let marked = patterns
            .enumerate()
            .filter(|(index, _)| overlaps(*index))
            .map(|(index, pattern)| (id(&filters[index]), pattern.clone()))
            .collect();
        Self {
            marked,
            keys: [RandomState::new(), RandomState::new()],
            last: None,
            sends_copies: true,
        }
    }

    /// The id to subscribe to `filter` with, where it needs one.
    pub(super) fn id(&self, filter: &str) -> Option<u32> {
        self.marked
            .iter()
            .find(|(_, pattern)| pattern.filter() == filter)
            .map(|(id, _)| *id)
    }

    /// A new connection: what came over the last one is sent again.
    pub(super) fn reconnected(&mut self) {
        (self.last, self.sends_copies) = (None, true);
    }

    /// Something came that is no copy: what comes next is none of what came before.
    pub(super) fn interrupted(&mut self) {
        if let Some(last) = self.last.take() {
            self.sends_copies = last.came.len() > 1;
        }
    }

    /// Whether a message that came under `packet_id` is a copy of the one that came right before.
    pub(super) fn is_copy(
        &mut self,
        publish: &Publish,
        packet_id: Option<u16>,
        now: Uptime,
    ) -> bool {
        if self.marked.is_empty() {
            return false;
        }
        let topic = str::from_utf8(&publish.topic).unwrap_or_default();
        let Some(of) = self.place(publish.subscription, topic) else {
            self.interrupted();
            return false;
        };
        let content = (&publish.topic, &publish.payload, &publish.headers);
        let print = [0, 1].map(|key: usize| self.keys[key].hash_one(content));
        let next = CopyRun {
            print,
            packet_id,
            at: now,
            came: vec![of],
        };
        match &mut self.last {
            Some(last) if last.is_followed_by(&next) => {
                last.came.push(of);
                (last.packet_id, last.at) = (packet_id, now);
                self.sends_copies
            }
            _ => {
                self.interrupted();
                self.last = Some(next);
                false
            }
        }
    }

    /// The subscription, where it is one of several that take `topic`.
    fn place(&self, of: Subscribed, topic: &str) -> Option<u32> {
        let Subscribed::One(id) = of else { return None };
        let is_marked = self.marked.iter().any(|(known, _)| *known == id);
        let takers = || {
            self.marked
                .iter()
                .filter(|(_, pattern)| pattern.matches(topic).is_some())
        };
        (is_marked && takers().nth(1).is_some()).then_some(id)
    }
}

/// FNV-1a in 28 bits: the same in every run, since the broker may hold messages that it has marked with it for an earlier one.
fn id(filter: &str) -> u32 {
    let hash = filter.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    (hash & 0x0fff_ffff).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a connection with these filters takes: a message of subscription `.0`, with payload `.1`, id `.2`, at `.3` ms.
    fn taken(filters: &[&str], arriving: &[(usize, &'static str, u16, u64)]) -> Vec<bool> {
        let patterns: Vec<Pattern> = filters
            .iter()
            .map(|filter| Pattern::parse(filter).unwrap())
            .collect();
        let mut copies = Copies::new(patterns.iter());
        let ids: Vec<_> = filters
            .iter()
            .map(|filter| {
                copies
                    .id(filter)
                    .map_or(Subscribed::Unknown, Subscribed::One)
            })
            .collect();
        let mut takes = |&(of, payload, id, at_ms): &(usize, &'static str, u16, u64)| {
            let message = Publish {
                topic: "a/b/c".into(),
                payload: payload.into(),
                ..Publish::default()
            };
            {
                let publish = Publish {
                    subscription: ids[of],
                    ..message
                };
                !copies.is_copy(&publish, (id > 0).then_some(id), Uptime(at_ms * 1_000))
            }
        };
        arriving.iter().map(&mut takes).collect()
    }

    const TWO: [&str; 2] = ["a/+/c", "a/b/+"];

    #[test]
    fn only_filters_that_overlap_are_marked() {
        let filters = ["a/+/c", "a/b/+", "x/+"].map(|filter| Pattern::parse(filter).unwrap());
        let copies = Copies::new(filters.iter());
        let ids = ["a/+/c", "a/b/+", "x/+"].map(|filter| copies.id(filter));
        assert!(
            copies.marked.len() == 2 && ids[0].is_some() && ids[0] != ids[1] && ids[2].is_none()
        );
    }

    #[test]
    fn copies_that_come_together_count_once_and_a_message_that_is_sent_twice_counts_twice() {
        assert_eq!(
            taken(
                &TWO,
                &[
                    (0, "x", 1, 5),
                    (1, "x", 2, 5),
                    (0, "x", 3, 5),
                    (1, "x", 4, 5)
                ]
            ),
            [true, false, true, false]
        );
        assert_eq!(
            taken(&TWO, &[(0, "x", 65_535, 5), (1, "x", 1, 6), (0, "y", 2, 6)]),
            [true, false, true]
        );
        assert_eq!(
            taken(
                &TWO,
                &[
                    (0, "x", 0, 5),
                    (1, "x", 0, 5),
                    (1, "y", 0, 5),
                    (0, "y", 0, 5)
                ]
            ),
            [true, false, true, false]
        );
        let three = ["a/+/c", "a/b/+", "+/b/c"];
        assert_eq!(
            taken(
                &three,
                &[
                    (2, "x", 1, 5),
                    (0, "x", 2, 5),
                    (1, "x", 3, 5),
                    (1, "x", 4, 5)
                ]
            ),
            [true, false, false, true]
        );
    }

    #[test]
    fn a_broker_that_sends_one_copy_for_any_of_them_loses_nothing() {
        let alternately = |pause_ms| {
            [0_u16, 1, 2, 3].map(|n| (usize::from(n % 2), "x", n + 1, u64::from(n) * pause_ms))
        };
        assert_eq!(taken(&TWO, &alternately(1_500)), [true; 4]);
        assert_eq!(taken(&TWO, &alternately(51)), [true; 4]);
        // It has sent one of the message before, so that these are two.
        assert_eq!(
            taken(&TWO, &[(0, "w", 1, 0), (0, "x", 2, 0), (1, "x", 3, 0)]),
            [true; 3]
        );
    }

    #[test]
    fn where_copies_were_left_out_in_doubt_a_message_counts_twice() {
        // For want of room the broker has left out one copy of each of two messages; it gives ids to what it leaves out.
        assert_eq!(taken(&TWO, &[(0, "x", 1, 5), (1, "x", 4, 5)]), [true; 2]);
        // One copy stands apart, or another message stands between.
        assert_eq!(
            taken(&TWO, &[(0, "x", 1, 5), (1, "y", 2, 5), (1, "x", 3, 5)]),
            [true; 3]
        );
        // It sends copies again.
        let again = [
            (0, "w", 1, 0),
            (0, "x", 2, 0),
            (1, "x", 3, 0),
            (0, "y", 4, 0),
            (1, "y", 5, 0),
        ];
        assert_eq!(taken(&TWO, &again), [true, true, true, true, false]);
        // Of level 1 and of level 0.
        assert_eq!(taken(&TWO, &[(0, "x", 0, 5), (1, "x", 1, 5)]), [true; 2]);
    }

    #[test]
    fn what_differs_in_a_header_or_does_not_say_for_what_it_came_is_no_copy() {
        let patterns = TWO.map(|filter| Pattern::parse(filter).unwrap());
        let mut copies = Copies::new(patterns.iter());
        let ids = TWO.map(|filter| Subscribed::One(copies.id(filter).unwrap()));
        let message = Publish {
            topic: "a/b/c".into(),
            ..Publish::default()
        };
        let other = Publish {
            headers: "h".into(),
            ..message.clone()
        };
        let elsewhere = Publish {
            topic: "a/x/c".into(),
            ..message.clone()
        };
        let mut taken = |subscription, message: &Publish, id| {
            let publish = Publish {
                subscription,
                ..message.clone()
            };
            !copies.is_copy(&publish, Some(id), Uptime(5))
        };
        assert!(taken(ids[0], &message, 1) && taken(ids[1], &other, 2));
        assert!(taken(ids[0], &elsewhere, 3) && taken(ids[0], &elsewhere, 4));
        assert!(taken(Subscribed::Several, &message, 5) && taken(Subscribed::Unknown, &message, 6));
    }
}
