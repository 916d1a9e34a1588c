//! Answers that went out by themselves and are not acknowledged yet: each is sent again, ever more seldom, and given up at last (RFC 7252,
//! 4.2 and 4.8). No sockets; time is an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::exchanges::ExchangeKey;

/// Until it is sent again for the first time: ACK_TIMEOUT, or up to half as much again (ACK_RANDOM_FACTOR).
const FIRST: Duration = Duration::from_secs(2);
/// How often it is (MAX_RETRANSMIT).
const AGAIN: u32 = 4;
/// Of one address: somebody else may have written it on the requests, and it is not to be flooded.
const MOST_OF_ONE: usize = 8;

#[derive(Debug)]
struct PendingReply {
    datagram: Vec<u8>,
    at: Instant,
    pause: Duration,
    left: u32,
}

pub(super) struct PendingReplies {
    waiting: BTreeMap<ExchangeKey, PendingReply>,
    due: BTreeSet<(Instant, ExchangeKey)>,
    most: usize,
}

impl PendingReplies {
    /// So many at a time.
    pub(super) fn new(most: usize) -> Self {
        Self {
            waiting: BTreeMap::new(),
            due: BTreeSet::new(),
            most,
        }
    }

    /// Whether one more to `whom` is waited for; else it goes out once.
    pub(super) fn has_room(&self, whom: SocketAddr) -> bool {
        let of_one = self.waiting.range((whom, 0)..=(whom, u16::MAX)).count();
        self.waiting.len() < self.most && of_one < MOST_OF_ONE
    }

    /// One has gone out under the number in `key`.
    pub(super) fn add(&mut self, key: ExchangeKey, datagram: Vec<u8>, now: Instant) {
        let pause = FIRST.mul_f64(1.0 + fastrand::f64() / 2.0);
        let at = now + pause;
        self.heard(&key);
        self.due.insert((at, key));
        let reply = PendingReply {
            datagram,
            at,
            pause,
            left: AGAIN,
        };
        self.waiting.insert(key, reply);
    }

    /// The other end has it, or wants no more of it.
    pub(super) fn heard(&mut self, key: &ExchangeKey) {
        if let Some(reply) = self.waiting.remove(key) {
            self.due.remove(&(reply.at, *key));
        }
    }

    /// When the next one is to be sent again, or given up.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Hands out those that are to be sent again now; how many were given up.
    pub(super) fn again(&mut self, now: Instant, mut send: impl FnMut(SocketAddr, &[u8])) -> u64 {
        let mut given_up = 0;
        while self.due().is_some_and(|at| at <= now)
            && let Some((_, key)) = self.due.pop_first()
        {
            let Some(mut reply) = self.waiting.remove(&key) else {
                continue;
            };
            if reply.left == 0 {
                given_up += 1;
                continue;
            }
            send(key.0, &reply.datagram);
            reply.left -= 1;
            reply.pause *= 2;
            reply.at = now + reply.pause;
            self.due.insert((reply.at, key));
            self.waiting.insert(key, reply);
        }
        given_up
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(port: u16, id: u16) -> ExchangeKey {
        (([127, 0, 0, 1], port).into(), id)
    }

    #[test]
    fn an_answer_that_nobody_acknowledges_is_sent_five_times_and_given_up() {
        let begin = Instant::now();
        let mut replies = PendingReplies::new(10);
        replies.add(key(1, 7), vec![9], begin);
        let (mut sent, mut given_up, mut last) = (1, 0, begin);
        while let Some(at) = replies.due() {
            assert!(at - last >= FIRST * (1 << (sent - 1)), "after {sent}");
            given_up += replies.again(at, |whom, datagram| {
                assert_eq!((whom, datagram), (key(1, 7).0, &[9][..]));
                sent += 1;
            });
            last = at;
        }
        assert_eq!((sent, given_up, replies.is_empty()), (5, 1, true));
        // Within MAX_TRANSMIT_WAIT.
        assert!(
            last - begin <= Duration::from_secs(93),
            "{:?}",
            last - begin
        );
    }

    #[test]
    fn one_that_is_acknowledged_is_sent_no_more() {
        let now = Instant::now();
        let mut replies = PendingReplies::new(10);
        replies.add(key(1, 7), vec![9], now);
        replies.heard(&key(2, 7));
        replies.heard(&key(1, 8));
        assert!(!replies.is_empty());
        replies.heard(&key(1, 7));
        assert!(replies.is_empty() && replies.due().is_none());
    }

    #[test]
    fn of_one_address_and_over_all_there_is_an_end() {
        let now = Instant::now();
        let mut replies = PendingReplies::new(10);
        for id in 0..MOST_OF_ONE {
            assert!(replies.has_room(key(1, 0).0));
            replies.add(key(1, u16::try_from(id).unwrap()), vec![9], now);
        }
        assert!(!replies.has_room(key(1, 0).0));
        for id in 0..2 {
            assert!(replies.has_room(key(2, 0).0));
            replies.add(key(2, id), vec![9], now);
        }
        assert!(!replies.has_room(key(3, 0).0));
    }
}
