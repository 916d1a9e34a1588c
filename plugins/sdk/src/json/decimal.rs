//! Numbers exactly as their digits say. A double has 53 bits: counters, ids and times in microseconds have more.

use std::cmp::Ordering;
use std::fmt;

/// A power of ten beyond this is no number that sensors send.
const MOST_EXPONENT: i32 = 400;

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
