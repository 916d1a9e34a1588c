//! Into streams of a NATS server: each message is published with its id and a place for the answer, and is accepted once a stream says
//! that it has it. That it was published says nothing.
//!
//! - `subject`: what a message is published to. `verdict`: what an answer says. `dial`: how a way into a stream begins.
//!
//! Several messages are under way, of each device one, so that nothing of it is behind what came later. What has no answer when the
//! connection ends is sent again, and the stream knows it by its id for as long as its window for such is.

mod dial;
mod settings;
mod subject;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

pub(super) use self::dial::reach;
pub use self::settings::{Config, SubjectOrder};
pub use self::subject::Subject;

use self::dial::NatsDialler;
use self::verdict::verdict;
use super::carrier::{
    Answer, Carrier, CarrierFault, Manner, OutgoingPacket, PacketOrigin, Refusal, Unsendable,
    UpstreamLimits,
};
use crate::link::{self, LinkMetrics, Redial};
use crate::message::{TRACEPARENT, TRACESTATE, key_hash};
use crate::nats::{Error, NatsConnection, NatsEvent, ServerMessage, put_header, stream_answer};

/// By what a stream knows what it had before.
const ID: &str = "Nats-Msg-Id";

/// A message without an answer.
struct StreamFlight {
    token: u64,
    /// Of its device, where that has to wait for it.
    key: Option<u64>,
    subject: String,
    /// It is sent to see whether others would be taken.
    is_copy: bool,
}

/// Whether what was answered last was a refusal, over all connections of a way. Then what a stream remembers of a message says nothing:
/// one that is full says yes to what it has.
#[derive(Clone, Debug, Default)]
struct Refusing(Arc<AtomicBool>);

/// A way into a stream.
pub(super) struct NatsCarrier {
    config: Arc<Config>,
    connection: NatsConnection,
    /// What the subject of an answer begins with; the number of the message is behind it.
    inbox: String,
    next: u64,
    flights: BTreeMap<u64, StreamFlight>,
    /// Of which devices something is under way.
    keys: BTreeSet<u64>,
    events: Vec<NatsEvent>,
    refusing: Refusing,
}

/// Ready to dial for the uplink `name`.
pub(super) fn redial(
    config: Config,
    name: Arc<str>,
    metrics: &LinkMetrics,
) -> Redial<<NatsCarrier as Carrier>::Dial> {
    Redial::new(NatsDialler::new(config), "uplink", name, metrics)
}

impl NatsCarrier {
    fn new(
        config: Arc<Config>,
        connection: NatsConnection,
        inbox: String,
        refusing: Refusing,
    ) -> Self {
        Self {
            config,
            connection,
            inbox,
            next: 0,
            flights: BTreeMap::new(),
            keys: BTreeSet::new(),
            events: Vec::new(),
            refusing,
        }
    }

    /// What an event says of a message that is under way.
    fn answer(&mut self, event: NatsEvent) -> Option<Answer> {
        match event {
            NatsEvent::Message(message) => {
                let number = self.number(&message)?;
                let flight = self.land(number)?;
                let told = verdict(stream_answer(&message), &flight.subject);
                Some(self.answered(&flight, told))
            }
            NatsEvent::MayNotPublish(subject) => {
                let denied = self.flights.iter();
                let mut denied = denied.filter(|(_, flight)| flight.subject == subject);
                let number = *denied.next()?.0;
                let flight = self.land(number)?;
                let words = format!("the server forbids to publish to `{subject}`");
                Some(self.answered(&flight, Some((Refusal::Final, words))))
            }
        }
    }

    /// What was said of a message.
    fn answered(&self, flight: &StreamFlight, told: Option<(Refusal, String)>) -> Answer {
        if told.is_some() || !flight.is_copy {
            self.refusing.0.store(told.is_some(), Ordering::Relaxed);
        }
        let token = flight.token;
        match told {
            None => Answer::Accepted { token },
            Some((kind, reason)) => Answer::Refused {
                token,
                kind,
                reason,
            },
        }
    }

    /// Which message an answer is for.
    fn number(&self, message: &ServerMessage) -> Option<u64> {
        let subject = std::str::from_utf8(&message.subject).ok()?;
        subject.strip_prefix(&self.inbox)?.parse().ok()
    }

    /// Nothing more is waited for of it.
    fn land(&mut self, number: u64) -> Option<StreamFlight> {
        let flight = self.flights.remove(&number)?;
        if let Some(key) = &flight.key {
            self.keys.remove(key);
        }
        Some(flight)
    }
}

impl Carrier for NatsCarrier {
    type Dial = NatsDialler;

    fn online(&self, redial: &mut Redial<NatsDialler>) {
        let failures_before = redial.stands();
        let (stage, name) = redial.owner();
        let crate::nats::Config { host, port, .. } = &redial.dialled().config().server;
        let info = self.connection.info();
        if !info.jetstream {
            tracing::warn!(stage, %name, "the NATS server has no JetStream: without a stream nothing counts as accepted");
        }
        tracing::info!(stage, %name, server = %format_args!("{host}:{port}"), version = crate::words::line(&info.version, 32),
            failures_before, "online");
    }

    fn limits(&self) -> UpstreamLimits {
        UpstreamLimits {
            window: self.config.inflight,
            ..UpstreamLimits::of_batches(false)
        }
    }

    fn room(&self) -> usize {
        usize::from(self.config.inflight).saturating_sub(self.flights.len())
    }

    fn unsent(&self) -> usize {
        self.connection.unsent()
    }

    fn offer(
        &mut self,
        packet: OutgoingPacket,
        about: PacketOrigin<'_>,
        token: u64,
    ) -> Result<(), Unsendable> {
        if self.room() == 0 {
            return Err(Unsendable::Full);
        }
        let device = about.stored.message.key();
        let is_bound = self.config.order == SubjectOrder::Strict && !about.is_beside;
        let key = is_bound.then(|| key_hash(device));
        if key.is_some_and(|key| self.keys.contains(&key)) {
            return Err(Unsendable::Full);
        }
        let filling = about.filling(&packet.topic);
        let subject = self.config.subject.of(filling);
        let subject = subject.map_err(Unsendable::Never)?;
        let seq = about.stored.seq;
        let mut id = format!("{}{}/{}", about.prefix, seq.boot(), seq.number());
        // One that is taken in its turn has its own id then: this one must not stand in its place.
        let is_known = about.is_asked_anew && !self.refusing.0.load(Ordering::Relaxed);
        if about.is_beside && !is_known {
            id.push_str(&format!("+again-{:08x}", fastrand::u32(..)));
        }
        let mut headers = Vec::with_capacity(ID.len() + id.len() + 4);
        put_header(ID, &id, &mut headers);
        let trace = packet.kept_trace().unwrap_or_default();
        for (name, value) in [TRACEPARENT, TRACESTATE].into_iter().zip(trace) {
            if !value.is_empty() {
                put_header(name, &String::from_utf8_lossy(&value), &mut headers);
            }
        }
        let reply = format!("{}{}", self.inbox, self.next);
        if !self
            .connection
            .publish(&subject, &reply, &headers, &packet.payload)
        {
            let most = self.connection.info().max_payload;
            return Err(Unsendable::Over(format!(
                "it is over the {most} bytes that the NATS server takes (`max_payload` there)"
            )));
        }
        self.keys.extend(key);
        let flight = StreamFlight {
            token,
            key,
            subject,
            is_copy: about.is_beside,
        };
        self.flights.insert(self.next, flight);
        self.next += 1;
        Ok(())
    }

    async fn turn(&mut self, answers: &mut Vec<Answer>) -> Result<(), Error> {
        let turned = self.connection.turn(&mut self.events).await;
        for event in std::mem::take(&mut self.events) {
            answers.extend(self.answer(event));
        }
        turned
    }

    fn end(&self) -> u64 {
        self.connection.end()
    }

    fn has_taken(&mut self, end: u64) -> bool {
        self.connection.has_taken(end)
    }

    fn taken_at(&self, end: u64) -> Option<Instant> {
        self.connection.taken_at(end)
    }

    fn last_heard(&self) -> Instant {
        self.connection.last_heard()
    }

    fn ask(&mut self) {
        self.connection.ask();
    }

    fn answered(&self) -> Option<Instant> {
        self.connection.answered()
    }

    async fn close(self) {
        self.connection.close().await;
    }
}

impl CarrierFault for Error {
    fn manner(&self) -> Manner {
        match self {
            Self::Closed | Self::Stranger(_) | Self::Link(link::Error::Broken(_)) => Manner::HungUp,
            Self::Offended(_) => Manner::Told,
            Self::Silent(_) => Manner::StoodStill,
            Self::Link(_)
            | Self::Key(_)
            | Self::Login(_)
            | Self::WantsTls
            | Self::TooOld(_)
            | Self::Told(_)
            | Self::Forbidden(_)
            | Self::Unfit { .. }
            | Self::Busy(_) => Manner::Elsewhere,
        }
    }
}
