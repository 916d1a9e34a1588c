//! Fields of JSON objects in one pass over the text: nothing is built, values are slices of the payload.
//!
//! The whole payload is checked, so a value found is never part of something that is not JSON; numbers keep their
//! digits. A field that is looked for and stands there twice is a mistake, since readers would disagree on it.

mod decimal;
mod object;
mod parts;
mod plain;
mod scan;

use std::borrow::Cow;
use std::ops::Range;

use serde::de::DeserializeOwned;

use crate::plugin::{Result, missing};
pub use decimal::Decimal;
pub use object::Object;
pub use parts::{Member, elements, members, value};
pub use plain::plain_number;
use scan::Scan;

/// One value, as it stands in the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value<'a>(&'a [u8]);

impl<'a> Value<'a> {
    /// Its JSON text, digit for digit.
    pub fn raw(self) -> &'a str {
        std::str::from_utf8(self.0).expect("the payload was checked to be UTF-8")
    }

    /// The same of a number by what it says: `1`, `1.0` and `1e0` are one. Of one with more than 38 digits, and of all else,
    /// the text as it stands.
    pub fn canonical(self) -> Cow<'a, str> {
        self.decimal().map_or(Cow::Borrowed(self.raw()), |number| {
            Cow::Owned(number.to_json())
        })
    }

    /// The same as bytes.
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// Its number, when it is one that a double can hold.
    pub fn number(self) -> Option<f64> {
        if !matches!(self.0.first(), Some(b'-' | b'0'..=b'9')) {
            return None;
        }
        short_number(self.0).or_else(|| {
            self.raw()
                .parse()
                .ok()
                .filter(|number: &f64| number.is_finite())
        })
    }

    /// Its number exactly as its digits say; `None` when it is none, or has more of them than 38.
    pub fn decimal(self) -> Option<Decimal> {
        Decimal::parse(self.0)
    }

    /// Its text, when it is a string.
    pub fn text(self) -> Option<Cow<'a, str>> {
        let inside = self.raw().strip_prefix('"')?.strip_suffix('"')?;
        if inside.contains('\\') {
            serde_json::from_slice(self.0).ok().map(Cow::Owned)
        } else {
            Some(Cow::Borrowed(inside))
        }
    }

    /// Its truth, when it is `true` or `false`.
    pub fn truth(self) -> Option<bool> {
        match self.0 {
            b"true" => Some(true),
            b"false" => Some(false),
            _ => None,
        }
    }

    /// Whether it is `null`.
    pub fn is_null(self) -> bool {
        self.0 == b"null"
    }

    /// Reads it into a type.
    pub fn read<T: DeserializeOwned>(self) -> Result<T> {
        Ok(serde_json::from_slice(self.0)?)
    }

    /// Its first characters, for reasons in words.
    pub fn excerpt(self) -> &'a str {
        const LENGTH: usize = 40;
        let raw = self.raw();
        raw.char_indices()
            .nth(LENGTH)
            .map_or(raw, |(end, _)| &raw[..end])
    }
}

/// Paths compiled once, to be found in every message. A path is a field's name, or names with dots between them
/// for objects in objects; a backslash before a dot or a bracket takes it as part of the name. A number is the place in a list, from 0 on:
/// `"ENERGY.Power[0]"`, or `"ENERGY.Power.0"`, which is a field of that name as well, where there is an object.
///
/// ```
/// use tidegate_sdk::json::Paths;
///
/// let mut paths = Paths::default();
/// let (device, volts) = (paths.add("device")?, paths.add("battery.volts")?);
/// let found = paths.find(br#"{"device": "d7", "battery": {"volts": 3.70}}"#)?;
/// assert_eq!(found.get(device).unwrap().raw(), "\"d7\"");
/// assert_eq!(found.get(volts).unwrap().raw(), "3.70");
/// # Ok::<(), tidegate_sdk::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Paths {
    names: Vec<String>,
    root: Level,
    spans: Vec<Range<usize>>,
}

/// Fields wanted of one object.
type Level = Vec<Node>;

#[derive(Clone, Debug)]
struct Node {
    name: Box<str>,
    /// The name as a place in a list.
    place: Option<usize>,
    /// Index of the path that ends here.
    index: Option<usize>,
    below: Level,
}

impl Paths {
    /// Adds a path and gives its index; the same path has the same index.
    pub fn add(&mut self, path: &str) -> Result<usize> {
        let levels = split(path)?;
        let mut fields = &mut self.root;
        let (last, above) = levels.split_last().ok_or("a path has a name at least")?;
        for name in above {
            fields = &mut node(fields, name).below;
        }
        let node = node(fields, last);
        Ok(*node.index.get_or_insert_with(|| {
            self.names.push(path.to_owned());
            self.names.len() - 1
        }))
    }

    /// The path of an index.
    pub fn name(&self, index: usize) -> &str {
        &self.names[index]
    }

    /// The last name of the path of an index; the third of a list `Power[2]` is called `Power_2`.
    pub fn last_name(&self, index: usize) -> String {
        let mut levels = split(&self.names[index]).expect("`add` took the path");
        let mut places = String::new();
        let mut rest = self.names[index].as_str();
        while let Some((before, level)) = bracket(rest)
            && levels.len() > 1
        {
            places.insert_str(0, &format!("_{level}"));
            levels.pop();
            rest = before;
        }
        levels.pop().expect("a path has a name at least") + &places
    }

    /// Looks for all paths in a payload, which is to be a JSON object.
    pub fn find<'p, 'a>(&'p mut self, payload: &'a [u8]) -> Result<Found<'p, 'a>> {
        check_not_empty(payload)?;
        self.spans.clear();
        self.spans.resize(self.names.len(), 0..0);
        Scan::new(payload)
            .document(&self.root, &mut self.spans)
            .map_err(|fault| fault.in_words())?;
        Ok(Found {
            payload,
            paths: self,
        })
    }
}

/// What was found in one payload.
#[derive(Clone, Copy, Debug)]
pub struct Found<'p, 'a> {
    payload: &'a [u8],
    paths: &'p Paths,
}

impl<'a> Found<'_, 'a> {
    /// The value at the path of that index, when it is there.
    pub fn get(&self, index: usize) -> Option<Value<'a>> {
        let span = &self.paths.spans[index];
        // No value is empty, so an empty span is one that was not found.
        if span.is_empty() {
            None
        } else {
            Some(Value(&self.payload[span.clone()]))
        }
    }

    /// The path of that index.
    pub fn name(&self, index: usize) -> &str {
        self.paths.name(index)
    }

    /// Where in the payload the value at the path of that index stands, to put another in its place; empty when it is not
    /// there.
    pub fn span(&self, index: usize) -> Range<usize> {
        self.paths.spans[index].clone()
    }

    /// The same where `null` counts as nothing: a device says by it that it has no value.
    pub fn value(&self, index: usize) -> Option<Value<'a>> {
        self.get(index).filter(|value| !value.is_null())
    }

    /// The value at the path of that index; an error when it is missing, or `null`. The error does not count against the
    /// device.
    pub fn require(&self, index: usize) -> Result<Value<'a>> {
        self.value(index)
            .ok_or_else(|| missing(self.paths.name(index)))
    }

    /// The number at the path of that index with all its digits; an error when it is missing, `null` or none. Of one with
    /// more than 38 digits it has those of a double.
    pub fn decimal(&self, index: usize) -> Result<Decimal> {
        let value = self.require(index)?;
        let exact = value.number().and_then(|number| {
            value
                .decimal()
                .or_else(|| Decimal::parse(format!("{number:e}").as_bytes()))
        });
        exact.ok_or_else(|| self.no_number(index, value))
    }

    /// The number at the path of that index; an error when it is missing, `null` or none.
    pub fn number(&self, index: usize) -> Result<f64> {
        let value = self.require(index)?;
        value.number().ok_or_else(|| self.no_number(index, value))
    }

    fn no_number(&self, index: usize, value: Value<'_>) -> crate::Error {
        format!(
            "field `{}` is not a number: `{}`",
            self.paths.name(index),
            value.excerpt()
        )
        .into()
    }
}

/// A plain decimal number of up to 15 digits, which is what sensors send: both the digits and the power of ten are
/// exact as doubles, so the one division rounds as it must. `None` for all others.
fn short_number(text: &[u8]) -> Option<f64> {
    const POWERS: [f64; 16] = [
        1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
    ];
    let (negative, digits) = text
        .strip_prefix(b"-")
        .map_or((false, text), |digits| (true, digits));
    // Fifteen digits and a point.
    if digits.len() > 16 {
        return None;
    }
    let (mut mantissa, mut decimals, mut point) = (0_u64, 0_usize, 0_usize);
    for byte in digits {
        match byte {
            b'0'..=b'9' => {
                (mantissa, decimals) = (mantissa * 10 + u64::from(byte - b'0'), decimals + point)
            }
            b'.' => point = 1,
            _ => return None,
        }
    }
    if digits.len() - point > 15 {
        return None;
    }
    let number = mantissa as f64 / POWERS[decimals];
    Some(if negative { -number } else { number })
}

/// There is no payload to read. Of a message that deletes a retained one that is no fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Empty;

impl std::fmt::Display for Empty {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("payload is not valid JSON: it ends too early, at byte 0")
    }
}

impl std::error::Error for Empty {}

/// An error of its own for a payload of no bytes.
pub(crate) fn check_not_empty(payload: &[u8]) -> Result<()> {
    if payload.is_empty() {
        Err(Box::new(Empty))
    } else {
        Ok(())
    }
}

/// One path in one payload.
pub(crate) fn find_one<'a>(payload: &'a [u8], path: &str) -> Result<Option<Value<'a>>> {
    let mut paths = Paths::default();
    let index = paths.add(path)?;
    Ok(paths.find(payload)?.get(index))
}

fn node<'l>(fields: &'l mut Level, name: &str) -> &'l mut Node {
    let at = fields
        .iter()
        .position(|node| &*node.name == name)
        .unwrap_or_else(|| {
            fields.push(Node {
                name: name.into(),
                place: place(name),
                index: None,
                below: Vec::new(),
            });
            fields.len() - 1
        });
    &mut fields[at]
}

/// A name as a place in a list: a number as one writes it.
fn place(name: &str) -> Option<usize> {
    name.parse()
        .ok()
        .filter(|place: &usize| place.to_string() == name)
}

/// What stands before a last `[3]`, and the number in it.
fn bracket(path: &str) -> Option<(&str, &str)> {
    let (before, level) = path.strip_suffix(']')?.rsplit_once('[')?;
    (!before.is_empty() && !before.ends_with('\\') && place(level).is_some())
        .then_some((before, level))
}

/// The names of a path, from the outermost object inwards.
///
/// ```
/// assert_eq!(tidegate_sdk::json::levels("battery.volts")?, ["battery", "volts"]);
/// # Ok::<(), tidegate_sdk::Error>(())
/// ```
pub fn levels(path: &str) -> Result<Vec<String>> {
    split(path)
}

/// The names of a path.
fn split(path: &str) -> Result<Vec<String>> {
    let mut levels = vec![String::new()];
    let mut letters = path.chars();
    while let Some(letter) = letters.next() {
        let level = levels.last_mut().expect("one level from the start");
        match letter {
            '.' => levels.push(String::new()),
            '[' => {
                let (level, rest) = place_in_list(letters.as_str()).ok_or_else(|| {
                    format!("path `{path}` has brackets without a place in a list, such as [0]; write \\[ for one in a name")
                })?;
                levels.push(level.to_owned());
                letters = rest.chars();
            }
            '\\' => level.push(
                letters
                    .next()
                    .ok_or_else(|| format!("path `{path}` ends in a backslash"))?,
            ),
            _ => level.push(letter),
        }
    }
    if levels.iter().any(String::is_empty) {
        return Err(format!("path `{path}` has an empty name").into());
    }
    Ok(levels)
}

/// The number in what follows a `[`, and what follows the `]` behind it, which ends the name.
fn place_in_list(text: &str) -> Option<(&str, &str)> {
    let (level, rest) = text.split_once(']')?;
    (place(level).is_some() && (rest.is_empty() || rest.starts_with(['.', '['])))
        .then_some((level, rest))
}

#[cfg(test)]
mod tests;
