//! Queues that come while the spool is open.

use super::disk::{EIO, ENOSPC, EROFS};
use super::*;
use crate::message::{Burst, Settled};
use crate::spool::error::NotAdded;

const LATE: QueueId = QueueId(2);

fn late() -> QueueConfig {
    QueueConfig::new("annex", "telemetry".into(), Policy::default())
}

/// The queue is one of the start's.
fn with_late(path: &Path) -> Config {
    let mut config = config(path);
    config.queues.push(late());
    config
}

impl Bench {
    fn append_late(&self, numbers: std::ops::Range<u64>) -> Arc<Burst> {
        let burst = Burst::new(Arc::new(Settled::default()), numbers.clone().map(|_| 1));
        let append = |(index, number)| Append {
            queue: LATE,
            message: message(number),
            receipt: Some(burst.receipt(index)),
        };
        self.shared.append((0..).zip(numbers).map(append).collect());
        burst
    }

    fn late(&self) -> Vec<u64> {
        let owed = self.owed_in(LATE, 9);
        owed.iter().map(|stored| stored.message.id.seq).collect()
    }
}

#[test]
fn one_that_comes_is_one_like_those_of_the_start() {
    let folder = tempdir();
    let mut bench = Bench::open(config(folder.path()));
    bench.writer.add_queue(&late()).unwrap();
    bench.writer.add_queue(&late()).unwrap();
    let burst = bench.append_late(0..30);
    assert!(bench.commit() && burst.all_settled());
    bench.append_late(30..35);
    let OwedQueues { backlog, .. } = backlog::of(&bench.shared, "annex");
    let low = backlog.low(LATE);
    backlog.accept(LATE, low, Seq(low.0 + 3));
    let account = bench.shared.account();
    let queue = &account.queues[2];
    assert_eq!(account.queues.len(), 3);
    assert_eq!((&*queue.uplink, &*queue.class), ("annex", "telemetry"));
    assert_eq!(
        (queue.on_disk, queue.in_ram, queue.appended, queue.accepted),
        (27, 5, 35, 3)
    );
    assert_eq!(bench.late(), (3..35).collect::<Vec<_>>());
    bench.shared.write_low_marks().unwrap();
    // Killed: what was noted beside the store counts.
    bench.kill();
    let bench = Bench::open(with_late(folder.path()));
    assert_eq!(bench.late(), (3..30).collect::<Vec<_>>());
    assert_eq!(bench.shared.account().queues[2].on_disk, 27);
}

#[test]
fn one_that_the_config_had_forgotten_is_taken_up_in_order_and_is_forgotten_again() {
    let folder = tempdir();
    let mut bench = Bench::open(with_late(folder.path()));
    bench.append_late(0..40);
    assert!(bench.commit());
    bench.kill();
    let mut bench = Bench::open(config(folder.path()));
    let strangers = |bench: &Bench| bench.shared.account().strangers;
    assert_eq!(strangers(&bench), [("annex:telemetry".to_owned(), 40)]);
    bench.writer.add_queue(&late()).unwrap();
    assert_eq!(strangers(&bench), []);
    bench.append_late(40..50);
    assert_eq!(bench.late(), (0..50).collect::<Vec<_>>());
    assert!(bench.commit());
    bench.shared.slots[2].set_drained(false);
    assert_eq!(strangers(&bench), [("annex:telemetry".to_owned(), 50)]);
    assert_eq!(bench.shared.account().queues.len(), 2);
    let tools = Tools::new(&bench.shared);
    assert_eq!(
        tools
            .page("annex:telemetry", Seq(0), 9)
            .unwrap()
            .records
            .len(),
        9,
        "what it owes can be looked at, though no uplink has it"
    );
    drop(tools);
    bench.kill();
    let bench = Bench::open(config(folder.path()));
    assert_eq!(strangers(&bench), [("annex:telemetry".to_owned(), 50)]);
}

#[test]
fn while_the_store_has_failed_one_begins_without_it_and_takes_up_what_it_owes_later() {
    let folder = tempdir();
    let mut bench = Bench::open(with_late(folder.path()));
    bench.append_late(0..20);
    assert!(bench.commit());
    bench.kill();
    let mut bench = Bench::open(config(folder.path()));
    bench.append(99, None);
    bench.script.fail_syncs(1);
    assert!(!bench.commit());
    bench.writer.add_queue(&late()).unwrap();
    let burst = bench.append_late(20..25);
    assert_eq!(bench.late(), (20..25).collect::<Vec<_>>());
    bench.script.fail_syncs(0);
    bench.turn();
    assert!(bench.shared.account().is_well());
    assert_eq!(bench.late(), (0..25).collect::<Vec<_>>());
    assert!(bench.commit() && burst.all_settled());
    bench.kill();
    let bench = Bench::open(with_late(folder.path()));
    assert_eq!(bench.late(), (0..25).collect::<Vec<_>>());
    assert_eq!(bench.numbers(), [99]);
}

/// Each of the first calls to the disk fails in turn, from the moment on at which a queue comes that owes something.
#[test]
fn whichever_call_fails_while_one_comes_nothing_of_it_is_lost() {
    let mut late_calls = 0;
    for n in 1..=40 {
        let folder = tempdir();
        let mut bench = Bench::open(with_late(folder.path()));
        bench.append_late(0..20);
        assert!(bench.commit());
        bench.kill();
        let mut bench = Bench::open(config(folder.path()));
        let before = bench.script.calls();
        let errno = [EIO, ENOSPC, EROFS][usize::try_from(n % 3).unwrap()];
        bench.script.fail(before + n, errno);
        bench.writer.add_queue(&late()).unwrap();
        late_calls = late_calls.max(bench.script.calls() - before);
        let mut safe = Vec::new();
        for step in 1..=4 {
            let numbers = step * 20..step * 20 + 20;
            safe.push((numbers.clone(), bench.append_late(numbers)));
            if bench.shared.health.is_in_trouble() {
                bench.turn();
            } else {
                bench.commit();
            }
        }
        if n % 2 == 0 {
            bench.turn();
            assert!(bench.shared.account().is_well(), "call {n}");
            assert_eq!(bench.late(), (0..100).collect::<Vec<_>>(), "call {n}");
        }
        bench.kill();
        let bench = Bench::open(with_late(folder.path()));
        let found = bench.late();
        let acknowledged = safe.iter().filter(|(_, burst)| burst.all_settled());
        let mut wanted = (0..20).chain(acknowledged.flat_map(|(numbers, _)| numbers.clone()));
        assert!(
            wanted.all(|number| found.binary_search(&number).is_ok()),
            "call {n}: {found:?}"
        );
    }
    assert!(late_calls > 0, "no call of the addition has failed");
}

#[test]
fn what_was_given_up_of_one_that_came_is_told_to_its_upstream_also_after_it_was_forgotten() {
    let folder = tempdir();
    let told = |mut config: Config| {
        config.gap_topic = Some("gaps".into());
        config
    };
    let mut bench = Bench::open(told(config(folder.path())));
    bench.writer.add_queue(&late()).unwrap();
    bench.append_late(0..9);
    bench.shared.give_up_by_hand(LATE);
    assert!(bench.commit() && bench.commit());
    bench.kill();
    // Forgotten in between, and nothing is un-told by that.
    Bench::open(told(config(folder.path()))).kill();
    let mut bench = Bench::open(told(config(folder.path())));
    bench.writer.add_queue(&late()).unwrap();
    backlog::of(&bench.shared, "annex").link.turn(LinkTurn::Up);
    bench.turn();
    let owed = bench.owed_in(LATE, 9);
    let topics: Vec<_> = owed
        .iter()
        .map(|stored| stored.message.topic_str())
        .collect();
    assert_eq!(topics, ["gaps"]);
    assert!(String::from_utf8_lossy(&owed[0].message.payload).contains("\"count\":9"));
}

#[test]
fn one_of_a_later_start_is_left_alone() {
    let folder = tempdir();
    let mut bench = Bench::open(config(folder.path()));
    let config = QueueConfig {
        class: "later".into(),
        ..late()
    };
    bench.writer.add_queue(&config).unwrap();
    let store = bench.shared.store(Duration::ZERO).unwrap();
    let mark = crate::spool::disk::mark::QueueMark {
        low: Seq(9 << 40),
        end: Seq(9 << 40),
        ..Default::default()
    };
    let change = crate::spool::disk::store::QueueChange {
        chunks: Vec::new(),
        gone: &[],
        mark,
        given_up: None,
    };
    store.write_queue(2, change).unwrap();
    store.settle(true).unwrap();
    drop(store);
    let mut anew = self::config(folder.path());
    anew.path = folder.path().to_owned();
    bench.kill();
    let mut bench = Bench::open(anew);
    let refused = bench.writer.add_queue(&config);
    assert!(
        matches!(refused, Err(NotAdded::Overtaken { start: 9, .. })),
        "{refused:?}"
    );
    assert!(bench.shared.account().is_well() && bench.shared.slots.len() == 2);
    bench.append(1, None);
    assert!(bench.commit());
}

#[test]
fn whoever_asks_waits_for_the_writer_and_not_for_ever() {
    let folder = tempdir();
    let spool = Spool::open(config(folder.path()), metrics()).unwrap();
    spool.add_queues(vec![late()], &|| false).unwrap();
    let names: Vec<_> = spool.queues().iter().map(QueueConfig::name).collect();
    assert_eq!(names, ["cloud:telemetry", "cloud:alarm", "annex:telemetry"]);
    spool.close().unwrap();
    let bench = Bench::open(config(folder.path()));
    let refused = bench.shared.add_queues(vec![late()], &|| true);
    assert_eq!(refused, Err(NotAdded::Hangs));
    assert!(
        locked(&bench.shared.wishes).is_empty(),
        "it would come all the same"
    );
}

#[test]
fn fresh_data_goes_first_from_one_moment_to_the_next() {
    let folder = tempdir();
    let mut bench = Bench::open(config(folder.path()));
    bench.append(0, None);
    assert!(bench.commit());
    bench.append(1, None);
    locked(&bench.shared.slots[0].queue).set_fresh_first(true);
    assert!(
        matches!(bench.backlog.fetch_fresh(QUEUE, Seq(0), 9, 9_999), Fetch::Ready(list) if list.len() == 1)
    );
    assert_eq!(bench.numbers(), [0, 1]);
    locked(&bench.shared.slots[0].queue).set_fresh_first(false);
    assert_eq!(bench.numbers(), [0, 1]);
}
