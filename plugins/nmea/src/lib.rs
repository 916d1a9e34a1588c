//! Fields of NMEA 0183, which receivers of positions, weather stations and instruments of ships send: `$GPHDT,274.07,T*03` becomes
//! `{"sentence":"HDT","talker":"GP","heading_true":274.07}`.
//!
//! ```toml
//! settings = {}
//! settings = { only = ["GGA", "RMC"] }
//! settings = { sentences = "together", unknown = "drop", checksum = "optional" }
//! ```
//!
//! - `sentences`: what becomes of the sentences of a payload, a line each. `"messages"`: each becomes a message of its own, at most 1,000 of them.
//!   `"together"`: one message with an object for each, by its name: `{"GGA":{…},"RMC":{…}}`; those of one name are numbered: `GSV_1`, `GSV_2`.
//!   Default: `"messages"`.
//! - `only`: the sentences that are wanted, by their names; others are left out, and a message without any is filtered. Default: all.
//! - `unknown`: what becomes of sentences that are not in the table below. `"fields"`: their fields go on as texts, in a list: `fields`; `"drop"`: they
//!   are left out; `"reject"`. Default: `"fields"`.
//! - `checksum`: `"required"`, or `"optional"`, where devices leave it out. One that is there and wrong rejects the message in any case. Default:
//!   `"required"`.
//!
//! Known are, with any talker: of positions `GGA`, `GLL`, `GNS`, `GSA`, `GST`, `GSV`, `RMC`, `VTG`, `ZDA`; of headings `HDG`, `HDM`, `HDT`, `THS`, `ROT`, `RSA`; of wind
//! and weather `MDA`, `MTW`, `MWD`, `MWV`, `VWR`, `VWT`; of depth, speed and engines `DBK`, `DBS`, `DBT`, `DPT`, `VBW`, `VHW`, `VLW`, `RPM`; of routes `RMB`, `XTE`; and
//! `XDR`, of any transducer.
//!
//! `latitude` and `longitude` are degrees, to the north and the east, with 8 digits behind the point; what is to the west, to the left or to port is
//! negative. Speeds say their unit: `speed_knots`, `speed_kmh`, `wind_speed_ms`, `wind_speed_mph`. `time` is `"12:35:19"` of UTC, `date` is `"2026-03-23"`
//! (years from 80 on are of the last century), and where there are both, `timestamp` is seconds since 1970. `valid` is the status of the device. Other
//! numbers have the digits that they came with. A field that is empty is left out, one behind those that are known is not looked at. A block of tags
//! before a sentence (`\s:…\`) is left out.
//!
//! What is no sentence, is not ASCII, has a wrong checksum, or has something in a field that it cannot have, rejects the message, with line, field and
//! reason in words. What deletes a retained reading (an empty payload) goes on.

mod fields;
mod sentence;
mod table;

use std::collections::BTreeMap;

use tidegate_sdk::prelude::*;

use sentence::Sentence;

settings! {
    /// The plugin's settings.
    pub struct Settings {
        /// What becomes of the sentences of a payload.
        #[serde(default)]
        pub sentences: Sentences,
        /// Those that are wanted.
        pub only: Option<Vec<String>>,
        /// What becomes of those that are not known.
        #[serde(default)]
        pub unknown: Unknown,
        /// Whether there has to be a checksum.
        #[serde(default)]
        pub checksum: Checksum,
    }
}

settings! {
    /// What becomes of the sentences of a payload.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Sentences {
        /// A message each.
        #[default]
        Messages,
        /// One message of all.
        Together,
    }
}

settings! {
    /// What becomes of sentences that are not known.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Unknown {
        /// Their fields go on as texts.
        #[default]
        Fields,
        /// They are left out.
        Drop,
        /// The message goes to the dead letters.
        Reject,
    }
}

settings! {
    /// Whether there has to be a checksum.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Checksum {
        /// In each sentence.
        #[default]
        Required,
        /// Where a device sends one.
        Optional,
    }
}

/// Sentences of one payload at most: less than what a plugin may answer to one call.
const MOST_SENTENCES: usize = 1_000;

/// The configured plugin.
#[derive(Debug)]
pub struct Nmea {
    sentences: Sentences,
    only: Option<Vec<String>>,
    unknown: Unknown,
    checksum: Checksum,
}

/// A sentence that goes on: its name, and its object in JSON.
type Made = (String, Vec<u8>);

impl Transform for Nmea {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        let is_name = |name: &String| name.bytes().all(|byte| byte.is_ascii_uppercase());
        if let Some(only) = &settings.only
            && let Some(name) = only.iter().find(|name| name.len() != 3 || !is_name(name))
        {
            return Err(format!("`only`: `{name}` is no name of a sentence, as in \"GGA\": three capital letters, without the talker").into());
        }
        Ok(Self {
            sentences: settings.sentences,
            only: settings.only,
            unknown: settings.unknown,
            checksum: settings.checksum,
        })
    }

    fn process(&mut self, message: &Message<'_>, out: &mut Outputs<'_>) -> Result<()> {
        if message.is_delete() {
            out.pass();
            return Ok(());
        }
        let made = self.made(message.payload())?;
        match self.sentences {
            Sentences::Messages => {
                for (_, object) in &made {
                    out.emit(object);
                }
            }
            Sentences::Together if made.is_empty() => {}
            Sentences::Together => out.emit(&together(&made)),
        }
        Ok(())
    }
}

impl Nmea {
    fn made(&self, payload: &[u8]) -> Result<Vec<Made>> {
        let (mut made, mut seen) = (Vec::new(), 0);
        for (place, line) in payload
            .split(|byte| matches!(byte, b'\r' | b'\n'))
            .enumerate()
        {
            let line = line.trim_ascii();
            if line.is_empty() {
                continue;
            }
            seen += 1;
            if seen > MOST_SENTENCES {
                return Err(format!("payload has more than {MOST_SENTENCES} sentences").into());
            }
            let one = self.one(line);
            made.extend(one.map_err(|error| match seen {
                // Most payloads are one sentence.
                1 if place == 0 => error,
                _ => format!("sentence {seen}: {error}").into(),
            })?);
        }
        match seen {
            0 => Err("payload has no sentence".into()),
            _ => Ok(made),
        }
    }

    /// What becomes of one sentence; nothing where it is not wanted.
    fn one(&self, line: &[u8]) -> Result<Option<Made>> {
        let sentence = Sentence::read(line, self.checksum == Checksum::Required)?;
        let is_wanted = |only: &Vec<String>| only.iter().any(|name| name == sentence.name);
        if !self.only.as_ref().is_none_or(is_wanted) {
            return Ok(None);
        }
        let mut object = Vec::new();
        let is_known = sentence.write(&mut object)?;
        match (is_known, self.unknown) {
            (false, Unknown::Drop) => Ok(None),
            (false, Unknown::Reject) => {
                Err(format!("a sentence that is not known: `{}`", sentence.name).into())
            }
            _ => Ok(Some((sentence.name.to_owned(), object))),
        }
    }
}

/// One object of all; those of one name are numbered.
fn together(made: &[Made]) -> Vec<u8> {
    let (mut counts, mut numbers) = (BTreeMap::new(), BTreeMap::new());
    for (name, _) in made {
        *counts.entry(name).or_insert(0) += 1;
    }
    let mut payload = vec![b'{'];
    for (name, object) in made {
        if payload.len() > 1 {
            payload.push(b',');
        }
        let number = numbers.entry(name).or_insert(0);
        *number += 1;
        // Names are letters and digits: `Sentence::read` has looked.
        let key = match counts[name] {
            1 => format!("\"{name}\":"),
            _ => format!("\"{name}_{number}\":"),
        };
        payload.extend_from_slice(key.as_bytes());
        payload.extend_from_slice(object);
    }
    payload.push(b'}');
    payload
}

tidegate_sdk::export!(Nmea);

#[cfg(test)]
mod tests;
