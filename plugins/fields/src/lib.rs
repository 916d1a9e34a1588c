//! Keeps, drops, renames and sets fields of JSON payloads; what is left keeps its order and its digits.
//!
//! ```toml
//! settings = { keep = ["temperature", "humidity", "battery.percent"] }
//! settings = { drop = ["linkquality", "update"], rename = { temp = "temperature" }, set = { site = "{site}", floor = 2 } }
//! ```
//!
//! One of the four is needed; they are done in this order.
//!
//! - `keep`: paths of the fields that stay, `"volts"` or `"battery.volts"`; all others go. Of a path with several names the
//!   object around it stays, with that in it. Default: all.
//! - `drop`: paths of the fields that go. Default: none.
//! - `rename`: new names of fields, `old = "new"`; the old one may be a path, and stays in its object. A field that has the new
//!   name already makes room. Two of one object have two new names. Default: none.
//! - `set`: fields that get a value, whatever was there: a number, text, truth, list, table. In a text `{device}`, `{topic}` and the
//!   names in the flow's topics are filled in; `{{` is a brace. Default: none.
//! - `missing`: what becomes of a reading that lacks a field of `keep` or `rename`. `"reject"`: it goes to the dead letters. `"skip"`:
//!   the rest is done. Default: `"skip"`.
//! - `empty`: what becomes of a reading of which no field is left. `"send"`: it goes on as `{}`. `"drop"`: it is filtered.
//!   Default: `"drop"`.
//!
//! A payload that is not a JSON object, or has a name twice, rejects the message with the reason in words. What deletes a
//! retained reading (an empty payload) goes on. To convert fields as well see `decode-json` and `units`.

mod edit;

use std::collections::BTreeMap;

use tidegate_sdk::json::{self, Member, Object};
use tidegate_sdk::prelude::*;
use tidegate_sdk::serde_json::Value;

use edit::{Names, Set};

settings! {
    /// The plugin's settings.
    pub struct Settings {
        /// Fields that stay.
        #[serde(default)]
        pub keep: Vec<String>,
        /// Fields that go.
        #[serde(default)]
        pub drop: Vec<String>,
        /// Old names and new ones.
        #[serde(default)]
        pub rename: BTreeMap<String, String>,
        /// Fields that get a value.
        #[serde(default)]
        pub set: BTreeMap<String, Value>,
        /// What becomes of a reading that lacks a field.
        #[serde(default)]
        pub missing: Missing,
        /// What becomes of a reading of which nothing is left.
        #[serde(default)]
        pub empty: Empty,
    }
}

settings! {
    /// What becomes of a reading that lacks a field.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Missing {
        /// It is rejected.
        Reject,
        /// The rest is done.
        #[default]
        Skip,
    }
}

settings! {
    /// What becomes of a reading of which no field is left.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Empty {
        /// It goes on as `{}`.
        Send,
        /// It is filtered.
        #[default]
        Drop,
    }
}

/// The configured plugin.
#[derive(Debug)]
pub struct Fields {
    keep: Option<Names>,
    drop: Names,
    rename: Names,
    set: Vec<(String, Set)>,
    missing: Missing,
    empty: Empty,
}

impl Transform for Fields {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        let Settings {
            keep,
            drop,
            rename,
            set,
            ..
        } = settings;
        if keep.is_empty() && drop.is_empty() && rename.is_empty() && set.is_empty() {
            return Err("nothing to do: set `keep`, `drop`, `rename` or `set`".into());
        }
        let plain = |setting: &str, paths: &[String]| -> Result<Names> {
            let mut names = Names::default();
            for path in paths {
                names
                    .add(path, "")
                    .map_err(|error| format!("`{setting}`: {error}"))?;
            }
            Ok(names)
        };
        if let Some(path) = keep.iter().find(|path| drop.contains(path)) {
            return Err(
                format!("`keep` and `drop` both have `{path}`: leave it out of one").into(),
            );
        }
        let set = set.into_iter().map(|(name, value)| {
            let value = Set::new(value).map_err(|error| format!("`set.{name}`: {error}"))?;
            Ok((name, value))
        });
        Ok(Self {
            keep: (!keep.is_empty())
                .then(|| plain("keep", &keep))
                .transpose()?,
            drop: plain("drop", &drop)?,
            rename: renamed(&rename, &drop)?,
            set: set.collect::<Result<_>>()?,
            missing: settings.missing,
            empty: settings.empty,
        })
    }

    fn process(&mut self, message: &Message<'_>, out: &mut Outputs<'_>) -> Result<()> {
        let members = json::members(message.payload())?;
        if self.missing == Missing::Reject {
            let keep = self.keep.as_ref().and_then(|names| names.lacking(&members));
            if let Some(path) = keep.or_else(|| self.rename.lacking(&members)) {
                return Err(Box::new(tidegate_sdk::Missing(format!(
                    "field `{path}` is missing"
                ))));
            }
        }
        let set: Vec<(&str, String)> = self
            .set
            .iter()
            .map(|(name, value)| (&**name, value.fill(message)))
            .collect();
        let mut is_left = true;
        let write = |payload: &mut Vec<u8>| -> Result<()> {
            let mut object = Object::begin(payload);
            let levels = (self.keep.as_ref(), Some(&self.drop), Some(&self.rename));
            write_members(&mut object, &members, levels, &set)?;
            for (name, value) in &set {
                object.raw(name, value.as_bytes());
            }
            is_left = !object.is_empty() || self.empty == Empty::Send;
            object.end();
            // Nothing is sent on an error; here that means that it is filtered.
            if is_left {
                Ok(())
            } else {
                Err("no field is left".into())
            }
        };
        match out.emit_with(write) {
            Err(_) if !is_left => Ok(()),
            told => told,
        }
    }
}

/// The new names; two fields of one object cannot have the same.
fn renamed(rename: &BTreeMap<String, String>, drop: &[String]) -> Result<Names> {
    let mut names = Names::default();
    let mut taken = BTreeMap::new();
    for (old, new) in rename {
        if new.is_empty() {
            return Err(format!("`rename.{old}` is empty").into());
        }
        if drop.contains(old) {
            let words =
                format!("`rename.{old}`: `drop` takes `{old}` away before: leave it out of one");
            return Err(words.into());
        }
        names
            .add(old, new)
            .map_err(|error| format!("`rename`: {error}"))?;
        let mut place = json::levels(old)?;
        place.pop();
        place.push(new.clone());
        if let Some(other) = taken.insert(place, old) {
            let words = format!(
                "`rename.{old}`: `{other}` is called `{new}` already: give each a name of its own"
            );
            return Err(words.into());
        }
    }
    Ok(names)
}

/// What is kept, dropped and renamed in one object.
type Levels<'n> = (Option<&'n Names>, Option<&'n Names>, Option<&'n Names>);

/// Writes the members of one object that stay, under their new names. `taken` are names that get their value elsewhere.
fn write_members(
    object: &mut Object<'_>,
    members: &[Member<'_>],
    (keep, drop, rename): Levels<'_>,
    taken: &[(&str, String)],
) -> Result<()> {
    let is_gone = |name: &str| {
        keep.is_some_and(|keep| !keep.means(name)) || drop.is_some_and(|drop| drop.ends_at(name))
    };
    let is_renamed = |member: &&Member<'_>| !is_gone(&member.name);
    let new_names: Vec<&str> = members
        .iter()
        .filter(is_renamed)
        .filter_map(|member| rename?.new_name(&member.name))
        .collect();
    for member in members {
        let name = &*member.name;
        let new_name = rename.and_then(|rename| rename.new_name(name));
        let makes_room = new_name.is_none() && new_names.contains(&name);
        let shown = new_name.unwrap_or(name);
        if is_gone(name) || makes_room || taken.iter().any(|(taken, _)| *taken == shown) {
            continue;
        }
        // What ends at the object itself keeps all of it.
        let keep = keep
            .filter(|keep| !keep.ends_at(name))
            .and_then(|keep| keep.below(name));
        let levels = (
            keep,
            drop.and_then(|drop| drop.below(name)),
            rename.and_then(|rename| rename.below(name)),
        );
        let inner = match levels {
            (None, None, None) => None,
            _ => member.value.members()?,
        };
        match inner {
            Some(inner) => {
                object.object(shown, |object| write_members(object, &inner, levels, &[]))?
            }
            // A path goes on in what is no object: nothing of it is kept.
            None if keep.is_some() => {}
            None => object.raw(shown, member.value.bytes()),
        }
    }
    Ok(())
}

tidegate_sdk::export!(Fields);

#[cfg(test)]
mod tests;
