//! Outbound publishes without an acknowledgement, keyed by packet id.
//!
//! Ids are handed out one after the other, so the window is a ring: the id gives the place, no map is needed. The ring
//! goes from the oldest unacknowledged publish to the newest, so an id is never in use twice; the limit counts only those
//! without an answer, so that one whose answer never comes costs its own place and no more.

use std::collections::VecDeque;

use crate::message::Qos;

/// The highest packet id of a publish; those above belong to SUBSCRIBE.
pub(super) const LAST_ID: u16 = 0xEFFF;

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AwaitedAck {
    Puback,
    Pubrec,
    Pubcomp,
    Done,
}

#[derive(Clone, Copy, Debug)]
struct WindowSlot {
    token: u64,
    stage: AwaitedAck,
    /// Size of the publish.
    bytes: u32,
    /// A PUBCOMP went ahead of its PUBREC.
    is_complete: bool,
}

#[derive(Debug)]
pub(super) struct InFlightWindow {
    /// Id of the first slot.
    first: u16,
    slots: VecDeque<WindowSlot>,
    /// Slots without a final answer.
    open: usize,
    limit: usize,
    /// Of the publishes that wait for an answer.
    bytes: usize,
    /// Publishes that have their final answer.
    over: u64,
}

/// What a PUBREC means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Received {
    Release,
    /// Answer with PUBREL; the publish of this token is over, since its PUBCOMP is here already.
    Completed(u64),
    /// The broker refused it: the publish of this token is over.
    Refused(u64),
}

/// An acknowledgement that nothing waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unexpected;

impl InFlightWindow {
    /// A window of `limit` publishes.
    pub(super) fn new(limit: u16) -> Self {
        Self {
            first: 1,
            slots: VecDeque::new(),
            open: 0,
            bytes: 0,
            over: 0,
            limit: usize::from(limit.min(LAST_ID)),
        }
    }

    /// How many more publishes fit.
    pub(super) fn room(&self) -> usize {
        self.limit
            .saturating_sub(self.open)
            .min(usize::from(LAST_ID) - self.slots.len())
    }

    /// Bytes of the publishes that wait for an answer.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Publishes that were opened, over all.
    pub(super) fn opened(&self) -> u64 {
        self.over + self.open as u64
    }

    /// Publishes that have their final answer, over all.
    pub(super) fn over(&self) -> u64 {
        self.over
    }

    /// Whether nothing waits for an answer.
    pub(super) fn is_empty(&self) -> bool {
        self.open == 0
    }

    /// The id the next publish gets.
    pub(super) fn next_id(&self) -> u16 {
        let place = usize::from(self.first) - 1 + self.slots.len();
        u16::try_from(place % usize::from(LAST_ID)).map_or(1, |index| index + 1)
    }

    /// Takes the next id for a publish of QoS 1 or 2 and of `bytes`. The caller has asked for room.
    pub(super) fn open(&mut self, token: u64, qos: Qos, bytes: usize) {
        let stage = if qos == Qos::ExactlyOnce {
            AwaitedAck::Pubrec
        } else {
            AwaitedAck::Puback
        };
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.bytes += bytes as usize;
        self.slots.push_back(WindowSlot {
            token,
            stage,
            bytes,
            is_complete: false,
        });
        self.open += 1;
    }

    /// PUBACK, whatever its code, and the level it answers: some brokers take QoS 2 and answer as if it were 1.
    pub(super) fn puback(&mut self, id: u16) -> Result<(u64, Qos), Unexpected> {
        let stage = self.slot(id).map_or(AwaitedAck::Done, |slot| slot.stage);
        let qos = if stage == AwaitedAck::Puback {
            Qos::AtLeastOnce
        } else {
            Qos::ExactlyOnce
        };
        self.finish(id, stage).map(|token| (token, qos))
    }

    /// PUBREC. A second one for the same id is answered again.
    pub(super) fn pubrec(&mut self, id: u16, refused: bool) -> Result<Received, Unexpected> {
        if refused {
            return self.finish(id, AwaitedAck::Pubrec).map(Received::Refused);
        }
        match self.slot(id).ok_or(Unexpected)? {
            slot @ WindowSlot {
                stage: AwaitedAck::Pubrec | AwaitedAck::Pubcomp,
                ..
            } => {
                slot.stage = AwaitedAck::Pubcomp;
                if slot.is_complete {
                    self.finish(id, AwaitedAck::Pubcomp)
                        .map(Received::Completed)
                } else {
                    Ok(Received::Release)
                }
            }
            _ => Err(Unexpected),
        }
    }

    /// PUBCOMP: the token, unless its PUBREC is still to come, which alone says that the broker has the message.
    pub(super) fn pubcomp(&mut self, id: u16) -> Result<Option<u64>, Unexpected> {
        match self.slot(id) {
            Some(
                slot @ WindowSlot {
                    stage: AwaitedAck::Pubrec,
                    is_complete: false,
                    ..
                },
            ) => {
                slot.is_complete = true;
                Ok(None)
            }
            _ => self.finish(id, AwaitedAck::Pubcomp).map(Some),
        }
    }

    fn slot(&mut self, id: u16) -> Option<&mut WindowSlot> {
        if id == 0 || id > LAST_ID {
            return None;
        }
        let distance = (usize::from(id) + usize::from(LAST_ID) - usize::from(self.first))
            % usize::from(LAST_ID);
        self.slots.get_mut(distance)
    }

    fn finish(&mut self, id: u16, expected: AwaitedAck) -> Result<u64, Unexpected> {
        let slot = self
            .slot(id)
            .filter(|slot| slot.stage == expected && expected != AwaitedAck::Done)
            .ok_or(Unexpected)?;
        slot.stage = AwaitedAck::Done;
        let WindowSlot { token, bytes, .. } = *slot;
        self.bytes -= bytes as usize;
        self.open -= 1;
        self.over += 1;
        while self
            .slots
            .front()
            .is_some_and(|slot| slot.stage == AwaitedAck::Done)
        {
            self.slots.pop_front();
            self.first = if self.first == LAST_ID {
                1
            } else {
                self.first + 1
            };
        }
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ids_wrap_before_those_of_subscribe() {
        let mut window = InFlightWindow::new(2);
        for token in 0..u64::from(LAST_ID) * 2 + 5 {
            let id = window.next_id();
            assert_eq!(u64::from(id), token % u64::from(LAST_ID) + 1);
            window.open(token, Qos::AtLeastOnce, 1);
            assert_eq!(window.puback(id), Ok((token, Qos::AtLeastOnce)));
        }
    }

    #[test]
    fn an_answer_to_nothing_is_unexpected_and_changes_nothing() {
        let mut window = InFlightWindow::new(4);
        window.open(7, Qos::ExactlyOnce, 1);
        window.open(8, Qos::AtLeastOnce, 1);
        assert_eq!(window.pubrec(2, false), Err(Unexpected));
        assert_eq!(window.pubcomp(2), Err(Unexpected));
        assert_eq!(window.pubrec(1, false), Ok(Received::Release));
        assert_eq!(window.pubrec(1, true), Err(Unexpected));
        assert_eq!(window.pubrec(1, false), Ok(Received::Release));
        assert_eq!(window.pubcomp(1), Ok(Some(7)));
        assert_eq!(window.pubcomp(1), Err(Unexpected));
        assert_eq!(window.puback(2), Ok((8, Qos::AtLeastOnce)));
        assert_eq!(window.puback(2), Err(Unexpected));
        assert_eq!(window.puback(0), Err(Unexpected));
        assert_eq!(window.puback(u16::MAX), Err(Unexpected));
        assert!(window.is_empty() && window.bytes() == 0);
    }

    #[test]
    fn a_pubcomp_ahead_of_its_pubrec_waits_for_it() {
        let mut window = InFlightWindow::new(4);
        window.open(7, Qos::ExactlyOnce, 1);
        assert_eq!(window.pubcomp(1), Ok(None));
        assert_eq!(window.pubcomp(1), Err(Unexpected));
        assert_eq!(window.pubrec(1, false), Ok(Received::Completed(7)));
        assert_eq!(window.pubrec(1, false), Err(Unexpected));
    }

    #[test]
    fn a_puback_for_level_2_is_taken_at_any_stage() {
        let mut window = InFlightWindow::new(4);
        window.open(7, Qos::ExactlyOnce, 1);
        window.open(8, Qos::ExactlyOnce, 1);
        assert_eq!(window.puback(1), Ok((7, Qos::ExactlyOnce)));
        assert_eq!(window.pubrec(2, false), Ok(Received::Release));
        assert_eq!(window.puback(2), Ok((8, Qos::ExactlyOnce)));
        assert_eq!(window.pubcomp(2), Err(Unexpected));
    }

    #[test]
    fn one_answer_that_never_comes_costs_its_own_place_and_no_more() {
        let mut window = InFlightWindow::new(2);
        window.open(0, Qos::AtLeastOnce, 1);
        for token in 1..u64::from(LAST_ID) {
            assert_eq!(window.room(), 1, "{token}");
            let id = window.next_id();
            window.open(token, Qos::AtLeastOnce, 1);
            assert_eq!(window.puback(id), Ok((token, Qos::AtLeastOnce)));
        }
        // All ids are used up: the first one must not be given out again.
        assert_eq!(window.room(), 0);
        assert_eq!(window.puback(1), Ok((0, Qos::AtLeastOnce)));
        assert_eq!(window.room(), 2);
    }

    proptest! {
        #[test]
        fn every_token_comes_back_once_whatever_the_order(limit in 1u16..40, picks in proptest::collection::vec(any::<u16>(), 1..400)) {
            let mut window = InFlightWindow::new(limit);
            let (mut open, mut token) = (Vec::new(), 0u64);
            for pick in picks {
                while window.room() > 0 {
                    open.push((window.next_id(), token));
                    window.open(token, Qos::AtLeastOnce, 10);
                    token += 1;
                }
                prop_assert!(open.len() <= usize::from(limit));
                let (id, expected) = open.remove(usize::from(pick) % open.len());
                prop_assert_eq!(window.puback(id), Ok((expected, Qos::AtLeastOnce)));
                prop_assert_eq!(window.puback(id), Err(Unexpected));
                prop_assert_eq!(window.bytes(), open.len() * 10);
                prop_assert_eq!(window.opened(), token);
            }
        }
    }
}
