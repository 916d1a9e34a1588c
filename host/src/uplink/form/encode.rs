//! What a message looks like upstream: as it is, with its id, in an envelope, or packed with its neighbours.
//!
//! The id is the place of the message in its queue, `<gateway>/<store>/<uplink>/<class>/<boot>/<number>`: it stays the same
//! however often the message is sent, no other gateway and no other store has it, and numbers of one boot have no gap. A consumer can so drop what it has had, and ask where a
//! number is that never came: in the dead letters, or given up.

use std::fmt::Write;

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;
use zstd::bulk::Compressor;

use super::super::carrier::PacketOrigin;
use super::json::{is_json, put_json_payload};
use crate::clock::{Now, WallTime};
use crate::message::legal::{CONTENT_ENCODING, CONTENT_TYPE, OWN_PREFIX, PAYLOAD_FORMAT, ROUNDS};
use crate::message::{Headers, Marks, Message, Stored, differ_by_trace_only, push_header};

/// The user property that carries the id.
const ID: &str = "tidegate-id";
/// The user property of what is replayed: its arrival, microseconds since 1970.
const REPLAYED: &str = "tidegate-replayed";
const REPLAYED_LEVEL: &[u8] = b"/replayed";

/// zstd's own default: slower ones gain a few percent on telemetry.
const LEVEL: i32 = 3;

/// Where the id of a message goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IdForm {
    #[default]
    None,
    /// Into the user property `tidegate-id`; MQTT 3.1.1 has none.
    Property,
    /// Into an object around the payload: id, boot, seq, device, ts and payload.
    Envelope,
}

/// How payloads are put together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pack {
    /// A publish for each message.
    #[default]
    Raw,
    /// Neighbours with one topic become one JSON array.
    JsonArray,
    /// Neighbours with one topic become one MessagePack array.
    MsgpackArray,
}

/// How a message from the backlog says that fresh data went ahead of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplayMark {
    /// By the user property `tidegate-replayed`, with the time of its arrival; MQTT 3.1.1 has none.
    #[default]
    Property,
    /// By a last level of its topic, `/replayed`.
    Topic,
    None,
}

/// How messages are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishFormat {
    /// How what is replayed says so; an envelope does in any case.
    pub replay: ReplayMark,
    /// Where the id goes.
    pub id: IdForm,
    /// Whether neighbours share a publish.
    pub pack: Pack,
    /// Largest payload that is packed, bytes, before it is compressed.
    pub pack_bytes: usize,
    /// Whether payloads are compressed with zstd.
    pub compress: bool,
    /// Whether messages tell how often they went out there: messages are taken from that broker, too.
    pub counts_rounds: bool,
    /// Upstream keeps retained messages, and takes one without payload for the end of a value.
    pub deletes_retained: bool,
}

impl Default for PublishFormat {
    fn default() -> Self {
        Self {
            replay: ReplayMark::Property,
            id: IdForm::None,
            pack: Pack::Raw,
            pack_bytes: 16 << 10,
            compress: false,
            counts_rounds: false,
            deletes_retained: true,
        }
    }
}

/// What goes out in one piece, and how many messages are in it.
#[derive(Debug)]
pub(in crate::uplink) struct Encoded {
    pub(in crate::uplink) topic: Bytes,
    pub(in crate::uplink) payload: Bytes,
    pub(in crate::uplink) headers: Bytes,
    pub(in crate::uplink) marks: Marks,
    pub(in crate::uplink) count: usize,
}

/// Encodes the messages of one uplink.
pub(in crate::uplink) struct Encoder {
    format: PublishFormat,
    /// Of each way: `<gateway>/<store>/<uplink>/<class>/`, and whether its messages are replayed.
    names: Vec<(String, bool)>,
    /// Header blocks and payloads are cut from these, so that not every message costs an allocation.
    block: BytesMut,
    payload: BytesMut,
    text: String,
    /// Number of this run, and the time.
    time: (u32, Now),
    /// `None`: payloads are not compressed, or there is no memory for it.
    compressor: Option<Compressor<'static>>,
}

/// Around a payload. In JSON that is put in behind the other members, since it may be JSON itself.
#[derive(Serialize)]
struct Envelope<'a> {
    id: &'a str,
    boot: u64,
    seq: u64,
    device: &'a str,
    /// Wall clock at arrival, microseconds since 1970.
    ts: u64,
    /// `unset`: by a clock that was not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    clock: Option<&'static str>,
    /// Fresh data went ahead of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    replayed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a serde_bytes::Bytes>,
}

impl Encoder {
    /// For queues with these names (`<uplink>/<class>/`); what comes out of some is replayed.
    pub(in crate::uplink) fn new(format: PublishFormat, names: Vec<(String, bool)>) -> Self {
        let compressor = if format.compress {
            Compressor::new(LEVEL).ok()
        } else {
            None
        };
        let block = BytesMut::new();
        let payload = BytesMut::new();
        let text = String::new();
        let time = (0, Now::default());
        Self {
            format,
            names,
            block,
            payload,
            text,
            time,
            compressor,
        }
    }

    /// It is so late, in the run of this number.
    pub(in crate::uplink) fn at(&mut self, boot: u32, now: Now) {
        self.time = (boot, now);
    }

    /// Wall clock at a message's arrival. One that came before the clock was set is made up for once it is, in the same run.
    fn arrival(&self, message: &Message) -> Option<WallTime> {
        let (boot, now) = self.time;
        if !message.marks.has(Marks::CLOCK_UNSET) {
            return Some(message.received);
        }
        let ago = now.uptime.checked_us_since(message.uptime)?;
        (now.is_set() && message.id.boot == boot).then(|| now.wall.minus_us(ago))
    }

    /// The message of a queue, and what its id begins with.
    pub(in crate::uplink) fn about<'a>(
        &'a self,
        queue: usize,
        stored: &'a Stored,
    ) -> PacketOrigin<'a> {
        let prefix = &self.names[queue].0;
        PacketOrigin {
            stored,
            prefix,
            arrived: self.arrival(&stored.message),
            is_asked_anew: false,
            is_beside: false,
        }
    }

    /// Whether messages go out as they came.
    fn is_plain(&self, queue: usize) -> bool {
        let is_marked = self.names[queue].1 && self.format.replay != ReplayMark::None;
        let is_as_it_came = self.format.id == IdForm::None
            && self.format.pack == Pack::Raw
            && !self.format.counts_rounds;
        is_as_it_came && self.compressor.is_none() && !is_marked
    }

    /// Whether user properties tell what is replayed.
    pub(in crate::uplink) fn marks_by_property(&self) -> bool {
        self.format.replay == ReplayMark::Property
            && self.names.iter().any(|(_, is_replayed)| *is_replayed)
    }

    fn topic(&self, queue: usize, message: &Message) -> Bytes {
        if self.format.replay == ReplayMark::Topic && self.names[queue].1 {
            return [&message.topic, REPLAYED_LEVEL].concat().into();
        }
        message.topic.clone()
    }

    /// The next publish of `queue`, whose messages are `ready`: the first of them, and where payloads are packed as many
    /// as fit behind it. `None` when there is none.
    pub(in crate::uplink) fn packet<'a>(
        &mut self,
        queue: usize,
        mut ready: impl Iterator<Item = &'a Stored>,
    ) -> Option<Encoded> {
        let first = ready.next()?;
        let message = &first.message;
        let topic = self.topic(queue, message);
        let marks = message.marks;
        if message.is_delete() && self.format.deletes_retained {
            return Some(self.bare(queue, first));
        }
        if self.is_plain(queue) {
            return Some(Encoded {
                topic,
                payload: message.payload.clone(),
                headers: message.headers.clone(),
                marks,
                count: 1,
            });
        }
        let count = self.fill(queue, first, ready);
        let content_type = match (self.format.pack, self.format.id) {
            (Pack::MsgpackArray, _) => Some("application/vnd.msgpack"),
            (Pack::JsonArray, _) | (Pack::Raw, IdForm::Envelope) => Some("application/json"),
            (Pack::Raw, _) => None,
        };
        let plain = if content_type.is_some() {
            self.payload.split().freeze()
        } else {
            message.payload.clone()
        };
        // A plugin may have compressed it already.
        let is_encoded =
            content_type.is_none() && Headers(&message.headers).get(CONTENT_ENCODING).is_some();
        let compressor = self.compressor.as_mut().filter(|_| !is_encoded);
        let compressed = compressor.and_then(|compressor| compressor.compress(&plain).ok());
        let headers = self.finish_headers(&message.headers, content_type, compressed.is_some());
        let payload = compressed.map_or(plain, Bytes::from);
        Some(Encoded {
            topic,
            payload,
            headers,
            marks,
            count,
        })
    }

    /// A publish that deletes what upstream has retained: anything in its payload would be a new value. It goes where the
    /// value went, and has its id, if that is a property.
    fn bare(&mut self, queue: usize, stored: &Stored) -> Encoded {
        self.block.clear();
        self.put_rounds(&stored.message);
        if self.format.id == IdForm::Property {
            self.text.clear();
            // Writing into a text cannot fail.
            let _ = write!(
                self.text,
                "{}{}/{}",
                self.names[queue].0,
                stored.seq.boot(),
                stored.seq.number()
            );
            put_header(&mut self.block, ID, self.text.as_bytes());
        }
        let message = &stored.message;
        let headers = self.finish_headers(&message.headers, None, false);
        Encoded {
            topic: message.topic.clone(),
            payload: Bytes::new(),
            headers,
            marks: message.marks,
            count: 1,
        }
    }

    /// Writes the payload of the first message and of those that fit behind it, and their ids where they are properties.
    fn fill<'a>(
        &mut self,
        queue: usize,
        first: &Stored,
        mut ready: impl Iterator<Item = &'a Stored>,
    ) -> usize {
        self.payload.clear();
        self.block.clear();
        self.put_rounds(&first.message);
        match self.format.pack {
            Pack::Raw => {
                self.put(queue, first);
                return 1;
            }
            Pack::JsonArray => self.payload.put_u8(b'['),
            // An array with a 32-bit length, which is written at the end.
            Pack::MsgpackArray => self.payload.extend_from_slice(&[0xdd, 0, 0, 0, 0]),
        }
        let mut count: u32 = 0;
        let mut next = Some(first);
        while let Some(stored) = next {
            let payload = self.payload.len();
            let block = self.block.len();
            if count > 0 && self.format.pack == Pack::JsonArray {
                self.payload.put_u8(b',');
            }
            self.put(queue, stored);
            if count > 0 && self.payload.len() >= self.format.pack_bytes {
                self.payload.truncate(payload);
                self.block.truncate(block);
                break;
            }
            count += 1;
            next = ready.next().filter(|next| goes_with(next, first));
        }
        match self.format.pack {
            Pack::MsgpackArray => self.payload[1..5].copy_from_slice(&count.to_be_bytes()),
            _ => self.payload.put_u8(b']'),
        }
        usize::try_from(count).unwrap_or(usize::MAX)
    }

    fn put_rounds(&mut self, message: &Message) {
        if self.format.counts_rounds {
            put_header(
                &mut self.block,
                ROUNDS,
                (message.marks.rounds() + 1).to_string().as_bytes(),
            );
        }
    }

    /// Writes one message as it stands in the payload.
    fn put(&mut self, queue: usize, stored: &Stored) {
        let Stored { seq, message } = stored;
        self.text.clear();
        if self.format.id != IdForm::None {
            // Writing into a text cannot fail.
            let _ = write!(
                self.text,
                "{}{}/{}",
                self.names[queue].0,
                seq.boot(),
                seq.number()
            );
        }
        if self.format.id == IdForm::Property {
            put_header(&mut self.block, ID, self.text.as_bytes());
        }
        let replayed = self.names[queue].1.then_some(true);
        let (ts, clock) = match self.arrival(message) {
            Some(arrived) => (arrived.0, None),
            None => (message.received.0, Some("unset")),
        };
        if replayed.is_some() && self.format.replay == ReplayMark::Property {
            put_header(&mut self.block, REPLAYED, ts.to_string().as_bytes());
        }
        let out = &mut self.payload;
        if self.format.id == IdForm::Envelope {
            let device = String::from_utf8_lossy(message.key());
            let id = &*self.text;
            let device = &*device;
            let boot = seq.boot();
            let number = seq.number();
            let envelope = |payload| Envelope {
                id,
                boot,
                seq: number,
                device,
                ts,
                clock,
                replayed,
                payload,
            };
            match self.format.pack {
                Pack::MsgpackArray => put_msgpack(
                    out,
                    envelope(Some(serde_bytes::Bytes::new(&message.payload))),
                ),
                Pack::Raw | Pack::JsonArray => put_json(out, &envelope(None), &message.payload),
            }
            return;
        }
        match self.format.pack {
            Pack::Raw => {}
            Pack::JsonArray if is_json(&message.payload) => out.extend_from_slice(&message.payload),
            Pack::JsonArray => {
                out.put_u8(b'{');
                put_json_payload(out, &message.payload);
            }
            Pack::MsgpackArray => put_msgpack(out, serde_bytes::Bytes::new(&message.payload)),
        }
    }

    /// Our headers and the message's own; a content type of ours takes the place of its own.
    fn finish_headers(
        &mut self,
        own: &Bytes,
        content_type: Option<&str>,
        compressed: bool,
    ) -> Bytes {
        if self.block.is_empty() && content_type.is_none() && !compressed {
            return own.clone();
        }
        let is_bytes = compressed || self.format.pack == Pack::MsgpackArray;
        let is_kept = |name: &str| match name {
            CONTENT_TYPE | CONTENT_ENCODING => content_type.is_none(),
            PAYLOAD_FORMAT => !is_bytes,
            // What a plugin says under a name of ours would stand beside our own word.
            name => !name.starts_with(OWN_PREFIX),
        };
        for (name, value) in Headers(own).flatten().filter(|(name, _)| is_kept(name)) {
            put_header(&mut self.block, name, value);
        }
        if let Some(content_type) = content_type {
            put_header(&mut self.block, CONTENT_TYPE, content_type.as_bytes());
        }
        if compressed {
            put_header(&mut self.block, CONTENT_ENCODING, b"zstd");
        }
        self.block.split().freeze()
    }
}

/// Whether a message may share a publish with `first`. What expires travels alone: what is left of its life is its own.
fn goes_with(stored: &Stored, first: &Stored) -> bool {
    let one = &stored.message;
    let other = &first.message;
    !one.expires()
        && !one.is_delete()
        && one.topic == other.topic
        && are_alike(one, other)
        && one.marks.has(Marks::RETAIN) == other.marks.has(Marks::RETAIN)
        && one.marks.rounds() == other.marks.rounds()
}

/// Whether their headers are the same, but for where each stands in a trace.
fn are_alike(one: &Message, other: &Message) -> bool {
    let is_traced = || one.marks.has(Marks::TRACED) || other.marks.has(Marks::TRACED);
    one.headers == other.headers
        || is_traced() && differ_by_trace_only(&one.headers, &other.headers)
}

/// What came out of a header block, or was made here, fits one.
fn put_header(block: &mut BytesMut, name: &str, value: &[u8]) {
    let pushed = push_header(block, name, value);
    debug_assert!(pushed.is_ok(), "header `{name}` is too long");
}

fn put_json(out: &mut BytesMut, envelope: &Envelope<'_>, payload: &[u8]) {
    // Texts and numbers have nothing that JSON cannot say, and the buffer grows.
    let written = serde_json::to_writer((&mut *out).writer(), envelope);
    debug_assert!(written.is_ok());
    // The payload goes in before the closing brace.
    out.truncate(out.len().saturating_sub(1));
    out.put_u8(b',');
    put_json_payload(out, payload);
}

fn put_msgpack(out: &mut BytesMut, value: impl Serialize) {
    let written = value.serialize(&mut rmp_serde::Serializer::new(out.writer()).with_struct_map());
    debug_assert!(written.is_ok());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Uptime, WallTime};
    use crate::message::{Message, Seq, Span};
    use serde_json::{Value, json};

    #[test]
    fn an_arrival_by_a_clock_that_was_not_set_is_made_up_for_or_says_so() {
        const SET: u64 = 1_800_000_000_000_000;
        let mut encoder = encoder_of(IdForm::Envelope, Pack::Raw);
        let mut stored = stored(1, "a/d1", b"1");
        (
            stored.message.received.0,
            stored.message.uptime.0,
            stored.message.id.boot,
        ) = (7_000_000, 7_000_000, 3);
        stored.message.marks = Marks::default().with(Marks::CLOCK_UNSET, true);
        let mut at = |boot, wall_us, uptime_us| -> Value {
            encoder.at(
                boot,
                Now {
                    wall: WallTime(wall_us),
                    uptime: Uptime(uptime_us),
                },
            );
            serde_json::from_slice(&encoder.packet(0, std::iter::once(&stored)).unwrap().payload)
                .unwrap()
        };
        let found = at(3, 9_000_000, 9_000_000);
        assert_eq!(
            (&found["ts"], &found["clock"]),
            (&json!(7_000_000), &json!("unset"))
        );
        assert_eq!(
            at(4, SET, 9_000_000)["clock"],
            "unset",
            "of an earlier run it is not known"
        );
        let found = at(3, SET, 9_000_000);
        assert_eq!(
            (&found["ts"], &found["clock"]),
            (&json!(SET - 2_000_000), &Value::Null)
        );
        // A row or a line, which has no room for a word, says the same.
        let mut arrived = |boot| {
            encoder.at(
                boot,
                Now {
                    wall: WallTime(SET),
                    uptime: Uptime(9_000_000),
                },
            );
            encoder.about(0, &stored).arrived
        };
        assert_eq!(
            (arrived(4), arrived(3)),
            (None, Some(WallTime(SET - 2_000_000)))
        );
    }

    const PLACE: u64 = (3 << Seq::BOOT_SHIFT) + 17;

    fn stored(number: u64, topic: &'static str, payload: &'static [u8]) -> Stored {
        let message = Message {
            topic: Bytes::from_static(topic.as_bytes()),
            key: Span { offset: 3, len: 2 },
            payload: Bytes::from_static(payload),
            received: WallTime(5),
            ..Message::default()
        };
        Stored {
            seq: Seq(PLACE + number),
            message,
        }
    }

    fn encoder_of(id: IdForm, pack: Pack) -> Encoder {
        Encoder::new(
            PublishFormat {
                id,
                pack,
                ..PublishFormat::default()
            },
            vec![("cloud/telemetry/".into(), false)],
        )
    }

    fn headers(packet: &Encoded) -> Vec<(String, String)> {
        let text = |entry: Result<(&str, &[u8]), _>| {
            let (name, value) = entry.unwrap();
            (name.to_owned(), String::from_utf8(value.to_vec()).unwrap())
        };
        Headers(&packet.headers).map(text).collect()
    }

    #[test]
    fn what_is_replayed_says_so_in_the_way_that_was_asked_for() {
        let message = stored(0, "up/d1", b"{}");
        let packet = |format| {
            Encoder::new(format, vec![("cloud/telemetry/".into(), true)])
                .packet(0, [&message].into_iter())
                .unwrap()
        };
        let property = packet(PublishFormat::default());
        let headers: Vec<_> = Headers(&property.headers).flatten().collect();
        assert_eq!(
            (&*property.topic, headers),
            (&b"up/d1"[..], vec![(REPLAYED, &b"5"[..])])
        );
        let topic = packet(PublishFormat {
            replay: ReplayMark::Topic,
            ..PublishFormat::default()
        });
        assert_eq!(
            (&*topic.topic, &*topic.headers),
            (&b"up/d1/replayed"[..], &b""[..])
        );
        let none = packet(PublishFormat {
            replay: ReplayMark::None,
            ..PublishFormat::default()
        });
        assert_eq!((&*none.topic, &*none.headers), (&b"up/d1"[..], &b""[..]));
        let envelope = packet(PublishFormat {
            replay: ReplayMark::None,
            id: IdForm::Envelope,
            ..PublishFormat::default()
        });
        assert_eq!(
            serde_json::from_slice::<Value>(&envelope.payload).unwrap()["replayed"],
            json!(true)
        );
    }

    #[test]
    fn a_plain_message_is_the_same_bytes() {
        let one = stored(0, "up/d1", b"{}");
        let packet = encoder_of(IdForm::None, Pack::Raw)
            .packet(0, [&one].into_iter())
            .unwrap();
        assert_eq!(
            (packet.payload.as_ptr(), packet.count),
            (one.message.payload.as_ptr(), 1)
        );
        assert!(packet.headers.is_empty());
    }

    #[test]
    fn the_id_is_a_user_property_beside_the_messages_own() {
        let mut one = stored(0, "up/d1", b"{}");
        let mut own = Vec::new();
        push_header(&mut own, "unit", b"C").unwrap();
        one.message.headers = own.into();
        let packet = encoder_of(IdForm::Property, Pack::Raw)
            .packet(0, [&one].into_iter())
            .unwrap();
        let expected = [("tidegate-id", "cloud/telemetry/3/17"), ("unit", "C")];
        assert_eq!(
            headers(&packet),
            expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
        assert_eq!(&packet.payload[..], b"{}");
    }

    #[test]
    fn an_envelope_holds_json_as_it_is_and_the_rest_in_base64() {
        let mut encoder = encoder_of(IdForm::Envelope, Pack::Raw);
        let json = encoder
            .packet(0, [&stored(0, "up/d1", b"{\"t\": 1.50}")].into_iter())
            .unwrap();
        let text = std::str::from_utf8(&json.payload).unwrap();
        assert_eq!(
            text,
            r#"{"id":"cloud/telemetry/3/17","boot":3,"seq":17,"device":"d1","ts":5,"payload":{"t": 1.50}}"#
        );
        let bytes = encoder
            .packet(0, [&stored(1, "up/d1", b"\xff\x00")].into_iter())
            .unwrap();
        let value: Value = serde_json::from_slice(&bytes.payload).unwrap();
        assert_eq!(
            (&value["seq"], &value["payload_base64"]),
            (&json!(18), &json!("/wA="))
        );
        assert_eq!(
            headers(&bytes),
            [(":content-type".to_owned(), "application/json".to_owned())]
        );
    }

    #[test]
    fn neighbours_with_one_topic_share_a_publish_up_to_the_limit() {
        let messages = [
            stored(0, "up/d1", b"1"),
            stored(1, "up/d1", b"x"),
            stored(2, "up/d1", b"3"),
            stored(3, "up/d2", b"4"),
        ];
        let mut plain = encoder_of(IdForm::None, Pack::JsonArray);
        let packet = plain.packet(0, messages.iter()).unwrap();
        assert_eq!(
            (&packet.payload[..], packet.count),
            (br#"[1,{"payload_base64":"eA=="},3]"#.as_slice(), 3)
        );
        plain.format.pack_bytes = 20;
        assert_eq!(plain.packet(0, messages.iter()).unwrap().count, 1);
        plain.format.pack_bytes = 1;
        assert_eq!(plain.packet(0, messages.iter()).unwrap().count, 1);
        assert!(plain.packet(0, [].into_iter()).is_none());
    }

    #[test]
    fn a_message_that_is_left_out_of_a_batch_leaves_no_id_behind() {
        let messages = [stored(0, "up/d1", b"1"), stored(1, "up/d1", b"2345678")];
        let mut encoder = encoder_of(IdForm::Property, Pack::JsonArray);
        encoder.format.pack_bytes = 6;
        let packet = encoder.packet(0, messages.iter()).unwrap();
        assert_eq!(
            (packet.count, headers(&packet)[0].1.as_str()),
            (1, "cloud/telemetry/3/17")
        );
        assert_eq!(headers(&packet).len(), 2);
    }

    #[test]
    fn message_pack_holds_the_exact_bytes() {
        #[derive(serde::Deserialize)]
        struct Read {
            id: String,
            seq: u64,
            payload: serde_bytes::ByteBuf,
        }
        let messages = [stored(0, "up/d1", b"\xff"), stored(1, "up/d1", b"{}")];
        let packet = encoder_of(IdForm::Envelope, Pack::MsgpackArray)
            .packet(0, messages.iter())
            .unwrap();
        let read: Vec<Read> = rmp_serde::from_slice(&packet.payload).unwrap();
        assert_eq!(
            (read[0].id.as_str(), read[1].seq),
            ("cloud/telemetry/3/17", 18)
        );
        assert_eq!(
            (&read[0].payload[..], &read[1].payload[..]),
            (b"\xff".as_slice(), b"{}".as_slice())
        );
        let packet = encoder_of(IdForm::None, Pack::MsgpackArray)
            .packet(0, messages.iter())
            .unwrap();
        let read: Vec<serde_bytes::ByteBuf> = rmp_serde::from_slice(&packet.payload).unwrap();
        assert_eq!(read.len(), 2);
    }

    #[test]
    fn what_deletes_a_retained_value_goes_out_with_nothing_in_it() {
        let delete = |number| {
            let mut stored = stored(number, "up/d1", b"");
            stored.message.marks = Marks::default().with(Marks::RETAIN, true);
            stored
        };
        let value = || Stored {
            message: Message {
                payload: Bytes::from_static(b"1"),
                ..delete(0).message
            },
            ..delete(0)
        };
        for (id, pack, compress) in [
            (IdForm::None, Pack::Raw, true),
            (IdForm::Envelope, Pack::Raw, false),
            (IdForm::Envelope, Pack::MsgpackArray, true),
            (IdForm::None, Pack::JsonArray, false),
        ] {
            let mut encoder = Encoder::new(
                PublishFormat {
                    id,
                    pack,
                    compress,
                    ..PublishFormat::default()
                },
                vec![("cloud/telemetry/".into(), true)],
            );
            let packet = encoder
                .packet(0, [&delete(0), &value()].into_iter())
                .unwrap();
            assert_eq!(
                (
                    &*packet.payload,
                    packet.count,
                    &*packet.topic,
                    packet.headers.len()
                ),
                (&b""[..], 1, &b"up/d1"[..], 0)
            );
            assert!(packet.marks.has(Marks::RETAIN));
            let packet = encoder
                .packet(0, [&value(), &delete(1)].into_iter())
                .unwrap();
            assert_eq!(packet.count, 1, "nor does it go with its neighbours");
        }
        let mut encoder = encoder_of(IdForm::Property, Pack::Raw);
        let packet = encoder.packet(0, [&delete(0)].into_iter()).unwrap();
        assert_eq!(
            headers(&packet),
            [("tidegate-id".to_owned(), "cloud/telemetry/3/17".to_owned())]
        );
    }

    #[test]
    fn a_compressed_payload_says_so_and_is_the_same_inside() {
        let one = stored(0, "up/d1", &[b'a'; 5_000]);
        let format = PublishFormat {
            compress: true,
            ..PublishFormat::default()
        };
        let packet = Encoder::new(format, vec![("cloud/telemetry/".into(), false)])
            .packet(0, [&one].into_iter())
            .unwrap();
        assert!(packet.payload.len() < 100);
        assert_eq!(
            zstd::bulk::decompress(&packet.payload, 9_999).unwrap(),
            one.message.payload
        );
        assert_eq!(
            headers(&packet),
            [("content-encoding".to_owned(), "zstd".to_owned())]
        );
    }
}
