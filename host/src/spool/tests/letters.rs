//! Dead letters survive, and the oldest make room.

use super::*;
use crate::message::Burst;
use crate::message::Settled;

#[test]
fn dead_letters_survive_and_the_oldest_make_room() {
    let folder = tempdir();
    let mut bench = Bench::open(Config {
        dead_letters: 3,
        ..config(folder.path())
    });
    let burst = Burst::new(Arc::new(Settled::default()), [1]);
    bench
        .shared
        .park(vec![letter(1, Some(burst.receipt(0))), letter(2, None)]);
    assert!(!burst.all_settled());
    assert!(bench.commit() && burst.all_settled());
    bench
        .shared
        .park((3..6).map(|number| letter(number, None)).collect());
    assert!(bench.commit());
    assert_eq!(
        (
            bench.shared.account().dead_letters(),
            bench.shared.account().letters_evicted
        ),
        (3, 2)
    );
    let bench = bench.reopen();
    assert_eq!(bench.shared.account().dead_letters(), 3);
    let kept = bench.shared.dead_letters(10);
    assert_eq!(
        kept.iter()
            .map(|record| record.message.id.seq)
            .collect::<Vec<_>>(),
        [3, 4, 5]
    );
    let LetterRecord {
        id,
        message: found,
        flow,
        plugin,
        reason,
        detail,
        ..
    } = &kept[0];
    assert_eq!(
        (id.boot, &*found.topic, &**flow, *reason, &**detail),
        (1, &*message(3).topic, "climate", Reason::Rejected, "no 3")
    );
    assert_eq!(
        (plugin, &found.payload),
        (&letter(3, None).plugin, &message(3).payload)
    );
}

#[test]
fn more_letters_at_once_than_are_kept_leave_the_newest() {
    let folder = tempdir();
    let mut bench = Bench::open(Config {
        dead_letters: 3,
        ..config(folder.path())
    });
    bench
        .shared
        .park((0..8).map(|number| letter(number, None)).collect());
    assert!(bench.commit());
    let kept: Vec<u64> = bench
        .shared
        .dead_letters(10)
        .iter()
        .map(|record| record.message.id.seq)
        .collect();
    assert_eq!(
        (kept, bench.shared.account().letters_evicted),
        (vec![5, 6, 7], 5)
    );
}

#[test]
fn a_refused_message_is_accepted_once_its_letter_is_safe() {
    let folder = tempdir();
    let mut bench = Bench::open(config(folder.path()));
    let burst = Burst::new(Arc::new(Settled::default()), [1, 1]);
    bench.append(1, Some(burst.receipt(0)));
    bench.append(2, Some(burst.receipt(1)));
    let stored = bench.owed(5);
    bench
        .backlog
        .refuse(QUEUE, stored[0].clone(), "0x97: quota exceeded".into());
    assert_eq!(
        (bench.numbers(), bench.backlog.low(QUEUE)),
        (vec![2], stored[0].seq)
    );
    assert!(!burst.is_settled(0));
    bench.writer.turn(bench.shared.clock.now());
    assert!(burst.is_settled(0) && !burst.is_settled(1));
    assert_eq!(bench.backlog.low(QUEUE), stored[1].seq);
    let record = bench.shared.dead_letters(5).remove(0);
    assert_eq!(
        (record.reason, &*record.detail, &*record.flow),
        (Reason::Refused, "0x97: quota exceeded", "climate")
    );
}
