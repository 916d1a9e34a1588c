//! The requests: what becomes of each datagram, and what is answered when. No sockets; time is an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Config;
use super::block::Block;
use super::bodies::UnfinishedBodies;
use super::datagram::{
    AnswerForm, CoapDatagram, CoapRequest, acknowledgement, answer, read, reset,
};
use super::exchanges::{ExchangeKey, Exchanges, GivenAnswer, SeenRequest};
use super::format;
use super::outcome::CoapOutcome;
use super::print::Fingerprints;
use super::replies::PendingReplies;
use super::request::RequestRules;
use super::tally::CoapTally;
use crate::clock::Now;
use crate::message::{Qos, Settled, legal, push_header};
use crate::source::metrics::SourceMeters;
use crate::source::taker::{Arrival, Borders, Judged, Taker};
use crate::source::unsettled::AckOrder;

/// So long an answer may take that goes out with the acknowledgement: a client sends a request again after two seconds.
const TOLD_AFTER: Duration = Duration::from_secs(1);

/// Who asked, and how he knows the answer.
struct Asker {
    from: SocketAddr,
    id: u16,
    is_confirmable: bool,
    token: Box<[u8]>,
    block: Option<Block>,
    /// By which a repeat is known; `None` where the same is answered to a repeat anyway.
    exchange: Option<u64>,
    since: Instant,
    /// He was told that it is here.
    is_told: bool,
}

impl Asker {
    fn key(&self) -> ExchangeKey {
        (self.from, self.id)
    }
}

/// A message as it was posted.
struct PostedMessage {
    topic: Bytes,
    format: Option<u16>,
    payload: Vec<u8>,
}

pub(super) struct CoapDesk {
    taker: Taker<u64>,
    meters: Arc<SourceMeters>,
    rules: RequestRules,
    prints: Fingerprints,
    bodies: UnfinishedBodies,
    exchanges: Exchanges,
    replies: PendingReplies,
    tally: CoapTally,
    /// By their numbers, and so the oldest first.
    open: BTreeMap<u64, Asker>,
    next: u64,
    /// From this one on they are to be told that they are here.
    untold: u64,
    settle_within: Duration,
    most: usize,
    /// The number of what is sent next by itself. One for all: none meets an earlier one of the same other end within its lifetime unless
    /// all together are sent 450 a second.
    id: u16,
    out: Vec<(SocketAddr, Vec<u8>)>,
}

impl CoapDesk {
    pub(super) fn new(
        config: &crate::source::Config,
        own: &Config,
        borders: Borders,
        metrics: &crate::source::Metrics,
    ) -> Self {
        let most = own.max_exchanges;
        borders
            .meters
            .messages_capacity
            .set(crate::link::level(most));
        Self {
            meters: Arc::clone(&borders.meters),
            taker: Taker::new(config, AckOrder::Any, borders),
            rules: RequestRules::new(config, own),
            prints: Fingerprints::default(),
            bodies: UnfinishedBodies::new(
                (config.max_unsettled_bytes / 4).max(config.max_payload_bytes),
            ),
            exchanges: Exchanges::default(),
            replies: PendingReplies::new(most),
            tally: CoapTally::new(&config.name, metrics),
            open: BTreeMap::new(),
            next: 0,
            untold: 0,
            settle_within: own.settle_within,
            most,
            id: fastrand::u16(..),
            out: Vec::new(),
        }
    }

    /// Looks at one datagram.
    pub(super) fn receive(&mut self, from: SocketAddr, datagram: &[u8], now: Instant) {
        match read(datagram) {
            CoapDatagram::Request(request) => {
                let print = self.prints.of(datagram);
                self.request(from, request, print, now);
            }
            CoapDatagram::Heard(id) => self.replies.heard(&(from, id)),
            CoapDatagram::Rejected(id) => {
                self.tally.count_reset();
                self.out.push((from, reset(id)));
            }
            CoapDatagram::Nothing => self.tally.count_ignored(),
        }
    }

    fn request(&mut self, from: SocketAddr, request: CoapRequest, print: u128, now: Instant) {
        let key = (from, request.id);
        match self.exchanges.look(&key, print, now) {
            SeenRequest::New => {}
            SeenRequest::UnderWay { is_told } => {
                self.meters.repeated.inc();
                if is_told {
                    self.out.push((from, acknowledgement(request.id)));
                }
                return;
            }
            SeenRequest::Answered(given) => {
                self.meters.repeated.inc();
                return self.say_again(key, given);
            }
        }
        let mut asker = Asker {
            from,
            id: request.id,
            is_confirmable: request.is_confirmable,
            token: request.token().into(),
            block: None,
            exchange: None,
            since: now,
            is_told: false,
        };
        let admitted = self.admit(&mut asker, request, now);
        if !admitted.as_ref().is_err_and(CoapOutcome::is_certain) {
            let is_confirmable = asker.is_confirmable;
            asker.exchange = Some(self.exchanges.enter(key, print, is_confirmable, now));
        }
        match admitted {
            Ok(message) => self.take(asker, message),
            Err(outcome) => self.finish(asker, &outcome, now),
        }
    }

    /// The message that is whole with this request, or what it is answered at once.
    fn admit(
        &mut self,
        asker: &mut Asker,
        request: CoapRequest,
        now: Instant,
    ) -> Result<PostedMessage, CoapOutcome> {
        let part = self.rules.judge(&request, &self.prints)?;
        asker.block = part.block;
        if self.taker.has_ceased() {
            return Err(CoapOutcome::Leaving);
        }
        if self.taker.is_full() || self.open.len() >= self.most {
            return Err(CoapOutcome::Full);
        }
        let payload = request.into_payload();
        let payload = match part.block {
            None => payload,
            Some(block) => {
                let key = (asker.from, part.body);
                let whole = self.bodies.add(key, (block, payload), part.format, now)?;
                whole.ok_or(CoapOutcome::Continue)?
            }
        };
        Ok(PostedMessage {
            topic: part.topic,
            format: part.format,
            payload,
        })
    }

    fn take(&mut self, asker: Asker, message: PostedMessage) {
        let number = self.next;
        self.next += 1;
        self.open.insert(number, asker);
        let mut headers = Vec::new();
        if let Some(name) = message.format.and_then(format::name) {
            // The names that are known fit.
            let _ = push_header(&mut headers, legal::CONTENT_TYPE, name.as_bytes());
        }
        let arrival = Arrival {
            topic: message.topic,
            payload: message.payload.into(),
            headers: headers.into(),
            qos: Qos::AtLeastOnce,
            retain: false,
            duplicate: false,
            rounds: 0,
            ack: Some(number),
            judged: Judged::Sound,
        };
        self.taker.take(1, Now::read(), std::iter::once(arrival));
    }

    /// Answers a request, and remembers that.
    fn finish(&mut self, asker: Asker, outcome: &CoapOutcome, now: Instant) {
        self.tally.count(outcome, now);
        // RFC 7252, 5.4.1.
        if matches!(outcome, CoapOutcome::Option(_)) && !asker.is_confirmable {
            return;
        }
        let is_apart = asker.is_confirmable && asker.is_told;
        let form = match (asker.is_confirmable, asker.is_told) {
            (true, false) => AnswerForm::Acknowledging(asker.id),
            (true, true) if self.replies.has_room(asker.from) => {
                AnswerForm::Confirmable(self.next_id())
            }
            _ => AnswerForm::NonConfirmable(self.next_id()),
        };
        let options = outcome.options(asker.block);
        let datagram = answer(form, outcome.code(), &asker.token, options);
        if let AnswerForm::Confirmable(id) = form {
            self.replies.add((asker.from, id), datagram.clone(), now);
        }
        self.out.push((asker.from, datagram.clone()));
        if let Some(serial) = asker.exchange {
            let given = match is_apart {
                true => GivenAnswer::Apart(datagram),
                false => GivenAnswer::Once(datagram),
            };
            self.exchanges.give(&asker.key(), serial, given);
        }
    }

    fn say_again(&mut self, (from, id): ExchangeKey, given: GivenAnswer) {
        let datagram = match given {
            GivenAnswer::Once(datagram) => datagram,
            GivenAnswer::Apart(datagram) => {
                self.out.push((from, acknowledgement(id)));
                datagram
            }
        };
        self.out.push((from, datagram));
    }

    fn next_id(&mut self) -> u16 {
        self.id = self.id.wrapping_add(1);
        self.id
    }

    /// From now on nothing is taken.
    pub(super) fn cease(&mut self) {
        self.taker.cease();
    }

    /// Answers what is settled or late, tells whoever waits for long that his request is here, sends again what nobody acknowledges,
    /// and tells the inside how pressed we are.
    pub(super) fn settle(&mut self, now: Instant, draining: bool) {
        self.taker.settle_repeats();
        let mut settled = Vec::new();
        let found = self.taker.settle(usize::MAX, |number| settled.push(number));
        self.taker.fell();
        for number in settled {
            self.end(number, &CoapOutcome::Settled, now);
        }
        if found.has_fallen {
            self.let_fallen_go(now);
        }
        while let Some((number, asker)) = self.open.first_key_value()
            && asker.since + self.settle_within <= now
        {
            // It stays under way all the same.
            self.end(*number, &CoapOutcome::Unsettled, now);
        }
        self.tell(now);
        let out = &mut self.out;
        let given_up = self
            .replies
            .again(now, |whom, datagram| out.push((whom, datagram.to_vec())));
        self.tally.count_unheard(given_up);
        let is_pressed = self.taker.is_pressed() || self.open.len() * 5 >= self.most * 4;
        self.taker.press(draining || is_pressed);
        self.taker.show();
    }

    fn end(&mut self, number: u64, outcome: &CoapOutcome, now: Instant) {
        if let Some(asker) = self.open.remove(&number) {
            self.finish(asker, outcome, now);
        }
    }

    /// Requests whose receipts were lost inside can never settle: their clients send them again.
    fn let_fallen_go(&mut self, now: Instant) {
        let alive: BTreeSet<u64> = self.taker.claims().map(|(number, _)| number).collect();
        let all: Vec<u64> = self.open.keys().copied().collect();
        for number in all.into_iter().filter(|number| !alive.contains(number)) {
            self.end(number, &CoapOutcome::Unsettled, now);
        }
    }

    fn tell(&mut self, now: Instant) {
        while let Some((number, asker)) = self.open.range_mut(self.untold..).next()
            && asker.since + TOLD_AFTER <= now
        {
            self.untold = number + 1;
            if !asker.is_confirmable {
                continue;
            }
            asker.is_told = true;
            self.out.push((asker.from, acknowledgement(asker.id)));
            if let Some(serial) = asker.exchange {
                self.exchanges.told(&asker.key(), serial);
            }
        }
    }

    /// The system has dropped so many datagrams before they could be read.
    pub(super) fn dropped_outside(&mut self, datagrams: u64, now: Instant) {
        self.tally.count_dropped(datagrams, now);
    }

    /// What is to be sent, to whom.
    pub(super) fn outgoing(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        std::mem::take(&mut self.out)
    }

    /// When to look next, though nothing wakes.
    pub(super) fn look_at(&self) -> Option<Instant> {
        let first = |from: u64| self.open.range(from..).next().map(|(_, asker)| asker.since);
        let times = [
            first(self.untold).map(|since| since + TOLD_AFTER),
            first(0).map(|since| since + self.settle_within),
            self.replies.due(),
        ];
        times.into_iter().flatten().min()
    }

    /// What wakes when something settles.
    pub(super) fn settled(&self) -> Arc<Settled> {
        self.taker.settled()
    }

    /// Whether every request is answered.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Whether no answer waits to be acknowledged.
    pub(super) fn is_heard(&self) -> bool {
        self.replies.is_empty()
    }
}
