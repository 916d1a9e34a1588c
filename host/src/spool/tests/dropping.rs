//! What of a class goes when there is no more room for it, and what stays.

use super::*;
use crate::message::Burst;
use crate::message::LossReason;
use crate::message::Settled;
use std::sync::atomic::Ordering;

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
    let now = bench.shared.clock.now().plus_us(5_000_000);
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
    bench.link.turn(LinkTurn::Up);
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
