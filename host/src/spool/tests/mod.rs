//! The spool as a whole: queue, store and writer against a plain model, over crashes and damage.

mod disk;
mod policy;
mod disk_full;
mod sealed;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::spool::Spool;
use crate::spool::account::QueueAccount;
use crate::spool::dead_letters::LetterRecord;
use crate::spool::disk::error::StoreError;
use crate::spool::disk::fault_injection::script::Script;
use crate::spool::disk::folder::Folder;
use crate::spool::disk::format_before::set_format;
use crate::spool::disk::queue_store::Near;
use crate::spool::disk::sealing::sealer::Sealer;
use crate::spool::disk::store::Store;
use crate::spool::error::Error;
use crate::spool::lock::locked;
use crate::spool::metrics::Metrics;
use crate::spool::settings::{Config, Policy, QueueConfig};
use crate::spool::shared::Shared;
use crate::spool::start::Purpose;
use crate::spool::writer::Writer;
use crate::spool::writer::work::Demand;

mod damage;
mod model;
mod sick;
mod whole;

use crate::message::{
    Append, Burst, Checkpoint, DeadLetter, Fetch, FlowId, Message, MessageId, PluginRef, QueueId,
    Reason, Receipt, Remembered, Seq, Settled, Stored,
};

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
    script: Arc<Script>,
}

impl Bench {
    fn open(config: Config) -> Self {
        let folder = Folder::lock(&config.path).unwrap();
        Self::open_in(folder, config)
    }

    fn open_in(folder: Folder, config: Config) -> Self {
        let script = Arc::clone(&folder.fault_injection.script);
        let (shared, writer) = Shared::open_in(folder, Purpose::Run, config, metrics()).unwrap();
        let backlog = backlog::of(&shared, "cloud");
        Self {
            shared,
            writer,
            backlog,
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
            ..
        } = self;
        drop((writer, backlog));
        shared.close_store();
    }

    fn reopen(self) -> Self {
        let sealer = self.shared.config.sealer.clone();
        self.reopen_with(sealer)
    }

    fn reopen_with(self, sealer: Sealer) -> Self {
        let config = Config {
            sealer,
            ..self.shared.config.clone()
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
            ..self.shared.config.clone()
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
                Fetch::Empty if self.shared.config.queues[usize::from(queue.0)].is_fresh_first => {
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
            from.0,
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
        flow: FlowId(0),
        topic: Bytes::from(format!("devices/d{}/telemetry", number % 5)),
        payload: Bytes::from(vec![b'x'; usize::try_from(number % 90).unwrap()]),
        received_us: number,
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

#[test]
fn a_message_is_safe_once_its_receipt_is_released_also_in_a_copy_of_the_files() {
    let (folder, copy) = (tempdir(), tempdir());
    let mut bench = Bench::open(config(folder.path()));
    let burst = Burst::new(Arc::new(Settled::default()), [1, 1]);
    bench.append(1, Some(burst.receipt(0)));
    assert!(bench.commit());
    bench.append(2, Some(burst.receipt(1)));
    assert!(burst.is_settled(0) && !burst.is_settled(1));
    copy_folder(folder.path(), copy.path());
    let found = Bench::open(config(copy.path())).owed(5);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].message, message(1));
    assert_eq!(bench.numbers(), [1, 2]);
    let stored = bench.owed(5);
    bench
        .backlog
        .accept(QUEUE, stored[1].seq, stored[1].seq.next());
    assert!(burst.all_settled());
}

#[test]
fn every_opening_counts_a_boot_also_when_the_store_was_lost() {
    let folder = tempdir();
    let bench = Bench::open(config(folder.path()));
    assert_eq!(bench.shared.boot, 1);
    let bench = bench.reopen();
    assert_eq!(bench.shared.boot, 2);
    bench.kill();
    fs::remove_dir_all(folder.path().join("store")).unwrap();
    assert_eq!(Bench::open(config(folder.path())).shared.boot, 3);
}

#[test]
fn a_place_is_never_used_twice() {
    let folder = tempdir();
    let bench = Bench::open(config(folder.path()));
    bench.append(1, None);
    let first = bench.owed(1)[0].seq;
    bench.backlog.accept(QUEUE, first, first.next());
    let bench = bench.reopen();
    bench.append(2, None);
    assert!(bench.owed(1)[0].seq > first);
}

#[test]
fn an_idle_spool_and_one_whose_messages_are_accepted_in_time_write_nothing() {
    let folder = tempdir();
    // A message may wait for ten seconds, and dozens of commits would have their turn while this one goes on.
    let limits = Config {
        spill_after: Duration::from_secs(10),
        commit_every: Duration::from_millis(5),
        ..config(folder.path())
    };
    let spool = Spool::open(limits, metrics()).unwrap();
    let (outlet, backlog) = (spool.outlet(), spool.backlog("cloud"));
    backlog.link(true);
    let before = files(folder.path());
    let (begun, mut number) = (Instant::now(), 0);
    while number < 500 || begun.elapsed() < Duration::from_millis(200) {
        outlet.append(vec![Append {
            queue: QUEUE,
            message: message(number),
            receipt: None,
        }]);
        let Fetch::Ready(list) = backlog.fetch(QUEUE, backlog.low(QUEUE), 9, 9_999) else {
            panic!("nothing to fetch")
        };
        backlog.accept(QUEUE, list[0].seq, list[0].seq.next());
        number += 1;
    }
    assert_eq!(files(folder.path()), before);
    assert_eq!(
        (spool.account().commits, spool.account().queues[0].accepted),
        (0, number)
    );
    drop(spool);
}

#[tokio::test]
async fn the_store_thread_settles_what_lingers_while_the_link_is_down() {
    let folder = tempdir();
    let limits = Config {
        commit_every: Duration::from_millis(1),
        ..config(folder.path())
    };
    let spool = Spool::open(limits, metrics()).unwrap();
    let settled = Arc::new(Settled::default());
    let burst = Burst::new(Arc::clone(&settled), [1, 1]);
    let appended = (0..2).map(|index| Append {
        queue: QUEUE,
        message: message(7),
        receipt: Some(burst.receipt(index)),
    });
    spool.outlet().append(appended.collect());
    settled.changed().await;
    assert!(burst.all_settled());
    let account = spool.account();
    assert_eq!(
        (account.queues[0].in_ram, account.queues[0].on_disk),
        (0, 2)
    );
    spool.close().unwrap();
    spool.close().unwrap();
}

#[tokio::test]
async fn a_pressed_source_is_written_at_once_with_the_link_up() {
    let folder = tempdir();
    let spool = Spool::open(config(folder.path()), metrics()).unwrap();
    spool.backlog("cloud").link(true);
    let settled = Arc::new(Settled::default());
    settled.press(true);
    let burst = Burst::new(Arc::clone(&settled), [1]);
    spool.outlet().append(vec![Append {
        queue: QUEUE,
        message: message(7),
        receipt: Some(burst.receipt(0)),
    }]);
    settled.changed().await;
    assert!(burst.all_settled() && settled.faults() == 0);
}

#[tokio::test]
async fn an_append_rings_whoever_found_nothing() {
    let folder = tempdir();
    let bench = Bench::open(config(folder.path()));
    let ready = bench.backlog.ready();
    bench.append(1, None);
    assert!(matches!(
        bench.backlog.fetch(QUEUE, Seq(u64::MAX), 1, 1),
        Fetch::Empty
    ));
    bench.append(2, None);
    ready.notified().await;
}

#[test]
fn closing_writes_what_is_in_ram_and_dropping_does_not() {
    let folder = tempdir();
    for (close, left) in [(true, 1), (false, 1)] {
        let spool = Spool::open(config(folder.path()), metrics()).unwrap();
        spool.outlet().append(vec![Append {
            queue: QUEUE,
            message: message(3),
            receipt: None,
        }]);
        if close {
            spool.close().unwrap();
        }
        drop(spool);
        let spool = Spool::open(config(folder.path()), metrics()).unwrap();
        assert_eq!(spool.account().owed(), left);
    }
}

#[test]
fn dead_letters_survive_and_the_oldest_make_room() {
    let folder = tempdir();
    let mut bench = Bench::open(Config {
        dead_letters: 3,
        ..config(folder.path())
    });
    let burst = Burst::new(Arc::new(Settled::default()), [1]);
    bench
        .shared
        .park(vec![letter(1, Some(burst.receipt(0))), letter(2, None)]);
    assert!(!burst.all_settled());
    assert!(bench.commit() && burst.all_settled());
    bench
        .shared
        .park((3..6).map(|number| letter(number, None)).collect());
    assert!(bench.commit());
    assert_eq!(
        (
            bench.shared.account().dead_letters(),
            bench.shared.account().letters_evicted
        ),
        (3, 2)
    );
    let bench = bench.reopen();
    assert_eq!(bench.shared.account().dead_letters(), 3);
    let kept = bench.shared.dead_letters(10);
    assert_eq!(
        kept.iter()
            .map(|record| record.message.id.seq)
            .collect::<Vec<_>>(),
        [3, 4, 5]
    );
    let LetterRecord {
        id,
        message: found,
        flow,
        plugin,
        reason,
        detail,
        ..
    } = &kept[0];
    assert_eq!(
        (id.boot, &*found.topic, &**flow, *reason, &**detail),
        (1, &*message(3).topic, "climate", Reason::Rejected, "no 3")
    );
    assert_eq!(
        (plugin, &found.payload),
        (&letter(3, None).plugin, &message(3).payload)
    );
}

#[test]
fn more_letters_at_once_than_are_kept_leave_the_newest() {
    let folder = tempdir();
    let mut bench = Bench::open(Config {
        dead_letters: 3,
        ..config(folder.path())
    });
    bench
        .shared
        .park((0..8).map(|number| letter(number, None)).collect());
    assert!(bench.commit());
    let kept: Vec<u64> = bench
        .shared
        .dead_letters(10)
        .iter()
        .map(|record| record.message.id.seq)
        .collect();
    assert_eq!(
        (kept, bench.shared.account().letters_evicted),
        (vec![5, 6, 7], 5)
    );
}

#[test]
fn a_damaged_chunk_costs_its_own_messages_and_no_others() {
    let folder = tempdir();
    let mut bench = Bench::open(config(folder.path()));
    for number in 0..60 {
        bench.append(number, None);
    }
    assert!(bench.commit());
    let all = bench.owed(9);
    let store = bench.shared.store(Duration::ZERO).unwrap();
    let Near { first, end, .. } = store.chunk_near(0, all[30].seq.0).unwrap().unwrap();
    store.damage_chunk(0, first);
    drop(store);
    for _ in 0..2 {
        let left: Vec<u64> = bench.owed(9).iter().map(|stored| stored.seq.0).collect();
        let expected: Vec<u64> = all
            .iter()
            .map(|stored| stored.seq.0)
            .filter(|place| !(first..end).contains(place))
            .collect();
        assert_eq!(left, expected);
        assert_eq!(bench.queue().damaged, end - first);
    }
}

#[test]
fn a_chunk_that_the_index_forgot_is_found_in_its_file() {
    let folder = tempdir();
    let mut bench = Bench::open(config(folder.path()));
    for number in 0..60 {
        bench.append(number, None);
    }
    assert!(bench.commit());
    let place = bench.owed(9)[30].seq.0;
    let store = bench.shared.store(Duration::ZERO).unwrap();
    let Near { first, .. } = store.chunk_near(0, place).unwrap().unwrap();
    store.forget_chunk(0, first);
    drop(store);
    assert_eq!(
        (bench.numbers(), bench.queue().damaged),
        ((0..60).collect(), 0)
    );
}

#[test]
fn a_missing_chunk_is_seen_by_the_gap() {
    let folder = tempdir();
    let mut bench = Bench::open(config(folder.path()));
    for number in 0..60 {
        bench.append(number, None);
    }
    assert!(bench.commit());
    let all = bench.owed(9);
    let store = bench.shared.store(Duration::ZERO).unwrap();
    let Near { first, end, .. } = store.chunk_near(0, all[30].seq.0).unwrap().unwrap();
    store.damage_chunk(0, first);
    store.forget_chunk(0, first);
    drop(store);
    assert_eq!(bench.owed(9).len() as u64, 60 - (end - first));
    assert_eq!(
        bench.queue().on_disk,
        60,
        "it is owed until the ledger has it"
    );
    assert!(bench.commit());
    assert_eq!(
        (bench.queue().damaged, bench.queue().on_disk),
        (end - first, 60 - (end - first))
    );
}

#[test]
fn a_failed_commit_releases_nothing_and_is_repeated() {
    let folder = tempdir();
    let mut bench = Bench::open(config(folder.path()));
    let burst = Burst::new(Arc::new(Settled::default()), [1, 1]);
    bench.append(1, Some(burst.receipt(0)));
    bench.shared.park(vec![letter(2, Some(burst.receipt(1)))]);
    bench.script.fail_syncs(1);
    assert!(!bench.commit());
    assert!(!burst.is_settled(0) && !burst.is_settled(1) && !bench.shared.account().is_well());
    assert_eq!(bench.numbers(), [1]);
    bench.append(3, None);
    bench.writer.turn(bench.shared.clock.now());
    assert!(bench.commit() && burst.all_settled() && bench.shared.account().is_well());
    let bench = bench.reopen();
    assert_eq!(
        (bench.numbers(), bench.shared.account().dead_letters()),
        (vec![1, 3], 1)
    );
}

#[test]
fn while_the_store_cannot_write_ram_stays_bounded_and_what_has_a_receipt_stays() {
    let folder = tempdir();
    let bench = Bench::open(Config {
        head_bytes: 2_000,
        ..config(folder.path())
    });
    bench
        .shared
        .report_trouble(&StoreError::Damaged("told to".into()));
    let burst = Burst::new(Arc::new(Settled::default()), [1]);
    bench.append(0, Some(burst.receipt(0)));
    for number in 1..500 {
        bench.append(number, None);
    }
    let queue = bench.queue();
    assert!(queue.ram_bytes <= 8_000 + 300);
    assert_eq!(queue.dropped + queue.in_ram, 500);
    let left = bench.numbers();
    assert_eq!(
        (left[0], left[left.len() - 1], left.len() as u64),
        (0, 499, queue.in_ram)
    );
    assert_eq!(
        bench
            .shared
            .metrics
            .dropped
            .with_label_values(&["spool-full", "cloud", "telemetry"])
            .get(),
        queue.dropped
    );
}

#[test]
fn all_queues_and_letters_share_what_memory_allows_and_over_it_what_nobody_waits_for_is_given_up() {
    let folder = tempdir();
    let mut bench = Bench::open(Config {
        memory_bytes: 20_000,
        ..config(folder.path())
    });
    let settled = Arc::new(Settled::default());
    let mut bursts = Vec::new();
    let mut number = 0;
    while bench.shared.has_room() {
        let burst = Burst::new(Arc::clone(&settled), [1, 1]);
        bench.append(number, Some(burst.receipt(0)));
        bench
            .shared
            .park(vec![letter(number, Some(burst.receipt(1)))]);
        bursts.push(burst);
        number += 1;
    }
    let with_receipts = bench.queue().in_ram;
    assert!(with_receipts > 10 && bench.shared.account().ram_bytes >= 20_000);
    for more in 0..50 {
        bench.append(number + more, None);
    }
    assert_eq!(
        (bench.queue().in_ram, bench.queue().dropped),
        (with_receipts, 50),
        "what has a receipt stays"
    );
    let dropped = bench
        .shared
        .metrics
        .dropped
        .with_label_values(&["memory-full", "cloud", "telemetry"])
        .get();
    assert_eq!(dropped, 50);
    let entries = bench.shared.ledger();
    let told = entries
        .iter()
        .filter(|entry| entry.reason == crate::message::LossReason::MemoryFull);
    assert_eq!(told.map(|entry| entry.count).sum::<u64>(), 50);
    assert!(
        bench.commit() && bench.shared.has_room() && bursts.iter().all(|burst| burst.all_settled())
    );
    assert_eq!(bench.shared.account().ram_bytes, 0);
}

#[test]
fn a_refused_message_is_accepted_once_its_letter_is_safe() {
    let folder = tempdir();
    let mut bench = Bench::open(config(folder.path()));
    let burst = Burst::new(Arc::new(Settled::default()), [1, 1]);
    bench.append(1, Some(burst.receipt(0)));
    bench.append(2, Some(burst.receipt(1)));
    let stored = bench.owed(5);
    bench
        .backlog
        .refuse(QUEUE, stored[0].clone(), "0x97: quota exceeded".into());
    assert_eq!(
        (bench.numbers(), bench.backlog.low(QUEUE)),
        (vec![2], stored[0].seq)
    );
    assert!(!burst.is_settled(0));
    bench.writer.turn(bench.shared.clock.now());
    assert!(burst.is_settled(0) && !burst.is_settled(1));
    assert_eq!(bench.backlog.low(QUEUE), stored[1].seq);
    let record = bench.shared.dead_letters(5).remove(0);
    assert_eq!(
        (record.reason, &*record.detail, &*record.flow),
        (Reason::Refused, "0x97: quota exceeded", "climate")
    );
}

#[test]
fn a_folder_in_use_is_refused_by_name_and_holder() {
    let folder = tempdir();
    let _bench = Bench::open(config(folder.path()));
    let error = Spool::open(config(folder.path()), metrics()).err().unwrap();
    let expected = format!(
        "the data folder `{}` is in use by process {}",
        folder.path().display(),
        std::process::id()
    );
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_store_of_another_version_is_refused_and_left_alone() {
    let folder = tempdir();
    Bench::open(config(folder.path())).kill();
    for other in [1, 5] {
        set_format(&folder.path().join("store"), other);
        let error = Spool::open(config(folder.path()), metrics()).err().unwrap();
        assert!(
            matches!(error, Error::Format { known: 4, found, .. } if found == other),
            "{error}"
        );
    }
    set_format(&folder.path().join("store"), 2);
    assert_eq!(Bench::open(config(folder.path())).shared.boot, 2);
}

#[test]
fn a_store_that_does_not_open_is_moved_aside_and_what_is_owed_is_found_again() {
    let folder = tempdir();
    let mut bench = Bench::open(config(folder.path()));
    for number in 0..50 {
        bench.append(number, None);
    }
    assert!(bench.commit());
    bench.kill();
    fs::write(folder.path().join("store/conf"), [b'x'; 64]).unwrap();
    let mut bench = Bench::open(config(folder.path()));
    let aside = bench.shared.account().damaged_store.unwrap();
    assert!(
        aside.join("db").exists()
            && aside
                .file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with("store.damaged-")
    );
    assert_eq!((bench.shared.boot, bench.shared.account().owed()), (2, 50));
    bench.append(50, None);
    assert!(bench.commit());
    assert_eq!(bench.reopen().numbers(), (0..51).collect::<Vec<_>>());
}

#[test]
fn a_broken_snapshot_costs_nothing() {
    let folder = tempdir();
    let mut bench = Bench::open(config(folder.path()));
    bench.append(1, None);
    assert!(bench.commit());
    bench.kill();
    fs::write(
        folder.path().join("store/snap.FFFFFFFFFFFFFFFF.generating"),
        b"",
    )
    .unwrap();
    let bench = Bench::open(config(folder.path()));
    assert_eq!(bench.numbers(), [1]);
    bench.kill();
    fs::write(
        folder.path().join("store/snap.FFFFFFFFFFFFFFFF"),
        b"torn snapshot bytes",
    )
    .unwrap();
    let bench = Bench::open(config(folder.path()));
    assert_eq!(
        (bench.numbers(), bench.shared.account().damaged_store),
        (vec![1], None)
    );
}

#[test]
fn a_queue_that_left_the_config_is_kept_and_named() {
    let folder = tempdir();
    let mut bench = Bench::open(config(folder.path()));
    bench.append(1, None);
    bench.append(2, None);
    assert!(bench.commit());
    bench.kill();
    let mut other = config(folder.path());
    other.queues.remove(0);
    let bench = Bench::open(other);
    assert_eq!(
        bench.shared.account().strangers,
        [("cloud:telemetry".to_owned(), 2)]
    );
    bench.kill();
    assert_eq!(Bench::open(config(folder.path())).numbers(), [1, 2]);
}

#[test]
fn a_message_larger_than_a_chunk_gets_one_of_its_own() {
    let folder = tempdir();
    let mut bench = Bench::open(config(folder.path()));
    let large = Message {
        payload: Bytes::from(vec![7; 700_000]),
        ..message(1)
    };
    bench.shared.append(vec![Append {
        queue: QUEUE,
        message: large.clone(),
        receipt: None,
    }]);
    bench.append(2, None);
    assert!(bench.commit());
    let bench = bench.reopen();
    let found = bench.owed(5);
    assert_eq!((found.len(), &found[0].message), (2, &large));
}

#[test]
fn the_gauges_show_the_account() {
    let folder = tempdir();
    let registry = prometheus::Registry::new();
    let (shared, mut writer) =
        Shared::open(config(folder.path()), Metrics::new(&registry).unwrap()).unwrap();
    shared.append(
        (0..9)
            .map(|number| Append {
                queue: QUEUE,
                message: message(number),
                receipt: None,
            })
            .collect(),
    );
    assert!(writer.commit(Demand::All));
    let text = prometheus::TextEncoder::new()
        .encode_to_string(&registry.gather())
        .unwrap();
    for line in [
        "tidegate_spool_messages{class=\"telemetry\",uplink=\"cloud\"} 9",
        "tidegate_spool_disk_messages{class=\"telemetry\",uplink=\"cloud\"} 9",
        "tidegate_spool_messages{class=\"alarm\",uplink=\"cloud\"} 0",
        "tidegate_spool_capacity_bytes{class=\"alarm\",uplink=\"cloud\"} 1048576",
        "tidegate_spool_appended_total{class=\"telemetry\",uplink=\"cloud\"} 9",
        "tidegate_spool_commits_total 1",
        "tidegate_spool_payload_bytes_total 36",
        "tidegate_store_trouble_info{reason=\"disk-full\"} 0",
        "tidegate_card_bytes_per_payload_byte ",
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
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

#[test]
fn plugins_state_survives_a_kill_once_it_is_committed_and_what_is_gone_is_gone() {
    let folder = tempdir();
    let mut bench = Bench::open(config(folder.path()));
    remember(&bench, "count", &[("d1", Some("1")), ("d2", Some("1"))]);
    remember(&bench, "other", &[("d1", Some("9"))]);
    assert!(bench.commit());
    remember(
        &bench,
        "count",
        &[("d1", Some("2")), ("d2", None), ("d3", None)],
    );
    assert!(bench.commit());
    remember(&bench, "count", &[("d1", Some("3"))]);
    let bench = bench.reopen();
    assert_eq!(remembered(&bench, "count"), pairs(&[("d1", "2")]));
    assert_eq!(remembered(&bench, "other"), pairs(&[("d1", "9")]));
    let states = bench.shared.read_store(Store::states).unwrap();
    let states: Vec<_> = states
        .iter()
        .map(|state| (state.plugin.as_str(), state.keys))
        .collect();
    assert_eq!(states, [("count", 1), ("other", 1)]);
}

#[test]
fn state_that_is_on_disk_already_is_not_written_again() {
    let folder = tempdir();
    let mut bench = Bench::open(config(folder.path()));
    remember(&bench, "count", &[("d1", Some("1")), ("d2", Some("1"))]);
    assert!(bench.commit());
    let (written, commits) = (
        bench.shared.metrics.state_written.get(),
        bench.shared.metrics.commits.get(),
    );
    remember(
        &bench,
        "count",
        &[("d1", Some("1")), ("d2", Some("1")), ("d3", None)],
    );
    assert!(bench.commit());
    assert_eq!(
        (
            bench.shared.metrics.state_written.get(),
            bench.shared.metrics.commits.get()
        ),
        (written, commits)
    );
    assert_eq!(
        (
            bench.shared.metrics.checkpoints.get(),
            bench.shared.metrics.written.get()
        ),
        (1, 0)
    );
}

#[test]
fn state_whose_commit_failed_is_written_with_the_next() {
    let folder = tempdir();
    let mut bench = Bench::open(config(folder.path()));
    bench.script.fail_syncs(1);
    remember(&bench, "count", &[("d1", Some("1")), ("d2", Some("1"))]);
    assert!(!bench.commit());
    remember(&bench, "count", &[("d1", Some("2"))]);
    bench.writer.turn(u64::MAX);
    assert_eq!(
        remembered(&bench.reopen(), "count"),
        pairs(&[("d1", "2"), ("d2", "1")])
    );
}

#[test]
fn state_that_is_set_aside_is_out_of_the_way_and_not_deleted() {
    let folder = tempdir();
    let mut bench = Bench::open(config(folder.path()));
    remember(&bench, "count", &[("d1", Some("1"))]);
    remember(&bench, "other", &[("d1", Some("9"))]);
    assert!(bench.commit());
    bench.shared.set_aside("climate", "count");
    assert_eq!(
        (remembered(&bench, "count"), remembered(&bench, "other")),
        (Vec::new(), pairs(&[("d1", "9")]))
    );
    remember(&bench, "count", &[("d5", Some("5"))]);
    assert!(bench.commit());
    assert_eq!(remembered(&bench.reopen(), "count"), pairs(&[("d5", "5")]));
}
