//! A source over Modbus: where the devices are, and what is read of them together. `point` is one value.

mod point;

use std::time::Duration;

use bytes::Bytes;

use super::super::address::{self, AddressError};
use super::super::connection::backoff_of;
use super::super::fields::Fields;
use super::shared::{line, spec};
use super::spec::SourceSpec;
use crate::config::problem::code::ProblemCode;
use crate::link::{Serial, SerialBrake};
use crate::message::legal;
use crate::source::SourceKind;
use crate::source::modbus::{
    ByteOrder, Config, Device, Framing, ModbusAddress, PointGroup, ReportMode,
};
use point::{order, point};

/// Keys that only Modbus has, and `topic`, which means something else here.
pub(super) const OWN_KEYS: &[&str] = &[
    "topic",
    "baud",
    "parity",
    "stop",
    "timeout",
    "retries",
    "pause",
    "connect_pause",
    "probe",
    "device",
];

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);

/// Values in one group, and devices on one line, at most.
const MOST_VALUES: usize = 500;
const MOST_DEVICES: usize = 247;

/// A line is silent for so long between two frames at least: 1.75 ms by the book, and what an adapter adds.
const LEAST_PAUSE: Duration = Duration::from_millis(5);

pub(super) fn read(fields: &mut Fields<'_>, name: &str) -> SourceSpec {
    let address = address(fields);
    let pause = pause(fields, &address);
    let topic = topic(fields);
    let is_on_a_line = !matches!(
        address,
        ModbusAddress::Net {
            framing: Framing::Tcp,
            ..
        }
    );
    let stations = if is_on_a_line { 1..=247 } else { 0..=255 };
    let config = Config {
        pause,
        timeout: fields.duration("timeout", Duration::from_millis(10)..=60 * SECOND),
        retries: fields.count("retries", 0..=10),
        connect_pause: fields.duration("connect_pause", Duration::ZERO..=60 * SECOND),
        backoff: backoff_of(fields, "backoff"),
        probe: backoff_of(fields, "probe"),
        devices: devices(fields, &topic.replace("{source}", name), stations),
        address,
    };
    spec(fields, name, SourceKind::Modbus(Box::new(config)), u32::MAX)
}

fn address(fields: &mut Fields<'_>) -> ModbusAddress {
    let url = fields.text("url").unwrap_or_default();
    let serial = serial(fields, url.strip_prefix("modbus+rtu://"));
    if let Some(serial) = serial {
        return ModbusAddress::Serial(serial);
    }
    // Which port a serial server has is its own affair.
    let (scheme, framing, standard) = match url.starts_with("modbus+rtu+tcp://") {
        true => ("modbus+rtu+tcp", Framing::Rtu, 0),
        false => ("modbus+tcp", Framing::Tcp, 502),
    };
    let parsed = address::BrokerAddress::parse_as(url, scheme, standard);
    let found = parsed.unwrap_or_else(|error| {
        let hint = match &error {
            AddressError::Brackets(_) | AddressError::Host(_) => error.hint(),
            AddressError::Port => "a serial server has its port: modbus+rtu+tcp://10.0.0.7:4001; 1 to 65535".to_owned(),
            AddressError::Login => "Modbus has no logins: leave it out".to_owned(),
            _ => "write modbus+tcp://10.0.0.7:502, modbus+rtu+tcp://10.0.0.7:4001 for a serial server, or modbus+rtu:///dev/ttyUSB0".to_owned(),
        };
        fields.problem(ProblemCode::Url, "url", format!("the URL {error}"), hint);
        address::BrokerAddress {
            host: "127.0.0.1".to_owned(),
            port: 1,
            tls: false,
            websocket: None,
        }
    });
    ModbusAddress::Net {
        host: found.host,
        port: found.port,
        framing,
    }
}

/// The serial line, where the URL has a `path`; else its keys are mistakes.
fn serial(fields: &mut Fields<'_>, path: Option<&str>) -> Option<Serial> {
    let Some(path) = path else {
        for key in ["baud", "parity", "stop"] {
            if fields.has(key) {
                let message = format!("`{key}` is set, but the URL leads to no serial line");
                let hint = "set it at the serial server, or write modbus+rtu:///dev/ttyUSB0";
                fields.refuse(ProblemCode::Conflict, key, message, hint.to_owned());
            }
            fields.find(key);
        }
        return None;
    };
    if !path.starts_with('/') || path.contains(['?', '#', '\0']) {
        let hint = "write modbus+rtu:///dev/ttyUSB0, with three slashes; `baud`, `parity` and `stop` are keys";
        let message = "the URL has no path of a serial line";
        fields.problem(ProblemCode::Url, "url", message, hint.to_owned());
    }
    Some(line(fields, path, 8, SerialBrake::None))
}

/// Silence between two frames: by the baud rate, where it is known.
fn pause(fields: &mut Fields<'_>, address: &ModbusAddress) -> Duration {
    fields.find("pause");
    if fields.has("pause") && fields.written_text("pause") != Some("auto") {
        return fields.duration("pause", Duration::ZERO..=10 * SECOND);
    }
    match address {
        ModbusAddress::Net {
            framing: Framing::Tcp,
            ..
        } => Duration::ZERO,
        ModbusAddress::Net { .. } => LEAST_PAUSE,
        // Three and a half characters of eleven bits.
        ModbusAddress::Serial(serial) => LEAST_PAUSE.max(Duration::from_secs_f64(
            38.5 / f64::from(serial.baud.max(300)),
        )),
    }
}

fn topic(fields: &mut Fields<'_>) -> String {
    let written = fields.text("topic").unwrap_or_default();
    let example = ["{source}", "{device}", "{group}"]
        .iter()
        .fold(written.to_owned(), |text, name| text.replace(name, "x"));
    if example.contains(['{', '}']) || legal::check_topic(example.as_bytes()).is_err() {
        fields.problem(
            ProblemCode::Topic,
            "topic",
            format!("`{}.topic` is no topic", fields.path),
            "a topic in which {source}, {device} and {group} may stand: \"meters/{device}/{group}\""
                .to_owned(),
        );
    }
    written.to_owned()
}

fn devices(
    fields: &mut Fields<'_>,
    topic: &str,
    stations: std::ops::RangeInclusive<u32>,
) -> Vec<Device> {
    let all = fields.named("device");
    if all.is_empty() {
        fields.problem(
            ProblemCode::Missing,
            "device",
            format!("`{}` has no device: nothing would be asked", fields.path),
            format!("add, for example: [{}.device.meter-1]", fields.path),
        );
    }
    if all.len() > MOST_DEVICES {
        let message = format!("a line has {MOST_DEVICES} devices at most");
        fields.problem(ProblemCode::OutOfRange, "device", message, None);
    }
    let device = |(name, fields): (&str, Fields<'_>)| {
        device(
            name,
            fields,
            &topic.replace("{device}", name),
            stations.clone(),
        )
    };
    all.into_iter().map(device).collect()
}

fn device(
    name: &str,
    mut fields: Fields<'_>,
    topic: &str,
    stations: std::ops::RangeInclusive<u32>,
) -> Device {
    fields.require("station", "1");
    let base = u16::try_from(fields.count("base", 0..=1)).unwrap_or_default();
    let order = order(&mut fields, ByteOrder::default());
    let max = fields.count("max", 1..=125);
    let of_device = OfDevice { base, order, max };
    let all = fields.named("group");
    if all.is_empty() {
        let hint = format!("add, for example: [{}.group.power]", fields.path);
        let message = format!("`{}` has no group: nothing would be read", fields.path);
        fields.problem(ProblemCode::Missing, "group", message, hint);
    }
    let groups = all.into_iter().map(|(name, fields)| {
        let topic = topic.replace("{group}", name);
        group(name, fields, topic, &of_device)
    });
    let found = Device {
        name: name.into(),
        groups: groups.collect(),
        station: match fields.has("station") {
            true => u8::try_from(fields.count("station", stations)).unwrap_or_default(),
            false => 0,
        },
        stale_after: fields.count("stale_after", 1..=1_000),
        gap: u16::try_from(fields.count("gap", 0..=124)).unwrap_or_default(),
        max: u16::try_from(max).unwrap_or(125),
    };
    fields.done();
    found
}

/// What holds for all values of a device.
struct OfDevice {
    base: u16,
    order: ByteOrder,
    max: u32,
}

fn group(name: &str, mut fields: Fields<'_>, topic: String, of_device: &OfDevice) -> PointGroup {
    let every = fields.duration("every", Duration::from_millis(10)..=24 * HOUR);
    fields.find("within");
    let within = match fields.has("within") {
        true => fields.duration("within", Duration::from_millis(10)..=24 * HOUR),
        false => every,
    };
    fields.find("at_least");
    let at_least = fields
        .has("at_least")
        .then(|| fields.duration("at_least", Duration::from_millis(10)..=7 * 24 * HOUR));
    let reports = [
        ("always", ReportMode::Always),
        ("change", ReportMode::Change { at_least }),
    ];
    let report = fields
        .choice("report", &reports)
        .unwrap_or(ReportMode::Always);
    if report == ReportMode::Always && at_least.is_some() {
        let hint = "set `report = \"change\"`, or leave it out".to_owned();
        let message = "`at_least` is set, but every reading is reported";
        fields.problem(ProblemCode::Conflict, "at_least", message, hint);
    }
    let values = fields.named("values");
    if values.is_empty() || values.len() > MOST_VALUES {
        let message = format!("`{}` has {} values", fields.path, values.len());
        let hint = format!(
            "1 to {MOST_VALUES}, for example: values.voltage = {{ holding = 0, scale = 0.1, unit = \"V\" }}"
        );
        fields.problem(ProblemCode::OutOfRange, "values", message, hint);
    }
    let values = values
        .into_iter()
        .map(|(name, fields)| point(name, fields, of_device));
    let found = PointGroup {
        name: name.into(),
        topic: Bytes::from(topic),
        every,
        within,
        report,
        points: values.collect(),
    };
    fields.done();
    found
}
