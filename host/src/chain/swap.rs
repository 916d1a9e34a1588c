//! The swap of one plugin while messages flow.
//!
//! *Prepare*, on the driver's thread: the candidate is compiled, linked, configured, tried with an empty batch and a
//! tick, and shown a copy of every lane's state. *Commit*: each lane, at its own batch boundary, saves the state of
//! the old version and restores it in the new one. *Trial*: until every lane's first batch has succeeded the old
//! version waits, and comes back in all lanes when the new one fails in any. A key lives in one lane, so no device
//! sees two versions interleaved. Nothing here waits for an uplink.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::batch::{Packed, Shape, unpack};
use super::change::{Change, Verify};
use super::event::{Events, Report, State, Teller, UnderWay};
use super::fault::Fault;
use super::inbox::{Command, Inbox};
use super::live::Live;
use super::plugin::Instance;
use super::program::digest_of;
use super::settings::PluginConfig;
use super::state::Snapshot;
use super::trial::{Trial, Verdict};
use super::version::{Ports, Recipe, Version};
use super::{Active, Chain, start};
use crate::clock::Now;

/// Without traffic in a lane the trial ends after this, and the new version stays.
const TRIAL: Duration = Duration::from_secs(10);

/// How long a lane may take to answer. Its turns are bounded by the call time and the bisection of one batch.
const ANSWER: Duration = Duration::from_secs(60);

/// A swap that was made.
#[derive(Clone, Debug, PartialEq)]
pub struct Swapped {
    /// Digest of the version before.
    pub old: Arc<str>,
    /// Digest of the version that runs now; the same when only settings changed, or nothing did.
    pub new: Arc<str>,
    /// How long messages waited, for each lane; empty when there was nothing to change.
    pub pauses: Vec<Duration>,
    /// Both versions beside each other, in the last phase.
    pub figures: Option<Report>,
}

/// Where a change ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// It must not run.
    Verify,
    /// Compile and link.
    Compile,
    /// Instantiate, configure, find its ports.
    Configure,
    /// An empty batch and a tick.
    SelfTest,
    /// Take over the state.
    Restore,
    /// Put beside the running version in the lanes.
    Commit,
    /// Live messages, compared only.
    Shadow,
    /// Live messages of some keys.
    Canary,
    /// Live messages of all keys.
    Probation,
    /// Somebody ended it; the candidate is not to blame.
    Cancel,
}

impl Step {
    /// The name used in logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Compile => "compile",
            Self::Configure => "configure",
            Self::SelfTest => "self-test",
            Self::Restore => "restore",
            Self::Commit => "commit",
            Self::Shadow => "shadow",
            Self::Canary => "canary",
            Self::Probation => "probation",
            Self::Cancel => "cancel",
        }
    }
}

/// A change that was not made: the version before runs, with its state.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{} at {}: {why}", state.name(), step.name())]
pub struct Refused {
    /// Where.
    pub step: Step,
    /// [`State::Refused`], or [`State::RolledBack`] when outputs of the candidate have counted.
    pub state: State,
    /// Why, in words for the operator.
    pub why: String,
    /// Both versions beside each other, in the last phase.
    pub figures: Option<Report>,
}

impl Refused {
    fn at(step: Step, why: impl ToString) -> Self {
        Self { step, state: State::Refused, why: why.to_string(), figures: None }
    }
}

/// What swaps need to know beside the running versions. One swap at a time holds it.
pub(super) struct Driver {
    pub(super) plugins: Vec<PluginConfig>,
    ports: Ports,
    trial: Duration,
}

impl Driver {
    pub(super) fn new(plugins: Vec<PluginConfig>, ports: Ports) -> Self {
        Self { plugins, ports, trial: TRIAL }
    }
}

impl Chain {
    /// Replaces the plugin at `index`, in the config's order, and answers when it is confirmed, refused or rolled back;
    /// `events` hears of each transition. For a thread that may wait; several callers take turns.
    ///
    /// # Errors
    /// [`Refused`]: the version before runs on, with its state; nothing was lost, doubled or parked.
    pub fn swap(&self, index: usize, change: Change<'_>, events: Events<'_>) -> Result<Swapped, Refused> {
        let driver = self.driver.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.shared.versions().get(index).cloned();
        let old = old.ok_or_else(|| Refused::at(Step::Configure, format!("the flow has no plugin {index}")))?;
        let settings = change.settings.map_or_else(|| old.settings.clone(), ToString::to_string);
        let new = change.component.map_or_else(|| Arc::clone(old.program.digest()), digest_of);
        if settings == old.settings && new == *old.program.digest() {
            return Ok(Swapped { old: Arc::clone(&new), new, pauses: Vec::new(), figures: None });
        }
        let trial = Arc::new(Trial::new(self.inboxes.len()));
        let under_way = UnderWay { digest: Arc::clone(&new), state: State::Seen };
        *self.lock_active() = Some(Active { index, change: under_way, trial: Arc::clone(&trial) });
        let teller = Teller { chain: self, old: &old, new: &new, events };
        teller.tell(State::Seen, None, None);
        let result = Swap { chain: self, driver: &driver, index, old: &old, trial, teller }.run(change, settings);
        *self.lock_active() = None;
        match &result {
            Ok(_) => teller.tell(State::Confirmed, None, None),
            Err(refused) => teller.tell(refused.state, Some(refused.why.clone()), refused.figures.clone()),
        }
        result
    }

    /// Shortens the trial, for tests that have no traffic.
    #[cfg(test)]
    pub(super) fn set_trial(&self, trial: Duration) {
        self.driver.lock().unwrap().trial = trial;
    }
}

struct Swap<'a> {
    chain: &'a Chain,
    driver: &'a Driver,
    index: usize,
    old: &'a Arc<Version>,
    trial: Arc<Trial>,
    teller: Teller<'a>,
}

impl Swap<'_> {
    fn run(&self, change: Change<'_>, settings: String) -> Result<Swapped, Refused> {
        if let (Some(Verify(verify)), Some(component)) = (change.verify, change.component) {
            verify(component).map_err(|why| Refused::at(Step::Verify, why))?;
            self.teller.tell(State::Verified, None, None);
        }
        let (engine, runtime) = (&self.chain.shared.engine, self.chain.runtime.as_ref());
        let proven = start::beside(engine, runtime, || {
            Ok(self.prepare(change.component, settings).and_then(|new| {
                self.rehearse(&new)?;
                self.teller.tell(State::SelfTested, None, None);
                Ok((self.candidates(&new)?, new))
            }))
        });
        let (candidates, new) = proven.map_err(|error| Refused::at(Step::Compile, error))??;
        let pauses = self.commit(candidates)?;
        self.chain.shared.versions.lock().unwrap_or_else(PoisonError::into_inner)[self.index] = Arc::clone(&new);
        let digest = |version: &Version| Arc::clone(&version.reference.digest);
        Ok(Swapped { old: digest(self.old), new: digest(&new), pauses, figures: None })
    }

    /// A version that is configured and has passed an empty batch and a tick.
    fn prepare(&self, component: Option<&[u8]>, settings: String) -> Result<Arc<Version>, Refused> {
        let (plugin, engine) = (&self.driver.plugins[self.index], &self.chain.shared.engine);
        let program = match component {
            Some(bytes) => {
                start::program(plugin, engine, &self.old.metrics, bytes).map_err(|error| Refused::at(Step::Compile, error))?
            }
            None => self.old.program.clone(),
        };
        self.teller.tell(State::Compiled, None, None);
        let now_us = Now::read().wall_us;
        let recipe = Recipe { engine, plugin, ports: &self.driver.ports, metrics: &self.old.metrics, now_us };
        let (version, mut instance) =
            Version::configure(program, settings, recipe).map_err(|error| Refused::at(Step::Configure, error))?;
        self.teller.tell(State::Linked, None, None);
        self_test(&version, &mut instance, now_us).map_err(|fault| Refused::at(Step::SelfTest, fault))?;
        Ok(Arc::new(version))
    }

    /// Shows the candidate a copy of each lane's state, in instances that are thrown away.
    fn rehearse(&self, new: &Arc<Version>) -> Result<(), Refused> {
        for (lane, snapshot) in self.snapshots()?.iter().enumerate() {
            let now_us = Now::read().wall_us;
            let live = self.start(new, lane, Step::Restore)?;
            live.rehearse(snapshot, now_us).map_err(|fault| Refused::at(Step::Restore, fault))?;
        }
        Ok(())
    }

    fn snapshots(&self) -> Result<Vec<Snapshot>, Refused> {
        let plugin = self.index;
        let replies = self.ask(|reply| Ok(Command::Save { plugin, reply }))?;
        replies.iter().map(|reply| answer(reply).map_err(|why| Refused::at(Step::Restore, why))).collect()
    }

    /// An instance for each lane.
    fn candidates(&self, new: &Arc<Version>) -> Result<Vec<Live>, Refused> {
        (0..self.chain.inboxes.len()).map(|lane| self.start(new, lane, Step::Commit)).collect()
    }

    /// Puts the instances to work, one in each lane, and waits for the verdict.
    fn commit(&self, candidates: Vec<Live>) -> Result<Vec<Duration>, Refused> {
        let plugin = self.index;
        let trial = &self.trial;
        self.teller.tell(State::Ready, None, None);
        let mut candidates = candidates.into_iter();
        let replies: Vec<Receiver<Result<Duration, String>>> = self.ask(|reply| {
            let candidate = candidates.next().ok_or_else(|| Refused::at(Step::Commit, "fewer candidates than lanes"))?;
            Ok(Command::Swap { plugin, candidate: Box::new(candidate), trial: Arc::clone(trial), reply })
        })?;
        let mut pauses = Vec::new();
        let mut refused = None;
        for reply in &replies {
            match answer(reply) {
                Ok(pause) => pauses.push(pause),
                // A lane also refuses when the version has failed in another one meanwhile.
                Err(why) if trial.verdict() == Verdict::Running => {
                    trial.fail(why.clone());
                    refused = Some(why);
                }
                Err(_) => {}
            }
        }
        if refused.is_none() {
            self.teller.tell(State::Swapped, None, None);
            self.teller.tell(State::OnProbation, None, None);
        }
        let verdict = trial.decided(Instant::now() + self.driver.trial);
        for inbox in &self.chain.inboxes {
            inbox.command(Command::Heed);
        }
        if !trial.settled(Instant::now() + ANSWER) {
            tracing::warn!(flow = &*self.chain.shared.name, "a lane has not acted on the verdict of a swap yet");
        }
        match (verdict, refused) {
            (Verdict::Failed(why), None) => Err(Refused { state: State::RolledBack, ..Refused::at(Step::Probation, why) }),
            (Verdict::Failed(_), Some(why)) => Err(Refused::at(Step::Commit, why)),
            (Verdict::Confirmed | Verdict::Running, _) => Ok(pauses),
        }
    }

    fn start(&self, new: &Arc<Version>, lane: usize, step: Step) -> Result<Live, Refused> {
        Live::start(new, &self.chain.shared.engine, lane, Now::read().wall_us).map_err(|fault| Refused::at(step, fault))
    }

    /// Sends each lane a command; the answers come through what is given back.
    fn ask<R>(&self, mut command: impl FnMut(SyncSender<R>) -> Result<Command, Refused>) -> Result<Vec<Receiver<R>>, Refused> {
        let send = |inbox: &Arc<Inbox>| {
            let (reply, answer) = sync_channel(1);
            inbox.command(command(reply)?);
            Ok(answer)
        };
        self.chain.inboxes.iter().map(send).collect()
    }
}

fn answer<T>(reply: &Receiver<Result<T, String>>) -> Result<T, String> {
    reply.recv_timeout(ANSWER).unwrap_or_else(|_| Err("a lane does not answer, or has ended".to_owned()))
}

fn self_test(version: &Version, instance: &mut Instance, now_us: u64) -> Result<(), Fault> {
    let limits = &version.limits;
    let shape =
        |inputs| Shape { inputs, ports: version.ports(), max_entries: limits.output_messages, max_bytes: limits.output_bytes };
    instance.mute(true);
    let answer = instance.process(&Packed::default(), now_us)?;
    unpack(&answer, shape(Some(0)), &mut Vec::new())?;
    if version.tick_every().is_some() {
        let answer = instance.tick(now_us)?;
        unpack(&answer, shape(None), &mut Vec::new())?;
    }
    Ok(())
}
