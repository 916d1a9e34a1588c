//! Chunks that are hurt, forgotten or gone cost no more than themselves.

use super::*;
use crate::spool::disk::queue_store::Near;

#[test]
fn a_damaged_chunk_costs_its_own_messages_and_no_others() {
    let folder = tempdir();
    let mut bench = Bench::open(config(folder.path()));
    for number in 0..60 {
        bench.append(number, None);
    }
    assert!(bench.commit());
    let all = bench.owed(9);
    let store = bench.shared.store(Duration::ZERO).unwrap();
    let Near { first, end, .. } = store.chunk_near(0, all[30].seq).unwrap().unwrap();
    store.damage_chunk(0, first);
    drop(store);
    for _ in 0..2 {
        let left: Vec<Seq> = bench.owed(9).iter().map(|stored| stored.seq).collect();
        let expected: Vec<Seq> = all
            .iter()
            .map(|stored| stored.seq)
            .filter(|place| !(first..end).contains(place))
            .collect();
        assert_eq!(left, expected);
        assert_eq!(bench.queue().damaged, end.places_since(first));
    }
}

#[test]
fn a_chunk_that_the_index_forgot_is_found_in_its_file() {
    let folder = tempdir();
    let mut bench = Bench::open(config(folder.path()));
    for number in 0..60 {
        bench.append(number, None);
    }
    assert!(bench.commit());
    let place = bench.owed(9)[30].seq;
    let store = bench.shared.store(Duration::ZERO).unwrap();
    let Near { first, .. } = store.chunk_near(0, place).unwrap().unwrap();
    store.forget_chunk(0, first);
    drop(store);
    assert_eq!(
        (bench.numbers(), bench.queue().damaged),
        ((0..60).collect(), 0)
    );
}

#[test]
fn a_missing_chunk_is_seen_by_the_gap() {
    let folder = tempdir();
    let mut bench = Bench::open(config(folder.path()));
    for number in 0..60 {
        bench.append(number, None);
    }
    assert!(bench.commit());
    let all = bench.owed(9);
    let store = bench.shared.store(Duration::ZERO).unwrap();
    let Near { first, end, .. } = store.chunk_near(0, all[30].seq).unwrap().unwrap();
    store.damage_chunk(0, first);
    store.forget_chunk(0, first);
    drop(store);
    assert_eq!(bench.owed(9).len() as u64, 60 - (end.places_since(first)));
    assert_eq!(
        bench.queue().on_disk,
        60,
        "it is owed until the ledger has it"
    );
    assert!(bench.commit());
    assert_eq!(
        (bench.queue().damaged, bench.queue().on_disk),
        (end.places_since(first), 60 - (end.places_since(first)))
    );
}
