//! The protocol as a state machine: no sockets, no clock, no tasks. Bytes go into and come out of buffers, time is
//! an argument.
//!
//! It lives as long as one network connection. What a kept session repeats on the next one arrives as new; what
//! QoS 2 must remember in between is carried over by [`Unreleased`].

mod alive;
mod budget;
mod oddities;
mod pulse;
mod subscribe;
mod unreleased;
mod window;

pub(super) use oddities::Oddities;
pub use unreleased::Unreleased;

use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};

use self::budget::ByteWindow;
use self::pulse::KeepAlive;
use self::subscribe::Asking;
use self::unreleased::Inbound;
use self::window::{InFlightWindow, LAST_ID, Received, Unexpected};
use super::wire::{self, AckPacket, ConnAck, Packet, ProtocolVersion, Wire};
use super::{
    AckToken, Config, Error, Established, Event, Protocol, Publish, UnsendablePublish, reason,
};
use crate::message::Qos;

/// Largest packet of the protocol: 5 bytes of fixed header and what four length bytes can say.
const LARGEST_PACKET: u32 = 5 + 268_435_455;
/// What 16 bits can say, in seconds.
const LONGEST_KEEP_ALIVE: Duration = Duration::from_secs(65_535);
/// Answers the session gives by itself while the socket takes nothing; more means a peer that floods us.
const MAX_ECHO_BYTES: usize = 1 << 20;
/// A drained output buffer larger than this is given back.
const KEPT_OUTPUT_BYTES: usize = 1 << 20;

/// One session on one network connection.
#[derive(Debug)]
pub(super) struct Session {
    wire: Wire,
    out: BytesMut,
    /// Bytes of `out` that answer the broker without the caller's doing.
    echoed: usize,
    established: Option<Established>,
    inflight: u16,
    patience: Duration,
    keep_alive: Duration,
    window: InFlightWindow,
    budget: ByteWindow,
    /// Since they were last asked for.
    odd: Oddities,
    unreleased: Unreleased,
    asked: Vec<Asking>,
    /// UNSUBSCRIBEs without their UNSUBACK.
    unsubscribing: usize,
    next_subscribe: u16,
    /// Events that no packet brought.
    ready: Vec<Event>,
    pulse: KeepAlive,
    /// Pings sent and answered: answers come in order.
    pings: u64,
    pongs: u64,
    /// The number of the ping of [`Self::ask`], and when it was answered.
    question: Option<(u64, Option<Instant>)>,
}

impl Session {
    /// A session whose CONNECT is queued.
    pub(super) fn new(
        config: &Config,
        version: ProtocolVersion,
        now: Instant,
    ) -> Result<Self, Error> {
        let wire = Wire::new(version, config.max_packet_bytes);
        let mut out = BytesMut::with_capacity(4 << 10);
        wire.connect(config, &mut out)?;
        Ok(Self {
            wire,
            out,
            echoed: 0,
            established: None,
            inflight: config.inflight.max(1),
            patience: config.deadlines.handshake,
            keep_alive: config.keep_alive.min(LONGEST_KEEP_ALIVE),
            window: InFlightWindow::new(0),
            budget: ByteWindow::new(),
            odd: Oddities::default(),
            unreleased: Unreleased::default(),
            asked: Vec::new(),
            unsubscribing: 0,
            next_subscribe: LAST_ID + 1,
            ready: Vec::new(),
            pulse: KeepAlive::new(Duration::ZERO, Duration::ZERO, now),
            pings: 0,
            pongs: 0,
            question: None,
        })
    }

    /// Looks for CONNACK at the front of `input`; what follows it stays there for [`Self::receive`].
    pub(super) fn greet(
        &mut self,
        input: &mut BytesMut,
        now: Instant,
    ) -> Result<Option<Established>, Error> {
        match self.wire.read(input)? {
            None => Ok(None),
            Some(Packet::ConnAck(ack)) => self.establish(ack, now).map(Some),
            Some(Packet::Disconnect { code, words }) => Err(disconnected(code, words.as_deref())),
            Some(_) => Err(Error::Protocol(
                "something else came before CONNACK".to_owned(),
            )),
        }
    }

    fn establish(&mut self, ack: ConnAck, now: Instant) -> Result<Established, Error> {
        let version = self.wire.version();
        // MQTT 5 has no code below 0x80 for a refusal: those are 3.1.1's.
        if version == ProtocolVersion::V5 && (ack.legacy || matches!(ack.code, 0x01..0x80 | 0x84)) {
            return Err(Error::VersionRefused);
        }
        if ack.code != 0 {
            let (reason, failure) = match version {
                ProtocolVersion::V5 => (
                    reason::describe_v5(ack.code, ack.words.as_deref()),
                    reason::connect_failure_v5(ack.code),
                ),
                ProtocolVersion::V311 => (
                    reason::describe_v311(ack.code),
                    reason::connect_failure_v311(ack.code),
                ),
            };
            return Err(Error::Refused {
                code: ack.code,
                reason,
                failure,
            });
        }
        let established = Established {
            session_present: ack.session_present,
            protocol: if version == ProtocolVersion::V5 {
                Protocol::V5
            } else {
                Protocol::V311
            },
            receive_maximum: ack.receive_maximum.unwrap_or(u16::MAX),
            maximum_packet_bytes: ack.maximum_packet_bytes.unwrap_or(LARGEST_PACKET),
            retain_available: ack.retain_available.unwrap_or(true),
            maximum_qos: ack
                .maximum_qos
                .and_then(Qos::from_level)
                .unwrap_or(Qos::ExactlyOnce),
            session_expiry: ack
                .session_expiry
                .map(|seconds| Duration::from_secs(u64::from(seconds))),
            subscription_ids: version == ProtocolVersion::V5
                && ack.subscription_ids.unwrap_or(true),
            keep_alive: shorter_keep_alive(self.keep_alive, ack.keep_alive),
        };
        self.window = InFlightWindow::new(self.inflight.min(established.receive_maximum));
        self.pulse = KeepAlive::new(established.keep_alive, self.patience, now);
        self.established = Some(established.clone());
        Ok(established)
    }

    /// Takes every complete packet out of `input` and appends what they mean. An error ends the connection.
    pub(super) fn receive(
        &mut self,
        input: &mut BytesMut,
        now: Instant,
        events: &mut Vec<Event>,
    ) -> Result<(), Error> {
        self.pulse.heard(now);
        while let Some(packet) = self.wire.read(input)? {
            self.handle(packet, events)?;
        }
        self.budget.answered(now, self.window.over());
        if let Some((ping, answered)) = &mut self.question
            && self.pongs >= *ping
        {
            answered.get_or_insert(now);
        }
        if self.echoed > MAX_ECHO_BYTES {
            return Err(Error::Protocol(
                "it sends without taking our answers".to_owned(),
            ));
        }
        Ok(())
    }

    /// Bytes still missing of the packet at the front of `input`.
    pub(super) fn missing(&self, input: &[u8]) -> usize {
        self.wire.missing(input)
    }

    fn handle(&mut self, packet: Packet, events: &mut Vec<Event>) -> Result<(), Error> {
        match packet {
            Packet::Publish { publish, packet_id } => {
                if let Some(token) = self.admit(&publish, packet_id) {
                    events.push(Event::Publish { publish, token });
                }
            }
            Packet::Unfit {
                publish,
                packet_id,
                why,
            } => {
                if let Some(token) = self.admit(&publish, packet_id) {
                    events.push(Event::Unfit {
                        publish,
                        why,
                        token,
                    });
                }
            }
            Packet::Oversize {
                head,
                packet_id,
                bytes,
            } => {
                if let Some(token) = self.admit(&head, packet_id) {
                    events.push(Event::Oversize { head, bytes, token });
                }
            }
            Packet::PubAck(answer) => self.acknowledged(answer, events),
            Packet::PubRec(answer) => self.received(answer, events),
            Packet::PubComp(AckPacket { packet_id, .. }) => match self.window.pubcomp(packet_id) {
                // PUBREC has said that the broker has it: whatever code stands here, it was accepted.
                Ok(token) => events.extend(token.map(|token| Event::Accepted { token })),
                Err(Unexpected) => self.stray("PUBCOMP", packet_id),
            },
            // No message has this id, and no answer may.
            Packet::PubRel(AckPacket { packet_id: 0, .. }) => self.stray("PUBREL", 0),
            Packet::PubRel(AckPacket { packet_id, .. }) => {
                self.unreleased.release(packet_id);
                self.echo(wire::pubcomp, packet_id);
            }
            Packet::SubAck { packet_id, codes } => {
                events.extend(self.subscribed(packet_id, &codes));
            }
            Packet::UnsubAck if self.unsubscribing == 0 => self.stray("UNSUBACK", 0),
            Packet::UnsubAck => {
                self.unsubscribing -= 1;
                events.extend((self.unsubscribing == 0).then_some(Event::Unsubscribed));
            }
            Packet::PingResp => self.pongs += 1,
            Packet::Disconnect { code, words } => return Err(disconnected(code, words.as_deref())),
            // The wire has noted it.
            Packet::ConnAck(_) | Packet::Odd => {}
        }
        Ok(())
    }

    /// Whether an inbound message is given out, and with which token. What is under way already is not.
    fn admit(&mut self, publish: &Publish, packet_id: u16) -> Option<Option<AckToken>> {
        let token = |round| Some(AckToken::new(packet_id, publish.qos, round));
        match publish.qos {
            Qos::AtMostOnce => Some(None),
            Qos::AtLeastOnce => self
                .unreleased
                .publish_once(packet_id, publish)
                .then(|| token(self.unreleased.round())),
            Qos::ExactlyOnce => match self.unreleased.publish(packet_id, publish) {
                Inbound::New => Some(token(self.unreleased.round())),
                Inbound::Known => None,
                Inbound::Answer => {
                    self.echo(wire::pubrec, packet_id);
                    None
                }
            },
        }
    }

    fn acknowledged(&mut self, answer: AckPacket, events: &mut Vec<Event>) {
        let AckPacket {
            packet_id,
            code,
            words,
        } = answer;
        match self.window.puback(packet_id) {
            Ok((token, qos)) => {
                self.odd.is_early |= qos == Qos::ExactlyOnce;
                events.push(outcome(token, code, words.as_deref()));
            }
            Err(Unexpected) => self.stray("PUBACK", packet_id),
        }
    }

    fn received(&mut self, answer: AckPacket, events: &mut Vec<Event>) {
        let AckPacket {
            packet_id,
            code,
            words,
        } = answer;
        match self.window.pubrec(packet_id, code >= 0x80) {
            Ok(Received::Release) => self.echo(wire::pubrel, packet_id),
            Ok(Received::Completed(token)) => {
                self.echo(wire::pubrel, packet_id);
                events.push(Event::Accepted { token });
            }
            Ok(Received::Refused(token)) => events.push(outcome(token, code, words.as_deref())),
            Err(Unexpected) => self.stray("PUBREC", packet_id),
        }
    }

    fn echo(&mut self, put: fn(u16, &mut BytesMut), packet_id: u16) {
        let before = self.out.len();
        put(packet_id, &mut self.out);
        self.echoed += self.out.len() - before;
    }

    fn packet_limit(&self) -> u32 {
        self.established
            .as_ref()
            .map_or(LARGEST_PACKET, |established| {
                established.maximum_packet_bytes
            })
    }

    /// How many more publishes of QoS 1 and 2 fit the window, if they are small.
    pub(super) fn room(&self) -> usize {
        if self.window.is_empty() || self.budget.has_room(self.window.bytes()) {
            self.window.room()
        } else {
            0
        }
    }

    /// Whether the window is full, and it is time to see how long the answer to the last message takes: see
    /// [`Self::measure`].
    pub(super) fn wants_to_measure(&self) -> bool {
        self.budget.wants_to_measure() && !self.window.is_empty() && self.room() == 0
    }

    /// The window has just become full.
    pub(super) fn measure(&mut self, now: Instant) {
        self.budget
            .measure(now, self.window.bytes(), self.window.opened());
    }

    /// Publishes that wait for the broker's answer.
    pub(super) fn has_unanswered(&self) -> bool {
        !self.window.is_empty()
    }

    pub(super) fn publish(
        &mut self,
        publish: &Publish,
        token: u64,
    ) -> Result<(), UnsendablePublish> {
        let limit = self.packet_limit();
        if let Some(established) = &self.established {
            if publish.retain && !established.retain_available {
                return Err(UnsendablePublish::RetainNotAvailable);
            }
            if publish.qos > established.maximum_qos {
                return Err(UnsendablePublish::QosNotAvailable {
                    maximum: established.maximum_qos,
                });
            }
        }
        if publish.qos == Qos::AtMostOnce {
            return self.wire.publish(publish, 0, limit, &mut self.out);
        }
        if self.room() == 0 {
            return Err(UnsendablePublish::WindowFull);
        }
        let before = self.out.len();
        self.wire
            .publish(publish, self.window.next_id(), limit, &mut self.out)?;
        self.window
            .open(token, publish.qos, self.out.len() - before);
        Ok(())
    }

    /// Queues PUBACK or PUBREC.
    pub(super) fn acknowledge(&mut self, token: AckToken) {
        match token.qos {
            Qos::AtMostOnce => {}
            Qos::AtLeastOnce => {
                self.unreleased.finish(token.packet_id);
                wire::puback(token.packet_id, &mut self.out);
            }
            Qos::ExactlyOnce => {
                if self.unreleased.acknowledge(token.packet_id, token.round) {
                    wire::pubrec(token.packet_id, &mut self.out);
                }
            }
        }
    }

    /// What QoS 2 must remember for the next connection of this session.
    pub(super) fn unreleased(&self) -> Unreleased {
        self.unreleased.carry()
    }

    /// Takes over what the last connection remembered, unless the broker has forgotten the session.
    pub(super) fn recall(&mut self, unreleased: Unreleased) {
        if self
            .established
            .as_ref()
            .is_some_and(|established| established.session_present)
        {
            self.unreleased = unreleased;
        }
    }

    pub(super) fn disconnect(&mut self) {
        wire::disconnect(&mut self.out);
    }

    /// Moves events that no packet brought.
    pub(super) fn take_ready(&mut self, events: &mut Vec<Event>) {
        events.append(&mut self.ready);
    }

    /// What is to be written.
    pub(super) fn output(&self) -> &[u8] {
        &self.out
    }

    /// The socket took `count` bytes of [`Self::output`].
    pub(super) fn sent(&mut self, count: usize, now: Instant) {
        self.out.advance(count);
        self.pulse.sent(now);
        if self.out.is_empty() {
            self.echoed = 0;
            if self.out.capacity() > KEPT_OUTPUT_BYTES {
                self.out = BytesMut::new();
            }
        }
    }
}

/// The keep-alive that holds: our own, or the broker's where that is shorter. A longer one, or none at all, would leave us
/// with a broker that has frozen.
fn shorter_keep_alive(own: Duration, told: Option<u16>) -> Duration {
    told.filter(|seconds| *seconds > 0).map_or(own, |seconds| {
        own.min(Duration::from_secs(u64::from(seconds)))
    })
}

fn disconnected(code: u8, words: Option<&str>) -> Error {
    Error::Disconnected {
        code,
        reason: reason::describe_v5(code, words),
        failure: reason::disconnect_failure(code),
    }
}

fn outcome(token: u64, code: u8, words: Option<&str>) -> Event {
    if code < 0x80 {
        return Event::Accepted { token };
    }
    Event::Refused {
        token,
        code,
        reason: reason::describe_v5(code, words),
        kind: reason::refusal(code),
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
