//! Readings as the benchmarks feed them: 130 bytes of JSON, a hundred devices.

use bytes::Bytes;
use tidegate::message::{Marks, Message, MessageId, Qos, Span};

use crate::load::write_reading;
use crate::tally::device_name;

/// `count` readings at QoS 1 of a hundred devices, all of them over 20 degrees.
pub fn messages(count: usize) -> Vec<Message> {
    (0..count).map(message).collect()
}

fn message(index: usize) -> Message {
    const START: &str = "devices/";
    let device = device_name(index % 100);
    let mut payload = String::new();
    write_reading(
        &mut payload,
        &device,
        (index / 100) as u64,
        1_700_000_000_000_000,
        25.5,
    );
    Message {
        id: MessageId {
            boot: 1,
            seq: index as u64 + 1,
        },
        topic: Bytes::from(format!("{START}{device}/telemetry")),
        key: Span {
            offset: START.len() as u16,
            len: device.len() as u16,
        },
        payload: Bytes::from(payload),
        marks: Marks::of(Qos::AtLeastOnce),
        received: tidegate::clock::WallTime(1_700_000_000_000_000),
        ..Message::default()
    }
}
