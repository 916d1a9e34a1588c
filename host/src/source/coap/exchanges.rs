//! The requests that came within the last minutes, so that a repeat gets the answer of the first one (RFC 7252, 4.2 and 4.5). No sockets;
//! time is an argument.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// So long a repeat may come of what wants an acknowledgement (EXCHANGE_LIFETIME, RFC 7252, 4.8.2), and of what wants none (NON_LIFETIME).
const LIFETIME: Duration = Duration::from_secs(247);
const LIFETIME_UNACKNOWLEDGED: Duration = Duration::from_secs(145);

/// How many are remembered; together they take some 7 MB, their answers of 30 bytes or so included (a few more, and the table that they are in
/// would double). Beyond that the oldest are forgotten before their time: a repeat of one is a message of its own then.
const MOST: usize = 28_000;

/// Who sent it, and under which number.
pub(super) type ExchangeKey = (SocketAddr, u16);

/// An answer as it went out, for a repeat of its request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum GivenAnswer {
    /// In one datagram, which is sent again.
    Once(Vec<u8>),
    /// Behind an acknowledgement: both are sent again.
    Apart(Vec<u8>),
}

/// What a look whether a request is a repeat came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SeenRequest {
    New,
    /// The first one is under way; whether its sender was told that it is here.
    UnderWay {
        is_told: bool,
    },
    Answered(GivenAnswer),
}

#[derive(Debug)]
struct RememberedRequest {
    /// Of the whole datagram: a device that was just switched on begins with the same numbers again, and what it sends is no repeat.
    print: u128,
    serial: u64,
    until: Instant,
    is_told: bool,
    answer: Option<GivenAnswer>,
}

#[derive(Default)]
pub(super) struct Exchanges {
    known: HashMap<ExchangeKey, RememberedRequest>,
    /// The oldest first. Some are replaced by then.
    order: VecDeque<(u64, ExchangeKey)>,
    next: u64,
}

impl Exchanges {
    /// Whether one of that key and `print` came before.
    pub(super) fn look(&self, key: &ExchangeKey, print: u128, now: Instant) -> SeenRequest {
        let known = self.known.get(key);
        let known = known.filter(|known| known.print == print && known.until > now);
        match known {
            None => SeenRequest::New,
            Some(known) => match &known.answer {
                Some(answer) => SeenRequest::Answered(answer.clone()),
                None => SeenRequest::UnderWay {
                    is_told: known.is_told,
                },
            },
        }
    }

    /// Remembers one that is under way from now on; by which it is known.
    pub(super) fn enter(
        &mut self,
        key: ExchangeKey,
        print: u128,
        is_confirmable: bool,
        now: Instant,
    ) -> u64 {
        let serial = self.next;
        self.next += 1;
        let lifetime = if is_confirmable {
            LIFETIME
        } else {
            LIFETIME_UNACKNOWLEDGED
        };
        let exchange = RememberedRequest {
            print,
            serial,
            until: now + lifetime,
            is_told: false,
            answer: None,
        };
        self.known.insert(key, exchange);
        self.order.push_back((serial, key));
        self.forget(now);
        serial
    }

    /// Its sender was told that it is here.
    pub(super) fn told(&mut self, key: &ExchangeKey, serial: u64) {
        if let Some(exchange) = self.own(key, serial) {
            exchange.is_told = true;
        }
    }

    /// That was its answer.
    pub(super) fn give(&mut self, key: &ExchangeKey, serial: u64, answer: GivenAnswer) {
        if let Some(exchange) = self.own(key, serial) {
            exchange.answer = Some(answer);
        }
    }

    fn own(&mut self, key: &ExchangeKey, serial: u64) -> Option<&mut RememberedRequest> {
        let known = self.known.get_mut(key);
        known.filter(|known| known.serial == serial)
    }

    /// What is over goes, and the oldest where there are too many; what is under way as the last, of which there are far fewer.
    fn forget(&mut self, now: Instant) {
        let mut passed = 0;
        while let Some((serial, key)) = self.order.front().copied() {
            let known = self.known.get(&key).filter(|own| own.serial == serial);
            let is_over = known.is_none_or(|own| own.until <= now);
            if !is_over && self.order.len() <= MOST {
                return;
            }
            self.order.pop_front();
            let is_under_way = known.is_some_and(|own| own.answer.is_none());
            if is_under_way && !is_over && passed < self.order.len() {
                passed += 1;
                self.order.push_back((serial, key));
            } else if known.is_some() {
                self.known.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: usize) -> ExchangeKey {
        let port = u16::try_from(1 + (id >> 16)).unwrap();
        (
            ([127, 0, 0, 1], port).into(),
            u16::try_from(id & 0xFFFF).unwrap(),
        )
    }

    fn once() -> GivenAnswer {
        GivenAnswer::Once(vec![1])
    }

    #[test]
    fn a_repeat_gets_what_the_first_one_got_and_after_its_time_it_is_none() {
        let now = Instant::now();
        let mut exchanges = Exchanges::default();
        let look = |exchanges: &Exchanges, id, print, at| exchanges.look(&key(id), print, at);
        assert_eq!(look(&exchanges, 1, 9, now), SeenRequest::New);
        let serial = exchanges.enter(key(1), 9, true, now);
        let under_way = |is_told| SeenRequest::UnderWay { is_told };
        assert_eq!(look(&exchanges, 1, 9, now), under_way(false));
        exchanges.told(&key(1), serial);
        assert_eq!(look(&exchanges, 1, 9, now), under_way(true));
        exchanges.give(&key(1), serial, once());
        let last = now + LIFETIME - Duration::from_millis(1);
        assert_eq!(look(&exchanges, 1, 9, last), SeenRequest::Answered(once()));
        assert_eq!(look(&exchanges, 1, 9, now + LIFETIME), SeenRequest::New);
        // What wants no acknowledgement comes again for a shorter time.
        exchanges.enter(key(2), 9, false, now);
        let at = now + LIFETIME_UNACKNOWLEDGED;
        assert_eq!(look(&exchanges, 2, 9, at), SeenRequest::New);
    }

    #[test]
    fn another_request_under_a_number_that_was_used_is_never_taken_for_a_repeat() {
        let now = Instant::now();
        let mut exchanges = Exchanges::default();
        let first = exchanges.enter(key(1), 9, true, now);
        assert_eq!(exchanges.look(&key(1), 8, now), SeenRequest::New);
        let second = exchanges.enter(key(1), 8, true, now);
        // The first one settles late: that is no word on the second.
        exchanges.give(&key(1), first, once());
        let under_way = SeenRequest::UnderWay { is_told: false };
        assert_eq!(exchanges.look(&key(1), 8, now), under_way);
        exchanges.give(&key(1), second, once());
        assert_eq!(
            exchanges.look(&key(1), 8, now),
            SeenRequest::Answered(once())
        );
    }

    #[test]
    fn beyond_their_number_the_oldest_answers_are_forgotten_and_nothing_that_is_under_way() {
        let now = Instant::now();
        let mut exchanges = Exchanges::default();
        exchanges.enter(key(0), 9, true, now);
        for id in 1..MOST + 10 {
            let serial = exchanges.enter(key(id), 9, true, now);
            exchanges.give(&key(id), serial, once());
        }
        assert_eq!((exchanges.known.len(), exchanges.order.len()), (MOST, MOST));
        assert_ne!(exchanges.look(&key(0), 9, now), SeenRequest::New);
        assert_eq!(exchanges.look(&key(1), 9, now), SeenRequest::New);
        assert_ne!(exchanges.look(&key(MOST), 9, now), SeenRequest::New);
        let later = now + LIFETIME;
        exchanges.enter(key(0), 9, true, later);
        assert_eq!((exchanges.known.len(), exchanges.order.len()), (1, 1));
    }

    #[test]
    fn one_number_again_and_again_takes_no_more_room() {
        let now = Instant::now();
        let mut exchanges = Exchanges::default();
        for print in 0..2 * MOST as u128 {
            exchanges.enter(key(1), print, true, now);
        }
        assert_eq!(exchanges.known.len(), 1);
        assert!(exchanges.order.len() <= MOST);
    }
}
