//! Influx lines, as InfluxDB and VictoriaMetrics take them: one for each message that is a JSON object with a number in it.
//!
//! `measurement,tag=value field=21.5,other=true 1700000000000000000`
//!
//! A line is right by construction, since some servers take no notice of one that is not: numbers are finite, names and tags
//! have no character that ends them, and the time never repeats within a device's microsecond. Numbers are all floats, so that
//! 21 and 21.5 are one series.

use std::collections::HashSet;
use std::fmt::Write;

use bytes::Bytes;

use super::super::carrier::PacketOrigin;
use super::super::form::members::{Leaf, members};
use super::super::form::template::{Filling, Template};

/// The tag that every line has: the device of the topic, whatever the payload says.
pub const DEVICE: &str = "device";

/// How messages become lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InfluxFormat {
    pub measurement: Template,
    /// Members of the payload that are tags, no two with one name, and none with that of [`DEVICE`].
    pub tags: Vec<Tag>,
    /// Whether texts are fields, too.
    pub texts: bool,
}

/// A member that is a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Its name as [`members`] has it.
    member: String,
    /// What it is called in a line.
    name: String,
}

impl Tag {
    pub fn of(member: &str) -> Self {
        Self {
            member: member.to_owned(),
            name: line_name(member),
        }
    }

    /// What it is called in a line; empty where it can stand in none.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl InfluxFormat {
    /// The line of a message; in words why it has none.
    pub(super) fn of(
        &self,
        about: PacketOrigin<'_>,
        filling: Filling<'_>,
    ) -> Result<Bytes, String> {
        let flat = members(&about.stored.message.payload).ok_or_else(|| {
            "its payload is not a JSON object of at most 62 levels, so it makes no line".to_owned()
        })?;
        let mut line = String::new();
        put_name(&self.measurement.text(filling), false, &mut line);
        if line.is_empty() {
            return Err("its `measurement` would be empty".to_owned());
        }
        put_tag(DEVICE, &String::from_utf8_lossy(filling.device), &mut line);
        for Tag { member, name } in &self.tags {
            let found = flat.iter().rev().find(|(found, _)| found == member);
            match found {
                Some((_, Leaf::Text(text))) => put_tag(name, text, &mut line),
                Some((_, Leaf::Number(text))) => put_tag(name, text, &mut line),
                Some((_, Leaf::Flag(flag))) => put_tag(name, &flag.to_string(), &mut line),
                None => {}
            }
        }
        let mut before = ' ';
        for (name, value) in self.fields(&flat) {
            // Writing into a text cannot fail, here and below.
            let _ = write!(line, "{before}{name}={value}");
            before = ',';
        }
        if before == ' ' {
            return Err("there is no number in its payload, so it makes no line".to_owned());
        }
        // By a clock that was not set it would be long ago; the server has one that is.
        if let Some(arrived) = about.arrived {
            let apart = about.stored.seq.number() % 1_000;
            let nanos = u128::from(arrived.0) * 1_000 + u128::from(apart);
            let _ = write!(line, " {nanos}");
        }
        Ok(line.into())
    }

    /// Each with the name and the value that stand in the line. Of several that have one name there the last one counts.
    fn fields(&self, flat: &[(String, Leaf<'_>)]) -> Vec<(String, String)> {
        let is_tag = |member: &str| self.tags.iter().any(|tag| tag.member == member);
        let is_taken = |name: &str| name == DEVICE || self.tags.iter().any(|tag| tag.name == name);
        let mut fields = Vec::new();
        for (name, value) in flat.iter().filter(|(name, _)| !is_tag(name)) {
            let text = match value {
                // As it is written: it is one that every reader takes, but for those beyond a 64-bit float.
                Leaf::Number(text) if is_finite(text) => (*text).to_owned(),
                Leaf::Number(_) => continue,
                Leaf::Flag(flag) => flag.to_string(),
                Leaf::Text(text) if self.texts => quoted(text),
                Leaf::Text(_) => continue,
            };
            let mut name = line_name(name);
            while is_taken(&name) {
                name.push('_');
            }
            if !name.is_empty() {
                fields.push((name, text));
            }
        }
        let mut seen = HashSet::with_capacity(fields.len());
        let is_last: Vec<_> = fields
            .iter()
            .rev()
            .map(|(name, _)| seen.insert(name.as_str()))
            .collect();
        drop(seen);
        let mut is_last = is_last.into_iter().rev();
        fields.retain(|_| is_last.next().unwrap_or_default());
        fields
    }
}

/// What a member is called in a line, as a tag or field. `time` is the one name that neither must have.
fn line_name(member: &str) -> String {
    let mut name = String::new();
    put_name(member, true, &mut name);
    if name == "time" {
        name.push('_');
    }
    name
}

/// An empty tag is none. The name is as it stands in the line.
fn put_tag(name: &str, value: &str, line: &mut String) {
    let mut text = String::new();
    put_name(value, true, &mut text);
    if name.is_empty() || text.is_empty() {
        return;
    }
    // Writing into a text cannot fail.
    let _ = write!(line, ",{name}={text}");
}

/// A name, or the value of a tag. What cannot stand in one at all becomes `_`: control characters, since a line ends there, and
/// `\`, which at the end of a name would take its neighbour's comma along.
fn put_name(text: &str, has_equals: bool, line: &mut String) {
    for character in text.chars() {
        match character {
            ',' | ' ' => line.extend(['\\', character]),
            '=' if has_equals => line.extend(['\\', '=']),
            '\\' => line.push('_'),
            character if character.is_control() => line.push('_'),
            // A line that begins with it is a remark.
            '#' if line.is_empty() => line.push('_'),
            character => line.push(character),
        }
    }
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            character if character.is_control() => quoted.push(' '),
            character => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

fn is_finite(number: &str) -> bool {
    number.parse::<f64>().is_ok_and(f64::is_finite)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, json};

    use super::*;
    use crate::clock::WallTime;
    use crate::message::{Message, Seq, Span, Stored};

    fn line(
        measurement: &str,
        tags: &[&str],
        payload: &[u8],
        texts: bool,
    ) -> Result<String, String> {
        let line = InfluxFormat {
            measurement: Template::parse(measurement).unwrap(),
            tags: tags.iter().map(|tag| Tag::of(tag)).collect(),
            texts,
        };
        let stored = Stored {
            seq: Seq(7),
            message: Message {
                topic: Bytes::from_static(b"sites/barn 1/d=1"),
                key: Span { offset: 13, len: 3 },
                payload: Bytes::copy_from_slice(payload),
                received: WallTime(1_700_000_000_000_000),
                ..Message::default()
            },
        };
        let filling = Filling {
            prefix: "gw/store/cloud/telemetry/",
            topic: &stored.message.topic,
            device: stored.message.key(),
        };
        let about = PacketOrigin {
            stored: &stored,
            prefix: filling.prefix,
            arrived: Some(stored.message.received),
            is_asked_anew: false,
            is_beside: false,
        };
        let made = line.of(about, filling)?;
        Ok(String::from_utf8(made.to_vec()).unwrap())
    }

    #[test]
    fn numbers_are_fields_and_what_is_named_a_tag() {
        let payload = br#"{"temperature":21.5,"n":3,"ok":true,"room":"living room","text":"a","in":{"t":-0.1},"list":[1],"none":null}"#;
        assert_eq!(
            line("{class}", &["room"], payload, false).unwrap(),
            r"telemetry,device=d\=1,room=living\ room temperature=21.5,n=3,ok=true,in_t=-0.1 1700000000000000007"
        );
        assert_eq!(
            line("all", &[], br#"{"text":"a \"b\\\nc"}"#, true).unwrap(),
            r#"all,device=d\=1 text="a \"b\\ c" 1700000000000000007"#
        );
    }

    #[test]
    fn what_makes_no_line_says_why() {
        for (payload, why) in [
            (&b"21.5"[..], "not a JSON object"),
            (b"{\"a\":", "not a JSON object"),
            (b"{\"text\":\"a\"}", "no number"),
            (b"{}", "no number"),
            (b"{\"a\":[1],\"\":1}", "no number"),
        ] {
            let found = line("m", &[], payload, false).unwrap_err();
            assert!(found.contains(why), "{found}");
        }
        assert!(line("{device}", &[], b"{\"a\":1}", false).is_ok());
    }

    #[test]
    fn a_name_stands_in_a_line_once() {
        for (tags, payload, expected) in [
            (&[][..], r#"{"n":{"b":1},"n_b":2}"#, "n_b=2"),
            (&[], r#"{"n_b":2,"x":0,"n":{"b":1}}"#, "x=0,n_b=1"),
            (&[], r#"{"t\u0001":1,"t_":2}"#, "t_=2"),
            (&[], r#"{"time":1,"time_":2}"#, "time_=2"),
            (&[], r#"{"device":5,"a":1}"#, "device_=5,a=1"),
            (&["time"], r#"{"time":1,"time_":2}"#, "time__=2"),
            (&["r"], r#"{"r":1,"r":2,"t":3}"#, "t=3"),
        ] {
            let made = line("m", tags, payload.as_bytes(), false).unwrap();
            assert_eq!(made.split(' ').nth(1), Some(expected), "{payload}");
        }
    }

    #[test]
    fn one_odd_member_costs_no_more_than_itself() {
        for (payload, expected) in [
            (r#"{"t\u0000x":1}"#, r"m,device=d\=1 t_x=1"),
            (r#"{"r":"a\u0000b","t":1}"#, r"m,device=d\=1,r=a_b t=1"),
            (r#"{"t":1e400,"u":2}"#, r"m,device=d\=1 u=2"),
            (r#"{"s":"\ud800","t":1}"#, r"m,device=d\=1 t=1"),
            (r#"{"s":["\u0000",1e400],"t":1}"#, r"m,device=d\=1 t=1"),
        ] {
            let made = line("m", &["r"], payload.as_bytes(), false).unwrap();
            let made = made.strip_suffix(" 1700000000000000007").unwrap();
            assert_eq!(made, expected, "{payload}");
        }
        let texts = line("m", &[], br#"{"s":"a\u0000b"}"#, true).unwrap();
        assert!(texts.contains(r#" s="a b" "#), "{texts}");
        let none = line("m", &[], br#"{"t":1e400}"#, false).unwrap_err();
        assert!(none.contains("no number"), "{none}");
    }

    #[test]
    fn two_readings_of_one_microsecond_have_two_times() {
        let a = line("m", &[], b"{\"a\":1}", false).unwrap();
        assert!(a.ends_with("007"), "{a}");
    }

    /// What a reader of the format makes of a line: its parts, split where nothing escapes. Quotes open the value of a field only.
    fn parts(line: &str) -> Vec<Vec<(String, String)>> {
        let mut split = vec![vec![String::new()]];
        let (mut escaped, mut quoted) = (false, false);
        for character in line.chars() {
            let is_field = split.len() == 2;
            let list = split.last_mut().unwrap();
            let is_value = is_field && list.last().unwrap().contains('\0');
            match character {
                _ if escaped => {
                    list.last_mut().unwrap().push(character);
                    escaped = false;
                }
                '\\' => escaped = true,
                '"' if is_value => quoted = !quoted,
                ' ' if !quoted => split.push(vec![String::new()]),
                ',' if !quoted => list.push(String::new()),
                // Marks the one that parts name and value.
                '=' if !quoted => list.last_mut().unwrap().push('\0'),
                character => list.last_mut().unwrap().push(character),
            }
        }
        assert!(!escaped && !quoted, "{line}");
        let pair = |text: &String| {
            let (name, value) = text.split_once('\0').unwrap_or((text, ""));
            (name.to_owned(), value.to_owned())
        };
        split
            .iter()
            .map(|list| list.iter().map(pair).collect())
            .collect()
    }

    proptest! {
        #[test]
        fn whatever_a_device_says_a_line_is_one_with_three_parts(
            names in proptest::collection::vec("\\PC{0,8}|[\\\\ ,=\"#\n]{0,8}", 1..6),
            texts in proptest::collection::vec("\\PC{0,8}|[\\\\ ,=\"\n]{0,8}", 1..6),
            number in any::<f64>().prop_filter("finite", |number| number.is_finite()),
        ) {
            let mut members = Map::new();
            for (name, text) in names.iter().zip(&texts) {
                members.insert(name.clone(), json!(text));
            }
            members.insert("number".to_owned(), json!(number));
            let payload = serde_json::to_vec(&members).unwrap();
            let mut tags: Vec<&str> = names.iter().take(2).filter(|name| *name != "number").map(String::as_str).collect();
            tags.dedup_by_key(|tag| line_name(tag));
            let made = line("m", &tags, &payload, true).unwrap();
            prop_assert!(!made.contains(['\n', '\r']), "{made}");
            let parts = parts(&made);
            prop_assert_eq!(parts.len(), 3, "{}", made);
            prop_assert_eq!(&parts[0][0].0, "m");
            let named: Vec<_> = parts[0][1..].iter().chain(&parts[1]).map(|(name, _)| name).collect();
            prop_assert!(named.iter().all(|name| !name.is_empty()));
            prop_assert_eq!(named.iter().collect::<HashSet<_>>().len(), named.len(), "{}", made);
            let field = parts[1].iter().find(|(name, _)| name == "number").unwrap();
            prop_assert_eq!(field.1.parse::<f64>().unwrap(), number);
        }
    }
}
