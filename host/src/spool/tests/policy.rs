//! What a class gives up against what the ledger says of it: every message is delivered, owed, or counted.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use super::*;
use crate::message::Burst;
use crate::message::Settled;
use crate::spool::drop_policy::{DropPolicy, Policy};
use crate::spool::lock::locked;
use crate::spool::settings::Config;

#[derive(Clone, Debug)]
enum Move {
    Append(u64),
    Commit,
    FailedCommit,
    Turn,
    Link(LinkTurn),
    Fetch(usize),
    Accept(usize),
    Expire(usize),
    Refuse(usize),
    /// So much of a reserve of 8 KB seems to be free.
    Space(u64),
    /// Another policy holds from now on.
    Policy(Policy),
    Kill,
}

fn any_move() -> impl Strategy<Value = Move> {
    prop_oneof![
        6 => (1_u64..40).prop_map(Move::Append),
        4 => Just(Move::Commit),
        1 => Just(Move::FailedCommit),
        2 => Just(Move::Turn),
        1 => prop_oneof![Just(LinkTurn::Up), Just(LinkTurn::Down)].prop_map(Move::Link),
        3 => (1_usize..30).prop_map(Move::Fetch),
        3 => (1_usize..30).prop_map(Move::Accept),
        1 => (1_usize..30).prop_map(Move::Expire),
        1 => (1_usize..30).prop_map(Move::Refuse),
        1 => prop_oneof![0_u64..12_000, Just(1 << 30)].prop_map(Move::Space),
        1 => policies().prop_map(Move::Policy),
        1 => Just(Move::Kill),
    ]
}

/// A gateway's view: what it appended, what upstream has, and what a kill took from RAM (the broker sends that again).
struct World {
    bench: Option<Bench>,
    bursts: Vec<Arc<Burst>>,
    delivered: BTreeSet<u64>,
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
            Move::Append(count) => self.append(count),
            Move::Commit => assert!(self.bench().commit()),
            Move::FailedCommit => self.fail_a_commit(),
            Move::Turn => {
                let later = self.bench().shared.clock.now().plus_us(5_000_000);
                self.bench().shared.write_low_marks().unwrap();
                self.bench().writer.turn(later);
            }
            Move::Link(state) => self.turn(state),
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
            Move::Policy(policy) => self.bench().shared.slots[0].set_policy(policy),
            Move::Kill => self.kill(),
        }
        self.check();
    }

    fn append(&mut self, count: u64) {
        for _ in 0..count {
            let burst = Burst::new(Arc::new(Settled::default()), [1]);
            let number = self.bursts.len() as u64;
            self.bench().append(number, Some(burst.receipt(0)));
            self.bursts.push(burst);
        }
    }

    fn fail_a_commit(&mut self) {
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

    fn turn(&mut self, state: LinkTurn) {
        self.is_up = state == LinkTurn::Up;
        self.bench().link.turn(state);
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
