//! What was read, under the names of the one shape.

use tidegate_sdk::json::{Decimal, Value, plain_number};
use tidegate_sdk::prelude::*;

/// Fields of one message at most: each new name is compared with those before it.
const MOST: usize = 200;

/// What becomes of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Convert {
    /// It stays as it is.
    No,
    /// It is a thousandth: millivolts in volts, watt hours in kilowatt hours.
    Thousandth,
    /// Watt minutes in kilowatt hours.
    WattMinutes,
    /// Degrees Fahrenheit in degrees Celsius.
    Fahrenheit,
    /// Millimetres of mercury in hectopascals.
    Mercury,
    /// Inches of mercury in hectopascals.
    InchesOfMercury,
}

/// The fields of one message.
#[derive(Debug)]
pub struct Readings {
    fields: Vec<(String, String)>,
    /// Whether other fields stay.
    keeps: bool,
    /// Those that are known by now.
    known: usize,
}

impl Readings {
    pub fn new(keeps: bool) -> Self {
        Self {
            fields: Vec::new(),
            keeps,
            known: 0,
        }
    }

    /// Whether none of the known fields was there.
    pub fn is_empty(&self) -> bool {
        self.known == 0
    }

    pub fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(name, json)| (&**name, &**json))
    }

    /// A number as it stands in a payload; `null` is none.
    pub fn number(
        &mut self,
        name: &str,
        channel: u32,
        value: Value<'_>,
        convert: Convert,
    ) -> Result<()> {
        if value.is_null() {
            return Ok(());
        }
        let no_number = || format!("`{name}` is no number: `{}`", value.excerpt());
        value.number().ok_or_else(no_number)?;
        self.converted(name, channel, value.raw(), convert)
    }

    /// A number as a payload of its own.
    pub fn plain(&mut self, name: &str, channel: u32, text: &str, convert: Convert) -> Result<()> {
        let number = plain_number(text).ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            format!("`{name}` is no number: `{shown}`")
        })?;
        self.converted(name, channel, &number, convert)
    }

    fn converted(&mut self, name: &str, channel: u32, json: &str, convert: Convert) -> Result<()> {
        if convert == Convert::No {
            return self.put(name, channel, json.to_owned());
        }
        let too_large = || Error::from(format!("`{name}` is too large to be converted: `{json}`"));
        let number = Decimal::parse(json.as_bytes()).ok_or_else(too_large)?;
        let whole = |number: u64| Decimal::from(number);
        let converted = match convert {
            Convert::No => Some(number),
            Convert::Thousandth => number.over(whole(1_000)),
            Convert::WattMinutes => number.over(whole(60_000)),
            Convert::Fahrenheit => number
                .minus(whole(32))
                .and_then(|number| number.times(whole(5))?.over(whole(9))),
            Convert::Mercury => Decimal::parse(b"1.33322387415").and_then(|by| number.times(by)),
            Convert::InchesOfMercury => {
                Decimal::parse(b"33.8638866667").and_then(|by| number.times(by))
            }
        };
        let is_sound = |number: &Decimal| number.to_f64().is_finite();
        let converted = converted.filter(is_sound).ok_or_else(too_large)?;
        let json = converted.to_json();
        self.put(name, channel, json)
    }

    /// True or false.
    pub fn truth(&mut self, name: &str, channel: u32, truth: bool) -> Result<()> {
        self.put(name, channel, truth.to_string())
    }

    /// A field that is not of the one shape.
    pub fn other(&mut self, name: &str, value: Value<'_>) -> Result<()> {
        if self.keeps && self.fields.iter().all(|(known, _)| known != name) {
            self.push(name.to_owned(), value.raw().to_owned())?;
        }
        Ok(())
    }

    /// Under its name, with the number of its channel behind it, from the second on; where that is taken, with the next.
    fn put(&mut self, name: &str, channel: u32, json: String) -> Result<()> {
        let mut number = channel.saturating_add(1);
        let mut full = numbered(name, number);
        while self.fields.iter().any(|(known, _)| *known == full) {
            number = number.saturating_add(1);
            full = numbered(name, number);
        }
        self.known += 1;
        self.push(full, json)
    }

    fn push(&mut self, name: String, json: String) -> Result<()> {
        if self.fields.len() >= MOST {
            return Err(format!("payload has more than {MOST} readings").into());
        }
        self.fields.push((name, json));
        Ok(())
    }
}

fn numbered(name: &str, number: u32) -> String {
    match number {
        0 | 1 => name.to_owned(),
        number => format!("{name}_{number}"),
    }
}

/// `ON` and `off`, as text or truth.
pub fn switch(value: Value<'_>) -> Option<bool> {
    value
        .truth()
        .or_else(|| value.text().and_then(|text| switch_word(&text)))
}

/// The same in a payload of its own.
pub fn switch_word(text: &str) -> Option<bool> {
    match text.trim() {
        "ON" | "on" | "true" | "1" => Some(true),
        "OFF" | "off" | "false" | "0" => Some(false),
        _ => None,
    }
}
