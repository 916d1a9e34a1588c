use std::collections::{BTreeMap, BTreeSet};

use super::*;
use proptest::prelude::*;

const READING: MessageKind = MessageKind::Reading { above_20: true };
const COLD: MessageKind = MessageKind::Reading { above_20: false };

fn name(device: u32, seq: u64) -> SimulatedId {
    SimulatedId { device, seq }
}

#[test]
fn only_what_the_broker_acknowledged_can_be_lost() {
    let mut ledger = SentLedger::new(1, Expect::All);
    for seq in 0..3 {
        ledger.send(name(0, seq), READING);
    }
    ledger.accept(name(0, 0), READING);
    ledger.accept(name(0, 1), READING);
    let mut tally = Tally::new(1);
    tally.receive(name(0, 0));
    assert_eq!((ledger.expected(), ledger.lost(&tally)), (2, 1));
}

#[test]
fn above_20_expects_neither_cold_nor_broken_ones() {
    let mut ledger = SentLedger::new(1, Expect::Above20);
    for (seq, kind) in [READING, COLD, MessageKind::Broken].into_iter().enumerate() {
        ledger.send(name(0, seq as u64), kind);
        ledger.accept(name(0, seq as u64), kind);
    }
    let mut tally = Tally::new(1);
    assert_eq!(
        (
            ledger.expected(),
            ledger.lost(&tally),
            ledger.broken_accepted()
        ),
        (1, 1, 1)
    );
    tally.receive(name(0, 0));
    tally.receive(name(0, 1));
    assert_eq!((ledger.lost(&tally), ledger.unexpected(&tally)), (0, 1));
}

#[test]
fn order_is_judged_per_device_and_by_first_arrivals() {
    let mut tally = Tally::new(2);
    let arrivals = [(0, 0), (1, 5), (0, 2), (0, 1), (0, 0), (1, 6), (7, 0)];
    let booked: Vec<_> = arrivals
        .into_iter()
        .map(|(device, seq)| tally.receive(name(device, seq)))
        .collect();
    let expected = [
        ArrivalKind::InOrder,
        ArrivalKind::InOrder,
        ArrivalKind::InOrder,
        ArrivalKind::Overtaken,
        ArrivalKind::Again,
        ArrivalKind::InOrder,
        ArrivalKind::Foreign,
    ];
    assert_eq!(booked, expected);
    assert_eq!(
        (
            tally.delivered(),
            tally.doubled(),
            tally.out_of_order(),
            tally.foreign()
        ),
        (5, 1, 1, 1)
    );
}

#[test]
fn a_sequence_number_out_of_reach_is_foreign_and_costs_no_memory() {
    let mut tally = Tally::new(1);
    assert_eq!(tally.receive(name(0, u64::MAX)), ArrivalKind::Foreign);
}

proptest! {
    #[test]
    fn the_checker_agrees_with_a_model(
        sent in proptest::collection::vec((0_u32..3, 0_u8..3, any::<bool>()), 0..60),
        arrivals in proptest::collection::vec((0_u32..4, 0_u64..25), 0..80),
    ) {
        let mut ledger = SentLedger::new(3, Expect::Above20);
        let mut tally = Tally::new(3);
        let mut next = [0_u64; 3];
        let mut must_arrive = BTreeSet::new();
        for (device, kind, accepted) in sent {
            let kind = [READING, COLD, MessageKind::Broken][usize::from(kind)];
            let message = name(device, next[device as usize]);
            next[device as usize] += 1;
            ledger.send(message, kind);
            if accepted {
                ledger.accept(message, kind);
                if kind == READING {
                    must_arrive.insert(message);
                }
            }
        }
        let mut counts: BTreeMap<SimulatedId, u64> = BTreeMap::new();
        for (device, seq) in arrivals.iter().copied().filter(|(device, _)| *device < 3) {
            *counts.entry(name(device, seq)).or_default() += 1;
        }
        for (device, seq) in &arrivals {
            tally.receive(name(*device, *seq));
        }
        prop_assert_eq!(ledger.expected(), must_arrive.len() as u64);
        prop_assert_eq!(ledger.lost(&tally), must_arrive.iter().filter(|message| !counts.contains_key(message)).count() as u64);
        prop_assert_eq!(tally.delivered(), counts.len() as u64);
        prop_assert_eq!(tally.doubled(), counts.values().map(|count| count - 1).sum::<u64>());
        prop_assert_eq!(tally.received(), tally.delivered() + tally.doubled() + tally.foreign());
    }
}
