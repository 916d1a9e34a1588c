//! Numbers exactly as their digits say. A double has 53 bits: counters, ids and times in microseconds have more.

use std::cmp::Ordering;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Unexpected, Visitor};
use serde::ser::{Serialize, Serializer};

/// A power of ten beyond this is no number that sensors send.
const MOST_EXPONENT: i32 = 400;

/// A quotient that has no end has 15 digits, as a double has.
const QUOTIENT: i128 = 100_000_000_000_000;

/// `mantissa` times ten to the power of `exponent`.
#[derive(Clone, Copy, Debug)]
pub struct Decimal {
    mantissa: i128,
    exponent: i32,
}

impl Decimal {
    /// Reads a number of JSON; `None` when it is none, or has more than 38 digits.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (negative, digits) = text
            .strip_prefix(b"-")
            .map_or((false, text), |digits| (true, digits));
        let (mut mantissa, mut decimals, mut seen, mut point) = (0_i128, 0_i32, false, false);
        let mut rest = digits;
        while let [byte, behind @ ..] = rest {
            match byte {
                b'0'..=b'9' => {
                    mantissa = mantissa
                        .checked_mul(10)?
                        .checked_add(i128::from(byte - b'0'))?;
                    (decimals, seen) = (decimals + i32::from(point), true);
                }
                b'.' if !point => point = true,
                _ => break,
            }
            rest = behind;
        }
        let exponent = match rest {
            [] => 0,
            [b'e' | b'E', power @ ..] => std::str::from_utf8(power).ok()?.parse::<i32>().ok()?,
            _ => return None,
        };
        let exponent = exponent
            .checked_sub(decimals)
            .filter(|exponent| exponent.abs() <= MOST_EXPONENT)?;
        seen.then_some(Self {
            mantissa: if negative { -mantissa } else { mantissa },
            exponent,
        })
    }

    /// Bytes of it when it is saved, or a few more: by the bits of its digits, which cost nothing to count.
    pub fn weight(self) -> usize {
        let bits = 128 - self.mantissa.unsigned_abs().leading_zeros() as usize;
        // Ten bits are three digits and a little; beside them stand a length, `e`, two signs and the exponent.
        let digits = bits * 10 / 33 + 1;
        let exponent = match self.exponent.abs() {
            0..10 => 1,
            10..100 => 2,
            _ => 3,
        };
        let signs = usize::from(self.mantissa < 0) + usize::from(self.exponent < 0);
        let text = digits + 1 + signs + exponent;
        text + if text > 31 { 2 } else { 1 }
    }

    /// Both with the smaller exponent; `None` when the digits do not suffice.
    fn align(self, other: Self) -> Option<(i128, i128, i32)> {
        let exponent = self.exponent.min(other.exponent);
        let at = |one: Self| match one.mantissa {
            0 => Some(0),
            mantissa => mantissa.checked_mul(power(one.exponent - exponent)?),
        };
        Some((at(self)?, at(other)?, exponent))
    }

    /// The product; `None` when it has too many digits.
    pub fn times(self, other: Self) -> Option<Self> {
        Some(Self {
            mantissa: self.mantissa.checked_mul(other.mantissa)?,
            exponent: self.exponent + other.exponent,
        })
    }

    /// The sum; `None` when it has too many digits.
    pub fn plus(self, other: Self) -> Option<Self> {
        let (one, other, exponent) = self.align(other)?;
        Some(Self {
            mantissa: one.checked_add(other)?,
            exponent,
        })
    }

    /// The difference; `None` when it has too many digits.
    pub fn minus(self, other: Self) -> Option<Self> {
        self.plus(Self {
            mantissa: other.mantissa.checked_neg()?,
            ..other
        })
    }

    /// The quotient: exact where it has an end within 15 digits, and else those 15, halves away from zero. `None` when it
    /// is divided by zero, or too long.
    pub fn over(self, divisor: Self) -> Option<Self> {
        let by = divisor.mantissa.checked_abs().filter(|by| *by != 0)?;
        let negative = (self.mantissa < 0) != (divisor.mantissa < 0);
        let mut rest = self.mantissa.checked_abs()?;
        let mut exponent = self.exponent.checked_sub(divisor.exponent)?;
        while rest % by != 0 && rest / by < QUOTIENT {
            rest = rest.checked_mul(10)?;
            exponent -= 1;
        }
        let up = i128::from(rest % by >= by - rest % by && rest % by != 0);
        let quotient = rest / by + up;
        (exponent.abs() <= MOST_EXPONENT).then_some(Self {
            mantissa: if negative { -quotient } else { quotient },
            exponent,
        })
    }

    /// Without its sign.
    pub fn magnitude(self) -> Option<Self> {
        Some(Self {
            mantissa: self.mantissa.checked_abs()?,
            ..self
        })
    }

    /// The double nearest to it.
    pub fn to_f64(self) -> f64 {
        let text = format!("{}e{}", self.mantissa, self.exponent);
        text.parse().unwrap_or(f64::NAN)
    }

    /// As JSON, without a point where it is whole.
    pub fn to_json(self) -> String {
        self.whole()
            .map_or_else(|| self.to_string(), |whole| whole.to_string())
    }

    /// With so many digits behind the point; halves go away from zero.
    pub fn rounded(self, decimals: u8) -> Self {
        let Some(divisor) = u32::try_from(-i32::from(decimals) - self.exponent)
            .ok()
            .filter(|excess| *excess > 0)
        else {
            return self;
        };
        let exponent = -i32::from(decimals);
        let Some(divisor) = 10_i128.checked_pow(divisor) else {
            return Self {
                mantissa: 0,
                exponent,
            };
        };
        let (whole, rest) = (self.mantissa / divisor, self.mantissa % divisor);
        let up = i128::from(rest.unsigned_abs() >= divisor.unsigned_abs().div_ceil(2))
            * self.mantissa.signum();
        Self {
            mantissa: whole + up,
            exponent,
        }
    }

    /// Which of the two is larger.
    pub fn compare(self, other: Self) -> Ordering {
        if let Some((one, other, _)) = self.align(other) {
            return one.cmp(&other);
        }
        let by_sign = self.mantissa.signum().cmp(&other.mantissa.signum());
        // The one with the larger exponent has more digits than fit, so it is further from zero than the other can be.
        let further = self.exponent.cmp(&other.exponent);
        by_sign.then(if self.mantissa < 0 {
            further.reverse()
        } else {
            further
        })
    }

    /// Its digits as a whole number; `None` when it is none, or too large.
    pub fn whole(self) -> Option<i128> {
        match u32::try_from(self.exponent) {
            Ok(_) => self.mantissa.checked_mul(power(self.exponent)?),
            Err(_) => {
                let divisor = power(-self.exponent)?;
                (self.mantissa % divisor == 0).then(|| self.mantissa / divisor)
            }
        }
    }
}

fn power(exponent: i32) -> Option<i128> {
    10_i128.checked_pow(u32::try_from(exponent).ok()?)
}

/// As JSON, with a point.
impl fmt::Display for Decimal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut mantissa, mut exponent) = (self.mantissa, self.exponent);
        while exponent < -1 && mantissa % 10 == 0 {
            (mantissa, exponent) = (mantissa / 10, exponent + 1);
        }
        if exponent >= 0 {
            let zeros = "0".repeat(usize::try_from(exponent).unwrap_or_default());
            return write!(formatter, "{mantissa}{zeros}.0");
        }
        let decimals = usize::try_from(-exponent).unwrap_or_default();
        let digits = format!("{:0>width$}", mantissa.unsigned_abs(), width = decimals + 1);
        let (whole, part) = digits.split_at(digits.len() - decimals);
        write!(
            formatter,
            "{}{whole}.{part}",
            if mantissa < 0 { "-" } else { "" }
        )
    }
}

impl From<u64> for Decimal {
    fn from(whole: u64) -> Self {
        Self {
            mantissa: i128::from(whole),
            exponent: 0,
        }
    }
}

/// By value: `5` and `5.0` are one.
impl PartialEq for Decimal {
    fn eq(&self, other: &Self) -> bool {
        self.compare(*other) == Ordering::Equal
    }
}

/// As text, digit for digit: for state.
impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}e{}", self.mantissa, self.exponent))
    }
}

/// From a number, as in settings, or from the text of one.
impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Decimal;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a number")
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Decimal, E> {
                Ok(Decimal::from(number))
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Decimal, E> {
                Ok(Decimal {
                    mantissa: i128::from(number),
                    exponent: 0,
                })
            }

            fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Decimal, E> {
                // The shortest text that reads back as this double: what was written.
                Decimal::parse(format!("{number:e}").as_bytes())
                    .ok_or_else(|| E::invalid_value(Unexpected::Float(number), &self))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Decimal, E> {
                Decimal::parse(text.as_bytes())
                    .ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decimal(text: &str) -> Decimal {
        Decimal::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn digits_stay_as_they_are() {
        for (text, shown) in [
            ("9007199254740993.5", "9007199254740993.5"),
            ("-0.250", "-0.25"),
            ("1e3", "1000.0"),
            ("12.5e-2", "0.125"),
            ("0", "0.0"),
            ("1.70", "1.7"),
        ] {
            assert_eq!(decimal(text).to_string(), shown, "{text}");
        }
        for text in ["", "-", "x", "1x", "1e", "1.2.3", "1e999", &"9".repeat(40)] {
            assert!(Decimal::parse(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn halves_are_rounded_away_from_zero() {
        for (text, decimals, rounded) in [
            ("2.25", 1, "2.3"),
            ("-2.25", 1, "-2.3"),
            ("2.249", 1, "2.2"),
            ("0.5", 0, "1.0"),
            ("7", 2, "7.0"),
            ("1e-90", 3, "0.0"),
        ] {
            assert_eq!(
                decimal(text).rounded(decimals).to_string(),
                rounded,
                "{text}"
            );
        }
    }

    #[test]
    fn a_quotient_is_exact_where_it_has_an_end() {
        for (one, other, quotient) in [
            ("1", "8", "0.125"),
            ("190.8", "5", "38.16"),
            ("10", "3", "3.33333333333333"),
            ("-20", "3", "-6.66666666666667"),
            ("0", "7", "0"),
            ("6", "3", "2"),
            ("9007199254740993", "1", "9007199254740993"),
            ("1e-30", "4", "0.00000000000000000000000000000025"),
        ] {
            assert_eq!(
                decimal(one).over(decimal(other)).unwrap().to_json(),
                quotient,
                "{one} {other}"
            );
        }
        assert!(decimal("1").over(decimal("0.0")).is_none());
    }

    #[test]
    fn state_and_settings_keep_every_digit() {
        for text in ["21.50", "-9007199254740993.25", "1e300", "0"] {
            let saved = serde_json::to_string(&decimal(text)).unwrap();
            assert_eq!(
                serde_json::from_str::<Decimal>(&saved).unwrap(),
                decimal(text),
                "{saved}"
            );
        }
        for (text, shown) in [
            ("0.2", "0.2"),
            ("1e-7", "0.0000001"),
            ("-3", "-3"),
            ("18446744073709551615", "18446744073709551615"),
        ] {
            assert_eq!(
                serde_json::from_str::<Decimal>(text).unwrap().to_json(),
                shown
            );
        }
        assert!(
            serde_json::from_str::<Decimal>("\"NaN\"").is_err()
                && serde_json::from_str::<Decimal>("true").is_err()
        );
        assert_eq!(
            (decimal("21.5").to_f64(), decimal("-1e-3").to_f64()),
            (21.5, -0.001)
        );
        assert_eq!(decimal("1.5").minus(decimal("1.5")).unwrap(), decimal("0"));
    }

    #[test]
    fn numbers_too_far_apart_to_be_aligned_are_still_compared() {
        for (one, other, order) in [
            ("1e300", "5", Ordering::Greater),
            ("-1e300", "5", Ordering::Less),
            ("-1e300", "-5", Ordering::Less),
            ("1e-300", "5", Ordering::Less),
            ("0e300", "5", Ordering::Less),
            ("9007199254740993", "9007199254740992", Ordering::Greater),
            ("5.0", "5", Ordering::Equal),
        ] {
            assert_eq!(decimal(one).compare(decimal(other)), order, "{one} {other}");
        }
    }

    proptest! {
        #[test]
        fn sums_and_products_are_those_of_whole_numbers(one in any::<i64>(), other in any::<i64>(), shift in 0..5_i32) {
            let shifted = |number: i64| Decimal { mantissa: i128::from(number), exponent: -shift };
            let (a, b) = (decimal(&one.to_string()), decimal(&other.to_string()));
            prop_assert_eq!(a.times(b).and_then(Decimal::whole), Some(i128::from(one) * i128::from(other)));
            prop_assert_eq!(a.plus(b).and_then(Decimal::whole), Some(i128::from(one) + i128::from(other)));
            prop_assert_eq!(a.compare(b), one.cmp(&other));
            prop_assert_eq!(decimal(&shifted(one).to_string()).compare(shifted(one)), Ordering::Equal);
        }
    }
}
