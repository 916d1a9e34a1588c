//! What is given up is in the ledger before it is settled, and upstream is told.

use super::*;
use crate::clock::WallTime;
use crate::message::Burst;
use crate::message::LossReason;
use crate::message::Settled;

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
        let later = bench.shared.clock.now().plus_us(1);
        bench.writer.turn(later);
    };
    turn(&mut bench);
    let record = |bench: &Bench| match bench.backlog.fetch(alarm, Seq(0), 9, 99_999) {
        Fetch::Ready(list) => list,
        _ => Vec::new(),
    };
    assert!(record(&bench).is_empty(), "the link is down");
    bench.link.turn(LinkTurn::Up);
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
    bench.link.turn(LinkTurn::Up);
    turn(&mut bench);
    let list = record(&bench);
    assert_eq!(list.len(), 1);
    bench.backlog.accept(alarm, list[0].seq, list[0].seq.next());
    assert!(bench.commit());
    let mut bench = bench.reopen();
    bench.link.turn(LinkTurn::Up);
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
        flow: None,
        count: 1,
        received: WallTime(9),
        is_clock_set: true,
        receipt: Some(receipt),
    };
    let now = bench.shared.clock.now();
    bench
        .shared
        .lose(vec![loss(burst.receipt(0)), loss(burst.receipt(1))]);
    let due = bench
        .shared
        .pending_due(&locked(&bench.shared.pending))
        .unwrap();
    assert!(
        due >= now.plus_us(500_000) && due < now.plus_us(5_000_000),
        "a source waits: {due:?} at {now:?}"
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
        flow: None,
        count: 3,
        received: WallTime(9),
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
