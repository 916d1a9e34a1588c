//! Dead letters are read back as they were kept, never push each other out where that is promised, and keep their order.

use super::form::{HEADER, VERSION, checksum, decode, encode, id, key};
use super::kept::{KeptLetters, ON_THE_WAY, REASONS, has_room_for_refused, reason_number};
use super::letter::LetterId;
use super::waiting::{Then, WaitingLetter, WaitingLetters, weight};
use crate::message::{Burst, Settled};
use crate::message::{DeadLetter, Message, PluginRef, QueueId, Reason, Seq};
use crate::spool::disk::chunk::tests::any_message;
use crate::spool::memory::ram::Ram;
use proptest::prelude::*;
use serde::Serialize;
use std::sync::Arc;

fn waiting(message: Message, reason: Reason, plugin: bool, detail: String) -> WaitingLetter {
    let plugin = plugin.then(|| PluginRef {
        name: "filter".into(),
        digest: "0123456789ab".into(),
    });
    let letter = DeadLetter {
        message,
        flow: "climate".into(),
        plugin,
        reason,
        detail,
        own_topic: true,
        receipt: None,
    };
    WaitingLetter {
        id: LetterId { boot: 3, number: 9 },
        letter,
        parked_us: 11,
        then: Then::Release(None),
    }
}

#[test]
fn refused_letters_never_push_each_other_out() {
    let mut kept = KeptLetters::default();
    let mut on_the_way = 0;
    while has_room_for_refused(
        (1, 100),
        &kept,
        (on_the_way, on_the_way * 100),
        1_000,
        1 << 20,
    ) {
        on_the_way += 1;
        if on_the_way == 64 {
            (0..64).for_each(|_| kept.add(Some(Reason::Refused), 100));
            on_the_way = 0;
        }
    }
    assert_eq!(kept.total() + on_the_way, 1_000);
    // Where others have filled the place, they have a half of it, and no more.
    let mut kept = KeptLetters::default();
    (0..1_000).for_each(|_| kept.add(Some(Reason::Rejected), 100));
    while has_room_for_refused((1, 100), &kept, (0, 0), 1_000, 1 << 20) {
        kept.remove(Some(Reason::Rejected), 100);
        kept.add(Some(Reason::Refused), 100);
    }
    assert_eq!(kept.counts[reason_number(Reason::Refused)], 500);
    // A store that cannot write lets no more in; one letter always has room.
    assert!(!has_room_for_refused(
        (1, 0),
        &KeptLetters::default(),
        (ON_THE_WAY, 0),
        u64::MAX,
        u64::MAX
    ));
    assert!(has_room_for_refused(
        (1, 9),
        &KeptLetters::default(),
        (0, 0),
        1,
        0
    ));
    // Several at once are no exception, though nothing is kept yet.
    assert!(!has_room_for_refused(
        (3, 9),
        &KeptLetters::default(),
        (0, 0),
        2,
        100
    ));
    // Those of one publish count together, by number and by bytes.
    let kept = KeptLetters {
        counts: kept.counts.map(|_| 1),
        bytes: 400,
    };
    let most = kept.total() + 50;
    let has_room =
        |more, bytes| has_room_for_refused((more, bytes), &kept, (10, 1_000), most, 2_000);
    assert_eq!(
        [has_room(40, 600), has_room(41, 600), has_room(40, 601)],
        [true, false, false]
    );
}

proptest! {
    #[test]
    fn a_letter_is_read_back_as_it_was_and_a_changed_bit_is_seen(
        message in any_message(), reason in 0_usize..4, plugin in any::<bool>(), detail in ".{0,40}",
        at in any::<prop::sample::Index>(), bit in 0_u32..8,
    ) {
        let mut kept = waiting(message, REASONS[reason], plugin, detail);
        if reason == 3 {
            kept.then = Then::Accept(QueueId(0), Seq(5));
        }
        let queue = (reason == 3).then_some(("cloud", "alarm"));
        let mut value = encode(&kept, queue);
        let record = decode(kept.id, &value).unwrap();
        let expected = Message { flow: None, ..kept.letter.message };
        prop_assert_eq!(record.message, expected);
        prop_assert_eq!(record.queue, (reason == 3).then(|| ("cloud".into(), "alarm".into())));
        prop_assert!(record.own_topic);
        prop_assert_eq!((record.reason, record.detail, record.plugin), (kept.letter.reason, kept.letter.detail, kept.letter.plugin));
        prop_assert_eq!((id(&key(record.id)), &*record.flow, record.parked_us), (Some(kept.id), "climate", 11));
        let at = at.index(value.len());
        value[at] ^= 1 << bit;
        prop_assert!(decode(kept.id, &value).is_err());
    }

    #[test]
    fn any_bytes_are_refused_without_a_panic(mut value in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(decode(LetterId::default(), &value).is_err());
        if value.len() > HEADER {
            (value[0], value[1]) = (VERSION, 1);
            let sum = checksum(&value);
            value[2..HEADER].copy_from_slice(&sum.to_le_bytes());
            let _ = decode(LetterId::default(), &value);
        }
        let _ = id(&value);
    }
}

#[test]
fn a_letter_of_the_first_version_is_still_read() {
    #[derive(Serialize)]
    struct First<'a>(
        u32,
        u64,
        &'a serde_bytes::Bytes,
        u16,
        u16,
        &'a serde_bytes::Bytes,
        &'a serde_bytes::Bytes,
        u32,
        u64,
        u64,
        &'a str,
        Option<(&'a str, &'a str)>,
        &'a str,
        u64,
    );
    let bytes = serde_bytes::Bytes::new;
    let mut value = vec![1, 0, 0, 0, 0, 0];
    let body = First(
        1,
        2,
        bytes(b"a/b"),
        0,
        1,
        bytes(b""),
        bytes(b"x"),
        0,
        3,
        4,
        "climate",
        None,
        "no",
        5,
    );
    rmp_serde::encode::write(&mut value, &body).unwrap();
    let sum = checksum(&value);
    value[2..HEADER].copy_from_slice(&sum.to_le_bytes());
    let record = decode(LetterId::default(), &value).unwrap();
    assert_eq!(
        (
            &*record.message.topic,
            record.queue,
            record.own_topic,
            record.parked_us
        ),
        (&b"a/b"[..], None, false, 5)
    );
}

#[test]
fn a_name_is_read_back_and_nonsense_is_not() {
    let id = LetterId {
        boot: 3,
        number: 17,
    };
    assert_eq!(id.to_string().parse(), Ok(id));
    assert!("3".parse::<LetterId>().is_err() && "3-x".parse::<LetterId>().is_err());
}

#[test]
fn what_is_forgotten_stays_due_until_its_commit_is_through() {
    let mut waiting_letters = WaitingLetters::new(3, &Arc::new(Ram::new(usize::MAX)));
    let ticket = waiting_letters.forget(&[LetterId { boot: 1, number: 1 }]);
    let taken = waiting_letters.take_forgotten();
    assert!(waiting_letters.is_due() && !waiting_letters.has_forgotten(ticket));
    waiting_letters.keep(taken);
    let taken = waiting_letters.take_forgotten();
    assert_eq!(taken.ids.len(), 1);
    waiting_letters.forgot(&taken);
    assert!(waiting_letters.has_forgotten(ticket) && !waiting_letters.is_due());
}

#[test]
fn the_pile_keeps_its_order_over_a_failed_commit_and_sheds_only_what_nobody_waits_for() {
    let burst = Burst::new(std::sync::Arc::new(Settled::default()), [1]);
    let letter = || waiting(Message::default(), Reason::Poison, false, String::new()).letter;
    let mut waiting_letters = WaitingLetters::new(3, &Arc::new(Ram::new(usize::MAX)));
    waiting_letters.push(letter(), 1, Then::Release(Some(burst.receipt(0))));
    for _ in 0..3 {
        waiting_letters.push(letter(), 1, Then::Release(None));
    }
    let taken = waiting_letters.take(2 * weight(&letter()));
    assert_eq!(
        taken
            .iter()
            .map(|waiting| waiting.id.number)
            .collect::<Vec<_>>(),
        [1, 2]
    );
    waiting_letters.give_back(taken);
    assert_eq!(waiting_letters.shed(2 * weight(&letter())), 2);
    let left = waiting_letters.take(usize::MAX);
    assert_eq!(
        left.iter()
            .map(|waiting| waiting.id.number)
            .collect::<Vec<_>>(),
        [1, 4]
    );
    assert_eq!(waiting_letters.len(), 0);
    for waiting in left {
        if let Then::Release(Some(receipt)) = waiting.then {
            receipt.release();
        }
    }
}
