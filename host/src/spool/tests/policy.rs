//! What a class gives up against what the ledger says of it: every message is delivered, owed, or counted.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use super::*;
use crate::message::LossReason;

use crate::spool::lock::locked;
use crate::spool::settings::{Config, DropPolicy, Policy};

fn with(path: &Path, policy: Policy) -> Config {
    let mut config = config(path);
    config.queues[0].policy = policy;
    config
}

pub(super) fn limited(max_bytes: u64, drop: DropPolicy) -> Policy {
    Policy {
        max_bytes,
        max_age: None,
        drop,
    }
}

#[derive(Clone, Debug)]
enum Move {
    Append(u64),
    Commit,
    FailedCommit,
    Turn,
    Link(bool),
    Fetch(usize),
    Accept(usize),
    Expire(usize),
    Refuse(usize),
    /// So much of a reserve of 8 KB seems to be free.
    Space(u64),
    Kill,
}

fn any_move() -> impl Strategy<Value = Move> {
    prop_oneof![
        6 => (1_u64..40).prop_map(Move::Append),
        4 => Just(Move::Commit),
        1 => Just(Move::FailedCommit),
        2 => Just(Move::Turn),
        1 => any::<bool>().prop_map(Move::Link),
        3 => (1_usize..30).prop_map(Move::Fetch),
        3 => (1_usize..30).prop_map(Move::Accept),
        1 => (1_usize..30).prop_map(Move::Expire),
        1 => (1_usize..30).prop_map(Move::Refuse),
        1 => prop_oneof![0_u64..12_000, Just(1 << 30)].prop_map(Move::Space),
        1 => Just(Move::Kill),
    ]
}

/// A gateway's view: what it appended, what upstream has, and what a kill took from RAM (the broker sends that again).
struct World {
    bench: Option<Bench>,
    bursts: Vec<Arc<Burst>>,
    delivered: BTreeSet<u64>,
    /// Dead letters.
    parked: BTreeSet<u64>,
    crashed: BTreeSet<u64>,
    /// Their own time was over.
    expired: BTreeSet<u64>,
    /// Counted as such, and found again after a kill.
    again: Vec<u64>,
    in_hand: Vec<Stored>,
    cursor: Seq,
    is_up: bool,
    _folder: tempfile::TempDir,
}

impl World {
    fn new(policy: Policy) -> Self {
        let folder = tempdir();
        let config = Config {
            reserve_bytes: 8_000,
            head_bytes: 3_000,
            ..with(folder.path(), policy)
        };
        let bench = Some(Bench::open(config));
        Self {
            bench,
            bursts: Vec::new(),
            delivered: BTreeSet::new(),
            parked: BTreeSet::new(),
            crashed: BTreeSet::new(),
            expired: BTreeSet::new(),
            again: Vec::new(),
            in_hand: Vec::new(),
            cursor: Seq(0),
            is_up: false,
            _folder: folder,
        }
    }

    fn bench(&mut self) -> &mut Bench {
        self.bench.as_mut().unwrap()
    }

    fn run(&mut self, step: &Move) {
        match *step {
            Move::Append(count) => {
                for _ in 0..count {
                    let burst = Burst::new(Arc::new(Settled::default()), [1]);
                    let number = self.bursts.len() as u64;
                    self.bench().append(number, Some(burst.receipt(0)));
                    self.bursts.push(burst);
                }
            }
            Move::Commit => assert!(self.bench().commit()),
            Move::FailedCommit => {
                let (shared, script) = (
                    Arc::clone(&self.bench().shared),
                    Arc::clone(&self.bench().script),
                );
                script.fail_syncs(1);
                if !self.bench().commit() {
                    // No store opens on a disk as full as some are here.
                    let space = script.believe(None);
                    self.bench().writer.turn(shared.clock.now());
                    assert!(shared.account().is_well());
                    script.believe(space);
                }
                script.fail_syncs(0);
            }
            Move::Turn => {
                let later = self.bench().shared.clock.now() + 5_000_000;
                self.bench().shared.write_low_marks().unwrap();
                self.bench().writer.turn(later);
            }
            Move::Link(up) => self.link(up),
            Move::Fetch(count) => self.fetch(count),
            Move::Accept(count) => {
                let count = count.min(self.in_hand.len());
                for stored in self.in_hand.drain(..count).collect::<Vec<_>>() {
                    self.bench()
                        .backlog
                        .accept(QUEUE, stored.seq, stored.seq.next());
                    self.delivered.insert(stored.message.id.seq);
                }
            }
            Move::Expire(count) => {
                let count = count.min(self.in_hand.len());
                let over: Vec<Stored> = self.in_hand.drain(..count).collect();
                self.bench().backlog.expire(QUEUE, &over);
                self.expired
                    .extend(over.iter().map(|stored| stored.message.id.seq));
            }
            Move::Refuse(count) => {
                let count = count.min(self.in_hand.len());
                for stored in self.in_hand.drain(..count).collect::<Vec<_>>() {
                    self.parked.insert(stored.message.id.seq);
                    self.bench().backlog.refuse(QUEUE, stored, "no".into());
                }
            }
            Move::Space(free) => {
                let space = crate::spool::space::Space {
                    free,
                    total: 1 << 40,
                    read_only: false,
                };
                self.bench().script.believe(Some(space));
                self.bench().turn();
            }
            Move::Kill => self.kill(),
        }
        self.check();
    }

    fn link(&mut self, up: bool) {
        self.is_up = up;
        self.bench().backlog.link(up);
        self.in_hand.clear();
        self.cursor = self.bench().backlog.low(QUEUE);
    }

    fn fetch(&mut self, count: usize) {
        if !self.is_up {
            return;
        }
        let cursor = self.cursor;
        let found = match self.bench().backlog.fetch(QUEUE, cursor, count, 4_000) {
            Fetch::Ready(list) => list,
            Fetch::Spilled => self.bench().backlog.read(QUEUE, cursor),
            Fetch::Empty => Vec::new(),
        };
        if let Some(last) = found.last() {
            self.cursor = last.seq.next();
        }
        self.in_hand.extend(found);
    }

    fn kill(&mut self) {
        // What waits for the ledger is written, so that all of it counts.
        self.bench().script.believe(None);
        self.run(&Move::Turn);
        let safe: BTreeSet<u64> = (0..)
            .zip(&self.bursts)
            .filter(|(_, burst)| burst.is_settled(0))
            .map(|(number, _)| number)
            .collect();
        self.crashed
            .extend((0..self.bursts.len() as u64).filter(|number| !safe.contains(number)));
        self.in_hand.clear();
        (self.is_up, self.cursor) = (false, Seq(0));
        let bench = self.bench.take().unwrap();
        self.bench = Some(bench.reopen());
        // What expired ahead of `low` is owed again, though counted.
        let owed = self.owed();
        self.again
            .extend(self.expired.extract_if(.., |number| owed.contains(number)));
        // So is what has come to its end ahead of it otherwise: it is sent again, or given up then.
        self.parked.retain(|number| !owed.contains(number));
        self.delivered.retain(|number| !owed.contains(number));
    }

    fn owed(&mut self) -> BTreeSet<u64> {
        let up = self.is_up;
        let link = Arc::clone(&self.bench().shared.links[0]);
        link.up.store(false, Ordering::Relaxed);
        let numbers = self.bench().numbers();
        link.up.store(up, Ordering::Relaxed);
        assert!(
            numbers.is_sorted_by(|one, next| one < next),
            "in order, each once: {numbers:?}"
        );
        numbers.into_iter().collect()
    }

    fn check(&mut self) {
        let owed = self.owed();
        let mut missing: BTreeMap<String, u64> = BTreeMap::new();
        for (number, burst) in (0..).zip(&self.bursts) {
            let lists = [&self.delivered, &self.parked, &owed, &self.crashed];
            let known = lists.iter().any(|list| list.contains(&number));
            if !known {
                let is_barred = self.expired.contains(&number);
                assert!(
                    is_barred || burst.is_settled(0),
                    "{number} is nowhere, and its receipt waits"
                );
                *missing
                    .entry(message(number).topic_str().to_owned())
                    .or_default() += 1;
            }
        }
        for number in &self.again {
            *missing
                .entry(message(*number).topic_str().to_owned())
                .or_default() += 1;
        }
        let mut counted: BTreeMap<String, u64> = BTreeMap::new();
        let (ledger_store, pending) = (
            locked(&self.bench.as_ref().unwrap().shared.ledger_store),
            locked(&self.bench.as_ref().unwrap().shared.pending),
        );
        for entry in ledger_store.entries().chain(pending.entries()) {
            *counted
                .entry(entry.topic.as_deref().unwrap_or("?").to_owned())
                .or_default() += entry.count;
        }
        assert_eq!(missing, counted);
    }
}

fn policies() -> impl Strategy<Value = Policy> {
    let givings = prop_oneof![
        Just(DropPolicy::Oldest),
        Just(DropPolicy::Newest),
        Just(DropPolicy::KeepLastPerTopic)
    ];
    (
        prop_oneof![Just(1_000_u64), Just(3_000), Just(1 << 40)],
        givings,
        prop_oneof![4 => Just(None), 1 => Just(Some(Duration::from_micros(1)))],
    )
        .prop_map(|(max_bytes, drop, max_age)| Policy {
            max_bytes,
            max_age,
            drop,
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]
    #[test]
    fn every_message_is_delivered_owed_or_counted(policy in policies(), steps in proptest::collection::vec(any_move(), 1..40)) {
        let mut world = World::new(policy);
        for step in &steps {
            world.run(step);
        }
        world.run(&Move::Kill);
    }
}

#[test]
fn what_two_failed_commits_have_refused_is_counted_once() {
    // The first makes the hole at the end longer than the queue is.
    let mut world = World::new(limited(1_000, DropPolicy::Newest));
    for step in [
        Move::Append(16),
        Move::Kill,
        Move::Append(1),
        Move::Commit,
        Move::Append(1),
        Move::FailedCommit,
        Move::Append(1),
        Move::FailedCommit,
        Move::Append(1),
        Move::Kill,
    ] {
        world.run(&step);
    }
}

fn filled(path: &Path, policy: Policy, count: u64) -> Bench {
    filled_with(with(path, policy), count)
}

pub(super) fn filled_with(config: Config, count: u64) -> Bench {
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

pub(super) fn given_up(bench: &Bench, reason: LossReason) -> u64 {
    bench
        .shared
        .account()
        .given_up
        .iter()
        .find(|loss| loss.reason == reason)
        .unwrap()
        .messages
}

#[test]
fn the_oldest_make_room_for_the_newest() {
    let folder = tempdir();
    let bench = filled(folder.path(), limited(4_000, DropPolicy::Oldest), 600);
    let left = bench.numbers();
    assert!(bench.queue().disk_bytes <= 4_000 && left.len() > 20);
    assert_eq!(left, (600 - left.len() as u64..600).collect::<Vec<_>>());
    assert_eq!(given_up(&bench, LossReason::QuotaOldest), left[0]);
    let dropped = &bench.shared.metrics.dropped;
    assert_eq!(
        dropped
            .with_label_values(&["quota-oldest", "cloud", "telemetry"])
            .get(),
        left[0]
    );
    let bench = bench.reopen();
    assert_eq!(
        (bench.numbers(), given_up(&bench, LossReason::QuotaOldest)),
        (left.clone(), left[0])
    );
}

#[test]
fn what_comes_is_not_taken_any_more_and_ram_stays_free() {
    let folder = tempdir();
    let mut bench = filled(folder.path(), limited(4_000, DropPolicy::Newest), 600);
    let left = bench.numbers();
    assert_eq!(left, (0..left.len() as u64).collect::<Vec<_>>());
    assert_eq!(
        given_up(&bench, LossReason::QuotaNewest),
        600 - left.len() as u64
    );
    assert!(bench.queue().disk_bytes <= 4_000 && bench.queue().ram_bytes == 0);
    // With room again the next are taken, and the hole between costs nothing.
    let (first, last) = (bench.owed(9)[0].seq, bench.owed(9).last().unwrap().seq);
    bench.backlog.accept(QUEUE, first, last.next());
    bench.append(600, None);
    assert!(bench.commit());
    assert_eq!(bench.reopen().numbers(), [600]);
}

#[test]
fn only_the_last_message_of_a_topic_is_written() {
    let folder = tempdir();
    let mut bench = Bench::open(with(
        folder.path(),
        limited(1 << 30, DropPolicy::KeepLastPerTopic),
    ));
    let bursts: Vec<_> = (0..50)
        .map(|_| Burst::new(Arc::new(Settled::default()), [1]))
        .collect();
    for (number, burst) in (0..).zip(&bursts) {
        bench.append(number, Some(burst.receipt(0)));
    }
    assert!(bench.commit());
    assert_eq!(
        (bench.numbers(), given_up(&bench, LossReason::Superseded)),
        ((45..50).collect(), 45)
    );
    assert!(bursts.iter().all(|burst| burst.all_settled()));
    assert_eq!((bench.queue().on_disk, bench.queue().in_ram), (5, 0));
    assert_eq!(bench.reopen().numbers(), (45..50).collect::<Vec<_>>());
}

#[test]
fn a_full_disk_keeps_the_last_message_of_each_topic_also_of_those_that_fell_silent() {
    let folder = tempdir();
    let mut bench = Bench::open(with(
        folder.path(),
        limited(4_000, DropPolicy::KeepLastPerTopic),
    ));
    let quiet = |number: u64| Message {
        topic: Bytes::from(format!("quiet/{number}")),
        ..message(number)
    };
    for number in 0..5 {
        bench.shared.append(vec![Append {
            queue: QUEUE,
            message: quiet(number),
            receipt: None,
        }]);
    }
    for number in 5..900 {
        bench.append(number, None);
        if number % 7 == 0 {
            assert!(bench.commit());
        }
    }
    assert!(bench.commit() && bench.commit());
    let left = bench.numbers();
    assert!(
        left.starts_with(&[0, 1, 2, 3, 4]) && left.ends_with(&[895, 896, 897, 898, 899]),
        "{left:?}"
    );
    assert!(bench.queue().disk_bytes <= 4_000);
    assert_eq!(
        (
            given_up(&bench, LossReason::Superseded),
            given_up(&bench, LossReason::QuotaOldest)
        ),
        (900 - left.len() as u64, 0)
    );
    let bench = bench.reopen();
    assert_eq!((bench.numbers(), bench.queue().damaged), (left, 0));
}

#[test]
fn what_is_owed_for_too_long_expires_and_the_clock_is_the_running_one() {
    let folder = tempdir();
    let mut bench = filled(
        folder.path(),
        Policy {
            max_age: Some(Duration::from_micros(1)),
            ..limited(1 << 30, DropPolicy::Newest)
        },
        60,
    );
    let now = bench.shared.clock.now() + 5_000_000;
    bench.writer.turn(now);
    assert_eq!(
        (bench.numbers(), given_up(&bench, LossReason::Expired)),
        (vec![], 60)
    );
    let entries: Vec<_> = locked(&bench.shared.ledger_store)
        .entries()
        .cloned()
        .collect();
    assert_eq!(entries.len(), 5);
    let one = entries
        .iter()
        .find(|entry| entry.topic.as_deref() == Some("devices/d3/telemetry"))
        .unwrap();
    assert_eq!((one.count, one.first_us, one.last_us), (12, 3, 58));
    assert_eq!(
        (
            one.first_place.boot,
            one.first_place.sequence,
            one.last_place.sequence
        ),
        (1, 3, 58)
    );
}

#[test]
fn what_the_uplink_has_in_hand_is_not_given_up_and_what_goes_behind_it_leaves_a_hole() {
    let folder = tempdir();
    let mut bench = filled(folder.path(), limited(4_000, DropPolicy::Oldest), 40);
    bench.backlog.link(true);
    let in_hand = bench.backlog.read(QUEUE, bench.backlog.low(QUEUE));
    for number in 40..900 {
        bench.append(number, None);
        if number % 20 == 19 {
            assert!(bench.commit());
        }
    }
    bench.shared.links[0].up.store(false, Ordering::Relaxed);
    let left = bench.numbers();
    let kept: Vec<u64> = in_hand.iter().map(|stored| stored.message.id.seq).collect();
    assert_eq!(left[..kept.len()], kept);
    assert!(
        left[kept.len()] > 200 && bench.queue().disk_bytes <= 4_000,
        "{:?} {}",
        left,
        bench.queue().disk_bytes
    );
    assert_eq!(
        given_up(&bench, LossReason::QuotaOldest) + left.len() as u64,
        900
    );
    let mut bench = bench.reopen();
    assert_eq!((bench.numbers(), bench.queue().damaged), (left, 0));
    for stored in in_hand {
        bench.backlog.accept(QUEUE, stored.seq, stored.seq.next());
    }
    assert!(bench.commit() && bench.queue().damaged == 0);
}

#[test]
fn a_record_of_what_was_given_up_goes_upstream_once_the_link_is_there() {
    let folder = tempdir();
    let mut bench = Bench::open(Config {
        gap_topic: Some("tidegate/barn/gaps".into()),
        ..with(folder.path(), limited(4_000, DropPolicy::Oldest))
    });
    let alarm = QueueId(1);
    for number in 0..600 {
        bench.append(number, None);
        if number % 20 == 19 {
            assert!(bench.commit());
        }
    }
    let turn = |bench: &mut Bench| {
        let later = bench.shared.clock.now() + 1;
        bench.writer.turn(later);
    };
    turn(&mut bench);
    let record = |bench: &Bench| match bench.backlog.fetch(alarm, Seq(0), 9, 99_999) {
        Fetch::Ready(list) => list,
        _ => Vec::new(),
    };
    assert!(record(&bench).is_empty(), "the link is down");
    bench.backlog.link(true);
    turn(&mut bench);
    let list = record(&bench);
    assert_eq!(
        (list.len(), &*list[0].message.topic),
        (1, &b"tidegate/barn/gaps"[..])
    );
    let told: serde_json::Value = serde_json::from_slice(&list[0].message.payload).unwrap();
    let count: u64 = told
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["count"].as_u64().unwrap())
        .sum();
    assert_eq!(count, given_up(&bench, LossReason::QuotaOldest));
    // A kill before it is safe: told again. After it was accepted and noted: not.
    let mut bench = bench.reopen();
    bench.backlog.link(true);
    turn(&mut bench);
    let list = record(&bench);
    assert_eq!(list.len(), 1);
    bench.backlog.accept(alarm, list[0].seq, list[0].seq.next());
    assert!(bench.commit());
    let mut bench = bench.reopen();
    bench.backlog.link(true);
    turn(&mut bench);
    assert!(record(&bench).is_empty());
}

#[test]
fn what_has_expired_is_barred_at_once_and_settled_when_the_ledger_has_it() {
    let folder = tempdir();
    let burst = Burst::new(Arc::new(Settled::default()), [1, 1, 1, 1]);
    let mut bench = Bench::open(config(folder.path()));
    for (number, index) in [(0, 0), (1, 1), (2, 2)] {
        bench.append(number, Some(burst.receipt(index)));
    }
    let owed = bench.owed(9);
    bench.backlog.expire(QUEUE, &owed[..2]);
    bench.backlog.expire(QUEUE, &owed[..2]);
    assert_eq!(
        (bench.numbers(), given_up(&bench, LossReason::Expired)),
        (vec![2], 2)
    );
    assert!(!burst.is_settled(0) && !burst.is_settled(1));
    bench.script.fail_syncs(1);
    assert!(!bench.commit() && !burst.is_settled(0));
    bench.writer.turn(bench.shared.clock.now());
    assert!(bench.commit());
    assert!(burst.is_settled(0) && burst.is_settled(1));
    assert_eq!(
        (bench.numbers(), given_up(&bench, LossReason::Expired)),
        (vec![2], 2)
    );
    let mut bench = bench.reopen();
    let owed = bench.owed(9);
    assert_eq!((owed.len(), given_up(&bench, LossReason::Expired)), (1, 2));
    bench.backlog.expire(QUEUE, &owed);
    // The second commit tells how far the queue is settled.
    assert!(bench.commit() && bench.commit());
    let bench = bench.reopen();
    let entry = locked(&bench.shared.ledger_store)
        .entries()
        .map(|entry| entry.count)
        .sum::<u64>();
    assert_eq!(
        (
            bench.numbers(),
            entry,
            &*bench.shared.config.queues[0].class
        ),
        (Vec::<u64>::new(), 3, "telemetry")
    );
}

#[test]
fn what_has_come_to_its_end_is_not_superseded_as_well() {
    let folder = tempdir();
    let mut bench = Bench::open(with(
        folder.path(),
        limited(1 << 30, DropPolicy::KeepLastPerTopic),
    ));
    // Two messages of each topic.
    (0..10).for_each(|number| bench.append(number, None));
    let owed = bench.owed(9);
    bench.backlog.expire(QUEUE, &owed[..1]);
    bench.backlog.refuse(QUEUE, owed[1].clone(), "no".into());
    assert!(bench.commit() && bench.commit());
    let numbers =
        [LossReason::Expired, LossReason::Superseded].map(|reason| given_up(&bench, reason));
    assert_eq!(
        (
            numbers,
            bench.shared.account().dead_letters(),
            bench.numbers()
        ),
        ([1, 3], 1, (5..10).collect())
    );
}

#[test]
fn what_a_plugin_drops_is_settled_once_the_ledger_has_it_and_soon() {
    let folder = tempdir();
    let burst = Burst::new(Arc::new(Settled::default()), [1, 1]);
    let mut bench = Bench::open(Config {
        commit_every: Duration::from_millis(500),
        ..config(folder.path())
    });
    let loss = |receipt| crate::message::Loss {
        reason: LossReason::PluginFailed,
        topic: Bytes::from_static(b"devices/d7/t"),
        key: crate::message::Span { offset: 8, len: 2 },
        device: None,
        count: 1,
        received_us: 9,
        is_clock_set: true,
        receipt: Some(receipt),
    };
    let now_us = bench.shared.clock.now();
    bench
        .shared
        .lose(vec![loss(burst.receipt(0)), loss(burst.receipt(1))]);
    let due = bench
        .shared
        .pending_due(&locked(&bench.shared.pending))
        .unwrap();
    assert!(
        due >= now_us + 500_000 && due < now_us + 5_000_000,
        "a source waits: {due} at {now_us}"
    );
    bench.script.fail_syncs(1);
    assert!(!bench.commit() && !burst.is_settled(0) && !burst.is_settled(1));
    bench.writer.turn(bench.shared.clock.now());
    assert!(bench.commit());
    assert!(burst.is_settled(0) && burst.is_settled(1));
    let bench = bench.reopen();
    let entry = locked(&bench.shared.ledger_store)
        .entries()
        .next()
        .unwrap()
        .clone();
    assert_eq!(
        (entry.reason, entry.count, entry.device.as_deref()),
        (LossReason::PluginFailed, 2, Some("d7"))
    );
}

#[test]
fn what_is_lost_outside_a_commit_is_in_the_ledger_with_the_next() {
    let folder = tempdir();
    let mut bench = Bench::open(config(folder.path()));
    let loss = crate::message::Loss {
        reason: LossReason::Qos0Pressed,
        topic: Bytes::from_static(b"devices/d7/t"),
        key: crate::message::Span { offset: 8, len: 2 },
        device: None,
        count: 3,
        received_us: 9,
        is_clock_set: true,
        receipt: None,
    };
    bench.shared.lose(vec![loss.clone(), loss]);
    assert_eq!(given_up(&bench, LossReason::Qos0Pressed), 6);
    assert!(bench.commit());
    let bench = bench.reopen();
    let entry = locked(&bench.shared.ledger_store)
        .entries()
        .next()
        .unwrap()
        .clone();
    assert_eq!(
        (entry.count, entry.device.as_deref(), &*entry.uplink),
        (6, Some("d7"), "")
    );
}

#[test]
fn what_an_operator_gives_up_is_acknowledged_when_the_ledger_has_it_and_not_before() {
    let folder = tempdir();
    let mut bench = Bench::open(config(folder.path()));
    let burst = Burst::new(Arc::new(Settled::default()), [1, 1]);
    (0..7).for_each(|number| bench.append(number, None));
    assert!(bench.commit());
    bench.append(7, Some(burst.receipt(0)));
    bench.append(8, Some(burst.receipt(1)));
    let refused = bench.owed(9)[3].clone();
    bench.backlog.refuse(QUEUE, refused, "no".into());
    let (places, count) = bench.shared.give_up_by_hand(QUEUE);
    let settled = |bench: &Bench| {
        places
            .iter()
            .all(|places| locked(&bench.shared.slots[0].queue).has_settled(places))
    };
    assert_eq!((count, places.len(), bench.numbers()), (8, 2, vec![]));
    bench.script.fail_syncs(1);
    assert!(!bench.commit() && !burst.is_settled(0) && !settled(&bench));
    bench.writer.turn(bench.shared.clock.now());
    assert!(bench.commit() && burst.all_settled() && settled(&bench));
    let by_hand: u64 = bench
        .shared
        .ledger()
        .iter()
        .filter(|entry| entry.reason == LossReason::ByHand)
        .map(|entry| entry.count)
        .sum();
    assert_eq!(
        (
            by_hand,
            bench.shared.account().owed(),
            bench.shared.account().dead_letters()
        ),
        (8, 0, 1)
    );
    assert_eq!(bench.reopen().numbers(), [0; 0]);
}
