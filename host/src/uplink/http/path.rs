//! The path of a request, with names in braces that each message fills in: percent-encoded, so that no topic leads elsewhere.

use std::fmt::Write;
use std::sync::Arc;

use super::super::form::template::{Filling, Template};

/// Path and query of a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestPath {
    template: Template,
    /// Where no message fills anything in.
    whole: Arc<str>,
}

impl RequestPath {
    /// That of a server's front page.
    pub fn root() -> Self {
        Self::of_template(Template::default())
    }

    fn of_template(template: Template) -> Self {
        let whole: String = template.plain().collect();
        let whole = if whole.is_empty() {
            "/".to_owned()
        } else {
            whole
        };
        Self {
            template,
            whole: whole.into(),
        }
    }

    /// Reads one; `/` where there is none.
    ///
    /// # Errors
    /// In words: it has a name that is not known, or what cannot stand in a path.
    pub fn parse(text: &str) -> Result<Self, String> {
        let template = Template::parse(text)?;
        let is_plain = |text: &str| {
            text.bytes()
                .all(|byte| byte.is_ascii_graphic() && !b"#{}\"<>\\^`|".contains(&byte))
        };
        if !template.plain().all(is_plain) {
            return Err("has a character in its path that must be percent-encoded".to_owned());
        }
        if text.is_empty() || text.starts_with('/') {
            return Ok(Self::of_template(template));
        }
        // `http://host?x=y`.
        Err("has no `/` behind its host".to_owned())
    }

    /// As it is written in the config.
    pub fn written(&self) -> String {
        self.template.to_string()
    }

    /// Whether each message makes another one of it, and not only each class.
    pub(super) fn is_by_message(&self) -> bool {
        self.template.is_of_messages()
    }

    /// The path of a message; in words why it has none.
    pub(super) fn of(&self, filling: Filling<'_>) -> Result<Arc<str>, String> {
        if self.template.is_plain() {
            return Ok(Arc::clone(&self.whole));
        }
        let put = |value: &[u8], path: &mut String| {
            // Whoever tidies up a path would go up a folder, or leave one out.
            if matches!(value, b"" | b"." | b"..") {
                let value = String::from_utf8_lossy(value);
                return Err(format!("`{value}` cannot stand in the path of `url`"));
            }
            encode(value, path);
            Ok(())
        };
        Ok(self.template.fill(filling, put)?.into())
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
        Ok(RequestPath::parse(path)?.of(filling)?.to_string())
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
            assert!(RequestPath::parse(bad).is_err(), "{bad}");
        }
    }
}
