//! Power and heat of a Raspberry Pi: a supply that is too weak breaks cards.

use super::finding::{Finding, FindingLevel};
use super::machine::Machine;

const THROTTLED: [&str; 2] = [
    "sys/devices/platform/soc/soc:firmware/get_throttled",
    "sys/devices/platform/soc@0/soc@0:firmware/get_throttled",
];
const NOW: u32 = 1;
const CAPPED: u32 = 0b1110;
/// What has happened since the start of the machine stands sixteen bits higher.
const BEFORE: u32 = 16;
/// Millidegrees at which a Pi begins to slow down.
const HOT: u64 = 80_000;

pub(super) fn look(machine: &Machine) -> Vec<Finding> {
    let mut found: Vec<Finding> = supply(machine).into_iter().collect();
    found.extend(heat(machine));
    found
}

fn supply(machine: &Machine) -> Option<Finding> {
    let why = "a card that loses its supply in the middle of a write may lose everything on it";
    let mend = "a supply of 5.1 V and 3 A with a short cable (27 W for a Pi 5), and disks with a supply of their own";
    let finding = |level, what: &str| Some(Finding::of(level, "power", what, why, mend));
    let bits = THROTTLED.iter().find_map(|path| machine.text(path));
    let bits = bits.and_then(|text| u32::from_str_radix(text.trim_start_matches("0x"), 16).ok());
    if let Some(bits) = bits {
        if bits & NOW != 0 {
            return finding(FindingLevel::Failed, "the supply is below 4.63 V");
        }
        if bits & (NOW << BEFORE) != 0 {
            return finding(
                FindingLevel::Warning,
                "the supply was below 4.63 V since the last start",
            );
        }
        let slowed = bits & (CAPPED | CAPPED << BEFORE) != 0;
        if slowed {
            let why = "messages wait while the processor is slow";
            let what =
                "the processor is slowed down, or was since the last start, by heat or power";
            let mend = "a heat sink or a fan, and air";
            return Some(Finding::of(FindingLevel::Warning, "power", what, why, mend));
        }
        return Some(Finding::ok("power", "enough since the last start"));
    }
    let sensors = machine.names("sys/class/hwmon");
    let of_pi = sensors.iter().find(|name| {
        machine
            .text(&format!("sys/class/hwmon/{name}/name"))
            .as_deref()
            == Some("rpi_volt")
    })?;
    match machine.number(&format!("sys/class/hwmon/{of_pi}/in0_lcrit_alarm"))? {
        0 => Some(Finding::ok("power", "enough")),
        _ => finding(
            FindingLevel::Failed,
            "the supply is below 4.63 V, or was a moment ago",
        ),
    }
}

fn heat(machine: &Machine) -> Option<Finding> {
    let zones = machine.names("sys/class/thermal");
    let heat = zones
        .iter()
        .filter(|name| name.starts_with("thermal_zone"))
        .filter_map(|name| machine.number(&format!("sys/class/thermal/{name}/temp")))
        .max()?;
    let what = format!("{} °C", heat / 1_000);
    if heat < HOT {
        return Some(Finding::ok("heat", what));
    }
    let why = "a processor that is hot is slowed down, and a hot card lives shorter";
    Some(Finding::of(
        FindingLevel::Warning,
        "heat",
        what,
        why,
        "a heat sink or a fan, and air",
    ))
}
