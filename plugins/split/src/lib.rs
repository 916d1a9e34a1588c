//! Makes a message of each element of a list.
//!
//! ```toml
//! settings = {}
//! settings = { field = "readings", keep = ["device", "gateway.id"] }
//! settings = { field = "samples", as = "volts" }
//! ```
//!
//! `{"device":"d7","readings":[{"t":1},{"t":2}]}` becomes `{"device":"d7","t":1}` and `{"device":"d7","t":2}`.
//!
//! - `field`: path of the list. Default: the payload is the list.
//! - `keep`: paths of fields that each message gets, under the last name of the path, unless the element has that name. With
//!   `field` only. Default: none.
//! - `as`: the name of an element that is no object: `5` becomes `{"value":5}`. Default: `"value"`.
//! - `missing`: what becomes of a message without the list (`null` is no value). `"reject"`: it goes to the dead letters. `"pass"`: it
//!   goes on as it is. Default: `"reject"`.
//!
//! Elements keep their digits and their order, and have the topic, key and headers of the message. There are 1,000 at most; more, or a
//! field that is no list, reject the message with the reason in words. Of an empty list nothing is made. What deletes a retained
//! reading (an empty payload) goes on.

use tidegate_sdk::json::{self, Object, Paths, Value};
use tidegate_sdk::prelude::*;

settings! {
    /// The plugin's settings.
    pub struct Settings {
        /// Path of the list.
        pub field: Option<String>,
        /// Paths of fields that each message gets.
        #[serde(default)]
        pub keep: Vec<String>,
        /// Name of an element that is no object.
        #[serde(rename = "as", default = "default_name")]
        pub name: String,
        /// What becomes of a message without the list.
        #[serde(default)]
        pub missing: Missing,
    }
}

settings! {
    /// What becomes of a message without the list.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Missing {
        /// It is rejected.
        #[default]
        Reject,
        /// It goes on as it is.
        Pass,
    }
}

fn default_name() -> String {
    "value".to_owned()
}

/// Elements at most: less than what a plugin may answer to one call.
const MOST: usize = 1_000;

/// The configured plugin.
#[derive(Debug)]
pub struct Split {
    paths: Paths,
    list: Option<usize>,
    /// Path and name of what each message gets.
    keep: Vec<(usize, String)>,
    name: String,
    missing: Missing,
}

impl Transform for Split {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        if settings.field.is_none() && !settings.keep.is_empty() {
            return Err("`keep` goes with `field`: beside a list there is nothing to keep".into());
        }
        if settings.name.is_empty() {
            return Err("`as` is empty".into());
        }
        let mut paths = Paths::default();
        let list = settings.field.map(|field| paths.add(&field)).transpose();
        let list = list.map_err(|error| format!("`field`: {error}"))?;
        let mut keep: Vec<(usize, String)> = Vec::new();
        for path in &settings.keep {
            let path = paths
                .add(path)
                .map_err(|error| format!("`keep`: {error}"))?;
            let name = paths.last_name(path);
            if keep.iter().any(|(_, other)| *other == name) {
                return Err(format!("`keep`: two fields are called `{name}`").into());
            }
            keep.push((path, name));
        }
        Ok(Self {
            paths,
            list,
            keep,
            name: settings.name,
            missing: settings.missing,
        })
    }

    fn process(&mut self, message: &Message<'_>, out: &mut Outputs<'_>) -> Result<()> {
        let Some(list) = self.list else {
            let elements = json::elements(message.payload())?;
            return write(out, &elements, &[], &self.name);
        };
        let found = self.paths.find(message.payload())?;
        if found.value(list).is_none() && self.missing == Missing::Pass {
            out.pass();
            return Ok(());
        }
        let value = found.require(list)?;
        let elements = value.elements()?.ok_or_else(|| {
            let (name, excerpt) = (found.name(list), value.excerpt());
            format!("field `{name}` is not a list: `{excerpt}`")
        })?;
        let kept = self.keep.iter();
        let kept: Vec<(&str, Value<'_>)> = kept
            .filter_map(|(path, name)| Some((&**name, found.get(*path)?)))
            .collect();
        write(out, &elements, &kept, &self.name)
    }
}

fn write(
    out: &mut Outputs<'_>,
    elements: &[Value<'_>],
    kept: &[(&str, Value<'_>)],
    name: &str,
) -> Result<()> {
    if elements.len() > MOST {
        let found = elements.len();
        return Err(format!("the list has {found} elements, {MOST} are the most").into());
    }
    for element in elements {
        let members = element.members()?;
        out.emit_with(|payload| {
            if kept.is_empty() && members.is_some() {
                payload.extend_from_slice(element.bytes());
                return Ok(());
            }
            let mut object = Object::begin(payload);
            for (name, value) in kept {
                let has = members.iter().flatten().any(|member| member.name == *name);
                if !has {
                    object.raw(name, value.bytes());
                }
            }
            match &members {
                Some(members) => members
                    .iter()
                    .for_each(|member| object.raw(&member.name, member.value.bytes())),
                None => object.raw(name, element.bytes()),
            }
            object.end();
            Ok(())
        })?;
    }
    Ok(())
}

tidegate_sdk::export!(Split);

#[cfg(test)]
mod tests;
