use super::*;
use crate::clock::{Uptime, WallTime};
use std::time::Duration;

use prometheus::IntGauge;

const SECOND: u64 = 1_000_000;

fn at(seconds: u64) -> Now {
    Now {
        wall: WallTime(0),
        uptime: Uptime(seconds * SECOND),
    }
}

fn quarantine() -> Quarantine {
    let config = QuarantineConfig {
        after: 3,
        retry: Duration::from_secs(30),
    };
    Quarantine::new(
        config,
        HeldDevices::new(IntGauge::new("devices", "x").unwrap()),
    )
}

/// One batch of messages: the key and whether its payload is bad. Which were admitted.
fn batch(quarantine: &mut Quarantine, seconds: u64, messages: &[(&str, bool)]) -> Vec<bool> {
    let now = at(seconds);
    let admitted: Vec<_> = messages
        .iter()
        .map(|(key, _)| quarantine.admits(key.as_bytes(), now.uptime))
        .collect();
    let mut bad: Vec<Box<[u8]>> = messages
        .iter()
        .zip(&admitted)
        .filter(|((_, is_bad), admitted)| *is_bad && **admitted)
        .map(|((key, _), _)| key.as_bytes().into())
        .collect();
    quarantine.judge(&mut bad, "climate", now);
    admitted
}

#[test]
fn so_many_bad_payloads_in_a_row_quarantine_a_device_and_no_other() {
    let mut table = quarantine();
    for second in 0..3 {
        assert_eq!(
            batch(&mut table, second, &[("a", true), ("b", false)]),
            [true, true]
        );
    }
    assert_eq!(
        (
            batch(&mut table, 3, &[("a", false), ("b", false)]),
            table.held.count()
        ),
        (vec![false, true], 1)
    );
}

#[test]
fn a_good_payload_in_between_starts_the_count_anew() {
    let mut table = quarantine();
    for second in 0..20 {
        assert_eq!(batch(&mut table, second, &[("a", second % 3 > 0)]), [true]);
    }
    assert_eq!(table.held.count(), 0);
}

#[test]
fn the_first_bad_batch_counts_as_one_since_what_was_good_in_it_is_not_known() {
    let mut table = quarantine();
    assert_eq!(batch(&mut table, 0, &[("a", true); 5]), [true; 5]);
    assert_eq!(batch(&mut table, 1, &[("a", true)]), [true]);
}

#[test]
fn after_the_pause_one_message_decides() {
    let mut table = quarantine();
    (0..3).for_each(|_| drop(batch(&mut table, 0, &[("a", true)])));
    assert_eq!(batch(&mut table, 29, &[("a", false)]), [false]);
    assert_eq!(
        batch(&mut table, 30, &[("a", true), ("a", true)]),
        [true, false]
    );
    assert_eq!(batch(&mut table, 59, &[("a", false)]), [false]);
    assert_eq!(
        batch(&mut table, 60, &[("a", false), ("a", false)]),
        [true, false]
    );
    assert_eq!(
        (batch(&mut table, 60, &[("a", false)]), table.held.count()),
        (vec![true], 0)
    );
}

#[test]
fn after_a_change_everyone_starts_anew() {
    let mut table = quarantine();
    (0..3).for_each(|_| drop(batch(&mut table, 0, &[("a", true)])));
    assert_eq!(table.held.count(), 1);
    table.forget();
    assert_eq!(
        (batch(&mut table, 0, &[("a", false)]), table.held.count()),
        (vec![true], 0)
    );
}

#[test]
fn the_table_is_bounded_and_keeps_those_it_holds() {
    let mut table = quarantine();
    (0..3).for_each(|_| drop(batch(&mut table, 0, &[("held", true)])));
    for number in 0..3_000 {
        batch(
            &mut table,
            1 + number / 1_000,
            &[(&number.to_string(), true)],
        );
    }
    assert_eq!(table.devices.len(), MOST);
    assert_eq!(batch(&mut table, 5, &[("held", true)]), [false]);
}
