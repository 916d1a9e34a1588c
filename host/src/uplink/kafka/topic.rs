//! The topic of a message: a text with names in braces, and what stands for them as a topic can have it. No sockets.

use super::super::form::template::{Filling, Template};

/// Bytes of a topic's name, at most, as brokers have it.
const MOST_BYTES: usize = 249;

/// What messages are written to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicName {
    template: Template,
}

fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._-".contains(&byte)
}

/// Why a broker takes no topic of this name, in words that go on a sentence.
fn mistake(name: &str) -> Option<String> {
    if matches!(name, "" | "." | "..") {
        return Some(format!("would be `{name}`, which is no name"));
    }
    let bytes = name.len();
    (bytes > MOST_BYTES).then(|| format!("has {bytes} bytes, and {MOST_BYTES} is the limit"))
}

impl TopicName {
    /// Reads one.
    ///
    /// # Errors
    /// In words: it is no name that a broker takes, a brace is not closed, or a name in braces is not known.
    pub fn parse(text: &str) -> Result<Self, String> {
        let template = Template::parse(text)?;
        if !template.plain().all(|text| text.bytes().all(is_letter)) {
            return Err("has something in it that no name of a topic can have".to_owned());
        }
        match mistake(text) {
            Some(mistake) => Err(mistake),
            None => Ok(Self { template }),
        }
    }

    /// The name, where it is the same for all messages.
    pub(super) fn plain(&self) -> Option<String> {
        self.template.is_plain().then(|| self.template.to_string())
    }

    /// Whether what is in a message decides where it goes, so that it may be what is wrong with it.
    pub(super) fn is_by_message(&self) -> bool {
        self.template.is_of_messages()
    }

    /// The topic of a message; in words why it has none.
    pub(super) fn of(&self, filling: Filling<'_>) -> Result<String, String> {
        let put = |value: &[u8], text: &mut String| {
            if value.is_empty() {
                return Err("a name in its Kafka topic stands for nothing".to_owned());
            }
            text.extend(value.iter().map(|byte| match byte {
                b'/' => '.',
                byte if is_letter(*byte) => char::from(*byte),
                _ => '_',
            }));
            Ok(())
        };
        let name = self.template.fill(filling, put)?;
        match mistake(&name) {
            Some(mistake) => Err(format!("its Kafka topic {mistake}")),
            None => Ok(name),
        }
    }
}

/// As it is written in the config.
impl std::fmt::Display for TopicName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.template.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(written: &str, topic: &[u8], device: &[u8]) -> Result<String, String> {
        TopicName::parse(written)?.of(Filling {
            prefix: "barn 7/abcdefgh/cloud/alarm/",
            topic,
            device,
        })
    }

    #[test]
    fn what_a_name_cannot_have_stands_as_what_it_can() {
        let name = of("tele.{gateway}-{class}.{device}", b"a/b", "x:ü".as_bytes());
        assert_eq!(name.as_deref(), Ok("tele.barn_7-alarm.x___"));
        let name = of("{topic}", b"devices/d1/telemetry", b"d1");
        assert_eq!(name.as_deref(), Ok("devices.d1.telemetry"));
        assert_eq!(of("readings", b"a", b"").as_deref(), Ok("readings"));
    }

    #[test]
    fn what_is_no_name_is_told() {
        for bad in ["", ".", "..", "a b", "a/b", "{flow}", "{device", "a:b"] {
            assert!(TopicName::parse(bad).is_err(), "{bad}");
        }
        assert!(TopicName::parse(&"x".repeat(250)).is_err());
        assert!(of("{device}", b"t", b"").is_err());
        assert!(of("{device}", b"t", b"..").is_err());
        let long = of("{device}", b"t", &[b'x'; 250]).unwrap_err();
        assert!(long.contains("250 bytes"), "{long}");
    }

    #[test]
    fn only_one_without_names_is_known_before_a_message_comes() {
        let plain = |text| TopicName::parse(text).unwrap().plain();
        assert_eq!(plain("readings").as_deref(), Some("readings"));
        assert_eq!(plain("{class}"), None);
        let is_by_message = |text| TopicName::parse(text).unwrap().is_by_message();
        assert!(is_by_message("{device}") && !is_by_message("{gateway}.{class}"));
    }

    proptest! {
        #[test]
        fn whatever_a_device_is_called_its_topic_is_a_name(device in proptest::collection::vec(any::<u8>(), 1..60)) {
            let name = of("t.{device}", b"t", &device).unwrap();
            prop_assert!(name.bytes().all(is_letter));
        }
    }
}
