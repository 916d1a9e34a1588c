//! The topic of what leaves a chain with the topic it came in with.

use bytes::{Bytes, BytesMut};

use super::settings::TopicTemplate;
use crate::message::{Message, Span};

/// MQTT counts a topic's length in 16 bits.
const MAX_TOPIC_BYTES: usize = 65_535;

/// Room for the topics of a batch, so that they share one buffer.
const BUFFER_BYTES: usize = 16 << 10;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<[u8]>),
    Topic,
    Key,
}

/// A template, taken apart once.
#[derive(Clone, Debug)]
pub(super) struct Template {
    parts: Vec<Part>,
    buffer: BytesMut,
}

impl Template {
    /// Takes `{topic}`, `{device}` (the key) and `{flow}`.
    ///
    /// # Errors
    /// The placeholder that is none of these.
    pub(super) fn compile(template: &TopicTemplate, flow: &str) -> Result<Self, String> {
        let (mut parts, mut text, mut rest) = (Vec::new(), Vec::new(), template.0.as_str());
        while let Some((before, after)) = rest.split_once('{') {
            let (name, behind) = after.split_once('}').ok_or_else(|| after.to_owned())?;
            text.extend_from_slice(before.as_bytes());
            let part = match name {
                "flow" => None,
                "topic" => Some(Part::Topic),
                "device" => Some(Part::Key),
                other => return Err(other.to_owned()),
            };
            match part {
                None => text.extend_from_slice(flow.as_bytes()),
                Some(part) => {
                    parts.push(Part::Text(std::mem::take(&mut text).into()));
                    parts.push(part);
                }
            }
            rest = behind;
        }
        text.extend_from_slice(rest.as_bytes());
        parts.push(Part::Text(text.into()));
        parts.retain(|part| !matches!(part, Part::Text(text) if text.is_empty()));
        Ok(Self { parts, buffer: BytesMut::new() })
    }

    /// Whether the topics begin with `$` because it says so, and not because a device is called that way.
    pub(super) fn says_dollar(&self) -> bool {
        matches!(self.parts.first(), Some(Part::Text(text)) if text.starts_with(b"$"))
    }

    /// The topic for `message` and the key's place in it; `None` when it gets too long for MQTT.
    pub(super) fn apply(&mut self, message: &Message) -> Option<(Bytes, Span)> {
        let length: usize = self.parts.iter().map(|part| part.bytes(message).len()).sum();
        if length > MAX_TOPIC_BYTES {
            return None;
        }
        if self.buffer.capacity() < length {
            self.buffer.reserve(length.max(BUFFER_BYTES));
        }
        let mut key = Span::default();
        for part in &self.parts {
            let within = match part {
                Part::Text(_) => None,
                Part::Topic => Some(usize::from(message.key.offset)),
                Part::Key => Some(0),
            };
            if let Some(within) = within
                && key.len == 0
                && !message.key().is_empty()
            {
                // Fits: no topic is longer than 65,535 bytes.
                let offset = u16::try_from(self.buffer.len() + within).unwrap_or_default();
                key = Span { offset, len: message.key.len };
            }
            self.buffer.extend_from_slice(part.bytes(message));
        }
        Some((self.buffer.split().freeze(), key))
    }
}

impl Part {
    fn bytes<'a>(&'a self, message: &'a Message) -> &'a [u8] {
        match self {
            Self::Text(text) => text,
            Self::Topic => &message.topic,
            Self::Key => message.key(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(template: &str, topic: &'static str, key: Span) -> (String, String) {
        let mut template = Template::compile(&TopicTemplate(template.to_owned()), "climate").unwrap();
        let (topic, key) =
            template.apply(&Message { topic: Bytes::from_static(topic.as_bytes()), key, ..Message::default() }).unwrap();
        let message = Message { topic, key, ..Message::default() };
        (message.topic_str().to_owned(), String::from_utf8(message.key().to_vec()).unwrap())
    }

    #[test]
    fn the_key_is_found_again_in_the_new_topic() {
        let key = Span { offset: 8, len: 2 };
        for (template, topic, found) in [
            ("up/{topic}", "up/devices/d7/t", "d7"),
            ("{flow}/{device}/x", "climate/d7/x", "d7"),
            ("{topic}", "devices/d7/t", "d7"),
            ("fixed/{flow}", "fixed/climate", ""),
            ("{device}{topic}", "d7devices/d7/t", "d7"),
        ] {
            assert_eq!(applied(template, "devices/d7/t", key), (topic.to_owned(), found.to_owned()));
        }
        assert_eq!(applied("a/{device}/b", "t", Span::default()), ("a//b".to_owned(), String::new()));
    }

    #[test]
    fn unknown_placeholders_and_endless_topics_are_refused() {
        assert_eq!(Template::compile(&TopicTemplate("a/{room}".to_owned()), "f").unwrap_err(), "room");
        assert_eq!(Template::compile(&TopicTemplate("a/{device".to_owned()), "f").unwrap_err(), "device");
        let mut template = Template::compile(&TopicTemplate("up/{topic}".to_owned()), "f").unwrap();
        assert!(template.apply(&Message { topic: vec![b't'; 65_533].into(), ..Message::default() }).is_none());
    }
}
