//! Topic filters with MQTT's wildcards, in settings.

use crate::plugin::Result;

/// A topic filter: `+` stands for a level, `#` for all that follow.
///
/// ```
/// use tidegate_sdk::TopicFilter;
///
/// let filter = TopicFilter::new("devices/+/#")?;
/// assert!(filter.matches(b"devices/d7/telemetry") && !filter.matches(b"devices"));
/// # Ok::<(), tidegate_sdk::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TopicFilter(String);

impl TopicFilter {
    /// Checks that `+` and `#` stand for whole levels, and that `#` comes last.
    ///
    /// # Errors
    /// It is none, in words for a setting called `topic`.
    pub fn new(filter: &str) -> Result<Self> {
        let mut levels = filter.split('/').rev();
        let last = levels.next().unwrap_or_default();
        let whole = |level: &str| level == "+" || !level.contains(['+', '#']);
        if filter.is_empty() || !(last == "#" || whole(last)) || !levels.all(whole) {
            return Err(
                format!("`topic` is no topic filter: `{filter}`; `+` stands for a whole level, `#` for all that follow").into()
            );
        }
        Ok(Self(filter.to_owned()))
    }

    /// Whether a topic is one of those that are meant. Walks both once, byte by byte.
    pub fn matches(&self, topic: &[u8]) -> bool {
        let (mut filter, mut topic) = (self.0.as_bytes(), topic);
        loop {
            match filter {
                b"#" => return true,
                [b'+', rest @ ..] => {
                    filter = rest;
                    topic = &topic[topic
                        .iter()
                        .position(|byte| *byte == b'/')
                        .unwrap_or(topic.len())..];
                }
                // `a/#` matches `a`, too.
                b"/#" if topic.is_empty() => return true,
                [wanted, rest @ ..] => match topic {
                    [found, following @ ..] if found == wanted => {
                        (filter, topic) = (rest, following)
                    }
                    _ => return false,
                },
                [] => return topic.is_empty(),
            }
        }
    }
}
