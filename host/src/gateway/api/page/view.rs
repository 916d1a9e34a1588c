//! What the page shows: the account of `tidegate status` and of health, without what a device, a plugin or an operator keeps to
//! itself. Whoever may use the loopback port may see it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::clock::Now;
use crate::devices::DeviceCounts;
use crate::gateway::api::health::Report;
use crate::gateway::api::status::Status;
use crate::gateway::audit;
use crate::gateway::running::RunningGateway;
use crate::spool::LetterRecord;
use crate::versions::history::{History, HistoryEvent};

/// So many events, entries of the ledger and dead letters: the newest of each.
const MOST: usize = 20;
/// What lies on the disk is looked at no more often.
const LOOK: Duration = Duration::from_secs(10);

#[derive(Debug, Serialize)]
pub(super) struct PageView {
    /// When, milliseconds since 1970.
    pub(super) at_ms: u64,
    pub(super) status: Status,
    pub(super) health: Report,
    #[serde(flatten)]
    pub(super) kept: Kept,
    pub(super) ledger: Vec<LossRow>,
    /// How many devices are what, where the config has a register; which they are is not for everybody.
    pub(super) devices: Option<DeviceCounts>,
}

/// What lies on the disk.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Kept {
    pub(super) letters: Vec<LetterRow>,
    pub(super) events: Vec<Happened>,
}

/// A dead letter, without what it says.
#[derive(Clone, Debug, Serialize)]
pub(super) struct LetterRow {
    pub(super) parked_us: u64,
    pub(super) reason: &'static str,
    /// The plugin or queue that it stopped at.
    pub(super) at: String,
    /// How many its payload has.
    pub(super) bytes: u64,
}

/// Messages that were given up, without their topics and devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct LossRow {
    pub(super) reason: &'static str,
    pub(super) queue: String,
    pub(super) count: u64,
    pub(super) first_us: u64,
    pub(super) last_us: u64,
}

/// A change of a plugin or of the config, without who made it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Happened {
    pub(super) at: String,
    pub(super) flow: String,
    pub(super) plugin: String,
    pub(super) what: String,
    pub(super) why: Option<String>,
}

/// Makes views, and remembers what lies on the disk for a while.
pub(super) struct Views {
    running: Arc<RunningGateway>,
    kept: Mutex<Option<(Instant, Kept)>>,
}

impl Views {
    pub(super) fn of(running: &Arc<RunningGateway>) -> Self {
        Self {
            running: Arc::clone(running),
            kept: Mutex::default(),
        }
    }

    /// As it is now. Waits for the disk.
    pub(super) fn now(&self) -> PageView {
        let running = &self.running;
        PageView {
            at_ms: Now::read().wall.0 / 1_000,
            status: Status::of_running(running).open(),
            health: Report::open(running),
            kept: self.kept(),
            ledger: lost(running),
            devices: running.devices.counts(),
        }
    }

    fn kept(&self) -> Kept {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            Some((at, kept)) if at.elapsed() < LOOK => kept.clone(),
            _ => {
                let found = Kept::of(&self.running);
                *kept = Some((Instant::now(), found.clone()));
                found
            }
        }
    }
}

impl Kept {
    fn of(running: &RunningGateway) -> Self {
        let events = History::of(&running.config.gateway.data_dir).read(MOST, |_| true);
        let letters = running.spool.newest_dead_letters(MOST);
        Self {
            letters: letters.into_iter().map(LetterRow::of).collect(),
            // A history that cannot be read is said where it is written.
            events: events
                .unwrap_or_default()
                .into_iter()
                .rev()
                .map(Happened::of)
                .collect(),
        }
    }
}

impl LetterRow {
    fn of(record: LetterRecord) -> Self {
        let plugin = record
            .plugin
            .map(|plugin| format!("plugin {}/{}", record.flow, plugin.name));
        let queue = record
            .queue
            .map(|(uplink, class)| format!("queue {uplink}:{class}"));
        let flow = || format!("flow {}", record.flow);
        Self {
            parked_us: record.parked_us,
            reason: record.reason.name(),
            at: plugin.or(queue).unwrap_or_else(flow),
            bytes: record.message.payload.len() as u64,
        }
    }
}

impl Happened {
    fn of(event: HistoryEvent) -> Self {
        let event = audit::open(event);
        Self {
            at: event.at,
            flow: event.flow,
            plugin: event.plugin,
            what: event.what,
            why: event.why,
        }
    }
}

/// The ledger by reason and queue, what came last first.
fn lost(running: &RunningGateway) -> Vec<LossRow> {
    let mut all: Vec<LossRow> = Vec::new();
    for entry in running.spool.ledger() {
        let queue = match (&*entry.uplink, &*entry.class) {
            ("", _) => String::new(),
            (uplink, class) => format!("{uplink}:{class}"),
        };
        let reason = entry.reason.name();
        match all
            .iter_mut()
            .find(|lost| lost.reason == reason && lost.queue == queue)
        {
            Some(lost) => {
                lost.count += entry.count;
                lost.first_us = lost.first_us.min(entry.first_us);
                lost.last_us = lost.last_us.max(entry.last_us);
            }
            None => all.push(LossRow {
                reason,
                queue,
                count: entry.count,
                first_us: entry.first_us,
                last_us: entry.last_us,
            }),
        }
    }
    all.sort_by_key(|lost| std::cmp::Reverse(lost.last_us));
    all.truncate(MOST);
    all
}
