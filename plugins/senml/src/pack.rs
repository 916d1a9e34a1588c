//! A pack, record by record.

use std::borrow::Cow;

use tidegate_sdk::json::{self, Decimal, Value};
use tidegate_sdk::prelude::*;

use crate::decode;

/// The version of packs that is understood.
const VERSION: u64 = 10;

/// A time below is relative to now.
const RELATIVE_BELOW: u64 = 1 << 28;

/// A record with all that its pack says of it. Numbers and other values are JSON already.
#[derive(Debug)]
pub struct Reading {
    pub name: String,
    /// Without the base name.
    pub own: String,
    pub unit: Option<String>,
    pub value: Option<String>,
    pub sum: Option<String>,
    /// Seconds since 1970.
    pub time: String,
    /// Seconds until the next one at the latest.
    pub update: Option<String>,
}

/// What records have from those before them.
#[derive(Debug, Default)]
struct Base {
    name: String,
    time: Option<Decimal>,
    unit: Option<String>,
    value: Option<Decimal>,
    sum: Option<Decimal>,
}

/// What a record says itself.
#[derive(Debug, Default)]
struct Own<'p> {
    name: String,
    unit: Option<String>,
    number: Option<Value<'p>>,
    other: Option<String>,
    sum: Option<Decimal>,
    time: Option<Decimal>,
    update: Option<String>,
}

/// All readings of a pack that came at `now_us`, microseconds since 1970.
pub fn readings(payload: &[u8], now_us: u64) -> Result<Vec<Reading>> {
    let first = payload.iter().find(|byte| !byte.is_ascii_whitespace());
    let is_json = matches!(first, Some(b'[' | b'{'));
    let pack = match is_json {
        true => Cow::Borrowed(payload),
        false => {
            let mut json = Vec::new();
            decode::decode(payload, decode::Forms::default(), &mut json)?;
            Cow::Owned(json)
        }
    };
    let now = Decimal::parse(format!("{now_us}e-6").as_bytes()).ok_or("there is no time")?;
    let (mut base, mut readings) = (Base::default(), Vec::new());
    for (place, record) in json::elements(&pack)?.into_iter().enumerate() {
        let reading = base
            .read(record, is_json, now)
            .map_err(|error| format!("record {place}: {error}"))?;
        readings.extend(reading);
    }
    Ok(readings)
}

/// The label of JSON for one of CBOR.
fn label(name: &str, is_json: bool) -> &str {
    const LABELS: [(&str, &str); 15] = [
        ("-1", "bver"),
        ("-2", "bn"),
        ("-3", "bt"),
        ("-4", "bu"),
        ("-5", "bv"),
        ("-6", "bs"),
        ("0", "n"),
        ("1", "u"),
        ("2", "v"),
        ("3", "vs"),
        ("4", "vb"),
        ("5", "s"),
        ("6", "t"),
        ("7", "ut"),
        ("8", "vd"),
    ];
    let known = LABELS.iter().find(|(number, _)| *number == name);
    match known {
        Some((_, label)) if !is_json => label,
        _ => name,
    }
}

fn text(value: Value<'_>, label: &str) -> Result<String> {
    let text = value
        .text()
        .ok_or_else(|| format!("`{label}` is no text"))?;
    Ok(text.into_owned())
}

fn number(value: Value<'_>, label: &str) -> Result<Decimal> {
    let number = value.number().and_then(|_| value.decimal());
    number.ok_or_else(|| format!("`{label}` is no number, or a long one").into())
}

/// The sum, where there is a base.
fn added(base: Option<Decimal>, own: Decimal) -> Result<Decimal> {
    let sum = base.map_or(Some(own), |base| base.plus(own));
    sum.ok_or_else(|| "a number has more than 38 digits".into())
}

impl Base {
    fn read(&mut self, record: Value<'_>, is_json: bool, now: Decimal) -> Result<Option<Reading>> {
        let members = record.members()?.ok_or("it is no object")?;
        let mut own = Own::default();
        let mut is_base_only = true;
        for member in &members {
            let name = label(&member.name, is_json);
            is_base_only &= name.starts_with('b');
            if !self.take(name, member.value)? && !own.take(name, member.value, is_json)? {
                let shown: String = name.chars().take(40).collect();
                if name.ends_with('_') {
                    return Err(format!("the label `{shown}` has to be understood").into());
                }
            }
        }
        if is_base_only && self.value.is_none() && self.sum.is_none() {
            return Ok(None);
        }
        self.resolve(own, now).map(Some)
    }

    /// Whether the label is one of a base.
    fn take(&mut self, label: &str, value: Value<'_>) -> Result<bool> {
        match label {
            "bver"
                if number(value, label)?
                    .compare(Decimal::from(VERSION))
                    .is_gt() =>
            {
                let shown = value.excerpt();
                return Err(format!("version {shown} is newer than {VERSION}").into());
            }
            "bver" => {}
            "bn" => self.name = text(value, label)?,
            "bt" => self.time = Some(number(value, label)?),
            "bu" => self.unit = Some(text(value, label)?),
            "bv" => self.value = Some(number(value, label)?),
            "bs" => self.sum = Some(number(value, label)?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn resolve(&self, own: Own<'_>, now: Decimal) -> Result<Reading> {
        let name = format!("{}{}", self.name, own.name);
        check_name(&name)?;
        let value = match (own.number, self.value, own.other) {
            (Some(value), None, _) => Some(value.raw().to_owned()),
            (Some(value), base, _) => Some(added(base, number(value, "v")?)?.to_json()),
            (None, _, Some(other)) => Some(other),
            (None, Some(base), None) if own.sum.is_none() => Some(base.to_json()),
            (None, _, None) => None,
        };
        let sum = match (own.sum, self.sum) {
            (Some(sum), base) => Some(added(base, sum)?),
            (None, base) => base,
        };
        if value.is_none() && sum.is_none() {
            return Err("it has neither a value nor a sum".into());
        }
        let mut time = added(self.time, own.time.unwrap_or(Decimal::from(0)))?;
        if time.compare(Decimal::from(RELATIVE_BELOW)).is_lt() {
            time = added(Some(now), time)?;
        }
        Ok(Reading {
            name,
            own: own.name,
            unit: own.unit.or_else(|| self.unit.clone()),
            value,
            sum: sum.map(Decimal::to_json),
            time: time.to_json(),
            update: own.update,
        })
    }
}

impl<'p> Own<'p> {
    /// Whether the label is one of a record.
    fn take(&mut self, label: &str, value: Value<'p>, is_json: bool) -> Result<bool> {
        match label {
            "n" => self.name = text(value, label)?,
            "u" => self.unit = Some(text(value, label)?),
            "v" => {
                number(value, label)?;
                self.number = Some(value);
            }
            "vs" => {
                text(value, label)?;
                self.other = Some(value.raw().to_owned());
            }
            "vb" => {
                value.truth().ok_or("`vb` is neither true nor false")?;
                self.other = Some(value.raw().to_owned());
            }
            "vd" => {
                text(value, label)?;
                let data = value.raw();
                self.other = Some(match is_json {
                    true => data.to_owned(),
                    // JSON has the letters for URLs, without padding.
                    false => data.replace('+', "-").replace('/', "_").replace('=', ""),
                });
            }
            "s" => self.sum = Some(number(value, label)?),
            "t" => self.time = Some(number(value, label)?),
            "ut" => {
                number(value, label)?;
                self.update = Some(value.raw().to_owned());
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn check_name(name: &str) -> Result<()> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-:./_".contains(&byte);
    let begins = name
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric());
    if begins && name.bytes().all(fits) {
        return Ok(());
    }
    let shown: String = name.chars().take(40).collect();
    Err(format!("`{shown}` is no name: it has letters, digits and `-:./_`, and begins with one of the former").into())
}
