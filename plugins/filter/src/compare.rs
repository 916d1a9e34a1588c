//! Comparisons of fields with values from the settings.

use std::cmp::Ordering;

use tidegate_sdk::json::{self, Decimal, Found, Paths};
use tidegate_sdk::prelude::*;
use tidegate_sdk::serde_json::{Number, Value};

/// Doubles are exact for every integer up to here.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Characters of a number that a double has all digits of.
const EXACT_LENGTH: usize = 16;

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
fn given<'de, D: tidegate_sdk::serde::Deserializer<'de>>(
    value: D,
) -> std::result::Result<Option<Value>, D::Error> {
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
    Number(Op, Limit),
    /// Whether it is to be one of them, and which.
    OneOf(bool, Vec<Wanted>),
    /// Whether it is to be there.
    There(bool),
}

/// A number from the settings: as a double, and with all its digits where that has not enough of them.
#[derive(Debug)]
struct Limit {
    value: f64,
    digits: Decimal,
}

impl Limit {
    fn new(number: &Number) -> Option<Self> {
        Some(Self {
            value: number.as_f64()?,
            digits: Decimal::parse(number.to_string().as_bytes())?,
        })
    }

    /// How `found`, whose value as a double is `number`, compares with it.
    fn order(&self, found: json::Value<'_>, number: f64) -> Option<Ordering> {
        let is_exact =
            self.value.abs() < EXACT && number.abs() < EXACT && found.bytes().len() <= EXACT_LENGTH;
        let digits = if is_exact { None } else { found.decimal() };
        digits.map_or_else(
            || number.partial_cmp(&self.value),
            |digits| Some(digits.compare(self.digits)),
        )
    }
}

#[derive(Debug)]
enum Wanted {
    Number(Limit),
    Text(String),
    Truth(bool),
    Null,
}

impl Comparison {
    /// Checks that `value` fits `op`.
    pub fn new(compared: Where, paths: &mut Paths) -> Result<Self> {
        let Where { field, op, value } = compared;
        if matches!((op, &value), (Op::In | Op::NotIn, Some(Value::Array(values))) if values.is_empty())
        {
            let always = if op == Op::In { "never" } else { "always" };
            return Err(format!(
                "`value` is an empty list, so this {always} holds: name the values that are meant"
            )
            .into());
        }
        let test = match (op, &value) {
            (Op::Above | Op::AtLeast | Op::Below | Op::AtMost, Some(Value::Number(limit))) => {
                Limit::new(limit).map(|limit| Test::Number(op, limit))
            }
            (Op::Is | Op::IsNot, Some(value)) => {
                Wanted::new(value).map(|wanted| Test::OneOf(op == Op::Is, vec![wanted]))
            }
            (Op::In | Op::NotIn, Some(Value::Array(values))) => values
                .iter()
                .map(Wanted::new)
                .collect::<Option<_>>()
                .map(|wanted| Test::OneOf(op == Op::In, wanted)),
            (Op::Exists | Op::Absent, None) => Some(Test::There(op == Op::Exists)),
            _ => None,
        };
        let test = test.ok_or_else(|| misfit(&field, op, value.as_ref()))?;
        Ok(Self {
            path: paths.add(&field)?,
            test,
        })
    }

    /// Whether it holds for what was found in a payload.
    pub fn holds(&self, found: &Found<'_, '_>, missing: Missing) -> Result<bool> {
        let asks_for_null = matches!(&self.test, Test::OneOf(_, wanted) if wanted.iter().any(|one| matches!(one, Wanted::Null)));
        let there = found.get(self.path);
        let value = match (
            &self.test,
            there.filter(|value| asks_for_null || !value.is_null()),
        ) {
            (Test::There(wanted), _) => return Ok(there.is_some() == *wanted),
            (_, None) if missing == Missing::Drop => return Ok(false),
            (_, None) => found.require(self.path)?,
            (_, Some(value)) => value,
        };
        match &self.test {
            Test::Number(op, limit) => {
                let order = limit.order(value, found.number(self.path)?);
                Ok(match op {
                    Op::Above => order == Some(Ordering::Greater),
                    Op::AtLeast => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
                    Op::Below => order == Some(Ordering::Less),
                    _ => matches!(order, Some(Ordering::Less | Ordering::Equal)),
                })
            }
            Test::OneOf(one_of, wanted) => {
                Ok(wanted.iter().any(|wanted| wanted.is(value)) == *one_of)
            }
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
            Value::Number(number) => Limit::new(number).map(Self::Number),
            Value::Array(_) | Value::Object(_) => None,
        }
    }

    fn is(&self, found: json::Value<'_>) -> bool {
        match self {
            Self::Null => found.is_null(),
            Self::Truth(truth) => found.truth() == Some(*truth),
            Self::Text(text) => found.text().is_some_and(|found| found == text.as_str()),
            Self::Number(limit) => found
                .number()
                .is_some_and(|number| limit.order(found, number) == Some(Ordering::Equal)),
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
    let found = value
        .map(|value| format!(", not `{value}`"))
        .unwrap_or_default();
    format!("`{op}` with field `{field}` wants {wanted}{found}").into()
}
