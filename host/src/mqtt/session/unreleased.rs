//! Packet ids of inbound messages that are not finished, so that a message is given out once.
//!
//! On one connection an id that is in use stands for one message: QoS 2 by the standard, QoS 1 where the broker says so
//! (DUP), as 3.1.1 brokers that grow impatient do. Over a reconnect QoS 2 is known by its id *and* DUP: some brokers give
//! new ids to what they hold, and a new message under an old id is not to be swallowed.

/// Where an id of QoS 2 stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// Not in use.
    #[default]
    Free,
    /// Given out, not acknowledged.
    Given,
    /// Acknowledged: PUBREC was sent, or will be when the broker repeats the message.
    Answered,
}

#[derive(Clone, Copy, Debug, Default)]
struct Id {
    stage: Stage,
    /// Not seen on this connection.
    is_carried: bool,
    /// Number of the connection its message was given out on.
    connection: u32,
}

/// What to do with an inbound publish of QoS 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inbound {
    /// Give it out.
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
    ids: Vec<Id>,
    /// Of QoS 1, a bit for each id that was given out and not acknowledged on this connection.
    open: Vec<u64>,
    connection: u32,
}

impl Unreleased {
    /// Number of this connection, for the tokens of what comes over it.
    pub(super) fn connection(&self) -> u32 {
        self.connection
    }

    fn id(&mut self, id: u16) -> &mut Id {
        let place = usize::from(id);
        if place >= self.ids.len() {
            self.ids.resize(place + 1, Id::default());
        }
        &mut self.ids[place]
    }

    /// A PUBLISH of QoS 1 came in: whether it is given out.
    pub(super) fn publish_once(&mut self, id: u16, is_duplicate: bool) -> bool {
        let (word, bit) = (usize::from(id / 64), 1 << (id % 64));
        if word >= self.open.len() {
            self.open.resize(word + 1, 0);
        }
        let is_open = self.open[word] & bit != 0;
        self.open[word] |= bit;
        !(is_open && is_duplicate)
    }

    /// The caller acknowledges one of QoS 1.
    pub(super) fn finish(&mut self, id: u16) {
        if let Some(word) = self.open.get_mut(usize::from(id / 64)) {
            *word &= !(1 << (id % 64));
        }
    }

    /// A PUBLISH of QoS 2 came in.
    pub(super) fn publish(&mut self, id: u16, is_duplicate: bool) -> Inbound {
        let connection = self.connection;
        let known = self.id(id);
        if known.stage == Stage::Free || known.is_carried && !is_duplicate {
            *known = Id { stage: Stage::Given, is_carried: false, connection };
            return Inbound::New;
        }
        known.is_carried = false;
        if known.stage == Stage::Given { Inbound::Known } else { Inbound::Answer }
    }

    /// The caller acknowledges what was given out on that connection; says whether PUBREC goes out now.
    pub(super) fn acknowledge(&mut self, id: u16, connection: u32) -> bool {
        let known = self.id(id);
        if known.stage != Stage::Given || known.connection != connection {
            return false;
        }
        known.stage = Stage::Answered;
        !known.is_carried
    }

    /// PUBREL came in; PUBCOMP answers it in any case.
    pub(super) fn release(&mut self, id: u16) {
        let known = self.id(id);
        if known.stage != Stage::Given {
            known.stage = Stage::Free;
        }
    }

    /// The same ids, for the next connection of the session.
    pub(super) fn carry(&self) -> Self {
        let ids = self.ids.iter().map(|id| Id { is_carried: true, ..*id }).collect();
        Self { ids, open: Vec::new(), connection: self.connection.wrapping_add(1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_publish_is_given_out_once() {
        let mut ids = Unreleased::default();
        assert_eq!(ids.publish(9, false), Inbound::New);
        assert_eq!(ids.publish(9, true), Inbound::Known);
        assert_eq!(ids.publish(9, false), Inbound::Known);
        assert!(ids.acknowledge(9, 0));
        assert_eq!(ids.publish(9, true), Inbound::Answer);
        ids.release(9);
        assert_eq!(ids.publish(9, false), Inbound::New);
    }

    #[test]
    fn an_id_carried_over_is_answered_only_when_the_broker_repeats_it() {
        let mut before = Unreleased::default();
        before.publish(3, false);
        before.publish(4, false);
        before.acknowledge(4, 0);
        let mut after = before.carry();
        assert!(!after.acknowledge(3, 0));
        assert_eq!(after.publish(3, true), Inbound::Answer);
        assert_eq!(after.publish(4, true), Inbound::Answer);
        let mut other = before.carry();
        assert_eq!(other.publish(3, true), Inbound::Known);
        assert!(other.acknowledge(3, 0));
    }

    #[test]
    fn a_new_message_under_an_id_that_was_carried_over_is_given_out_and_waits_for_its_own_acknowledgement() {
        let mut before = Unreleased::default();
        before.publish(3, false);
        before.publish(4, false);
        before.acknowledge(4, 0);
        let mut after = before.carry();
        assert_eq!((after.publish(3, false), after.publish(4, false)), (Inbound::New, Inbound::New));
        assert!(!after.acknowledge(3, 0), "the old message must not answer for the new one");
        assert!(after.acknowledge(3, 1) && after.acknowledge(4, 1));
        assert_eq!(after.publish(3, true), Inbound::Answer);
    }

    #[test]
    fn of_level_1_a_repeat_is_known_until_it_is_acknowledged_and_only_where_the_broker_says_so() {
        let mut ids = Unreleased::default();
        assert!(ids.publish_once(1, true) && !ids.publish_once(1, true));
        assert!(ids.publish_once(1, false), "a new message under an id in use is the broker's fault, and no repeat");
        ids.finish(1);
        assert!(ids.publish_once(1, true));
        assert!(ids.publish_once(u16::MAX, false) && !ids.publish_once(u16::MAX, true));
        assert!(ids.carry().publish_once(1, true));
    }

    #[test]
    fn a_release_of_an_unknown_id_changes_nothing() {
        let mut ids = Unreleased::default();
        ids.release(u16::MAX);
        assert!(!ids.acknowledge(5, 0));
        assert_eq!(ids.publish(5, false), Inbound::New);
    }
}
