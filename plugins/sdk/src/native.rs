//! A plugin run over packed batches, the form in which they cross the border. In a component the exports call this;
//! natively it runs the very same code without Wasm, for tests and benchmarks.

use std::rc::Rc;

use crate::host;
use crate::layout::{STRIDE_IN, STRIDE_OUT};
use crate::message::Unpack;
use crate::output::{Outputs, Tick};
use crate::plugin::{Setup, Stateful, Timer, Transform};

pub use crate::state::Page;

/// A packed batch of messages.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// The host's time, microseconds since 1970.
    pub now_us: u64,
    /// Words per message.
    pub stride: u32,
    /// [`layout`](crate::layout) has their meaning.
    pub words: &'a [u32],
    /// Topics, headers and payloads, back to back.
    pub data: &'a [u8],
}

/// Packed outputs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// Words per entry.
    pub stride: u32,
    /// [`layout`](crate::layout) has their meaning.
    pub words: Vec<u32>,
    /// Topics, headers and payloads, back to back.
    pub data: Vec<u8>,
}

impl Packed {
    fn of(outputs: Outputs<'_>) -> Self {
        let (words, data) = outputs.into_parts();
        Self {
            stride: STRIDE_OUT as u32,
            words,
            data,
        }
    }
}

/// A configured plugin.
#[derive(Debug)]
pub struct Instance<P> {
    plugin: P,
    ports: Rc<[String]>,
}

impl<P: Transform> Instance<P> {
    /// Makes a plugin out of settings in JSON; the error is for the operator.
    pub fn configure(settings: &str) -> Result<(Self, Setup), String> {
        // Nothing at all is what the operator wrote who wrote no settings.
        let settings = if matches!(settings.trim(), "" | "null") {
            "{}"
        } else {
            settings
        };
        let settings = crate::settings::read(settings)?;
        let plugin = P::new(settings).map_err(|error| error.to_string())?;
        let setup = Setup {
            ports: plugin.ports(),
            tick_every_us: u64::try_from(plugin.tick_every().as_micros()).unwrap_or(u64::MAX),
            state_version: P::STATE_VERSION,
            one_lane: plugin.one_lane(),
        };
        let ports = setup.ports.clone().into();
        Ok((Self { plugin, ports }, setup))
    }

    /// One batch.
    pub fn process(&mut self, batch: &Batch<'_>) -> Packed {
        host::set_now(batch.now_us);
        let inputs = batch.words.len() / (batch.stride as usize).max(1);
        let ports = Rc::clone(&self.ports);
        let mut outputs = Outputs::new(ports, batch.now_us, inputs, batch.data.len());
        self.plugin.process_all(
            Unpack::new(batch.stride, batch.words, batch.data),
            &mut outputs,
        );
        host::flush();
        Packed::of(outputs)
    }

    /// The plugin itself.
    pub fn plugin(&mut self) -> &mut P {
        &mut self.plugin
    }
}

impl<P: Timer> Instance<P> {
    /// One tick.
    pub fn tick(&mut self, now_us: u64) -> Packed {
        host::set_now(now_us);
        let mut outputs = Outputs::new(Rc::clone(&self.ports), now_us, 0, 0);
        if let Err(error) = self.plugin.tick(&mut Tick::new(&mut outputs)) {
            host::error(&format!("tick failed: {error}"));
        }
        host::flush();
        Packed::of(outputs)
    }
}

impl<P: Stateful> Instance<P> {
    /// One page of the state.
    pub fn save(&mut self, changed_only: bool, cursor: u64) -> Page {
        self.plugin.state().save(changed_only, cursor)
    }

    /// Takes in one page that version `version` saved.
    pub fn restore(&mut self, version: u32, page: &Page) -> Result<(), String> {
        let same = version == P::STATE_VERSION;
        let read = |saved: &[u8]| {
            if same {
                crate::State::<P::Value>::read(saved)
            } else {
                P::upgrade(version, saved)
            }
        };
        self.plugin
            .state()
            .restore(page, read)
            .map_err(|error| error.to_string())
    }
}

/// What a type implements, asked by `export!`: a constant of the type itself goes before that of a trait.
#[doc(hidden)]
#[derive(Debug)]
pub struct Has<P>(std::marker::PhantomData<P>);

impl<P: Stateful> Has<P> {
    /// It remembers something.
    pub const STATE: bool = true;
}

impl<P: Timer> Has<P> {
    /// It has a timer.
    pub const TIMER: bool = true;
}

/// See [`Has`].
#[doc(hidden)]
pub trait NoState {
    /// It remembers nothing.
    const STATE: bool = false;
}

/// See [`Has`].
#[doc(hidden)]
pub trait NoTimer {
    /// It has no timer.
    const TIMER: bool = false;
}

impl<P> NoState for Has<P> {}
impl<P> NoTimer for Has<P> {}

/// Whether one of `names` is `name`.
#[doc(hidden)]
pub const fn names(names: &[&str], name: &str) -> bool {
    let mut at = 0;
    while at < names.len() {
        let (one, other) = (names[at].as_bytes(), name.as_bytes());
        let mut same = one.len() == other.len();
        let mut byte = 0;
        while same && byte < one.len() {
            same = one[byte] == other[byte];
            byte += 1;
        }
        if same {
            return true;
        }
        at += 1;
    }
    false
}

/// Runs a plugin over one packed batch of [`STRIDE_IN`] words a message; gives words and data of its outputs.
pub fn process<P: Transform>(
    plugin: &mut Instance<P>,
    words: &[u32],
    data: &[u8],
    now_us: u64,
) -> (Vec<u32>, Vec<u8>) {
    let packed = plugin.process(&Batch {
        now_us,
        stride: STRIDE_IN as u32,
        words,
        data,
    });
    (packed.words, packed.data)
}
