//! What types there are, and what their bytes say.

use std::io::Write as _;
use std::ops::Range;

use tidegate_sdk::prelude::*;

/// A type: its number, the field's name, and what its bytes are, one after the other.
struct Kind {
    number: u8,
    name: &'static str,
    parts: &'static [Part],
}

/// A number in a type, high byte first.
struct Part {
    /// Empty where the type is one number.
    name: &'static str,
    bytes: usize,
    signed: bool,
    /// Digits behind the point.
    decimals: usize,
    /// What one is worth, in units of the last digit.
    times: i64,
}

const fn part(name: &'static str, bytes: usize, signed: bool, decimals: usize) -> Part {
    Part {
        name,
        bytes,
        signed,
        decimals,
        times: 1,
    }
}

const fn one(bytes: usize, signed: bool, decimals: usize) -> [Part; 1] {
    [part("", bytes, signed, decimals)]
}

const fn kind(number: u8, name: &'static str, parts: &'static [Part]) -> Kind {
    Kind {
        number,
        name,
        parts,
    }
}

const HALVES: Part = Part {
    name: "",
    bytes: 1,
    signed: false,
    decimals: 1,
    times: 5,
};

/// By number.
static KINDS: [Kind; 26] = [
    kind(0, "digital_in", &one(1, false, 0)),
    kind(1, "digital_out", &one(1, false, 0)),
    kind(2, "analog_in", &one(2, true, 2)),
    kind(3, "analog_out", &one(2, true, 2)),
    kind(100, "generic", &one(4, false, 0)),
    kind(101, "luminosity", &one(2, false, 0)),
    kind(102, "presence", &one(1, false, 0)),
    kind(103, "temperature", &one(2, true, 1)),
    kind(104, "relative_humidity", &[HALVES]),
    kind(
        113,
        "accelerometer",
        &[
            part("x", 2, true, 3),
            part("y", 2, true, 3),
            part("z", 2, true, 3),
        ],
    ),
    kind(115, "barometric_pressure", &one(2, false, 1)),
    kind(116, "voltage", &one(2, false, 2)),
    kind(117, "current", &one(2, false, 3)),
    kind(118, "frequency", &one(4, false, 0)),
    kind(120, "percentage", &one(1, false, 0)),
    kind(121, "altitude", &one(2, true, 0)),
    kind(125, "concentration", &one(2, false, 0)),
    kind(128, "power", &one(2, false, 0)),
    kind(130, "distance", &one(4, false, 3)),
    kind(131, "energy", &one(4, false, 3)),
    kind(132, "direction", &one(2, false, 0)),
    kind(133, "unixtime", &one(4, false, 0)),
    kind(
        134,
        "gyrometer",
        &[
            part("x", 2, true, 2),
            part("y", 2, true, 2),
            part("z", 2, true, 2),
        ],
    ),
    kind(
        135,
        "colour",
        &[
            part("red", 1, false, 0),
            part("green", 1, false, 0),
            part("blue", 1, false, 0),
        ],
    ),
    kind(
        136,
        "gps",
        &[
            part("latitude", 3, true, 4),
            part("longitude", 3, true, 4),
            part("altitude", 3, true, 2),
        ],
    ),
    kind(142, "switch", &one(1, false, 0)),
];

/// Appends a member for each channel, without the braces around them; gives the places of their names.
///
/// # Errors
/// A type is unknown, the bytes end within one, or there are none.
pub fn write(bytes: &[u8], json: &mut Vec<u8>) -> Result<Vec<Range<usize>>> {
    let (mut names, mut rest) = (Vec::new(), bytes);
    while let [channel, number, behind @ ..] = rest {
        let at = bytes.len() - rest.len();
        let known = KINDS.iter().find(|kind| kind.number == *number);
        let kind = known.ok_or_else(|| {
            format!(
                "payload has a type that is not known: {number}, at byte {}",
                at + 1
            )
        })?;
        if !names.is_empty() {
            json.push(b',');
        }
        let start = json.len();
        write!(json, "\"{}_{channel}\"", kind.name)?;
        names.push(start..json.len());
        json.push(b':');
        rest = value(kind, behind, json).ok_or_else(|| ends(bytes.len()))?;
    }
    match (rest, names.is_empty()) {
        ([], false) => Ok(names),
        _ => Err(ends(bytes.len())),
    }
}

fn ends(at: usize) -> tidegate_sdk::Error {
    format!("payload is not in the Cayenne format: it ends too early, at byte {at}").into()
}

/// What a type says, and what follows it; `None` where the bytes do not suffice.
fn value<'b>(kind: &Kind, bytes: &'b [u8], json: &mut Vec<u8>) -> Option<&'b [u8]> {
    let mut rest = bytes;
    let mut opening = b'{';
    for part in kind.parts {
        let (digits, behind) = rest.split_at_checked(part.bytes)?;
        rest = behind;
        if !part.name.is_empty() {
            json.push(opening);
            opening = b',';
            write!(json, "\"{}\":", part.name).ok()?;
        }
        number(part, digits, json);
    }
    if opening == b',' {
        json.push(b'}');
    }
    Some(rest)
}

fn number(part: &Part, bytes: &[u8], json: &mut Vec<u8>) {
    let raw = bytes
        .iter()
        .fold(0_i64, |number, byte| number << 8 | i64::from(*byte));
    let bits = 8 * part.bytes;
    let is_negative = part.signed && raw >> (bits - 1) == 1;
    let number = part.times * if is_negative { raw - (1 << bits) } else { raw };
    let sign = if number < 0 { "-" } else { "" };
    let digits = format!(
        "{:0>width$}",
        number.unsigned_abs(),
        width = part.decimals + 1
    );
    let (whole, fraction) = digits.split_at(digits.len() - part.decimals);
    let point = if fraction.is_empty() { "" } else { "." };
    json.extend_from_slice(format!("{sign}{whole}{point}{fraction}").as_bytes());
}
