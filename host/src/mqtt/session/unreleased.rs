//! Inbound QoS 2: packet ids between PUBLISH and PUBREL, so that a message is given out once.

/// Where an id stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// Not in use.
    #[default]
    Free,
    /// Given out on an earlier connection, not acknowledged, not seen on this one.
    Carried,
    /// Given out, not acknowledged.
    Given,
    /// Acknowledged: PUBREC was sent, or will be when the broker repeats the message.
    Answered,
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
/// session, they keep its messages from being given out twice.
#[derive(Clone, Debug, Default)]
pub struct Unreleased {
    /// By packet id; as long as the highest id seen, which brokers count up from 1.
    stages: Vec<Stage>,
}

impl Unreleased {
    fn stage(&mut self, id: u16) -> &mut Stage {
        let place = usize::from(id);
        if place >= self.stages.len() {
            self.stages.resize(place + 1, Stage::Free);
        }
        &mut self.stages[place]
    }

    /// A PUBLISH came in.
    pub(super) fn publish(&mut self, id: u16) -> Inbound {
        let stage = self.stage(id);
        match stage {
            Stage::Free => {
                *stage = Stage::Given;
                Inbound::New
            }
            Stage::Carried => {
                *stage = Stage::Given;
                Inbound::Known
            }
            Stage::Given => Inbound::Known,
            Stage::Answered => Inbound::Answer,
        }
    }

    /// The caller acknowledges; says whether PUBREC goes out now.
    pub(super) fn acknowledge(&mut self, id: u16) -> bool {
        let stage = self.stage(id);
        let send = *stage == Stage::Given;
        if matches!(*stage, Stage::Given | Stage::Carried) {
            *stage = Stage::Answered;
        }
        send
    }

    /// PUBREL came in; PUBCOMP answers it in any case.
    pub(super) fn release(&mut self, id: u16) {
        let stage = self.stage(id);
        if *stage != Stage::Given {
            *stage = Stage::Free;
        }
    }

    /// The same ids, for the next connection of the session.
    pub(super) fn carry(&self) -> Self {
        let carried = |stage: &Stage| if *stage == Stage::Given { Stage::Carried } else { *stage };
        Self { stages: self.stages.iter().map(carried).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_publish_is_given_out_once() {
        let mut ids = Unreleased::default();
        assert_eq!(ids.publish(9), Inbound::New);
        assert_eq!(ids.publish(9), Inbound::Known);
        assert!(ids.acknowledge(9));
        assert_eq!(ids.publish(9), Inbound::Answer);
        ids.release(9);
        assert_eq!(ids.publish(9), Inbound::New);
    }

    #[test]
    fn an_id_carried_over_is_answered_only_when_the_broker_repeats_it() {
        let mut before = Unreleased::default();
        before.publish(3);
        before.publish(4);
        before.acknowledge(4);
        let mut after = before.carry();
        assert!(!after.acknowledge(3));
        assert_eq!(after.publish(3), Inbound::Answer);
        assert_eq!(after.publish(4), Inbound::Answer);
        let mut other = before.carry();
        assert_eq!(other.publish(3), Inbound::Known);
        assert!(other.acknowledge(3));
    }

    #[test]
    fn a_release_of_an_unknown_id_changes_nothing() {
        let mut ids = Unreleased::default();
        ids.release(u16::MAX);
        assert!(!ids.acknowledge(5));
        assert_eq!(ids.publish(5), Inbound::New);
    }
}
