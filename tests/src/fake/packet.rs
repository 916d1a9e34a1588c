//! MQTT packets as bytes, by hand: a fake broker must be able to write what no library would.

/// Takes a whole packet from the front.
pub fn take_frame(input: &mut Vec<u8>) -> Option<Vec<u8>> {
    let (header, length) = lengths(input)?;
    (input.len() >= header + length).then(|| input.drain(..header + length).collect())
}

/// Lengths of fixed header and body, once the header is there.
fn lengths(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut length = 0;
    for place in 0..4 {
        let byte = *bytes.get(1 + place)?;
        length |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some((2 + place, length));
        }
    }
    None
}

/// A packet: first byte, length, body.
pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    put_length(body.len(), &mut bytes);
    bytes.extend(body);
    bytes
}

fn put_length(mut length: usize, out: &mut Vec<u8>) {
    loop {
        let low = u8::try_from(length & 0x7f).expect("seven bits");
        length >>= 7;
        out.push(low | if length > 0 { 0x80 } else { 0 });
        if length == 0 {
            return;
        }
    }
}

/// Text with its length before it.
pub fn text(value: &str) -> Vec<u8> {
    let length = u16::try_from(value.len()).expect("texts of MQTT are shorter");
    [&length.to_be_bytes(), value.as_bytes()].concat()
}

/// CONNACK of MQTT 5: accepted, no session, no properties.
pub const CONNACK_V5: [u8; 5] = [0x20, 3, 0, 0, 0];
/// CONNACK of MQTT 3.1.1: accepted, no session.
pub const CONNACK_V311: [u8; 4] = [0x20, 2, 0, 0];

/// CONNACK of MQTT 5 with this code and these properties, as they stand in the packet.
pub fn connack(code: u8, properties: &[u8]) -> Vec<u8> {
    let mut body = vec![0, code];
    put_length(properties.len(), &mut body);
    body.extend(properties);
    packet(0x20, &body)
}

/// An acknowledgement; `first` says which. MQTT 5 with a code or words has them in it, 3.1.1 knows neither.
pub fn acknowledgement(first: u8, id: u16, is_v5: bool, code: u8, words: &str) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    if is_v5 && (code != 0 || !words.is_empty()) {
        body.push(code);
        put_reason(words, &mut body);
    }
    packet(first, &body)
}

/// DISCONNECT of MQTT 5.
pub fn disconnect(code: u8, words: &str) -> Vec<u8> {
    let mut body = vec![code];
    put_reason(words, &mut body);
    packet(0xe0, &body)
}

/// Properties: a reason string, or none.
fn put_reason(words: &str, body: &mut Vec<u8>) {
    let property = if words.is_empty() {
        Vec::new()
    } else {
        [&[0x1f][..], &text(words)].concat()
    };
    put_length(property.len(), body);
    body.extend(property);
}

/// What a client publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its topic.
    pub topic: String,
    /// Its level.
    pub qos: u8,
    /// Packet id; 0 with QoS 0.
    pub id: u16,
    /// Retain flag.
    pub retain: bool,
    /// Properties as they stand in the packet; empty with 3.1.1.
    pub properties: Vec<u8>,
    /// The body.
    pub payload: Vec<u8>,
    /// Size of the whole packet.
    pub bytes: usize,
}

/// Reads PUBLISH; `None` where it is none, or a broken one.
pub fn published(frame: &[u8], is_v5: bool) -> Option<Published> {
    let first = *frame.first().filter(|first| **first >> 4 == 3)?;
    let body = &frame[lengths(frame)?.0..];
    let (length, rest) = body.split_first_chunk::<2>()?;
    let (topic, mut rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    let qos = (first >> 1) & 3;
    let mut id = 0;
    if qos > 0 {
        let (number, behind) = rest.split_first_chunk::<2>()?;
        (id, rest) = (u16::from_be_bytes(*number), behind);
    }
    let mut properties = Vec::new();
    if is_v5 {
        // The length is written as that of a packet is: a byte before it makes it one.
        let (header, length) = lengths(&[&[0][..], rest].concat())?;
        let (head, payload) = rest.split_at_checked(header - 1 + length)?;
        (properties, rest) = (head[header - 1..].to_vec(), payload);
    }
    let topic = String::from_utf8_lossy(topic).into_owned();
    Some(Published {
        topic,
        qos,
        id,
        retain: first & 1 == 1,
        properties,
        payload: rest.to_vec(),
        bytes: frame.len(),
    })
}

/// The password in a CONNECT without a will; `None` where there is none.
pub fn password(frame: &[u8], is_v5: bool) -> Option<String> {
    const HAS_PASSWORD: u8 = 0x40;
    const HAS_WILL: u8 = 0x04;
    // Name and level of the protocol, flags, keep-alive.
    let (head, mut rest) = frame[lengths(frame)?.0..].split_at_checked(10)?;
    if head[7] & HAS_PASSWORD == 0 || head[7] & HAS_WILL != 0 {
        return None;
    }
    if is_v5 {
        let (header, length) = lengths(&[&[0][..], rest].concat())?;
        rest = rest.get(header - 1 + length..)?;
    }
    let mut last = None;
    while let Some((length, behind)) = rest.split_first_chunk::<2>() {
        let (field, behind) = behind.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        (last, rest) = (Some(field), behind);
    }
    Some(String::from_utf8_lossy(last?).into_owned())
}

/// Level of the protocol that CONNECT asks for: 4 or 5.
pub fn version(frame: &[u8]) -> Option<u8> {
    frame
        .windows(5)
        .find(|five| five.starts_with(b"MQTT"))
        .map(|five| five[4])
}

/// Packet id of an acknowledgement, SUBSCRIBE or UNSUBSCRIBE.
pub fn id(frame: &[u8]) -> Option<u16> {
    frame[lengths(frame)?.0..]
        .first_chunk::<2>()
        .map(|bytes| u16::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_written_as_the_standard_has_them() {
        assert_eq!(
            acknowledgement(0x40, 7, true, 0x95, "no"),
            [0x40, 9, 0, 7, 0x95, 5, 0x1f, 0, 2, b'n', b'o']
        );
        assert_eq!(acknowledgement(0x50, 7, true, 0, ""), [0x50, 2, 0, 7]);
        assert_eq!(acknowledgement(0x40, 7, false, 0x95, "no"), [0x40, 2, 0, 7]);
        assert_eq!(disconnect(0x8b, ""), [0xe0, 2, 0x8b, 0]);
        assert_eq!(connack(0, &[]), CONNACK_V5);
        assert_eq!(packet(0x30, &[0; 200])[..3], [0x30, 0xc8, 1]);
    }

    #[test]
    fn a_publish_is_read_with_and_without_properties() {
        let body = [&text("a/b")[..], &[0, 9, 3, 1, 2, 3], b"xyz"].concat();
        let read = published(&packet(0x33, &body), true).unwrap();
        assert_eq!(
            (read.topic.as_str(), read.qos, read.id, read.retain),
            ("a/b", 1, 9, true)
        );
        assert_eq!(
            (read.properties, read.payload, read.bytes),
            (vec![1, 2, 3], b"xyz".to_vec(), 16)
        );
        let read = published(&packet(0x30, &[&text("a/b")[..], b"xyz"].concat()), false).unwrap();
        assert_eq!((read.id, read.payload), (0, b"xyz".to_vec()));
        assert_eq!(published(&[0x40, 2, 0, 1], true), None);
    }
}
