use super::*;

#[test]
fn the_ring_keeps_the_first_bytes_of_a_call_and_the_last() {
    let ring = Ring::default();
    ring.push(b"the start");
    ring.push(&vec![b'a'; RING_BYTES * 3]);
    ring.push(b"the end");
    let [all, mine] = ring.words();
    assert_eq!(
        (all.len(), &mine),
        (HEAD_BYTES + "\n[...]\n".len() + RING_BYTES, &all)
    );
    assert!(all.starts_with("the startaa") && all.ends_with("aathe end"));
    ring.begin();
    assert_eq!(ring.words()[1], "", "of another call");
    ring.push(b"more");
    let [all, mine] = ring.words();
    assert_eq!((all.len(), mine.as_str()), (RING_BYTES, "more"));
    ring.push(&vec![b'b'; RING_BYTES]);
    assert_eq!(
        ring.words()[1].len(),
        RING_BYTES + 4,
        "nothing lies between"
    );
}

#[test]
fn memory_over_the_limit_is_denied_and_remembered() {
    let mut budget = MemoryBudget::new(&Limits {
        memory_bytes: 100,
        table_elements: 10,
        ..Limits::default()
    });
    assert!(budget.memory_growing(0, 60, None).unwrap());
    assert!(
        !budget.memory_growing(0, 60, None).unwrap(),
        "a second memory counts too"
    );
    assert!(
        budget.memory_growing(60, 100, None).unwrap(),
        "what was denied was not used"
    );
    assert!(budget.memory_denied && !budget.table_denied);
    assert!(!budget.table_growing(0, 11, None).unwrap() && budget.table_denied);
}

#[test]
fn a_call_is_ended_by_the_processor_time_it_takes_and_late_by_the_clock() {
    let ms = Duration::from_millis;
    let mut allowance = Allowance {
        time: ms(200),
        since: None,
    };
    let begun = Instant::now();
    assert!(allowance.look(begun, ms(5_000)) && allowance.look(begun + ms(190), ms(5_190)));
    assert!(!allowance.look(begun + ms(200), ms(5_200)), "it computes");
    allowance.begin();
    assert!(allowance.look(begun, ms(9_000)));
    assert!(
        allowance.look(begun + ms(3_000), ms(9_020)),
        "others compute"
    );
    assert!(
        !allowance.look(begun + ms(4_000), ms(9_030)),
        "it waits, or gets nothing"
    );
}
