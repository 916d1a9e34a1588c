//! Picks, renames and converts fields of JSON readings.
//!
//! ```toml
//! settings = { pick = ["device", "seq", { from = "temperature", to = "fahrenheit", scale = 1.8, offset = 32 }] }
//! ```
//!
//! The new payload is an object of the picked fields, in this order.
//!
//! - `pick`: the fields, each a path or a table. Required.
//!   - `from`: path of the field: `"volts"`, `"battery.volts"`, `"power[0]"` for a place in a list. Required.
//!   - `to`: its new name. Default: the last name of the path; of `"power[0]"` it is `power_0`.
//!   - `scale`, `offset`: the number becomes `value * scale + offset`. An integer stays one, with all its digits, when both
//!     of them are; one too large for that is rejected. Default: 1 and 0.
//!   - `decimals`: digits behind the point that remain, 0 to 15. Default: all.
//! - `missing`: what becomes of a reading that lacks a picked field. `"reject"`: it goes to the dead letters. `"skip"`: the
//!   field is left out. `"null"`: it becomes `null`. Default: `"reject"`.
//!
//! A field that is only picked or renamed keeps its text digit for digit, whatever it holds. A field that is `null` has no
//! value: it counts as missing, but where it is only picked and nothing is said of missing ones, and stays `null`. A payload
//! that is not a JSON object, or a field that is no number where one is wanted, rejects the message with the reason in words.
//! What deletes a retained reading (an empty payload) goes on.

use tidegate_sdk::json::{Decimal, Paths, Value};
use tidegate_sdk::prelude::*;
use tidegate_sdk::serde_json::{self, Number};

settings! {
    /// The plugin's settings.
    pub struct Settings {
        /// Fields of the new payload, in order.
        pub pick: Vec<Pick>,
        /// What becomes of a reading that lacks one of them.
        #[serde(default)]
        pub missing: Missing,
    }
}

settings! {
    /// A field of the new payload: its path, or a table that says more.
    #[serde(untagged, expecting = "a `pick` is a path, or a table of `from` and perhaps `to`, `scale`, `offset`, `decimals`")]
    pub enum Pick {
        /// Under the last name of its path.
        Path(String),
        /// Renamed or converted.
        Field(Field),
    }
}

settings! {
    /// A field that is renamed or converted.
    pub struct Field {
        /// Path in the old payload.
        pub from: String,
        /// Name in the new one; the last name of the path by default.
        pub to: Option<String>,
        /// Multiplies the number.
        pub scale: Option<Number>,
        /// Is added to it then.
        pub offset: Option<Number>,
        /// Digits after the point that remain.
        pub decimals: Option<u8>,
    }
}

settings! {
    /// What becomes of a reading that lacks a picked field.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Missing {
        /// It is rejected.
        #[default]
        Reject,
        /// The field is left out.
        Skip,
        /// The field is `null`.
        Null,
    }
}

/// The configured plugin.
#[derive(Debug)]
pub struct DecodeJson {
    paths: Paths,
    fields: Vec<Picked>,
    missing: Missing,
}

#[derive(Debug)]
struct Picked {
    path: usize,
    /// `,"name":`, written as it is; the first field leaves out the comma.
    name: Vec<u8>,
    convert: Option<Convert>,
}

#[derive(Debug)]
struct Convert {
    scale: f64,
    offset: f64,
    /// Both as they were written.
    exact: (Decimal, Decimal),
    decimals: Option<u8>,
    /// Ten to the number of digits that remain after the point.
    round: Option<f64>,
    /// Whether an integer stays one.
    whole: bool,
}

/// Powers of ten beyond this have no digits left to round in a double.
const MAX_DECIMALS: u8 = 15;

/// Doubles are exact for every integer up to here.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Characters of a number that a double has all digits of.
const EXACT_LENGTH: usize = 16;

impl Transform for DecodeJson {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        if settings.pick.is_empty() {
            return Err("`pick` is empty: nothing would be left of any reading".into());
        }
        let mut plugin = Self {
            paths: Paths::default(),
            fields: Vec::new(),
            missing: settings.missing,
        };
        for pick in settings.pick {
            let field = plugin.compile(pick)?;
            if plugin.fields.iter().any(|other| other.name == field.name) {
                return Err(format!(
                    "`pick` gives field {} twice",
                    String::from_utf8_lossy(&field.name).trim_matches([',', ':'])
                )
                .into());
            }
            plugin.fields.push(field);
        }
        Ok(plugin)
    }

    fn process(&mut self, message: &Message<'_>, out: &mut Outputs<'_>) -> Result<()> {
        let found = self.paths.find(message.payload())?;
        out.emit_with(|payload| {
            let start = payload.len();
            payload.push(b'{');
            for field in &self.fields {
                // What is only picked keeps its text, `null` too, unless it is to be told from a value.
                let plain = field.convert.is_none() && self.missing == Missing::Reject;
                let there = if plain {
                    found.get(field.path)
                } else {
                    found.value(field.path)
                };
                let value = match (there, self.missing) {
                    (Some(value), _) => Some(value),
                    (None, Missing::Skip) => continue,
                    (None, Missing::Null) => None,
                    (None, Missing::Reject) => Some(found.require(field.path)?),
                };
                let first = usize::from(payload.len() == start + 1);
                payload.extend_from_slice(&field.name[first..]);
                match (value, &field.convert) {
                    (None, _) => payload.extend_from_slice(b"null"),
                    (Some(value), None) => payload.extend_from_slice(value.bytes()),
                    (Some(value), Some(convert)) => {
                        convert.write(value, found.number(field.path)?, payload)?
                    }
                }
            }
            payload.push(b'}');
            Ok(())
        })
    }
}

impl DecodeJson {
    fn compile(&mut self, pick: Pick) -> Result<Picked> {
        let field = match pick {
            Pick::Path(from) => Field {
                from,
                to: None,
                scale: None,
                offset: None,
                decimals: None,
            },
            Pick::Field(field) => field,
        };
        let path = self.paths.add(&field.from)?;
        let name = field
            .to
            .clone()
            .unwrap_or_else(|| self.paths.last_name(path));
        let converts = field.scale.is_some() || field.offset.is_some() || field.decimals.is_some();
        let convert = if converts {
            Some(Convert::new(&field)?)
        } else {
            None
        };
        Ok(Picked {
            path,
            name: format!(",{}:", serde_json::to_string(&name)?).into_bytes(),
            convert,
        })
    }
}

impl Convert {
    fn new(field: &Field) -> Result<Self> {
        let exact = |number: &Option<Number>, default: u8| match number {
            None => Decimal::parse(default.to_string().as_bytes()),
            Some(number) => Decimal::parse(number.to_string().as_bytes()),
        };
        let double = |number: &Option<Number>, default| {
            number.as_ref().map_or(Some(default), Number::as_f64)
        };
        let (Some(scale), Some(offset)) = (double(&field.scale, 1.0), double(&field.offset, 0.0))
        else {
            return Err(format!("`scale` or `offset` of `{}` is no number", field.from).into());
        };
        let (Some(by), Some(plus)) = (exact(&field.scale, 1), exact(&field.offset, 0)) else {
            return Err(format!(
                "`scale` or `offset` of `{}` is too large or too small to count with",
                field.from
            )
            .into());
        };
        if field
            .decimals
            .is_some_and(|decimals| decimals > MAX_DECIMALS)
        {
            return Err(
                format!("`decimals` of `{}` is more than {MAX_DECIMALS}", field.from).into(),
            );
        }
        let round = field
            .decimals
            .map(|decimals| 10_f64.powi(i32::from(decimals)));
        let whole = by.whole().is_some() && plus.whole().is_some();
        Ok(Self {
            scale,
            offset,
            exact: (by, plus),
            decimals: field.decimals,
            round,
            whole,
        })
    }

    /// Appends the converted number.
    fn write(&self, value: Value<'_>, number: f64, payload: &mut Vec<u8>) -> Result<()> {
        let mut result = number * self.scale + self.offset;
        if let Some(round) = self.round {
            result = (result * round).round() / round;
        }
        if !result.is_finite() {
            return Err(too_large(value));
        }
        let whole = self.whole
            && !value
                .bytes()
                .iter()
                .any(|byte| matches!(byte, b'.' | b'e' | b'E'));
        let is_exact = [result, number, self.scale, self.offset]
            .iter()
            .all(|number| number.abs() < EXACT);
        if !is_exact || value.bytes().len() > EXACT_LENGTH {
            return self.write_digits(value, (result, whole), payload);
        }
        if whole {
            serde_json::to_writer(payload, &(result as i64))?;
        } else {
            serde_json::to_writer(payload, &result)?;
        }
        Ok(())
    }
}

impl Convert {
    /// The same digit by digit, where a double has not enough of them.
    fn write_digits(
        &self,
        value: Value<'_>,
        (result, whole): (f64, bool),
        payload: &mut Vec<u8>,
    ) -> Result<()> {
        let exact = || {
            let exact = value.decimal()?.times(self.exact.0)?.plus(self.exact.1)?;
            Some(
                self.decimals
                    .map_or(exact, |decimals| exact.rounded(decimals)),
            )
        };
        match exact() {
            Some(exact) if whole => {
                let digits = exact.whole().ok_or_else(|| too_large(value))?;
                payload.extend_from_slice(digits.to_string().as_bytes());
            }
            Some(exact) => payload.extend_from_slice(exact.to_string().as_bytes()),
            // An integer keeps its digits, or is refused.
            None if whole => return Err(too_large(value)),
            None => serde_json::to_writer(payload, &result)?,
        }
        Ok(())
    }
}

fn too_large(value: Value<'_>) -> Error {
    format!("`{}` is too large to be converted", value.excerpt()).into()
}

tidegate_sdk::export!(DecodeJson);

#[cfg(test)]
mod tests;
