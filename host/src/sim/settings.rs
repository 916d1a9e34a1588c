//! What is sent, over how many connections, and what is watched.

use std::time::Duration;

use super::tally::Expect;
use crate::message::Qos;
use crate::mqtt;

/// When the devices stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    Elapsed(Duration),
    /// After this many messages, over all devices.
    Count(u64),
    /// When [`super::Simulation::stop_sending`] is called.
    Told,
}

#[derive(Clone, Debug)]
pub struct Watch {
    pub broker: mqtt::Config,
    /// What to subscribe to.
    pub filter: String,
    /// What has to arrive.
    pub expect: Expect,
    /// How long nothing may arrive before what is missing counts as lost.
    pub settle: Duration,
}

/// What is left with the broker, and who makes it speak.
#[derive(Clone, Debug)]
pub struct Wills {
    /// Topic with `{device}` as a level of its own: the first device of a connection.
    pub topic: String,
    /// The last so many connections end without a DISCONNECT.
    pub killed: u32,
    /// How long no will may arrive before what is missing counts as missing.
    pub settle: Duration,
}

/// How the devices are connected.
#[derive(Clone, Debug)]
pub struct Connections {
    /// How many connections there are, at least 1; the devices are dealt out over them.
    pub count: u32,
    /// New connections a second; 0: as fast as the broker takes them.
    pub ramp: u32,
    pub wills: Option<Wills>,
}

impl Connections {
    /// One for all devices.
    pub const ONE: Self = Self {
        count: 1,
        ramp: 0,
        wills: None,
    };
}

/// What to send, and what to watch.
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// Where the devices send to.
    pub broker: mqtt::Config,
    pub connections: Connections,
    /// How many there are.
    pub devices: u32,
    /// Messages a second over all of them; 0: as fast as the broker takes them.
    pub rate: u32,
    pub until: Until,
    /// Topic with `{device}` in it.
    pub topic: String,
    /// Level they send with.
    pub qos: Qos,
    /// Each n-th payload is broken on purpose.
    pub broken_every: Option<u64>,
    /// Same seed, same readings.
    pub seed: u64,
    /// How long to wait for the last acknowledgements.
    pub patience: Duration,
    /// The far end, if it is watched.
    pub watch: Option<Watch>,
}
