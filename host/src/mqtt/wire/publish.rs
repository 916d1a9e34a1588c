//! PUBLISH of both versions, and its MQTT 5 properties as a header block.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{Malformed, ProtocolVersion};
use crate::message::legal::{self, Illegal, Property};
use crate::message::{Qos, push_header};
use crate::mqtt::{Publish, Subscribed, UnsendablePublish};

/// What fits the four bytes of a remaining length.
const LARGEST_BODY: usize = 268_435_455;

/// What the fixed header says about a PUBLISH.
#[derive(Clone, Copy, Debug)]
pub(super) struct FixedHeader {
    pub(super) version: ProtocolVersion,
    pub(super) first: u8,
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
pub(super) struct FieldReader<'a>(pub(super) &'a [u8]);

impl<'a> FieldReader<'a> {
    /// Whether nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (field, rest) = self
            .0
            .split_at_checked(count)
            .ok_or(Malformed("a field runs past the end of its packet"))?;
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

/// A PUBLISH as it came in.
#[derive(Debug)]
pub(super) struct Decoded {
    /// Of one that no answer can be given to, with QoS 0.
    pub(super) publish: Publish,
    /// 0 for QoS 0.
    pub(super) packet_id: u16,
    /// What follows cannot be told apart: all of it is taken for the payload.
    is_blurred: bool,
    /// What one of its fields holds and may not, in words. The frame is sound, so whoever sent it costs himself only.
    pub(super) unfit: Option<String>,
}

impl Decoded {
    /// Notes what is wrong with a field; what was found first counts.
    fn blame(&mut self, what: &str, problem: &str, bytes: &[u8]) {
        // Enough to know it again.
        const SHOWN_BYTES: usize = 120;
        let shown = bytes[..bytes.len().min(SHOWN_BYTES)].escape_ascii();
        self.unfit
            .get_or_insert_with(|| format!("{what} {problem}: `{shown}`"));
    }

    /// No answer can be given to it; what is wrong with a field is noted. The broker keeps it, and sends it again some day.
    fn unanswerable(&mut self, what: &str, problem: &str, bytes: &[u8]) {
        self.blame(what, problem, bytes);
        (self.publish.qos, self.packet_id) = (Qos::AtMostOnce, 0);
    }

    /// It came for this subscription; one copy may come for several.
    fn subscribed(&mut self, id: usize) {
        let known = &mut self.publish.subscription;
        *known = match (*known, u32::try_from(id)) {
            (Subscribed::Unknown, Ok(id)) => Subscribed::One(id),
            _ => Subscribed::Several,
        };
    }

    /// Puts a text property into `block`, unless it is none.
    fn text(
        &mut self,
        block: &mut Vec<u8>,
        name: &str,
        value: &[u8],
        checked: Result<(), &'static str>,
    ) {
        match checked {
            Ok(()) => put_header(block, name, value),
            Err(problem) => self.blame(name, problem, value),
        }
    }
}

/// What came in with a 16-bit length has one here.
fn put_header(block: &mut Vec<u8>, name: &str, value: &[u8]) {
    let pushed = push_header(block, name, value);
    debug_assert!(pushed.is_ok(), "header `{name}` is too long");
}

/// Topic, id and flags; what is left in `fields` are the properties (v5) and the payload.
fn decode_start(form: FixedHeader, body: &Bytes, fields: &mut FieldReader<'_>) -> Decoded {
    let qos = Qos::from_level((form.first >> 1) & 0b11);
    let publish = Publish {
        qos: qos.unwrap_or(Qos::AtMostOnce),
        retain: form.first & 0b1 != 0,
        duplicate: form.first & 0b1000 != 0,
        ..Publish::default()
    };
    let mut decoded = Decoded {
        publish,
        packet_id: 0,
        is_blurred: false,
        unfit: None,
    };
    match fields.bytes() {
        Ok(topic) => {
            decoded.publish.topic = body.slice(2..2 + topic.len());
            if let Err(problem) = legal::check_topic(topic) {
                decoded.blame("topic", problem, topic);
                decoded.publish.topic = legal::mend_topic(topic).into();
            }
        }
        Err(Malformed(problem)) => {
            decoded.unanswerable("its topic cannot be read:", problem, fields.0);
            decoded.is_blurred = true;
            return decoded;
        }
    }
    if qos == Some(Qos::AtMostOnce) {
        return decoded;
    }
    match (fields.u16(), qos) {
        (Ok(1..), None) => decoded.unanswerable("its QoS", "is 3", &[form.first]),
        (Ok(0), _) => decoded.unanswerable("its packet id", "is 0", &[0, 0]),
        (Ok(packet_id), Some(_)) => decoded.packet_id = packet_id,
        (Err(Malformed(problem)), _) => {
            decoded.unanswerable("its packet id cannot be read:", problem, fields.0);
            decoded.is_blurred = true;
        }
    }
    decoded
}

/// Decodes the body of a PUBLISH. Topic and payload are slices of it.
pub(super) fn decode(form: FixedHeader, mut body: Bytes) -> Decoded {
    let mut fields = FieldReader(&body);
    let mut decoded = decode_start(form, &body, &mut fields);
    if form.version == ProtocolVersion::V5 && !decoded.is_blurred {
        match properties(&mut fields) {
            Ok(properties) => decode_properties(properties, &mut decoded),
            Err(Malformed(problem)) => {
                decoded.blame("its properties cannot be read:", problem, fields.0)
            }
        }
    }
    let payload = body.len() - fields.0.len();
    body.advance(payload);
    decoded.publish.payload = body;
    decoded
}

/// Decodes as much of a PUBLISH as is there. Properties that are not complete are left out, and with them the payload,
/// whose begin is unknown.
pub(super) fn decode_head(form: FixedHeader, head: Bytes) -> Decoded {
    let mut fields = FieldReader(&head);
    let mut decoded = decode_start(form, &head, &mut fields);
    if form.version == ProtocolVersion::V5 && !decoded.is_blurred {
        match properties(&mut fields) {
            Ok(properties) => decode_properties(properties, &mut decoded),
            Err(_) => fields.0 = &[],
        }
    }
    decoded.publish.payload = head.slice(head.len() - fields.0.len()..);
    decoded
}

fn properties<'a>(fields: &mut FieldReader<'a>) -> Result<&'a [u8], Malformed> {
    let length = fields.variable()?;
    fields.take(length)
}

/// Properties as headers, up to the first that cannot be read: where the payload begins is known all the same.
fn decode_properties(properties: &[u8], decoded: &mut Decoded) {
    let mut block = Vec::with_capacity(properties.len());
    if let Err(Malformed(problem)) = decode_each(properties, &mut block, decoded) {
        decoded.blame("its properties cannot be read:", problem, properties);
    }
    decoded.publish.headers = block.into();
}

/// What a device calls by a name of ours is left out: it would be taken for our word.
fn decode_each(
    properties: &[u8],
    block: &mut Vec<u8>,
    decoded: &mut Decoded,
) -> Result<(), Malformed> {
    let mut fields = FieldReader(properties);
    let mut seen = 0_u64;
    while !fields.0.is_empty() {
        let id = fields.u8()?;
        if matches!(id, 1..=9) && seen & 1 << id != 0 {
            decoded.blame("a property", "is there twice", &[id]);
        }
        seen |= 1_u64.checked_shl(u32::from(id)).unwrap_or(0);
        match id {
            1 => match fields.u8()? {
                0 => {}
                1 => put_header(block, legal::PAYLOAD_FORMAT, b"1"),
                other => decoded.blame("payload format", "is neither 0 nor 1", &[other]),
            },
            11 => decoded.subscribed(fields.variable()?),
            2 => put_header(
                block,
                legal::MESSAGE_EXPIRY,
                fields.u32()?.to_string().as_bytes(),
            ),
            3 => {
                let kind = fields.bytes()?;
                decoded.text(block, legal::CONTENT_TYPE, kind, legal::check_text(kind));
            }
            8 => {
                let topic = fields.bytes()?;
                decoded.text(
                    block,
                    legal::RESPONSE_TOPIC,
                    topic,
                    legal::check_topic(topic),
                );
            }
            9 => put_header(block, legal::CORRELATION_DATA, fields.bytes()?),
            38 => user_property(fields.bytes()?, fields.bytes()?, block, decoded),
            // None was offered. Beside a topic it says nothing, and in place of one the topic is empty.
            35 => drop(fields.u16()?),
            _ => return Err(Malformed("a property that PUBLISH does not have")),
        }
    }
    Ok(())
}

fn user_property(name: &[u8], value: &[u8], block: &mut Vec<u8>, decoded: &mut Decoded) {
    match (legal::check_text(name), std::str::from_utf8(name)) {
        (Ok(()), Ok(legal::ROUNDS)) => {
            decoded.publish.rounds = std::str::from_utf8(value)
                .ok()
                .and_then(|rounds| rounds.parse().ok())
                .unwrap_or_default();
        }
        (Ok(()), Ok(name)) if legal::is_reserved(name) => {}
        (Ok(()), Ok(name)) => match legal::check_text(value) {
            Ok(()) => put_header(block, name, value),
            Err(problem) => decoded.blame(
                &format!("user property `{}`", name.escape_debug()),
                problem,
                value,
            ),
        },
        (Err(problem), _) => decoded.blame("the name of a user property", problem, name),
        (Ok(()), Err(_)) => decoded.blame("the name of a user property", "is not UTF-8", name),
    }
}

/// Bytes of a property.
fn property_len(property: &Property<'_>) -> usize {
    match property {
        Property::PayloadFormat(_) => 2,
        Property::MessageExpiry(_) => 5,
        Property::ContentType(value)
        | Property::ResponseTopic(value)
        | Property::CorrelationData(value) => 3 + value.len(),
        Property::User(name, value) => 5 + name.len() + value.len(),
    }
}

fn put_property(property: &Property<'_>, out: &mut BytesMut) {
    let mut text = |id, value| {
        out.put_u8(id);
        put_field(out, value);
    };
    match property {
        Property::PayloadFormat(is_text) => out.put_slice(&[1, u8::from(*is_text)]),
        Property::MessageExpiry(seconds) => {
            out.put_u8(2);
            out.put_u32(*seconds);
        }
        Property::ContentType(value) => text(3, value),
        Property::ResponseTopic(value) => text(8, value),
        Property::CorrelationData(value) => text(9, value),
        Property::User(name, value) => {
            text(38, name.as_bytes());
            put_field(out, value);
        }
    }
}

/// Length and bytes; every caller has checked that they fit 16 bits.
pub(super) fn put_field(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u16(u16::try_from(bytes.len()).unwrap_or(u16::MAX));
    out.put_slice(bytes);
}

/// A length, or another number of up to 28 bits.
pub(super) fn put_variable(out: &mut BytesMut, mut value: usize) {
    while value >= 0x80 {
        out.put_u8((value & 0x7F) as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// Bytes of such a number.
pub(super) fn variable_len(value: usize) -> usize {
    match value {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        _ => 4,
    }
}

/// Bytes of the property section without its length, every header checked.
fn properties_len(headers: &[u8]) -> Result<usize, Illegal> {
    legal::properties(headers).try_fold(0, |sum, property| Ok(sum + property_len(&property?)))
}

/// Appends PUBLISH; nothing is written when it cannot be sent. `packet_id` is 0 for QoS 0.
pub(super) fn encode(
    version: ProtocolVersion,
    publish: &Publish,
    packet_id: u16,
    limit: u32,
    out: &mut BytesMut,
) -> Result<(), UnsendablePublish> {
    legal::check_topic(&publish.topic).map_err(UnsendablePublish::Topic)?;
    let properties = match version {
        ProtocolVersion::V5 => properties_len(&publish.headers)?,
        ProtocolVersion::V311 => 0,
    };
    let section = if version == ProtocolVersion::V5 {
        variable_len(properties) + properties
    } else {
        0
    };
    let id = if packet_id == 0 { 0 } else { 2 };
    let body = 2 + publish.topic.len() + id + section + publish.payload.len();
    let total = 1 + variable_len(body) + body;
    if body > LARGEST_BODY || total > usize::try_from(limit).unwrap_or(usize::MAX) {
        return Err(UnsendablePublish::TooLarge {
            bytes: total as u64,
            limit,
        });
    }
    out.reserve(total);
    out.put_u8(0x30 | ((publish.qos as u8) << 1) | u8::from(publish.retain));
    put_variable(out, body);
    put_field(out, &publish.topic);
    if packet_id != 0 {
        out.put_u16(packet_id);
    }
    if version == ProtocolVersion::V5 {
        put_variable(out, properties);
        for property in legal::properties(&publish.headers).flatten() {
            put_property(&property, out);
        }
    }
    out.put_slice(&publish.payload);
    Ok(())
}
