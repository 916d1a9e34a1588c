//! Keeps readings by their fields, their topic and their rate; what is kept goes on unchanged.
//!
//! ```toml
//! settings = { where = [{ field = "fahrenheit", op = ">", value = 68 }, { field = "status", op = "in", value = ["ok", "warm"] }] }
//! settings = { topic = "devices/+/telemetry", rate = { messages = 10, seconds = 60 } }
//! ```
//!
//! A reading is kept when its topic matches, its fields compare as they should, and its device is within the rate. One of
//! `where`, `topic` and `rate` is needed.
//!
//! - `where`: a list of comparisons. Default: none.
//!   - `field`: path of the field: `"volts"`, `"battery.volts"`, `"power[0]"`. Required.
//!   - `op`: `>`, `>=`, `<`, `<=` (numbers, compared with all their digits), `==`, `!=`, `in`, `not in` (numbers, texts,
//!     truths, null), `like` (a text that a pattern fits: `*` stands for any letters, `?` for one), `exists`, `absent`. Required.
//!   - `value`: what it is compared with; a list with something in it for `in` and `not in`, none for `exists` and `absent`.
//! - `match`: `"all"` of `where` must hold, or `"any"` of them. Default: `"all"`.
//! - `missing`: what becomes of a reading that lacks a compared field. `"reject"`: it goes to the dead letters. `"drop"`: the
//!   comparison does not hold. `null` is no value, unless it is compared with; to `exists` it is there. Default: `"reject"`.
//! - `topic`: a topic filter, with MQTT's wildcards `+` and `#`. Default: every topic.
//! - `rate`: the most that a device may send: so many `messages` in so many `seconds`; after quiet they may come at once.
//!   The rest is filtered, counted in `rate_limited`. By the time the gateway runs, which does not jump. Known of 20,000
//!   devices in a lane, of fewer where their names are long; beyond, the one that was quiet for longest starts anew, counted in `keys_forgotten`. Default: none.
//!
//! A payload that is not a JSON object, or a field that is no number where one is compared, rejects the message with the
//! reason in words. What deletes a retained reading (an empty payload) goes on, where its topic matches.

mod rate;

use tidegate_sdk::TopicFilter;
use tidegate_sdk::compare::Comparison;
pub use tidegate_sdk::compare::{Op, Where};
use tidegate_sdk::json::{Found, Paths};
use tidegate_sdk::prelude::*;

pub use rate::Rate;

settings! {
    /// The plugin's settings.
    pub struct Settings {
        /// Comparisons with fields of a JSON payload.
        #[serde(default, rename = "where")]
        pub comparisons: Vec<Where>,
        /// How many of them must hold.
        #[serde(default, rename = "match")]
        pub need: Need,
        /// What becomes of a reading that lacks a compared field.
        #[serde(default)]
        pub missing: Missing,
        /// A topic filter, with MQTT's wildcards `+` and `#`.
        pub topic: Option<String>,
        /// The most that a device may send.
        pub rate: Option<Rate>,
    }
}

settings! {
    /// How many comparisons must hold.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Need {
        /// All of them.
        #[default]
        All,
        /// One of them.
        Any,
    }
}

settings! {
    /// What becomes of a reading that lacks a compared field.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Missing {
        /// It is rejected.
        #[default]
        Reject,
        /// The comparison does not hold.
        Drop,
    }
}

/// The configured plugin.
#[derive(Debug)]
pub struct FilterFields {
    topic: Option<TopicFilter>,
    paths: Paths,
    comparisons: Vec<Comparison>,
    need: Need,
    missing: Missing,
    rate: Option<rate::Limiter>,
}

impl Transform for FilterFields {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        if settings.comparisons.is_empty() && settings.topic.is_none() && settings.rate.is_none() {
            return Err("nothing to filter by: set `where`, `topic` or `rate`".into());
        }
        let topic = settings.topic.as_deref().map(TopicFilter::new);
        let topic = topic.transpose()?;
        let mut paths = Paths::default();
        let comparisons = settings
            .comparisons
            .into_iter()
            .enumerate()
            .map(|(place, compared)| {
                Comparison::new(compared, &mut paths)
                    .map_err(|error| Error::from(format!("`where.{place}`: {error}")))
            });
        Ok(Self {
            topic,
            comparisons: comparisons.collect::<Result<_>>()?,
            paths,
            need: settings.need,
            missing: settings.missing,
            rate: settings.rate.map(rate::Limiter::new).transpose()?,
        })
    }

    fn process(&mut self, message: &Message<'_>, out: &mut Outputs<'_>) -> Result<()> {
        if self
            .topic
            .as_ref()
            .is_some_and(|filter| !filter.matches(message.topic_bytes()))
            || !self.compare(message)?
        {
            return Ok(());
        }
        // A delete of a retained reading is worth more than its rate: without it upstream keeps the value for ever.
        if !message.is_delete()
            && self
                .rate
                .as_mut()
                .is_some_and(|rate| !rate.admits(message.key(), message.running_us()))
        {
            counter("rate_limited", 1);
            return Ok(());
        }
        out.pass();
        Ok(())
    }
}

impl FilterFields {
    fn compare(&mut self, message: &Message<'_>) -> Result<bool> {
        if self.comparisons.is_empty() {
            return Ok(true);
        }
        let found = self.paths.find(message.payload())?;
        for comparison in &self.comparisons {
            match (holds(comparison, &found, self.missing)?, self.need) {
                (true, Need::Any) => return Ok(true),
                (false, Need::All) => return Ok(false),
                _ => {}
            }
        }
        Ok(self.need == Need::All)
    }
}

fn holds(comparison: &Comparison, found: &Found<'_, '_>, missing: Missing) -> Result<bool> {
    match (comparison.holds(found)?, missing) {
        (Some(holds), _) => Ok(holds),
        (None, Missing::Drop) => Ok(false),
        (None, Missing::Reject) => found.require(comparison.path()).map(|_| false),
    }
}

tidegate_sdk::export!(FilterFields);

#[cfg(test)]
mod tests;
