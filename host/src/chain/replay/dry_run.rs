//! A chain run off-line on messages that somebody makes up, one at a time, under a clock that only he moves: the plugins,
//! the sandbox, the limits and the routes of a gateway, without one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::side::{Player, ReplaySide, target_name};
use crate::chain::Error;
use crate::chain::lane::outbox::BatchEnds;
use crate::chain::lane::trial::compare::SampleBounds;
use crate::chain::lane::version::OUT;
use crate::chain::sandbox::engine::Engine;
use crate::chain::settings::Config;
use crate::clock::{Now, Uptime, WallTime};
use crate::message::{DeadLetter, Destination, Message, MessageId, QueueId};

/// Ticks while time passes once; more is a mistake, or takes minutes.
const MOST_TICKS: usize = 1_000_000;

/// When it begins: it has run for a second.
const BEGINS_UPTIME: Uptime = Uptime(1_000_000);

/// A message that left the chain.
#[derive(Clone, Debug)]
pub struct DryRunOutput {
    pub port: String,
    pub message: Message,
}

/// What a plugin handed on to the next one, or to the end of the chain.
#[derive(Clone, Debug)]
pub struct HandedOn {
    pub plugin: Arc<str>,
    pub messages: Vec<Message>,
}

/// What came of a message, or of time that passed.
#[derive(Clone, Debug, Default)]
pub struct Came {
    pub handed_on: Vec<HandedOn>,
    pub left: Vec<DryRunOutput>,
    pub letters: Vec<DeadLetter>,
    /// Faults in ticks, in the plugin's words.
    pub tick_faults: Vec<String>,
    /// What became of the message; empty for time.
    pub fate: &'static str,
}

/// A chain at work off-line. Run it in [`super::offline`].
pub struct DryRun {
    side: ReplaySide,
    now: Now,
    ports: Vec<String>,
    messages: u64,
}

impl DryRun {
    /// The chain of a flow, with its routes, from `begins_us` on.
    ///
    /// # Errors
    /// The first plugin that cannot be used.
    pub fn of_flow(config: &Config, begins_us: u64, engine: &Engine) -> Result<Self, Error> {
        let mut config = config.clone();
        // A queue for each port that leads somewhere: what leaves it is seen once, wherever it goes.
        let mut ports = Vec::new();
        for (port, targets) in config
            .ports
            .iter_mut()
            .filter(|(_, targets)| !targets.is_empty())
        {
            *targets = queue(&mut ports, port);
        }
        let now = Now {
            wall: WallTime(begins_us),
            uptime: BEGINS_UPTIME,
        };
        let player = Player {
            lanes: 1,
            recorded_lanes: 1,
            recorded_ticks: Vec::new(),
            queues: ports.clone(),
            begins_us,
            bounds: SampleBounds::default(),
        };
        let mut side = ReplaySide::new(&config, &player, engine)?;
        side.handed_on = Some(Vec::new());
        // Its ticks count from here.
        side.catch_up(now)?;
        Ok(Self {
            side,
            now,
            ports,
            messages: 0,
        })
    }

    /// The plugins of `config` with a route for every port that they ask for.
    ///
    /// # Errors
    /// As [`DryRun::of_flow`].
    pub fn of_plugins(config: &Config, begins_us: u64, engine: &Engine) -> Result<Self, Error> {
        routed(config, |config| Self::of_flow(config, begins_us, engine))
    }

    /// What its clocks show.
    pub fn now(&self) -> Now {
        self.now
    }

    /// Name and SHA-256 of each plugin.
    pub fn plugins(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>)> {
        self.side
            .versions()
            .iter()
            .map(|version| (&version.reference.name, &version.reference.digest))
    }

    /// When the next plugin wants to be told the time, from now on.
    pub fn next_tick(&self) -> Option<Duration> {
        let due = self.side.next_due()?;
        Some(due.since(self.now.uptime))
    }

    /// Gives it a message, which arrives now.
    ///
    /// # Errors
    /// No instance of a plugin can be made any more.
    pub fn feed(&mut self, message: Message) -> Result<Came, Error> {
        self.messages += 1;
        let message = Message {
            id: MessageId {
                boot: 1,
                seq: self.messages,
            },
            received: self.now.wall,
            uptime: self.now.uptime,
            ..message
        };
        self.side.run(0, self.now, &[message])?;
        let ends = std::mem::take(&mut self.side.ends);
        let fate = ends.fates.first().map_or("", |fate| fate.name());
        let mut came = Came {
            fate,
            ..Came::default()
        };
        self.put(ends, &mut came);
        Ok(came)
    }

    /// Lets time pass: plugins that want to be told are told at the moments they asked for.
    ///
    /// # Errors
    /// As [`DryRun::feed`], and [`Error::TooFar`].
    pub fn advance(&mut self, by: Duration) -> Result<Came, Error> {
        let by_us = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
        let ends = self.now.uptime.plus_us(by_us);
        let mut came = Came::default();
        for _ in 0..MOST_TICKS {
            let due = self.side.next_due().unwrap_or(Uptime(u64::MAX));
            let before = self.side.faults();
            self.pass_until(due.min(ends))?;
            let after = self.side.faults();
            let failed = before
                .iter()
                .zip(after)
                .filter(|(before, after)| after.0 > before.0);
            came.tick_faults.extend(failed.map(|(_, (_, why))| why));
            let ticked = std::mem::take(&mut self.side.ticked);
            self.put(ticked, &mut came);
            if due > ends {
                return Ok(came);
            }
        }
        Err(Error::TooFar(MOST_TICKS))
    }

    fn pass_until(&mut self, uptime: Uptime) -> Result<(), Error> {
        let passed = uptime.us_since(self.now.uptime);
        self.now.wall = self.now.wall.plus_us(passed);
        self.now.uptime = uptime;
        self.side.catch_up(self.now)
    }

    fn put(&mut self, ends: BatchEnds, came: &mut Came) {
        let left = ends.leaving.into_iter().map(|(_, leaving)| DryRunOutput {
            port: target_name(&self.ports, &leaving.target).to_owned(),
            message: leaving.message,
        });
        came.left.extend(left);
        came.letters
            .extend(ends.letters.into_iter().map(|(_, letter)| letter));
        let handed_on = self.side.handed_on.iter_mut().flat_map(std::mem::take);
        came.handed_on
            .extend(handed_on.map(|(plugin, messages)| HandedOn { plugin, messages }));
    }
}

impl std::fmt::Debug for DryRun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DryRun")
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

/// Makes something of the plugins of `config` with a route for every port that they ask for.
pub(super) fn routed<T>(
    config: &Config,
    make: impl Fn(&Config) -> Result<T, Error>,
) -> Result<T, Error> {
    let mut config = config.clone();
    let somewhere = || vec![Destination::Queue(QueueId(0))];
    config.ports = BTreeMap::from([(OUT.to_owned(), somewhere())]);
    loop {
        match make(&config) {
            Err(Error::PortWithoutRoute { port, .. }) if !config.ports.contains_key(&port) => {
                config.ports.insert(port, somewhere());
            }
            made => return made,
        }
    }
}

/// A queue of its own for a port.
fn queue(ports: &mut Vec<String>, port: &str) -> Vec<Destination> {
    let id = QueueId(u16::try_from(ports.len()).unwrap_or(u16::MAX));
    ports.push(port.to_owned());
    vec![Destination::Queue(id)]
}
