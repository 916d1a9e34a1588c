//! Comparisons of fields with values from the settings.

use tidegate_sdk::json::{self, Found, Paths};
use tidegate_sdk::prelude::*;
use tidegate_sdk::serde_json::Value;

settings! {
    /// A comparison as it is configured.
    pub struct Where {
        /// Path of the field.
        pub field: String,
        /// How it is compared.
        pub op: Op,
        /// With what: a number, text, truth or null; a list for `in` and `not in`; nothing for `exists` and `absent`.
        #[serde(default, deserialize_with = "given")]
        pub value: Option<Value>,
    }
}

settings! {
    /// How a field is compared.
    #[derive(Copy, PartialEq, Eq)]
    pub enum Op {
        /// Above a number.
        #[serde(rename = ">")]
        Above,
        /// At a number or above.
        #[serde(rename = ">=")]
        AtLeast,
        /// Below a number.
        #[serde(rename = "<")]
        Below,
        /// At a number or below.
        #[serde(rename = "<=")]
        AtMost,
        /// The same value.
        #[serde(rename = "==")]
        Is,
        /// Another value.
        #[serde(rename = "!=")]
        IsNot,
        /// One of the values.
        #[serde(rename = "in")]
        In,
        /// None of the values.
        #[serde(rename = "not in")]
        NotIn,
        /// The field is there, `null` included.
        #[serde(rename = "exists")]
        Exists,
        /// The field is not there.
        #[serde(rename = "absent")]
        Absent,
    }
}

settings! {
    /// What becomes of a reading that lacks a compared field.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Missing {
        /// It is rejected.
        #[default]
        Reject,
        /// The comparison does not hold.
        Drop,
    }
}

/// A `null` that was written is a value, too.
fn given<'de, D: tidegate_sdk::serde::Deserializer<'de>>(value: D) -> std::result::Result<Option<Value>, D::Error> {
    Deserialize::deserialize(value).map(Some)
}

/// A comparison, ready to be made.
#[derive(Debug)]
pub struct Comparison {
    path: usize,
    test: Test,
}

#[derive(Debug)]
enum Test {
    Number(Op, f64),
    /// Whether it is to be one of them, and which.
    OneOf(bool, Vec<Wanted>),
    /// Whether it is to be there.
    There(bool),
}

#[derive(Debug)]
enum Wanted {
    Number { raw: String, exact: bool, value: f64 },
    Text(String),
    Truth(bool),
    Null,
}

impl Comparison {
    /// Checks that `value` fits `op`.
    pub fn new(compared: Where, paths: &mut Paths) -> Result<Self> {
        let Where { field, op, value } = compared;
        let test = match (op, &value) {
            (Op::Above | Op::AtLeast | Op::Below | Op::AtMost, Some(Value::Number(limit))) => {
                limit.as_f64().map(|limit| Test::Number(op, limit))
            }
            (Op::Is | Op::IsNot, Some(value)) => Wanted::new(value).map(|wanted| Test::OneOf(op == Op::Is, vec![wanted])),
            (Op::In | Op::NotIn, Some(Value::Array(values))) => {
                values.iter().map(Wanted::new).collect::<Option<_>>().map(|wanted| Test::OneOf(op == Op::In, wanted))
            }
            (Op::Exists | Op::Absent, None) => Some(Test::There(op == Op::Exists)),
            _ => None,
        };
        let test = test.ok_or_else(|| misfit(&field, op, value.as_ref()))?;
        Ok(Self { path: paths.add(&field)?, test })
    }

    /// Whether it holds for what was found in a payload.
    pub fn holds(&self, found: &Found<'_, '_>, missing: Missing) -> Result<bool> {
        let value = match (&self.test, found.get(self.path)) {
            (Test::There(wanted), value) => return Ok(value.is_some() == *wanted),
            (_, None) if missing == Missing::Drop => return Ok(false),
            (_, None) => found.require(self.path)?,
            (_, Some(value)) => value,
        };
        match &self.test {
            Test::Number(op, limit) => {
                let number = found.number(self.path)?;
                Ok(match op {
                    Op::Above => number > *limit,
                    Op::AtLeast => number >= *limit,
                    Op::Below => number < *limit,
                    _ => number <= *limit,
                })
            }
            Test::OneOf(one_of, wanted) => Ok(wanted.iter().any(|wanted| wanted.is(value)) == *one_of),
            Test::There(_) => Ok(true),
        }
    }
}

impl Wanted {
    /// `None` for lists and objects.
    fn new(value: &Value) -> Option<Self> {
        match value {
            Value::Null => Some(Self::Null),
            Value::Bool(truth) => Some(Self::Truth(*truth)),
            Value::String(text) => Some(Self::Text(text.clone())),
            Value::Number(number) => {
                let value = number.as_f64()?;
                Some(Self::Number { raw: number.to_string(), exact: value.abs() < 9_007_199_254_740_992.0, value })
            }
            Value::Array(_) | Value::Object(_) => None,
        }
    }

    fn is(&self, found: json::Value<'_>) -> bool {
        match self {
            Self::Null => found.is_null(),
            Self::Truth(truth) => found.truth() == Some(*truth),
            Self::Text(text) => found.text().is_some_and(|found| found == text.as_str()),
            // Above 2^53 neighbours share a double, so only the digits tell them apart.
            Self::Number { raw, exact, value } => raw.as_bytes() == found.bytes() || *exact && found.number() == Some(*value),
        }
    }
}

fn misfit(field: &str, op: Op, value: Option<&Value>) -> Error {
    let (op, wanted) = match op {
        Op::Above => (">", "a number as `value`"),
        Op::AtLeast => (">=", "a number as `value`"),
        Op::Below => ("<", "a number as `value`"),
        Op::AtMost => ("<=", "a number as `value`"),
        Op::Is => ("==", "a number, text, truth or null as `value`"),
        Op::IsNot => ("!=", "a number, text, truth or null as `value`"),
        Op::In => ("in", "a list as `value`"),
        Op::NotIn => ("not in", "a list as `value`"),
        Op::Exists => ("exists", "no `value`"),
        Op::Absent => ("absent", "no `value`"),
    };
    let found = value.map(|value| format!(", not `{value}`")).unwrap_or_default();
    format!("`{op}` with field `{field}` wants {wanted}{found}").into()
}
