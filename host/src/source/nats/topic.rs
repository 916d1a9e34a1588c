//! From the subject of a message to its topic. No sockets.

use bytes::Bytes;

use crate::message::{Pattern, legal};

const SUBJECT: &str = "{subject}";

/// A topic with a place for the subject: its parts are levels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectTopic(Box<str>);

impl SubjectTopic {
    /// That of every message by its subject.
    pub fn any() -> Self {
        Self(SUBJECT.into())
    }

    /// Reads one: a topic, with `{subject}` in it or not.
    ///
    /// # Errors
    /// It is none, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let example = text.replace(SUBJECT, "x");
        if example.contains(['{', '}']) {
            return Err("has something in braces that is not known here".to_owned());
        }
        legal::check_topic(example.as_bytes())
            .map_err(|problem| format!("makes no topic: it {problem}"))?;
        Ok(Self(text.into()))
    }

    /// Whether a topic that it makes may match.
    pub fn reaches(&self, pattern: &Pattern) -> bool {
        match self.0.split_once(SUBJECT) {
            None => pattern.matches(&self.0).is_some(),
            Some((before, _)) => {
                let last = self.0.rfind('}').map_or(0, |at| at + 1);
                pattern.meets(before, &self.0[last..])
            }
        }
    }

    /// The topic of a subject. What would be another level, or match others, stands as `%` and two digits.
    pub(super) fn of(&self, subject: &[u8]) -> Bytes {
        let subject = String::from_utf8_lossy(subject);
        let mut levels = String::with_capacity(subject.len());
        for letter in subject.chars() {
            match letter {
                '.' => levels.push('/'),
                '/' => levels.push_str("%2F"),
                '+' => levels.push_str("%2B"),
                '#' => levels.push_str("%23"),
                letter => levels.push(letter),
            }
        }
        self.0.replace(SUBJECT, &levels).into()
    }
}

/// As it is written in the config.
impl std::fmt::Display for SubjectTopic {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_levels_and_no_part_is_two() {
        let topic = |text: &str, subject: &str| {
            let topic = SubjectTopic::parse(text).unwrap();
            String::from_utf8(topic.of(subject.as_bytes()).to_vec()).unwrap()
        };
        assert_eq!(
            topic("{subject}", "devices.d1.telemetry"),
            "devices/d1/telemetry"
        );
        assert_eq!(topic("in/{subject}", "a/b.+.#"), "in/a%2Fb/%2B/%23");
        assert_eq!(topic("fixed", "a.b"), "fixed");
    }

    #[test]
    fn a_pattern_is_reached_where_some_subject_makes_a_topic_of_it() {
        let reaches = |topic: &str, pattern: &str| {
            let topic = SubjectTopic::parse(topic).unwrap();
            topic.reaches(&Pattern::parse(pattern).unwrap())
        };
        assert!(reaches("{subject}", "devices/{device}/#"));
        assert!(reaches("in/{subject}", "in/{device}"));
        assert!(!reaches("in/{subject}", "out/{device}") && !reaches("a", "b"));
    }

    #[test]
    fn what_makes_no_topic_is_told() {
        for text in ["", "a/#", "{topic}", "a/{subject"] {
            assert!(SubjectTopic::parse(text).is_err(), "{text}");
        }
    }
}
