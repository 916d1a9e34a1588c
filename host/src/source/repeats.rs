//! Which messages a flow has had before, by the ids they carry: a command that is sent twice reaches the device once.
//! Bounded in time and number, in memory only: over a restart nothing is known, since every id would have to be written. No
//! sockets, no clock.
//!
//! A repeat is dropped, and acknowledged not before the first copy is safe. Over one connection the order of the
//! acknowledgements sees to that, where they have one; else, and where the first came over an earlier connection, the repeat
//! waits for it.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::unsettled::AckOrder;
use crate::clock::Uptime;
use crate::message::{Headers, Message, Progress};

/// Ids remembered at most, of one flow on one source connection: about a megabyte.
const MOST: usize = 10_000;

/// By what messages are known again, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dedup {
    /// Headers that may hold the id; the first that is there counts.
    pub headers: Vec<Arc<str>>,
    /// How long an id is remembered.
    pub window: Duration,
}

/// An id with the name of its header and the topic, hashed with keys of this process: two never meet by accident or on
/// purpose. Devices number their own messages, and some each of their topics, so that an id says nothing about another
/// topic's. What a flow calls its key says nothing either: it may be a whole site.
type IdHash = [u64; 2];

/// The first copy of a message.
#[derive(Debug)]
struct First {
    at: Uptime,
    copy: Copy,
}

#[derive(Debug)]
enum Copy {
    /// Nobody waits for its acknowledgement.
    Unclaimed,
    /// Of the burst that is being sorted, with this receipt.
    Here(u32),
    /// Of an earlier burst, taken over connection number `connection`.
    Earlier {
        progress: Weak<Progress>,
        index: usize,
        connection: u64,
    },
}

/// What is known of a message.
#[derive(Debug)]
pub(super) enum SeenBefore {
    New,
    Repeat,
    /// The same, and it is acknowledged when message `1` of that burst is settled.
    UnderWay(Arc<Progress>, usize),
}

/// The ids of one flow.
#[derive(Debug)]
pub(super) struct Repeats {
    rule: Dedup,
    keys: [RandomState; 2],
    known: HashMap<IdHash, First>,
    order: VecDeque<(Uptime, IdHash)>,
    /// Of the burst that is being sorted.
    fresh: Vec<IdHash>,
    connection: u64,
    order_of_acks: AckOrder,
}

impl Repeats {
    pub(super) fn new(rule: Dedup, order_of_acks: AckOrder) -> Self {
        let known = HashMap::new();
        let order = VecDeque::new();
        let fresh = Vec::new();
        Self {
            rule,
            keys: [RandomState::new(), RandomState::new()],
            known,
            order,
            fresh,
            connection: 0,
            order_of_acks,
        }
    }

    /// Looks whether `message` was there before, and remembers it if not. `claim` is its receipt in this burst, if it has one;
    /// `now` the monotonic clock.
    pub(super) fn look(
        &mut self,
        message: &Message,
        claim: Option<u32>,
        now: Uptime,
    ) -> SeenBefore {
        let Some(id) = self.id(message) else {
            return SeenBefore::New;
        };
        self.forget_before(
            now.minus_us(u64::try_from(self.rule.window.as_micros()).unwrap_or(u64::MAX)),
        );
        if let Some(first) = self.known.get(&id) {
            match (claim, &first.copy) {
                (None, _) | (Some(_), Copy::Here(_)) => return SeenBefore::Repeat,
                // It can be lost, and this one must not be.
                (Some(_), Copy::Unclaimed) => {}
                (Some(_), Copy::Earlier { connection, .. })
                    if *connection == self.connection
                        && self.order_of_acks == AckOrder::Arrival =>
                {
                    return SeenBefore::Repeat;
                }
                (
                    Some(_),
                    Copy::Earlier {
                        progress, index, ..
                    },
                ) => match progress.upgrade() {
                    Some(progress) if progress.has_fallen() => {}
                    Some(progress) if !progress.is_settled(*index) => {
                        return SeenBefore::UnderWay(progress, *index);
                    }
                    _ => return SeenBefore::Repeat,
                },
            }
        }
        self.remember(id, claim, now);
        SeenBefore::New
    }

    fn remember(&mut self, id: IdHash, claim: Option<u32>, now: Uptime) {
        let copy = claim.map_or(Copy::Unclaimed, Copy::Here);
        self.known.insert(id, First { at: now, copy });
        self.order.push_back((now, id));
        self.fresh.push(id);
        if self.order.len() > MOST
            && let Some((at, id)) = self.order.pop_front()
        {
            self.forget_one(at, &id);
        }
    }

    /// The burst is sorted; `progress` is that of its receipts.
    pub(super) fn sorted(&mut self, progress: Option<&Arc<Progress>>) {
        for id in self.fresh.drain(..) {
            if let Some(First { copy, .. }) = self.known.get_mut(&id)
                && let (Copy::Here(index), Some(progress)) = (&*copy, progress)
            {
                let progress = Arc::downgrade(progress);
                let index = *index as usize;
                *copy = Copy::Earlier {
                    progress,
                    index,
                    connection: self.connection,
                };
            }
        }
    }

    /// A new connection: what came over the last one is acknowledged no more.
    pub(super) fn reconnected(&mut self) {
        self.connection += 1;
    }

    /// Messages were lost inside, and which is not known: what comes again must pass.
    pub(super) fn forget_all(&mut self) {
        self.known.clear();
        self.order.clear();
    }

    fn forget_before(&mut self, limit: Uptime) {
        while let Some((at, id)) = self.order.pop_front_if(|(at, _)| *at < limit) {
            self.forget_one(at, &id);
        }
    }

    fn forget_one(&mut self, at: Uptime, id: &IdHash) {
        if self.known.get(id).is_some_and(|first| first.at == at) {
            self.known.remove(id);
        }
    }

    /// An id without a byte is none.
    fn id(&self, message: &Message) -> Option<IdHash> {
        if message.headers.is_empty() {
            return None;
        }
        let id = |name| {
            Headers(&message.headers)
                .get(name)
                .filter(|id| !id.is_empty())
        };
        let found = self
            .rule
            .headers
            .iter()
            .find_map(|name| Some((name, id(name)?)))?;
        let of = (found, &message.topic);
        Some([self.keys[0].hash_one(of), self.keys[1].hash_one(of)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Burst, Settled, push_header};

    const WINDOW_US: u64 = 60_000_000;

    fn repeats() -> Repeats {
        repeats_in(AckOrder::Arrival)
    }

    fn repeats_in(order: AckOrder) -> Repeats {
        let headers = vec!["id".into(), ":correlation-data".into()];
        let window = Duration::from_micros(WINDOW_US);
        Repeats::new(Dedup { headers, window }, order)
    }

    fn message(name: &str, id: &str) -> Message {
        let mut headers = Vec::new();
        push_header(&mut headers, name, id.as_bytes()).unwrap();
        Message {
            topic: "d/d7/command".into(),
            headers: headers.into(),
            ..Message::default()
        }
    }

    fn command() -> Message {
        message("id", "7")
    }

    fn burst() -> Arc<Burst> {
        Burst::new(Arc::new(Settled::default()), [1])
    }

    #[test]
    fn an_id_is_known_for_its_time_and_one_under_another_name_is_another() {
        let mut repeats = repeats();
        assert!(matches!(
            repeats.look(&command(), Some(0), Uptime(5)),
            SeenBefore::New
        ));
        assert!(matches!(
            repeats.look(&command(), Some(1), Uptime(6)),
            SeenBefore::Repeat
        ));
        assert!(matches!(
            repeats.look(&message(":correlation-data", "7"), Some(2), Uptime(6)),
            SeenBefore::New
        ));
        assert!(matches!(
            repeats.look(&message("other", "7"), Some(3), Uptime(6)),
            SeenBefore::New
        ));
        assert!(matches!(
            repeats.look(&message("other", "7"), Some(4), Uptime(6)),
            SeenBefore::New
        ));
        repeats.sorted(Some(&burst().progress()));
        assert!(matches!(
            repeats.look(&command(), Some(0), Uptime(5 + WINDOW_US)),
            SeenBefore::Repeat
        ));
        assert!(matches!(
            repeats.look(&command(), Some(0), Uptime(6 + WINDOW_US)),
            SeenBefore::New
        ));
    }

    #[test]
    fn an_id_counts_within_its_topic() {
        let mut repeats = repeats();
        for topic in [
            "barn/d7/command",
            "barn/d8/command",
            "barn/d7/other",
            "shed/d7/command",
        ] {
            let message = Message {
                topic: topic.into(),
                ..command()
            };
            assert!(
                matches!(repeats.look(&message, Some(0), Uptime(5)), SeenBefore::New),
                "{topic}"
            );
            assert!(
                matches!(
                    repeats.look(&message, Some(1), Uptime(6)),
                    SeenBefore::Repeat
                ),
                "{topic}"
            );
        }
    }

    #[test]
    fn an_empty_id_is_none() {
        let mut repeats = repeats();
        for name in ["id", ":correlation-data"] {
            for _ in 0..2 {
                assert!(
                    matches!(
                        repeats.look(&message(name, ""), Some(0), Uptime(5)),
                        SeenBefore::New
                    ),
                    "{name}"
                );
            }
        }
        let mut both = Vec::new();
        push_header(&mut both, "id", b"").unwrap();
        push_header(&mut both, ":correlation-data", b"7").unwrap();
        let both = Message {
            headers: both.into(),
            ..command()
        };
        assert!(matches!(
            repeats.look(&both, Some(0), Uptime(5)),
            SeenBefore::New
        ));
        assert!(matches!(
            repeats.look(&both, Some(1), Uptime(5)),
            SeenBefore::Repeat
        ));
    }

    #[test]
    fn beyond_their_number_the_oldest_are_forgotten() {
        let mut repeats = repeats();
        for number in 0..=MOST {
            assert!(matches!(
                repeats.look(&message("id", &number.to_string()), Some(0), Uptime(5)),
                SeenBefore::New
            ));
        }
        assert_eq!((repeats.known.len(), repeats.order.len()), (MOST, MOST));
        assert!(matches!(
            repeats.look(&message("id", "1"), Some(0), Uptime(5)),
            SeenBefore::Repeat
        ));
        assert!(matches!(
            repeats.look(&message("id", "0"), Some(0), Uptime(5)),
            SeenBefore::New
        ));
    }

    #[test]
    fn a_repeat_over_a_new_connection_waits_for_a_first_copy_that_is_under_way() {
        let (mut repeats, burst) = (repeats(), burst());
        repeats.look(&command(), Some(0), Uptime(5));
        repeats.sorted(Some(&burst.progress()));
        assert!(matches!(
            repeats.look(&command(), Some(0), Uptime(6)),
            SeenBefore::Repeat
        ));
        repeats.reconnected();
        let SeenBefore::UnderWay(progress, 0) = repeats.look(&command(), Some(0), Uptime(7)) else {
            panic!("it does not wait")
        };
        assert!(matches!(
            repeats.look(&command(), None, Uptime(7)),
            SeenBefore::Repeat
        ));
        burst.receipt(0).release();
        assert!(
            progress.is_settled(0)
                && matches!(
                    repeats.look(&command(), Some(0), Uptime(8)),
                    SeenBefore::Repeat
                )
        );
        drop((burst, progress));
        assert!(matches!(
            repeats.look(&command(), Some(0), Uptime(9)),
            SeenBefore::Repeat
        ));
    }

    #[test]
    fn where_acknowledgements_have_no_order_a_repeat_always_waits_for_its_first_copy() {
        let (mut repeats, burst) = (repeats_in(AckOrder::Any), burst());
        repeats.look(&command(), Some(0), Uptime(5));
        repeats.sorted(Some(&burst.progress()));
        let seen = repeats.look(&command(), Some(0), Uptime(6));
        assert!(matches!(seen, SeenBefore::UnderWay(_, 0)));
        burst.receipt(0).release();
        assert!(matches!(
            repeats.look(&command(), Some(0), Uptime(7)),
            SeenBefore::Repeat
        ));
    }

    #[test]
    fn a_repeat_of_what_was_lost_or_may_be_lost_goes_on() {
        let (mut repeats, burst) = (repeats(), burst());
        let progress = burst.progress();
        repeats.look(&command(), Some(0), Uptime(5));
        repeats.sorted(Some(&progress));
        drop(burst);
        repeats.reconnected();
        assert!(matches!(
            repeats.look(&command(), Some(0), Uptime(6)),
            SeenBefore::New
        ));
        repeats.forget_all();
        assert!(matches!(
            repeats.look(&command(), None, Uptime(7)),
            SeenBefore::New
        ));
        repeats.sorted(None);
        assert!(matches!(
            repeats.look(&command(), None, Uptime(8)),
            SeenBefore::Repeat
        ));
        assert!(matches!(
            repeats.look(&command(), Some(0), Uptime(8)),
            SeenBefore::New
        ));
    }
}
