//! Readings of SenML packs (RFC 8428), in JSON or in CBOR: base names, times, units and values are resolved.
//!
//! ```toml
//! settings = {}
//! settings = { records = "messages" }
//! ```
//!
//! - `records`: what becomes of a pack's records. `"fields"`: those of one time become one message, a field each, and `time`:
//!   `{"temperature":23.1,"humidity":40,"time":1276020076}`; units and sums are left out. `"messages"`: each becomes a message of its own:
//!   `{"name":"urn:dev:ow:10e2:temperature","unit":"Cel","value":23.1,"time":1276020076}`, with `sum` and `update` where it has them. At most
//!   1,000 messages. Default: `"fields"`.
//! - `names`: what fields are called, with `records = "fields"`. `"own"`: as the record, without the base name; a record without a name of its own
//!   as the base name. `"full"`: both together, as the standard has it. Default: `"own"`.
//!
//! Whether a pack is JSON or CBOR is seen by its first byte. Numbers of JSON keep their digits, and base values are added to them digit by digit;
//! so are those of CBOR, by the fewest digits that are the same double. Times are seconds since 1970; one that is relative is so to the
//! moment when the gateway received the message. Data (`vd`) stays text in base64.
//!
//! What is no pack, a name that the standard does not allow, a record without a value, a newer version (`bver`) or a label that must be
//! understood (it ends in `_`) rejects the message with the reason in words; other labels that nobody knows are left out. What deletes a
//! retained reading (an empty payload) goes on.

// `cbor`'s own: one reader of CBOR for both.
#[path = "../../cbor/src/decode.rs"]
mod decode;
mod pack;

use std::collections::BTreeMap;

use tidegate_sdk::foreign;
use tidegate_sdk::json::Object;
use tidegate_sdk::prelude::*;

use pack::Reading;

settings! {
    /// The plugin's settings.
    pub struct Settings {
        /// What becomes of a pack's records.
        #[serde(default)]
        pub records: Records,
        /// What fields are called.
        #[serde(default)]
        pub names: Names,
    }
}

settings! {
    /// What becomes of a pack's records.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Records {
        /// Those of one time become one message.
        #[default]
        Fields,
        /// Each becomes one.
        Messages,
    }
}

settings! {
    /// What fields are called.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Names {
        /// As the record.
        #[default]
        Own,
        /// As base and record.
        Full,
    }
}

/// Messages of one pack at most: less than what a plugin may answer to one call.
const MOST_MESSAGES: usize = 1_000;

/// The configured plugin.
#[derive(Debug)]
pub struct Senml {
    records: Records,
    names: Names,
}

impl Transform for Senml {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        Ok(Self {
            records: settings.records,
            names: settings.names,
        })
    }

    fn process(&mut self, message: &Message<'_>, out: &mut Outputs<'_>) -> Result<()> {
        if message.is_delete() {
            out.pass();
            return Ok(());
        }
        let readings = pack::readings(message.payload(), message.received_us())?;
        match self.records {
            Records::Messages => {
                check_count(readings.len())?;
                for reading in &readings {
                    out.emit_with(|payload| {
                        reading.write(payload);
                        Ok(())
                    })?;
                }
                Ok(())
            }
            Records::Fields => {
                let times = by_time(&readings);
                check_count(times.len())?;
                for group in &times {
                    out.emit_with(|payload| self.write_fields(group, payload))?;
                }
                Ok(())
            }
        }
    }
}

fn check_count(messages: usize) -> Result<()> {
    match messages {
        0 => Err("payload is a pack without readings".into()),
        1..=MOST_MESSAGES => Ok(()),
        _ => Err(format!("payload makes more than {MOST_MESSAGES} messages").into()),
    }
}

/// Readings of one time together, in the order in which the times first stand there.
fn by_time(readings: &[Reading]) -> Vec<Vec<&Reading>> {
    let (mut groups, mut places) = (Vec::<Vec<&Reading>>::new(), BTreeMap::new());
    for reading in readings {
        let place = *places.entry(&reading.time).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.push(reading),
            None => groups.push(vec![reading]),
        }
    }
    groups
}

impl Senml {
    fn write_fields(&self, group: &[&Reading], payload: &mut Vec<u8>) -> Result<()> {
        let (mut object, mut names) = (Object::begin(payload), vec!["time"]);
        for reading in group {
            let name = match self.names {
                Names::Own if !reading.own.is_empty() => &reading.own,
                _ => &reading.name,
            };
            if names.contains(&name.as_str()) {
                let words =
                    format!("payload has field `{name}` twice: `names` or `records` may part them");
                return Err(words.into());
            }
            names.push(name);
            let value = reading.value.as_ref().or(reading.sum.as_ref());
            object.raw(name, value.map_or(b"null", |value| value.as_bytes()));
        }
        if let Some(reading) = group.first() {
            object.raw("time", reading.time.as_bytes());
        }
        object.end();
        Ok(())
    }
}

impl Reading {
    fn write(&self, payload: &mut Vec<u8>) {
        let mut text = Vec::new();
        let mut object = Object::begin(payload);
        let mut quoted = |words: &str| {
            text.clear();
            foreign::text(words, &mut text);
            text.clone()
        };
        object.raw("name", &quoted(&self.name));
        if let Some(unit) = &self.unit {
            object.raw("unit", &quoted(unit));
        }
        let rest = [("value", &self.value), ("sum", &self.sum)];
        for (name, number) in rest {
            if let Some(number) = number {
                object.raw(name, number.as_bytes());
            }
        }
        object.raw("time", self.time.as_bytes());
        if let Some(update) = &self.update {
            object.raw("update", update.as_bytes());
        }
        object.end();
    }
}

tidegate_sdk::export!(Senml);

#[cfg(test)]
mod tests;
