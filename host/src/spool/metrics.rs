//! What the spool counts. Gauges are computed when they are asked for; counters rise once per batch.

use std::sync::{Arc, Mutex};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry,
};

use crate::spool::account::{Account, QueueAccount};
use crate::spool::lock::locked;
use crate::spool::space::condition::StoreCondition;

/// The instruments of one spool.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(super) appended: IntCounterVec,
    pub(super) accepted: IntCounterVec,
    pub(super) damaged: IntCounterVec,
    pub(super) dropped: IntCounterVec,
    pub(super) letters: IntCounterVec,
    pub(super) commits: IntCounter,
    pub(super) commit_seconds: Histogram,
    pub(super) written: IntCounter,
    pub(super) payload: IntCounter,
    pub(super) checkpoints: IntCounter,
    pub(super) state_written: IntCounter,
    pub(super) faults: IntCounter,
    scrape: Scrape,
}

/// Asks a spool for its numbers; `None` once it is gone.
struct TakeAccount(Box<dyn Fn() -> Option<Account> + Send>);

impl std::fmt::Debug for TakeAccount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TakeAccount")
    }
}

/// Gauges, filled from the spool's account when they are collected.
#[derive(Clone, Debug)]
struct Scrape {
    queues: QueueGauges,
    kept: IntGaugeVec,
    ledger: IntGaugeVec,
    trouble: IntGaugeVec,
    free: IntGauge,
    reserve: IntGauge,
    ram: IntGauge,
    most_ram: IntGauge,
    wear: IntCounter,
    wear_day: IntGauge,
    wear_ratio: Gauge,
    account: Arc<Mutex<Option<TakeAccount>>>,
}

/// Those of each queue.
#[derive(Clone, Debug)]
struct QueueGauges {
    messages: IntGaugeVec,
    bytes: IntGaugeVec,
    capacity: IntGaugeVec,
    disk_messages: IntGaugeVec,
    disk_bytes: IntGaugeVec,
    limit: IntGaugeVec,
    oldest: GaugeVec,
    /// Uplink and class of those that are shown.
    shown: Arc<Mutex<Vec<[Arc<str>; 2]>>>,
}

const QUEUE: [&str; 2] = ["uplink", "class"];

impl Metrics {
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counters = |name, about, labels: &[&str]| {
            registered(registry, IntCounterVec::new(Opts::new(name, about), labels))
        };
        let counter = |name, about| registered(registry, IntCounter::new(name, about));
        let scrape = Scrape::new()?;
        registry.register(Box::new(scrape.clone()))?;
        Ok(Self {
            appended: counters(
                "tidegate_spool_appended_total",
                "Messages that came into a queue.",
                &QUEUE,
            )?,
            accepted: counters(
                "tidegate_spool_accepted_total",
                "Messages of a queue that upstream has accepted.",
                &QUEUE,
            )?,
            damaged: counters(
                "tidegate_spool_damaged_total",
                "Messages of a queue lost to damage on disk.",
                &QUEUE,
            )?,
            dropped: counters(
                "tidegate_messages_dropped_total",
                "Messages given up, by reason.",
                &["reason", "uplink", "class"],
            )?,
            letters: counters(
                "tidegate_dead_letters_total",
                "Messages that went to the dead letters.",
                &["reason"],
            )?,
            commits: counter("tidegate_spool_commits_total", "Commits to the store.")?,
            commit_seconds: registered(registry, commit_seconds())?,
            written: counter(
                "tidegate_spool_written_bytes_total",
                "Bytes of chunks and dead letters given to the store.",
            )?,
            payload: counter(
                "tidegate_spool_payload_bytes_total",
                "Bytes of payload that came into the queues.",
            )?,
            checkpoints: counter(
                "tidegate_spool_checkpoints_total",
                "Commits that wrote changes of plugins' state.",
            )?,
            state_written: counter(
                "tidegate_spool_state_written_bytes_total",
                "Bytes of plugins' state given to the store, not counted among those of chunks and dead letters.",
            )?,
            faults: counter(
                "tidegate_spool_faults_total",
                "Times the store failed and was opened anew.",
            )?,
            scrape,
        })
    }

    /// Gauges show the numbers of the spool that `account` asks, as long as there is one.
    pub(super) fn watch(&self, account: impl Fn() -> Option<Account> + Send + 'static) {
        *locked(&self.scrape.account) = Some(TakeAccount(Box::new(account)));
    }
}

/// An instrument that the registry knows.
fn registered<C: Collector + Clone + 'static>(
    registry: &Registry,
    made: Result<C, prometheus::Error>,
) -> Result<C, prometheus::Error> {
    let made = made?;
    registry.register(Box::new(made.clone()))?;
    Ok(made)
}

fn commit_seconds() -> Result<Histogram, prometheus::Error> {
    // A sync takes from a fraction of a millisecond on a disk to many seconds on a tired card.
    let buckets = vec![
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    ];
    let about = "Time a commit to the store took, sync included.";
    Histogram::with_opts(
        HistogramOpts::new("tidegate_spool_commit_seconds", about).buckets(buckets),
    )
}

impl Scrape {
    fn new() -> Result<Self, prometheus::Error> {
        Ok(Self {
            queues: QueueGauges::new()?,
            kept: IntGaugeVec::new(
                Opts::new("tidegate_dead_letters_kept", "Dead letters in the store."),
                &["reason"],
            )?,
            ledger: IntGaugeVec::new(
                Opts::new(
                    "tidegate_ledger_messages",
                    "Messages given up since the store was made, by reason.",
                ),
                &["reason"],
            )?,
            trouble: IntGaugeVec::new(
                Opts::new(
                    "tidegate_store_trouble_info",
                    "1 for the reason why the store takes nothing.",
                ),
                &["reason"],
            )?,
            free: IntGauge::new(
                "tidegate_store_free_bytes",
                "Bytes free for the store when last looked at.",
            )?,
            reserve: IntGauge::new(
                "tidegate_store_reserve_bytes",
                "Free bytes below which nothing is spilled.",
            )?,
            ram: IntGauge::new(
                "tidegate_memory_messages_bytes",
                "Bytes of messages and dead letters in RAM, of all queues.",
            )?,
            most_ram: IntGauge::new(
                "tidegate_memory_messages_limit_bytes",
                "Bytes of messages and dead letters in RAM at which lanes, and then sources, wait.",
            )?,
            wear: IntCounter::new(
                "tidegate_card_written_bytes_total",
                "Bytes that this process has had written to storage, by the kernel's count.",
            )?,
            wear_day: IntGauge::new(
                "tidegate_card_day_bytes",
                "Bytes that this process has had written to storage in the last 24 hours.",
            )?,
            wear_ratio: Gauge::new(
                "tidegate_card_bytes_per_payload_byte",
                "Bytes written to storage for each byte of payload that came into the queues, since the start.",
            )?,
            account: Arc::default(),
        })
    }

    fn fill(&self) {
        let Some(account) = locked(&self.account).as_ref().and_then(|take| (take.0)()) else {
            return;
        };
        self.queues.fill(&account.queues);
        for letters in &account.letters {
            self.kept
                .with_label_values(&[letters.reason.name()])
                .set(whole(letters.kept));
        }
        for given_up in &account.given_up {
            self.ledger
                .with_label_values(&[given_up.reason.name()])
                .set(whole(given_up.messages));
        }
        for bad in StoreCondition::BAD {
            self.trouble
                .with_label_values(&[bad.name()])
                .set(i64::from(bad == account.condition));
        }
        self.free.set(whole(account.free_bytes));
        self.reserve.set(whole(account.reserve_bytes));
        self.ram.set(whole(account.ram_bytes));
        self.most_ram.set(whole(account.most_ram_bytes));
        self.wear.inc_by(
            account
                .wear
                .process_bytes
                .unwrap_or(0)
                .saturating_sub(self.wear.get()),
        );
        self.wear_day.set(whole(account.wear.day_bytes));
        self.wear_ratio
            .set(account.wear.bytes_per_payload_byte.unwrap_or(0.0));
    }

    fn all(&self) -> [&dyn Collector; 17] {
        [
            &self.queues.messages,
            &self.queues.bytes,
            &self.queues.capacity,
            &self.queues.disk_messages,
            &self.queues.disk_bytes,
            &self.queues.limit,
            &self.queues.oldest,
            &self.kept,
            &self.ledger,
            &self.trouble,
            &self.free,
            &self.reserve,
            &self.ram,
            &self.most_ram,
            &self.wear,
            &self.wear_day,
            &self.wear_ratio,
        ]
    }
}

impl Collector for Scrape {
    fn desc(&self) -> Vec<&Desc> {
        self.all().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.fill();
        self.all()
            .into_iter()
            .flat_map(Collector::collect)
            .collect()
    }
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl QueueGauges {
    fn new() -> Result<Self, prometheus::Error> {
        let gauges = |name: &str, about: &str| IntGaugeVec::new(Opts::new(name, about), &QUEUE);
        Ok(Self {
            messages: gauges(
                "tidegate_spool_messages",
                "Messages owed, in RAM and on disk.",
            )?,
            bytes: gauges(
                "tidegate_spool_bytes",
                "Bytes of a queue's messages in RAM.",
            )?,
            capacity: gauges(
                "tidegate_spool_capacity_bytes",
                "Bytes in RAM at which a queue is written.",
            )?,
            disk_messages: gauges("tidegate_spool_disk_messages", "Messages owed on disk.")?,
            disk_bytes: gauges(
                "tidegate_spool_disk_bytes",
                "Bytes of a queue's chunks on disk.",
            )?,
            limit: gauges(
                "tidegate_spool_limit_bytes",
                "Bytes on disk at which a queue's class gives messages up; missing without a bound.",
            )?,
            oldest: GaugeVec::new(
                Opts::new(
                    "tidegate_spool_oldest_age_seconds",
                    "Age of the oldest message owed, counted while running.",
                ),
                &QUEUE,
            )?,
            shown: Arc::default(),
        })
    }

    /// One that is none any more is not shown.
    fn forget(&self, [uplink, class]: &[Arc<str>; 2]) {
        let labels: [&str; 2] = [uplink, class];
        for gauges in [
            &self.messages,
            &self.bytes,
            &self.capacity,
            &self.disk_messages,
            &self.disk_bytes,
            &self.limit,
        ] {
            // An error means that it is not there.
            let _ = gauges.remove_label_values(&labels);
        }
        let _ = self.oldest.remove_label_values(&labels);
    }

    fn fill(&self, queues: &[QueueAccount]) {
        let name = |queue: &QueueAccount| [Arc::clone(&queue.uplink), Arc::clone(&queue.class)];
        let now: Vec<_> = queues.iter().map(name).collect();
        let before = std::mem::replace(&mut *locked(&self.shown), now.clone());
        let gone = before.iter().filter(|queue| !now.contains(queue));
        gone.for_each(|queue| self.forget(queue));
        for queue in queues {
            let labels = [&*queue.uplink, &*queue.class];
            self.messages
                .with_label_values(&labels)
                .set(whole(queue.owed()));
            self.bytes
                .with_label_values(&labels)
                .set(whole(queue.ram_bytes));
            self.capacity
                .with_label_values(&labels)
                .set(whole(queue.capacity_bytes));
            self.disk_messages
                .with_label_values(&labels)
                .set(whole(queue.on_disk));
            self.disk_bytes
                .with_label_values(&labels)
                .set(whole(queue.disk_bytes));
            if let Some(limit) = queue.limit_bytes {
                self.limit.with_label_values(&labels).set(whole(limit));
            }
            self.oldest
                .with_label_values(&labels)
                .set(queue.oldest_age.map_or(0.0, |age| age.as_secs_f64()));
        }
    }
}
