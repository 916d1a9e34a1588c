//! What a payload says of a device.

use serde_json::Value;

use super::settings::Availability;

/// Longest payload that is read: a word, or a small object.
const LONGEST: usize = 4_096;

/// Whether a device is there, as somebody said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ToldStatus {
    pub(super) is_online: bool,
    /// Rises with each, where the sender counts them.
    pub(super) version: Option<u64>,
}

impl ToldStatus {
    /// `None` where it is said in no word that is known.
    pub(super) fn read(payload: &[u8], form: &Availability) -> Option<Self> {
        let text = std::str::from_utf8(payload.get(..payload.len().min(LONGEST + 1))?).ok()?;
        if text.len() > LONGEST {
            return None;
        }
        let Ok(Value::Object(members)) = serde_json::from_str(text) else {
            let is_online = word(text.trim().trim_matches('"'), form)?;
            let version = None;
            return Some(Self { is_online, version });
        };
        let state = members.get(&*form.state)?;
        let is_online = match state {
            Value::String(text) => word(text, form)?,
            other => word(&other.to_string(), form)?,
        };
        let version = members.get(&*form.version).and_then(Value::as_u64);
        Some(Self { is_online, version })
    }
}

fn word(text: &str, form: &Availability) -> Option<bool> {
    let text = text.to_lowercase();
    let is_one_of = |words: &[String]| words.contains(&text);
    match (is_one_of(&form.online), is_one_of(&form.offline)) {
        (true, false) => Some(true),
        (false, true) => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_or_a_member_says_whether_a_device_is_there() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let form = Availability {
            online: words(&["online", "true"]),
            offline: words(&["offline", "lost", "false"]),
            state: "state".into(),
            version: "n".into(),
            ..Availability::default()
        };
        let read = |payload: &str| {
            let status = ToldStatus::read(payload.as_bytes(), &form)?;
            Some((status.is_online, status.version))
        };
        for (payload, expected) in [
            ("online", Some((true, None))),
            ("\"Offline\"\n", Some((false, None))),
            ("lost", Some((false, None))),
            ("true", Some((true, None))),
            (r#"{"state":"online"}"#, Some((true, None))),
            (r#"{"state":false,"n":7}"#, Some((false, Some(7)))),
            (r#"{"state":"online","n":"7"}"#, Some((true, None))),
            (r#"{"stat":"online"}"#, None),
            ("sleeping", None),
            ("", None),
        ] {
            assert_eq!(read(payload), expected, "{payload}");
        }
        assert_eq!(read(&"online".repeat(1_000)), None);
        assert_eq!(ToldStatus::read(b"\xffonline", &form), None);
    }
}
