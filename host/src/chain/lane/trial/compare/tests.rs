use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::chain::sandbox::batch::{GuestAnswer, OutputEntry};
use crate::chain::sandbox::batch::{NO_INPUT, Shape, output, unpack};
use crate::clock::WallTime;
use crate::message::{MessageId, Span, push_header, with_expiry};

/// One entry and the bytes it brings.
struct Said {
    words: [u32; output::STRIDE],
    data: Vec<u8>,
}

fn said(input: u32, action: u32, topic: &str, headers: &[u8], payload: &[u8]) -> Said {
    let mut words = [0; output::STRIDE];
    words[output::INPUT] = input;
    words[output::ACTION] = action;
    words[output::TOPIC] = topic.len() as u32;
    words[output::HEADERS] = headers.len() as u32;
    words[output::PAYLOAD] = payload.len() as u32;
    words[output::KEY] = (topic.find('/').unwrap_or(topic.len()) as u32) << 16;
    words[output::MARKS] = 1 << 4;
    Said {
        words,
        data: [topic.as_bytes(), headers, payload].concat(),
    }
}

fn pass(input: u32) -> Said {
    said(input, 0, "", b"", b"")
}

fn emit(input: u32, payload: &str) -> Said {
    said(input, 1, "", b"", payload.as_bytes())
}

fn absorb(input: u32) -> Said {
    said(input, 2, "", b"", b"")
}

fn reject(input: u32, why: &str) -> Said {
    said(input, 3, "", b"", why.as_bytes())
}

/// What a plugin with the port `side` said, as it comes out of the check.
struct Spoken {
    answer: GuestAnswer,
    entries: Vec<OutputEntry>,
    ports: Vec<String>,
}

impl Spoken {
    fn new(inputs: Option<usize>, said: &[Said]) -> Self {
        let words = said.iter().flat_map(|said| said.words).collect();
        let data: Vec<u8> = said.iter().flat_map(|said| said.data.clone()).collect();
        let answer = GuestAnswer {
            stride: output::STRIDE as u32,
            words,
            data: Bytes::from(data),
        };
        let shape = Shape {
            inputs,
            ports: 2,
            max_entries: 10_000,
            max_bytes: 1 << 20,
        };
        let mut entries = Vec::new();
        unpack(&answer, shape, &mut entries).unwrap();
        Self {
            answer,
            entries,
            ports: vec!["side".to_owned()],
        }
    }

    fn side(&self) -> VersionAnswer<'_> {
        VersionAnswer::new(&self.answer, &self.entries, &self.ports)
    }
}

fn inputs(count: u64) -> Vec<Message> {
    let message = |number| Message {
        id: MessageId {
            boot: 1,
            seq: number,
        },
        topic: Bytes::from(format!("d{number}/t")),
        key: Span { offset: 0, len: 2 },
        payload: Bytes::from(format!("{number}")),
        marks: crate::message::Marks(1 << 4),
        received: WallTime(number),
        ..Message::default()
    };
    (0..count).map(message).collect()
}

fn compare(inputs: &[Message], old: &[Said], new: &[Said]) -> Comparison {
    let [old, new] = [old, new].map(|said| Spoken::new(Some(inputs.len()), said));
    let mut found = Comparison::default();
    found.batch(
        SampleBounds::default(),
        inputs.iter().map(Some),
        old.side(),
        new.side(),
    );
    found
}

fn ticks(old: &[Said], new: &[Said]) -> Comparison {
    let [old, new] = [old, new].map(|said| Spoken::new(None, said));
    let mut found = Comparison::default();
    found.tick(SampleBounds::default(), WallTime(9), old.side(), new.side());
    found
}

fn counts(same: u64, missing: u64, extra: u64, changed: u64) -> Counts {
    Counts {
        same,
        missing,
        extra,
        changed,
    }
}

fn at(topic: &str, payload: &str) -> Said {
    said(NO_INPUT, 1, topic, b"", payload.as_bytes())
}

#[test]
fn the_same_said_in_another_way_is_no_difference() {
    let old = [
        pass(0),
        absorb(1),
        reject(2, "too hot"),
        absorb(3),
        emit(3, "x"),
    ];
    let new = [
        emit(0, "0"),
        absorb(1),
        absorb(1),
        reject(2, "above 90"),
        emit(3, "x"),
    ];
    let found = compare(&inputs(5), &old, &new);
    assert_eq!(
        found,
        Comparison {
            inputs: counts(5, 0, 0, 0),
            ..Comparison::default()
        }
    );
}

#[test]
fn each_difference_is_counted_by_its_kind_and_named() {
    let old = [
        pass(0),
        pass(1),
        pass(3),
        pass(4),
        absorb(5),
        emit(6, "1"),
        emit(6, "2"),
        reject(7, "no"),
    ];
    let new = [
        pass(0),
        pass(2),
        emit(3, "other"),
        said(4, 1 | 1 << 16, "", b"", b"4"),
        emit(6, "1"),
    ];
    let found = compare(&inputs(8), &old, &new);
    assert_eq!(found.inputs, counts(1, 1, 1, 5));
    let named: Vec<_> = found
        .samples
        .iter()
        .map(|sample| (sample.at_us, sample.kind, sample.parts.clone()))
        .collect();
    let changed = |number, part| (number, DifferenceKind::Changed, vec![part]);
    let expected = [
        (1, DifferenceKind::Missing, vec![]),
        (2, DifferenceKind::Extra, vec![]),
        changed(3, DifferingPart::Payload),
        changed(4, DifferingPart::Port),
        changed(5, DifferingPart::Outcome),
        changed(6, DifferingPart::Number),
        changed(7, DifferingPart::Outcome),
    ];
    assert_eq!(named, expected);
    assert_eq!(found.parts[&DifferingPart::Outcome], 2);
    let sample = &found.samples[2];
    assert_eq!(
        (
            sample.key.as_str(),
            sample.input.as_ref().unwrap().id.as_str()
        ),
        ("d3", "1-3")
    );
    assert_eq!(
        (
            sample.old[0].payload.text.as_str(),
            sample.new[0].payload.text.as_str()
        ),
        ("3", "other")
    );
}

#[test]
fn topic_key_headers_and_marks_are_told_apart() {
    let mut header = Vec::new();
    push_header(&mut header, "unit", b"C").unwrap();
    let mut retained = emit(3, "3");
    retained.words[output::MARKS] |= 1;
    let mut other = said(1, 1, "d1/t", b"", b"1");
    other.words[output::KEY] = 3 | 1 << 16;
    let new = [
        said(0, 1, "d0/other", b"", b"0"),
        other,
        said(2, 1, "", &header, b"2"),
        retained,
    ];
    let found = compare(&inputs(4), &[pass(0), pass(1), pass(2), pass(3)], &new);
    let parts: Vec<_> = found
        .samples
        .iter()
        .map(|sample| sample.parts.as_slice())
        .collect();
    assert_eq!(
        parts,
        [
            [DifferingPart::Topic],
            [DifferingPart::Key],
            [DifferingPart::Headers],
            [DifferingPart::Marks]
        ]
    );
    assert_eq!(
        found.samples[2].new[0].headers,
        [("unit".to_owned(), "C".to_owned())]
    );
    assert!(found.samples[3].new[0].retain);
}

#[test]
fn an_inherited_expiry_is_the_same_as_the_messages_own() {
    let mut inputs = inputs(2);
    inputs
        .iter_mut()
        .for_each(|input| input.headers = with_expiry(b"", 60));
    let found = compare(
        &inputs,
        &[pass(0), pass(1)],
        &[emit(0, "0"), said(1, 1, "", &with_expiry(b"", 5), b"1")],
    );
    assert_eq!(
        (found.inputs, found.samples[0].parts.as_slice()),
        (counts(1, 0, 0, 1), [DifferingPart::Headers].as_slice())
    );
}

#[test]
fn ticks_are_compared_key_by_key() {
    let old = [
        at("a/w", "1"),
        at("b/w", "2"),
        at("a/w", "3"),
        at("c/w", "4"),
    ];
    let moved = ticks(
        &old,
        &[
            at("c/w", "4"),
            at("b/w", "2"),
            at("a/w", "1"),
            at("a/w", "3"),
        ],
    );
    assert_eq!(
        moved.ticks,
        counts(4, 0, 0, 0),
        "the order between keys promises nothing"
    );
    let found = ticks(
        &old,
        &[
            at("a/w", "1"),
            at("a/w", "4"),
            at("c/w", "4"),
            at("d/w", "5"),
        ],
    );
    assert_eq!(found.ticks, counts(2, 1, 1, 1));
    let keys: Vec<_> = found
        .samples
        .iter()
        .map(|sample| (sample.key.as_str(), sample.kind))
        .collect();
    assert_eq!(
        keys,
        [
            ("a", DifferenceKind::Changed),
            ("b", DifferenceKind::Missing),
            ("d", DifferenceKind::Extra)
        ]
    );
    assert_eq!(found.inputs.compared(), 0);
}

#[test]
fn of_each_kind_the_first_are_kept_and_all_are_counted() {
    let inputs = inputs(40);
    let passed: Vec<_> = (0..40).map(pass).collect();
    let found = compare(&inputs, &passed, &[]);
    assert_eq!(
        (found.inputs.missing, found.samples.len()),
        (40, SampleBounds::default().samples)
    );
    let extra = compare(&inputs, &[], &passed);
    assert_eq!(
        (extra.inputs.extra, extra.samples.len()),
        (40, SampleBounds::default().samples)
    );
    let text = serde_json::to_string(&found).unwrap();
    let read: Comparison = serde_json::from_str(&text).unwrap();
    assert_eq!((read.inputs, &read.samples), (found.inputs, &found.samples));
}

#[test]
fn a_long_payload_is_shown_where_it_differs() {
    let (mut old, mut new) = ("ä".repeat(500), "ä".repeat(500));
    old.push_str("old");
    new.push_str("new");
    let found = compare(&inputs(1), &[emit(0, &old)], &[emit(0, &new)]);
    let sample = &found.samples[0];
    assert_eq!(
        (
            sample.old[0].payload.bytes,
            sample.old[0].payload.text.ends_with("old")
        ),
        (1_003, true)
    );
    let shown = sample.new[0].payload.to_string();
    assert!(shown.starts_with("…ä") && shown.ends_with("new"), "{shown}");
}

#[test]
fn what_is_no_text_is_shown_as_digits() {
    let binary = said(0, 1, "", b"", &[0, 159, 146, 150]);
    let found = compare(&inputs(1), &[pass(0)], &[binary]);
    assert_eq!(found.samples[0].new[0].payload.to_string(), "0x009f9296");
}

fn any_said() -> impl Strategy<Value = Vec<Said>> {
    let one = (0..6_u32, 0..4_u32, "[a-z]{0,3}").prop_map(|(input, action, text)| match action {
        1 | 3 => said(input, action, "", b"", text.as_bytes()),
        _ => said(input, action, "", b"", b""),
    });
    // Of an input at the most one rejection, as the contract has it: of each, one entry of a sort.
    proptest::collection::vec(one, 0..12).prop_map(|mut all| {
        let place = |said: &Said| (said.words[output::INPUT], said.words[output::ACTION]);
        all.sort_by_key(place);
        all.dedup_by_key(|said| place(said));
        all
    })
}

impl std::fmt::Debug for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.words)
    }
}

proptest! {
    #[test]
    fn every_input_is_counted_once_and_sides_can_be_exchanged(old in any_said(), new in any_said()) {
        let (found, mirrored) = (compare(&inputs(6), &old, &new), compare(&inputs(6), &new, &old));
        prop_assert_eq!(found.inputs.compared(), 6);
        let Counts { same, missing, extra, changed } = mirrored.inputs;
        prop_assert_eq!(found.inputs, Counts { same, missing: extra, extra: missing, changed });
        prop_assert_eq!(compare(&inputs(6), &old, &old).inputs, counts(6, 0, 0, 0));
    }
}
