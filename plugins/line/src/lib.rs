//! Fields of InfluxDB's line protocol, a message for each line: `cpu,host=a usage=0.64,n=3i 1465839830100400200` becomes
//! `{"measurement":"cpu","host":"a","usage":0.64,"n":3,"time":1465839830100400200}`.
//!
//! ```toml
//! settings = {}
//! settings = { shape = "nested" }
//! ```
//!
//! - `shape`: `"flat"`: tags and fields beside each other. `"nested"`: `{"measurement":"cpu","tags":{"host":"a"},"fields":{"usage":0.64},"time":1}`, for
//!   lines whose tags and fields have names in common. Default: `"flat"`.
//!
//! Numbers keep their digits, `3i` and `3u` are whole ones; tags are texts. `time` is what the line says, in whatever unit the sender has,
//! nanoseconds as a rule; without one it is left out. At most 1,000 lines; empty ones and comments (`#`) are stepped over. A line that cannot be
//! read, or that has a name twice, rejects the whole message with the line in words. What deletes a retained reading (an empty
//! payload) goes on.

mod parse;

use tidegate_sdk::foreign::{check_names, text};
use tidegate_sdk::prelude::*;

use parse::Line;

settings! {
    /// The plugin's settings.
    pub struct Settings {
        /// Where tags and fields stand.
        #[serde(default)]
        pub shape: Shape,
    }
}

settings! {
    /// Where tags and fields stand.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Shape {
        /// Beside each other.
        #[default]
        Flat,
        /// In an object each.
        Nested,
    }
}

/// Lines of a payload at most: less than what a plugin may answer to one call.
const MOST_LINES: usize = 1_000;

/// The configured plugin.
#[derive(Debug)]
pub struct Influx {
    shape: Shape,
}

impl Transform for Influx {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        Ok(Self {
            shape: settings.shape,
        })
    }

    fn process(&mut self, message: &Message<'_>, out: &mut Outputs<'_>) -> Result<()> {
        if message.is_delete() {
            out.pass();
            return Ok(());
        }
        let mut rest = message.text()?;
        let (mut number, mut lines) = (0, 0);
        while !rest.is_empty() {
            number += 1;
            let (line, behind) =
                parse::line(rest).map_err(|error| format!("line {number}: {error}"))?;
            // A text may go over several.
            number += rest[..rest.len() - behind.len()]
                .trim_end_matches('\n')
                .matches('\n')
                .count();
            rest = behind;
            let Some(line) = line else {
                continue;
            };
            if lines == MOST_LINES {
                return Err(format!("payload has more than {MOST_LINES} lines").into());
            }
            lines += 1;
            out.emit_with(|json| {
                self.write(&line, json)
                    .map_err(|error| format!("line {number}: {error}").into())
            })?;
        }
        match lines {
            0 => Err("payload has no line".into()),
            _ => Ok(()),
        }
    }
}

impl Influx {
    fn write(&self, line: &Line<'_>, json: &mut Vec<u8>) -> Result<()> {
        let (mut tags, mut fields) = (Vec::new(), Vec::new());
        json.push(b'{');
        let start = json.len();
        json.extend_from_slice(b"\"measurement\"");
        let measurement = start..json.len();
        json.push(b':');
        text(&line.measurement, json);
        let is_nested = self.shape == Shape::Nested;
        if is_nested {
            json.extend_from_slice(b",\"tags\":{");
        }
        for (place, (name, value)) in line.tags.iter().enumerate() {
            if place > 0 || !is_nested {
                json.push(b',');
            }
            let start = json.len();
            text(name, json);
            tags.push(start..json.len());
            json.push(b':');
            text(value, json);
        }
        if is_nested {
            json.extend_from_slice(b"},\"fields\":{");
        }
        for (place, (name, value)) in line.fields.iter().enumerate() {
            if place > 0 || !is_nested {
                json.push(b',');
            }
            let start = json.len();
            text(name, json);
            fields.push(start..json.len());
            json.push(b':');
            json.extend_from_slice(value.as_bytes());
        }
        if is_nested {
            json.push(b'}');
        }
        if let Some(time) = line.time {
            json.push(b',');
            let start = json.len();
            json.extend_from_slice(b"\"time\"");
            if !is_nested {
                fields.push(start..json.len());
            }
            json.push(b':');
            json.extend_from_slice(time.to_string().as_bytes());
        }
        json.push(b'}');
        if !is_nested {
            fields.push(measurement);
            fields.append(&mut tags);
        }
        check_names(json, &mut tags)?;
        check_names(json, &mut fields)
    }
}

tidegate_sdk::export!(Influx);

#[cfg(test)]
mod tests;
