//! Zigbee2MQTT: one flat object a device, in units that are those of the one shape, nearly.

use tidegate_sdk::json::{self, Decimal, Value};
use tidegate_sdk::prelude::*;

use crate::readings::{Convert, Readings, switch};

/// Its names and ours.
const NUMBERS: [(&str, &str); 20] = [
    ("temperature", "temperature"),
    ("local_temperature", "temperature"),
    ("device_temperature", "device_temperature"),
    ("humidity", "humidity"),
    ("pressure", "pressure"),
    ("illuminance", "illuminance"),
    ("illuminance_lux", "illuminance"),
    ("co2", "co2"),
    ("voc", "voc"),
    ("pm25", "pm25"),
    ("soil_moisture", "soil_moisture"),
    ("battery", "battery"),
    ("current", "current"),
    ("power", "power"),
    ("energy", "energy"),
    ("ac_frequency", "frequency"),
    ("position", "position"),
    ("brightness", "brightness"),
    ("linkquality", "link_quality"),
    ("rssi", "rssi"),
];

const TRUTHS: [(&str, &str); 5] = [
    ("contact", "contact"),
    ("occupancy", "occupancy"),
    ("presence", "occupancy"),
    ("water_leak", "leak"),
    ("smoke", "smoke"),
];

pub fn read(message: &Message<'_>, readings: &mut Readings) -> Result<()> {
    let members = json::members(message.payload())?;
    let has = |name: &str| members.iter().any(|member| member.name == name);
    let has_battery = has("battery") || has("battery_low");
    for member in &members {
        let (name, value) = (&*member.name, member.value);
        if let Some((_, ours)) = NUMBERS.iter().find(|(theirs, _)| *theirs == name) {
            // Both are sent by devices that once knew one of them.
            if name != "illuminance" || !has("illuminance_lux") {
                readings.number(ours, 0, value, Convert::No)?;
            }
        } else if let Some((_, ours)) = TRUTHS.iter().find(|(theirs, _)| *theirs == name) {
            truth(ours, value, readings)?;
        } else if name == "voltage" {
            voltage(value, has_battery, readings)?;
        } else if let (Some(channel), Some(on)) = (channel(name), switch(value)) {
            readings.truth("on", channel, on)?;
        } else {
            readings.other(name, value)?;
        }
    }
    Ok(())
}

fn truth(name: &str, value: Value<'_>, readings: &mut Readings) -> Result<()> {
    match value.truth() {
        Some(truth) => readings.truth(name, 0, truth),
        None if value.is_null() => Ok(()),
        None => Err(format!("`{name}` is neither true nor false: `{}`", value.excerpt()).into()),
    }
}

/// Of a battery it comes in millivolts; no mains has a thousand volts, so what has as many is a battery's.
fn voltage(value: Value<'_>, has_battery: bool, readings: &mut Readings) -> Result<()> {
    let is_over = |limit| {
        value
            .decimal()
            .is_some_and(|volts| volts.compare(Decimal::from(limit)).is_gt())
    };
    if !has_battery && !is_over(1_000) {
        return readings.number("voltage", 0, value, Convert::No);
    }
    let is_milli = is_over(100);
    let convert = if is_milli {
        Convert::Thousandth
    } else {
        Convert::No
    };
    readings.number("battery_voltage", 0, value, convert)
}

/// `state`, `state_l1`, `state_left`: the channel, from 0 on.
fn channel(name: &str) -> Option<u32> {
    match name.strip_prefix("state")? {
        "" | "_l1" | "_left" | "_1" => Some(0),
        "_l2" | "_right" | "_2" => Some(1),
        rest => {
            let number = rest.strip_prefix("_l")?.parse::<u32>().ok()?;
            number.checked_sub(1)
        }
    }
}
