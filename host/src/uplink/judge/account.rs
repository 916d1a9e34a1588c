//! What is known of upstream, for those who ask.

use std::time::Instant;

use super::Judge;
use super::case::{ANSWERS, Deferred, DeferredState, ONE_IN, PublishId};

/// What keeps messages from going out as they come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::uplink) struct Obstacles {
    /// Upstream takes nothing: since when, and its words about the last one.
    pub(in crate::uplink) hold: Option<(Instant, String)>,
    pub(in crate::uplink) is_mute: bool,
    /// It ends one connection after the other, and accepts nothing.
    pub(in crate::uplink) is_fruitless: bool,
    /// It refuses a large share of what it is sent.
    pub(in crate::uplink) refuses_many: bool,
    /// It refuses for now what comes faster than it takes, and is sent to at its pace.
    pub(in crate::uplink) is_paced: bool,
    /// What is refused for good cannot be parked.
    pub(in crate::uplink) is_crowded: bool,
    /// Messages that wait apart.
    pub(in crate::uplink) apart: Apart,
    /// Upstream's words about one that is refused for good.
    pub(in crate::uplink) refusal: Option<String>,
    /// The first that is waited for.
    pub(in crate::uplink) first: Option<PublishId>,
    /// When one of those is sent again, where that is known.
    pub(in crate::uplink) next_try: Option<Instant>,
}

/// Messages that wait apart, by what for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::uplink) struct Apart {
    pub(in crate::uplink) refused: u64,
    pub(in crate::uplink) busy: u64,
    pub(in crate::uplink) suspects: u64,
    pub(in crate::uplink) mute: u64,
    /// For another one of their key.
    pub(in crate::uplink) behind: u64,
    /// For upstream to take something.
    pub(in crate::uplink) held: u64,
}

impl Judge {
    pub(in crate::uplink) fn account(&self) -> Obstacles {
        let refused = self.cases.iter().find_map(|case| match &case.state {
            DeferredState::Refused { detail, .. } => Some(detail.clone()),
            _ => None,
        });
        let cause =
            |case: &&Deferred| !matches!(case.state, DeferredState::Behind | DeferredState::Again);
        let first = self.cases.iter().find(cause).or(self.cases.front());
        Obstacles {
            hold: self.hold.map(|hold| (hold.since, self.why.clone())),
            is_mute: self.is_mute,
            is_fruitless: self.is_fruitless(),
            refuses_many: self.answers >= ANSWERS && self.refused * ONE_IN > self.answers,
            is_paced: self.pace.is_some(),
            is_crowded: self.is_crowded(),
            apart: self.apart(),
            refusal: refused,
            first: first.map(|case| case.face.place),
            next_try: self.next_try(),
        }
    }

    fn apart(&self) -> Apart {
        let mut apart = Apart::default();
        for case in &self.cases {
            let count = match case.state {
                DeferredState::Refused { .. } => &mut apart.refused,
                DeferredState::Busy { .. } => &mut apart.busy,
                DeferredState::Suspect { .. } => &mut apart.suspects,
                DeferredState::Mute { .. } => &mut apart.mute,
                DeferredState::Behind => &mut apart.behind,
                DeferredState::Again if self.hold.is_some() => &mut apart.held,
                // It goes out in its turn.
                DeferredState::Again => continue,
            };
            *count += 1;
        }
        apart
    }

    fn next_try(&self) -> Option<Instant> {
        if let Some(hold) = self.hold {
            return hold.next;
        }
        let at = |case: &Deferred| match case.state {
            DeferredState::Busy { next, .. } if !case.is_out => Some(next),
            DeferredState::Suspect { .. } if !self.has_delivered => Some(self.lone_at()),
            _ => None,
        };
        self.cases.iter().filter_map(at).min()
    }
}
