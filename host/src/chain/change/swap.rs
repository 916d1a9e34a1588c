//! The change of one plugin while messages flow.
//!
//! *Prepare*, on the driver's thread: the candidate is verified, compiled, linked, configured, tried with an empty batch
//! and a tick, and shown a copy of every lane's state. *Join*: each lane, at its own batch boundary, takes an instance
//! with a copy of the state in beside the running version; from then on both get every input. *Phases*: a share of the
//! keys says whose outputs count, none in a shadow, some in a canary, all on probation. At the end the candidate is
//! confirmed in all lanes, or gone from all. A key lives in one lane, so no device sees two versions interleaved.
//! Nothing here waits for an uplink.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::event::{ChangeState, ChangeUnderWay, Events};
use super::lanes::{ANSWER, answer};
use super::outcome::{NotChanged, Swapped};
use super::plan::{Change, ChangePlan, Verifier};
use super::prepare::Preparation;
use super::teller::Teller;
use crate::chain::lane::inbox::{InitialState, LaneRequest};
use crate::chain::lane::live::Live;
use crate::chain::lane::trial::phase::{KeyShare, Phase};
use crate::chain::lane::trial::report::ChangeStep;
use crate::chain::lane::trial::{Trial, TrialVerdict};
use crate::chain::lane::version::Version;
use crate::chain::sandbox::beside::beside;
use crate::chain::{ActiveChange, Chain, ChangeContext};
use crate::clock::Clock;
use crate::trust;

impl Chain {
    /// Replaces the plugin at `index`, in the config's order, and answers when it is confirmed, refused or rolled back;
    /// `events` hears of each transition. For a thread that may wait; several callers take turns.
    ///
    /// # Errors
    /// [`NotChanged`]: the version before runs on, with its state; nothing was lost, doubled or parked.
    pub fn swap(
        &self,
        index: usize,
        change: Change<'_>,
        events: Events<'_>,
    ) -> Result<Swapped, NotChanged> {
        let driver = self.driver.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.shared.versions().get(index).cloned();
        let old = old.ok_or_else(|| {
            NotChanged::at(
                ChangeStep::Configure,
                format!("the flow has no plugin {index}"),
            )
        })?;
        let settings = change
            .settings
            .map_or_else(|| old.settings.clone(), ToString::to_string);
        let running = old.program.digest();
        let new = change.component.map_or_else(
            || Arc::clone(running),
            |component| trust::digest(component).into(),
        );
        if settings == old.settings && new == *running {
            return Ok(Swapped {
                old: Arc::clone(&new),
                new,
                pauses: Vec::new(),
                figures: None,
            });
        }
        let trial = self.begin(index, &new);
        let teller = Teller {
            chain: self,
            old: &old,
            new: &new,
            events,
        };
        teller.tell(ChangeState::Seen, None, None);
        let result = Swap {
            chain: self,
            driver: &driver,
            index,
            old: &old,
            trial,
            teller,
        }
        .run(change, settings);
        match &result {
            Ok(swapped) => teller.tell(ChangeState::Confirmed, None, swapped.figures.clone()),
            Err(refused) => teller.tell(
                refused.state,
                Some(refused.why.clone()),
                refused.figures.as_deref().cloned(),
            ),
        }
        *self.lock_active() = None;
        result
    }

    /// A trial for the change to `new`, which others can see from now on, and end.
    fn begin(&self, index: usize, new: &Arc<str>) -> Arc<Trial> {
        let trial = Arc::new(Trial::new(self.inboxes.len()));
        *self.lock_active() = Some(ActiveChange {
            index,
            change: ChangeUnderWay {
                digest: Arc::clone(new),
                state: ChangeState::Seen,
            },
            trial: Arc::clone(&trial),
        });
        trial
    }
}

struct Swap<'a> {
    chain: &'a Chain,
    driver: &'a ChangeContext,
    index: usize,
    old: &'a Arc<Version>,
    trial: Arc<Trial>,
    teller: Teller<'a>,
}

impl Swap<'_> {
    fn clock(&self) -> &Clock {
        self.chain.shared.engine.clock()
    }

    fn run(&self, change: Change<'_>, settings: String) -> Result<Swapped, NotChanged> {
        if let (Some(Verifier(verify)), Some(component)) = (change.verify, change.component) {
            verify(component).map_err(|why| NotChanged::at(ChangeStep::Verify, why))?;
            self.teller.tell(ChangeState::Verified, None, None);
        }
        let engine = &self.chain.shared.engine;
        let runtime = self.chain.runtime.as_ref();
        let preparation = Preparation {
            chain: self.chain,
            driver: self.driver,
            index: self.index,
            old: self.old,
            teller: self.teller,
        };
        let proven = beside(engine, runtime, || {
            let prepared = preparation.prepare(change.component, settings);
            Ok(prepared.and_then(|new| {
                let origin = preparation.rehearse(&new, change.plan.state)?;
                Ok((preparation.candidates(&new)?, origin, new))
            }))
        });
        let (candidates, origin, new) =
            proven.map_err(|error| NotChanged::at(ChangeStep::Compile, error))??;
        let joined = self.join(candidates, origin);
        match &joined {
            Ok(pauses) => {
                self.trial
                    .note_pause(pauses.iter().max().copied().unwrap_or_default());
                self.phases(change.plan);
            }
            Err(why) => drop(self.trial.fail(why)),
        }
        self.conclude(&new)?;
        let digest = |version: &Version| Arc::clone(&version.reference.digest);
        let old = digest(self.old);
        let new = digest(&new);
        let figures = self.trial.report(self.clock().moment());
        Ok(Swapped {
            old,
            new,
            pauses: joined.unwrap_or_default(),
            figures,
        })
    }

    /// The phases of the plan, until one fails.
    fn phases(&self, plan: ChangePlan) {
        let limits = plan
            .probation
            .unwrap_or(self.driver.plugins[self.index].probation);
        if let Some(shadow) = plan.shadow {
            if !self.phase(Phase::shadow(shadow, limits), &[ChangeState::Shadowing]) {
                return;
            }
            self.teller.tell(
                ChangeState::Shadowed,
                None,
                self.trial.report(self.clock().moment()),
            );
        }
        self.teller.tell(ChangeState::Ready, None, None);
        if let Some(canary) = plan.canary
            && !self.phase(Phase::canary(canary, limits), &[ChangeState::Canary])
        {
            return;
        }
        let probation = if plan.is_cure {
            Phase::cure(limits)
        } else {
            Phase::probation(limits)
        };
        self.phase(probation, &[ChangeState::Swapped, ChangeState::OnProbation]);
    }

    /// One phase, which begins in these states: was it passed?
    fn phase(&self, phase: Phase, states: &[ChangeState]) -> bool {
        self.trial.begin(phase, self.clock().moment());
        states
            .iter()
            .for_each(|state| self.teller.tell(*state, None, None));
        self.trial.passed(self.clock())
    }

    /// Confirms the candidate unless it has failed, and has every lane act on the verdict.
    fn conclude(&self, new: &Arc<Version>) -> Result<(), NotChanged> {
        if self.trial.confirm() {
            self.chain
                .shared
                .versions
                .lock()
                .unwrap_or_else(PoisonError::into_inner)[self.index] = Arc::clone(new);
        }
        for inbox in &self.chain.inboxes {
            inbox.command(LaneRequest::Heed);
        }
        if !self.trial.settled(ANSWER) {
            tracing::warn!(
                flow = &*self.chain.shared.name,
                "a lane has not acted on the verdict of a swap yet"
            );
        }
        let TrialVerdict::Failed(step, mut why) = self.trial.verdict() else {
            return Ok(());
        };
        if let Some(parted) = self.trial.parted() {
            why = format!("{why}; {parted}");
        }
        let state = if self.trial.share() == KeyShare::NONE {
            ChangeState::Refused
        } else {
            ChangeState::RolledBack
        };
        Err(NotChanged {
            step,
            state,
            why,
            figures: self.trial.report(self.clock().moment()).map(Box::new),
        })
    }

    /// Puts the instances beside the running ones, one in each lane; none of their outputs counts yet.
    fn join(&self, candidates: Vec<Live>, origin: InitialState) -> Result<Vec<Duration>, String> {
        let plugin = self.index;
        let trial = &self.trial;
        let mut candidates = candidates.into_iter().map(Box::new);
        let replies = self.chain.ask(|reply| {
            let candidate = candidates.next().expect("there is one for each lane");
            LaneRequest::Join {
                plugin,
                candidate,
                origin,
                trial: Arc::clone(trial),
                reply,
            }
        });
        // Every lane is heard, so that none joins later than its change is over.
        let pauses: Vec<_> = replies.iter().map(answer).collect();
        pauses.into_iter().collect()
    }
}
