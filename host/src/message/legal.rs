//! What MQTT can carry: the one check of topics, texts and properties. Whatever leaves passes it where it is written
//! (`mqtt::wire`), what a plugin answers already where it is taken (`chain`), and what comes in where it is read: what could
//! never leave is no use to a plugin, which would be blamed for handing it on. No sockets, no clock.
//!
//! Brokers end the connection over what they may not take, so a message that breaks these rules costs itself and never the
//! line that others use.

use super::{HeaderError, Headers};

/// MQTT counts the length of a text in 16 bits.
pub const MAX_TEXT_BYTES: usize = 65_535;

/// The property Payload Format Indicator: `1` where the payload is text, `0` where it is not said.
pub const PAYLOAD_FORMAT: &str = ":payload-format";
/// The property Content Type.
pub const CONTENT_TYPE: &str = ":content-type";
/// The property Response Topic.
pub const RESPONSE_TOPIC: &str = ":response-topic";
/// The property Correlation Data: any bytes.
pub const CORRELATION_DATA: &str = ":correlation-data";
/// The property Message Expiry Interval: seconds, decimal.
pub const MESSAGE_EXPIRY: &str = ":message-expiry";
/// The user property of a compressed payload; its content type stays that of what is inside.
pub const CONTENT_ENCODING: &str = "content-encoding";
/// What the names of the gateway's own user properties begin with.
pub const OWN_PREFIX: &str = "tidegate-";

/// The user property of what goes to a broker that messages are taken from: how often it went there.
pub const ROUNDS: &str = "tidegate-rounds";

/// Whether a name is the gateway's: what a device sends under it does not come in. A device could else say whose message
/// it is, that it has expired, or how it is to be unpacked, and whoever reads upstream would believe that we say so.
pub fn is_reserved(name: &str) -> bool {
    name.starts_with(':') || name.starts_with(OWN_PREFIX) || name == CONTENT_ENCODING
}

/// Why a header block cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Illegal {
    /// It does not parse.
    #[error(transparent)]
    Block(#[from] HeaderError),
    /// An entry does not fit the property it belongs in.
    #[error("header `{name}` {problem}")]
    Header {
        /// Name of the header, as it was given.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// A header as the MQTT 5 property it belongs in, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Property<'a> {
    /// Whether the payload is text.
    PayloadFormat(bool),
    /// Seconds until the message expires.
    MessageExpiry(u32),
    /// What the payload is, as text: a MIME type mostly.
    ContentType(&'a [u8]),
    /// A topic to publish to.
    ResponseTopic(&'a [u8]),
    /// Bytes by which whoever asked knows an answer again.
    CorrelationData(&'a [u8]),
    /// A property of the user: name and text.
    User(&'a str, &'a [u8]),
}

impl<'a> Property<'a> {
    fn of(name: &'a str, value: &'a [u8]) -> Result<Self, &'static str> {
        match name {
            CORRELATION_DATA => Ok(Self::CorrelationData(value)),
            PAYLOAD_FORMAT => match value {
                b"0" => Ok(Self::PayloadFormat(false)),
                b"1" => Ok(Self::PayloadFormat(true)),
                _ => Err("is neither 0 nor 1"),
            },
            MESSAGE_EXPIRY => {
                let seconds = std::str::from_utf8(value)
                    .ok()
                    .and_then(|text| text.parse().ok());
                seconds
                    .map(Self::MessageExpiry)
                    .ok_or("is not a number of seconds")
            }
            CONTENT_TYPE => check_text(value).map(|()| Self::ContentType(value)),
            RESPONSE_TOPIC => check_topic(value).map(|()| Self::ResponseTopic(value)),
            _ => check_text(name.as_bytes())
                .and_then(|()| check_text(value))
                .map(|()| Self::User(name, value)),
        }
    }

    /// A bit for each property that may stand in a packet once; 0 for those that may repeat.
    fn bit(self) -> u8 {
        match self {
            Self::PayloadFormat(_) => 1,
            Self::MessageExpiry(_) => 2,
            Self::ContentType(_) => 4,
            Self::ResponseTopic(_) => 8,
            Self::CorrelationData(_) => 16,
            Self::User(..) => 0,
        }
    }
}

/// The properties a header block makes, each checked; after the first that cannot be sent nothing more is to be used.
pub fn properties(block: &[u8]) -> impl Iterator<Item = Result<Property<'_>, Illegal>> {
    let mut seen = 0;
    Headers(block).map(move |entry| {
        let (name, value) = entry?;
        let refuse = |problem| Illegal::Header {
            name: name.to_owned(),
            problem,
        };
        let property = Property::of(name, value).map_err(refuse)?;
        let bit = property.bit();
        if seen & bit != 0 {
            return Err(refuse("is there twice"));
        }
        seen |= bit;
        Ok(property)
    })
}

/// Checks a header block.
///
/// # Errors
/// The first entry that cannot be sent, and why.
pub fn check_headers(block: &[u8]) -> Result<(), Illegal> {
    properties(block).find_map(Result::err).map_or(Ok(()), Err)
}

/// Checks a topic to publish to: a text, not empty, without wildcards.
///
/// # Errors
/// What is wrong with it, as said of a topic.
pub fn check_topic(topic: &[u8]) -> Result<(), &'static str> {
    if topic.is_empty() {
        return Err("is empty");
    }
    if topic.iter().any(|byte| matches!(byte, b'+' | b'#')) {
        return Err("contains a wildcard");
    }
    check_text(topic)
}

/// Checks a text: UTF-8 of at most 65,535 bytes without NUL, and without the code points that a broker may hang up on (MQTT
/// 5, 1.5.4): other control characters, non-characters.
///
/// # Errors
/// What is wrong with it.
pub fn check_text(bytes: &[u8]) -> Result<(), &'static str> {
    if bytes.len() > MAX_TEXT_BYTES {
        return Err("is longer than 65,535 bytes");
    }
    if bytes.iter().all(|byte| matches!(byte, 0x20..0x7f)) {
        return Ok(());
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "is not UTF-8")?;
    match text
        .chars()
        .find(|found| found.is_control() || is_non_character(*found))
    {
        None => Ok(()),
        Some('\0') => Err("contains NUL"),
        Some(found) if found.is_control() => Err("contains a control character"),
        Some(_) => Err("contains a code point that is no character"),
    }
}

fn is_non_character(found: char) -> bool {
    matches!(found, '\u{fdd0}'..='\u{fdef}') || u32::from(found) & 0xfffe == 0xfffe
}

/// A topic that nobody may send, as near to it as a topic can be: what may not stand in it is replaced.
pub fn mend_topic(topic: &[u8]) -> String {
    let may_stand = |found: char| {
        !(found.is_control() || is_non_character(found) || matches!(found, '+' | '#'))
    };
    String::from_utf8_lossy(topic)
        .chars()
        .map(|found| if may_stand(found) { found } else { '\u{fffd}' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::push_header;
    use proptest::prelude::*;

    fn block(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let mut block = Vec::new();
        entries
            .iter()
            .for_each(|(name, value)| push_header(&mut block, name, value).unwrap());
        block
    }

    #[test]
    fn a_topic_is_a_text_without_wildcards() {
        for good in ["a", "/", "$SYS/x", "sites/ä/ü 1", "emoji/🌊"] {
            assert_eq!(check_topic(good.as_bytes()), Ok(()), "{good}");
        }
        let bad: [(&[u8], &str); 11] = [
            (b"", "empty"),
            (b"a/+", "wildcard"),
            (b"a/#", "wildcard"),
            (b"a\0b", "NUL"),
            (b"a\xff", "UTF-8"),
            (b"a\nb", "control"),
            (b"a\x7f", "control"),
            ("a\u{85}".as_bytes(), "control"),
            ("a\u{ffff}".as_bytes(), "no character"),
            ("a\u{fdd0}".as_bytes(), "no character"),
            (&[b'a'; 65_536], "65,535"),
        ];
        for (topic, why) in bad {
            let problem = check_topic(topic).unwrap_err();
            assert!(problem.contains(why), "{problem} instead of {why}");
        }
    }

    #[test]
    fn what_a_packet_may_have_once_is_refused_the_second_time_and_user_properties_are_not() {
        for (name, value) in [
            (MESSAGE_EXPIRY, &b"5"[..]),
            (CONTENT_TYPE, b"x"),
            (RESPONSE_TOPIC, b"a"),
            (CORRELATION_DATA, b"\xff"),
            (PAYLOAD_FORMAT, b"1"),
        ] {
            assert_eq!(check_headers(&block(&[(name, value)])), Ok(()), "{name}");
            let twice =
                check_headers(&block(&[(name, value), ("u", b"v"), (name, value)])).unwrap_err();
            assert_eq!(
                twice,
                Illegal::Header {
                    name: name.to_owned(),
                    problem: "is there twice"
                }
            );
        }
        assert_eq!(check_headers(&block(&[("u", b"v"), ("u", b"v")])), Ok(()));
    }

    #[test]
    fn a_header_that_does_not_fit_its_property_is_named() {
        for (name, value, why) in [
            ("u", &b"\0"[..], "NUL"),
            ("u", b"caf\xe9", "UTF-8"),
            ("u\0", b"", "NUL"),
            ("u", b"a\nb", "control"),
            (CONTENT_TYPE, b"\0", "NUL"),
            (RESPONSE_TOPIC, b"a/#", "wildcard"),
            (RESPONSE_TOPIC, b"", "empty"),
            (MESSAGE_EXPIRY, b"soon", "number"),
            (MESSAGE_EXPIRY, b"4294967296", "number"),
            (PAYLOAD_FORMAT, b"2", "neither"),
        ] {
            let problem = check_headers(&block(&[(name, value)]))
                .unwrap_err()
                .to_string();
            assert!(problem.contains(why), "{problem} instead of {why}");
        }
    }

    proptest! {
        #[test]
        fn a_mended_topic_is_legal(topic in proptest::collection::vec(any::<u8>(), 1..60)) {
            prop_assert_eq!(check_topic(mend_topic(&topic).as_bytes()), Ok(()));
        }
    }
}
