//! Keeps and changes readings by expressions in [CEL](https://cel.dev).
//!
//! ```toml
//! settings = { keep = "temperature > 30 && device.startsWith('barn')" }
//! settings = { set = { f = "temperature * 9 / 5 + 32", hot = "temperature > 30 ? 'yes' : 'no'" } }
//! settings = { keep = "payload.readings.exists(r, r.t > 20)", set = { n = "size(readings)", site = "headers.site" } }
//! ```
//!
//! One of the two is needed; `keep` comes first.
//!
//! - `keep`: a truth. Where it is `false` the reading is filtered. Default: all are kept.
//! - `set`: fields of the payload that get what an expression gives, whatever was there; all else keeps its order and its digits. Each sees the
//!   reading as it came. Default: none.
//!
//! A name in an expression is a field of the payload: `temperature`, `battery.volts`. Five names stand for something else: `payload` (all of
//! it, whatever it is), `topic`, `device` (the flow's key), `headers` (texts by name) and `received`, the time the gateway received the
//! message at, in seconds. A field that is not there rejects the reading; `has(payload.battery)` asks first, and so does
//! `payload.?battery.orValue(0)`.
//!
//! Numbers are what JSON has, and none of them is whole only because its digits are: `7 / 2` is `3.5`, of a reading as of the text. They count as
//! doubles; `%` cuts both sides to whole numbers first, and `int(…)` cuts one. What is beyond 2^53 and whole keeps its digits while nothing is
//! counted with it. `units`, `fields` and `rate` count in decimal digits.
//!
//! There are CEL's own functions and macros (`has`, `all`, `exists`, `exists_one`, `map`, `filter`, `size`, `contains`, `startsWith`,
//! `endsWith`), its texts (`lowerAscii`, `split`, `replace`, `substring`, `trim`), `math` (`math.greatest`, `math.round`, `math.abs`) and lists. There
//! are no patterns (`matches`) and no dates: see `jq`.
//!
//! A mistake in an expression is found when the settings are read, and named by line and column. An error while it runs rejects the
//! message with its reason. What deletes a retained reading (an empty payload) goes on.

mod expression;
mod numbers;
mod value;

use std::collections::BTreeMap;

use tidegate_sdk::json::{self, Object};
use tidegate_sdk::prelude::*;

use expression::{Expression, Language};

settings! {
    /// The plugin's settings.
    pub struct Settings {
        /// A truth: which readings are kept.
        #[serde(default)]
        pub keep: Option<String>,
        /// Fields, and what each gets.
        #[serde(default)]
        pub set: BTreeMap<String, String>,
    }
}

/// The configured plugin.
pub struct Expr {
    language: Language,
    keep: Option<Expression>,
    set: Vec<(String, Expression)>,
}

impl Transform for Expr {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        if settings.keep.is_none() && settings.set.is_empty() {
            return Err("nothing to do: set `keep` or `set`".into());
        }
        let language = Language::new()?;
        let keep = settings.keep.map(|text| language.read(&text));
        let keep = keep
            .transpose()
            .map_err(|error| format!("`keep`: {error}"))?;
        let set = settings.set.into_iter().map(|(name, text)| {
            let read = language.read(&text);
            let read = read.map_err(|error| format!("`set.{name}`: {error}"))?;
            Ok((name, read))
        });
        Ok(Self {
            set: set.collect::<Result<_>>()?,
            language,
            keep,
        })
    }

    fn process(&mut self, message: &Message<'_>, out: &mut Outputs<'_>) -> Result<()> {
        if message.is_delete() {
            out.pass();
            return Ok(());
        }
        let payload = json::value(message.payload())?;
        if let Some(keep) = &self.keep {
            let is_kept = self.language.truth(keep, message, payload);
            if !is_kept.map_err(|failure| failure.of("keep"))? {
                return Ok(());
            }
        }
        if self.set.is_empty() {
            out.pass();
            return Ok(());
        }
        let members = json::members(message.payload())?;
        let set = self.set.iter().map(|(name, expression)| {
            let value = self.language.value(expression, message, payload);
            let value = value.map_err(|failure| failure.of(&format!("set.{name}")))?;
            Ok((name.as_str(), value))
        });
        let set = set.collect::<Result<Vec<_>>>()?;
        out.emit_with(|payload| {
            let mut object = Object::begin(payload);
            let others = members.iter().filter(|member| {
                let is_its = |(name, _): &(&str, String)| member.name == *name;
                !set.iter().any(is_its)
            });
            others.for_each(|member| object.raw(&member.name, member.value.bytes()));
            for (name, value) in &set {
                object.raw(name, value.as_bytes());
            }
            object.end();
            Ok(())
        })
    }
}

tidegate_sdk::export!(Expr);

#[cfg(test)]
mod tests;
