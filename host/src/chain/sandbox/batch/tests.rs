use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::chain::sandbox::fault::{Fault, FaultKind};
use crate::clock::{Now, WallTime};
use crate::message::{Headers, Qos, Span, legal, push_header};
use proptest::prelude::*;

fn shape(inputs: usize) -> Shape {
    Shape {
        inputs: Some(inputs),
        ports: 2,
        max_entries: 100,
        max_bytes: 10_000,
    }
}

fn word(input: u32, action: u32, lengths: [u32; 3]) -> Vec<u32> {
    let mut words = vec![0; output::LEAST];
    words[output::INPUT] = input;
    words[output::ACTION] = action;
    words[output::TOPIC..=output::PAYLOAD].copy_from_slice(&lengths);
    words
}

fn answer(entries: &[Vec<u32>], data: &[u8]) -> GuestAnswer {
    GuestAnswer {
        stride: 7,
        words: entries.concat(),
        data: Bytes::copy_from_slice(data),
    }
}

fn fault(answer: &GuestAnswer, shape: Shape) -> Fault {
    unpack(answer, shape, &mut Vec::new()).unwrap_err()
}

#[test]
fn what_takes_the_place_of_a_message_expires_with_it_and_what_a_plugin_makes_itself_does_not() {
    let expiry = |message: &Message| {
        Headers(&message.headers)
            .get(":message-expiry")
            .map(<[u8]>::to_vec)
    };
    let mut own = Vec::new();
    push_header(&mut own, ":message-expiry", b"5").unwrap();
    let data = [b"x".as_slice(), &own, b"t"].concat();
    let (in_place, with_own, side, named) = (
        word(0, 1, [0, 0, 1]),
        word(0, 1, [0, own.len() as u32, 0]),
        word(0, 1 | 1 << 16, [0, 0, 0]),
        word(0, 1, [1, 0, 0]),
    );
    let answer = answer(&[in_place, with_own, side, named], &data);
    let mut entries = Vec::new();
    unpack(&answer, shape(1), &mut entries).unwrap();
    let marks = Marks::of(Qos::AtMostOnce).with(Marks::DUPLICATE, true);
    let headers = crate::message::with_expiry(b"", 60);
    let origin = Message {
        headers,
        marks,
        received: WallTime(3),
        uptime: Uptime(3),
        ..Message::default()
    };
    let clock = Now {
        wall: WallTime(9),
        uptime: Uptime(9),
    };
    let emitted: Vec<_> = entries
        .iter()
        .map(|entry| entry.emitted(&answer.data, &origin, clock))
        .collect();
    assert_eq!(
        emitted.iter().map(expiry).collect::<Vec<_>>(),
        [Some(b"60".to_vec()), Some(b"5".to_vec()), None, None]
    );
    assert_eq!(
        emitted
            .iter()
            .map(|message| message.uptime)
            .collect::<Vec<_>>(),
        [3, 3, 9, 9].map(Uptime)
    );
    assert_eq!(
        emitted
            .iter()
            .map(|message| message.marks.has(Marks::DUPLICATE))
            .collect::<Vec<_>>(),
        [true, true, false, false]
    );
    assert_eq!(
        expiry(&entries[0].emitted(&answer.data, &Message::default(), clock)),
        None
    );
}

#[test]
fn what_a_plugin_makes_keeps_the_device_though_its_topic_does_not_hold_it() {
    let (mut own, mut none) = (vec![0; output::STRIDE], vec![0; output::STRIDE]);
    for words in [&mut own, &mut none] {
        (words[output::ACTION], words[output::TOPIC]) = (1, 2);
    }
    own[output::OWN_KEY] = 2;
    let answer = GuestAnswer {
        stride: 8,
        words: [own, none].concat(),
        data: Bytes::from_static(b"upr1up"),
    };
    let mut entries = Vec::new();
    unpack(&answer, shape(1), &mut entries).unwrap();
    let (topic, key) = (Bytes::from_static(b"in/d7"), Span { offset: 3, len: 2 });
    let origin = Message {
        topic,
        key,
        ..Message::default()
    };
    let emitted: Vec<_> = entries
        .iter()
        .map(|entry| entry.emitted(&answer.data, &origin, Now::default()))
        .collect();
    let seen: Vec<_> = emitted
        .iter()
        .map(|message| (message.topic_str(), message.key()))
        .collect();
    assert_eq!(seen, [("up", &b"r1"[..]), ("up", &b"d7"[..])]);
}

#[test]
#[expect(clippy::too_many_lines, reason = "every field of an output")]
fn a_good_output_becomes_messages_that_share_its_buffer() {
    let mut headers = Vec::new();
    push_header(&mut headers, "unit", b"C").unwrap();
    let data = [b"up/d7".as_slice(), &headers, b"21.5", b"kept", b"too cold"].concat();
    let mut emit = word(1, 1 | 1 << 16, [5, headers.len() as u32, 4]);
    emit[output::KEY] = 3 | 2 << 16;
    emit[output::MARKS] = Marks::RETAIN | Marks::DUPLICATE;
    let answer = answer(
        &[
            word(0, 0, [0; 3]),
            emit,
            word(1, 1, [0, 0, 4]),
            word(2, 2, [0; 3]),
            word(2, 3, [0, 0, 8]),
        ],
        &data,
    );
    let mut entries = Vec::new();
    unpack(&answer, shape(3), &mut entries).unwrap();

    let origin = Message {
        topic: Bytes::from_static(b"in/d7"),
        key: Span { offset: 3, len: 2 },
        marks: Marks::of(Qos::AtLeastOnce),
        received: WallTime(9),
        ..Message::default()
    };
    let actions: Vec<_> = entries
        .iter()
        .map(|entry| (entry.input, entry.action, entry.port))
        .collect();
    assert_eq!(
        actions,
        [
            (0, Action::Pass, 0),
            (1, Action::Emit, 1),
            (1, Action::Emit, 0),
            (2, Action::Absorb, 0),
            (2, Action::Reject, 0)
        ]
    );
    let clock = Now {
        wall: WallTime(1_800_000_000_000_000),
        uptime: Uptime(12),
    };
    let moved = entries[1].emitted(&answer.data, &origin, clock);
    assert_eq!(
        (
            moved.topic_str(),
            moved.key(),
            &*moved.payload,
            moved.uptime
        ),
        ("up/d7", b"d7".as_slice(), b"21.5".as_slice(), Uptime(12))
    );
    assert_eq!(Headers(&moved.headers).get("unit"), Some(b"C".as_slice()));
    assert_eq!(
        moved.marks,
        Marks::of(Qos::AtMostOnce).with(Marks::RETAIN, true),
        "duplicate is not the plugin's to say"
    );
    let kept = entries[2].emitted(&answer.data, &origin, clock);
    assert_eq!(
        (kept.topic_str(), kept.key(), &*kept.payload),
        ("in/d7", b"d7".as_slice(), b"kept".as_slice())
    );
    assert_eq!(entries[4].reason(&answer.data), "too cold");
}

const TYPE: &[u8] = b"\x0d\x00:content-type\x02\x00ab";

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn whatever_breaks_the_contract_is_named() {
    let cases = [
        (answer(&[vec![0; 6]], b""), "do not make entries"),
        (
            GuestAnswer {
                stride: 3,
                ..answer(&[vec![0; 6]], b"")
            },
            "stride 3",
        ),
        (
            GuestAnswer {
                stride: 0,
                ..answer(&[vec![0; 7]], b"")
            },
            "stride 0",
        ),
        (answer(&[word(3, 0, [0; 3])], b""), "input 3 of 3"),
        (
            answer(&[word(1, 0, [0; 3]), word(0, 0, [0; 3])], b""),
            "input 0 after input 1",
        ),
        (answer(&[word(0, 4, [0; 3])], b""), "no action 4"),
        (
            answer(&[word(0, 2 << 16, [0; 3])], b""),
            "port 2 was not declared",
        ),
        (
            answer(&[word(0, 1, [0, 0, 9])], b"short"),
            "9 bytes announced, 5 left",
        ),
        (
            answer(&[word(0, 1, [u32::MAX, u32::MAX, u32::MAX])], b"short"),
            "announced",
        ),
        (answer(&[word(0, 0, [0; 3])], b"x"), "belong to no entry"),
        (
            answer(&[word(0, 0, [0, 0, 1])], b"x"),
            "only `emit` and `reject`",
        ),
        (
            answer(&[word(0, 1, [3, 0, 0])], b"a/+"),
            "topic contains a wildcard",
        ),
        (
            answer(&[word(0, 1, [3, 0, 0])], b"a/#"),
            "topic contains a wildcard",
        ),
        (
            answer(&[word(0, 1, [3, 0, 0])], b"a\0b"),
            "topic contains NUL",
        ),
        (
            answer(&[word(0, 1, [3, 0, 0])], b"a\nb"),
            "topic contains a control character",
        ),
        (
            answer(&[word(0, 1, [2, 0, 0])], b"\xff\xfe"),
            "topic is not UTF-8",
        ),
        (
            answer(&[word(0, 1, [0, 7, 0])], b"\x01\x00u\x02\x00a\0"),
            "header `u` contains NUL",
        ),
        (
            answer(&[word(0, 1, [0, 38, 0])], [TYPE, TYPE].concat().as_slice()),
            "header `:content-type` is there twice",
        ),
        (
            answer(&[word(0, 1, [0, 3, 0])], b"\x09\x00a"),
            "header block",
        ),
        (
            answer(&[word(0, 3, [0; 3]), word(0, 3, [0; 3])], b""),
            "rejected twice",
        ),
    ];
    for (answer, text) in cases {
        let fault = fault(&answer, shape(3));
        assert!(
            fault.kind == FaultKind::Contract && fault.message.contains(text),
            "{fault} instead of {text}"
        );
    }
    let mut key = word(0, 1, [3, 0, 0]);
    key[output::KEY] = 2 | 2 << 16;
    assert!(
        fault(&answer(&[key], b"abc"), shape(3))
            .message
            .contains("key ends at byte 4")
    );
}

#[test]
fn a_tick_brings_messages_of_its_own_only() {
    let tick = Shape {
        inputs: None,
        ..shape(0)
    };
    assert!(
        unpack(
            &answer(&[word(NO_INPUT, 1, [1, 0, 0])], b"t"),
            tick,
            &mut Vec::new()
        )
        .is_ok()
    );
    assert!(
        fault(&answer(&[word(NO_INPUT, 1, [0, 0, 1])], b"t"), tick)
            .message
            .contains("needs a topic")
    );
    assert!(
        fault(&answer(&[word(NO_INPUT, 0, [0; 3])], b""), tick)
            .message
            .contains("only `emit`")
    );
    assert!(
        fault(&answer(&[word(0, 1, [1, 0, 0])], b"t"), tick)
            .message
            .contains("names input 0")
    );
}

#[test]
fn too_much_output_is_a_fault_of_its_own_kind() {
    let many = vec![word(0, 0, [0; 3]); 101];
    assert_eq!(fault(&answer(&many, b""), shape(1)).kind, FaultKind::Output);
    assert_eq!(
        fault(
            &answer(&[word(0, 1, [0, 0, 10_001])], &[0; 10_001]),
            shape(1)
        )
        .kind,
        FaultKind::Output
    );
}

#[test]
fn words_a_later_contract_adds_are_stepped_over() {
    let mut longer = word(0, 0, [0; 3]);
    longer.extend([0, 77, 78]);
    let answer = GuestAnswer {
        stride: 10,
        ..answer(&[longer], b"")
    };
    let mut entries = Vec::new();
    unpack(&answer, shape(1), &mut entries).unwrap();
    assert_eq!(entries.len(), 1);
}

/// Topic, headers and payload, and key, marks, arrival and whether the key is beside the topic.
type Parts = (Vec<u8>, Vec<u8>, Vec<u8>, (u16, u16, u32, u64, bool));

proptest! {
    #[test]
    fn packing_keeps_every_field(messages in proptest::collection::vec((any::<Vec<u8>>(), any::<Vec<u8>>(), any::<Vec<u8>>(), any::<(u16, u16, u32, u64, bool)>()), 0..20)) {
        let mut packed = PackedBatch::default();
        let made = |(topic, headers, payload, (offset, len, marks, received_us, beside)): &Parts| {
            let device = beside.then(|| Arc::from(&offset.to_le_bytes()[..]));
            Message { topic: topic.clone().into(), headers: headers.clone().into(), payload: payload.clone().into(), key: Span { offset: *offset, len: *len }, device, marks: Marks(*marks), received: WallTime(*received_us), uptime: Uptime(1 << 40 | u64::from(*len)), ..Message::default() }
        };
        let all: Vec<Message> = messages.iter().map(made).collect();
        prop_assert!(packed.fill(&all, |uptime| RunningTime(uptime.0 + 5)));
        prop_assert_eq!(packed.len(), messages.len());
        let mut data = packed.data.as_slice();
        for ((topic, headers, payload, (offset, len, marks, received_us, beside)), words) in messages.iter().zip(packed.words.chunks(input::STRIDE)) {
            for (part, word) in [(topic, input::TOPIC), (headers, input::HEADERS), (payload, input::PAYLOAD)] {
                let (field, rest) = data.split_at(words[word] as usize);
                prop_assert_eq!(field, part);
                data = rest;
            }
            let key = if *beside { (0, 2) } else { (u32::from(*offset) | u32::from(*len) << 16, 0) };
            prop_assert_eq!((words[input::KEY], words[input::OWN_KEY]), key);
            prop_assert_eq!(u64::from(words[input::RUNNING_LOW]) | u64::from(words[input::RUNNING_HIGH]) << 32, (1 << 40 | u64::from(*len)) + 5);
            prop_assert_eq!(u64::from(words[input::RECEIVED_LOW]) | u64::from(words[input::RECEIVED_HIGH]) << 32, *received_us);
            prop_assert_eq!(words[input::MARKS], *marks & !Marks::TRACED);
        }
        let keys: Vec<u8> = messages.iter().filter(|(.., (.., beside))| *beside).flat_map(|(.., (offset, ..))| offset.to_le_bytes()).collect();
        prop_assert_eq!(data, keys);
    }

    #[test]
    fn a_hostile_output_is_refused_or_harmless(
        stride in prop_oneof![Just(7_u32), Just(8_u32), any::<u32>(), 0..12_u32],
        words in proptest::collection::vec(prop_oneof![0..6_u32, any::<u32>(), Just(u32::MAX)], 0..70),
        data in proptest::collection::vec(any::<u8>(), 0..60),
        inputs in proptest::option::of(0..4_usize),
    ) {
        let answer = GuestAnswer { stride, words, data: data.into() };
        let mut entries = Vec::new();
        if unpack(&answer, Shape { inputs, ..shape(0) }, &mut entries).is_ok() {
            let mut last = 0;
            for entry in &entries {
                prop_assert!(entry.port < 2);
                prop_assert!(inputs.map_or(entry.input == NO_INPUT, |inputs| (entry.input as usize) < inputs && entry.input >= last));
                last = entry.input;
                let message = entry.emitted(&answer.data, &Message::default(), Now::default());
                prop_assert!(entry.action != Action::Emit || message.topic.is_empty() || legal::check_topic(&message.topic).is_ok());
                entry.reason(&answer.data);
            }
        }
    }
}
