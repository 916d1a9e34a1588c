//! PUBLISH of both versions, and its MQTT 5 properties as a header block.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{Malformed, Version};
use crate::message::{Headers, Qos, push_header};
use crate::mqtt::{Publish, Unsendable};

const CONTENT_TYPE: &str = ":content-type";
const RESPONSE_TOPIC: &str = ":response-topic";
const CORRELATION_DATA: &str = ":correlation-data";
const MESSAGE_EXPIRY: &str = ":message-expiry";

/// What fits the four bytes of a remaining length.
const LARGEST_BODY: usize = 268_435_455;

/// What the fixed header says about a PUBLISH.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    pub(super) version: Version,
    pub(super) first: u8,
}

/// Checks a topic to publish to: not empty, at most 65,535 bytes, UTF-8, no NUL, no wildcard.
fn check_topic(topic: &[u8]) -> Result<(), &'static str> {
    if topic.is_empty() {
        return Err("topic is empty");
    }
    if topic.len() > usize::from(u16::MAX) {
        return Err("topic is longer than 65,535 bytes");
    }
    if topic.iter().any(|byte| matches!(byte, 0 | b'+' | b'#')) {
        return Err("topic contains a wildcard or NUL");
    }
    std::str::from_utf8(topic).map(drop).map_err(|_| "topic is not UTF-8")
}

/// Checks a topic filter: wildcards stand alone in their level, `#` in the last one only.
pub(in crate::mqtt) fn check_filter(filter: &str) -> Result<(), &'static str> {
    if filter.is_empty() {
        return Err("filter is empty");
    }
    if filter.len() > usize::from(u16::MAX) {
        return Err("filter is longer than 65,535 bytes");
    }
    if filter.contains('\0') {
        return Err("filter contains NUL");
    }
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        if level.len() > 1 && level.contains(['+', '#']) {
            return Err("a wildcard in a filter must fill its level");
        }
        if level == "#" && levels.peek().is_some() {
            return Err("`#` in a filter must be the last level");
        }
    }
    Ok(())
}

/// Takes fields from the front of a slice.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    /// Whether nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (field, rest) = self.0.split_at_checked(count).ok_or(Malformed("a field runs past the end of its packet"))?;
        self.0 = rest;
        Ok(field)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn u16(&mut self) -> Result<u16, Malformed> {
        let field = self.take(2)?;
        Ok(u16::from_be_bytes([field[0], field[1]]))
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        let field = self.take(4)?;
        Ok(u32::from_be_bytes([field[0], field[1], field[2], field[3]]))
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed("a property is not UTF-8"))
    }

    pub(super) fn variable(&mut self) -> Result<usize, Malformed> {
        let mut value = 0;
        for place in 0..4 {
            let byte = self.u8()?;
            value |= usize::from(byte & 0x7F) << (7 * place);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed("a length of more than four bytes"))
    }
}

/// Topic, id and flags; what is left in `fields` are the properties (v5) and the payload.
fn decode_start(form: Form, body: &Bytes, fields: &mut Fields<'_>) -> Result<(Publish, u16), Malformed> {
    let qos = Qos::from_level((form.first >> 1) & 0b11).ok_or(Malformed("QoS 3"))?;
    let topic = fields.bytes()?;
    check_topic(topic).map_err(Malformed)?;
    let packet_id = if qos == Qos::AtMostOnce { 0 } else { fields.u16()? };
    if qos != Qos::AtMostOnce && packet_id == 0 {
        return Err(Malformed("packet id 0"));
    }
    let publish = Publish {
        topic: body.slice(2..2 + topic.len()),
        payload: Bytes::new(),
        headers: Bytes::new(),
        qos,
        retain: form.first & 0b1 != 0,
        duplicate: form.first & 0b1000 != 0,
    };
    Ok((publish, packet_id))
}

/// Decodes the body of a PUBLISH. Topic and payload are slices of it.
pub(super) fn decode(form: Form, mut body: Bytes) -> Result<(Publish, u16), Malformed> {
    let mut fields = Fields(&body);
    let (mut publish, packet_id) = decode_start(form, &body, &mut fields)?;
    if form.version == Version::V5 {
        let length = fields.variable()?;
        if length > 0 {
            publish.headers = decode_properties(fields.take(length)?)?;
        }
    }
    let payload = body.len() - fields.0.len();
    body.advance(payload);
    publish.payload = body;
    Ok((publish, packet_id))
}

/// Decodes the first bytes of a PUBLISH that is too large to keep. Properties that are cut off are left out, and
/// the payload with them.
pub(super) fn decode_head(form: Form, head: Bytes) -> Result<(Publish, u16), Malformed> {
    let mut fields = Fields(&head);
    let (mut publish, packet_id) = decode_start(form, &head, &mut fields)?;
    if form.version == Version::V5 {
        let length = fields.variable()?;
        match fields.take(length) {
            Ok(properties) => publish.headers = decode_properties(properties)?,
            Err(_) => fields.0 = &[],
        }
    }
    publish.payload = head.slice(head.len() - fields.0.len()..);
    Ok((publish, packet_id))
}

fn decode_properties(properties: &[u8]) -> Result<Bytes, Malformed> {
    let mut block = Vec::with_capacity(properties.len());
    let mut fields = Fields(properties);
    while !fields.0.is_empty() {
        let pushed = match fields.u8()? {
            // Payload format indicator and subscription identifier say nothing to those behind us.
            1 => fields.u8().map(|_| Ok(()))?,
            11 => fields.variable().map(|_| Ok(()))?,
            2 => push_header(&mut block, MESSAGE_EXPIRY, fields.u32()?.to_string().as_bytes()),
            3 => push_header(&mut block, CONTENT_TYPE, fields.text()?.as_bytes()),
            8 => push_header(&mut block, RESPONSE_TOPIC, fields.text()?.as_bytes()),
            9 => push_header(&mut block, CORRELATION_DATA, fields.bytes()?),
            38 => {
                let name = fields.text()?;
                push_header(&mut block, name, fields.text()?.as_bytes())
            }
            35 => return Err(Malformed("a topic alias though none was offered")),
            _ => return Err(Malformed("a property that PUBLISH does not have")),
        };
        pushed.map_err(|_| Malformed("a property is too long"))?;
    }
    Ok(Bytes::from(block))
}

/// A header as the MQTT 5 property it belongs in.
enum Property<'a> {
    MessageExpiry(u32),
    Text(u8, &'a [u8]),
    User(&'a str, &'a [u8]),
}

impl<'a> Property<'a> {
    fn of(name: &'a str, value: &'a [u8]) -> Result<Self, Unsendable> {
        let refuse = |problem| Unsendable::Header { name: name.to_owned(), problem };
        let text = std::str::from_utf8(value);
        if name == CORRELATION_DATA {
            return Ok(Self::Text(9, value));
        }
        let text = text.map_err(|_| refuse("is not UTF-8"))?;
        match name {
            MESSAGE_EXPIRY => Ok(Self::MessageExpiry(text.parse().map_err(|_| refuse("is not a number of seconds"))?)),
            CONTENT_TYPE => Ok(Self::Text(3, value)),
            RESPONSE_TOPIC => check_topic(value).map(|()| Self::Text(8, value)).map_err(refuse),
            _ => Ok(Self::User(name, value)),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::MessageExpiry(_) => 5,
            Self::Text(_, value) => 3 + value.len(),
            Self::User(name, value) => 5 + name.len() + value.len(),
        }
    }

    fn put(&self, out: &mut BytesMut) {
        match self {
            Self::MessageExpiry(seconds) => {
                out.put_u8(2);
                out.put_u32(*seconds);
            }
            Self::Text(id, value) => {
                out.put_u8(*id);
                put_field(out, value);
            }
            Self::User(name, value) => {
                out.put_u8(38);
                put_field(out, name.as_bytes());
                put_field(out, value);
            }
        }
    }
}

/// Length and bytes; every caller has checked that they fit 16 bits.
fn put_field(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u16(u16::try_from(bytes.len()).unwrap_or(u16::MAX));
    out.put_slice(bytes);
}

fn put_variable(out: &mut BytesMut, mut value: usize) {
    while value >= 0x80 {
        out.put_u8((value & 0x7F) as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

fn variable_len(value: usize) -> usize {
    match value {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        _ => 4,
    }
}

/// Bytes of the property section without its length, every header checked.
fn properties_len(headers: &[u8]) -> Result<usize, Unsendable> {
    Headers(headers).try_fold(0, |sum, entry| {
        let (name, value) = entry?;
        Ok(sum + Property::of(name, value)?.len())
    })
}

/// Appends PUBLISH; nothing is written when it cannot be sent. `packet_id` is 0 for QoS 0.
pub(super) fn encode(
    version: Version,
    publish: &Publish,
    packet_id: u16,
    limit: u32,
    out: &mut BytesMut,
) -> Result<(), Unsendable> {
    check_topic(&publish.topic).map_err(Unsendable::Topic)?;
    let properties = match version {
        Version::V5 => properties_len(&publish.headers)?,
        Version::V311 => 0,
    };
    let section = if version == Version::V5 { variable_len(properties) + properties } else { 0 };
    let id = if packet_id == 0 { 0 } else { 2 };
    let body = 2 + publish.topic.len() + id + section + publish.payload.len();
    let total = 1 + variable_len(body) + body;
    if body > LARGEST_BODY || total > usize::try_from(limit).unwrap_or(usize::MAX) {
        return Err(Unsendable::TooLarge { bytes: total as u64, limit });
    }
    out.reserve(total);
    out.put_u8(0x30 | ((publish.qos as u8) << 1) | u8::from(publish.retain));
    put_variable(out, body);
    put_field(out, &publish.topic);
    if packet_id != 0 {
        out.put_u16(packet_id);
    }
    if version == Version::V5 {
        put_variable(out, properties);
        for (name, value) in Headers(&publish.headers).flatten() {
            if let Ok(property) = Property::of(name, value) {
                property.put(out);
            }
        }
    }
    out.put_slice(&publish.payload);
    Ok(())
}
