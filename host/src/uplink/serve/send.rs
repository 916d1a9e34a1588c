//! What goes out next: whose turn it is, how fast, and what is held back.

use std::sync::PoisonError;
use std::time::Instant;

use super::Uplink;
use super::pull::{Pull, Sending, join};
use crate::clock::Now;
use crate::link::Stop;
use crate::message::{Life, Marks, Qos, Stored, with_expiry};
use crate::uplink::carrier::Refusal;
use crate::uplink::carrier::{Carrier, OutgoingPacket, Unsendable};
use crate::uplink::form::encode::Encoded;
use crate::uplink::judge::NextStep;

/// Bytes that wait for the socket at which no more are added: some of its buffers, so that it never runs dry.
const UNSENT_BYTES: usize = 256 << 10;

/// What a packet has beside topic, headers and payload, at most: header, length, packet id.
const PACKET_OVERHEAD: usize = 16;

/// What a message costs its queue's share beside its bytes: the acknowledgement, and its place in the window.
const MESSAGE_COST: usize = 48;

/// Why nothing more was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stand {
    /// There is nothing to send; at this time something that waits apart is due.
    Dry(Option<Instant>),
    /// An answer of upstream has to come first.
    Full,
    /// The next one may go then.
    Until(Instant),
    /// The same, since the rate forbids more before.
    Slowed(Instant),
}

/// What became of one publish.
pub(super) enum SendResult {
    /// It went out: messages and bytes of it.
    Out(usize, usize),
    Aside,
    /// The window is full.
    Later,
}

impl Uplink {
    pub(super) fn has_room(&self, carrier: &impl Carrier) -> bool {
        carrier.unsent() < UNSENT_BYTES
            && (self.levels.contains(&Qos::AtMostOnce) || self.has_window(carrier))
    }

    fn has_window(&self, carrier: &impl Carrier) -> bool {
        self.room(carrier) > 0
    }

    fn room(&self, carrier: &impl Carrier) -> usize {
        carrier
            .room()
            .min(self.window.size().saturating_sub(self.under_way))
    }

    /// Whether something of QoS 0 is under way: it has no acknowledgement, and counts as accepted when the socket has
    /// taken all there is.
    pub(super) fn has_sent_level_0(&self) -> bool {
        self.pulls
            .iter()
            .zip(&self.levels)
            .any(|(pull, level)| *level == Qos::AtMostOnce && pull.in_flight() > 0)
    }

    /// Sends what fits, the queues side by side.
    pub(super) fn fill(&mut self, carrier: &mut impl Carrier, mode: Stop) -> Stand {
        if carrier.unsent() > 0 && self.has_sent_level_0() {
            return Stand::Full;
        }
        let now = Instant::now();
        let time = Now::read();
        self.encoder.at(self.backlog.boot(), time);
        loop {
            if !self.has_room(carrier) {
                return self.narrow(now).map_or(Stand::Full, Stand::Until);
            }
            if let Some(stand) = self.held_back(now) {
                return stand;
            }
            let room = self.room(carrier);
            let (sent, queue) = match self.judge.step(now, self.under_way, room) {
                NextStep::Free => match next_turn(self, mode, time, self.has_window(carrier)) {
                    Some(queue) => (self.send(queue, carrier, now, time), queue),
                    // What is being read may be what the others are compared with.
                    None if mode == Stop::Run && self.pulls.iter().any(Pull::is_reading) => {
                        return Stand::Dry(None);
                    }
                    None => match self.judge.idle(now, self.under_way, room) {
                        NextStep::Free => return Stand::Dry(None),
                        NextStep::Wait(at) => return Stand::Dry(at),
                        step => self.apart(step, carrier, now, time),
                    },
                },
                NextStep::Wait(None) => return Stand::Full,
                NextStep::Wait(Some(at)) => return Stand::Until(at),
                step => self.apart(step, carrier, now, time),
            };
            match sent {
                SendResult::Later => return Stand::Full,
                SendResult::Aside => {}
                SendResult::Out(messages, bytes) => {
                    self.scheduler
                        .charge(queue, bytes + messages * MESSAGE_COST);
                    if let Some(throttle) = &self.throttle {
                        throttle
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .charge(messages, bytes);
                    }
                }
            }
        }
    }

    /// When the window is wider, where it is only narrow because the carrier is new, and its first answers are late.
    fn narrow(&mut self, now: Instant) -> Option<Instant> {
        if self.under_way < self.window.size() || !self.window.is_opening() {
            return None;
        }
        let widens_at = self
            .oldest()?
            .2
            .at
            .max(self.answered_at)
            .max(self.widened_at)
            + self.late();
        if widens_at > now {
            return Some(widens_at);
        }
        self.window.widen();
        self.widened_at = now;
        Some(now)
    }

    /// Whether the rate forbids to send now.
    fn held_back(&self, now: Instant) -> Option<Stand> {
        let wait = self
            .throttle
            .as_ref()?
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .wait(now);
        (!wait.is_zero()).then(|| Stand::Slowed(now + wait))
    }

    pub(super) fn in_flight(&self) -> usize {
        self.pulls.iter().map(Pull::in_flight).sum()
    }

    pub(super) fn packet(&self, queue: usize, encoded: Encoded) -> OutgoingPacket {
        let Encoded {
            topic,
            payload,
            headers,
            marks,
            ..
        } = encoded;
        OutgoingPacket {
            topic,
            payload,
            headers,
            qos: self.levels[queue],
            retain: self.retain_available && marks.has(Marks::RETAIN),
        }
    }

    /// The next publish is out, or is laid aside, now.
    pub(super) fn sending(&mut self, carrier: &impl Carrier, now: Instant) -> Sending {
        self.sent += 1;
        Sending {
            number: self.sent,
            at: now,
            end: carrier.end(),
        }
    }

    /// Sends the next publish of a queue that has one, or lays it aside.
    fn send(
        &mut self,
        index: usize,
        carrier: &mut impl Carrier,
        now: Instant,
        time: Now,
    ) -> SendResult {
        let pull = &self.pulls[index];
        // Not over: that was looked at when its turn came.
        let Some((_, life)) = pull.front(time) else {
            return SendResult::Later;
        };
        let Some(mut packet) = self.encoder.packet(index, pull.ready()) else {
            return SendResult::Later;
        };
        if let Life::Left {
            seconds,
            is_less: true,
        } = life
        {
            packet.headers = with_expiry(&packet.headers, seconds);
        }
        let token = pull.token(index);
        let count = packet.count;
        let is_answered = self.levels[index] != Qos::AtMostOnce;
        if is_answered && self.lays_aside(index, count, carrier, now) {
            return SendResult::Aside;
        }
        let pull = &self.pulls[index];
        let begun = self
            .trace
            .begin(pull.ready().take(count), &mut packet, time);
        let Some(first) = pull.ready().next() else {
            return SendResult::Later;
        };
        let sent = self.put((index, first), packet, token, carrier);
        if matches!(sent, Err(Unsendable::Full)) {
            return SendResult::Later;
        }
        self.trace.sent(token, begun, sent.is_ok());
        let sending = self.sending(carrier, now);
        self.pulls[index].launch(count, sending, false);
        self.under_way += usize::from(is_answered);
        match sent {
            Err(Unsendable::Full) => SendResult::Later,
            Err(Unsendable::Never(detail)) => {
                self.lay_aside(token, Refusal::Unfit, detail, now);
                SendResult::Aside
            }
            Err(Unsendable::Over(detail)) => {
                self.lay_aside(token, Refusal::Limit, detail, now);
                SendResult::Aside
            }
            Ok(bytes) => {
                self.judge.sent(None, now);
                SendResult::Out(count, bytes)
            }
        }
    }

    /// The same of what lies aside in the publish of message `number`; `None` when there is none.
    pub(super) fn put_again(
        &mut self,
        (index, number): (usize, u64),
        mut packet: Encoded,
        carrier: &mut impl Carrier,
        time: Now,
    ) -> Option<Result<usize, Unsendable>> {
        let token = join(index, number);
        let pull = &self.pulls[index];
        let begun = self.trace.begin(pull.aside(number), &mut packet, time);
        let first = pull.aside(number).next()?;
        let sent = self.put((index, first), packet, token, carrier);
        if !matches!(sent, Err(Unsendable::Full)) {
            self.trace.sent(token, begun, sent.is_ok());
        }
        Some(sent)
    }

    /// Gives a packet to the carrier, which begins with this message of a queue, and says how many bytes it has.
    pub(super) fn put(
        &self,
        (index, first): (usize, &Stored),
        encoded: Encoded,
        token: u64,
        carrier: &mut impl Carrier,
    ) -> Result<usize, Unsendable> {
        let bytes =
            encoded.topic.len() + encoded.headers.len() + encoded.payload.len() + PACKET_OVERHEAD;
        if bytes > self.max_packet_bytes {
            let limit = self.max_packet_bytes;
            return Err(Unsendable::Never(format!(
                "packet of about {bytes} bytes is over the limit of {limit} (`max_packet`)"
            )));
        }
        let about = self.encoder.about(index, first);
        carrier.offer(self.packet(index, encoded), about, token)?;
        Ok(bytes)
    }
}

/// The queue that has the next turn.
/// The window, where there is room in it or not, is for those that are answered.
fn next_turn(uplink: &mut Uplink, mode: Stop, time: Now, has_window: bool) -> Option<usize> {
    let Uplink {
        scheduler,
        pulls,
        levels,
        ..
    } = uplink;
    scheduler.next(|queue| {
        if !has_window && levels[queue] != Qos::AtMostOnce {
            return None;
        }
        let (message, _) = pulls[queue].next(mode == Stop::Run, time)?;
        Some(
            message.topic.len()
                + message.headers.len()
                + message.payload.len()
                + PACKET_OVERHEAD
                + MESSAGE_COST,
        )
    })
}
