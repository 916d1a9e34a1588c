//! What is where: devices, their groups, and the values in their registers. Already checked (`config` does that).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::decimal::Decimal;

/// A device, which is one station on the line.
#[derive(Clone, Debug)]
pub struct Device {
    /// Name in config, topics, metrics and logs.
    pub name: Arc<str>,
    /// Its address on the line: 1 to 247, over TCP 0 to 255.
    pub station: u8,
    /// So many polls in a row have to fail before it counts as silent.
    pub stale_after: u32,
    /// Registers that may be read over to join two requests.
    pub gap: u16,
    /// Registers in one request at most; sixteen times as many bits.
    pub max: u16,
    pub groups: Vec<PointGroup>,
}

/// Values that are read together, and are one message.
#[derive(Clone, Debug)]
pub struct PointGroup {
    pub name: Arc<str>,
    pub topic: Bytes,
    pub every: Duration,
    /// One poll takes no longer.
    pub within: Duration,
    pub report: ReportMode,
    pub points: Vec<Point>,
}

/// Which readings become messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportMode {
    Always,
    /// Those that differ from the last message, and one after so long a time in any case.
    Change {
        at_least: Option<Duration>,
    },
}

/// One value: where it stands, and what its bits mean.
#[derive(Clone, Debug)]
pub struct Point {
    pub name: Arc<str>,
    pub unit: Option<Arc<str>>,
    pub area: Area,
    /// Its first register or bit, counted from 0.
    pub address: u16,
    pub form: ValueFormat,
    /// What the device sends where it has no value.
    pub not: Vec<u64>,
    pub scale: Decimal,
    pub offset: Decimal,
    /// A change that is no larger is none.
    pub deadband: f64,
}

/// The four tables of a device, each with a function that reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Area {
    Coil,
    Discrete,
    Holding,
    Input,
}

impl Area {
    pub const ALL: [Self; 4] = [Self::Coil, Self::Discrete, Self::Holding, Self::Input];

    /// Its name, which is its key in the config.
    pub fn name(self) -> &'static str {
        match self {
            Self::Coil => "coil",
            Self::Discrete => "discrete",
            Self::Holding => "holding",
            Self::Input => "input",
        }
    }

    /// The function that reads it.
    pub(super) fn function(self) -> u8 {
        match self {
            Self::Coil => 1,
            Self::Discrete => 2,
            Self::Holding => 3,
            Self::Input => 4,
        }
    }

    /// Whether it holds bits, not registers.
    pub fn is_bits(self) -> bool {
        matches!(self, Self::Coil | Self::Discrete)
    }
}

/// What the bits of a value mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueFormat {
    /// A coil or a discrete input.
    Flag,
    /// One bit of a register, 0 the lowest.
    Bit(u8),
    Signed(Size, ByteOrder),
    Unsigned(Size, ByteOrder),
    /// Of [`Size::Two`] or [`Size::Four`].
    Float(Size, ByteOrder),
    /// Text, so many bytes long.
    Text(u16, ByteOrder),
}

/// How many registers a number has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    One,
    Two,
    Four,
}

impl Size {
    pub(super) fn registers(self) -> u16 {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Four => 4,
        }
    }
}

/// In which order a device has what is longer than a byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByteOrder {
    /// The lowest register first.
    pub little_words: bool,
    /// The lower byte of a register first.
    pub little_bytes: bool,
}

impl Point {
    /// Registers, or bits, that it takes.
    pub fn count(&self) -> u16 {
        match self.form {
            ValueFormat::Flag | ValueFormat::Bit(_) => 1,
            ValueFormat::Signed(size, _)
            | ValueFormat::Unsigned(size, _)
            | ValueFormat::Float(size, _) => size.registers(),
            ValueFormat::Text(bytes, _) => bytes.div_ceil(2),
        }
    }

    /// The first address behind it.
    pub(super) fn end(&self) -> u32 {
        u32::from(self.address) + u32::from(self.count())
    }
}

#[cfg(test)]
pub(super) fn point(name: &str, area: Area, address: u16, form: ValueFormat) -> Point {
    Point {
        name: name.into(),
        unit: None,
        area,
        address,
        form,
        not: Vec::new(),
        scale: Decimal::ONE,
        offset: Decimal::ZERO,
        deadband: 0.0,
    }
}
