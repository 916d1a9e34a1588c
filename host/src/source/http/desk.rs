//! The requests whose messages are under way: hands them to the taker, and answers each when all of it is settled, or when
//! its time is over. No sockets; time is an argument.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::Config;
use super::answer::RequestOutcome;
use crate::clock::Now;
use crate::message::{Qos, Settled};
use crate::source::taker::{Arrival, Borders, Judged, Taker};
use crate::source::unsettled::AckOrder;

/// A request that was read, and is to be taken.
pub(super) struct PostRequest {
    pub(super) topic: Bytes,
    /// The messages, each with its headers.
    pub(super) messages: Vec<(Bytes, Bytes)>,
    /// Whoever asked may be gone.
    pub(super) answer: oneshot::Sender<RequestOutcome>,
}

/// A message of a request.
#[derive(Clone, Copy, Debug)]
struct RequestClaim {
    request: u64,
    message: usize,
}

/// A request under way.
struct OpenRequest {
    /// Of its messages, how many there are and how many are not settled.
    of: usize,
    left: usize,
    answer: oneshot::Sender<RequestOutcome>,
}

pub(super) struct OpenRequests {
    taker: Taker<RequestClaim>,
    open: BTreeMap<u64, OpenRequest>,
    /// When each request's time is over, the oldest first; some are answered by then.
    due: VecDeque<(Instant, u64)>,
    next: u64,
    settle_within: Duration,
    /// Requests under way at a time.
    most: usize,
}

impl OpenRequests {
    pub(super) fn new(config: &crate::source::Config, own: &Config, borders: Borders) -> Self {
        Self {
            taker: Taker::new(config, AckOrder::Any, borders),
            open: BTreeMap::new(),
            due: VecDeque::new(),
            next: 0,
            settle_within: own.settle_within,
            most: own.max_connections,
        }
    }

    /// From now on nothing is taken.
    pub(super) fn cease(&mut self) {
        self.taker.cease();
    }

    /// Takes a request, unless there is no room or it has ceased.
    pub(super) fn take(&mut self, ask: PostRequest, now: Instant) {
        let PostRequest {
            topic,
            messages,
            answer,
        } = ask;
        if self.taker.is_full() {
            // An error means that whoever asked is gone, here and below.
            let _ = answer.send(RequestOutcome::Full);
            return;
        }
        if self.taker.has_ceased() {
            let _ = answer.send(RequestOutcome::Leaving);
            return;
        }
        if messages.is_empty() {
            let _ = answer.send(RequestOutcome::Settled);
            return;
        }
        let request = self.next;
        let of = messages.len();
        self.next += 1;
        self.open.insert(
            request,
            OpenRequest {
                of,
                left: of,
                answer,
            },
        );
        self.due.push_back((now + self.settle_within, request));
        let arrival = |(message, (payload, headers))| Arrival {
            topic: topic.clone(),
            payload,
            headers,
            qos: Qos::AtLeastOnce,
            retain: false,
            duplicate: false,
            rounds: 0,
            ack: Some(RequestClaim { request, message }),
            judged: Judged::Sound,
        };
        self.taker.take(
            of,
            Now::read(),
            messages.into_iter().enumerate().map(arrival),
        );
    }

    /// Answers what is settled or late, and tells the inside how pressed we are.
    pub(super) fn settle(&mut self, now: Instant, draining: bool) {
        self.taker.settle_repeats();
        let open = &mut self.open;
        let found = self.taker.settle(usize::MAX, |claim| {
            let Some(request) = open.get_mut(&claim.request) else {
                return;
            };
            request.left -= 1;
            if request.left == 0
                && let Some(request) = open.remove(&claim.request)
            {
                let _ = request.answer.send(RequestOutcome::Settled);
            }
        });
        self.taker.fell();
        if found.has_fallen {
            self.let_fallen_go();
        }
        while let Some((_, request)) = self
            .due
            .pop_front_if(|(at, request)| *at <= now || !self.open.contains_key(request))
        {
            self.too_late(request);
        }
        self.taker
            .press(draining || self.taker.is_pressed() || self.open.len() * 5 >= self.most * 4);
        self.taker.show();
    }

    /// Requests whose receipts were lost inside can never settle: their clients send them again.
    fn let_fallen_go(&mut self) {
        let alive: BTreeSet<u64> = self
            .taker
            .claims()
            .map(|(claim, _)| claim.request)
            .collect();
        let fallen = self
            .open
            .extract_if(.., |request, _| !alive.contains(request));
        for (_, request) in fallen {
            let left = (0..request.of).collect();
            let _ = request.answer.send(RequestOutcome::Unsettled {
                of: request.of,
                left,
            });
        }
    }

    /// What of a request is not settled now is told; it stays under way.
    fn too_late(&mut self, request: u64) {
        let Some(OpenRequest { of, answer, .. }) = self.open.remove(&request) else {
            return;
        };
        let left = self
            .taker
            .claims()
            .filter(|(claim, is_settled)| claim.request == request && !is_settled)
            .map(|(claim, _)| claim.message)
            .collect();
        let _ = answer.send(RequestOutcome::Unsettled { of, left });
    }

    /// When the next request's time is over.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due.front().map(|(at, _)| *at)
    }

    /// What wakes when something settles.
    pub(super) fn settled(&self) -> Arc<Settled> {
        self.taker.settled()
    }

    /// Whether requests are turned away until something settles.
    pub(super) fn is_full(&self) -> bool {
        self.taker.is_full()
    }

    /// Whether every request is answered.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}
