//! A chain run off-line on what was recorded of it, as it is and with a candidate: what would have differed?
//!
//! Time is the recording's, lanes are no threads, and state begins empty, so two runs over the same recording give the
//! same bytes unless a limit of time was met, which is told. Ticks come when they were recorded; a version that asks for
//! another interval than the recorded one gets its own, counted from the first event.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::Registry;
use serde::Serialize;

use super::compare::{Bounds, Comparison, Made, Outcome};
use super::engine::Engine;
use super::fault::FaultKind;
use super::guard::Guard;
use super::live::Live;
use super::metrics::{Fate, Metrics};
use super::outbox::{Ends, Item, NO_ORIGIN, Outbox};
use super::settings::{Config, OnError, PluginConfig};
use super::stage::Stage;
use super::version::Version;
use super::{Error, lane_of, program, start};
use crate::clock::Now;
use crate::message::{DeadLetter, Message, Mint, QueueId, Reason};

/// Own ticks of a version between two recorded events: beyond it the gateway was off, or asleep.
const MAX_TICKS: usize = 10_000;

/// How a recording was made, and how it is to be run.
#[derive(Clone, Debug)]
pub struct Player {
    /// Lanes it is run on.
    pub lanes: usize,
    /// Lanes it was made on.
    pub recorded_lanes: usize,
    /// Interval of the ticks of each plugin when it was made.
    pub recorded_ticks: Vec<Option<Duration>>,
    /// Names of the queues, by their ids.
    pub queues: Vec<String>,
    /// When it begins, microseconds since 1970.
    pub begins_us: u64,
    /// How much of the differences is kept.
    pub bounds: Bounds,
}

/// What one chain made of a recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ran {
    /// Name and SHA-256 of each plugin.
    pub plugins: Vec<(Arc<str>, Arc<str>)>,
    /// Messages by what became of them.
    pub fates: BTreeMap<&'static str, u64>,
    /// What left, those of ticks included.
    pub outputs: u64,
    /// Faults of its plugins by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// SHA-256 over all outputs, dead letters and fates in their order.
    pub sha256: String,
    /// No limit of time was met: another run gives the same.
    pub repeatable: bool,
}

/// What a replay came to.
#[derive(Clone, Debug, Serialize)]
pub struct Score {
    /// The chain as it is.
    pub old: Ran,
    /// The chain with the candidate.
    pub new: Option<Ran>,
    /// Where they differ.
    pub comparison: Option<Comparison>,
}

/// Runs `work` on a thread with room for a guest's stack.
///
/// # Errors
/// There is no thread to be had.
pub fn offline<R: Send>(engine: &Engine, work: impl FnOnce() -> R + Send) -> Result<R, Error> {
    start::beside(engine, tokio::runtime::Handle::try_current().ok().as_ref(), || Ok(work()))
}

/// SHA-256 of a plugin's component, in hexadecimal.
///
/// # Errors
/// It cannot be read.
pub fn digest_of(plugin: &PluginConfig) -> Result<Arc<str>, Error> {
    Ok(program::digest_of(&program::read(&plugin.name, &plugin.artefact)?))
}

/// A replay under way.
pub struct Replay {
    player: Player,
    old: Side,
    new: Option<Side>,
    comparison: Comparison,
}

impl Replay {
    /// Loads and configures the chain, and that with the candidate. Run it in [`offline`].
    ///
    /// # Errors
    /// The first plugin that cannot be used.
    pub fn new(player: Player, old: &Config, new: Option<&Config>, engine: &Engine) -> Result<Self, Error> {
        let side = |config| Side::new(config, &player, engine);
        let (old, new) = (side(old)?, new.map(side).transpose()?);
        Ok(Self { player, old, new, comparison: Comparison::default() })
    }

    /// Runs a batch.
    ///
    /// # Errors
    /// No instance of a plugin can be made any more.
    pub fn batch(&mut self, now: Now, messages: Vec<Message>) -> Result<(), Error> {
        let lanes = self.player.lanes;
        if lanes == 1 {
            return self.part(0, now, &messages);
        }
        let mut parts: Vec<Vec<Message>> = Vec::new();
        parts.resize_with(lanes, Vec::new);
        for message in messages {
            parts[lane_of(message.key(), lanes)].push(message);
        }
        let mut parts = parts.into_iter().enumerate().filter(|(_, part)| !part.is_empty());
        parts.try_for_each(|(lane, part)| self.part(lane, now, &part))
    }

    fn part(&mut self, lane: usize, now: Now, messages: &[Message]) -> Result<(), Error> {
        for side in self.sides() {
            side.catch_up(now)?;
            side.run(lane, now, messages)?;
        }
        self.compare_ticks(now);
        let (bounds, queues) = (self.player.bounds, &self.player.queues);
        let Some(new) = &self.new else { return Ok(()) };
        for (index, message) in (0..).zip(messages) {
            let (old, new) = (made(&self.old.ends, index, queues), made(&new.ends, index, queues));
            self.comparison.input(bounds, message, old, new);
        }
        Ok(())
    }

    /// Lane number `lane` of the recording told plugin number `plugin` the time.
    ///
    /// # Errors
    /// As [`Replay::batch`].
    pub fn tick(&mut self, lane: usize, plugin: usize, now: Now) -> Result<(), Error> {
        let (lanes, recorded) = (self.player.lanes, self.player.recorded_lanes);
        // A lane the recording has not gets the ticks of the first.
        let told = (0..lanes).filter(|own| *own == lane || (*own >= recorded && lane == 0));
        for own in told {
            for side in self.sides() {
                side.catch_up(now)?;
                side.tick_as_recorded(own, plugin, now)?;
            }
            self.compare_ticks(now);
        }
        Ok(())
    }

    fn compare_ticks(&mut self, now: Now) {
        let (bounds, queues) = (self.player.bounds, &self.player.queues);
        if let Some(new) = &self.new {
            let (old, new) = (made(&self.old.ticked, NO_ORIGIN, queues), made(&new.ticked, NO_ORIGIN, queues));
            self.comparison.outputs(bounds, now.wall_us, old, new);
        }
        self.sides().for_each(|side| side.ticked = Ends::default());
    }

    fn sides(&mut self) -> impl Iterator<Item = &mut Side> {
        std::iter::once(&mut self.old).chain(&mut self.new)
    }

    /// What was found so far; its samples can be taken out on the way.
    pub fn comparison(&mut self) -> &mut Comparison {
        &mut self.comparison
    }

    /// What it came to.
    pub fn finish(self) -> Score {
        let compared = self.new.is_some();
        Score { old: self.old.finish(), new: self.new.map(Side::finish), comparison: compared.then_some(self.comparison) }
    }
}

/// What became of input number `origin`.
fn made<'a>(ends: &'a Ends, origin: u32, queues: &'a [String]) -> impl Iterator<Item = Made<'a>> + Clone {
    let appends = of(&ends.appends, origin).iter();
    let appends = appends.map(move |(_, append)| Made::sent(&append.message, queue_name(queues, append.queue)));
    let letters = of(&ends.letters, origin).iter().map(|(_, letter)| letter_made(letter));
    let absorbed = ends.fates.get(origin as usize) == Some(&Fate::Absorbed);
    appends.chain(letters).chain(absorbed.then(|| Made::ended(Outcome::Absorbed, b"")))
}

fn of<T>(list: &[(u32, T)], origin: u32) -> &[(u32, T)] {
    let start = list.partition_point(|(of, _)| *of < origin);
    let end = start + list[start..].partition_point(|(of, _)| *of == origin);
    &list[start..end]
}

fn letter_made(letter: &DeadLetter) -> Made<'_> {
    let outcome = if letter.reason == Reason::Rejected { Outcome::Rejected } else { Outcome::Failed };
    Made::ended(outcome, letter.detail.as_bytes())
}

fn queue_name(queues: &[String], queue: QueueId) -> &str {
    queues.get(usize::from(queue.0)).map_or("", String::as_str)
}

/// One chain on its way through the recording.
struct Side {
    config: Config,
    out: Vec<QueueId>,
    versions: Vec<Arc<Version>>,
    lanes: Vec<Vec<Stage>>,
    /// When the ticks that are not the recorded ones are due, by lane and plugin: uptime, microseconds.
    due: Vec<Vec<Option<u64>>>,
    /// Stages ask for moments; this one goes ahead with each tick, so that the next is due whenever it is wanted.
    moment: Instant,
    uptime_us: u64,
    queues: Vec<String>,
    items: Vec<Item>,
    outbox: Outbox,
    /// Of the last batch.
    ends: Ends,
    /// Of the ticks since they were last looked at.
    ticked: Ends,
    digest: ring::digest::Context,
    fates: BTreeMap<&'static str, u64>,
    outputs: u64,
}

impl Side {
    fn new(config: &Config, player: &Player, engine: &Engine) -> Result<Self, Error> {
        let metrics = Metrics::new(&Registry::new()).map_err(|error| Error::Engine(error.to_string()))?;
        let (template, out) = (start::template(config)?, start::out(config)?);
        let versions = start::versions(config, engine, &metrics)?;
        let guard = |lane, plugin: usize| {
            let mut config = config.plugins[plugin].clone();
            // Nobody comes to mend it.
            if config.on_error == OnError::Hold {
                config.on_error = OnError::Park;
            }
            Guard::new(&config, plugin, lane, Arc::default())
        };
        let stage =
            |lane: usize, plugin: usize, version: &Arc<Version>| match Live::start(version, engine, lane, player.begins_us) {
                Ok(live) => Ok(Stage::new(live, guard(lane, plugin), lane)),
                Err(fault) => Err(Error::Instantiate { plugin: Arc::clone(&version.reference.name), source: Box::new(fault) }),
            };
        let lane = |lane| {
            versions.iter().enumerate().map(|(plugin, version)| stage(lane, plugin, version)).collect::<Result<Vec<_>, _>>()
        };
        let lanes = (0..player.lanes).map(lane).collect::<Result<Vec<_>, _>>()?;
        let recorded = |plugin: usize| player.recorded_ticks.get(plugin).copied().flatten();
        let own = |(plugin, version): (usize, &Arc<Version>)| {
            // The first event sets the clock.
            version.tick_every().filter(|every| recorded(plugin) != Some(*every)).map(|_| u64::MAX)
        };
        let due = vec![versions.iter().enumerate().map(own).collect(); player.lanes];
        Ok(Self {
            config: config.clone(),
            out,
            lanes,
            due,
            versions,
            moment: Instant::now(),
            uptime_us: u64::MAX,
            queues: player.queues.clone(),
            items: Vec::new(),
            outbox: Outbox::new(Arc::clone(&config.name), Arc::new(Mint::new(0)), template, false),
            ends: Ends::default(),
            ticked: Ends::default(),
            digest: ring::digest::Context::new(&ring::digest::SHA256),
            fates: BTreeMap::new(),
            outputs: 0,
        })
    }

    fn run(&mut self, lane: usize, now: Now, messages: &[Message]) -> Result<(), Error> {
        self.outbox.begin(messages.len());
        self.items.clear();
        let item = |(origin, message): (u32, &Message)| Item {
            message: Message { flow: self.config.flow, ..message.clone() },
            origin,
            ..Item::default()
        };
        self.items.extend((0..).zip(messages).map(item));
        self.run_from(lane, 0, now)?;
        self.outbox.take_ends(&mut self.ends);
        for fate in &self.ends.fates {
            *self.fates.entry(fate.name()).or_default() += 1;
        }
        note(&mut self.digest, &mut self.outputs, &self.ends, &self.queues);
        Ok(())
    }

    fn run_from(&mut self, lane: usize, first: usize, now: Now) -> Result<(), Error> {
        for stage in &mut self.lanes[lane][first..] {
            if self.items.is_empty() {
                break;
            }
            stage.run(&mut self.items, now, &mut self.outbox).map_err(|broken| Error::Engine(broken.to_string()))?;
            self.items.clear();
            std::mem::swap(&mut self.items, &mut self.outbox.next);
        }
        for item in self.items.drain(..) {
            self.outbox.owe(item, &self.out);
        }
        Ok(())
    }

    fn tick_as_recorded(&mut self, lane: usize, plugin: usize, now: Now) -> Result<(), Error> {
        match self.due[lane].get(plugin) {
            Some(None) if self.versions[plugin].tick_every().is_some() => self.tick(lane, plugin, now),
            _ => Ok(()),
        }
    }

    /// The ticks of its own that were due before `now`.
    fn catch_up(&mut self, now: Now) -> Result<(), Error> {
        let restarted = now.uptime_us < self.uptime_us;
        self.uptime_us = now.uptime_us;
        for lane in 0..self.lanes.len() {
            for plugin in 0..self.versions.len() {
                let Some(due) = self.due[lane][plugin] else { continue };
                let every = self.versions[plugin].tick_every().unwrap_or(Duration::MAX);
                let every = u64::try_from(every.as_micros()).unwrap_or(u64::MAX);
                let mut due = if restarted { now.uptime_us.saturating_add(every) } else { due };
                for _ in 0..MAX_TICKS {
                    if due > now.uptime_us {
                        break;
                    }
                    let wall_us = now.wall_us.saturating_sub(now.uptime_us - due);
                    self.tick(lane, plugin, Now { wall_us, uptime_us: due })?;
                    due = due.saturating_add(every);
                }
                self.due[lane][plugin] = Some(if due > now.uptime_us { due } else { now.uptime_us.saturating_add(every) });
            }
        }
        Ok(())
    }

    fn tick(&mut self, lane: usize, plugin: usize, now: Now) -> Result<(), Error> {
        let broken = |broken: super::stage::Broken| Error::Engine(broken.to_string());
        self.outbox.begin(0);
        self.moment += self.versions[plugin].tick_every().unwrap_or_default() + Duration::from_secs(1);
        let stage = &mut self.lanes[lane][plugin];
        if stage.tick(self.moment, now, self.config.flow, &mut self.outbox).map_err(broken)? {
            self.items.clear();
            self.items.append(&mut self.outbox.next);
            self.run_from(lane, plugin + 1, now)?;
            let mut ends = Ends::default();
            self.outbox.take_ends(&mut ends);
            note(&mut self.digest, &mut self.outputs, &ends, &self.queues);
            self.ticked.appends.append(&mut ends.appends);
            self.ticked.letters.append(&mut ends.letters);
        }
        Ok(())
    }

    fn finish(self) -> Ran {
        let mut faults: BTreeMap<&'static str, u64> = BTreeMap::new();
        let counted = self.versions.iter().flat_map(|version| version.metrics.errors()).filter(|(_, count)| *count > 0);
        counted.for_each(|(kind, count)| *faults.entry(kind.name()).or_default() += count);
        let plugin = |version: &Arc<Version>| (Arc::clone(&version.reference.name), Arc::clone(&version.reference.digest));
        let digest = self.digest.finish();
        Ran {
            plugins: self.versions.iter().map(plugin).collect(),
            fates: self.fates,
            outputs: self.outputs,
            repeatable: !faults.contains_key(FaultKind::Timeout.name()),
            faults,
            sha256: digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect(),
        }
    }
}

/// Adds to the sum what can be seen from outside: not the ids, which are the gateway's own.
fn note(digest: &mut ring::digest::Context, outputs: &mut u64, ends: &Ends, queues: &[String]) {
    let mut field = |bytes: &[u8]| {
        digest.update(&(bytes.len() as u64).to_le_bytes());
        digest.update(bytes);
    };
    for (origin, append) in &ends.appends {
        let message = &append.message;
        field(&origin.to_le_bytes());
        field(queue_name(queues, append.queue).as_bytes());
        for part in [&*message.topic, message.key(), &*message.headers, &*message.payload] {
            field(part);
        }
        field(&message.marks.0.to_le_bytes());
    }
    for (origin, letter) in &ends.letters {
        field(&origin.to_le_bytes());
        field(letter.reason.name().as_bytes());
        field(letter.plugin.as_ref().map_or("", |plugin| &*plugin.name).as_bytes());
    }
    for fate in &ends.fates {
        field(fate.name().as_bytes());
    }
    *outputs += ends.appends.len() as u64;
}
