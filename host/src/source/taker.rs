//! What takes any arrival, whatever brought it: from arrivals to batches for the flows, and from what settles to
//! acknowledgements. One clock reading, one run of ids, one burst of receipts for what came together.

use std::sync::Arc;

use bytes::Bytes;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::Config;
pub(super) use super::arrival::{Arrival, Judged};
use super::circles::Circles;
use super::flows::RoutedFlows;
use super::metrics::SourceMeters;
use super::pending::PendingBurst;
use super::trace::SourceTrace;
use super::unsettled::{AckOrder, Settlement, Unsettled};
use crate::clock::Now;
use crate::message::{
    Burst, DeadLetter, HEAD_BYTES, Loss, LossReason, Marks, Message, MessageId, Mint, Outlet,
    Progress, Reason, Receipt, Settled, Span, Wait,
};

/// What a taker needs from outside.
pub(super) struct Borders {
    pub(super) outlet: Arc<dyn Outlet>,
    pub(super) mint: Arc<Mint>,
    pub(super) settled: Arc<Settled>,
    pub(super) meters: Arc<SourceMeters>,
    /// Held as long as anything may be handed on.
    pub(super) taking: TaskTrackerToken,
    pub(super) trace: SourceTrace,
}

/// The part of a source that no protocol touches.
pub(super) struct Taker<A> {
    name: Arc<str>,
    flows: RoutedFlows,
    unsettled: Unsettled<A>,
    outlet: Arc<dyn Outlet>,
    mint: Arc<Mint>,
    settled: Arc<Settled>,
    meters: Arc<SourceMeters>,
    /// Let go of when it ceases.
    taking: Option<TaskTrackerToken>,
    max_unsettled_bytes: usize,
    max_topic_bytes: usize,
    max_payload_bytes: usize,
    /// Receipts of repeats that wait for their first copy.
    waiting: Vec<(Arc<Progress>, usize, Receipt)>,
    circles: Circles,
    /// The topic of one that no flow took, since that was last asked.
    unrouted: Option<Bytes>,
    /// Bursts that fell before the last look.
    faults: u64,
}

impl<A: Copy> Taker<A> {
    pub(super) fn new(config: &Config, order: AckOrder, borders: Borders) -> Self {
        let Config {
            max_unsettled_bytes,
            max_topic_bytes,
            max_payload_bytes,
            ..
        } = *config;
        let Borders {
            outlet,
            mint,
            settled,
            meters,
            taking,
            trace,
        } = borders;
        meters
            .bytes_capacity
            .set(crate::link::level(max_unsettled_bytes));
        Self {
            name: Arc::clone(&config.name),
            flows: RoutedFlows::new(config, order, trace),
            unsettled: Unsettled::new(order),
            outlet,
            mint,
            settled,
            meters,
            taking: Some(taking),
            max_unsettled_bytes,
            max_topic_bytes,
            max_payload_bytes,
            waiting: Vec::new(),
            unrouted: None,
            circles: Circles::default(),
            faults: 0,
        }
    }

    /// Hands on `count` arrivals that came together.
    pub(super) fn take(
        &mut self,
        count: usize,
        now: Now,
        arrivals: impl Iterator<Item = Arrival<A>>,
    ) {
        if count == 0 {
            return;
        }
        let mut id = self.mint.take(count as u64);
        let mut pending = PendingBurst::new(self.unsettled.bytes());
        for arrival in arrivals {
            self.one(arrival, (id, now), &mut pending);
            id.seq += 1;
        }
        self.meters.received.inc_by(count as u64);
        self.hand_on(pending);
    }

    fn one(
        &mut self,
        arrival: Arrival<A>,
        (id, now): (MessageId, Now),
        pending: &mut PendingBurst<A>,
    ) {
        let ack = arrival.ack;
        let rounds = arrival.rounds;
        let (message, judged) = arrival.into_message(id, now);
        let fault = match judged {
            Judged::Repeat => {
                self.meters.repeated.inc();
                // Acknowledgements leave in order, so not before that of the first.
                return pending.enter(ack, 0, 0, 0);
            }
            Judged::Unfit(reason, detail) => Some((reason, detail)),
            Judged::Sound => self.circles.fault(&message, rounds, || {
                let found = self.flows.first(message.topic_str())?;
                Some(Arc::clone(found.0))
            }),
        };
        if ack.is_none() && pending.bytes() > self.max_unsettled_bytes / 2 {
            self.meters.dropped.inc();
            pending.lose(self.loss(message, LossReason::Qos0Pressed));
            return;
        }
        match fault.or_else(|| Some((Reason::TooLong, self.excess(&message)?))) {
            Some(fault) => self.park(message, fault, ack, pending),
            None => {
                let given = self.flows.give(message, ack.is_some(), pending);
                self.meters.repeated.inc_by(given.repeated);
                if let Some(message) = given.unrouted {
                    self.nobodys(message, ack.is_some(), pending);
                }
                pending.enter(ack, given.weight, given.safe, given.loose);
            }
        }
    }

    fn loss(&self, message: Message, reason: LossReason) -> Loss {
        // Cut to its limit and copied: a slice would keep the whole read buffer until the ledger is written.
        let topic = topic_head(message.topic_str(), self.max_topic_bytes);
        let key = self
            .flows
            .first(message.topic_str())
            .map(|(_, _, key)| key)
            .filter(|_| topic.len() == message.topic.len());
        Loss {
            reason,
            topic,
            key: key.unwrap_or_default(),
            device: None,
            flow: None,
            count: 1,
            received: message.received,
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
        let topic = over(
            "topic",
            message.topic.len(),
            self.max_topic_bytes,
            "max_topic",
        );
        topic.or_else(|| {
            over(
                "payload",
                message.payload.len(),
                self.max_payload_bytes,
                "max_payload",
            )
        })
    }

    /// No flow asks for it; whoever sent it was told that it is safe, where that is so.
    fn nobodys(&mut self, message: Message, is_acknowledged: bool, pending: &mut PendingBurst<A>) {
        self.meters.unrouted.inc();
        self.unrouted = Some(topic_head(message.topic_str(), self.max_topic_bytes));
        if is_acknowledged {
            pending.lose(self.loss(message, LossReason::Unrouted));
        }
    }

    /// The topic of one that no flow took, once: another end brings it that nobody asks for any more.
    pub(super) fn unrouted(&mut self) -> Option<Bytes> {
        self.unrouted.take()
    }

    /// Keeps what there is of a message that goes no further, of an over-long one its head; it is acknowledged once the
    /// letter is durable, whatever the flow says, since else it would come again for ever.
    fn park(
        &mut self,
        message: Message,
        (reason, detail): (Reason, String),
        ack: Option<A>,
        pending: &mut PendingBurst<A>,
    ) {
        let found = self.flows.first(message.topic_str());
        let found = found.map(|(name, id, key)| (Arc::clone(name), Some(id), key));
        let meters = &self.meters;
        let (flow, id, key) = match (found, reason) {
            (Some(found), _) => found,
            // Which flow asked for a topic that is none cannot be told.
            (None, Reason::Malformed) => (Arc::default(), None, Span::default()),
            (None, _) => {
                self.nobodys(message, ack.is_some(), pending);
                return pending.enter(ack, 0, 0, 0);
            }
        };
        let (counter, kept_bytes) = match reason {
            Reason::Malformed => (&meters.malformed, self.max_payload_bytes),
            Reason::Circled => (&meters.circled, self.max_payload_bytes),
            Reason::Unframed => (&meters.unframed, HEAD_BYTES),
            _ => (&meters.too_long, HEAD_BYTES),
        };
        counter.inc();
        if matches!(reason, Reason::TooLong | Reason::Unframed) {
            self.flows.note(&message, key);
        }
        let is_whole = message.topic.len() <= self.max_topic_bytes;
        let head = Message {
            flow: id,
            key: if is_whole { key } else { Span::default() },
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
        let weight = head.weight();
        let letter = DeadLetter {
            message: head,
            flow,
            plugin: None,
            reason,
            detail,
            own_topic: false,
            receipt: None,
        };
        pending.park(letter, ack, weight);
    }

    fn hand_on(&mut self, pending: PendingBurst<A>) {
        let Self {
            outlet, settled, ..
        } = self;
        let PendingBurst {
            claims,
            ends,
            loose,
            loose_bytes,
            letters,
            waiting,
            losses,
            ..
        } = pending;
        if !losses.is_empty() {
            outlet.lose(losses);
        }
        let claimed = (!claims.is_empty()).then(|| Burst::new(Arc::clone(settled), ends));
        let watched = (loose > 0).then(|| Burst::new(Arc::clone(settled), [loose]));
        if let Some(burst) = &claimed {
            self.unsettled.claim(burst.progress(), claims);
        }
        if let Some(burst) = &watched {
            self.unsettled.watch(burst.progress(), loose_bytes);
        }
        let receipt = |claim: Option<u32>| match claim {
            Some(index) => claimed.as_ref().map(|burst| burst.receipt(index)),
            None => watched.as_ref().map(|burst| burst.receipt(0)),
        };
        let repeats = waiting
            .into_iter()
            .filter_map(|(first, index, claim)| Some((first, index, receipt(Some(claim))?)));
        self.waiting.extend(repeats);
        let letters: Vec<_> = letters
            .into_iter()
            .map(|(letter, claim)| DeadLetter {
                receipt: receipt(claim),
                ..letter
            })
            .collect();
        if !letters.is_empty() {
            outlet.park(letters);
        }
        let progress = claimed.as_ref().map(|burst| burst.progress());
        self.flows.deliver(progress.as_ref(), receipt);
    }

    /// Lets repeats go whose first copy is settled. Where that was lost, the repeat is too, so that it is sent again.
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

    /// Forgets what is settled; hands out the claims that may be acknowledged, at most `most`.
    pub(super) fn settle(&mut self, most: usize, acknowledge: impl FnMut(A)) -> Settlement {
        let found = self.unsettled.settle(most, acknowledge);
        if found.has_fallen {
            self.flows.forget_ids();
        }
        found
    }

    /// What wakes when something settles.
    pub(super) fn settled(&self) -> Arc<Settled> {
        Arc::clone(&self.settled)
    }

    /// How many bursts fell since the last look: a stage lost their receipts. What comes again is no repeat then.
    pub(super) fn fell(&mut self) -> u64 {
        let faults = self.settled.faults();
        let fell = faults - std::mem::replace(&mut self.faults, faults);
        if fell > 0 {
            self.flows.forget_ids();
            self.meters.faults.inc_by(fell);
            tracing::warn!(source = %self.name, bursts = fell, "a stage lost messages before they were safe");
        }
        fell
    }

    /// From now on nothing is handed on: whoever waits for that may end what is behind.
    pub(super) fn cease(&mut self) {
        self.taking = None;
    }

    /// Whether nothing is to be handed on any more.
    pub(super) fn has_ceased(&self) -> bool {
        self.taking.is_none()
    }

    /// A connection was left after the last acknowledgement; `has_closed`: the other end closed as well, and has read it then.
    pub(super) fn left(&self, has_closed: bool) {
        if !has_closed {
            tracing::warn!(source = %self.name, "the other end did not close the connection after us: what was acknowledged last may come again");
        }
    }

    /// The claims that are not acknowledged, each with whether its message is settled.
    pub(super) fn claims(&self) -> impl Iterator<Item = (A, bool)> {
        self.unsettled.claims()
    }

    /// What was taken and not yet settled.
    pub(super) fn unsettled(&self) -> &Unsettled<A> {
        &self.unsettled
    }

    /// Whether no more is to be taken until something settles.
    pub(super) fn is_full(&self) -> bool {
        self.unsettled.bytes() >= self.max_unsettled_bytes
    }

    /// Whether so many bytes are under way that what waits for upstream is better written.
    pub(super) fn is_pressed(&self) -> bool {
        self.unsettled.bytes().saturating_mul(5) >= self.max_unsettled_bytes.saturating_mul(4)
    }

    /// Tells the inside whether it shall write instead of waiting for upstream.
    pub(super) fn press(&self, pressed: bool) {
        self.settled.press(pressed);
    }

    /// Has what is under way written at once.
    pub(super) fn hurry(&self, wait: Wait) {
        self.outlet.hurry(wait);
    }

    /// A new connection stands: what came over the last one is acknowledged no more.
    pub(super) fn reconnected(&mut self) {
        self.flows.reconnected();
    }

    /// The claims are void, but for those that `keep` picks. What was taken stays under way and counts until it settles.
    pub(super) fn disown(&mut self, keep: impl Fn(A) -> bool) {
        self.unsettled.disown(keep);
    }

    /// So many messages of `topic` were left out: whoever has them cannot be told to wait, or they are none.
    pub(super) fn left_out(&self, reason: LossReason, topic: &Bytes, count: u64) {
        let now = Now::read();
        self.meters.left_out.inc_by(count);
        let found = std::str::from_utf8(topic).ok();
        let found = found.and_then(|topic| self.flows.first(topic));
        self.outlet.lose(vec![Loss {
            reason,
            topic: topic.clone(),
            key: found.map(|(_, _, key)| key).unwrap_or_default(),
            device: None,
            flow: None,
            count,
            received: now.wall,
            is_clock_set: now.is_set(),
            receipt: None,
        }]);
    }

    /// Something was lost before it came here, nobody knows how much.
    pub(super) fn missed(&self, reason: LossReason) {
        let now = Now::read();
        self.outlet.lose(vec![Loss {
            reason,
            topic: Bytes::new(),
            key: Span::default(),
            device: None,
            flow: None,
            count: 0,
            received: now.wall,
            is_clock_set: now.is_set(),
            receipt: None,
        }]);
    }

    /// Shows how much is under way.
    pub(super) fn show(&self) {
        let level = crate::link::level;
        let meters = &self.meters;
        meters.messages.set(level(self.unsettled.messages()));
        meters.bytes.set(level(self.unsettled.bytes()));
    }
}

/// The first bytes of a topic, whole characters only.
fn topic_head(topic: &str, max: usize) -> Bytes {
    Bytes::copy_from_slice(&topic.as_bytes()[..topic.floor_char_boundary(max)])
}
