//! What a plugin implements.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::message::{Message, Unpack};
use crate::output::{Outputs, Tick};
use crate::state::State;

/// Any error; text turns into one: `return Err("no voltage".into())`.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// What plugin functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The payload lacks a value. It rejects the message like any error, and does not count against its device: ten of them
/// in a row are no sign of one gone mad, which is what a quarantine is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing(pub String);

impl std::fmt::Display for Missing {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Missing {}

/// The error for a field that is not there, or `null`.
pub(crate) fn missing(path: &str) -> Error {
    Box::new(Missing(format!("field `{path}` is missing")))
}

/// Keeps a message or lets it go. The implementing type is its own settings.
pub trait Filter: DeserializeOwned + 'static {
    /// Whether the message goes on. An error rejects it: it goes to the dead letters with the error's words.
    fn keep(&mut self, message: &Message<'_>) -> Result<bool>;

    /// Looks at the settings before the first message; an error is shown to the operator.
    fn check(&self) -> Result<()> {
        Ok(())
    }
}

/// Turns each message into none, one or many.
pub trait Transform: Sized + 'static {
    /// What the operator may set; see [`settings!`](crate::settings) and [`NoSettings`].
    type Settings: DeserializeOwned;

    /// Ports beside `out` that messages leave through. The operator's config says where each leads.
    const PORTS: &'static [&'static str] = &[];

    /// All ports beside `out`, where the settings say which there are; else [`PORTS`](Self::PORTS).
    fn ports(&self) -> Vec<String> {
        Self::PORTS.iter().map(|port| (*port).to_owned()).collect()
    }

    /// Version of the form that [`Stateful::Value`] is saved in.
    const STATE_VERSION: u32 = 1;

    /// Whether it keeps state under other keys than [`Message::key`]'s: a count for each room over its devices, or one
    /// for all. Its flow then runs on one lane; state under a foreign key is a fault otherwise, since each lane has an
    /// instance of its own. Where the room is a level of the topics, the flow's `key = "{room}"` does it on many lanes.
    fn one_lane(&self) -> bool {
        false
    }

    /// Called once; an error is shown to the operator, and the plugin is not started.
    fn new(settings: Self::Settings) -> Result<Self>;

    /// Says in `out` what becomes of `message`. Saying nothing filters it. An error rejects it: it goes to the dead
    /// letters with the error's words.
    fn process(&mut self, message: &Message<'_>, out: &mut Outputs<'_>) -> Result<()>;

    /// How often [`Timer::tick`] is called; zero for never.
    fn tick_every(&self) -> Duration {
        Duration::ZERO
    }

    /// A whole batch; filters have a tighter loop.
    #[doc(hidden)]
    fn process_all<'m>(&mut self, messages: Unpack<'m>, out: &mut Outputs<'m>) {
        for (input, message) in (0..).zip(messages) {
            out.about(input, message, |message, out| self.process(message, out));
        }
    }
}

impl<F: Filter> Transform for F {
    type Settings = F;

    fn new(settings: F) -> Result<Self> {
        settings.check()?;
        Ok(settings)
    }

    #[inline]
    fn process(&mut self, message: &Message<'_>, out: &mut Outputs<'_>) -> Result<()> {
        if self.keep(message)? {
            out.pass();
        }
        Ok(())
    }

    /// Of a message that is kept or not, `out` needs to know nothing else: this is what a hop costs.
    fn process_all<'m>(&mut self, messages: Unpack<'m>, out: &mut Outputs<'m>) {
        for (input, message) in (0..).zip(messages) {
            match self.keep(&message) {
                Ok(true) => out.pass_on(input, message.marks()),
                Ok(false) => {}
                Err(error) => out.about(input, message, |_, _| Err(error)),
            }
        }
    }
}

/// Does something as time goes by: windows, silence detection. Named in `export!(MyPlugin: timer)`.
pub trait Timer: Transform {
    /// Called every [`Transform::tick_every`]. An error is logged.
    fn tick(&mut self, tick: &mut Tick<'_, '_>) -> Result<()>;
}

/// Remembers something per key (device) that survives swaps, traps and restarts. Named in
/// `export!(MyPlugin: state)`.
pub trait Stateful: Transform {
    /// What is remembered per key.
    type Value: Serialize + DeserializeOwned + 'static;

    /// Where it is.
    fn state(&mut self) -> &mut State<Self::Value>;

    /// Reads a value saved by a plugin of another [`Transform::STATE_VERSION`]. A field with `#[serde(default)]`
    /// needs no new version; [`State::read`] then reads the old form.
    fn upgrade(version: u32, _saved: &[u8]) -> Result<Self::Value> {
        Err(format!(
            "state of version {version} cannot be read by version {}",
            Self::STATE_VERSION
        )
        .into())
    }
}

/// For plugins without settings; any setting given is a mistake.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoSettings {}

/// What a configured plugin asks the host for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Names of the ports from 1 on.
    pub ports: Vec<String>,
    /// Interval of `tick` in microseconds; 0 for none.
    pub tick_every_us: u64,
    /// Version of the saved state's form.
    pub state_version: u32,
    /// Its state is not by the messages' key.
    pub one_lane: bool,
}
