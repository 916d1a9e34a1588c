//! What stands for a message in a file, or in an object: a line, which nothing in the message can end or leave.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};

use super::column::{Column, LineInput};
use super::json::{as_json, is_json, on_one_line};
use super::members::{Leaf, members};
use crate::clock;

/// How messages become lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineFormat {
    /// A JSON object on each line.
    Ndjson,
    /// Values between commas, after RFC 4180, below a line of their names.
    Csv(Vec<Column>),
}

impl LineFormat {
    /// How names of files end.
    pub(in crate::uplink) fn ending(&self) -> &'static str {
        match self {
            Self::Ndjson => "ndjson",
            Self::Csv(_) => "csv",
        }
    }

    /// What each file begins with.
    pub(in crate::uplink) fn head(&self) -> Bytes {
        let Self::Csv(columns) = self else {
            return Bytes::new();
        };
        let mut row = CsvRow::default();
        columns.iter().for_each(|column| row.put(column.name()));
        row.end()
    }

    /// The line of a message, with its end.
    pub(in crate::uplink) fn line(&self, entry: LineInput<'_>, has_envelope: bool) -> Bytes {
        match self {
            Self::Ndjson => {
                let json = on_one_line(as_json(entry.payload.clone(), has_envelope));
                let mut line = BytesMut::with_capacity(json.len() + 1);
                line.put_slice(&json);
                line.put_u8(b'\n');
                line.freeze()
            }
            Self::Csv(columns) => row(columns, entry),
        }
    }
}

fn row(columns: &[Column], entry: LineInput<'_>) -> Bytes {
    let message = &entry.stored.message;
    let needs_members = columns
        .iter()
        .any(|column| matches!(column, Column::Member(_)));
    let found = needs_members
        .then(|| members(&message.payload))
        .flatten()
        .unwrap_or_default();
    let mut row = CsvRow::default();
    for column in columns {
        match column {
            Column::Id => row.put(&entry.id()),
            Column::Time => {
                let arrived = entry.arrived.map(|arrived| clock::utc(arrived.0));
                row.put(&arrived.unwrap_or_default());
            }
            Column::Gateway => row.put_text(entry.filling.gateway()),
            Column::Class => row.put_text(entry.filling.class()),
            Column::Topic => row.put_text(&String::from_utf8_lossy(entry.filling.topic)),
            Column::Device => row.put_text(&String::from_utf8_lossy(entry.filling.device)),
            Column::Payload => row.put_payload(entry.payload),
            Column::Member(member) => {
                // Where a name stands twice the last one counts, as in most readers.
                match found.iter().rev().find(|(name, _)| name == member) {
                    Some((_, Leaf::Number(number))) => row.put(number),
                    Some((_, Leaf::Flag(flag))) => row.put(if *flag { "true" } else { "false" }),
                    Some((_, Leaf::Text(text))) => row.put_text(text),
                    None => row.put(""),
                }
            }
        }
    }
    row.end()
}

/// A line of values between commas, as far as it is written.
#[derive(Debug, Default)]
struct CsvRow {
    line: String,
    has_values: bool,
}

impl CsvRow {
    /// A value that is one line.
    fn put(&mut self, value: &str) {
        if self.has_values {
            self.line.push(',');
        }
        self.has_values = true;
        if !value.contains([',', '"', ';', '\t', ' ']) {
            self.line.push_str(value);
            return;
        }
        self.line.push('"');
        for character in value.chars() {
            if character == '"' {
                self.line.push('"');
            }
            self.line.push(character);
        }
        self.line.push('"');
    }

    /// What somebody outside chose: line ends and what else steers a machine stand there as `\n` or `\u001b` would in JSON, and
    /// what a spreadsheet would take for a formula has a `'` before it.
    fn put_text(&mut self, text: &str) {
        let mut value = String::with_capacity(text.len());
        if text.starts_with(['=', '+', '-', '@']) && text.parse::<f64>().is_err() {
            value.push('\'');
        }
        for character in text.chars() {
            match character {
                '\n' => value.push_str("\\n"),
                '\r' => value.push_str("\\r"),
                '\t' => value.push_str("\\t"),
                character => push_harmless(&mut value, character),
            }
        }
        self.put(&value);
    }

    /// JSON as it is, text as text, bytes in base64.
    fn put_payload(&mut self, payload: &Bytes) {
        if is_json(payload) {
            let json = on_one_line(payload.clone());
            // What is written otherwise stands in its texts only, where that means the same.
            let mut value = String::with_capacity(json.len());
            let json = String::from_utf8_lossy(&json);
            for character in json.chars() {
                match character {
                    // It stands between values.
                    '\t' => value.push(' '),
                    character => push_harmless(&mut value, character),
                }
            }
            return self.put(&value);
        }
        match std::str::from_utf8(payload) {
            Ok(text) => self.put_text(text),
            Err(_) => self.put(&STANDARD.encode(payload)),
        }
    }

    fn end(mut self) -> Bytes {
        self.line.push('\n');
        self.line.into()
    }
}

/// A character as it is, or as `\u0085` if it steers a machine: C0, DEL and C1, and what ends a line for some readers.
fn push_harmless(text: &mut String, character: char) {
    if character.is_control() || matches!(character, '\u{2028}' | '\u{2029}') {
        // Writing into a text cannot fail.
        let _ = write!(text, "\\u{:04x}", u32::from(character));
    } else {
        text.push(character);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::WallTime;
    use crate::message::{Marks, Message, Seq, Span, Stored};
    use crate::uplink::form::template::Filling;

    fn columns(names: &[&str]) -> LineFormat {
        LineFormat::Csv(
            names
                .iter()
                .map(|name| Column::named(name).unwrap())
                .collect(),
        )
    }

    fn line(form: &LineFormat, device: &str, payload: &[u8], marks: Marks) -> String {
        let stored = Stored {
            seq: Seq(7),
            message: Message {
                topic: Bytes::from(format!("up/{device}")),
                key: Span {
                    offset: 3,
                    len: u16::try_from(device.len()).unwrap(),
                },
                payload: Bytes::copy_from_slice(payload),
                received: WallTime(1_700_000_000_123_456),
                marks,
                ..Message::default()
            },
        };
        let entry = LineInput {
            filling: Filling {
                prefix: "gw/store/disk/telemetry/",
                topic: &stored.message.topic,
                device: stored.message.key(),
            },
            stored: &stored,
            payload: &stored.message.payload,
            arrived: (!marks.has(Marks::CLOCK_UNSET)).then_some(stored.message.received),
        };
        String::from_utf8(form.line(entry, false).to_vec()).unwrap()
    }

    #[test]
    fn columns_are_what_they_are_called() {
        let form = columns(&[
            "id",
            "time",
            "gateway",
            "class",
            "topic",
            "device",
            "payload.t",
            "payload.in_b",
            "payload.s",
            "payload.x",
            "payload",
        ]);
        assert_eq!(
            form.head(),
            "id,time,gateway,class,topic,device,t,in_b,s,x,payload\n"
        );
        assert_eq!(
            line(
                &form,
                "d1",
                br#"{"t":21.50,"in":{"b":true},"s":"a, \"b\""}"#,
                Marks::default()
            ),
            "gw/store/disk/telemetry/0/7,2023-11-14T22:13:20.123Z,gw,telemetry,up/d1,d1,21.50,true,\"a, \"\"b\"\"\",,\
             \"{\"\"t\"\":21.50,\"\"in\"\":{\"\"b\"\":true},\"\"s\"\":\"\"a, \\\"\"b\\\"\"\"\"}\"\n"
        );
        for name in ["", "payload.", "Time", "flow"] {
            assert_eq!(Column::named(name), None, "{name}");
        }
    }

    #[test]
    fn a_clock_that_was_not_set_makes_no_time() {
        let unset = Marks::default().with(Marks::CLOCK_UNSET, true);
        assert_eq!(
            line(&columns(&["time", "device"]), "d1", b"1", unset),
            ",d1\n"
        );
    }

    #[test]
    fn what_a_device_says_is_no_formula_and_ends_no_line() {
        let form = columns(&["device", "payload"]);
        let row = |device: &str, payload: &[u8]| line(&form, device, payload, Marks::default());
        assert_eq!(row("=1+1", b"-5.5"), "'=1+1,-5.5\n");
        assert_eq!(row("-12", b"@x\ny"), "-12,'@x\\ny\n");
        assert_eq!(row("a\tb\u{1b}", &[0xff, 0]), "a\\tb\\u001b,/wA=\n");
        assert_eq!(row("d", b"{\"a\":\r\n1}"), "d,\"{\"\"a\"\":  1}\"\n");
        assert_eq!(
            row("a\u{85}\u{9b}", "x\u{2028}\u{7f}".as_bytes()),
            "a\\u0085\\u009b,x\\u2028\\u007f\n"
        );
        assert_eq!(
            row("d", "[\t\"\u{85}\u{2029}é\"]".as_bytes()),
            "d,\"[ \"\"\\u0085\\u2029é\"\"]\"\n"
        );
        let json = line(&LineFormat::Ndjson, "d", b"[1,\n2]", Marks::default());
        assert_eq!(json, "[1, 2]\n");
        let bytes = line(&LineFormat::Ndjson, "d", b"21,5", Marks::default());
        assert_eq!(bytes, "{\"payload_base64\":\"MjEsNQ==\"}\n");
    }

    proptest! {
        #[test]
        fn whatever_comes_is_one_line_without_a_nul(
            device in ".{0,20}", payload in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..60),
                ".{0,60}".prop_map(String::into_bytes),
                ".{0,20}".prop_map(|text| serde_json::json!({ "s": text, "t": [text] }).to_string().into_bytes()),
            ],
        ) {
            let csv = columns(&["id", "time", "device", "topic", "payload", "payload.s"]);
            for form in [&csv, &LineFormat::Ndjson] {
                let line = line(form, &device, &payload, Marks::default());
                prop_assert!(line.ends_with('\n'));
                let inner = &line[..line.len() - 1];
                prop_assert!(!inner.contains(['\n', '\r', '\0']), "{line:?}");
                let steers = |it: char| it.is_control() || matches!(it, '\u{2028}' | '\u{2029}');
                prop_assert!(*form == LineFormat::Ndjson || !inner.contains(steers), "{line:?}");
            }
        }
    }
}
