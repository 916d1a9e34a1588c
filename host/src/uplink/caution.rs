//! Finds the message that upstream hangs up on. MQTT 3.1.1 has no other way to refuse a message, and not every MQTT 5
//! broker says what it dislikes; sent again at the head of its queue for ever, such a message would block all the rest.
//!
//! A broker in trouble hangs up as well, so hanging up convicts nobody. After some hang-ups with one message at the head
//! of its queue it is sent alone; when that does not help, another one is sent first, and only if upstream takes that one
//! and then hangs up on the accused, on one and the same connection, it is parked. No sockets, no clock.

use crate::message::Seq;

/// Hang-ups on one head after which it is sent alone.
const ALONE: u32 = 3;
/// Hang-ups on one head after which it is compared with another message.
const COMPARE: u32 = 5;
/// Hang-ups on one head after which it may even be compared with a message of its own key, which then overtakes it.
const ANY: u32 = 10;

/// What may be sent on the connection in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Everything.
    Free,
    /// Only the head of this queue, and nothing beside it.
    Alone(usize),
    /// A message other than the head of this queue; of its own key only if `any`.
    Other {
        /// The queue of the accused.
        accused: usize,
        /// Whether the other may have its key.
        any: bool,
    },
    /// Nothing, until upstream has answered to the other one.
    Wait,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trial {
    /// The accused was not compared with anything.
    None,
    /// Another message is under way.
    Asked,
    /// Upstream took the other message.
    Passed,
}

/// What is known of the heads of the queues of one uplink.
#[derive(Debug)]
pub(super) struct Caution {
    /// The head that was in flight at the last hang-up, and how often.
    heads: Vec<(Seq, u32)>,
    accused: Option<usize>,
    trial: Trial,
}

impl Caution {
    pub(super) fn new(queues: usize) -> Self {
        Self { heads: vec![(Seq::default(), 0); queues], accused: None, trial: Trial::None }
    }

    /// A connection begins.
    pub(super) fn begin(&mut self) {
        let worst = self.heads.iter().enumerate().max_by_key(|(_, (_, strikes))| *strikes);
        self.accused = worst.filter(|(_, (_, strikes))| *strikes >= ALONE).map(|(queue, _)| queue);
        self.trial = Trial::None;
    }

    /// What may be sent now.
    pub(super) fn step(&self) -> Step {
        let Some(accused) = self.accused else { return Step::Free };
        let strikes = self.heads[accused].1;
        match self.trial {
            Trial::None if strikes >= COMPARE => Step::Other { accused, any: strikes >= ANY },
            Trial::None | Trial::Passed => Step::Alone(accused),
            Trial::Asked => Step::Wait,
        }
    }

    /// The other message was sent.
    pub(super) fn asked(&mut self) {
        self.trial = Trial::Asked;
    }

    /// Upstream answered to the other message.
    pub(super) fn passed(&mut self) {
        self.trial = Trial::Passed;
    }

    /// Upstream answered to a message of `queue`: if that was the accused, it is acquitted.
    pub(super) fn answered(&mut self, queue: usize) {
        if self.accused == Some(queue) {
            self.acquit(queue);
        }
    }

    fn acquit(&mut self, queue: usize) {
        self.heads[queue].1 = 0;
        self.accused = None;
    }

    /// Upstream hung up; `heads` gives the first message in flight of each queue. The queue whose head is to be parked.
    pub(super) fn hung_up(&mut self, heads: impl IntoIterator<Item = Option<Seq>>) -> Option<usize> {
        if let Some(accused) = self.accused
            && self.trial != Trial::None
        {
            let guilty = self.trial == Trial::Passed;
            self.acquit(accused);
            return guilty.then_some(accused);
        }
        for ((known, strikes), head) in self.heads.iter_mut().zip(heads) {
            let Some(head) = head else { continue };
            *strikes = if *known == head { strikes.saturating_add(1) } else { 1 };
            *known = head;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Hangs up on the head `seq` of queue 0 as often as it takes to get to the comparison.
    fn to_comparison(caution: &mut Caution, seq: Seq) {
        for strikes in 0..COMPARE {
            caution.begin();
            assert_eq!(caution.step(), if strikes < ALONE { Step::Free } else { Step::Alone(0) });
            assert_eq!(caution.hung_up([Some(seq), None]), None);
        }
        caution.begin();
        assert_eq!(caution.step(), Step::Other { accused: 0, any: false });
    }

    #[test]
    fn a_message_is_convicted_when_upstream_takes_another_and_then_hangs_up_on_it() {
        let mut caution = Caution::new(2);
        to_comparison(&mut caution, Seq(7));
        caution.asked();
        assert_eq!(caution.step(), Step::Wait);
        caution.passed();
        assert_eq!(caution.step(), Step::Alone(0));
        assert_eq!(caution.hung_up([Some(Seq(7)), None]), Some(0));
        caution.begin();
        assert_eq!(caution.step(), Step::Free);
    }

    #[test]
    fn a_broker_that_hangs_up_on_everything_convicts_nobody() {
        let mut caution = Caution::new(2);
        to_comparison(&mut caution, Seq(7));
        caution.asked();
        assert_eq!(caution.hung_up([None, None]), None);
        caution.begin();
        assert_eq!(caution.step(), Step::Free);
    }

    #[test]
    fn an_accused_that_is_accepted_after_all_is_free() {
        let mut caution = Caution::new(2);
        to_comparison(&mut caution, Seq(7));
        caution.asked();
        caution.passed();
        caution.answered(1);
        assert_eq!(caution.step(), Step::Alone(0));
        caution.answered(0);
        assert_eq!(caution.step(), Step::Free);
        assert_eq!(caution.hung_up([Some(Seq(8)), None]), None);
    }

    #[test]
    fn with_nothing_to_compare_with_it_is_tried_on_and_at_last_compared_with_anything() {
        let mut caution = Caution::new(2);
        to_comparison(&mut caution, Seq(7));
        for _ in COMPARE..ANY {
            assert_eq!(caution.hung_up([Some(Seq(7)), None]), None);
            caution.begin();
        }
        assert_eq!(caution.step(), Step::Other { accused: 0, any: true });
    }

    proptest! {
        #[test]
        fn heads_that_move_on_are_never_accused(heads in proptest::collection::vec(0_u64..5, 1..60)) {
            let (mut caution, mut place) = (Caution::new(1), 0);
            for (index, step) in heads.iter().enumerate() {
                caution.begin();
                prop_assert_eq!(caution.step(), Step::Free);
                // At most two hang-ups on one head.
                place += if index % 2 == 0 { step + 1 } else { 0 };
                prop_assert_eq!(caution.hung_up([Some(Seq(place))]), None);
            }
        }
    }
}
