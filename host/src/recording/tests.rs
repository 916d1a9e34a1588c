use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use prometheus::Registry;
use proptest::prelude::*;

use super::*;
use crate::clock::{Now, Uptime, WallTime};
use crate::message::{Delivery, FlowId, Marks, Message, MessageId, Span, Tape};

fn now(at: u64) -> Now {
    Now {
        wall: WallTime(1_700_000_000_000_000 + at),
        uptime: Uptime(at),
    }
}

fn message(seq: u64) -> Message {
    Message {
        id: MessageId { boot: 3, seq },
        flow: FlowId::at(2),
        topic: Bytes::from(format!("devices/d{}/telemetry", seq % 30)),
        key: Span { offset: 8, len: 2 },
        device: None,
        headers: Bytes::new(),
        payload: Bytes::from(format!(
            "{{\"temperature\":{}}}",
            fastrand::Rng::with_seed(seq).u64(..)
        )),
        marks: Marks(1 << 4),
        received: WallTime(seq),
        uptime: Uptime(seq),
        trace: None,
    }
}

fn batch(messages: std::ops::Range<u64>) -> Vec<Delivery> {
    messages
        .map(|seq| Delivery {
            message: message(seq),
            receipt: None,
        })
        .collect()
}

fn recorder(keep: Keep, bytes: u64) -> Recorder {
    let header = RecordingHeader {
        flow: "climate".to_owned(),
        lanes: 3,
        ..RecordingHeader::default()
    };
    Recorder::start(
        &Config {
            keep,
            bytes,
            reserve_bytes: 0,
        },
        header,
        &Metrics::new(&Registry::new()).unwrap(),
    )
    .unwrap()
}

fn in_memory(recorder: &Recorder) -> Vec<RecordedEvent> {
    recorder.flush();
    let (mut events, mut next) = (Vec::new(), Some(0));
    while let Some(from) = next {
        let page = recorder.page(from);
        page.segments
            .iter()
            .for_each(|segment| events.extend(RecordedEvent::all(segment).unwrap()));
        next = page.next;
    }
    events
}

fn paths(folder: &Path) -> Vec<PathBuf> {
    in_folder(folder)
        .unwrap()
        .into_iter()
        .map(|(path, _)| path)
        .collect()
}

fn on_disk(files: &mut SegmentFiles) -> Vec<RecordedEvent> {
    files
        .flat_map(|segment| RecordedEvent::all(&segment.unwrap()).unwrap())
        .collect()
}

/// Numbers of the messages of these events.
fn numbers(events: &[RecordedEvent]) -> Vec<u64> {
    let of = |event: &RecordedEvent| match event {
        RecordedEvent::Batch { messages, .. } => {
            messages.iter().map(|message| message.id.seq).collect()
        }
        RecordedEvent::Tick { .. } | RecordedEvent::Missed { .. } => Vec::new(),
    };
    events.iter().flat_map(of).collect()
}

fn fill(recorder: &Recorder, messages: std::ops::Range<u64>) {
    for start in messages.clone().step_by(50) {
        recorder.batch(0, now(start), &batch(start..messages.end.min(start + 50)));
        // Nothing is to be left out, however slow the machine is.
        recorder.flush();
    }
}

#[test]
fn what_lanes_were_told_is_read_back_with_its_clocks_and_batches() {
    let recorder = recorder(Keep::Memory, 16 << 20);
    recorder.batch(1, now(10), &batch(0..3));
    recorder.tick(2, 1, now(20));
    recorder.batch(0, now(30), &batch(3..4));
    let messages = |range: std::ops::Range<u64>| range.map(message).collect();
    let expected = [
        RecordedEvent::Batch {
            lane: 1,
            now: now(10),
            messages: messages(0..3),
        },
        RecordedEvent::Tick {
            lane: 2,
            plugin: 1,
            now: now(20),
        },
        RecordedEvent::Batch {
            lane: 0,
            now: now(30),
            messages: messages(3..4),
        },
    ];
    assert_eq!(in_memory(&recorder), expected);
    assert!(recorder.bytes() > 0);
    recorder.clear();
    assert_eq!((in_memory(&recorder).len(), recorder.bytes()), (0, 0));
}

#[test]
fn in_memory_the_oldest_make_room() {
    let recorder = recorder(Keep::Memory, 256 << 10);
    fill(&recorder, 0..20_000);
    assert!(recorder.bytes() <= 256 << 10, "{}", recorder.bytes());
    let kept = numbers(&in_memory(&recorder));
    assert!(
        kept.len() > 1_000 && kept[0] > 0,
        "{} from {}",
        kept.len(),
        kept[0]
    );
    assert_eq!(
        kept,
        (20_000 - kept.len() as u64..20_000).collect::<Vec<_>>()
    );
    assert_eq!(recorder.missed(), 0);
}

#[test]
fn on_disk_the_oldest_files_make_room_and_a_later_process_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recordings/climate");
    let start = || recorder(Keep::Disk(path.clone()), 1 << 20);
    let first = start();
    fill(&first, 0..10_000);
    drop(first);
    let second = start();
    fill(&second, 10_000..60_000);
    second.flush();
    let taken: u64 = in_folder(&path)
        .unwrap()
        .iter()
        .map(|(_, bytes)| bytes)
        .sum();
    assert!(
        taken <= 1 << 20 && taken == second.bytes(),
        "{taken} {}",
        second.bytes()
    );
    let mut files = SegmentFiles::open(paths(&path)).unwrap();
    assert_eq!(
        (files.header().flow.as_str(), files.header().lanes),
        ("climate", 3)
    );
    let kept = numbers(&on_disk(&mut files));
    assert_eq!(
        kept,
        (60_000 - kept.len() as u64..60_000).collect::<Vec<_>>()
    );
    assert!(
        kept.len() > 5_000 && files.torn().is_empty(),
        "{} {:?}",
        kept.len(),
        files.torn()
    );
    second.clear();
    assert!(paths(&path).is_empty());
}

#[test]
fn a_disk_that_is_nearly_full_is_left_to_what_is_owed() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        keep: Keep::Disk(folder.path().to_owned()),
        bytes: 1 << 20,
        reserve_bytes: u64::MAX,
    };
    let recorder = Recorder::start(
        &config,
        RecordingHeader::default(),
        &Metrics::new(&Registry::new()).unwrap(),
    )
    .unwrap();
    fill(&recorder, 0..100);
    assert_eq!(
        (
            recorder.missed(),
            recorder.bytes(),
            paths(folder.path()).len()
        ),
        (100, 0, 0)
    );
}

#[test]
fn what_a_kill_leaves_is_read_up_to_its_last_whole_frame_and_the_rest_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let recorder = recorder(Keep::Disk(path.clone()), 16 << 20);
    fill(&recorder, 0..500);
    drop(recorder);
    let whole = fs::read(&paths(&path)[0]).unwrap();
    let mut found = std::collections::BTreeSet::new();
    for cut in (0..whole.len()).rev().step_by(97) {
        fs::write(&paths(&path)[0], &whole[..cut]).unwrap();
        let Ok(mut files) = SegmentFiles::open(paths(&path)) else {
            continue;
        };
        let kept = numbers(&on_disk(&mut files));
        assert_eq!(kept, (0..kept.len() as u64).collect::<Vec<_>>());
        assert!(
            files.torn().len() <= 1
                && files
                    .torn()
                    .iter()
                    .all(|(_, damage)| *damage == RecordingDamage::Torn)
        );
        found.insert(kept.len());
    }
    assert!(found.len() >= 10 && found.contains(&450), "{found:?}");
}

#[test]
fn a_changed_byte_is_seen_and_costs_the_rest_of_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = recorder(Keep::Disk(folder.path().to_owned()), 16 << 20);
    fill(&recorder, 0..200);
    drop(recorder);
    let path = paths(folder.path()).remove(0);
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 5;
    bytes[last] ^= 4;
    fs::write(&path, &bytes).unwrap();
    let mut files = SegmentFiles::open(vec![path.clone()]).unwrap();
    assert_eq!(numbers(&on_disk(&mut files)), (0..150).collect::<Vec<_>>());
    assert_eq!(files.torn(), [(path.clone(), RecordingDamage::Checksum)]);
    bytes[5] = 9;
    fs::write(&path, &bytes).unwrap();
    assert!(matches!(
        SegmentFiles::open(vec![path]),
        Err(Error::Damaged {
            source: RecordingDamage::Version(9),
            ..
        })
    ));
}

#[test]
fn the_cost_of_recording_a_message() {
    let recorder = recorder(Keep::Memory, 64 << 20);
    let batches: Vec<_> = (0..1_000)
        .map(|number| batch(number * 100..number * 100 + 100))
        .collect();
    let mut spent = std::time::Duration::ZERO;
    for (number, batch) in (0..).zip(&batches) {
        let begun = std::time::Instant::now();
        recorder.batch(0, now(number), batch);
        spent += begun.elapsed();
        recorder.flush();
    }
    let bytes = recorder.bytes() as f64 / 100_000.0;
    println!(
        "recording: {:.0} ns a message on the lane, {bytes:.0} bytes kept",
        spent.as_nanos() as f64 / 100_000.0
    );
    assert_eq!(numbers(&in_memory(&recorder)).len(), 100_000);
}

proptest! {
    #[test]
    fn any_bytes_are_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Segment::read(bytes).is_err());
    }

    #[test]
    fn a_changed_frame_never_panics(at in any::<prop::sample::Index>(), byte in any::<u8>(), mend in any::<bool>()) {
        let recorder = recorder(Keep::Memory, 1 << 20);
        recorder.batch(0, now(1), &batch(0..20));
        recorder.flush();
        let mut frame = recorder.page(0).segments[0].frame().to_vec();
        let at = at.index(frame.len());
        frame[at] = byte;
        if mend {
            let sum = crc32fast::hash(&frame[8..]);
            frame[4..8].copy_from_slice(&sum.to_le_bytes());
        }
        if let Ok(segment) = Segment::read(frame) {
            let _ = RecordedEvent::all(&segment);
        }
    }
}
