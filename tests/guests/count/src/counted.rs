//! What the guests `count`, `other-state` and `worse` have in common: their settings, their state and their outputs.

use tidegate_sdk::prelude::*;

settings! {
    /// The guest's settings.
    pub struct Settings {
        /// Stands in every output, so that a swap can be seen.
        #[serde(default)]
        pub tag: String,
    }
}

record! {
    /// What is remembered of a device.
    #[derive(Default)]
    pub struct Seen {
        /// Its messages.
        pub count: u64,
    }
}

/// An output.
#[derive(Serialize)]
#[serde(crate = "tidegate_sdk::serde")]
pub struct Counted<'a> {
    /// The message's key.
    pub key: &'a str,
    /// How many of this key there were.
    pub count: u64,
    /// From the settings.
    pub tag: &'a str,
    /// The message's payload as text.
    pub of: &'a str,
}
