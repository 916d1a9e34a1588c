//! What goes out next: whose turn it is, how fast, and what is held back while upstream is not trusted.

use std::sync::PoisonError;
use std::time::Instant;

use super::caution::Step;
use super::dress::Packet;
use super::pull::Pull;
use super::serve::Uplink;
use crate::clock::Now;
use crate::message::{Life, Marks, Qos, Stored, with_expiry};
use crate::mqtt::{Causes, Connection, Publish, Stop, Unsendable};

/// Bytes that wait for the socket at which no more are added: some of its buffers, so that it never runs dry.
const UNSENT_BYTES: usize = 256 << 10;

/// What a packet has beside topic, headers and payload, at most: header, length, packet id.
const PACKET_OVERHEAD: usize = 16;

/// What a message costs its queue's share beside its bytes: the acknowledgement, and its place in the window.
const MESSAGE_COST: usize = 48;

/// The token of a message that is sent only to see whether upstream takes it; the highest there is, so no flight's.
pub(super) const COMPARISON: u64 = u64::MAX;

/// Why nothing more was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stand {
    /// There is nothing to send.
    Dry,
    /// An answer of upstream has to come first.
    Full,
    /// The rate, or the breaker, allows the next one then.
    Until(Instant),
}

/// What became of one publish.
enum Sent {
    /// It went out, or to the dead letters: messages and bytes of it.
    Out(usize, usize),
    /// The window is full.
    Later,
}

impl Uplink {
    pub(super) fn has_room(&self, connection: &Connection) -> bool {
        connection.unsent() < UNSENT_BYTES && (self.levels.contains(&Qos::AtMostOnce) || connection.room() > 0)
    }

    /// Whether something of QoS 0 is under way: it has no acknowledgement, and counts as accepted when the socket has
    /// taken all there is.
    pub(super) fn has_sent_level_0(&self) -> bool {
        self.pulls.iter().zip(&self.levels).any(|(pull, level)| *level == Qos::AtMostOnce && pull.in_flight() > 0)
    }

    /// Sends what fits, the queues side by side.
    pub(super) fn fill(&mut self, connection: &mut Connection, mode: Stop) -> Stand {
        if connection.unsent() > 0 && self.has_sent_level_0() {
            return Stand::Full;
        }
        let (now, time) = (Instant::now(), Now::read());
        loop {
            if !self.has_room(connection) {
                return Stand::Full;
            }
            if let Some(stand) = self.held_back(now) {
                return stand;
            }
            let next = match self.caution.step() {
                Step::Free => next_turn(self, mode, time, connection.room() > 0),
                step => match self.careful(step, connection, mode, time) {
                    Ok(queue) => Some(queue),
                    Err(stand) => return stand,
                },
            };
            let Some(queue) = next else { return Stand::Dry };
            match self.send(queue, connection, time) {
                Sent::Later => return Stand::Full,
                Sent::Out(messages, bytes) => {
                    self.turns.charge(queue, bytes + messages * MESSAGE_COST);
                    if let Some(throttle) = &self.throttle {
                        throttle.lock().unwrap_or_else(PoisonError::into_inner).charge(messages, bytes);
                    }
                }
            }
        }
    }

    /// Whether the breaker or the rate forbid to send now.
    fn held_back(&self, now: Instant) -> Option<Stand> {
        if self.breaker.is_open() && !self.breaker.lets(self.in_flight(), now) {
            return Some(self.breaker.next().filter(|next| *next > now).map_or(Stand::Full, Stand::Until));
        }
        let wait = self.throttle.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner).wait(now);
        (!wait.is_zero()).then(|| Stand::Until(now + wait))
    }

    pub(super) fn in_flight(&self) -> usize {
        self.pulls.iter().map(Pull::in_flight).sum()
    }

    /// While a message is suspected: the queue whose head goes out next, if one may.
    fn careful(&mut self, step: Step, connection: &mut Connection, mode: Stop, time: Now) -> Result<usize, Stand> {
        let (Step::Alone(accused) | Step::Other { accused, .. }) = step else { return Err(Stand::Full) };
        if self.in_flight() > 0 {
            return Err(Stand::Full);
        }
        for pull in &mut self.pulls {
            pull.next(mode == Stop::Run, time);
        }
        if self.pulls[accused].ready().next().is_none() {
            // It may still be on its way from the disk, and until it is here nothing else is compared with it.
            return Err(Stand::Dry);
        }
        if let Step::Other { any, .. } = step
            && let Some((queue, other)) = self.other(accused, any)
            && let Some(packet) = self.dress.packet(queue, std::iter::once(&other))
        {
            let publish = Publish { retain: false, ..self.publish(queue, packet) };
            if connection.publish(&publish, COMPARISON).is_ok() {
                self.caution.asked();
                return Err(Stand::Full);
            }
        }
        Ok(accused)
    }

    /// A message to compare the accused with: of another queue, or of another key, or of any if that is all there is.
    /// It is sent beside the account, so it comes a second time in its turn; what expires is a command, as a rule, and
    /// must not.
    fn other(&self, accused: usize, any: bool) -> Option<(usize, Stored)> {
        let mut elsewhere = self.pulls.iter().enumerate().filter(|(index, _)| *index != accused);
        if let Some((index, stored)) =
            elsewhere.find_map(|(index, pull)| Some((index, pull.ready().find(|stored| !stored.message.expires())?)))
        {
            return Some((index, stored.clone()));
        }
        let mut own = self.pulls[accused].ready();
        let head = own.next()?;
        let mut lasting = own.filter(|stored| !stored.message.expires());
        let other = lasting.find(|stored| any || stored.message.key() != head.message.key())?;
        Some((accused, other.clone()))
    }

    fn publish(&self, queue: usize, packet: Packet) -> Publish {
        let Packet { topic, payload, headers, marks, .. } = packet;
        let retain = self.retain_available && marks.has(Marks::RETAIN);
        Publish { topic, payload, headers, qos: self.levels[queue], retain, ..Publish::default() }
    }

    /// Sends the next publish of a queue that has one.
    fn send(&mut self, index: usize, connection: &mut Connection, time: Now) -> Sent {
        let pull = &self.pulls[index];
        // Not over: that was looked at when its turn came.
        let Some((_, life)) = pull.front(time) else { return Sent::Later };
        let Some(mut packet) = self.dress.packet(index, pull.ready()) else { return Sent::Later };
        if let Life::Left { seconds, is_less: true } = life {
            packet.headers = with_expiry(&packet.headers, seconds);
        }
        let (token, count) = (pull.token(index), packet.count);
        let bytes = packet.topic.len() + packet.headers.len() + packet.payload.len() + PACKET_OVERHEAD;
        let sent = if bytes > self.max_packet_bytes {
            let limit = self.max_packet_bytes;
            Err(format!("packet of about {bytes} bytes is over the limit of {limit} (`max_packet`)"))
        } else {
            match connection.publish(&self.publish(index, packet), token) {
                Err(Unsendable::WindowFull) => return Sent::Later,
                sent => sent.map_err(|problem| Causes(&problem).to_string()),
            }
        };
        self.pulls[index].launch(count);
        if let Err(detail) = sent {
            self.refuse(token, &detail);
        }
        Sent::Out(count, bytes)
    }
}

/// The queue that has the next turn.
/// The window, where there is room in it or not, is for those that are answered.
fn next_turn(uplink: &mut Uplink, mode: Stop, time: Now, has_window: bool) -> Option<usize> {
    let Uplink { turns, pulls, levels, .. } = uplink;
    turns.next(|queue| {
        if !has_window && levels[queue] != Qos::AtMostOnce {
            return None;
        }
        let (message, _) = pulls[queue].next(mode == Stop::Run, time)?;
        Some(message.topic.len() + message.headers.len() + message.payload.len() + PACKET_OVERHEAD + MESSAGE_COST)
    })
}
