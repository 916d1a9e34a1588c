//! Packet ids of inbound messages that are not finished, so that a message is given out once.
//!
//! An id alone does not say which message it stands for: some brokers give new ids to what they hold when we come back, and
//! one that has lost count gives an id in use to something else. So a message is known by its id *and* its content; over a
//! reconnect, and with QoS 1, the broker must also say that it has sent it before (DUP). In doubt it is given out: twice is
//! allowed, swallowed is not.

use crate::message::Headers;
use crate::mqtt::Publish;

/// Where an id of QoS 2 stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Qos2Stage {
    #[default]
    Free,
    /// Given out, not acknowledged.
    Given,
    /// Acknowledged: PUBREC was sent, or will be when the broker repeats the message.
    Answered,
}

#[derive(Clone, Copy, Debug, Default)]
struct IdState {
    stage: Qos2Stage,
    /// Not seen on this connection.
    is_carried: bool,
    /// Number of the round its message was given out in.
    round: u32,
    content: u64,
}

/// What to do with an inbound publish of QoS 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inbound {
    New,
    /// It was given out and its acknowledgement will come.
    Known,
    /// It was acknowledged: send PUBREC again.
    Answer,
}

/// Packet ids the caller has seen and the broker has not released. Carried into the next connection of a kept
/// session, they keep its messages of QoS 2 from being given out twice.
#[derive(Clone, Debug, Default)]
pub struct Unreleased {
    /// By packet id; as long as the highest id seen, which brokers count up from 1.
    ids: Vec<IdState>,
    /// Of QoS 1, by packet id: the content that was given out and not acknowledged on this connection, else 0.
    open: Vec<u64>,
    round: u32,
}

impl Unreleased {
    /// Number of this round, for the tokens of what comes in it. A new one begins with each connection, and where the broker
    /// gives an id to another message: the acknowledgement of the first must not be taken for one of the second.
    pub(super) fn round(&self) -> u32 {
        self.round
    }

    fn id(&mut self, id: u16) -> &mut IdState {
        let place = usize::from(id);
        if place >= self.ids.len() {
            self.ids.resize(place + 1, IdState::default());
        }
        &mut self.ids[place]
    }

    /// A PUBLISH of QoS 1 came in: whether it is given out.
    pub(super) fn publish_once(&mut self, id: u16, publish: &Publish) -> bool {
        let place = usize::from(id);
        if place >= self.open.len() {
            self.open.resize(place + 1, 0);
        }
        let content = content(publish);
        let before = std::mem::replace(&mut self.open[place], content);
        !(before == content && publish.duplicate)
    }

    /// The caller acknowledges one of QoS 1.
    pub(super) fn finish(&mut self, id: u16) {
        if let Some(content) = self.open.get_mut(usize::from(id)) {
            *content = 0;
        }
    }

    /// A PUBLISH of QoS 2 came in.
    pub(super) fn publish(&mut self, id: u16, publish: &Publish) -> Inbound {
        let content = content(publish);
        let known = *self.id(id);
        let is_same = known.content == content && (publish.duplicate || !known.is_carried);
        if known.stage == Qos2Stage::Free || !is_same {
            let waits = known.stage == Qos2Stage::Given && !known.is_carried;
            self.round = self.round.wrapping_add(u32::from(waits));
            let round = self.round;
            *self.id(id) = IdState {
                stage: Qos2Stage::Given,
                is_carried: false,
                round,
                content,
            };
            return Inbound::New;
        }
        self.id(id).is_carried = false;
        if known.stage == Qos2Stage::Given {
            Inbound::Known
        } else {
            Inbound::Answer
        }
    }

    /// The caller acknowledges what was given out in that round; says whether PUBREC goes out now.
    pub(super) fn acknowledge(&mut self, id: u16, round: u32) -> bool {
        let known = self.id(id);
        if known.stage != Qos2Stage::Given || known.round != round {
            return false;
        }
        known.stage = Qos2Stage::Answered;
        !known.is_carried
    }

    /// PUBREL came in; PUBCOMP answers it in any case.
    pub(super) fn release(&mut self, id: u16) {
        let known = self.id(id);
        if known.stage != Qos2Stage::Given {
            known.stage = Qos2Stage::Free;
        }
    }

    /// The same ids, for the next connection of the session.
    pub(super) fn carry(&self) -> Self {
        let ids = self
            .ids
            .iter()
            .map(|id| IdState {
                is_carried: true,
                ..*id
            })
            .collect();
        Self {
            ids,
            open: Vec::new(),
            round: self.round.wrapping_add(1),
        }
    }
}

/// What tells messages apart that came under one id; never 0. How long it may still live is not part of it, since a broker
/// counts that down.
fn content(publish: &Publish) -> u64 {
    let mut sum = crc32fast::Hasher::new();
    for (name, value) in Headers(&publish.headers)
        .flatten()
        .filter(|(name, _)| *name != ":message-expiry")
    {
        sum.update(name.as_bytes());
        sum.update(value);
    }
    sum.update(&publish.topic);
    sum.update(&publish.payload);
    let length = publish.topic.len() + publish.payload.len();
    u64::from(sum.finalize()) | (length as u64 + 1) << 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::push_header;

    fn message(payload: &'static str, duplicate: bool) -> Publish {
        Publish {
            topic: "t".into(),
            payload: payload.into(),
            duplicate,
            ..Publish::default()
        }
    }

    fn first() -> Publish {
        message("m", false)
    }

    fn again() -> Publish {
        message("m", true)
    }

    #[test]
    fn a_repeated_publish_is_given_out_once() {
        let mut ids = Unreleased::default();
        assert_eq!(ids.publish(9, &first()), Inbound::New);
        assert_eq!(ids.publish(9, &again()), Inbound::Known);
        assert_eq!(ids.publish(9, &first()), Inbound::Known);
        assert!(ids.acknowledge(9, 0));
        assert_eq!(ids.publish(9, &again()), Inbound::Answer);
        ids.release(9);
        assert_eq!(ids.publish(9, &first()), Inbound::New);
    }

    #[test]
    fn an_id_carried_over_is_answered_only_when_the_broker_repeats_it() {
        let mut before = Unreleased::default();
        before.publish(3, &first());
        before.publish(4, &first());
        before.acknowledge(4, 0);
        let mut after = before.carry();
        assert!(!after.acknowledge(3, 0));
        assert_eq!(after.publish(3, &again()), Inbound::Answer);
        assert_eq!(after.publish(4, &again()), Inbound::Answer);
        let mut other = before.carry();
        assert_eq!(other.publish(3, &again()), Inbound::Known);
        assert!(other.acknowledge(3, 0));
    }

    #[test]
    fn a_new_message_under_an_id_that_was_carried_over_is_given_out_and_waits_for_its_own_acknowledgement()
     {
        // New, and what the broker had written before we were cut off and has given another id.
        for new in [first(), message("other", false), message("other", true)] {
            let mut before = Unreleased::default();
            before.publish(3, &first());
            before.publish(4, &first());
            before.acknowledge(4, 0);
            let mut after = before.carry();
            assert_eq!(
                (after.publish(3, &new), after.publish(4, &new)),
                (Inbound::New, Inbound::New),
                "{new:?}"
            );
            assert!(
                !after.acknowledge(3, 0),
                "the old message must not answer for the new one"
            );
            assert!(after.acknowledge(3, 1) && after.acknowledge(4, 1));
            assert_eq!(
                after.publish(
                    3,
                    &Publish {
                        duplicate: true,
                        ..new
                    }
                ),
                Inbound::Answer
            );
        }
    }

    #[test]
    fn another_message_under_an_id_in_use_is_given_out_and_waits_for_its_own_acknowledgement() {
        let mut ids = Unreleased::default();
        ids.publish(3, &first());
        assert_eq!(ids.publish(4, &first()), Inbound::New);
        assert_eq!(ids.publish(3, &message("other", true)), Inbound::New);
        assert_eq!(ids.round(), 1);
        assert!(!ids.acknowledge(3, 0) && ids.acknowledge(4, 0) && ids.acknowledge(3, 1));
        assert_eq!(ids.publish(3, &message("third", false)), Inbound::New);
        assert!(ids.acknowledge(3, 1));
    }

    #[test]
    fn of_level_1_a_repeat_is_known_until_it_is_acknowledged_and_only_where_the_broker_says_so() {
        let mut ids = Unreleased::default();
        assert!(ids.publish_once(1, &again()) && !ids.publish_once(1, &again()));
        assert!(
            ids.publish_once(1, &first()),
            "a new message under an id in use is the broker's fault, and no repeat"
        );
        assert!(
            ids.publish_once(1, &message("other", true))
                && !ids.publish_once(1, &message("other", true))
        );
        ids.finish(1);
        assert!(ids.publish_once(1, &again()));
        assert!(ids.publish_once(u16::MAX, &first()) && !ids.publish_once(u16::MAX, &again()));
        assert!(ids.carry().publish_once(1, &again()));
    }

    #[test]
    fn content_is_topic_payload_and_headers_without_what_the_broker_counts_down() {
        let with = |headers: &[(&str, &str)]| {
            let mut block = Vec::new();
            headers
                .iter()
                .for_each(|(name, value)| push_header(&mut block, name, value.as_bytes()).unwrap());
            Publish {
                headers: block.into(),
                ..first()
            }
        };
        assert_eq!(
            content(&with(&[(":message-expiry", "60"), ("a", "1")])),
            content(&with(&[(":message-expiry", "9"), ("a", "1")]))
        );
        assert_ne!(content(&with(&[("a", "1")])), content(&with(&[("a", "2")])));
        assert_ne!(
            content(&first()),
            content(&Publish {
                topic: "u".into(),
                ..first()
            })
        );
        assert!(content(&Publish::default()) != 0);
    }

    #[test]
    fn a_release_of_an_unknown_id_changes_nothing() {
        let mut ids = Unreleased::default();
        ids.release(u16::MAX);
        assert!(!ids.acknowledge(5, 0));
        assert_eq!(ids.publish(5, &first()), Inbound::New);
    }
}
