//! What messages are published to, with names in braces that each message fills in: a value is one part, and nothing in it parts the
//! subject, or matches others.

use super::super::form::template::{Filling, Template};
use crate::nats::{is_subject_token, put_token};

/// Bytes of a subject, at most: a server takes lines of 4 KiB by default, with the place for the answer on them.
const MOST_BYTES: usize = 3 << 10;

/// What stands for the topic: its levels become parts.
const TOPIC: &str = "{topic}";

/// A subject with such names. The levels of `{topic}` become its parts; each other name is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// What stands around each `{topic}`.
    around: Vec<Template>,
    written: String,
}

impl Subject {
    /// That of every message by its topic.
    pub fn any() -> Self {
        Self {
            around: vec![Template::default(); 2],
            written: TOPIC.to_owned(),
        }
    }

    /// Reads one.
    ///
    /// # Errors
    /// In words: it has a name that is not known, or makes no subject.
    pub fn parse(text: &str) -> Result<Self, String> {
        let around: Result<Vec<_>, _> = text.split(TOPIC).map(Template::parse).collect();
        let around = around?;
        if !around
            .iter()
            .flat_map(Template::plain)
            .all(is_subject_token)
        {
            return Err(
                "has a space, a wildcard or a quote in it, which no subject can have".to_owned(),
            );
        }
        if text.split('.').any(str::is_empty) {
            return Err("has an empty part: dots stand between parts".to_owned());
        }
        if text.starts_with('$') || text.starts_with("_INBOX") {
            return Err("begins as subjects do that the server keeps for itself".to_owned());
        }
        Ok(Self {
            around,
            written: text.to_owned(),
        })
    }

    /// The subject of a message; in words why it has none.
    pub(super) fn of(&self, filling: Filling<'_>) -> Result<String, String> {
        let mut subject = String::new();
        for (number, template) in self.around.iter().enumerate() {
            if number > 0 {
                put_levels(filling.topic, &mut subject);
            }
            let put = |value: &[u8], text: &mut String| {
                if value.is_empty() {
                    return Err("a name in `nats.subject` stands for nothing".to_owned());
                }
                put_token(value, text);
                Ok(())
            };
            subject.push_str(&template.fill(filling, put)?);
        }
        if subject.len() > MOST_BYTES {
            let bytes = subject.len();
            return Err(format!(
                "its subject of {bytes} bytes is over the limit of {MOST_BYTES}"
            ));
        }
        Ok(subject)
    }

    /// What matches all subjects that it makes.
    pub(super) fn filter(&self) -> String {
        let mut parts = Vec::new();
        for part in self.written.split('.') {
            if part.contains(TOPIC) {
                parts.push(">");
                break;
            }
            parts.push(if part.contains('{') { "*" } else { part });
        }
        parts.join(".")
    }
}

/// Each level as a part; an empty one is `%`, which comes out of no other.
fn put_levels(topic: &[u8], subject: &mut String) {
    for (number, level) in topic.split(|byte| *byte == b'/').enumerate() {
        if number > 0 {
            subject.push('.');
        }
        if level.is_empty() {
            subject.push('%');
        }
        put_token(level, subject);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(subject: &str, topic: &[u8], device: &[u8]) -> Result<String, String> {
        Subject::parse(subject)?.of(Filling {
            prefix: "barn.7/abcdefgh/cloud/alarm/",
            topic,
            device,
        })
    }

    #[test]
    fn names_are_parts_and_the_levels_of_a_topic_are_too() {
        let subject = of("tele.{gateway}.{class}.d-{device}", b"a/b", b"x.y z");
        assert_eq!(subject.as_deref(), Ok("tele.barn%2E7.alarm.d-x%2Ey%20z"));
        let subject = of("in.{topic}", b"devices//d*/>", b"d");
        assert_eq!(subject.as_deref(), Ok("in.devices.%.d%2A.%3E"));
        assert_eq!(of("{topic}", b"$JS/API", b"d").as_deref(), Ok("%24JS.API"));
        assert!(of("{device}", b"t", b"").is_err());
        assert!(of("{device}", b"t", &[b'x'; 4_000]).is_err());
    }

    #[test]
    fn a_filter_matches_all_that_it_makes() {
        let filter = |subject: &str| Subject::parse(subject).unwrap().filter();
        assert_eq!(filter("{topic}"), ">");
        assert_eq!(filter("tele.{device}.d-{class}.x"), "tele.*.*.x");
        assert_eq!(filter("a.{topic}.b"), "a.>");
        assert_eq!(filter("a.b"), "a.b");
    }

    #[test]
    fn what_is_no_subject_is_told() {
        for bad in [
            "",
            "a..b",
            ".a",
            "a.",
            "a b",
            "a.*",
            ">",
            "{flow}",
            "{device",
            "$JS.API.x",
            "_INBOX.a",
            "a\r\nb",
        ] {
            assert!(Subject::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_device_is_called_its_subject_has_as_many_parts(device in proptest::collection::vec(any::<u8>(), 1..40)) {
            let subject = of("tele.{device}.x", b"t", &device).unwrap();
            prop_assert_eq!(subject.split('.').count(), 3);
            prop_assert!(subject.bytes().all(|byte| byte.is_ascii_graphic() && !b"*>".contains(&byte)));
        }
    }
}
