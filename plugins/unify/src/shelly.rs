//! Shelly. The first generation has a topic for each value; the second one objects by component, alone or several in a
//! notification.

use tidegate_sdk::json::{self, Member, Value};
use tidegate_sdk::prelude::*;

use crate::readings::{Convert, Readings, switch, switch_word};

/// Whether a topic is one of its own.
pub fn is_its(topic: &[&str]) -> bool {
    let has_status = topic
        .windows(2)
        .any(|pair| pair[0] == "status" && component(pair[1]).is_some());
    topic.first() == Some(&"shellies") || topic.ends_with(&["events", "rpc"]) || has_status
}

pub fn read(message: &Message<'_>, topic: &[&str], readings: &mut Readings) -> Result<()> {
    match topic {
        ["shellies", _, value @ ..] => first_generation(message, value, readings),
        [.., "status", name] => {
            let Some((kind, channel)) = component(name) else {
                return Ok(());
            };
            let members = json::members(message.payload())?;
            read_component(kind, channel, &members, readings)
        }
        _ => {
            let members = json::members(message.payload())?;
            let params = members.iter().find(|member| member.name == "params");
            let Some(params) = params
                .map(|member| member.value.members())
                .transpose()?
                .flatten()
            else {
                return Ok(());
            };
            for member in &params {
                if let (Some((kind, channel)), Some(members)) =
                    (component(&member.name), member.value.members()?)
                {
                    read_component(kind, channel, &members, readings)?;
                }
            }
            Ok(())
        }
    }
}

/// `switch:0` and what has no number: the kind and the channel.
fn component(name: &str) -> Option<(&str, u32)> {
    match name.split_once(':') {
        Some((kind, number)) => Some((kind, number.parse().ok()?)),
        None => matches!(name, "wifi").then_some((name, 0)),
    }
}

/// Its numbers in all components, our names, and what becomes of them.
const NUMBERS: [(&str, &str, Convert); 14] = [
    ("apower", "power", Convert::No),
    ("act_power", "power", Convert::No),
    ("total_act_power", "power", Convert::No),
    ("voltage", "voltage", Convert::No),
    ("current", "current", Convert::No),
    ("total_current", "current", Convert::No),
    ("freq", "frequency", Convert::No),
    ("total_act_energy", "energy", Convert::Thousandth),
    ("total_act", "energy", Convert::Thousandth),
    ("rh", "humidity", Convert::No),
    ("lux", "illuminance", Convert::No),
    ("current_pos", "position", Convert::No),
    ("brightness", "brightness", Convert::No),
    ("rssi", "rssi", Convert::No),
];

fn read_component(
    kind: &str,
    channel: u32,
    members: &[Member<'_>],
    readings: &mut Readings,
) -> Result<()> {
    for member in members {
        let (name, value) = (&*member.name, member.value);
        if let Some((_, ours, convert)) = NUMBERS.iter().find(|(theirs, ..)| *theirs == name) {
            readings.number(ours, channel, value, *convert)?;
            continue;
        }
        match (kind, name) {
            ("temperature", "tC") => readings.number("temperature", channel, value, Convert::No)?,
            (_, "output") => truth("on", channel, switch(value), readings)?,
            ("flood", "alarm") => truth("leak", channel, value.truth(), readings)?,
            ("smoke", "alarm") => truth("smoke", channel, value.truth(), readings)?,
            (_, "aenergy") => inner(
                value,
                "total",
                "energy",
                channel,
                Convert::Thousandth,
                readings,
            )?,
            (_, "temperature") => inner(
                value,
                "tC",
                "device_temperature",
                channel,
                Convert::No,
                readings,
            )?,
            ("devicepower", "battery") => {
                inner(value, "percent", "battery", channel, Convert::No, readings)?;
                inner(
                    value,
                    "V",
                    "battery_voltage",
                    channel,
                    Convert::No,
                    readings,
                )?;
            }
            _ => readings.other(name, value)?,
        }
    }
    Ok(())
}

fn truth(name: &str, channel: u32, truth: Option<bool>, readings: &mut Readings) -> Result<()> {
    truth.map_or(Ok(()), |truth| readings.truth(name, channel, truth))
}

#[expect(clippy::too_many_arguments, reason = "where from, where to, and how")]
fn inner(
    value: Value<'_>,
    theirs: &str,
    ours: &str,
    channel: u32,
    convert: Convert,
    readings: &mut Readings,
) -> Result<()> {
    let members = value.members()?.unwrap_or_default();
    match members.iter().find(|member| member.name == theirs) {
        Some(member) => readings.number(ours, channel, member.value, convert),
        None => Ok(()),
    }
}

/// `sensor/temperature`, `relay/0`, `relay/0/power`, …
fn first_generation(message: &Message<'_>, value: &[&str], readings: &mut Readings) -> Result<()> {
    let text = || message.text().map(str::trim);
    let (name, channel, convert) = match *value {
        ["sensor", "state"] => {
            return truth("contact", 0, closed(text()?), readings);
        }
        ["sensor", "flood"] => return truth("leak", 0, switch_word(text()?), readings),
        ["sensor", "smoke"] => return truth("smoke", 0, switch_word(text()?), readings),
        ["sensor", "motion"] => return truth("occupancy", 0, switch_word(text()?), readings),
        ["relay" | "light" | "color" | "white", number] => {
            return truth("on", channel(number)?, switch_word(text()?), readings);
        }
        ["sensor", "temperature"] => ("temperature", 0, Convert::No),
        ["sensor", "humidity"] => ("humidity", 0, Convert::No),
        ["sensor", "battery"] => ("battery", 0, Convert::No),
        ["sensor", "lux"] => ("illuminance", 0, Convert::No),
        ["temperature"] => ("device_temperature", 0, Convert::No),
        ["ext_temperature", number] => ("temperature", channel(number)?, Convert::No),
        ["ext_humidity", number] => ("humidity", channel(number)?, Convert::No),
        ["voltage"] => ("voltage", 0, Convert::No),
        ["relay" | "light" | "emeter", number, "power"] => ("power", channel(number)?, Convert::No),
        ["relay" | "light", number, "energy"] => ("energy", channel(number)?, Convert::WattMinutes),
        ["emeter", number, "total"] => ("energy", channel(number)?, Convert::Thousandth),
        ["emeter", number, "voltage"] => ("voltage", channel(number)?, Convert::No),
        ["emeter", number, "current"] => ("current", channel(number)?, Convert::No),
        ["roller", number, "pos"] => ("position", channel(number)?, Convert::No),
        ["roller", number, "power"] => ("power", channel(number)?, Convert::No),
        ["roller", number, "energy"] => ("energy", channel(number)?, Convert::WattMinutes),
        _ => return Ok(()),
    };
    readings.plain(name, channel, text()?, convert)
}

fn channel(number: &str) -> Result<u32> {
    number
        .parse()
        .map_err(|_| format!("`{number}` is no number of a channel").into())
}

fn closed(text: &str) -> Option<bool> {
    match text {
        "close" | "closed" => Some(true),
        "open" => Some(false),
        _ => None,
    }
}
