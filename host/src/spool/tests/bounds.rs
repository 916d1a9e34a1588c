//! What waits in RAM stays bounded, whatever the disk does.

use super::*;
use crate::message::Burst;
use crate::message::Settled;
use crate::spool::disk::error::StoreError;

#[test]
fn while_the_store_cannot_write_ram_stays_bounded_and_what_has_a_receipt_stays() {
    let folder = tempdir();
    let bench = Bench::open(Config {
        head_bytes: 2_000,
        memory_bytes: 10_000,
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
fn while_the_store_cannot_write_nothing_is_given_up_that_memory_has_room_for() {
    let folder = tempdir();
    let bench = Bench::open(Config {
        head_bytes: 2_000,
        memory_bytes: 1 << 20,
        ..config(folder.path())
    });
    bench
        .shared
        .report_trouble(&StoreError::Damaged("told to".into()));
    for number in 0..500 {
        bench.append(number, None);
        bench.shared.park(vec![letter(number, None)]);
    }
    let queue = bench.queue();
    assert!(queue.ram_bytes > 8_000);
    assert_eq!((queue.dropped, queue.in_ram), (0, 500));
    assert!(bench.shared.ledger().is_empty());
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
    let of_flow = |entry: &crate::spool::ledger::LedgerEntry| entry.flow.as_deref().map(str::len);
    assert!(
        told.clone().all(|entry| of_flow(entry) > Some(0)),
        "it is said of which flow"
    );
    assert_eq!(told.map(|entry| entry.count).sum::<u64>(), 50);
    assert!(
        bench.commit() && bench.shared.has_room() && bursts.iter().all(|burst| burst.all_settled())
    );
    assert_eq!(bench.shared.account().ram_bytes, 0);
}
