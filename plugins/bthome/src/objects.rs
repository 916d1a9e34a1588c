//! What objects there are, and what their bytes say.

use std::io::Write as _;

use tidegate_sdk::foreign::{Bytes, text, whole};
use tidegate_sdk::prelude::*;

/// An object: its number, the field's name, and what its bytes are.
struct Object {
    id: u8,
    name: &'static str,
    form: Form,
}

/// What bytes of an object are. Numbers have the low byte first.
enum Form {
    Number(Number),
    /// One byte: anything but 0 is true.
    Truth,
    /// One byte: what was done to a button.
    Button,
    /// Two bytes: which way, and how many steps.
    Dimmer,
    /// Of a length that stands before it: what is to be done, and how.
    Command,
    /// Of a length that stands before it.
    Text,
    /// Of a length that stands before it.
    Raw,
    /// So many numbers of a version, the last one first.
    Version(usize),
}

struct Number {
    bytes: usize,
    signed: bool,
    /// Digits behind the point.
    decimals: usize,
    /// What one is worth, in units of the last digit.
    times: i64,
}

const fn object(id: u8, name: &'static str, form: Form) -> Object {
    Object { id, name, form }
}

const fn unsigned(id: u8, name: &'static str, bytes: usize, decimals: usize) -> Object {
    let number = Number {
        bytes,
        signed: false,
        decimals,
        times: 1,
    };
    object(id, name, Form::Number(number))
}

const fn signed(id: u8, name: &'static str, bytes: usize, decimals: usize) -> Object {
    let number = Number {
        bytes,
        signed: true,
        decimals,
        times: 1,
    };
    object(id, name, Form::Number(number))
}

const fn truth(id: u8, name: &'static str) -> Object {
    object(id, name, Form::Truth)
}

/// Steps of 0.35 °C.
const COARSE: Number = Number {
    bytes: 1,
    signed: true,
    decimals: 2,
    times: 35,
};

/// By number. Millimetres (0x40) and millilitres (0x48) are metres and litres of more digits.
static OBJECTS: &[Object] = &[
    unsigned(0x00, "packet_id", 1, 0),
    unsigned(0x01, "battery", 1, 0),
    signed(0x02, "temperature", 2, 2),
    unsigned(0x03, "humidity", 2, 2),
    unsigned(0x04, "pressure", 3, 2),
    unsigned(0x05, "illuminance", 3, 2),
    unsigned(0x06, "mass", 2, 2),
    unsigned(0x07, "mass_lb", 2, 2),
    signed(0x08, "dew_point", 2, 2),
    unsigned(0x09, "count", 1, 0),
    unsigned(0x0a, "energy", 3, 3),
    unsigned(0x0b, "power", 3, 2),
    unsigned(0x0c, "voltage", 2, 3),
    unsigned(0x0d, "pm2_5", 2, 0),
    unsigned(0x0e, "pm10", 2, 0),
    truth(0x0f, "generic"),
    truth(0x10, "power_on"),
    truth(0x11, "opening"),
    unsigned(0x12, "co2", 2, 0),
    unsigned(0x13, "tvoc", 2, 0),
    unsigned(0x14, "moisture", 2, 2),
    truth(0x15, "battery_low"),
    truth(0x16, "battery_charging"),
    truth(0x17, "carbon_monoxide"),
    truth(0x18, "cold"),
    truth(0x19, "connectivity"),
    truth(0x1a, "door"),
    truth(0x1b, "garage_door"),
    truth(0x1c, "gas_detected"),
    truth(0x1d, "heat"),
    truth(0x1e, "light_detected"),
    truth(0x1f, "unlocked"),
    truth(0x20, "moisture_detected"),
    truth(0x21, "motion"),
    truth(0x22, "moving"),
    truth(0x23, "occupancy"),
    truth(0x24, "plug"),
    truth(0x25, "presence"),
    truth(0x26, "problem"),
    truth(0x27, "running"),
    truth(0x28, "safety"),
    truth(0x29, "smoke"),
    truth(0x2a, "sound"),
    truth(0x2b, "tamper"),
    truth(0x2c, "vibration"),
    truth(0x2d, "window"),
    unsigned(0x2e, "humidity", 1, 0),
    unsigned(0x2f, "moisture", 1, 0),
    object(0x3a, "button", Form::Button),
    object(0x3b, "command", Form::Command),
    object(0x3c, "dimmer", Form::Dimmer),
    unsigned(0x3d, "count", 2, 0),
    unsigned(0x3e, "count", 4, 0),
    signed(0x3f, "rotation", 2, 1),
    unsigned(0x40, "distance", 2, 3),
    unsigned(0x41, "distance", 2, 1),
    unsigned(0x42, "duration", 3, 3),
    unsigned(0x43, "current", 2, 3),
    unsigned(0x44, "speed", 2, 2),
    signed(0x45, "temperature", 2, 1),
    unsigned(0x46, "uv_index", 1, 1),
    unsigned(0x47, "volume", 2, 1),
    unsigned(0x48, "volume", 2, 3),
    unsigned(0x49, "volume_flow_rate", 2, 3),
    unsigned(0x4a, "voltage", 2, 1),
    unsigned(0x4b, "gas", 3, 3),
    unsigned(0x4c, "gas", 4, 3),
    unsigned(0x4d, "energy", 4, 3),
    unsigned(0x4e, "volume", 4, 3),
    unsigned(0x4f, "water", 4, 3),
    unsigned(0x50, "timestamp", 4, 0),
    unsigned(0x51, "acceleration", 2, 3),
    unsigned(0x52, "gyroscope", 2, 3),
    object(0x53, "text", Form::Text),
    object(0x54, "raw", Form::Raw),
    unsigned(0x55, "volume_storage", 4, 3),
    unsigned(0x56, "conductivity", 2, 0),
    signed(0x57, "temperature", 1, 0),
    object(0x58, "temperature", Form::Number(COARSE)),
    signed(0x59, "count", 1, 0),
    signed(0x5a, "count", 2, 0),
    signed(0x5b, "count", 4, 0),
    signed(0x5c, "power", 4, 2),
    signed(0x5d, "current", 2, 3),
    unsigned(0x5e, "direction", 2, 2),
    unsigned(0x5f, "precipitation", 2, 1),
    unsigned(0x60, "channel", 1, 0),
    unsigned(0x61, "rotational_speed", 2, 0),
    signed(0x62, "speed", 4, 6),
    signed(0x63, "acceleration", 4, 6),
    unsigned(0x64, "light_level", 1, 0),
    unsigned(0x65, "settings_revision", 1, 0),
    unsigned(0xf0, "device_type", 2, 0),
    object(0xf1, "firmware", Form::Version(4)),
    object(0xf2, "firmware", Form::Version(3)),
];

/// An object that was found, and where its bytes are.
struct Found<'b> {
    object: &'static Object,
    bytes: &'b [u8],
}

/// The objects of a message in their order, and whether one that is not known ended them.
///
/// # Errors
/// The bytes end within an object.
fn find(bytes: &[u8]) -> Result<(Vec<Found<'_>>, bool)> {
    let (mut found, mut rest) = (Vec::new(), bytes);
    while let [id, behind @ ..] = rest {
        let Ok(place) = OBJECTS.binary_search_by_key(id, |object| object.id) else {
            return Ok((found, true));
        };
        let object = &OBJECTS[place];
        let ends = || {
            let at = bytes.len();
            format!(
                "payload is not BTHome: it ends within `{}`, at byte {at} of its objects",
                object.name
            )
        };
        let (length, behind) = object.form.length(behind).ok_or_else(ends)?;
        let (own, behind) = behind.split_at_checked(length).ok_or_else(ends)?;
        found.push(Found { object, bytes: own });
        rest = behind;
    }
    Ok((found, false))
}

/// Appends a member for each object to those in `names`, without the braces around them; whether an object that is not known
/// ended them.
///
/// # Errors
/// The bytes end within an object, a text is none, or the first object is not known.
pub fn write(bytes: &[u8], json: &mut Vec<u8>, names: &mut Vec<String>) -> Result<bool> {
    let (found, is_cut) = find(bytes)?;
    if found.is_empty() {
        return match bytes {
            [id, ..] => Err(format!("payload has an object that is not known: 0x{id:02x}").into()),
            [] => Err("payload is a BTHome message without objects".into()),
        };
    }
    for (place, one) in found.iter().enumerate() {
        let name = one.object.name;
        let same = |other: &&Found<'_>| other.object.name == name;
        let name = if found.iter().filter(same).count() > 1 {
            let number = found[..=place].iter().filter(same).count();
            format!("{name}_{number}")
        } else {
            name.to_owned()
        };
        if !names.is_empty() {
            json.push(b',');
        }
        write!(json, "\"{name}\":")?;
        one.object.form.write(&name, one.bytes, json)?;
        names.push(name);
    }
    Ok(is_cut)
}

impl Form {
    /// How many bytes follow, and where they begin; `None` where the length is to stand and nothing does.
    fn length<'b>(&self, behind: &'b [u8]) -> Option<(usize, &'b [u8])> {
        let fixed = match self {
            Self::Number(number) => number.bytes,
            Self::Truth | Self::Button => 1,
            Self::Dimmer => 2,
            Self::Version(numbers) => *numbers,
            Self::Text | Self::Raw => {
                let (length, behind) = behind.split_first()?;
                return Some((usize::from(*length), behind));
            }
            Self::Command => {
                // The three high bits have no meaning yet, and what is done is not counted.
                let (length, behind) = behind.split_first()?;
                return Some((usize::from(length & 0x1f) + 1, behind));
            }
        };
        Some((fixed, behind))
    }

    fn write(&self, name: &str, bytes: &[u8], json: &mut Vec<u8>) -> Result<()> {
        match (self, bytes) {
            (Self::Number(number), _) => number.write(bytes, json),
            (Self::Truth, _) => json.extend_from_slice(match bytes {
                [0] => b"false",
                _ => b"true",
            }),
            (Self::Button, [code, ..]) => event(button(*code), *code, json),
            (Self::Dimmer, [0, ..]) => json.extend_from_slice(b"null"),
            (Self::Dimmer, [code, steps, ..]) => {
                json.extend_from_slice(b"{\"event\":");
                event(dimmer(*code), *code, json);
                write!(json, ",\"steps\":{steps}}}")?;
            }
            (Self::Command, [code, arguments @ ..]) => {
                json.extend_from_slice(b"{\"event\":");
                event(command(*code), *code, json);
                json.extend_from_slice(b",\"arguments\":");
                Bytes::Hex.write(arguments, json);
                json.push(b'}');
            }
            (Self::Text, _) => {
                let words = std::str::from_utf8(bytes);
                text(
                    words.map_err(|_| format!("`{name}` is a text that is not UTF-8"))?,
                    json,
                );
            }
            (Self::Version(_), _) => {
                let numbers: Vec<String> = bytes.iter().rev().map(u8::to_string).collect();
                write!(json, "\"{}\"", numbers.join("."))?;
            }
            (Self::Raw | Self::Button | Self::Dimmer | Self::Command, _) => {
                Bytes::Hex.write(bytes, json);
            }
        }
        Ok(())
    }
}

/// What happened by its name; what the format has no name for yet by its number, and nothing (0 of a button) as `null`.
fn event(name: Option<&str>, code: u8, json: &mut Vec<u8>) {
    match name {
        Some("") => json.extend_from_slice(b"null"),
        Some(name) => text(name, json),
        None => whole(i128::from(code), json),
    }
}

fn button(code: u8) -> Option<&'static str> {
    Some(match code {
        0x00 => "",
        0x01 => "press",
        0x02 => "double_press",
        0x03 => "triple_press",
        0x04 => "long_press",
        0x05 => "long_double_press",
        0x06 => "long_triple_press",
        0x80 => "hold_press",
        0x81 => "hold_release",
        _ => return None,
    })
}

fn dimmer(code: u8) -> Option<&'static str> {
    Some(match code {
        0x01 => "rotate_left",
        0x02 => "rotate_right",
        _ => return None,
    })
}

fn command(code: u8) -> Option<&'static str> {
    Some(match code {
        0x00 => "off",
        0x01 => "on",
        0x02 => "toggle",
        0x03 => "step_up",
        0x04 => "step_down",
        _ => return None,
    })
}

impl Number {
    fn write(&self, bytes: &[u8], json: &mut Vec<u8>) {
        let join = |number: i64, byte: &u8| number << 8 | i64::from(*byte);
        let raw = bytes.iter().rev().fold(0, join);
        let bits = 8 * self.bytes;
        let is_negative = self.signed && raw >> (bits - 1) == 1;
        let number = self.times * if is_negative { raw - (1 << bits) } else { raw };
        let sign = if number < 0 { "-" } else { "" };
        let width = self.decimals + 1;
        let digits = format!("{:0>width$}", number.unsigned_abs());
        let (whole, fraction) = digits.split_at(digits.len() - self.decimals);
        let point = if fraction.is_empty() { "" } else { "." };
        json.extend_from_slice(format!("{sign}{whole}{point}{fraction}").as_bytes());
    }
}
