//! Tasmota: an object for each sensor, units beside them, switches by number.

use tidegate_sdk::json::{self, Member, Value};
use tidegate_sdk::prelude::*;

use crate::readings::{Convert, Readings, switch, switch_word};

/// Whether a topic is one of its telemetry or answers, wherever the prefix stands.
pub fn is_its(topic: &[&str]) -> bool {
    topic.iter().any(|level| matches!(*level, "tele" | "stat"))
}

/// Names within a sensor's object.
const NUMBERS: [(&str, &str); 15] = [
    ("Temperature", "temperature"),
    ("Humidity", "humidity"),
    ("Pressure", "pressure"),
    ("Illuminance", "illuminance"),
    ("CarbonDioxide", "co2"),
    ("eCO2", "co2"),
    ("TVOC", "voc"),
    ("PM2.5", "pm25"),
    ("Moisture", "soil_moisture"),
    ("Battery", "battery"),
    ("Voltage", "voltage"),
    ("Current", "current"),
    ("Power", "power"),
    ("Total", "energy"),
    ("Frequency", "frequency"),
];

/// Units of the whole message.
#[derive(Clone, Copy)]
struct Units {
    temperature: Convert,
    pressure: Convert,
}

pub fn read(message: &Message<'_>, topic: &[&str], readings: &mut Readings) -> Result<()> {
    // stat/<device>/POWER2 is a word.
    let last = topic.last().copied().unwrap_or_default();
    if let (Some(channel), false) = (power(last), message.payload().starts_with(b"{")) {
        let Some(on) = switch_word(message.text()?) else {
            return Ok(());
        };
        return readings.truth("on", channel, on);
    }
    if last == "LWT" {
        return Ok(());
    }
    let members = json::members(message.payload())?;
    let wrapped = members
        .iter()
        .find(|member| matches!(&*member.name, "StatusSNS" | "StatusSTS"));
    match wrapped
        .map(|member| member.value.members())
        .transpose()?
        .flatten()
    {
        Some(inner) => status(&inner, readings),
        None => status(&members, readings),
    }
}

fn status(members: &[Member<'_>], readings: &mut Readings) -> Result<()> {
    let is = |name: &str, wanted: &str| {
        let found = members.iter().find(|member| member.name == name);
        found.is_some_and(|member| member.value.text().is_some_and(|unit| unit == wanted))
    };
    let units = Units {
        temperature: if is("TempUnit", "F") {
            Convert::Fahrenheit
        } else {
            Convert::No
        },
        pressure: if is("PressureUnit", "mmHg") {
            Convert::Mercury
        } else if is("PressureUnit", "inHg") {
            Convert::InchesOfMercury
        } else {
            Convert::No
        },
    };
    for member in members {
        let (name, value) = (&*member.name, member.value);
        if let (Some(channel), Some(on)) = (power(name), switch(value)) {
            readings.truth("on", channel, on)?;
            continue;
        }
        match (name, value.members()?) {
            ("Wifi", Some(wifi)) => {
                let signal = wifi.iter().find(|member| member.name == "Signal");
                if let Some(signal) = signal {
                    readings.number("rssi", 0, signal.value, Convert::No)?;
                }
            }
            ("ESP32", Some(inner)) => {
                let inside = inner.iter().find(|member| member.name == "Temperature");
                if let Some(inside) = inside {
                    readings.number("device_temperature", 0, inside.value, units.temperature)?;
                }
            }
            (_, Some(sensor)) if is_sensor(&sensor) => read_sensor(&sensor, units, readings)?,
            _ => readings.other(name, value)?,
        }
    }
    Ok(())
}

fn is_sensor(members: &[Member<'_>]) -> bool {
    let is_known = |member: &Member<'_>| NUMBERS.iter().any(|(name, _)| member.name == *name);
    members.iter().any(is_known)
}

fn read_sensor(members: &[Member<'_>], units: Units, readings: &mut Readings) -> Result<()> {
    for member in members {
        let Some((_, name)) = NUMBERS.iter().find(|(theirs, _)| member.name == *theirs) else {
            continue;
        };
        let convert = match *name {
            "temperature" => units.temperature,
            "pressure" => units.pressure,
            _ => Convert::No,
        };
        // Of several phases or channels each has its place in a list.
        let all: Vec<Value<'_>> = member
            .value
            .elements()?
            .unwrap_or_else(|| vec![member.value]);
        for (channel, value) in (0..).zip(all) {
            readings.number(name, channel, value, convert)?;
        }
    }
    Ok(())
}

/// `POWER`, `POWER1`, `POWER2`: the channel, from 0 on.
fn power(name: &str) -> Option<u32> {
    match name.strip_prefix("POWER")? {
        "" => Some(0),
        number => number.parse::<u32>().ok()?.checked_sub(1),
    }
}
