//! Comparisons of fields with values from the settings, as `filter`, `rules` and `route` have them.
//!
//! ```
//! use tidegate_sdk::compare::{Comparison, Where};
//! use tidegate_sdk::json::Paths;
//! use tidegate_sdk::serde_json::{from_str, json};
//!
//! let warm: Where = from_str(r#"{"field": "t", "op": ">", "value": 20}"#)?;
//! let mut paths = Paths::default();
//! let warm = Comparison::new(warm, &mut paths)?;
//! assert_eq!(warm.holds(&paths.find(br#"{"t": 20.5}"#)?)?, Some(true));
//! assert_eq!(warm.holds(&paths.find(br#"{"u": 20.5}"#)?)?, None);
//! # Ok::<(), tidegate_sdk::Error>(())
//! ```

use std::cmp::Ordering;

use serde::{Deserialize, Deserializer};
use serde_json::{Number, Value};

use crate::json::{self, Decimal, Found, Paths};
use crate::plugin::{Error, Result};
use crate::settings;

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
        /// With what: a number, text, truth or null; a list for `in` and `not in`; a pattern for `like`; nothing for `exists`
        /// and `absent`.
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
        /// A text that a pattern fits: `*` stands for any letters, `?` for one.
        #[serde(rename = "like")]
        Like,
        /// The field is there, `null` included.
        #[serde(rename = "exists")]
        Exists,
        /// The field is not there.
        #[serde(rename = "absent")]
        Absent,
    }
}

/// A `null` that was written is a value, too.
fn given<'de, D: Deserializer<'de>>(value: D) -> std::result::Result<Option<Value>, D::Error> {
    Deserialize::deserialize(value).map(Some)
}

/// A comparison, ready to be made.
#[derive(Clone, Debug)]
pub struct Comparison {
    path: usize,
    test: Test,
}

#[derive(Clone, Debug)]
enum Test {
    Number(Op, Limit),
    /// Whether it is to be one of them, and which.
    OneOf(bool, Vec<Wanted>),
    Like(Vec<char>),
    /// Whether it is to be there.
    There(bool),
}

/// Letters of a pattern at most: each may be tried at each letter of a text.
const MOST_LETTERS: usize = 256;

/// A number from the settings: as a double, and with all its digits where that has not enough of them.
#[derive(Clone, Debug)]
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

#[derive(Clone, Debug)]
enum Wanted {
    Number(Limit),
    Text(String),
    Truth(bool),
    Null,
}

impl Comparison {
    /// Checks that `value` fits `op`, and adds the field to `paths`.
    ///
    /// # Errors
    /// What is wrong, in words that name the field.
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
            (Op::Like, Some(Value::String(pattern))) => {
                (pattern.len() <= MOST_LETTERS).then(|| Test::Like(pattern.chars().collect()))
            }
            (Op::Exists | Op::Absent, None) => Some(Test::There(op == Op::Exists)),
            _ => None,
        };
        let test = test.ok_or_else(|| misfit(&field, op, value.as_ref()))?;
        Ok(Self {
            path: paths.add(&field)?,
            test,
        })
    }

    /// The same where it held before: with `>` and `>=` down to so far below the number, with `<` and `<=` so far above it.
    ///
    /// # Errors
    /// It compares with no number, or `by` is negative.
    pub fn eased(&self, by: Decimal) -> Result<Self> {
        let is_below = by.compare(Decimal::from(0)) == Ordering::Less;
        let eased = match &self.test {
            Test::Number(Op::Above | Op::AtLeast, limit) => {
                let digits = limit.digits.minus(by);
                digits.map(|digits| (Op::AtLeast, digits))
            }
            Test::Number(_, limit) => limit.digits.plus(by).map(|digits| (Op::AtMost, digits)),
            _ => None,
        };
        let (op, digits) = eased
            .filter(|_| !is_below)
            .ok_or("`hysteresis` is a number from 0 on, beside `>`, `>=`, `<` or `<=`")?;
        let value = digits.to_f64();
        Ok(Self {
            path: self.path,
            test: Test::Number(op, Limit { value, digits }),
        })
    }

    /// The field's place in the paths.
    pub fn path(&self) -> usize {
        self.path
    }

    /// Whether it holds for what was found in a payload; `None` where the field is not there. `null` is no value, unless it
    /// is compared with.
    ///
    /// # Errors
    /// A number is wanted, and the field is none.
    pub fn holds(&self, found: &Found<'_, '_>) -> Result<Option<bool>> {
        let asks_for_null = matches!(&self.test, Test::OneOf(_, wanted) if wanted.iter().any(|one| matches!(one, Wanted::Null)));
        let there = found.get(self.path);
        if let Test::There(wanted) = &self.test {
            return Ok(Some(there.is_some() == *wanted));
        }
        let Some(value) = there.filter(|value| asks_for_null || !value.is_null()) else {
            return Ok(None);
        };
        Ok(Some(match &self.test {
            Test::Number(op, limit) => {
                let order = limit.order(value, found.number(self.path)?);
                match op {
                    Op::Above => order == Some(Ordering::Greater),
                    Op::AtLeast => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
                    Op::Below => order == Some(Ordering::Less),
                    _ => matches!(order, Some(Ordering::Less | Ordering::Equal)),
                }
            }
            Test::OneOf(one_of, wanted) => wanted.iter().any(|wanted| wanted.is(value)) == *one_of,
            Test::Like(pattern) => value.text().is_some_and(|text| fits(pattern, &text)),
            Test::There(_) => true,
        }))
    }
}

/// Whether a pattern fits all of a text. A star that turned out too short is tried longer, and only the last one has to be.
fn fits(pattern: &[char], text: &str) -> bool {
    let (mut at, mut rest) = (0, text.chars());
    let mut star: Option<(usize, std::str::Chars<'_>)> = None;
    loop {
        let before = rest.clone();
        let letter = rest.next();
        match (pattern.get(at), letter) {
            (Some('*'), _) => {
                at += 1;
                star = Some((at, before.clone()));
                rest = before;
            }
            (Some(wanted), Some(letter)) if *wanted == '?' || *wanted == letter => at += 1,
            (None, None) => return true,
            _ => {
                let Some((behind, from)) = &mut star else {
                    return false;
                };
                if from.next().is_none() {
                    return false;
                }
                (at, rest) = (*behind, from.clone());
            }
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
        Op::Like => ("like", "a pattern of 256 bytes at most as `value`"),
        Op::Exists => ("exists", "no `value`"),
        Op::Absent => ("absent", "no `value`"),
    };
    let found = value
        .map(|value| format!(", not `{value}`"))
        .unwrap_or_default();
    format!("`{op}` with field `{field}` wants {wanted}{found}").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fit(pattern: &str, text: &str) -> bool {
        fits(&pattern.chars().collect::<Vec<_>>(), text)
    }

    #[test]
    fn patterns_fit_all_of_a_text() {
        for (pattern, text) in [
            ("temp*", "temperature"),
            ("*", ""),
            ("d?", "d7"),
            ("*ab*ab", "abxabab"),
            ("a*b*c", "aXbbYc"),
            ("?", "ä"),
        ] {
            assert!(fit(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("temp", "temperature"),
            ("?", ""),
            ("a*b", "abc"),
            ("", "a"),
        ] {
            assert!(!fit(pattern, text), "{pattern} {text}");
        }
        let (pattern, text) = ("*a".repeat(100), "a".repeat(100_000) + "b");
        assert!(!fit(&pattern, &text), "and it takes no time without end");
    }

    #[test]
    fn what_held_before_holds_a_little_longer() {
        let mut paths = Paths::default();
        let compared = Where {
            field: "t".to_owned(),
            op: Op::Above,
            value: Some(30.into()),
        };
        let comparison = Comparison::new(compared, &mut paths).unwrap();
        let eased = comparison.eased(Decimal::from(2)).unwrap();
        for (payload, held) in [("28", true), ("27.9", false), ("31", true)] {
            let payload = format!("{{\"t\":{payload}}}");
            let found = paths.find(payload.as_bytes()).unwrap();
            assert_eq!(eased.holds(&found).unwrap(), Some(held), "{payload}");
        }
        assert!(comparison.eased(Decimal::parse(b"-1").unwrap()).is_err());
    }

    proptest! {
        #[test]
        fn any_text_fits_itself_and_a_star(text in "[^*?]{0,20}", behind in ".{0,9}") {
            let (pattern, longer) = (format!("{text}*"), format!("{text}{behind}"));
            prop_assert!(fit(&text, &text) && fit(&pattern, &longer));
        }
    }
}
