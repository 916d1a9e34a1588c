//! A disk that is nearly full: who makes room, when, and who does not.

use super::*;
use crate::message::Burst;
use crate::message::Settled;
use crate::message::{LossReason, Wait};
use crate::spool::disk::fault_injection::script::Script;
use crate::spool::drop_policy::DropPolicy;
use crate::spool::settings::Config;
use crate::spool::space::Space;
use crate::spool::space::condition::StoreCondition;

const RESERVE: u64 = 8_000;
const ALARM: QueueId = QueueId(1);

/// So much seems to be free beside the reserve file of a quarter of the reserve.
fn believe(script: &Script, free: u64) {
    script.believe(Some(Space {
        free: free.saturating_sub(RESERVE / 4),
        total: 1 << 40,
        read_only: false,
    }));
}

/// So many messages on a disk that has so much room from then on.
fn nearly_full(folder: &Path, drop: DropPolicy, count: u64, free: u64) -> Bench {
    let policy = limited(1 << 30, drop);
    let mut config = Config {
        reserve_bytes: RESERVE,
        head_bytes: 2_000,
        ..config(folder)
    };
    config
        .queues
        .iter_mut()
        .for_each(|queue| queue.policy = policy);
    let mut bench = filled_with(config, count);
    believe(&bench.script, free);
    bench.turn();
    bench
}

fn pressed(numbers: std::ops::Range<u64>) -> Arc<Burst> {
    let settled = Arc::new(Settled::default());
    settled.press(true);
    Burst::new(settled, numbers.map(|_| 1))
}

fn append_pressed(bench: &Bench, queue: QueueId, numbers: std::ops::Range<u64>) -> Arc<Burst> {
    let burst = pressed(numbers.clone());
    for (index, number) in (0..).zip(numbers) {
        bench.shared.append(vec![Append {
            queue,
            message: message(number),
            receipt: Some(burst.receipt(index)),
        }]);
    }
    burst
}

#[test]
fn the_oldest_make_room_once_ram_is_full_and_not_before() {
    let folder = tempdir();
    let mut bench = nearly_full(
        folder.path(),
        DropPolicy::Oldest,
        600,
        RESERVE / 4 * 3 - 500,
    );
    let held = bench.append_with_receipts(600..605);
    bench.turn();
    // A broker may wait for these, or nobody.
    bench.shared.hurry(Wait::Likely);
    bench.turn();
    assert_eq!(
        (
            bench.queue().on_disk,
            given_up(&bench, LossReason::QuotaOldest)
        ),
        (600, 0)
    );
    assert!(!held.is_settled(0));
    let more = append_pressed(&bench, QUEUE, 605..620);
    bench.turn();
    let gone = given_up(&bench, LossReason::QuotaOldest);
    assert!((20..100).contains(&gone), "{gone}");
    assert!(held.all_settled() && more.all_settled() && bench.queue().in_ram == 0);
    assert_eq!(bench.shared.account().condition, StoreCondition::DiskFull);
    bench.script.believe(None);
    let bench = bench.reopen();
    assert_eq!(
        (bench.numbers(), given_up(&bench, LossReason::QuotaOldest)),
        ((gone..620).collect(), gone)
    );
}

#[test]
fn a_full_head_costs_nothing_while_memory_has_room() {
    for policy in [DropPolicy::Oldest, DropPolicy::Newest] {
        let folder = tempdir();
        let free = RESERVE / 4 * 3 - 500;
        let mut bench = nearly_full(folder.path(), policy, 600, free);
        // Much more than a head.
        let held = bench.append_with_receipts(600..700);
        bench.turn();
        bench.turn();
        assert!(bench.queue().ram_bytes > 4_000);
        let gone = [LossReason::QuotaOldest, LossReason::QuotaNewest];
        assert_eq!(gone.map(|reason| given_up(&bench, reason)), [0, 0]);
        assert_eq!((bench.queue().on_disk, held.is_settled(0)), (600, false));
    }
}

#[test]
fn with_nothing_free_room_is_made_first_and_what_waits_is_written_once_it_is_there() {
    let folder = tempdir();
    let mut bench = nearly_full(folder.path(), DropPolicy::Oldest, 600, RESERVE / 2);
    let (before, burst) = (
        bench.queue().disk_bytes,
        append_pressed(&bench, QUEUE, 600..605),
    );
    assert!(before > RESERVE / 4, "{before}");
    bench.turn();
    assert!(!burst.is_settled(0));
    let freed = before - bench.queue().disk_bytes;
    assert!((RESERVE / 4..RESERVE / 2).contains(&freed), "{freed}");
    believe(&bench.script, RESERVE / 2 + freed);
    bench.turn();
    assert!(burst.all_settled());
}

#[test]
fn where_all_that_may_go_is_not_enough_nothing_goes() {
    let folder = tempdir();
    let mut bench = nearly_full(folder.path(), DropPolicy::Oldest, 100, 0);
    let held = bench.queue().disk_bytes;
    assert!(held < RESERVE / 4 * 3, "{held}");
    let burst = append_pressed(&bench, QUEUE, 100..105);
    bench.turn();
    assert!(bench.commit() && !burst.is_settled(0));
    assert_eq!(
        (
            bench.queue().on_disk,
            given_up(&bench, LossReason::QuotaOldest)
        ),
        (100, 0)
    );
}

#[test]
fn a_class_that_takes_nothing_more_gives_up_what_comes() {
    let folder = tempdir();
    let mut bench = nearly_full(folder.path(), DropPolicy::Newest, 600, RESERVE - 1);
    let burst = append_pressed(&bench, QUEUE, 600..620);
    bench.turn();
    assert!(burst.all_settled());
    assert_eq!(
        (
            bench.queue().on_disk,
            given_up(&bench, LossReason::QuotaNewest)
        ),
        (600, 20)
    );
    bench.script.believe(None);
    assert_eq!(bench.reopen().numbers(), (0..600).collect::<Vec<_>>());
}

#[test]
fn the_class_that_holds_most_makes_room_for_an_alarm_and_a_letter() {
    let folder = tempdir();
    let mut bench = nearly_full(
        folder.path(),
        DropPolicy::KeepLastPerTopic,
        600,
        RESERVE / 4 * 3 - 100,
    );
    let (alarm, parked) = (
        append_pressed(&bench, ALARM, 0..1),
        Burst::new(Arc::new(Settled::default()), [1]),
    );
    bench.shared.park(vec![letter(1, Some(parked.receipt(0)))]);
    bench.turn();
    assert!(alarm.all_settled() && parked.all_settled());
    assert_eq!(bench.shared.account().queues[1].on_disk, 1);
    assert_eq!(bench.shared.account().condition, StoreCondition::DiskFull);
}

#[test]
fn what_was_pressed_and_did_not_fit_is_still_pressed() {
    let folder = tempdir();
    // Room for a chunk or two at a time.
    let mut bench = nearly_full(folder.path(), DropPolicy::Oldest, 600, RESERVE / 2 + 400);
    let burst = append_pressed(&bench, QUEUE, 600..700);
    for _ in 0..100 {
        if burst.all_settled() {
            break;
        }
        bench.turn();
    }
    assert!(burst.all_settled() && bench.queue().in_ram == 0);
}
