use super::*;
use crate::clock::{Uptime, WallTime};
use crate::message::Message;
use crate::recording::{Keep, RecordedEvent};

#[test]
fn one_that_falls_behind_leaves_messages_out_and_says_how_many() {
    let config = Config {
        keep: Keep::Memory,
        bytes: 64 << 20,
        reserve_bytes: 0,
    };
    let header = RecordingHeader {
        flow: "climate".to_owned(),
        ..RecordingHeader::default()
    };
    let recorder =
        Recorder::start(&config, header, &Metrics::new(&Registry::new()).unwrap()).unwrap();
    let payload = bytes::Bytes::from(vec![7; 10_000]);
    let batch = [Delivery {
        message: Message {
            payload,
            ..Message::default()
        },
        receipt: None,
    }];
    let now = |wall_us| Now {
        wall: WallTime(wall_us),
        uptime: Uptime(wall_us),
    };
    // Whoever keeps the segments hangs, as a tired card does; the lanes do not.
    let card = recorder.shared.kept();
    (0..1_000).for_each(|at| recorder.batch(0, now(at), &batch));
    let missed = recorder.missed();
    assert!(
        (500..900).contains(&missed),
        "{missed} of 1,000 messages of 10 kB missed with room for 4 MiB"
    );
    drop(card);
    recorder.flush();
    recorder.batch(0, now(2_000), &batch);
    recorder.flush();
    let segments = recorder.page(0).segments;
    let events: Vec<_> = segments
        .iter()
        .flat_map(|segment| RecordedEvent::all(segment).unwrap())
        .collect();
    assert_eq!(events.len() as u64, 1_000 - missed + 2);
    let told = &events[events.len() - 2];
    assert_eq!(
        *told,
        RecordedEvent::Missed {
            messages: u32::try_from(missed).unwrap(),
            now: now(2_000)
        }
    );
}
