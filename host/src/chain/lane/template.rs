//! The topic of what leaves a chain with the topic it came in with.

use bytes::{Bytes, BytesMut};

use crate::chain::sandbox::capability::matches;
use crate::chain::settings::{TopicTemplate, Topics};
use crate::message::{Message, Span};

/// MQTT counts a topic's length in 16 bits.
const MAX_TOPIC_BYTES: usize = 65_535;

/// Room for some dozens of topics, so that they share one buffer. Every lane has one.
const BUFFER_BYTES: usize = 1 << 10;

#[derive(Clone, Debug, PartialEq, Eq)]
enum TemplatePart {
    Text(Box<[u8]>),
    Topic,
    Key,
    Level(Levels),
}

/// Where the levels are that a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Levels {
    /// The same in every topic of the flow.
    One(usize),
    /// By the filter that a topic matches first.
    ByFilter(Box<[(String, usize)]>),
}

impl Levels {
    /// Of the capture `name`; `None` when not every topic of the flow has it.
    fn of(topics: &Topics, name: &str) -> Option<Self> {
        let place = |pattern: &String| {
            Some((
                filter(pattern),
                levels(pattern).position(|level| capture(level) == Some(name))?,
            ))
        };
        let places: Vec<_> = topics.patterns.iter().map(place).collect::<Option<_>>()?;
        let (_, first) = places.first()?;
        let is_one = places.iter().all(|(_, level)| level == first);
        Some(if is_one {
            Self::One(*first)
        } else {
            Self::ByFilter(places.into())
        })
    }

    fn bytes<'a>(&self, topic: &'a Message) -> &'a [u8] {
        let level = match self {
            Self::One(level) => Some(*level),
            Self::ByFilter(places) => places
                .iter()
                .find(|(filter, _)| matches(filter, topic.topic_str()))
                .map(|(_, level)| *level),
        };
        level
            .and_then(|level| topic.topic.split(|byte| *byte == b'/').nth(level))
            .unwrap_or_default()
    }
}

/// The levels of a topic of the flow, without the group of a shared subscription.
fn levels(pattern: &str) -> std::str::Split<'_, char> {
    let shared = pattern
        .strip_prefix("$share/")
        .and_then(|rest| rest.split_once('/'));
    shared.map_or(pattern, |(_, topic)| topic).split('/')
}

fn capture(level: &str) -> Option<&str> {
    level
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'))
}

fn filter(pattern: &str) -> String {
    levels(pattern)
        .map(|level| if capture(level).is_some() { "+" } else { level })
        .collect::<Vec<_>>()
        .join("/")
}

impl Topics {
    /// What a name in braces stands for, here and in the settings of plugins: the captures that every topic has.
    pub fn captures(&self) -> Vec<&str> {
        let Some(first) = self.patterns.first() else {
            return Vec::new();
        };
        levels(first)
            .filter_map(capture)
            .filter(|name| Levels::of(self, name).is_some())
            .collect()
    }

    /// Whether `name` is the key, in every topic.
    fn is_key(&self, name: &str) -> bool {
        let key_of = |pattern: &String| {
            let named = || {
                levels(pattern)
                    .filter_map(capture)
                    .find(|name| *name == "device")
            };
            self.key.clone().or_else(|| {
                named()
                    .or_else(|| levels(pattern).find_map(capture))
                    .map(str::to_owned)
            })
        };
        !self.patterns.is_empty()
            && self
                .patterns
                .iter()
                .all(|pattern| key_of(pattern).as_deref() == Some(name))
    }

    /// Whether what the names stand for can be told without knowing which topics there are beside these, and is the same in
    /// `other`.
    pub fn names_as(&self, other: &Self) -> bool {
        let places = |topics: &Self| {
            let of = |pattern: &String| {
                levels(pattern)
                    .enumerate()
                    .filter_map(|(at, level)| Some((capture(level)?.to_owned(), at)))
                    .collect::<Vec<_>>()
            };
            topics
                .patterns
                .iter()
                .flat_map(of)
                .collect::<std::collections::BTreeSet<_>>()
        };
        let mine = places(self);
        let theirs = places(other);
        let names: std::collections::BTreeSet<_> = mine.iter().map(|(name, _)| name).collect();
        mine == theirs
            && names.len() == mine.len()
            && self.key == other.key
            && self.captures() == other.captures()
    }
}

/// A template, taken apart once.
#[derive(Clone, Debug)]
pub(crate) struct OutgoingTopic {
    parts: Vec<TemplatePart>,
    buffer: BytesMut,
}

impl OutgoingTopic {
    /// Takes `{topic}`, `{flow}`, `{device}` and `{key}` (both the key, unless a capture has that name), and the captures that
    /// every topic of the flow has.
    ///
    /// # Errors
    /// The placeholder that is none of these.
    pub(crate) fn compile(
        template: &TopicTemplate,
        flow: &str,
        topics: &Topics,
    ) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut text = Vec::new();
        let mut rest = template.0.as_str();
        while let Some((before, after)) = rest.split_once('{') {
            let (name, behind) = after.split_once('}').ok_or_else(|| after.to_owned())?;
            text.extend_from_slice(before.as_bytes());
            if name == "flow" {
                text.extend_from_slice(flow.as_bytes());
            } else {
                parts.push(TemplatePart::Text(std::mem::take(&mut text).into()));
                parts.push(TemplatePart::named(name, topics).ok_or_else(|| name.to_owned())?);
            }
            rest = behind;
        }
        text.extend_from_slice(rest.as_bytes());
        parts.push(TemplatePart::Text(text.into()));
        parts.retain(|part| !matches!(part, TemplatePart::Text(text) if text.is_empty()));
        Ok(Self {
            parts,
            buffer: BytesMut::new(),
        })
    }

    /// Whether the topics begin with `$` because it says so, and not because a device is called that way.
    pub(super) fn says_dollar(&self) -> bool {
        matches!(self.parts.first(), Some(TemplatePart::Text(text)) if text.starts_with(b"$"))
    }

    /// The topic for `message` and the key's place in it; `None` when it gets too long for MQTT.
    pub(crate) fn apply(&mut self, message: &Message) -> Option<(Bytes, Span)> {
        let length: usize = self
            .parts
            .iter()
            .map(|part| part.bytes(message).len())
            .sum();
        if length > MAX_TOPIC_BYTES {
            return None;
        }
        if self.buffer.capacity() < length {
            self.buffer.reserve(length.max(BUFFER_BYTES));
        }
        let mut key = Span::default();
        for part in &self.parts {
            let within = match part {
                TemplatePart::Text(_) | TemplatePart::Level(_) => None,
                // Where the topic does not hold the key, neither does the new one.
                TemplatePart::Topic => message
                    .device
                    .is_none()
                    .then_some(usize::from(message.key.offset)),
                TemplatePart::Key => Some(0),
            };
            if let Some(within) = within
                && key.len == 0
                && !message.key().is_empty()
            {
                // Fits: no topic is longer than 65,535 bytes.
                let short = |length: usize| u16::try_from(length).unwrap_or_default();
                key = Span {
                    offset: short(self.buffer.len() + within),
                    len: short(message.key().len()),
                };
            }
            self.buffer.extend_from_slice(part.bytes(message));
        }
        Some((self.buffer.split().freeze(), key))
    }
}

impl TemplatePart {
    fn named(name: &str, topics: &Topics) -> Option<Self> {
        match name {
            "topic" => Some(Self::Topic),
            "key" => Some(Self::Key),
            name if topics.is_key(name) => Some(Self::Key),
            name => Levels::of(topics, name)
                .map(Self::Level)
                .or_else(|| (name == "device").then_some(Self::Key)),
        }
    }

    fn bytes<'a>(&'a self, message: &'a Message) -> &'a [u8] {
        match self {
            Self::Text(text) => text,
            Self::Topic => &message.topic,
            Self::Key => message.key(),
            Self::Level(levels) => levels.bytes(message),
        }
    }
}

#[cfg(test)]
mod tests;
