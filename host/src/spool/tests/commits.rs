//! A message is safe once its receipt is released, and not before; what is not due is not written.

use super::*;
use crate::message::Burst;
use crate::message::Settled;
use std::time::Instant;

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
    let (outlet, owed) = (spool.outlet(), spool.owed("cloud"));
    owed.link.turn(LinkTurn::Up);
    let before = files(folder.path());
    let (begun, mut number) = (Instant::now(), 0);
    while number < 500 || begun.elapsed() < Duration::from_millis(200) {
        outlet.append(vec![Append {
            queue: QUEUE,
            message: message(number),
            receipt: None,
        }]);
        let Fetch::Ready(list) = owed.backlog.fetch(QUEUE, owed.backlog.low(QUEUE), 9, 9_999)
        else {
            panic!("nothing to fetch")
        };
        owed.backlog.accept(QUEUE, list[0].seq, list[0].seq.next());
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
    spool.owed("cloud").link.turn(LinkTurn::Up);
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
    let ready = bench.link.ready();
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
