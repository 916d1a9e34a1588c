//! Topic patterns: MQTT filters whose wildcards may have names, `devices/{device}/telemetry`.

mod meets;

use super::Span;

/// A pattern that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// There is nothing in it.
    #[error("topic pattern is empty")]
    Empty,
    /// Longer than 65,535 bytes, or with a NUL.
    #[error("topic pattern has a NUL or is longer than 65,535 bytes")]
    NotATopic,
    /// A shared subscription that no broker takes.
    #[error(
        "`{0}` is not a shared subscription: write `$share/GROUP/FILTER`, with a group without `+`, `#`, `{{` and `}}`"
    )]
    NotShared(String),
    /// `+`, `#`, `{` or `}` inside a level.
    #[error("`{0}` must be a whole level: `+`, `#` or `{{name}}` between slashes")]
    PartOfALevel(String),
    /// `#` before the end.
    #[error("`#` is only allowed as the last level")]
    HashNotLast,
    /// `{}`, or a name that is not made of letters, digits and `_`.
    #[error("`{0}` is not a capture: use letters, digits and `_`, as in `{{device}}`")]
    BadName(String),
    /// A name stands for two levels.
    #[error("capture `{0}` is used twice")]
    Twice(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Level {
    Exactly(String),
    Any,
    Capture(String),
    Rest,
}

/// A filter, and which of its levels is the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    levels: Vec<Level>,
    key: Option<usize>,
    share: Option<String>,
}

impl Pattern {
    /// Parses a pattern. The key is the capture `{device}`, else the first capture, else the whole topic. A leading `$share/group/` is kept for the filter.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let (share, topic) = split_share(text)?;
        if topic.is_empty() {
            return Err(PatternError::Empty);
        }
        if text.len() > usize::from(u16::MAX) || text.contains('\0') {
            return Err(PatternError::NotATopic);
        }
        let count = topic.split('/').count();
        let levels = topic
            .split('/')
            .enumerate()
            .map(|(i, level)| parse_level(level, i + 1 == count))
            .collect::<Result<Vec<_>, _>>()?;
        let names: Vec<_> = levels
            .iter()
            .enumerate()
            .filter_map(|(i, level)| {
                if let Level::Capture(name) = level {
                    Some((i, name))
                } else {
                    None
                }
            })
            .collect();
        if let Some((_, twice)) = names
            .iter()
            .enumerate()
            .find(|(n, (_, name))| names[..*n].iter().any(|(_, other)| other == name))
            .map(|(_, found)| found)
        {
            return Err(PatternError::Twice((*twice).clone()));
        }
        let key = names
            .iter()
            .find(|(_, name)| *name == "device")
            .or(names.first())
            .map(|(i, _)| *i);
        Ok(Self { levels, key, share })
    }

    /// The same with the capture of this name as key; `None` when it has none.
    pub fn keyed(self, name: &str) -> Option<Self> {
        let key = self
            .levels
            .iter()
            .position(|level| matches!(level, Level::Capture(own) if own == name))?;
        Some(Self {
            key: Some(key),
            ..self
        })
    }

    /// The same for a member of a group that shares what comes, if there is one and it is in no other already.
    pub fn shared(self, group: Option<&str>) -> Self {
        let share = self.share.or_else(|| group.map(str::to_owned));
        Self { share, ..self }
    }

    /// The name of its key; `None` where that is the whole topic.
    pub fn key(&self) -> Option<&str> {
        self.key.and_then(|key| {
            if let Level::Capture(name) = &self.levels[key] {
                Some(name.as_str())
            } else {
                None
            }
        })
    }

    /// Whether many topics match it and nothing in it says which part is the device's name.
    pub fn is_nameless(&self) -> bool {
        self.key.is_none()
            && self
                .levels
                .iter()
                .any(|level| matches!(level, Level::Any | Level::Rest))
    }

    /// The filter to subscribe to.
    pub fn filter(&self) -> String {
        let levels: Vec<_> = self
            .levels
            .iter()
            .map(|level| match level {
                Level::Exactly(text) => text.as_str(),
                Level::Any | Level::Capture(_) => "+",
                Level::Rest => "#",
            })
            .collect();
        let topic = levels.join("/");
        self.share
            .as_ref()
            .map_or(topic.clone(), |group| format!("$share/{group}/{topic}"))
    }

    /// The levels before its first wildcard, as a topic that it matches begins.
    pub(crate) fn start(&self) -> String {
        let plain = self.levels.iter().map_while(|level| {
            if let Level::Exactly(text) = level {
                Some(text.as_str())
            } else {
                None
            }
        });
        plain.collect::<Vec<_>>().join("/")
    }

    /// The names of the captures, in order.
    pub fn captures(&self) -> impl Iterator<Item = &str> {
        self.levels.iter().filter_map(|level| {
            if let Level::Capture(name) = level {
                Some(name.as_str())
            } else {
                None
            }
        })
    }

    /// Whether `topic` matches, and where its key stands. Follows MQTT 4.7: `#` takes the parent level too, and
    /// wildcards never match a first level that begins with `$`.
    pub fn matches(&self, topic: &str) -> Option<Span> {
        if topic.starts_with('$') && !matches!(self.levels.first(), Some(Level::Exactly(_))) {
            return None;
        }
        let whole = Span {
            offset: 0,
            len: u16::try_from(topic.len()).ok()?,
        };
        let mut span = if self.key.is_none() {
            whole
        } else {
            Span::default()
        };
        let mut offset = 0;
        let mut rest = Some(topic);
        for (i, level) in self.levels.iter().enumerate() {
            if *level == Level::Rest {
                return Some(span);
            }
            let text = rest?;
            let (here, after) = text
                .split_once('/')
                .map_or((text, None), |(here, after)| (here, Some(after)));
            if let Level::Exactly(expected) = level
                && expected != here
            {
                return None;
            }
            if self.key == Some(i) {
                span = Span {
                    offset: u16::try_from(offset).ok()?,
                    len: u16::try_from(here.len()).ok()?,
                };
            }
            offset += here.len() + 1;
            rest = after;
        }
        rest.is_none().then_some(span)
    }
}

/// As it is written in the config, but for the group of a shared subscription.
impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, level) in self.levels.iter().enumerate() {
            f.write_str(if i > 0 { "/" } else { "" })?;
            match level {
                Level::Exactly(text) => f.write_str(text)?,
                Level::Any => f.write_str("+")?,
                Level::Capture(name) => write!(f, "{{{name}}}")?,
                Level::Rest => f.write_str("#")?,
            }
        }
        Ok(())
    }
}

/// Whether every topic that matches filter `inner` matches `outer` as well: a broker may send a message once for
/// each of two such subscriptions. Shared subscriptions cover nothing and are covered by nothing.
pub(crate) fn covers(outer: &str, inner: &str) -> bool {
    if outer.starts_with("$share/")
        || inner.starts_with("$share/")
        || (inner.starts_with('$') && outer.starts_with(['+', '#']))
    {
        return outer == inner;
    }
    let mut outer = outer.split('/');
    let mut inner = inner.split('/');
    loop {
        match (outer.next(), inner.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(level)) if level != "#" => {}
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}

/// Whether some topic matches both filters.
pub fn overlap(one: &str, other: &str) -> bool {
    let one = unshared(one);
    let other = unshared(other);
    if one.starts_with('$') != other.starts_with('$') {
        return false;
    }
    let mut one = one.split('/');
    let mut other = other.split('/');
    loop {
        match (one.next(), other.next()) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (Some("+"), Some(_)) | (Some(_), Some("+")) => {}
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}

/// Whether a group of a shared subscription may have that name.
pub(crate) fn is_group(name: &str) -> bool {
    !name.is_empty() && !name.contains(['+', '#', '{', '}', '/', '\0'])
}

/// The filter without the group of a shared subscription.
fn unshared(filter: &str) -> &str {
    split_share(filter).map_or(filter, |(_, topic)| topic)
}

fn split_share(text: &str) -> Result<(Option<String>, &str), PatternError> {
    let Some(rest) = text
        .strip_prefix("$share")
        .filter(|rest| rest.is_empty() || rest.starts_with('/'))
    else {
        return Ok((None, text));
    };
    let parts = rest.strip_prefix('/').and_then(|rest| rest.split_once('/'));
    let is_good = |(group, topic): &(&str, &str)| is_group(group) && !topic.is_empty();
    let (group, topic) = parts
        .filter(is_good)
        .ok_or_else(|| PatternError::NotShared(text.to_owned()))?;
    Ok((Some(group.to_owned()), topic))
}

fn parse_level(level: &str, last: bool) -> Result<Level, PatternError> {
    match level {
        "+" => Ok(Level::Any),
        "#" if last => Ok(Level::Rest),
        "#" => Err(PatternError::HashNotLast),
        _ => {
            if let Some(name) = level
                .strip_prefix('{')
                .and_then(|rest| rest.strip_suffix('}'))
            {
                let good = !name.is_empty()
                    && name
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
                return if good {
                    Ok(Level::Capture(name.to_owned()))
                } else {
                    Err(PatternError::BadName(level.to_owned()))
                };
            }
            if level.contains(['+', '#', '{', '}']) {
                return Err(PatternError::PartOfALevel(level.to_owned()));
            }
            Ok(Level::Exactly(level.to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, topic: &str, key: Option<&str>) {
        let found = Pattern::parse(pattern).unwrap().matches(topic);
        let found =
            found.map(|span| &topic[usize::from(span.offset)..usize::from(span.offset + span.len)]);
        assert_eq!(found, key, "{pattern} against {topic}");
    }

    #[test]
    fn topics_match_as_mqtt_4_7_says_and_the_device_is_the_key() {
        check(
            "devices/{device}/telemetry",
            "devices/d7/telemetry",
            Some("d7"),
        );
        check("devices/{device}/telemetry", "devices/d7/state", None);
        check("devices/{device}/telemetry", "devices/d7/telemetry/x", None);
        check("{site}/{device}/#", "barn/d7", Some("d7"));
        check("{site}/{device}/#", "barn/d7/a/b", Some("d7"));
        check("{site}/#", "barn", Some("barn"));
        check("a/+", "a", None);
        check("a/+", "a/", Some("a/"));
        check("#", "$SYS/uptime", None);
        check("$SYS/#", "$SYS/uptime", Some("$SYS/uptime"));
        check("$share/g/a/{x}", "a/b", Some("b"));
    }

    #[test]
    fn another_capture_can_be_the_key() {
        let pattern = Pattern::parse("{site}/{device}/#").unwrap();
        assert_eq!(
            (pattern.key(), pattern.clone().keyed("room")),
            (Some("device"), None)
        );
        let pattern = pattern.keyed("site").unwrap();
        assert_eq!(
            (pattern.key(), pattern.matches("barn/d7/t")),
            (Some("site"), Some(Span { offset: 0, len: 4 }))
        );
        assert!(
            Pattern::parse("a/+").unwrap().is_nameless()
                && !Pattern::parse("a/b").unwrap().is_nameless()
        );
    }

    #[test]
    fn a_filter_covers_another_when_it_takes_all_of_its_topics() {
        for (outer, inner, expected) in [
            ("a/+/c", "a/b/c", true),
            ("a/#", "a/+/c", true),
            ("a/#", "a", true),
            ("a/+", "a/#", false),
            ("a/b/c", "a/+/c", false),
            ("a", "a/b", false),
            ("#", "$SYS/x", false),
            ("$share/g/a/#", "a/b", false),
            ("$share/g/a/#", "$share/g/a/#", true),
        ] {
            assert_eq!(covers(outer, inner), expected, "{outer} over {inner}");
        }
    }

    #[test]
    fn filters_overlap_where_some_topic_matches_both() {
        for (one, other, expected) in [
            ("a/+/c", "a/b/+", true),
            ("a/#", "+/b", true),
            ("a/#", "a", true),
            ("a/+", "b/+", false),
            ("a/+", "a/+/c", false),
            ("#", "$SYS/#", false),
            ("$share/g/a/+", "a/b", true),
        ] {
            assert_eq!(
                (overlap(one, other), overlap(other, one)),
                (expected, expected),
                "{one} and {other}"
            );
        }
    }

    #[test]
    fn bad_patterns_say_what_is_wrong() {
        assert_eq!(Pattern::parse(""), Err(PatternError::Empty));
        assert_eq!(
            Pattern::parse("a/b+"),
            Err(PatternError::PartOfALevel("b+".into()))
        );
        assert_eq!(Pattern::parse("#/a"), Err(PatternError::HashNotLast));
        assert_eq!(
            Pattern::parse("{a}/{a}"),
            Err(PatternError::Twice("a".into()))
        );
        assert_eq!(
            Pattern::parse("{a b}"),
            Err(PatternError::BadName("{a b}".into()))
        );
        assert_eq!(
            Pattern::parse("$share/g/x/{y}/#").unwrap().filter(),
            "$share/g/x/+/#"
        );
        assert_eq!(Pattern::parse("$shared/g").unwrap().filter(), "$shared/g");
        let shared = |text| Pattern::parse(text).unwrap().shared(Some("all")).filter();
        assert_eq!(shared("x/{y}/#"), "$share/all/x/+/#");
        assert_eq!(shared("$share/g/x"), "$share/g/x");
        for bad in [
            "$share",
            "$share/",
            "$share/g",
            "$share/g/",
            "$share//a/b",
            "$share/g+/a",
            "$share/#/a",
            "$share/{g}/a",
        ] {
            assert_eq!(
                Pattern::parse(bad),
                Err(PatternError::NotShared(bad.into()))
            );
        }
    }
}
