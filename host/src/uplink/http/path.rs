//! The path of a request, with names in braces that each message fills in: percent-encoded, so that no topic leads elsewhere.

use std::fmt::Write;
use std::sync::Arc;

/// A piece of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Gateway,
    Class,
    Topic,
    Device,
}

const NAMES: [(&str, Name); 4] = [
    ("gateway", Name::Gateway),
    ("class", Name::Class),
    ("topic", Name::Topic),
    ("device", Name::Device),
];

/// What stands in a path for one message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filling<'a> {
    /// `<gateway>/<store>/<uplink>/<class>/`, as ids begin.
    pub(super) prefix: &'a str,
    pub(super) topic: &'a [u8],
    pub(super) device: &'a [u8],
}

/// Path and query of a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// Text before each name, and the name.
    parts: Vec<(String, Name)>,
    rest: Arc<str>,
}

impl Path {
    /// That of a server's front page.
    pub fn root() -> Self {
        Self {
            parts: Vec::new(),
            rest: "/".into(),
        }
    }

    /// Reads one; `/` where there is none.
    ///
    /// # Errors
    /// In words: it has a name that is not known, or what cannot stand in a path.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (word, behind) = after
                .split_once('}')
                .ok_or_else(|| "has a brace that nothing closes".to_owned())?;
            let name = NAMES.iter().find(|(known, _)| *known == word);
            let (_, name) =
                name.ok_or_else(|| "has a name in its path that is not known".to_owned())?;
            parts.push((before.to_owned(), *name));
            rest = behind;
        }
        let is_plain = |text: &str| {
            text.bytes()
                .all(|byte| byte.is_ascii_graphic() && !b"#{}\"<>\\^`|".contains(&byte))
        };
        if !is_plain(rest) || !parts.iter().all(|(before, _)| is_plain(before)) {
            return Err("has a character in its path that must be percent-encoded".to_owned());
        }
        if parts.is_empty() && rest.is_empty() {
            rest = "/";
        }
        if parts
            .first()
            .map_or(rest, |(before, _)| before)
            .starts_with('/')
        {
            return Ok(Self {
                parts,
                rest: rest.into(),
            });
        }
        // `http://host?x=y`.
        Err("has no `/` behind its host".to_owned())
    }

    /// The path of a message; in words why it has none.
    pub(super) fn of(&self, filling: Filling<'_>) -> Result<Arc<str>, String> {
        if self.parts.is_empty() {
            return Ok(Arc::clone(&self.rest));
        }
        let mut path = String::new();
        for (before, name) in &self.parts {
            path.push_str(before);
            let value = filling.value(*name);
            // Whoever tidies up a path would go up a folder, or leave one out.
            if matches!(value, b"" | b"." | b"..") {
                return Err(format!(
                    "`{}` cannot stand in the path of `url`",
                    String::from_utf8_lossy(value)
                ));
            }
            encode(value, &mut path);
        }
        path.push_str(&self.rest);
        Ok(path.into())
    }
}

impl<'a> Filling<'a> {
    fn value(self, name: Name) -> &'a [u8] {
        let part = |index| self.prefix.split('/').nth(index).unwrap_or_default();
        match name {
            Name::Gateway => part(0).as_bytes(),
            Name::Class => part(3).as_bytes(),
            Name::Topic => self.topic,
            Name::Device => self.device,
        }
    }
}

fn encode(value: &[u8], path: &mut String) {
    for byte in value {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            path.push(char::from(*byte));
        } else {
            // Writing into a text cannot fail.
            let _ = write!(path, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str, topic: &str, device: &str) -> Result<String, String> {
        let filling = Filling {
            prefix: "barn-7/abcdefgh/cloud/alarm/",
            topic: topic.as_bytes(),
            device: device.as_bytes(),
        };
        Ok(Path::parse(path)?.of(filling)?.to_string())
    }

    #[test]
    fn names_are_filled_in_and_encoded() {
        assert_eq!(of("", "t", "d").as_deref(), Ok("/"));
        assert_eq!(of("/in?a=b", "t", "d").as_deref(), Ok("/in?a=b"));
        assert_eq!(
            of("/{gateway}/{class}/{topic}?d={device}", "a/b c", "ü%").as_deref(),
            Ok("/barn-7/alarm/a%2Fb%20c?d=%C3%BC%25")
        );
    }

    #[test]
    fn nothing_that_a_device_says_leads_to_another_place() {
        for device in ["..", ".", ""] {
            assert!(of("/v1/{device}/x", "t", device).is_err(), "{device}");
        }
        for device in [
            "../x",
            "a/../b",
            "a?b",
            "a#b",
            "a b",
            "%2e%2e",
            "a\r\nHost: b",
        ] {
            let path = of("/v1/{device}", "t", device).unwrap();
            let own = path.strip_prefix("/v1/").unwrap();
            assert!(!own.contains(['/', '?', '#', ' ', '\r', '\n']), "{path}");
        }
    }

    #[test]
    fn what_is_no_path_is_told() {
        for bad in [
            "/{flow}", "/{device", "/a b", "/ü", "/#x", "?x", "/}", "{device}",
        ] {
            assert!(Path::parse(bad).is_err(), "{bad}");
        }
    }
}
