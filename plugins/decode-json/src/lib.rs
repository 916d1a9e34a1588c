//! Picks, renames and converts fields of JSON readings.
//!
//! ```toml
//! settings = { pick = ["device", "seq", { from = "temperature", to = "fahrenheit", scale = 1.8, offset = 32 }] }
//! ```
//!
//! The new payload is an object of the picked fields, in this order. A field that is only picked or renamed keeps
//! its text digit for digit, whatever it holds. `scale` and `offset` want a number (`value * scale + offset`, in
//! this order); the result is an integer when the value and both of them are, and a float otherwise. `decimals`
//! rounds it. `from` may be a path into objects: `"battery.volts"`. A payload that is not a JSON object, or a field
//! that is missing or no number where one is wanted, rejects the message with the reason in words; with
//! `missing = "skip"` a missing field is left out instead, with `"null"` it becomes `null`.

use tidegate_sdk::json::{Paths, Value};
use tidegate_sdk::prelude::*;
use tidegate_sdk::serde_json;

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
        pub scale: Option<f64>,
        /// Is added to it then.
        pub offset: Option<f64>,
        /// Digits after the point that remain.
        pub decimals: Option<u8>,
    }
}

settings! {
    /// What becomes of a reading that lacks a picked field.
    #[derive(Copy, Default)]
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
    /// Ten to the number of digits that remain after the point.
    round: Option<f64>,
    /// Whether an integer stays one.
    whole: bool,
}

/// Powers of ten beyond this have no digits left to round in a double.
const MAX_DECIMALS: u8 = 15;

/// Doubles are exact for every integer up to here.
const EXACT: f64 = 9_007_199_254_740_992.0;

impl Transform for DecodeJson {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        if settings.pick.is_empty() {
            return Err("`pick` is empty: nothing would be left of any reading".into());
        }
        let mut plugin = Self { paths: Paths::default(), fields: Vec::new(), missing: settings.missing };
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
                let value = match (found.get(field.path), self.missing) {
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
                    (Some(value), Some(convert)) => convert.write(value, found.number(field.path)?, payload)?,
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
            Pick::Path(from) => Field { from, to: None, scale: None, offset: None, decimals: None },
            Pick::Field(field) => field,
        };
        let path = self.paths.add(&field.from)?;
        let name = field.to.clone().unwrap_or_else(|| self.paths.last_name(path));
        let converts = field.scale.is_some() || field.offset.is_some() || field.decimals.is_some();
        let convert = if converts { Some(Convert::new(&field)?) } else { None };
        Ok(Picked { path, name: format!(",{}:", serde_json::to_string(&name)?).into_bytes(), convert })
    }
}

impl Convert {
    fn new(field: &Field) -> Result<Self> {
        let (scale, offset) = (field.scale.unwrap_or(1.0), field.offset.unwrap_or(0.0));
        if field.decimals.is_some_and(|decimals| decimals > MAX_DECIMALS) {
            return Err(format!("`decimals` of `{}` is more than {MAX_DECIMALS}", field.from).into());
        }
        let round = field.decimals.map(|decimals| 10_f64.powi(i32::from(decimals)));
        Ok(Self { scale, offset, round, whole: scale.fract() == 0.0 && offset.fract() == 0.0 })
    }

    /// Appends the converted number.
    fn write(&self, value: Value<'_>, number: f64, payload: &mut Vec<u8>) -> Result<()> {
        let mut result = number * self.scale + self.offset;
        if let Some(round) = self.round {
            result = (result * round).round() / round;
        }
        if !result.is_finite() {
            return Err(format!("`{}` is too large to be converted", value.excerpt()).into());
        }
        let whole = self.whole && !value.bytes().iter().any(|byte| matches!(byte, b'.' | b'e' | b'E'));
        if whole && result.abs() < EXACT {
            serde_json::to_writer(payload, &(result as i64))?;
        } else {
            serde_json::to_writer(payload, &result)?;
        }
        Ok(())
    }
}

tidegate_sdk::export!(DecodeJson);

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_sdk::serde_json::json;
    use tidegate_sdk::test::{Input, Outcome, Plugin};

    const READING: &str = r#"{"device":"d7","seq":41,"ts":1700000000000000,"temperature":25.5,"humidity":40.5,"battery":3.71,"status":"ok","fw":"1.4.2"}"#;

    fn plugin(settings: serde_json::Value) -> Plugin<DecodeJson> {
        Plugin::new(settings)
    }

    fn refused(settings: serde_json::Value) -> String {
        Plugin::<DecodeJson>::try_new(settings).unwrap_err()
    }

    fn feed(plugin: &mut Plugin<DecodeJson>, payload: &str) -> Outcome {
        plugin.feed(Input::new("d7", payload))
    }

    #[test]
    fn the_example_reading_is_converted() {
        let fahrenheit = json!({ "from": "temperature", "to": "fahrenheit", "scale": 1.8, "offset": 32 });
        let mut plugin = plugin(json!({ "pick": ["device", "seq", "ts", fahrenheit, "humidity"] }));
        let outcome = feed(&mut plugin, READING);
        assert_eq!(
            outcome.emitted().text(),
            r#"{"device":"d7","seq":41,"ts":1700000000000000,"fahrenheit":77.9,"humidity":40.5}"#
        );
        assert_eq!((&*outcome.emitted().topic, &*outcome.emitted().key), ("devices/d7/telemetry", "d7"));
    }

    #[test]
    fn what_is_only_picked_keeps_its_text() {
        let mut plugin = plugin(json!({ "pick": ["n", "deep.er", "list", { "from": "text", "to": "a \"b\"" }] }));
        let payload =
            r#"{"n":123456789012345678901234567890.10e-2,"deep":{"er":{"x":1.0}}, "list" : [ 1, {} ],"text":"\u00e9\n"}"#;
        let expected = r#"{"n":123456789012345678901234567890.10e-2,"er":{"x":1.0},"list":[ 1, {} ],"a \"b\"":"\u00e9\n"}"#;
        assert_eq!(feed(&mut plugin, payload).emitted().text(), expected);
    }

    #[test]
    fn integers_stay_integers_where_the_settings_are_whole() {
        let mut plugin = plugin(json!({ "pick": [
            { "from": "a", "scale": 2, "offset": -1 }, { "from": "b", "scale": 2.0 }, { "from": "c", "scale": 0.5 }, { "from": "d", "decimals": 1 }
        ] }));
        let outcome = feed(&mut plugin, r#"{"a":21,"b":1.0,"c":4,"d":2.25}"#);
        assert_eq!(outcome.emitted().text(), r#"{"a":41,"b":2.0,"c":2.0,"d":2.3}"#);
    }

    #[test]
    fn one_field_can_be_picked_twice_under_two_names() {
        let mut plugin = plugin(json!({ "pick": ["t", { "from": "t", "to": "raw" }] }));
        assert_eq!(feed(&mut plugin, r#"{"t":1}"#).emitted().text(), r#"{"t":1,"raw":1}"#);
    }

    #[test]
    fn a_missing_field_rejects_or_is_left_out_or_is_null() {
        let reading = r#"{"a":1,"c":3}"#;
        let with = |missing: &str| plugin(json!({ "pick": ["a", { "from": "b", "scale": 2 }, "c"], "missing": missing }));
        assert_eq!(feed(&mut with("reject"), reading).rejected(), Some("field `b` is missing"));
        assert_eq!(feed(&mut with("skip"), reading).emitted().text(), r#"{"a":1,"c":3}"#);
        assert_eq!(feed(&mut with("null"), reading).emitted().text(), r#"{"a":1,"b":null,"c":3}"#);
    }

    #[test]
    fn bad_payloads_are_rejected_with_reason_and_place() {
        let mut plugin = plugin(json!({ "pick": ["a", { "from": "t", "scale": 1e300 }] }));
        let mut reason = |payload: &str| feed(&mut plugin, payload).rejected().unwrap().to_owned();
        assert_eq!(reason(""), "payload is not valid JSON: it ends too early, at byte 0");
        assert_eq!(reason("21.5"), "payload is not a JSON object, at byte 0");
        assert_eq!(reason(r#"{"a":1,"t":2"#), "payload is not valid JSON: it ends too early, at byte 12");
        assert_eq!(reason(r#"{"a":1,"t":NaN}"#), "payload is not valid JSON: expected a value, at byte 11");
        assert_eq!(reason(r#"{"a":1,"t":1e999}"#), "field `t` is not a number: `1e999`");
        assert_eq!(reason(r#"{"a":1,"t":1e300}"#), "`1e300` is too large to be converted");
        assert_eq!(reason(r#"{"a":1,"t":"2"}"#), "field `t` is not a number: `\"2\"`");
        assert_eq!(reason(r#"{"a":1,"t":2,"a":3}"#), "payload has field `a` twice, at byte 17");
        assert!(reason(&format!(r#"{{"a":{}"#, "[".repeat(100_000))).starts_with("payload is nested deeper"));
    }

    #[test]
    fn settings_that_make_no_sense_are_refused_in_words() {
        assert_eq!(refused(json!({})), "missing field `pick`");
        assert_eq!(refused(json!({ "pick": ["a"], "pik": [] })), "unknown field `pik`, expected `pick` or `missing`");
        assert!(refused(json!({ "pick": [] })).contains("`pick` is empty"));
        assert!(refused(json!({ "pick": [{ "form": "a" }] })).contains("a table of `from`"));
        assert_eq!(refused(json!({ "pick": ["a", { "from": "b", "to": "a" }] })), "`pick` gives field \"a\" twice");
        assert_eq!(refused(json!({ "pick": ["a..b"] })), "path `a..b` has an empty name");
        assert!(refused(json!({ "pick": ["a"], "missing": "ignore" })).contains("unknown variant `ignore`"));
    }
}
