//! Virtual devices against any broker, and a watcher that checks what comes out at another.
//!
//! One connection sends for all devices at a steady rate, or many do, each for its portion of them ([`Connections`]).
//! Until the broker has acknowledged a message the sender keeps it, and sends it again after a reconnect: "acknowledged" is exact, which is what a promise about
//! acknowledged messages has to be judged by. A second connection subscribes at the far end and books what
//! arrives by (device, seq). What is missing, doubled or out of order follows from the two books ([`SentLedger`],
//! [`Tally`]), not from anything the gateway says about itself.

mod address;
mod bits;
mod books;
mod crowd;
mod device;
mod error;
mod latency;
mod limit;
mod memory;
mod pace;
mod publisher;
mod report;
mod settings;
mod tally;
mod task;
mod watcher;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::watch;

pub use address::{NoBroker, broker};
pub use crowd::descriptors::TooFewDescriptors;
pub use crowd::gathering::GatheringReport;
pub use crowd::portion::SimPortion;
pub use crowd::wills::WillReport;
pub use device::{Fleet, PLACEHOLDER, SimulatedMessage, Stamp, read_stamp};
pub use error::Error;
pub use latency::{Latencies, Quantiles};
pub use limit::SimLimit;
pub use pace::SteadyRate;
pub use report::{SimReport, WatchReport};
pub use settings::{Connections, SimConfig, Until, Watch, Wills};
pub use tally::{ArrivalKind, Expect, MessageKind, SentLedger, SimulatedId, Tally};

use books::Books;
use crowd::Crowd;
use crowd::gathering::Gathering;
use crowd::wills::WillWatch;
use publisher::SimPhase;
use task::OwnedTask;
use watcher::{WatchLog, Watcher};

/// Once nothing is missing: how long it must be quiet until doubled ones count as all here.
const QUIET: Duration = Duration::from_millis(300);
/// How often the end is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How far a running simulation is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SimProgress {
    /// Connections that stood at their first attempt.
    pub connected: u32,
    /// Messages sent, each counted once.
    pub sent: u64,
    /// Of those, acknowledged by the broker.
    pub accepted: u64,
    /// Of those, broken on purpose.
    pub broken: u64,
    /// Messages that arrived at the far end, doubles included.
    pub received: u64,
    /// Different messages that arrived.
    pub delivered: u64,
    /// Arrivals of what had arrived before.
    pub doubled: u64,
    /// First arrivals after a later one of the same device.
    pub out_of_order: u64,
    /// Acknowledged, expected, and not arrived yet.
    pub missing: u64,
    /// Arrived although they were not expected to.
    pub unexpected: u64,
}

/// A running simulation; dropping it ends it as it is.
#[derive(Debug)]
pub struct Simulation {
    books: Arc<Books>,
    connections: u32,
    crowd: OwnedTask<publisher::SendingSummary>,
    phase: watch::Sender<SimPhase>,
    watching: Option<Watching>,
    wills: Option<WillWatch>,
}

#[derive(Debug)]
struct Watching {
    task: OwnedTask<Result<(), Error>>,
    stop: watch::Sender<bool>,
    settle: Duration,
}

/// Sends and watches until the config says stop and everything has arrived or the wait was in vain.
pub async fn run(config: SimConfig) -> Result<SimReport, Error> {
    Simulation::start(config).await?.finish().await
}

impl Simulation {
    /// Connects both ends, watcher first and subscribed, and starts sending, as soon as all connections have had an answer.
    pub async fn start(config: SimConfig) -> Result<Self, Error> {
        crowd::descriptors::allow(config.connections.count)?;
        let expect = config
            .watch
            .as_ref()
            .map_or(Expect::All, |watch| watch.expect);
        let books = Arc::new(Books {
            ledger: Mutex::new(SentLedger::new(config.devices, expect)),
            seen: Mutex::new(WatchLog::new(config.devices)),
            gathering: Mutex::new(Gathering::new()),
        });
        let watching = match &config.watch {
            Some(watch) => Some(Watching::start(watch, Arc::clone(&books)).await?),
            None => None,
        };
        let connections = config.connections.count;
        let wills = match &config.connections.wills {
            Some(wills) => Some(WillWatch::open(&config.broker, wills.clone(), connections).await?),
            None => None,
        };
        let (phase, _) = watch::channel(SimPhase::Gather);
        let crowd = Crowd::open(config, Arc::clone(&books), phase.clone()).await?;
        Ok(Self {
            books,
            connections,
            crowd: OwnedTask(tokio::spawn(crowd.run())),
            phase,
            watching,
            wills,
        })
    }

    /// The figures as of now.
    pub fn progress(&self) -> SimProgress {
        let ledger = self.books.ledger();
        let seen = self.books.seen();
        let tally = &seen.tally;
        let watched = self.watching.is_some();
        SimProgress {
            connected: self.books.gathering().connected(),
            sent: ledger.sent(),
            accepted: ledger.accepted(),
            broken: ledger.broken_accepted(),
            received: tally.received(),
            delivered: tally.delivered(),
            doubled: tally.doubled(),
            out_of_order: tally.out_of_order(),
            missing: if watched { ledger.lost(tally) } else { 0 },
            unexpected: ledger.unexpected(tally),
        }
    }

    /// Whether the devices still send, or wait for acknowledgements.
    pub fn is_sending(&self) -> bool {
        !self.crowd.0.is_finished()
    }

    /// Ends the sending, and the making of connections; what is in flight is still waited for.
    pub fn stop_sending(&self) {
        self.phase.send_replace(SimPhase::Stop);
    }

    /// Waits for the end: all sent and acknowledged, all that is expected arrived, or nothing for the settle time.
    pub async fn finish(self) -> Result<SimReport, Error> {
        let Self {
            books,
            connections,
            crowd,
            phase,
            watching,
            wills,
        } = self;
        let outcome = crowd.join().await?;
        drop(phase);
        let wills = match wills {
            Some(wills) => Some(wills.settle().await?),
            None => None,
        };
        let watched = match watching {
            Some(watching) => {
                watching.settle(&books).await?;
                true
            }
            None => false,
        };
        let gathering = books.gathering().report(connections);
        let seen = watched.then(|| books.seen());
        let report = SimReport::new(&books.ledger(), &outcome, gathering, seen.as_deref());
        Ok(SimReport { wills, ..report })
    }
}

impl Watching {
    async fn start(watch: &Watch, books: Arc<Books>) -> Result<Self, Error> {
        let (stop, stopped) = watch::channel(false);
        let watcher = Watcher::open(watch, books).await?;
        Ok(Self {
            task: OwnedTask(tokio::spawn(watcher.run(stopped))),
            stop,
            settle: watch.settle,
        })
    }

    /// Waits until nothing is missing, or nothing came for the settle time.
    async fn settle(self, books: &Books) -> Result<(), Error> {
        let began = Instant::now();
        while !self.task.0.is_finished() {
            let complete = {
                let ledger = books.ledger();
                ledger.lost(&books.seen().tally) == 0
            };
            let quiet = books
                .seen()
                .last_at()
                .map_or(began, |last| last.max(began))
                .elapsed();
            if quiet
                >= if complete {
                    QUIET.min(self.settle)
                } else {
                    self.settle
                }
            {
                break;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        self.stop.send_replace(true);
        self.task.join().await?
    }
}
