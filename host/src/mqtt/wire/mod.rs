//! Bytes to packets and back, for MQTT 5 and 3.1.1. The only folder that names rumqttc.
//!
//! rumqttc's codec writes CONNECT and SUBSCRIBE. What comes in is read by us: its tables reject codes they do not list, its
//! reader may ask for more bytes after having consumed the frame, and it copies topics (v4), miscounts subscription
//! identifiers and lets properties run into the payload (v5). PUBLISH (`publish`) and the plain four-byte acknowledgements
//! are the hot path, too, and the head of a packet too large to keep must be read without the rest; all other answers are
//! in `answer`.

mod answer;
#[cfg(test)]
pub(super) mod broker;
mod packet;
mod publish;
mod subscribe;
mod v4;
mod v5;

pub(super) use packet::{AckPacket, ConnAck, Malformed, OddPacket, Packet, ProtocolVersion};
pub(super) use publish::check_filter;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use self::packet::{PUBACK, PUBCOMP, PUBREC, PUBREL};
use self::publish::{Decoded, FixedHeader};
use super::{Config, Error, Publish, Subscription, UnsendablePublish};

/// Bytes kept of a packet too large to take: the longest topic, 16 KiB of properties, 4 KiB of payload.
const HEAD_BYTES: usize = 2 + 65_535 + 2 + 4 + (16 << 10) + PAYLOAD_HEAD_BYTES;
/// Payload kept of such a packet.
const PAYLOAD_HEAD_BYTES: usize = 4 << 10;
/// What is not a PUBLISH may always be this large, however low the limit for messages is.
const CONTROL_BYTES: usize = 64 << 10;

const PINGREQ: [u8; 2] = [0xC0, 0x00];
const CONNACK: u8 = 0x20;
const UNSUBACK: u8 = 0xB0;
const PINGRESP: u8 = 0xD0;
const DISCONNECT: [u8; 2] = [0xE0, 0x00];

/// First byte and lengths of a packet.
#[derive(Clone, Copy, Debug)]
struct PacketHeader {
    first: u8,
    header: usize,
    body: usize,
}

impl PacketHeader {
    /// Reads the fixed header; `None` when it is not all there.
    fn peek(input: &[u8]) -> Result<Option<Self>, Malformed> {
        let Some((first, rest)) = input.split_first() else {
            return Ok(None);
        };
        let mut body = 0;
        for (place, byte) in rest.iter().enumerate().take(4) {
            body |= usize::from(byte & 0x7F) << (7 * place);
            if byte & 0x80 == 0 {
                return Ok(Some(Self {
                    first: *first,
                    header: place + 2,
                    body,
                }));
            }
        }
        if rest.len() >= 4 {
            Err(Malformed("remaining length of more than four bytes"))
        } else {
            Ok(None)
        }
    }

    fn len(self) -> usize {
        self.header + self.body
    }

    fn is_publish(self) -> bool {
        self.first >> 4 == 3
    }
}

/// A PUBLISH that is read past.
#[derive(Debug)]
struct Skip {
    frame: PacketHeader,
    left: usize,
    head: Vec<u8>,
}

/// Reads and writes the packets of one connection.
#[derive(Debug)]
pub(super) struct Wire {
    version: ProtocolVersion,
    max_packet_bytes: usize,
    skip: Option<Skip>,
    /// CONNACK has come: what is odd from then on costs no connection.
    is_greeted: bool,
    /// What was odd since that was last asked, a bit for each [`OddPacket`].
    odd: u8,
}

impl Wire {
    pub(super) fn new(version: ProtocolVersion, max_packet_bytes: u32) -> Self {
        Self {
            version,
            max_packet_bytes: usize::try_from(max_packet_bytes).unwrap_or(usize::MAX),
            skip: None,
            is_greeted: false,
            odd: 0,
        }
    }

    /// What was odd since the last call, a bit for each [`OddPacket`].
    pub(super) fn take_odd(&mut self) -> u8 {
        std::mem::take(&mut self.odd)
    }

    /// Lets something odd pass, once it is known that a broker says it.
    fn pass(&mut self, odd: OddPacket) -> Result<(), Malformed> {
        if !self.is_greeted {
            return Err(Malformed(odd.words()));
        }
        self.odd |= odd.bit();
        Ok(())
    }

    pub(super) fn version(&self) -> ProtocolVersion {
        self.version
    }

    /// Takes the next packet out of `input`; `None` when it is not all there. After an error the stream is lost.
    pub(super) fn read(&mut self, input: &mut BytesMut) -> Result<Option<Packet>, Malformed> {
        if let Some(skip) = self.skip.take() {
            return Ok(self.read_past(skip, input));
        }
        let Some(mut frame) = PacketHeader::peek(input)? else {
            return Ok(None);
        };
        let odd = oddity(frame.first)?;
        if let Some(odd) = odd {
            self.pass(odd)?;
            frame.first = proper(frame.first);
        }
        if frame.len() > self.max_packet_bytes {
            if frame.is_publish() {
                input.advance(frame.header);
                let skip = Skip {
                    frame,
                    left: frame.body,
                    head: Vec::new(),
                };
                return Ok(self.read_past(skip, input));
            }
            if frame.len() > CONTROL_BYTES {
                return Err(Malformed(
                    "a packet that is not a PUBLISH is larger than the limit",
                ));
            }
        }
        if input.len() < frame.len() {
            return Ok(None);
        }
        let mut bytes = input.split_to(frame.len());
        if frame.is_publish() {
            bytes.advance(frame.header);
            let form = FixedHeader {
                version: self.version,
                first: frame.first,
            };
            let Decoded {
                publish,
                packet_id,
                unfit,
                ..
            } = publish::decode(form, bytes.freeze());
            return Ok(Some(match unfit {
                None => Packet::Publish { publish, packet_id },
                Some(why) => Packet::Unfit {
                    publish,
                    packet_id,
                    why,
                },
            }));
        }
        if matches!(odd, Some(OddPacket::ClientOnly | OddPacket::NotAskedFor)) {
            return Ok(Some(Packet::Odd));
        }
        self.control(frame, &bytes).map(Some)
    }

    /// Bytes still to come until the packet at the front of `input` is complete, as far as that is known.
    pub(super) fn missing(&self, input: &[u8]) -> usize {
        match PacketHeader::peek(input) {
            Ok(Some(frame)) if self.skip.is_none() && frame.len() <= self.max_packet_bytes => {
                frame.len().saturating_sub(input.len())
            }
            _ => 0,
        }
    }

    fn read_past(&mut self, mut skip: Skip, input: &mut BytesMut) -> Option<Packet> {
        let here = skip.left.min(input.len());
        let kept = here.min(HEAD_BYTES - skip.head.len());
        skip.head.extend_from_slice(&input[..kept]);
        input.advance(here);
        skip.left -= here;
        if skip.left > 0 {
            self.skip = Some(skip);
            return None;
        }
        let form = FixedHeader {
            version: self.version,
            first: skip.frame.first,
        };
        let Decoded {
            publish: mut head,
            packet_id,
            ..
        } = publish::decode_head(form, Bytes::from(skip.head));
        // A copy, so that four KiB do not hold the memory of the whole head.
        head.payload =
            Bytes::copy_from_slice(&head.payload[..head.payload.len().min(PAYLOAD_HEAD_BYTES)]);
        head.topic = Bytes::copy_from_slice(&head.topic);
        Some(Packet::Oversize {
            head,
            packet_id,
            bytes: skip.frame.len() as u64,
        })
    }

    fn control(&mut self, frame: PacketHeader, bytes: &[u8]) -> Result<Packet, Malformed> {
        let body = &bytes[frame.header..];
        if let (&[high, low], PUBACK | PUBREC | PUBREL | PUBCOMP) = (body, frame.first) {
            return Ok(Packet::acknowledgement(
                frame.first,
                AckPacket {
                    packet_id: u16::from_be_bytes([high, low]),
                    code: 0,
                    words: None,
                },
            ));
        }
        if frame.first == PINGRESP {
            if !body.is_empty() {
                self.pass(OddPacket::Body)?;
            }
            return Ok(Packet::PingResp);
        }
        if frame.first == UNSUBACK {
            return Ok(Packet::UnsubAck);
        }
        if frame.first == CONNACK && self.is_greeted {
            self.pass(OddPacket::Greeting)?;
            return Ok(Packet::Odd);
        }
        let packet = answer::decode(self.version, frame.first, body)?;
        self.is_greeted |= matches!(packet, Packet::ConnAck(_));
        Ok(packet)
    }

    pub(super) fn connect(&self, config: &Config, out: &mut BytesMut) -> Result<(), Error> {
        check_lengths(config)?;
        match self.version {
            ProtocolVersion::V5 => v5::connect(config, out),
            ProtocolVersion::V311 => v4::connect(config, out),
        }
    }

    /// Appends PUBLISH, unless it is larger than `limit` or not one MQTT can carry. `packet_id` is 0 for QoS 0.
    pub(super) fn publish(
        &self,
        publish: &Publish,
        packet_id: u16,
        limit: u32,
        out: &mut BytesMut,
    ) -> Result<(), UnsendablePublish> {
        publish::encode(self.version, publish, packet_id, limit, out)
    }

    /// Appends SUBSCRIBE for filters that were checked; `id` as in [`Subscription::id`].
    pub(super) fn subscribe(
        &self,
        packet_id: u16,
        wanted: &[&Subscription],
        id: Option<u32>,
        out: &mut BytesMut,
    ) {
        subscribe::encode(self.version, packet_id, wanted, id, out);
    }

    pub(super) fn unsubscribe(
        &self,
        packet_id: u16,
        filters: Vec<String>,
        out: &mut BytesMut,
    ) -> Result<(), Malformed> {
        match self.version {
            ProtocolVersion::V5 => v5::unsubscribe(packet_id, filters, out),
            ProtocolVersion::V311 => v4::unsubscribe(packet_id, filters, out),
        }
    }

    /// Words for one code of a SUBACK; `None` where the subscription stands.
    pub(super) fn subscribe_refusal(&self, code: u8) -> Option<String> {
        match (self.version, code) {
            (_, 0..=2) => None,
            (_, 3..0x80) => Some(format!(
                "the broker answered 0x{code:02X}, which no standard knows"
            )),
            (ProtocolVersion::V5, code) => Some(super::reason::describe_v5(code, None)),
            (ProtocolVersion::V311, _) => Some("the broker does not allow it".to_owned()),
        }
    }
}

/// What is odd about a packet with this first byte. Flags are fixed for every packet but PUBLISH (MQTT 2.1.3); rumqttc does not
/// look. Type 0 is none of MQTT: whoever finds it has lost the stream.
fn oddity(first: u8) -> Result<Option<OddPacket>, Malformed> {
    match (first >> 4, first & 0x0F) {
        (3, _) | (6, 2) => Ok(None),
        (2 | 4 | 5 | 7 | 9 | 11 | 13 | 14, 0) => Ok(None),
        (1 | 8 | 10 | 12, _) => Ok(Some(OddPacket::ClientOnly)),
        (0, _) => Err(Malformed("a packet type that there is not")),
        (15, _) => Ok(Some(OddPacket::NotAskedFor)),
        _ => Ok(Some(OddPacket::Flags)),
    }
}

/// The first byte of a packet of that type as it should be.
fn proper(first: u8) -> u8 {
    match first & 0xF0 {
        0x60 => PUBREL,
        kind => kind,
    }
}

/// The codec writes lengths modulo 65,536: what is longer would garble the stream.
fn check_lengths(config: &Config) -> Result<(), Error> {
    let will = config.will.as_ref();
    let login = config.login.as_ref();
    let password = login.and_then(|login| login.password.as_ref());
    let fields = [
        ("the client id", config.client_id.len()),
        ("the user name", login.map_or(0, |login| login.user.len())),
        (
            "the password",
            password.map_or(0, |password| password.reveal().len()),
        ),
        (
            "the topic of the last will",
            will.map_or(0, |will| will.topic.len()),
        ),
        ("the last will", will.map_or(0, |will| will.payload.len())),
    ];
    match fields
        .into_iter()
        .find(|(_, length)| *length > usize::from(u16::MAX))
    {
        Some((what, _)) => Err(Error::TooLong { what }),
        None => Ok(()),
    }
}

fn put_acknowledgement(first: u8, packet_id: u16, out: &mut BytesMut) {
    let [high, low] = packet_id.to_be_bytes();
    out.put_slice(&[first, 2, high, low]);
}

/// Appends PUBACK with success.
pub(super) fn puback(packet_id: u16, out: &mut BytesMut) {
    put_acknowledgement(PUBACK, packet_id, out);
}

/// Appends PUBREC with success.
pub(super) fn pubrec(packet_id: u16, out: &mut BytesMut) {
    put_acknowledgement(PUBREC, packet_id, out);
}

pub(super) fn pubrel(packet_id: u16, out: &mut BytesMut) {
    put_acknowledgement(PUBREL, packet_id, out);
}

pub(super) fn pubcomp(packet_id: u16, out: &mut BytesMut) {
    put_acknowledgement(PUBCOMP, packet_id, out);
}

pub(super) fn ping(out: &mut BytesMut) {
    out.put_slice(&PINGREQ);
}

/// Appends DISCONNECT with reason 0.
pub(super) fn disconnect(out: &mut BytesMut) {
    out.put_slice(&DISCONNECT);
}

#[cfg(test)]
pub(in crate::mqtt) mod tests;
