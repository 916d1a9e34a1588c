//! Virtual devices: readings that walk, written without a memory allocation for each.
//!
//! Values are whole tenths and hundredths, so that what the sender calls "above 20 °C" is exactly what stands in
//! the payload.

use bytes::{Bytes, BytesMut};

use super::crowd::portion::SimPortion;
use super::tally::{MessageKind, SimulatedId};

/// Room taken from the allocator at once; payloads are slices of it.
const ARENA_BYTES: usize = 64 * 1024;
/// No payload is longer: all numbers at their widest.
const PAYLOAD_BYTES: usize = 256;
/// 20.0 °C in tenths.
const LIMIT_TENTHS: i64 = 200;

/// Part of a topic pattern that stands for the device's name.
pub const PLACEHOLDER: &str = "{device}";

/// A message ready to be published.
#[derive(Clone, Debug)]
pub struct SimulatedMessage {
    pub name: SimulatedId,
    pub kind: MessageKind,
    pub topic: Bytes,
    pub payload: Bytes,
}

#[derive(Debug)]
struct SimulatedDevice {
    number: u32,
    topic: Bytes,
    /// How each payload begins: `{"device":"d7","seq":`.
    opening: Box<[u8]>,
    next_seq: u64,
    temperature_tenths: i64,
    humidity_tenths: i64,
    battery_hundredths: i64,
}

/// The devices of one connection; they send in turn.
#[derive(Debug)]
pub struct Fleet {
    portion: SimPortion,
    devices: Vec<SimulatedDevice>,
    turn: usize,
    made: u64,
    broken_every: Option<u64>,
    random: fastrand::Rng,
    arena: BytesMut,
}

impl Fleet {
    /// `count` devices named `d0`, `d1`, …; `pattern` is the topic with `{device}` in it. With `broken_every` each
    /// n-th message is cut off in the middle.
    pub fn new(count: u32, pattern: &str, broken_every: Option<u64>, seed: u64) -> Self {
        Self::of(SimPortion::WHOLE, count, pattern, broken_every, seed)
    }

    /// Those of `count` devices that fall to one connection; the n-th message counts over all of them.
    pub fn of(
        portion: SimPortion,
        count: u32,
        pattern: &str,
        broken_every: Option<u64>,
        seed: u64,
    ) -> Self {
        let mut random = fastrand::Rng::with_seed(seed.wrapping_add(u64::from(portion.index)));
        let devices = portion
            .members(count)
            .map(|number| SimulatedDevice {
                number,
                topic: Bytes::from(pattern.replace(PLACEHOLDER, &format!("d{number}"))),
                opening: format!("{{\"device\":\"d{number}\",\"seq\":")
                    .into_bytes()
                    .into_boxed_slice(),
                next_seq: 0,
                temperature_tenths: random.i64(150..=290),
                humidity_tenths: random.i64(300..=600),
                battery_hundredths: random.i64(340..=415),
            })
            .collect();
        Self {
            portion,
            devices,
            turn: 0,
            made: 0,
            broken_every,
            random,
            arena: BytesMut::new(),
        }
    }

    /// The next reading, stamped `now_us` (microseconds since 1970). `None` without devices.
    pub fn next(&mut self, now_us: u64) -> Option<SimulatedMessage> {
        let turn = self.turn;
        let count = self.devices.len();
        let device = self.devices.get_mut(turn)?;
        self.turn = (turn + 1) % count;
        let nth = self.portion.number(self.made) + 1;
        self.made += 1;
        device.step(&mut self.random);
        if self.arena.capacity() < PAYLOAD_BYTES {
            self.arena.reserve(ARENA_BYTES);
        }
        device.write(&mut self.arena, now_us);
        let broken = self
            .broken_every
            .is_some_and(|every| every > 0 && nth.is_multiple_of(every));
        if broken {
            self.arena.truncate(self.arena.len() / 2);
        }
        let above_20 = device.temperature_tenths > LIMIT_TENTHS;
        let made = SimulatedMessage {
            name: SimulatedId {
                device: device.number,
                seq: device.next_seq,
            },
            kind: if broken {
                MessageKind::Broken
            } else {
                MessageKind::Reading { above_20 }
            },
            topic: device.topic.clone(),
            payload: self.arena.split().freeze(),
        };
        device.next_seq += 1;
        Some(made)
    }
}

impl SimulatedDevice {
    fn step(&mut self, random: &mut fastrand::Rng) {
        self.temperature_tenths = (self.temperature_tenths + random.i64(-4..=4)).clamp(120, 310);
        self.humidity_tenths = (self.humidity_tenths + random.i64(-3..=3)).clamp(200, 900);
        if random.u32(..1_000) == 0 {
            self.battery_hundredths = (self.battery_hundredths - 1).max(300);
        }
    }

    fn write(&self, out: &mut BytesMut, now_us: u64) {
        out.extend_from_slice(&self.opening);
        push_number(out, self.next_seq);
        out.extend_from_slice(b",\"ts\":");
        push_number(out, now_us);
        out.extend_from_slice(b",\"temperature\":");
        push_fixed(out, self.temperature_tenths, 10);
        out.extend_from_slice(b",\"humidity\":");
        push_fixed(out, self.humidity_tenths, 10);
        out.extend_from_slice(b",\"battery\":");
        push_fixed(out, self.battery_hundredths, 100);
        out.extend_from_slice(b",\"status\":\"ok\",\"fw\":\"1.4.2\"}");
    }
}

fn push_number(out: &mut BytesMut, number: u64) {
    let mut digits = [0_u8; 20];
    let mut start = digits.len();
    let mut rest = number;
    loop {
        start -= 1;
        digits[start] = b'0' + u8::try_from(rest % 10).expect("a remainder of 10 is one digit");
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// `scaled / scale` with as many decimals as `scale` (10 or 100) has noughts.
fn push_fixed(out: &mut BytesMut, scaled: i64, scale: u64) {
    if scaled < 0 {
        out.extend_from_slice(b"-");
    }
    let scaled = scaled.unsigned_abs();
    push_number(out, scaled / scale);
    out.extend_from_slice(b".");
    if scale == 100 && scaled % scale < 10 {
        out.extend_from_slice(b"0");
    }
    push_number(out, scaled % scale);
}

/// What a receiver reads off a payload.
#[derive(Debug, PartialEq, Eq)]
pub struct Stamp {
    pub name: SimulatedId,
    /// When it was sent, microseconds since 1970.
    pub sent_us: u64,
}

/// The fields that survive every plugin of the examples.
#[derive(serde::Deserialize)]
struct ReadingFields<'a> {
    #[serde(borrow)]
    device: std::borrow::Cow<'a, str>,
    seq: u64,
    ts: u64,
}

/// Reads device, seq and ts; `None` for what no device of a fleet sends.
pub fn read_stamp(payload: &[u8]) -> Option<Stamp> {
    let wire: ReadingFields<'_> = serde_json::from_slice(payload).ok()?;
    let device = wire.device.strip_prefix('d')?.parse().ok()?;
    Some(Stamp {
        name: SimulatedId {
            device,
            seq: wire.seq,
        },
        sent_us: wire.ts,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW_US: u64 = 1_700_000_000_000_000;

    #[test]
    fn a_reading_has_exactly_the_documented_fields() {
        let mut fleet = Fleet::new(8, "devices/{device}/telemetry", None, 1);
        let made = (0..8).map(|_| fleet.next(NOW_US).unwrap()).last().unwrap();
        assert_eq!(made.topic, "devices/d7/telemetry");
        let json: serde_json::Value = serde_json::from_slice(&made.payload).unwrap();
        let keys: Vec<_> = json
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let mut expected = [
            "device",
            "seq",
            "ts",
            "temperature",
            "humidity",
            "battery",
            "status",
            "fw",
        ];
        expected.sort_unstable();
        let mut keys = keys;
        keys.sort_unstable();
        assert_eq!(keys, expected);
        assert_eq!(
            (
                json["device"].as_str(),
                json["seq"].as_u64(),
                json["ts"].as_u64()
            ),
            (Some("d7"), Some(0), Some(NOW_US))
        );
        assert!(
            made.payload.starts_with(
                b"{\"device\":\"d7\",\"seq\":0,\"ts\":1700000000000000,\"temperature\":"
            )
        );
    }

    #[test]
    fn what_is_called_above_20_is_above_20_in_the_payload_and_both_kinds_occur() {
        let mut fleet = Fleet::new(20, "{device}", None, 7);
        let mut above = 0;
        for _ in 0..2_000 {
            let made = fleet.next(NOW_US).unwrap();
            let json: serde_json::Value = serde_json::from_slice(&made.payload).unwrap();
            let is_above = json["temperature"].as_f64().unwrap() > 20.0;
            assert_eq!(made.kind, MessageKind::Reading { above_20: is_above });
            above += u32::from(is_above);
        }
        assert!((200..1_800).contains(&above), "{above} of 2000");
    }

    #[test]
    fn every_nth_is_broken_and_no_receiver_reads_it() {
        let mut fleet = Fleet::new(3, "{device}", Some(4), 7);
        let made: Vec<_> = (0..12).map(|_| fleet.next(NOW_US).unwrap()).collect();
        let broken: Vec<_> = made
            .iter()
            .filter(|made| made.kind == MessageKind::Broken)
            .collect();
        assert_eq!(broken.len(), 3);
        assert!(
            broken
                .iter()
                .all(|made| read_stamp(&made.payload).is_none())
        );
    }

    #[test]
    fn devices_send_in_turn_and_count_by_themselves() {
        let mut fleet = Fleet::new(2, "{device}", None, 7);
        let names: Vec<_> = (0..4)
            .map(|_| fleet.next(NOW_US).unwrap().name)
            .map(|name| (name.device, name.seq))
            .collect();
        assert_eq!(names, [(0, 0), (1, 0), (0, 1), (1, 1)]);
        assert!(Fleet::new(0, "{device}", None, 7).next(NOW_US).is_none());
    }

    #[test]
    fn connections_have_each_device_once_and_break_each_nth_of_all() {
        let mut fleets: Vec<_> = (0..3)
            .map(|index| Fleet::of(SimPortion { index, of: 3 }, 7, "{device}", Some(5), 7))
            .collect();
        let mut broken = Vec::new();
        let mut devices = std::collections::BTreeSet::new();
        for number in 1..=30 {
            let made = fleets[(number - 1) % 3].next(NOW_US).unwrap();
            devices.insert(made.name.device);
            if made.kind == MessageKind::Broken {
                broken.push(number);
            }
        }
        assert_eq!(
            devices.into_iter().collect::<Vec<_>>(),
            [0, 1, 2, 3, 4, 5, 6]
        );
        assert_eq!(broken, [5, 10, 15, 20, 25, 30]);
    }

    #[test]
    fn a_stamp_is_read_whatever_else_the_payload_has() {
        let stamp = read_stamp(
            br#" {"fahrenheit": 77.9, "ts": 5, "seq": 41, "device": "d7", "extra": [1]} "#,
        )
        .unwrap();
        assert_eq!(
            stamp,
            Stamp {
                name: SimulatedId { device: 7, seq: 41 },
                sent_us: 5
            }
        );
        for other in [
            &b"on"[..],
            br#"{"device":"pump","seq":1,"ts":1}"#,
            br#"{"seq":1,"ts":1}"#,
        ] {
            assert!(read_stamp(other).is_none());
        }
    }

    proptest! {
        #[test]
        fn numbers_are_written_as_the_standard_library_does(number in any::<u64>(), tenths in -10_000_i64..10_000, hundredths in 0_i64..100_000) {
            let mut out = BytesMut::new();
            push_number(&mut out, number);
            prop_assert_eq!(std::str::from_utf8(&out).unwrap(), number.to_string());
            out.clear();
            push_fixed(&mut out, tenths, 10);
            prop_assert_eq!(std::str::from_utf8(&out).unwrap().parse::<f64>().unwrap(), tenths as f64 / 10.0);
            out.clear();
            push_fixed(&mut out, hundredths, 100);
            prop_assert_eq!(std::str::from_utf8(&out).unwrap(), format!("{:.2}", hundredths as f64 / 100.0));
        }
    }
}
