//! Everything a Tidegate plugin needs.
//!
//! The smallest plugin keeps some messages and lets the others go. It *is* its settings:
//!
//! ```
//! use tidegate_sdk::prelude::*;
//!
//! settings! { pub struct Above { limit: f64 } }
//!
//! impl Filter for Above {
//!     fn keep(&mut self, message: &Message) -> Result<bool> {
//!         Ok(message.number("temperature")? > self.limit)
//!     }
//! }
//! export!(Above);
//! ```
//!
//! An error turns into a rejected message: it goes to the dead letters with the error's words, nothing is lost.
//!
//! What changes messages, makes new ones or remembers something implements [`Transform`]; [`Stateful`] and
//! [`Timer`] are added when needed and named in [`export!`]:
//!
//! ```
//! use tidegate_sdk::prelude::*;
//!
//! record! { #[derive(Default)] pub struct Seen { count: u64 } }
//!
//! pub struct Counter { seen: State<Seen> }
//!
//! impl Transform for Counter {
//!     type Settings = NoSettings;
//!
//!     fn new(_: NoSettings) -> Result<Self> {
//!         Ok(Self { seen: State::default() })
//!     }
//!
//!     fn process(&mut self, message: &Message, out: &mut Outputs) -> Result<()> {
//!         let mut seen = self.seen.of(message.key());
//!         seen.count += 1;
//!         out.emit_json(&*seen)
//!     }
//! }
//!
//! impl Stateful for Counter {
//!     type Value = Seen;
//!     fn state(&mut self) -> &mut State<Seen> {
//!         &mut self.seen
//!     }
//! }
//!
//! export!(Counter: state);
//! ```
//!
//! All of it compiles natively, so `cargo test` needs no Wasm: see [`test::Plugin`].

#![warn(missing_docs)]

// The macros name this crate from the outside, here too.
extern crate self as tidegate_sdk;

#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod bindings;
pub mod calendar;
pub mod compare;
pub mod event;
pub mod foreign;
pub mod host;
pub mod json;
pub mod layout;
mod macros;
mod message;
pub mod native;
mod output;
mod period;
mod plugin;
mod settings;
mod state;
mod template;
#[cfg(not(target_arch = "wasm32"))]
pub mod test;
mod topic_filter;
mod topics;
pub mod window;

pub use message::{Headers, Message};
pub use output::{Draft, Outputs, Tick};
pub use period::Period;
pub use plugin::{Error, Filter, Missing, NoSettings, Result, Setup, Stateful, Timer, Transform};
pub use serde;
pub use serde_json;
pub use state::{Entry, State, check_most, weight};
pub use template::Template;
pub use topic_filter::TopicFilter;
pub use topics::{Topics, hash};

/// What most plugins use.
pub mod prelude {
    pub use crate::host::{self, counter, gauge};
    pub use crate::{
        Draft, Error, Filter, Message, NoSettings, Outputs, Period, Result, State, Stateful,
        Template, Tick, Timer, Transform, export, record, settings,
    };
    pub use serde::{Deserialize, Serialize};
}
