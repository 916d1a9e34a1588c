//! One chain on its way through the recording: its stages, its ticks, and the sum over what it makes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::Registry;
use serde::Serialize;

use crate::chain::Error;
use crate::chain::lane::guard::Guard;
use crate::chain::lane::item::Item;
use crate::chain::lane::live::{Broken, Live};
use crate::chain::lane::load;
use crate::chain::lane::outbox::spread::Most;
use crate::chain::lane::outbox::{BatchEnds, Outbox};
use crate::chain::lane::slot::LaneIndex;
use crate::chain::lane::stage::Stage;
use crate::chain::lane::trial::compare::SampleBounds;
use crate::chain::lane::version::Version;
use crate::chain::metrics::Metrics;
use crate::chain::sandbox::engine::Engine;
use crate::chain::sandbox::fault::FaultKind;
use crate::chain::settings::{Config, OnError};
use crate::clock::{Now, Uptime, WallTime};
use crate::message::{Destination, Message, Mint, hexadecimal};

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
    pub bounds: SampleBounds,
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

/// One chain on its way through the recording.
pub(crate) struct ReplaySide {
    config: Config,
    out: Vec<Destination>,
    versions: Vec<Arc<Version>>,
    lanes: Vec<Vec<Stage>>,
    /// When the ticks that are not the recorded ones are due, by lane and plugin.
    due: Vec<Vec<Option<Uptime>>>,
    /// Stages ask for moments; this one goes ahead with each tick, so that the next is due whenever it is wanted.
    moment: Instant,
    uptime: Uptime,
    queues: Vec<String>,
    items: Vec<Item>,
    outbox: Outbox,
    /// Of the last batch.
    pub(crate) ends: BatchEnds,
    /// Of the ticks since they were last looked at.
    pub(crate) ticked: BatchEnds,
    digest: ring::digest::Context,
    fates: BTreeMap<&'static str, u64>,
    outputs: u64,
    /// What each plugin handed on to the next since it was last looked at, where that is wanted.
    pub(super) handed_on: Option<Vec<(Arc<str>, Vec<Message>)>>,
}

/// What the stages of a replay begin with.
struct SideSetup<'a> {
    config: &'a Config,
    player: &'a Player,
    engine: &'a Engine,
}

impl SideSetup<'_> {
    /// Plugin number `plugin` in a lane, with no state.
    fn stage(&self, lane: usize, plugin: usize, version: &Arc<Version>) -> Result<Stage, Error> {
        let slot = LaneIndex {
            lane,
            lanes: self.player.lanes,
        };
        let now = Now {
            wall: WallTime(self.player.begins_us),
            uptime: Uptime(0),
        };
        let failed = |fault| Error::Instantiate {
            plugin: Arc::clone(&version.reference.name),
            source: Box::new(fault),
        };
        let live = Live::start(version, self.engine, slot, now).map_err(failed)?;
        Ok(Stage::new(
            live,
            self.guard(lane, plugin),
            lane,
            self.engine.clock().moment(),
        ))
    }

    fn guard(&self, lane: usize, plugin: usize) -> Guard {
        let mut config = self.config.plugins[plugin].clone();
        // Nobody comes to mend it.
        if config.on_error == OnError::Hold {
            config.on_error = OnError::Park;
        }
        Guard::new(&config, (plugin, lane), false, Arc::default())
    }
}

impl ReplaySide {
    /// On how many lanes its plugins can run.
    pub(crate) fn lanes(&self) -> usize {
        load::lanes(&self.config, &self.versions)
    }

    pub(crate) fn new(config: &Config, player: &Player, engine: &Engine) -> Result<Self, Error> {
        let metrics =
            Metrics::new(&Registry::new()).map_err(|error| Error::Engine(error.to_string()))?;
        let template = load::template(config)?;
        let out = load::out(config)?;
        let versions = load::versions(config, engine, &metrics)?;
        let begin = SideSetup {
            config,
            player,
            engine,
        };
        let stage = |lane, plugin, version| begin.stage(lane, plugin, version);
        let lane = |lane| {
            versions
                .iter()
                .enumerate()
                .map(|(plugin, version)| stage(lane, plugin, version))
                .collect::<Result<Vec<_>, _>>()
        };
        let lanes = (0..player.lanes).map(lane).collect::<Result<Vec<_>, _>>()?;
        let recorded = |plugin: usize| player.recorded_ticks.get(plugin).copied().flatten();
        let own = |(plugin, version): (usize, &Arc<Version>)| {
            // The first event sets the clock.
            version
                .tick_every()
                .filter(|every| recorded(plugin) != Some(*every))
                .map(|_| Uptime(u64::MAX))
        };
        let due = vec![versions.iter().enumerate().map(own).collect(); player.lanes];
        Ok(Self {
            config: config.clone(),
            out,
            lanes,
            due,
            versions,
            moment: engine.clock().moment(),
            uptime: Uptime(u64::MAX),
            queues: player.queues.clone(),
            items: Vec::new(),
            outbox: Outbox::new(
                Arc::clone(&config.name),
                Arc::new(Mint::new(0)),
                template,
                false,
                Most::of(&config.plugins),
            ),
            ends: BatchEnds::default(),
            ticked: BatchEnds::default(),
            digest: ring::digest::Context::new(&ring::digest::SHA256),
            fates: BTreeMap::new(),
            outputs: 0,
            handed_on: None,
        })
    }

    pub(crate) fn run(&mut self, lane: usize, now: Now, messages: &[Message]) -> Result<(), Error> {
        self.outbox.begin(messages.len());
        self.items.clear();
        let item = |(origin, message): (u32, &Message)| Item {
            message: Message {
                flow: Some(self.config.flow),
                ..message.clone()
            },
            origin,
            ..Item::default()
        };
        self.items.extend((0..).zip(messages).map(item));
        self.run_from(lane, 0, now)?;
        self.outbox.take_ends(&mut self.ends);
        for fate in &self.ends.fates {
            *self.fates.entry(fate.name()).or_default() += 1;
        }
        note(
            &mut self.digest,
            &mut self.outputs,
            &self.ends,
            &self.queues,
        );
        Ok(())
    }

    fn run_from(&mut self, lane: usize, first: usize, now: Now) -> Result<(), Error> {
        let versions = &self.versions[first..];
        for (stage, version) in self.lanes[lane][first..].iter_mut().zip(versions) {
            if self.items.is_empty() {
                break;
            }
            stage
                .run(&mut self.items, now, &mut self.outbox)
                .map_err(|broken| Error::Engine(broken.to_string()))?;
            self.items.clear();
            std::mem::swap(&mut self.items, &mut self.outbox.next);
            if let Some(handed_on) = &mut self.handed_on {
                let messages = self.items.iter().map(|item| item.message.clone());
                handed_on.push((Arc::clone(&version.reference.name), messages.collect()));
            }
        }
        for item in self.items.drain(..) {
            self.outbox.leave(item, &self.out);
        }
        Ok(())
    }

    /// When the next tick of its own is due.
    pub(super) fn next_due(&self) -> Option<Uptime> {
        self.due.iter().flatten().flatten().min().copied()
    }

    /// Faults of its plugins so far, and what the last one of each that failed in a tick says.
    pub(super) fn faults(&self) -> Vec<(u64, String)> {
        let stages = self.lanes.iter().flatten();
        let count =
            |version: &Arc<Version>| version.metrics.tally.errors().map(|(_, count)| count).sum();
        self.versions
            .iter()
            .zip(stages)
            .map(|(version, stage)| (count(version), stage.why().to_owned()))
            .collect()
    }

    /// The plugins, first to last.
    pub(super) fn versions(&self) -> &[Arc<Version>] {
        &self.versions
    }

    pub(super) fn tick_as_recorded(
        &mut self,
        lane: usize,
        plugin: usize,
        now: Now,
    ) -> Result<(), Error> {
        match self.due[lane].get(plugin) {
            Some(None) if self.versions[plugin].tick_every().is_some() => {
                self.tick(lane, plugin, now)
            }
            _ => Ok(()),
        }
    }

    /// The ticks of its own that were due before `now`.
    pub(crate) fn catch_up(&mut self, now: Now) -> Result<(), Error> {
        let restarted = now.uptime < self.uptime;
        self.uptime = now.uptime;
        for lane in 0..self.lanes.len() {
            for plugin in 0..self.versions.len() {
                let Some(due) = self.due[lane][plugin] else {
                    continue;
                };
                let every = self.versions[plugin].tick_every().unwrap_or(Duration::MAX);
                let every = u64::try_from(every.as_micros()).unwrap_or(u64::MAX);
                let mut due = if restarted {
                    now.uptime.plus_us(every)
                } else {
                    due
                };
                for _ in 0..MAX_TICKS {
                    if due > now.uptime {
                        break;
                    }
                    let wall = now.wall.minus_us(now.uptime.us_since(due));
                    self.tick(lane, plugin, Now { wall, uptime: due })?;
                    due = due.plus_us(every);
                }
                self.due[lane][plugin] = Some(if due > now.uptime {
                    due
                } else {
                    now.uptime.plus_us(every)
                });
            }
        }
        Ok(())
    }

    fn tick(&mut self, lane: usize, plugin: usize, now: Now) -> Result<(), Error> {
        let broken = |broken: Broken| Error::Engine(broken.to_string());
        self.outbox.begin(0);
        self.moment +=
            self.versions[plugin].tick_every().unwrap_or_default() + Duration::from_secs(1);
        let stage = &mut self.lanes[lane][plugin];
        if stage
            .tick(self.moment, now, self.config.flow, &mut self.outbox)
            .map_err(broken)?
        {
            self.items.clear();
            self.items.append(&mut self.outbox.next);
            self.run_from(lane, plugin + 1, now)?;
            let mut ends = BatchEnds::default();
            self.outbox.take_ends(&mut ends);
            note(&mut self.digest, &mut self.outputs, &ends, &self.queues);
            self.ticked.leaving.append(&mut ends.leaving);
            self.ticked.letters.append(&mut ends.letters);
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Ran {
        let mut faults: BTreeMap<&'static str, u64> = BTreeMap::new();
        let counted = self
            .versions
            .iter()
            .flat_map(|version| version.metrics.tally.errors())
            .filter(|(_, count)| *count > 0);
        counted.for_each(|(kind, count)| *faults.entry(kind.name()).or_default() += count);
        let plugin = |version: &Arc<Version>| {
            (
                Arc::clone(&version.reference.name),
                Arc::clone(&version.reference.digest),
            )
        };
        Ran {
            plugins: self.versions.iter().map(plugin).collect(),
            fates: self.fates,
            outputs: self.outputs,
            repeatable: !faults.contains_key(FaultKind::Timeout.name()),
            faults,
            sha256: hexadecimal(self.digest.finish().as_ref()),
        }
    }
}

/// Adds to the sum what can be seen from outside: not the ids, which are the gateway's own.
fn note(
    digest: &mut ring::digest::Context,
    outputs: &mut u64,
    ends: &BatchEnds,
    queues: &[String],
) {
    let mut field = |bytes: &[u8]| {
        digest.update(&(bytes.len() as u64).to_le_bytes());
        digest.update(bytes);
    };
    for (origin, leaving) in &ends.leaving {
        let message = &leaving.message;
        field(&origin.to_le_bytes());
        field(target_name(queues, &leaving.target).as_bytes());
        for part in [
            &*message.topic,
            message.key(),
            &*message.headers,
            &*message.payload,
        ] {
            field(part);
        }
        field(&message.marks.0.to_le_bytes());
    }
    for (origin, letter) in &ends.letters {
        field(&origin.to_le_bytes());
        field(letter.reason.name().as_bytes());
        field(
            letter
                .plugin
                .as_ref()
                .map_or("", |plugin| &*plugin.name)
                .as_bytes(),
        );
    }
    for fate in &ends.fates {
        field(fate.name().as_bytes());
    }
    *outputs += ends.leaving.len() as u64;
}

pub(super) fn target_name<'a>(queues: &'a [String], target: &'a Destination) -> &'a str {
    match target {
        Destination::Queue(queue) => queues.get(usize::from(queue.0)).map_or("", String::as_str),
        Destination::Flow(name) => name,
    }
}
