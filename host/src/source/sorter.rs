//! From what a read brought to batches for the flows: one clock reading, one run of ids, one burst of receipts.

use std::sync::Arc;

use bytes::Bytes;

use super::circles::Circles;
use super::copies::Copies;
use super::grants::needed;
use super::index::Index;
use super::metrics::Meters;
use super::repeats::{Repeats, Seen};
use super::unsettled::{Claim, Unsettled};
use super::{Ack, Config, Pattern};
use crate::clock::Now;
use crate::message::{
    Burst, DeadLetter, Delivery, FlowId, Intake, Loss, LossReason, Marks, Message, MessageId, Mint,
    Outlet, Progress, Reason, Receipt, Settled, Span, with_shorter_expiry,
};
use crate::mqtt::{AckToken, Event, Publish};

/// What is kept of an over-long payload: enough to see what it was.
const HEAD_BYTES: usize = 4_096;

/// The routes of one flow.
struct Flow {
    id: FlowId,
    name: Arc<str>,
    ack: Ack,
    /// Longest life of a message, seconds.
    expires: Option<u32>,
    repeats: Option<Repeats>,
    patterns: Vec<Pattern>,
    intake: Arc<dyn Intake>,
    batch: Vec<Delivery>,
    /// For each of `batch`, which receipt it gets.
    claims: Vec<Option<u32>>,
}

impl Flow {
    fn key(&self, topic: &str) -> Option<Span> {
        self.patterns
            .iter()
            .find_map(|pattern| pattern.matches(topic))
    }
}

/// The receipts of the burst that is being sorted.
#[derive(Default)]
struct Ledger {
    /// What is acknowledged, in arrival order, and how many ends each has.
    claims: Vec<Claim>,
    ends: Vec<u32>,
    /// Deliveries nobody waits for: QoS 0, and flows that acknowledge at once. They share one receipt, so that
    /// what they hold in RAM is bounded too.
    loose: u32,
    loose_bytes: usize,
    /// Under way, with everything before this burst.
    bytes: usize,
    letters: Vec<(DeadLetter, Option<u32>)>,
    /// Repeats whose first copy is under way, each with its own receipt.
    waiting: Vec<(Arc<Progress>, usize, u32)>,
    /// Messages of level 0 there was no room for.
    losses: Vec<Loss>,
}

impl Ledger {
    /// The receipt that the next claim will have. A burst is one read, far below 2^32 messages.
    fn next(&self) -> u32 {
        u32::try_from(self.claims.len()).unwrap_or(u32::MAX)
    }

    /// Enters a message of `weight` that was given to `safe` flows that wait and to `loose` that do not.
    fn enter(&mut self, token: Option<AckToken>, weight: usize, safe: u32, loose: u32) {
        if token.is_some() {
            self.claims.push(Claim {
                token,
                bytes: if safe > 0 { weight } else { 0 },
            });
            self.ends.push(safe);
        }
        self.loose += loose;
        if safe == 0 && loose > 0 {
            self.loose_bytes += weight;
        }
        if safe + loose > 0 {
            self.bytes += weight;
        }
    }
}

/// The sorting office of a source.
pub(super) struct Sorter {
    flows: Vec<Flow>,
    index: Index,
    /// Those that may match the message in hand.
    candidates: Vec<usize>,
    /// Those with something in their batch.
    filled: Vec<usize>,
    copies: Copies,
    outlet: Arc<dyn Outlet>,
    mint: Arc<Mint>,
    settled: Arc<Settled>,
    meters: Arc<Meters>,
    max_unsettled_bytes: usize,
    max_topic_bytes: usize,
    max_payload_bytes: usize,
    /// Receipts of repeats that wait for their first copy.
    waiting: Vec<(Arc<Progress>, usize, Receipt)>,
    circles: Circles,
}

impl Sorter {
    pub(super) fn new(config: &Config, borders: Borders) -> Self {
        let mut flows: Vec<Flow> = Vec::new();
        for route in &config.routes {
            match flows.iter_mut().find(|flow| flow.id == route.flow) {
                Some(flow) => flow.patterns.push(route.pattern.clone()),
                None => flows.push(Flow {
                    id: route.flow,
                    name: Arc::clone(&route.name),
                    ack: route.ack,
                    expires: route.expires,
                    repeats: route.dedup.clone().map(Repeats::new),
                    patterns: vec![route.pattern.clone()],
                    intake: Arc::clone(&route.intake),
                    batch: Vec::new(),
                    claims: Vec::new(),
                }),
            }
        }
        let Borders {
            outlet,
            mint,
            settled,
            meters,
        } = borders;
        let Config {
            max_unsettled_bytes,
            max_topic_bytes,
            max_payload_bytes,
            ..
        } = *config;
        let index = Index::new(flows.iter().map(|flow| &*flow.patterns));
        let (candidates, filled, waiting) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            flows,
            index,
            copies: Copies::new(needed(config).into_iter()),
            candidates,
            filled,
            outlet,
            mint,
            settled,
            meters,
            max_unsettled_bytes,
            max_topic_bytes,
            max_payload_bytes,
            waiting,
            circles: Circles::default(),
        }
    }

    /// What to subscribe to `filter` with, so that copies of one message are known.
    pub(super) fn subscription_id(&self, filter: &str) -> Option<u32> {
        self.copies.id(filter)
    }

    /// The broker has forgotten our session, and with it what it held for us.
    pub(super) fn session_lost(&self) {
        let now = Now::read();
        self.outlet.lose(vec![Loss {
            reason: LossReason::BrokerSessionLost,
            topic: Bytes::new(),
            key: Span::default(),
            device: None,
            count: 0,
            received_us: now.wall_us,
            is_clock_set: now.is_set(),
            receipt: None,
        }]);
    }

    /// A new connection stands.
    pub(super) fn reconnected(&mut self) {
        self.copies.reconnected();
        self.flows
            .iter_mut()
            .filter_map(|flow| flow.repeats.as_mut())
            .for_each(Repeats::reconnected);
    }

    /// Messages were lost inside: what comes again is no repeat.
    pub(super) fn forget_ids(&mut self) {
        self.flows
            .iter_mut()
            .filter_map(|flow| flow.repeats.as_mut())
            .for_each(Repeats::forget_all);
    }

    /// Lets repeats go whose first copy is settled. Where that was lost, the repeat is too, so that the broker sends it
    /// again.
    pub(super) fn settle_repeats(&mut self) {
        let is_over = |(first, index, _): &mut (Arc<Progress>, usize, Receipt)| {
            first.has_fallen() || first.is_settled(*index)
        };
        for (first, index, receipt) in self.waiting.extract_if(.., is_over) {
            if first.is_settled(index) {
                receipt.release();
            }
        }
    }

    /// Hands the messages among `events` on and leaves the other events; gives the number of messages.
    pub(super) fn sort(&mut self, events: &mut Vec<Event>, unsettled: &mut Unsettled) {
        let is_message = |event: &Event| {
            matches!(
                event,
                Event::Publish { .. } | Event::Oversize { .. } | Event::Unfit { .. }
            )
        };
        let count = events.iter().filter(|event| is_message(event)).count();
        if count == 0 {
            return;
        }
        let now = Now::read();
        let mut id = self.mint.take(count as u64);
        let mut ledger = Ledger {
            bytes: unsettled.bytes(),
            ..Ledger::default()
        };
        for event in events.extract_if(.., |event| is_message(event)) {
            match event {
                Event::Publish { publish, token } => {
                    self.publish(publish, (id, now), token, &mut ledger)
                }
                Event::Oversize { head, bytes, token } => {
                    self.copies.interrupted();
                    let detail =
                        format!("packet of {bytes} bytes is over the limit (`max_packet`)");
                    self.one(
                        message(head, id, now),
                        Some((Reason::TooLong, detail)),
                        token,
                        &mut ledger,
                    );
                }
                Event::Unfit {
                    publish,
                    why,
                    token,
                } => {
                    self.copies.interrupted();
                    self.one(
                        message(publish, id, now),
                        Some((Reason::Malformed, why)),
                        token,
                        &mut ledger,
                    );
                }
                Event::Accepted { .. }
                | Event::Refused { .. }
                | Event::Subscribed { .. }
                | Event::Unsubscribed => {}
            }
            id.seq += 1;
        }
        self.meters.received.inc_by(count as u64);
        self.hand_on(ledger, unsettled);
    }

    /// A message as it came; a copy of one that came for another subscription goes no further.
    fn publish(
        &mut self,
        publish: Publish,
        (id, now): (MessageId, Now),
        token: Option<AckToken>,
        ledger: &mut Ledger,
    ) {
        let (of, rounds) = (publish.subscription, publish.rounds);
        let message = message(publish, id, now);
        if self
            .copies
            .is_copy(of, &message, token.map(AckToken::packet_id), now.uptime_us)
        {
            self.meters.repeated.inc();
            // Acknowledgements leave in order, so not before that of the first.
            return ledger.enter(token, 0, 0, 0);
        }
        let flow_of = |message: &Message| {
            self.flows
                .iter()
                .find(|flow| flow.key(message.topic_str()).is_some())
        };
        let fault = self.circles.fault(&message, rounds, || {
            flow_of(&message).map(|flow| Arc::clone(&flow.name))
        });
        self.one(message, fault, token, ledger);
    }

    fn one(
        &mut self,
        message: Message,
        fault: Option<(Reason, String)>,
        token: Option<AckToken>,
        ledger: &mut Ledger,
    ) {
        if token.is_none() && ledger.bytes > self.max_unsettled_bytes / 2 {
            self.meters.dropped.inc();
            ledger.losses.push(self.loss(message));
            return;
        }
        match fault.or_else(|| Some((Reason::TooLong, self.excess(&message)?))) {
            Some(fault) => self.park(message, fault, token, ledger),
            None => self.route(message, token, ledger),
        }
    }

    fn loss(&self, message: Message) -> Loss {
        // Cut to its limit and copied: a slice would keep the whole read buffer until the ledger is written.
        let topic = topic_head(message.topic_str(), self.max_topic_bytes);
        let key = self
            .flows
            .iter()
            .find_map(|flow| flow.key(message.topic_str()))
            .filter(|_| topic.len() == message.topic.len());
        Loss {
            reason: LossReason::Qos0Pressed,
            topic,
            key: key.unwrap_or_default(),
            device: None,
            count: 1,
            received_us: message.received_us,
            is_clock_set: !message.marks.has(Marks::CLOCK_UNSET),
            receipt: None,
        }
    }

    /// What is too long about a message, in words.
    fn excess(&self, message: &Message) -> Option<String> {
        let over = |what: &str, bytes: usize, limit: usize, setting: &str| {
            (bytes > limit).then(|| {
                format!("{what} of {bytes} bytes is over the limit of {limit} (`{setting}`)")
            })
        };
        over(
            "topic",
            message.topic.len(),
            self.max_topic_bytes,
            "max_topic",
        )
        .or_else(|| {
            over(
                "payload",
                message.payload.len(),
                self.max_payload_bytes,
                "max_payload",
            )
        })
    }

    fn route(&mut self, message: Message, token: Option<AckToken>, ledger: &mut Ledger) {
        let (weight, claim) = (message.weight(), token.map(|_| ledger.next()));
        let (mut safe, mut loose, mut repeated) = (0, 0, 0);
        // The last flow that matches takes the message itself, the others a clone.
        let mut last: Option<(usize, Span)> = None;
        let (waiting, filled) = (&mut ledger.waiting, &mut self.filled);
        let mut give = |(index, flow): (usize, &mut Flow), key: Span, mut message: Message| {
            let claim = claim.filter(|_| flow.ack == Ack::Safe);
            let now_us = message.uptime_us;
            match flow
                .repeats
                .as_mut()
                .map_or(Seen::New, |repeats| repeats.look(&message, claim, now_us))
            {
                Seen::New => {}
                Seen::Repeat => return repeated += 1,
                Seen::UnderWay(first, index) => {
                    safe += 1;
                    waiting.extend(claim.map(|claim| (first, index, claim)));
                    return repeated += 1;
                }
            }
            if let Some(headers) = flow
                .expires
                .and_then(|most| with_shorter_expiry(&message.headers, most))
            {
                message.headers = headers;
            }
            *if claim.is_some() {
                &mut safe
            } else {
                &mut loose
            } += 1;
            if flow.batch.is_empty() {
                filled.push(index);
            }
            flow.batch.push(Delivery {
                message: Message {
                    flow: flow.id,
                    key,
                    ..message
                },
                receipt: None,
            });
            flow.claims.push(claim);
        };
        self.index.look(message.topic_str(), &mut self.candidates);
        for &index in &self.candidates {
            if let Some(key) = self.flows[index].key(message.topic_str())
                && let Some((before, key)) = last.replace((index, key))
            {
                give((before, &mut self.flows[before]), key, message.clone());
            }
        }
        match last {
            Some((index, key)) => give((index, &mut self.flows[index]), key, message),
            None => self.meters.unrouted.inc(),
        }
        self.meters.repeated.inc_by(repeated);
        ledger.enter(token, weight, safe, loose);
    }

    /// Keeps what there is of a message that goes no further, of an over-long one its head; it is acknowledged once the
    /// letter is durable, whatever the flow says, since else it would come again for ever.
    fn park(
        &mut self,
        message: Message,
        fault: (Reason, String),
        token: Option<AckToken>,
        ledger: &mut Ledger,
    ) {
        let (reason, detail) = fault;
        let found = self.flows.iter().find_map(|flow| {
            Some((
                Arc::clone(&flow.name),
                flow.id,
                flow.key(message.topic_str())?,
            ))
        });
        let (flow, id, key) = match (found, reason) {
            (Some(found), _) => found,
            // Which flow asked for a topic that is none cannot be told.
            (None, Reason::Malformed) => (Arc::default(), FlowId::default(), Span::default()),
            (None, _) => {
                self.meters.unrouted.inc();
                ledger.enter(token, 0, 0, 0);
                return;
            }
        };
        let (counter, kept_bytes) = match reason {
            Reason::Malformed => (&self.meters.malformed, self.max_payload_bytes),
            Reason::Circled => (&self.meters.circled, self.max_payload_bytes),
            _ => (&self.meters.too_long, HEAD_BYTES),
        };
        counter.inc();
        let head = Message {
            flow: id,
            key: if message.topic.len() > self.max_topic_bytes {
                Span::default()
            } else {
                key
            },
            topic: topic_head(message.topic_str(), self.max_topic_bytes),
            // A copy: a slice would keep the whole read buffer.
            payload: Bytes::copy_from_slice(
                &message.payload[..message.payload.len().min(kept_bytes)],
            ),
            headers: if reason == Reason::TooLong {
                Bytes::new()
            } else {
                message.headers
            },
            ..message
        };
        let claim = token.map(|_| ledger.next());
        ledger.enter(
            token,
            head.weight(),
            u32::from(claim.is_some()),
            u32::from(claim.is_none()),
        );
        let letter = DeadLetter {
            message: head,
            flow,
            plugin: None,
            reason,
            detail,
            own_topic: false,
            receipt: None,
        };
        ledger.letters.push((letter, claim));
    }

    fn hand_on(&mut self, ledger: Ledger, unsettled: &mut Unsettled) {
        let Ledger {
            claims,
            ends,
            loose,
            loose_bytes,
            letters,
            waiting,
            losses,
            ..
        } = ledger;
        if !losses.is_empty() {
            self.outlet.lose(losses);
        }
        let claimed = (!claims.is_empty()).then(|| Burst::new(Arc::clone(&self.settled), ends));
        let watched = (loose > 0).then(|| Burst::new(Arc::clone(&self.settled), [loose]));
        if let Some(burst) = &claimed {
            unsettled.claim(burst.progress(), claims);
        }
        if let Some(burst) = &watched {
            unsettled.watch(burst.progress(), loose_bytes);
        }
        let receipt = |claim: Option<u32>| match claim {
            Some(index) => claimed.as_ref().map(|burst| burst.receipt(index)),
            None => watched.as_ref().map(|burst| burst.receipt(0)),
        };
        self.waiting.extend(
            waiting
                .into_iter()
                .filter_map(|(first, index, claim)| Some((first, index, receipt(Some(claim))?))),
        );
        let letters: Vec<_> = letters
            .into_iter()
            .map(|(letter, claim)| DeadLetter {
                receipt: receipt(claim),
                ..letter
            })
            .collect();
        if !letters.is_empty() {
            self.outlet.park(letters);
        }
        let progress = claimed.as_ref().map(|burst| burst.progress());
        for index in self.filled.drain(..) {
            let flow = &mut self.flows[index];
            if let Some(repeats) = &mut flow.repeats {
                repeats.sorted(progress.as_ref());
            }
            for (delivery, claim) in flow.batch.iter_mut().zip(flow.claims.drain(..)) {
                delivery.receipt = receipt(claim);
            }
            let next = Vec::with_capacity(flow.batch.len());
            flow.intake
                .deliver(std::mem::replace(&mut flow.batch, next));
        }
    }
}

/// What a sorter needs from outside.
pub(super) struct Borders {
    pub(super) outlet: Arc<dyn Outlet>,
    pub(super) mint: Arc<Mint>,
    pub(super) settled: Arc<Settled>,
    pub(super) meters: Arc<Meters>,
}

fn message(publish: Publish, id: MessageId, now: Now) -> Message {
    let Publish {
        topic,
        payload,
        headers,
        qos,
        retain,
        duplicate,
        subscription: _,
        rounds,
    } = publish;
    let marks = Marks::of(qos)
        .with(Marks::RETAIN, retain)
        .with(Marks::DUPLICATE, duplicate);
    let marks = marks
        .with(Marks::CLOCK_UNSET, !now.is_set())
        .after_rounds(rounds);
    let (received_us, uptime_us) = (now.wall_us, now.uptime_us);
    Message {
        id,
        topic,
        payload,
        headers,
        marks,
        received_us,
        uptime_us,
        ..Message::default()
    }
}

/// The first bytes of a topic, whole characters only.
fn topic_head(topic: &str, max: usize) -> Bytes {
    Bytes::copy_from_slice(&topic.as_bytes()[..topic.floor_char_boundary(max)])
}
