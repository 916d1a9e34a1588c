//! Which versions of a plugin are at work in a lane.

use super::inbox::InitialState;
use super::live::Live;
use super::pair::{Joined, Pair};
use super::trial::TrialVerdict;
use super::trial::phase::KeyShare;
use crate::clock::Now;

/// The confirmed version by itself, or a candidate beside it. One that is alone is always the one to be heard.
#[expect(
    clippy::large_enum_variant,
    reason = "alone is the rule, and is where every message goes"
)]
pub(super) enum Running {
    Alone(Live),
    Paired(Box<Pair>),
}

impl Running {
    /// The version that is confirmed.
    pub(super) fn confirmed(&self) -> &Live {
        match self {
            Self::Alone(live) => live,
            Self::Paired(pair) => &pair.old,
        }
    }

    /// Bytes of linear memory of all its instances, and of the largest.
    pub(super) fn memory_bytes(&self) -> [usize; 2] {
        let own = self.confirmed().memory_bytes();
        let other = self.pair().map_or(0, |pair| pair.candidate.memory_bytes());
        [own + other, own.max(other)]
    }

    pub(super) fn confirmed_mut(&mut self) -> &mut Live {
        match self {
            Self::Alone(live) => live,
            Self::Paired(pair) => &mut pair.old,
        }
    }

    /// Both, while a change is under way.
    pub(super) fn pair(&self) -> Option<&Pair> {
        match self {
            Self::Alone(_) => None,
            Self::Paired(pair) => Some(pair),
        }
    }

    pub(super) fn pair_mut(&mut self) -> Option<&mut Pair> {
        match self {
            Self::Alone(_) => None,
            Self::Paired(pair) => Some(pair),
        }
    }

    /// Puts `candidate` beside the confirmed version; one that is there already goes.
    pub(super) fn join(&mut self, candidate: Live, trial: Joined, origin: InitialState, now: Now) {
        self.part(now);
        self.turn(|running| {
            let old = running.into_confirmed();
            Self::Paired(Box::new(Pair::new(old, candidate, trial, origin)))
        });
    }

    /// Acts on the verdict about a candidate, if there is one. Where that one has taken over, the lane's part in the trial is
    /// given back: dropped, it says that the lane is done.
    pub(super) fn heed(&mut self, now: Now) -> Option<Joined> {
        match self.pair()?.trial.verdict() {
            TrialVerdict::Running => None,
            TrialVerdict::Confirmed => self.succeed(now),
            TrialVerdict::Failed(..) => {
                self.part(now);
                None
            }
        }
    }

    /// The candidate goes, if there is one.
    pub(super) fn part(&mut self, now: Now) {
        let Self::Paired(pair) = self else {
            return;
        };
        pair.hand_back(now);
        self.turn(|running| Self::alone(running.into_confirmed()));
    }

    /// The candidate is the confirmed version from now on.
    fn succeed(&mut self, now: Now) -> Option<Joined> {
        let mut part = None;
        // It is confirmed, so it stays in any case.
        self.pair_mut()?.pass_on(KeyShare::ALL, now);
        self.turn(|running| match running {
            Self::Alone(live) => Self::Alone(live),
            Self::Paired(pair) => {
                let Pair {
                    old,
                    mut candidate,
                    trial,
                    ..
                } = *pair;
                candidate.succeed(&old);
                part = Some(trial);
                Self::alone(candidate)
            }
        });
        part
    }

    fn alone(mut live: Live) -> Self {
        live.mute(false);
        Self::Alone(live)
    }

    fn into_confirmed(self) -> Live {
        match self {
            Self::Alone(live) => live,
            Self::Paired(pair) => pair.old,
        }
    }

    /// Makes something else of it.
    fn turn(&mut self, make: impl FnOnce(Self) -> Self) {
        // It only holds the place meanwhile: nothing is ever brought to it.
        let blank = Self::Alone(self.confirmed().blank());
        *self = make(std::mem::replace(self, blank));
    }
}
