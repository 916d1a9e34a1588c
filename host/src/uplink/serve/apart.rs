//! What waits apart from the others, as the judge says: laid aside, sent again, compared, parked.

use std::time::{Duration, Instant};

use super::Uplink;
use super::pull::{Pull, Sending, split};
use super::send::SendResult;
use crate::clock::Now;
use crate::link::Causes;
use crate::message::{Life, LinkTurn, Qos, Stored, key_hash, with_expiry};
use crate::uplink::carrier::Refusal;
use crate::uplink::carrier::{
    Carrier, CarrierEnded, CarrierFault, FaultOf, Manner, OutgoingPacket, PacketOrigin, Unsendable,
};
use crate::uplink::judge::{ConnectionEnd, Face, NextStep, PublishId, Turn};

/// The token of a message that is sent only to see whether upstream takes it; the highest there is, so no flight's.
pub(super) const COMPARISON: u64 = u64::MAX;

impl Uplink {
    /// What the judge sees of a message. A key keeps its order within its queue; where messages are packed, neighbours of
    /// other keys share a publish, and the whole queue does.
    fn face(&self, index: usize, stored: &Stored) -> Face {
        let key = if self.is_packing {
            0
        } else {
            key_hash(stored.message.key())
        };
        let key = key.rotate_left(16) ^ index as u64;
        let topic = key_hash(&stored.message.topic);
        Face {
            place: (index, stored.seq),
            key,
            topic,
            is_own: stored.message.id.is_own(),
        }
    }

    /// Whether the next message of a queue has to wait apart instead of being sent: it is laid aside, then.
    pub(super) fn lays_aside(
        &mut self,
        index: usize,
        count: usize,
        carrier: &impl Carrier,
        now: Instant,
    ) -> bool {
        let Some(stored) = self.pulls[index].ready().next() else {
            return false;
        };
        if !self.judge.is_watchful() && !stored.message.id.is_own() {
            return false;
        }
        let face = self.face(index, stored);
        let topic = stored.message.topic.clone();
        let is_barred = self.judge.is_barred(face);
        let turn = if is_barred {
            Turn::Aside
        } else {
            self.judge.turn(face, now)
        };
        if turn == Turn::Out {
            return false;
        }
        let sending = self.sending(carrier, now);
        let number = self.pulls[index].launch(count, sending, true);
        if turn == Turn::Passed {
            self.pulls[index].pass_over(number);
        }
        if is_barred {
            self.bar(&topic);
            self.judge.refused(
                face,
                Refusal::Unfit,
                "upstream ended connections over messages of this topic; it is not tried again"
                    .to_owned(),
                now,
            );
        }
        true
    }

    /// Upstream refused a publish, or it cannot be sent.
    pub(super) fn lay_aside(&mut self, token: u64, kind: Refusal, detail: String, now: Instant) {
        let (index, number) = split(token);
        let Some(pull) = self.pulls.get_mut(index) else {
            return;
        };
        if !pull.lay_aside(number) {
            return;
        }
        self.under_way = self
            .under_way
            .saturating_sub(usize::from(self.levels[index] != Qos::AtMostOnce));
        let Some(stored) = self.pulls[index].message(number) else {
            return;
        };
        let face = self.face(index, stored);
        self.judge.refused(face, kind, detail, now);
    }

    /// Does what the judge asks for.
    pub(super) fn apart(
        &mut self,
        step: NextStep,
        carrier: &mut impl Carrier,
        now: Instant,
        time: Now,
    ) -> (SendResult, usize) {
        match step {
            NextStep::Again(place) => (self.again(place, carrier, now, time), place.0),
            NextStep::Back => (self.go_back(), 0),
            _ => (self.compare(carrier, now), 0),
        }
    }

    /// Sends what lies aside.
    fn again(
        &mut self,
        place: PublishId,
        carrier: &mut impl Carrier,
        now: Instant,
        time: Now,
    ) -> SendResult {
        let (index, seq) = place;
        let Some(number) = self.pulls[index].number(seq) else {
            return self.gone(place);
        };
        let pull = &self.pulls[index];
        let Some(stored) = pull.aside(number).next() else {
            return self.gone(place);
        };
        let life = stored.message.life(time, self.backlog.boot());
        let face = self.face(index, stored);
        if life == Life::Over {
            self.pulls[index].expire_aside(number);
            return self.gone(place);
        }
        let Some(mut packet) = self.encoder.packet(index, pull.aside(number)) else {
            return self.gone(place);
        };
        if let Life::Left {
            seconds,
            is_less: true,
        } = life
        {
            packet.headers = with_expiry(&packet.headers, seconds);
        }
        let count = packet.count;
        let Some(sent) = self.put_again((index, number), packet, carrier, time) else {
            return self.gone(place);
        };
        match sent {
            Err(Unsendable::Full) => SendResult::Later,
            Err(Unsendable::Never(detail)) => {
                self.judge.refused(face, Refusal::Unfit, detail, now);
                SendResult::Aside
            }
            Err(Unsendable::Over(detail)) => {
                self.judge.refused(face, Refusal::Limit, detail, now);
                SendResult::Aside
            }
            Ok(bytes) => {
                let sending = self.sending(carrier, now);
                self.pulls[index].relaunch(number, sending);
                self.under_way += 1;
                self.judge.sent(Some(place), now);
                SendResult::Out(count, bytes)
            }
        }
    }

    /// Sending begins at the first message owed, over the connection that stands: nothing is under way.
    fn go_back(&mut self) -> SendResult {
        self.pulls.iter_mut().for_each(Pull::tell_accepted);
        self.forward();
        // What was given out ahead of the disk is forgotten with the link only.
        self.link.turn(LinkTurn::Down);
        self.pulls.iter_mut().for_each(Pull::rewind);
        self.link.turn(LinkTurn::Up);
        self.judge.went_back();
        SendResult::Aside
    }

    fn gone(&mut self, place: PublishId) -> SendResult {
        self.judge.gone(place);
        SendResult::Aside
    }

    /// Sends what upstream has accepted before, or one that waits behind others: beside the account, so it comes a second
    /// time. What expires is a command, as a rule, and must not.
    fn compare(&mut self, carrier: &mut impl Carrier, now: Instant) -> SendResult {
        let behind = || {
            let place = self.judge.bystander()?;
            let stored = self.pulls[place.0].message(self.pulls[place.0].number(place.1)?)?;
            (!stored.message.expires()).then(|| (place.0, stored.clone()))
        };
        let sample = self
            .sample
            .as_ref()
            .map(|(index, stored, _)| (*index, stored.clone()));
        let is_sample = sample.is_some();
        let offered = sample
            .or_else(behind)
            .and_then(|(index, stored)| self.offer_copy((index, &stored), is_sample, carrier));
        match offered {
            Some(Ok(())) => self.judge.asked(is_sample, now),
            Some(Err(Unsendable::Full)) => return SendResult::Later,
            Some(Err(_)) | None => self.judge.cannot_compare(now),
        }
        SendResult::Aside
    }

    /// Sends a message beside the account, which upstream took before, or not.
    pub(super) fn offer_copy(
        &mut self,
        (index, stored): (usize, &Stored),
        is_asked_anew: bool,
        carrier: &mut impl Carrier,
    ) -> Option<Result<(), Unsendable>> {
        let encoded = self.encoder.packet(index, std::iter::once(stored))?;
        let qos = self.levels[index].max(Qos::AtLeastOnce);
        let packet = OutgoingPacket {
            retain: false,
            qos,
            ..self.packet(index, encoded)
        };
        let about = PacketOrigin {
            is_asked_anew,
            is_beside: true,
            ..self.encoder.about(index, stored)
        };
        Some(carrier.offer(packet, about, COMPARISON))
    }

    /// Parks what upstream refuses while it takes others, as far as the dead letters have room; whether there was some.
    pub(super) fn park(&mut self) -> bool {
        if !self.judge.is_watchful() {
            return false;
        }
        let backlog = &self.backlog;
        let pulls = &self.pulls;
        let mut promised = (0, 0);
        let proven = self.judge.proven(|place| {
            let (letters, bytes) = pulls.get(place.0).map_or((0, 0), |pull| pull.load(place.1));
            promised = (promised.0 + letters, promised.1 + bytes);
            backlog.has_room_for_refused(promised.0, promised.1)
        });
        let has_parked = !proven.is_empty();
        for (place, detail) in proven {
            self.refuse(place, &detail);
        }
        if self.judge.is_crowded() {
            for (index, seq) in self.judge.surplus() {
                if let Some(number) = self.pulls[index].number(seq) {
                    self.pulls[index].pass_over(number);
                }
            }
        }
        has_parked
    }

    fn has_room_to_refuse(&mut self, place: PublishId) -> bool {
        let pull = self.pulls.get(place.0);
        let (letters, bytes) = pull.map_or((0, 0), |pull| pull.load(place.1));
        let has_room = self.backlog.has_room_for_refused(letters, bytes);
        self.unparked = (!has_room).then_some((place, (letters, bytes)));
        has_room
    }

    fn refuse(&mut self, place: PublishId, detail: &str) {
        let Some(pull) = self.pulls.get_mut(place.0) else {
            return;
        };
        let Some(number) = pull.number(place.1) else {
            return;
        };
        self.meters.refused.inc_by(pull.refused(number, detail));
        if !std::mem::replace(&mut self.said.refusal, true) {
            tracing::warn!(uplink = %self.name, detail, "upstream refused a message: parked (the next ones are only counted)");
        }
    }

    /// The first publish without an answer: its queue, its number, and when it was sent.
    pub(super) fn oldest(&self) -> Option<(usize, u64, Sending)> {
        let answered = self
            .pulls
            .iter()
            .enumerate()
            .filter(|(index, _)| self.levels[*index] != Qos::AtMostOnce);
        let heads = answered
            .filter_map(|(index, pull)| pull.head().map(|(number, sent)| (index, number, sent)));
        heads.min_by_key(|(.., sent)| *sent)
    }

    /// The first publish without an answer that upstream may have ended the connection over; one that it swallowed before is
    /// not the one.
    fn suspect(&self) -> Option<Face> {
        let answered = (0..self.pulls.len()).filter(|index| self.levels[*index] != Qos::AtMostOnce);
        let first = |index: usize| {
            let pull = &self.pulls[index];
            pull.waiting_for_answers().find_map(|(number, sent)| {
                let face = self.face(index, pull.message(number)?);
                (!self.judge.is_known_mute(face.place)).then_some((sent, face))
            })
        };
        answered
            .filter_map(first)
            .min_by_key(|(sent, _)| *sent)
            .map(|(_, face)| face)
    }

    /// The connection is over: a message may be the reason. One that is convicted goes to the dead letters.
    pub(super) fn ended<E: CarrierFault>(&mut self, ended: &CarrierEnded<E>) {
        let CarrierEnded::Carrier(fault) = ended else {
            return;
        };
        let manner = fault.manner();
        let is_hang_up = manner != Manner::StoodStill;
        let is_too_much = manner == Manner::TooMuch;
        // A pace keeps to what upstream takes then, not the window.
        if !is_too_much {
            self.window.broke(self.under_way, manner == Manner::HungUp);
        }
        if manner == Manner::Elsewhere {
            return;
        }
        self.ended_with = Causes(fault).to_string();
        if self.judge.is_shaky() {
            self.window.halve(self.under_way);
        }
        let under_way = self.under_way.saturating_sub(self.judge.mutes_out());
        let guilty = self.judge.ended(
            self.suspect(),
            ConnectionEnd {
                is_hang_up,
                is_too_much,
                under_way,
            },
            Instant::now(),
        );
        if let Some(place) = guilty.filter(|place| self.has_room_to_refuse(*place)) {
            self.refuse(
                place,
                &format!(
                    "upstream {} over it, and takes others: {}",
                    if is_hang_up {
                        "ends the connection"
                    } else {
                        "stands still"
                    },
                    self.ended_with
                ),
            );
        }
        self.forward();
        self.show();
    }

    /// Since when the answer to a publish can be expected: upstream's TCP has taken the last of it. Until it has, since it last
    /// took something of what goes before.
    pub(super) fn waits_since(carrier: &impl Carrier, sent: Sending) -> Instant {
        carrier
            .taken_at(sent.end)
            .map_or(sent.at, |at| at.max(sent.at))
    }

    /// Those whose answer was waited for from `due` on at the latest have none: they are sent again over a new connection, or
    /// parked where that did not help.
    pub(super) fn unanswered<C: Carrier>(
        &mut self,
        carrier: &C,
        due: Instant,
    ) -> CarrierEnded<FaultOf<C>> {
        let now = Instant::now();
        let patience = self.patience();
        let mut count = 0;
        let mut longest = Duration::ZERO;
        for index in 0..self.pulls.len() {
            if self.levels[index] == Qos::AtMostOnce {
                continue;
            }
            let waiting = self.pulls[index].waiting_for_answers();
            let late: Vec<_> = waiting
                .map(|(number, sent)| (number, Self::waits_since(carrier, sent)))
                .filter(|(_, since)| *since <= due)
                .collect();
            for (number, since) in late {
                count += 1;
                let waited = now.saturating_duration_since(since);
                longest = longest.max(waited);
                let Some(stored) = self.pulls[index].message(number) else {
                    continue;
                };
                let face = self.face(index, stored);
                if self.judge.unanswered(face, waited, patience)
                    && self.has_room_to_refuse(face.place)
                {
                    self.refuse(
                        face.place,
                        "upstream does not acknowledge it, and acknowledges others",
                    );
                }
            }
        }
        self.forward();
        self.show();
        tracing::error!(uplink = %self.name, count, waited = ?longest, "upstream does not acknowledge what it is sent: the connection is given up");
        CarrierEnded::Silent {
            count,
            waited: longest,
        }
    }

    /// Shows, in log, metrics and conditions, what upstream does not take.
    pub(super) fn show(&mut self) {
        self.tell();
        let is_held = self.judge.held_since().is_some();
        let is_crowded = self.judge.is_crowded();
        self.meters.alarm.set(i64::from(
            self.judge.is_alarming() || is_crowded || self.said.is_narrow,
        ));
        match (std::mem::replace(&mut self.said.hold, is_held), is_held) {
            (false, true) => {
                self.window.shut();
                tracing::error!(uplink = %self.name, why = self.judge.why(),
                    "upstream refuses everything: nothing is parked, and one message at a time is tried until three are accepted; check topics, rights and limits there");
            }
            (true, false) => tracing::info!(uplink = %self.name, "upstream takes messages again"),
            _ => {}
        }
        let is_paced = self.judge.is_paced();
        let is_starved = self.judge.is_starved();
        if !std::mem::replace(&mut self.said.pace, is_paced) && is_paced {
            tracing::warn!(uplink = %self.name, why = self.judge.why(),
                "upstream takes only so many messages in a time, and refuses the others or ends the connection: they go out as fast as it takes them, and none is parked");
        }
        if !std::mem::replace(&mut self.said.quota, is_starved) && is_starved {
            tracing::error!(uplink = %self.name, why = self.judge.why(),
                "upstream takes nothing, since it is too much: nothing is parked, and it is tried every few seconds; look at the quota there");
        }
        if !std::mem::replace(&mut self.said.crowd, is_crowded) && is_crowded {
            tracing::error!(uplink = %self.name,
                "the dead letters have no room for more of what upstream refuses: it stays in its queue; put upstream right, then `tidegate parked retry`, or drop them");
        }
    }
}
