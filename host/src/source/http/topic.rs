//! From the path of a request to a topic. No sockets.

use bytes::Bytes;

use crate::message::{Pattern, legal};
use crate::source::facts::SourceTopics;

/// What stands in a template for the path.
const PATH: &str = "{path}";

/// A topic with a place for the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathTopic {
    before: String,
    /// Behind the path; `None` where the template has none, and every path leads to one topic.
    after: Option<String>,
}

/// A text that is no template of a topic.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Another word in braces, or more than one path.
    #[error("has something else in braces than `{{path}}`, or that twice")]
    Braces,
    /// What it makes can be no topic.
    #[error("makes no topic: it {0}")]
    Topic(&'static str),
}

impl PathTopic {
    pub fn any() -> Self {
        Self {
            before: String::new(),
            after: Some(String::new()),
        }
    }

    /// Reads one: a topic, with `{path}` in it once or not at all.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let (before, after) = match text.split_once(PATH) {
            Some((before, after)) => (before, Some(after.to_owned())),
            None => (text, None),
        };
        if before.contains(['{', '}']) || after.as_ref().is_some_and(|end| end.contains(['{', '}']))
        {
            return Err(TemplateError::Braces);
        }
        let example = text.replace(PATH, "x");
        legal::check_topic(example.as_bytes()).map_err(TemplateError::Topic)?;
        Ok(Self {
            before: before.to_owned(),
            after,
        })
    }

    /// Which topics a source has that makes them so.
    pub(in crate::source) fn as_topics(&self) -> SourceTopics<'_> {
        SourceTopics::Made {
            written: self,
            reaches: Box::new(|pattern| self.reaches(pattern)),
        }
    }

    /// Whether a topic that it makes can match.
    pub fn reaches(&self, pattern: &Pattern) -> bool {
        match &self.after {
            None => pattern.matches(&self.before).is_some(),
            Some(after) => pattern.meets(&self.before, after),
        }
    }

    /// The topic of a request for `path`, as it stands in the URL.
    pub(super) fn topic(&self, path: &str) -> Result<Bytes, &'static str> {
        let path = path.strip_prefix('/').unwrap_or(path);
        self.topic_of(&decoded(path)?)
    }

    /// The same of a path whose bytes are what they are, without a first slash. Levels `.` and `..` mean another path to most who read one,
    /// so they are refused.
    pub(in crate::source) fn topic_of(&self, path: &[u8]) -> Result<Bytes, &'static str> {
        let mut levels = path.split(|byte| matches!(byte, b'/' | b'\\'));
        if levels.any(|level| matches!(level, b"." | b"..")) {
            return Err("the path has a level `.` or `..`");
        }
        let topic = match &self.after {
            None => self.before.clone().into_bytes(),
            Some(_) if path.is_empty() => return Err("the path is empty, and the topic with it"),
            Some(after) => [self.before.as_bytes(), path, after.as_bytes()].concat(),
        };
        legal::check_topic(&topic).map_err(|_| {
            "the path is no topic: no wildcards (+, #), no control characters, UTF-8, 65,535 bytes at most"
        })?;
        Ok(topic.into())
    }
}

/// As it is written in the config.
impl std::fmt::Display for PathTopic {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.before)?;
        self.after.as_ref().map_or(Ok(()), |after| {
            formatter.write_str(PATH)?;
            formatter.write_str(after)
        })
    }
}

/// A path without its percent signs.
fn decoded(path: &str) -> Result<Vec<u8>, &'static str> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = after.split_first_chunk::<2>();
        let (digits, after) = digits.ok_or("the path ends in a percent sign")?;
        let digit = |digit: u8| char::from(digit).to_digit(16);
        let (Some(high), Some(low)) = (digit(digits[0]), digit(digits[1])) else {
            return Err(
                "a percent sign in the path stands before something that is not hexadecimal",
            );
        };
        bytes.push(u8::try_from(high << 4 | low).unwrap_or_default());
        rest = after;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn topic(template: &str, path: &str) -> Result<String, &'static str> {
        let found = PathTopic::parse(template).unwrap().topic(path)?;
        Ok(String::from_utf8(found.to_vec()).unwrap())
    }

    #[test]
    fn a_path_becomes_a_topic() {
        for (template, path, expected) in [
            ("{path}", "/devices/d1/telemetry", "devices/d1/telemetry"),
            ("{path}", "/a%20b/%C3%A4", "a b/ä"),
            ("http/{path}/raw", "/d1", "http/d1/raw"),
            ("everything", "/whatever", "everything"),
            ("everything", "/", "everything"),
            ("{path}", "//d1/", "/d1/"),
            ("{path}", "/a%2Fb", "a/b"),
        ] {
            assert_eq!(topic(template, path).as_deref(), Ok(expected), "{path}");
        }
    }

    #[test]
    fn a_path_that_can_be_no_topic_or_leads_elsewhere_is_refused() {
        for path in [
            "/",
            "",
            "/a/../b",
            "/..",
            "/a/%2e%2E/b",
            "/a/./b",
            "/a\\..\\b",
            "/a+b/+",
            "/%23",
            "/a%00",
            "/%ff",
            "/%",
            "/%4",
            "/%zz",
            "/a%0ab",
        ] {
            assert!(topic("{path}", path).is_err(), "{path}");
        }
    }

    #[test]
    fn what_is_no_template_is_told() {
        assert_eq!(PathTopic::parse("{device}/x"), Err(TemplateError::Braces));
        assert_eq!(
            PathTopic::parse("{path}/{path}"),
            Err(TemplateError::Braces)
        );
        assert!(matches!(PathTopic::parse(""), Err(TemplateError::Topic(_))));
        assert!(matches!(
            PathTopic::parse("a/#"),
            Err(TemplateError::Topic(_))
        ));
    }

    proptest! {
        #[test]
        fn what_comes_of_any_path_is_a_topic(path in "(/|\\.|%[0-9a-f]{2}|[ -~]|ä){0,40}") {
            if let Ok(found) = PathTopic::parse("{path}").unwrap().topic(&path) {
                prop_assert!(legal::check_topic(&found).is_ok());
                prop_assert!(!found.split(|byte| *byte == b'/').any(|level| level == b".."));
            }
        }
    }
}
