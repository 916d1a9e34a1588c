//! The spool as a whole: queue, store and writer against a plain model, over crashes and damage.

mod steps;
mod state;
mod opening;
mod missing;
mod letters;
mod looking;
mod given_up;
mod faults;
mod dropping;
mod coming;
mod commits;
mod bounds;
mod disk;
mod policy;
mod disk_full;
mod sealed;
mod damage;
mod model;
mod sick;
mod whole;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::clock::WallTime;
use crate::message::LossReason;
use crate::message::{
    Append, Backlog, BacklogLink, Checkpoint, DeadLetter, Fetch, FlowId, LinkTurn, Message,
    MessageId, OwedQueues, PluginRef, QueueId, Reason, Receipt, Remembered, Seq, Stored,
};
use crate::spool::account::QueueAccount;
use crate::spool::disk::fault_injection::script::Script;
use crate::spool::disk::folder::DataFolder;
use crate::spool::disk::sealing::sealer::Sealer;
use crate::spool::drop_policy::Policy;
use crate::spool::lock::locked;
use crate::spool::metrics::Metrics;
use crate::spool::settings::{Config, QueueConfig};
use crate::spool::shared::Shared;
use crate::spool::start::OpenPurpose;
use crate::spool::writer::Writer;
use crate::spool::writer::work::Demand;

/// In memory where that is to be had: a `syncfs` would wait for whatever else the machine writes.
pub(super) fn tempdir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

const QUEUE: QueueId = QueueId(0);
const NEVER: Duration = Duration::from_secs(1 << 30);

pub(super) fn config(path: &Path) -> Config {
    let queue =
        |uplink: &str, class: &str| QueueConfig::new(uplink, class.into(), Policy::default());
    Config {
        gateway: "barn-7".into(),
        path: path.to_owned(),
        queues: vec![queue("cloud", "telemetry"), queue("cloud", "alarm")],
        flows: vec!["climate".into()],
        spill_after: NEVER,
        commit_every: NEVER,
        head_bytes: 1 << 20,
        chunk_bytes: 400,
        cache_bytes: 1 << 20,
        memory_bytes: usize::MAX,
        reserve_bytes: 0,
        dead_letters: 100,
        gap_topic: None,
        dead_letter_bytes: 1 << 20,
        sealer: Sealer::default(),
    }
}

pub(super) fn metrics() -> Metrics {
    Metrics::new(&prometheus::Registry::new()).unwrap()
}

/// A spool whose writer runs only when the test says so.
struct Bench {
    shared: Arc<Shared>,
    writer: Writer,
    backlog: Arc<dyn Backlog>,
    link: Arc<dyn BacklogLink>,
    script: Arc<Script>,
}

impl Bench {
    fn open(config: Config) -> Self {
        let folder = DataFolder::lock(&config.path).unwrap();
        Self::open_in(folder, config)
    }

    fn open_in(folder: DataFolder, config: Config) -> Self {
        let script = Arc::clone(&folder.fault_injection.script);
        let (shared, writer) =
            Shared::open_in(folder, OpenPurpose::Run, config, metrics()).unwrap();
        let OwedQueues { backlog, link } = backlog::of(&shared, "cloud");
        Self {
            shared,
            writer,
            backlog,
            link,
            script,
        }
    }

    fn append(&self, number: u64, receipt: Option<Receipt>) {
        self.shared.append(vec![Append {
            queue: QUEUE,
            message: message(number),
            receipt,
        }]);
    }

    fn commit(&mut self) -> bool {
        self.writer.commit(Demand::All)
    }

    /// Ends without another write, as a kill does.
    fn kill(self) {
        let Self {
            shared,
            writer,
            backlog,
            link,
            ..
        } = self;
        drop((writer, backlog, link));
        shared.open_store.close();
    }

    fn reopen(self) -> Self {
        let sealer = self.shared.config.sealer.clone();
        self.reopen_with(sealer)
    }

    fn reopen_with(self, sealer: Sealer) -> Self {
        let config = Config {
            sealer,
            ..self.shared.config_now()
        };
        self.kill();
        Self::open(config)
    }

    /// What the next process finds after a SIGKILL: the files as they are now, in another folder.
    fn crash(self, to: &Path, sealer: Sealer) -> Self {
        copy_folder(&self.shared.config.path, to);
        let config = Config {
            path: to.to_owned(),
            sealer,
            ..self.shared.config_now()
        };
        self.kill();
        Self::open(config)
    }

    fn owed(&self, max: usize) -> Vec<Stored> {
        self.owed_in(QUEUE, max)
    }

    /// Everything owed, in order, without accepting it.
    fn owed_in(&self, queue: QueueId, max: usize) -> Vec<Stored> {
        let (mut found, mut from) = (Vec::new(), Seq(0));
        loop {
            let next = match self.backlog.fetch(queue, from, max, 2_000) {
                Fetch::Ready(list) => list,
                Fetch::Spilled => self.backlog.read(queue, from),
                Fetch::Empty if self.shared.queues()[usize::from(queue.0)].is_fresh_first => {
                    found.extend(self.fresh(queue, None));
                    return found;
                }
                Fetch::Empty => return found,
            };
            if let Some(last) = next.last() {
                from = last.seq.next();
            }
            found.extend(next);
        }
    }

    /// What lies on disk of a queue in which fresh data goes first, without what has gone ahead.
    fn replayed(&self, queue: QueueId) -> Vec<Stored> {
        let (mut found, mut from) = (Vec::new(), Seq(0));
        while matches!(self.backlog.fetch(queue, from, 9, 2_000), Fetch::Spilled) {
            found.extend(self.backlog.read(queue, from));
            from = found.last().map_or(Seq(u64::MAX), |last| last.seq.next());
        }
        found
    }

    /// All that lies in RAM behind this one.
    fn fresh(&self, queue: QueueId, behind: Option<&Stored>) -> Vec<Stored> {
        let from = behind.map_or(Seq(0), |stored| stored.seq.next());
        match locked(&self.shared.slots[usize::from(queue.0)].queue).fetch_fresh(
            from,
            usize::MAX,
            usize::MAX,
            false,
        ) {
            Fetch::Ready(list) => list,
            Fetch::Spilled | Fetch::Empty => Vec::new(),
        }
    }

    fn numbers(&self) -> Vec<u64> {
        self.owed(7)
            .iter()
            .map(|stored| stored.message.id.seq)
            .collect()
    }

    fn queue(&self) -> QueueAccount {
        self.shared.account().queues[0].clone()
    }
}

fn message(number: u64) -> Message {
    Message {
        id: MessageId {
            boot: 1,
            seq: number,
        },
        flow: Some(FlowId::FIRST),
        topic: Bytes::from(format!("devices/d{}/telemetry", number % 5)),
        payload: Bytes::from(vec![b'x'; usize::try_from(number % 90).unwrap()]),
        received: WallTime(number),
        ..Message::default()
    }
}

fn letter(number: u64, receipt: Option<Receipt>) -> DeadLetter {
    let plugin = Some(PluginRef {
        name: "decode-json".into(),
        digest: "abc".into(),
    });
    let detail = format!("no {number}");
    DeadLetter {
        message: message(number),
        flow: "climate".into(),
        plugin,
        reason: Reason::Rejected,
        detail,
        own_topic: false,
        receipt,
    }
}

fn files(path: &Path) -> BTreeMap<std::path::PathBuf, (u64, SystemTime, Vec<u8>)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let about = fs::metadata(&path).unwrap();
            found.insert(
                path.clone(),
                (
                    about.len(),
                    about.modified().unwrap(),
                    fs::read(&path).unwrap(),
                ),
            );
        }
    }
    found
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

fn remember(bench: &Bench, plugin: &str, changes: &[(&str, Option<&str>)]) {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    let change = |(key, value): &(&str, Option<&str>)| Remembered {
        key: bytes(key),
        version: 3,
        value: value.map(bytes),
    };
    let changes = changes.iter().map(change).collect();
    bench.shared.checkpoint(vec![Checkpoint {
        flow: "climate".into(),
        plugin: plugin.into(),
        changes,
    }]);
}

fn remembered(bench: &Bench, plugin: &str) -> Vec<(String, String)> {
    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    let found = bench.shared.recall("climate", plugin).unwrap();
    found
        .iter()
        .map(|entry| (text(&entry.key), text(entry.value.as_ref().unwrap())))
        .collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn with(path: &Path, policy: Policy) -> Config {
    let mut config = config(path);
    config.queues[0].policy = policy;
    config
}

fn limited(max_bytes: u64, drop: DropPolicy) -> Policy {
    Policy {
        max_bytes,
        max_age: None,
        drop,
    }
}

fn filled(path: &Path, policy: Policy, count: u64) -> Bench {
    filled_with(with(path, policy), count)
}

fn filled_with(config: Config, count: u64) -> Bench {
    let mut bench = Bench::open(config);
    for number in 0..count {
        bench.append(number, None);
        if number % 20 == 19 {
            assert!(bench.commit());
        }
    }
    // The spill goes in steps.
    while bench.queue().in_ram > 0 {
        assert!(bench.commit());
    }
    bench
}

fn given_up(bench: &Bench, reason: LossReason) -> u64 {
    bench
        .shared
        .account()
        .given_up
        .iter()
        .find(|loss| loss.reason == reason)
        .unwrap()
        .messages
}
