//! What a broker answers: CONNACK, PUBACK and its kin, SUBACK, DISCONNECT. By hand, since the codec knows only the codes of
//! its tables: any number is an answer, from 0x80 on a refusal and below it success (MQTT 5, 2.4), and its words count too.

use super::publish::FieldReader;
use super::{AckPacket, ConnAck, Malformed, Packet, ProtocolVersion};

const NOT_ASKED_FOR: Malformed = Malformed("a packet that was not asked for");

/// Decodes the body of a packet that is neither PUBLISH nor a plain acknowledgement.
pub(super) fn decode(
    version: ProtocolVersion,
    first: u8,
    body: &[u8],
) -> Result<Packet, Malformed> {
    let mut fields = FieldReader(body);
    match (first >> 4, version) {
        (2, ProtocolVersion::V311) => old_connack(&mut fields).map(Packet::ConnAck),
        (2, ProtocolVersion::V5) => connack(body).map(Packet::ConnAck),
        // Some brokers answer a client of 3.1.1 in the form of MQTT 5, too.
        (4..=7, _) => answer(&mut fields).map(|answer| Packet::acknowledgement(first, answer)),
        (9, _) => suback(version, &mut fields),
        (14, ProtocolVersion::V5) => {
            let code = if fields.is_empty() { 0 } else { fields.u8()? };
            Ok(Packet::Disconnect {
                code,
                words: words(&mut fields),
            })
        }
        _ => Err(NOT_ASKED_FOR),
    }
}

fn old_connack(fields: &mut FieldReader<'_>) -> Result<ConnAck, Malformed> {
    let flags = fields.u8()?;
    let code = fields.u8()?;
    if !fields.is_empty() {
        return Err(Malformed("a CONNACK of the wrong length"));
    }
    Ok(ConnAck {
        session_present: flags & 1 == 1,
        code,
        ..ConnAck::default()
    })
}

fn connack(body: &[u8]) -> Result<ConnAck, Malformed> {
    let mut fields = FieldReader(body);
    let flags = fields.u8()?;
    let code = fields.u8()?;
    let mut ack = ConnAck {
        session_present: flags & 1 == 1,
        code,
        legacy: body.len() == 2,
        ..ConnAck::default()
    };
    if ack.legacy {
        return Ok(ack);
    }
    for property in properties(&mut fields)? {
        match property {
            AnswerProperty::Number(0x21, value) => ack.receive_maximum = u16::try_from(value).ok(),
            AnswerProperty::Number(0x27, value) => ack.maximum_packet_bytes = Some(value),
            AnswerProperty::Number(0x24, value) => ack.maximum_qos = u8::try_from(value).ok(),
            AnswerProperty::Number(0x25, value) => ack.retain_available = Some(value != 0),
            AnswerProperty::Number(0x13, value) => ack.keep_alive = u16::try_from(value).ok(),
            AnswerProperty::Number(0x11, value) => ack.session_expiry = Some(value),
            AnswerProperty::Number(0x29, value) => ack.subscription_ids = Some(value != 0),
            AnswerProperty::Text(id, text) => add_words(&mut ack.words, id, text),
            AnswerProperty::Number(..) => {}
        }
    }
    if ack.receive_maximum == Some(0) || ack.maximum_packet_bytes == Some(0) {
        return Err(Malformed("CONNACK with a limit of 0"));
    }
    Ok(ack)
}

fn answer(fields: &mut FieldReader<'_>) -> Result<AckPacket, Malformed> {
    let packet_id = fields.u16()?;
    let code = if fields.is_empty() { 0 } else { fields.u8()? };
    Ok(AckPacket {
        packet_id,
        code,
        words: words(fields),
    })
}

fn suback(version: ProtocolVersion, fields: &mut FieldReader<'_>) -> Result<Packet, Malformed> {
    let packet_id = fields.u16()?;
    if version == ProtocolVersion::V5 {
        properties(fields)?;
    }
    if fields.is_empty() {
        return Err(Malformed("a SUBACK without a code"));
    }
    Ok(Packet::SubAck {
        packet_id,
        codes: fields.0.to_vec(),
    })
}

/// What the broker says in words, among the properties that end a packet. An answer whose words cannot be read is one all the same.
fn words(fields: &mut FieldReader<'_>) -> Option<String> {
    let mut words = None;
    for property in properties(fields).unwrap_or_default() {
        if let AnswerProperty::Text(id, text) = property {
            add_words(&mut words, id, text);
        }
    }
    words
}

/// Puts a reason string, or the address of the server that is to be used instead, with what is said already.
fn add_words(words: &mut Option<String>, id: u8, text: String) {
    let text = match id {
        0x1F => text,
        0x1C => format!("use `{text}`"),
        _ => return,
    };
    *words = Some(
        words
            .take()
            .map_or(text.clone(), |said| format!("{said}; {text}")),
    );
}

/// A property by its id; those that say nothing to us are left out.
enum AnswerProperty {
    Number(u8, u32),
    Text(u8, String),
}

/// The properties up to the first one that MQTT 5 does not have, or that does not fit: none of them is worth a connection.
fn properties(fields: &mut FieldReader<'_>) -> Result<Vec<AnswerProperty>, Malformed> {
    let length = fields.variable()?;
    let mut fields = FieldReader(fields.take(length)?);
    let mut found = Vec::new();
    while !fields.is_empty() && property(&mut fields, &mut found).is_ok() {}
    Ok(found)
}

fn property(
    fields: &mut FieldReader<'_>,
    found: &mut Vec<AnswerProperty>,
) -> Result<(), Malformed> {
    let id = fields.u8()?;
    match id {
        0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28..=0x2A => {
            found.push(AnswerProperty::Number(id, u32::from(fields.u8()?)))
        }
        0x13 | 0x21..=0x23 => found.push(AnswerProperty::Number(id, u32::from(fields.u16()?))),
        0x02 | 0x11 | 0x18 | 0x27 => found.push(AnswerProperty::Number(id, fields.u32()?)),
        0x0B => drop(fields.variable()?),
        0x26 => drop((fields.bytes()?, fields.bytes()?)),
        0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1A | 0x1C | 0x1F => {
            found.push(AnswerProperty::Text(
                id,
                String::from_utf8_lossy(fields.bytes()?).into_owned(),
            ));
        }
        _ => return Err(Malformed("a property that MQTT 5 does not have")),
    }
    Ok(())
}
