//! Drops, hashes or truncates fields of JSON payloads before they leave; the rest keeps its order and its digits.
//!
//! ```toml
//! settings = { fields = [{ field = "owner.mail", do = "hash" }, { field = "plate", do = "truncate", keep = 3 }, { field = "latitude", do = "truncate", decimals = 2 }, { field = "owner.name", do = "drop" }], key = "a secret of sixteen bytes or more" }
//! ```
//!
//! - `fields`: what is masked. Required; each has
//!   - `field`: its path: `"plate"`, `"owner.mail"`. Where a path meets a list, each of its elements is meant. Required.
//!   - `do`: `"drop"`: it goes, with its name. `"hash"`: its HMAC-SHA-256 under `key` takes its place, in hexadecimal digits: of a text its
//!     letters are hashed, of a number what it says (`1`, `1.0` and the text `"1"` are one), of all else the JSON as it stands.
//!     `"truncate"`: a text is cut, a number rounded. Required.
//!   - `keep`: letters that remain of a text. For `"truncate"`, 0 or more.
//!   - `decimals`: digits behind the point that remain of a number, 0 to 15. For `"truncate"`.
//! - `key`: what hashes are keyed with, 16 bytes at least. Required where something is hashed. It stands in the config, where whoever reads
//!   that reads it: settings of plugins have no references to secrets. Another key makes other hashes of the same.
//! - `digits`: hexadecimal digits of a hash, 16 to 64. Fewer are shorter, and two values are more often one. Default: 32.
//!
//! What truncating does not fit (a text without `keep`, a number without `decimals`, an object) is dropped, counted in `unfit_dropped`; `null` stays,
//! and to a hash it has nothing to hide. A payload that is not a JSON object, or has a name twice where a path leads, is rejected with the reason
//! in words: it stays in the gateway's dead letters as it came. What deletes a retained reading (an empty payload) goes on.
//!
//! What this does not do. A hash is a pseudonym and not anonymous: the same value has the same hash, so that what belongs together
//! still does, and whoever has the key finds out a value by trying all there may be, which for plates, numbers and names is quick.
//! Whoever knows what somebody did knows his hash. Only what is named is masked: a name in other letters, another field, the topic, headers
//! and the device's name go on as they are. Nothing is masked in what was there before this plugin: dead letters and `record`
//! have messages as they came in. To let through only what is named see `fields`, whose `keep` does.

mod tree;

use tidegate_sdk::json::{self, Object};
use tidegate_sdk::prelude::*;

use tree::{Key, Node};

settings! {
    /// The plugin's settings.
    pub struct Settings {
        /// What is masked.
        pub fields: Vec<Field>,
        /// What hashes are keyed with.
        pub key: Option<Secret>,
        /// Hexadecimal digits of a hash.
        #[serde(default = "default_digits")]
        pub digits: usize,
    }
}

/// The key, which no debugging output shows.
#[derive(Clone, Deserialize)]
#[serde(crate = "tidegate_sdk::serde", transparent)]
pub struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a secret")
    }
}

settings! {
    /// A field that is masked.
    pub struct Field {
        /// Its path.
        pub field: String,
        /// What is done to it.
        #[serde(rename = "do")]
        pub action: Do,
        /// Letters that remain of a text.
        pub keep: Option<usize>,
        /// Digits behind the point that remain of a number.
        pub decimals: Option<u8>,
    }
}

settings! {
    /// What is done to a field.
    #[derive(Copy, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Do {
        /// It goes.
        Drop,
        /// Its keyed hash takes its place.
        Hash,
        /// A text is cut, a number rounded.
        Truncate,
    }
}

fn default_digits() -> usize {
    32
}

/// Bytes of a key at least: a shorter one is found by trying.
const SHORTEST_KEY: usize = 16;

/// Digits behind the point beyond which a double has none.
const MOST_DECIMALS: u8 = 15;

/// The configured plugin.
#[derive(Debug)]
pub struct Mask {
    root: Node,
    key: Key,
}

impl Transform for Mask {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        if settings.fields.is_empty() {
            return Err("`fields` is empty: nothing would be masked".into());
        }
        if !(16..=64).contains(&settings.digits) {
            return Err("`digits` is 16 to 64".into());
        }
        let hashes = settings.fields.iter().any(|field| field.action == Do::Hash);
        let key = match settings.key {
            Some(Secret(key)) if key.len() >= SHORTEST_KEY => key,
            Some(_) => return Err(format!("`key` has less than {SHORTEST_KEY} bytes").into()),
            None if hashes => {
                return Err(
                    "a hash wants a `key`: without, whoever guesses a value finds it".into(),
                );
            }
            None => String::new(),
        };
        let mut root = Node::default();
        for (place, field) in settings.fields.iter().enumerate() {
            check(field)
                .and_then(|()| root.add(field))
                .map_err(|error| format!("`fields.{place}`: {error}"))?;
        }
        Ok(Self {
            root,
            key: Key::new(key.as_bytes(), settings.digits)?,
        })
    }

    fn process(&mut self, message: &Message<'_>, out: &mut Outputs<'_>) -> Result<()> {
        let members = json::members(message.payload())?;
        out.emit_with(|payload| {
            let mut object = Object::begin(payload);
            self.root.write(&mut object, &members, &self.key)?;
            object.end();
            Ok(())
        })
    }
}

/// What does not go together.
fn check(field: &Field) -> Result<()> {
    let says_how = field.keep.is_some() || field.decimals.is_some();
    match field.action {
        Do::Truncate if !says_how => {
            Err("`truncate` wants `keep` for texts, `decimals` for numbers, or both".into())
        }
        Do::Drop | Do::Hash if says_how => Err("`keep` and `decimals` are for `truncate`".into()),
        _ if field
            .decimals
            .is_some_and(|decimals| decimals > MOST_DECIMALS) =>
        {
            Err(format!("`decimals` is more than {MOST_DECIMALS}").into())
        }
        _ => Ok(()),
    }
}

tidegate_sdk::export!(Mask);

#[cfg(test)]
mod tests;
