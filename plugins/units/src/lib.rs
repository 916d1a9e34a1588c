//! Converts fields from one unit into another, with all their digits; the rest of the payload stays as it is.
//!
//! ```toml
//! settings = { fields = [{ field = "temperature", from = "°C", to = "°F" }, { field = "wind", from = "km/h", to = "m/s", decimals = 1 }] }
//! settings = { fields = [{ field = "raw", factor = 0.1, offset = -40, as = "celsius" }] }
//! ```
//!
//! - `fields`: the fields, a table each. Required.
//!   - `field`: path of the field: `"volts"`, `"battery.volts"`, `"power[0]"`. Required.
//!   - `from`, `to`: the units, of one kind:
//!     temperature `°C` `°F` `K` (or `C`, `F`); pressure `Pa` `hPa` `kPa` `MPa` `mbar` `bar` `atm` `psi` `mmHg`;
//!     length `mm` `cm` `m` `km` `in` `ft` `yd` `mi`; speed `m/s` `km/h` `mph` `kn` `ft/s`; mass `g` `kg` `t` `oz` `lb`;
//!     energy `J` `kJ` `MJ` `Wh` `kWh` `MWh` `cal` `kcal` `BTU`; power `W` `kW` `MW` `hp`; volume `ml` `l` `m³` (or `m3`) `gal` `ft³`
//!     (or `ft3`); flow `l/min` `l/h` `m³/h` (or `m3/h`) `gal/min`; voltage `mV` `V` `kV`; current `mA` `A`; time `ms` `s` `min` `h`
//!     `d`; share `%` `‰` `ppm` `1` (1 is the whole). `gal` and `BTU` are those of the United States.
//!   - `factor`, `offset`: in place of units: the number becomes `value * factor + offset`. Default: 1 and 0.
//!   - `as`: the name of a field for the result, beside the others; one that is there already gets it. Default: it takes the
//!     place of the old number.
//!   - `decimals`: digits behind the point that remain, 0 to 15. Default: all of a result that has an end, else 15 digits.
//! - `missing`: what becomes of a reading that lacks one of the fields (`null` is no value). `"reject"`: it goes to the dead
//!   letters. `"skip"`: the others are converted. Default: `"skip"`.
//!
//! A field that is no number, or a payload that is not a JSON object, rejects the message with the reason in words. What
//! deletes a retained reading (an empty payload) goes on.

mod unit;

use tidegate_sdk::json::{Decimal, Object, Paths};
use tidegate_sdk::prelude::*;

use unit::Conversion;

settings! {
    /// The plugin's settings.
    pub struct Settings {
        /// What is converted.
        pub fields: Vec<Field>,
        /// What becomes of a reading that lacks one of them.
        #[serde(default)]
        pub missing: Missing,
    }
}

settings! {
    /// A field that is converted.
    pub struct Field {
        /// Its path.
        pub field: String,
        /// Its unit.
        pub from: Option<String>,
        /// The unit of the result.
        pub to: Option<String>,
        /// Multiplies the number.
        pub factor: Option<Decimal>,
        /// Is added to it then.
        pub offset: Option<Decimal>,
        /// Name of a field for the result.
        #[serde(rename = "as")]
        pub name: Option<String>,
        /// Digits behind the point that remain.
        pub decimals: Option<u8>,
    }
}

settings! {
    /// What becomes of a reading that lacks one of the fields.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Missing {
        /// It is rejected.
        Reject,
        /// The others are converted.
        #[default]
        Skip,
    }
}

/// The configured plugin.
#[derive(Debug)]
pub struct Units {
    paths: Paths,
    fields: Vec<Converted>,
    missing: Missing,
}

#[derive(Debug)]
struct Converted {
    path: usize,
    conversion: Conversion,
    decimals: Option<u8>,
    /// Path and name of the field for the result, where that is another.
    result: Option<(usize, String)>,
}

/// Digits behind the point beyond which a double has none.
const MOST_DECIMALS: u8 = 15;

impl Transform for Units {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        if settings.fields.is_empty() {
            return Err("`fields` is empty: nothing would be converted".into());
        }
        let mut paths = Paths::default();
        let mut fields: Vec<Converted> = Vec::new();
        for (place, field) in settings.fields.into_iter().enumerate() {
            let field = Converted::new(field, &mut paths)
                .map_err(|error| format!("`fields.{place}`: {error}"))?;
            let target = field.target();
            if fields.iter().any(|other| other.target() == target) {
                let name = paths.name(target);
                return Err(
                    format!("`fields.{place}`: another result goes to `{name}`, too").into(),
                );
            }
            fields.push(field);
        }
        Ok(Self {
            paths,
            fields,
            missing: settings.missing,
        })
    }

    fn process(&mut self, message: &Message<'_>, out: &mut Outputs<'_>) -> Result<()> {
        let payload = message.payload();
        let found = self.paths.find(payload)?;
        let mut replaced = Vec::with_capacity(self.fields.len());
        let mut added = Vec::new();
        for field in &self.fields {
            if found.value(field.path).is_none() && self.missing == Missing::Skip {
                continue;
            }
            let number = found.decimal(field.path)?;
            let result = field.convert(number).ok_or_else(|| {
                let name = found.name(field.path);
                Error::from(format!("field `{name}` is too large to be converted"))
            })?;
            match &field.result {
                Some((path, name)) if found.span(*path).is_empty() => added.push((name, result)),
                Some((path, _)) => replaced.push((found.span(*path), result)),
                None => replaced.push((found.span(field.path), result)),
            }
        }
        if replaced.is_empty() && added.is_empty() {
            out.pass();
            return Ok(());
        }
        replaced.sort_by_key(|(span, _)| span.start);
        if replaced
            .windows(2)
            .any(|pair| pair[0].0.end > pair[1].0.start)
        {
            return Err("one of `fields` lies in the place of another's result".into());
        }
        out.emit_with(|buffer| {
            let mut at = 0;
            for (span, result) in &replaced {
                buffer.extend_from_slice(&payload[at..span.start]);
                buffer.extend_from_slice(result.as_bytes());
                at = span.end;
            }
            // It was checked to be an object, so it ends in a brace.
            let end = payload.trim_ascii_end().len() - 1;
            buffer.extend_from_slice(&payload[at..end]);
            let mut object = Object::resume(buffer);
            for (name, result) in &added {
                object.raw(name, result.as_bytes());
            }
            object.end();
            Ok(())
        })
    }
}

impl Converted {
    fn new(field: Field, paths: &mut Paths) -> Result<Self> {
        if field
            .decimals
            .is_some_and(|decimals| decimals > MOST_DECIMALS)
        {
            return Err(format!("`decimals` is more than {MOST_DECIMALS}").into());
        }
        let conversion = match (&field.from, &field.to, field.factor, field.offset) {
            (Some(from), Some(to), None, None) => Conversion::between(from, to)?,
            (None, None, None, None) => {
                return Err("set `from` and `to`, or `factor`, `offset` or both".into());
            }
            (None, None, factor, offset) => {
                Conversion::linear(factor.unwrap_or(1.into()), offset.unwrap_or(0.into()))
            }
            (Some(_), None, None, None) | (None, Some(_), None, None) => {
                return Err("`from` and `to` go together".into());
            }
            _ => return Err("units do not go with `factor` or `offset`".into()),
        };
        let result = match field.name {
            Some(name) if name.is_empty() => return Err("`as` is empty".into()),
            // As a path a dot or bracket in it is part of the name.
            Some(name) => Some((paths.add(&escaped(&name))?, name)),
            None => None,
        };
        Ok(Self {
            path: paths.add(&field.field)?,
            conversion,
            decimals: field.decimals,
            result,
        })
    }

    /// The path that the result goes to.
    fn target(&self) -> usize {
        self.result.as_ref().map_or(self.path, |(path, _)| *path)
    }

    fn convert(&self, number: Decimal) -> Option<String> {
        let result = self.conversion.apply(number)?;
        let result = match self.decimals {
            Some(decimals) => result.rounded(decimals),
            None => result,
        };
        result.to_f64().is_finite().then(|| result.to_json())
    }
}

fn escaped(name: &str) -> String {
    let mut path = String::new();
    for letter in name.chars() {
        if matches!(letter, '.' | '[' | '\\') {
            path.push('\\');
        }
        path.push(letter);
    }
    path
}

tidegate_sdk::export!(Units);

#[cfg(test)]
mod tests;
