//! Decimal numbers, exact: what a register holds times what the config says is what the device's manual says, to the last digit.

use std::fmt;

/// `digits` × 10^`exponent`, without zeros at the end of `digits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decimal {
    digits: i128,
    exponent: i32,
}

/// A number with more places than this, before or behind its point, is written with an exponent.
const MOST_PLACES: i32 = 24;

impl Decimal {
    pub const ZERO: Self = Self {
        digits: 0,
        exponent: 0,
    };
    pub const ONE: Self = Self {
        digits: 1,
        exponent: 0,
    };

    pub fn integer(digits: i128) -> Self {
        Self::of(digits, 0)
    }

    /// The shortest decimal that means this float; `None` where it is no number.
    pub fn of_f64(value: f64) -> Option<Self> {
        value
            .is_finite()
            .then(|| Self::scientific(&format!("{value:e}")))?
    }

    /// The same: 230.1, where its bits say 230.10000610351562.
    pub fn of_f32(value: f32) -> Option<Self> {
        value
            .is_finite()
            .then(|| Self::scientific(&format!("{value:e}")))?
    }

    fn scientific(text: &str) -> Option<Self> {
        let (digits, exponent) = text.split_once('e')?;
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let exponent: i32 = exponent.parse().ok()?;
        let places = i32::try_from(fraction.len()).ok()?;
        let digits = format!("{whole}{fraction}").parse().ok()?;
        Some(Self::of(digits, exponent - places))
    }

    fn of(mut digits: i128, mut exponent: i32) -> Self {
        if digits == 0 {
            return Self::ZERO;
        }
        while digits % 10 == 0 {
            digits /= 10;
            exponent += 1;
        }
        Self { digits, exponent }
    }

    /// `None` where it needs more digits than there is room for.
    pub fn times(self, other: Self) -> Option<Self> {
        let digits = self.digits.checked_mul(other.digits)?;
        Some(Self::of(digits, self.exponent + other.exponent))
    }

    /// `None` where it needs more digits than there is room for.
    pub fn plus(self, other: Self) -> Option<Self> {
        if self.digits == 0 || other.digits == 0 {
            return Some(if self.digits == 0 { other } else { self });
        }
        let exponent = self.exponent.min(other.exponent);
        let aligned = |one: Self| {
            let shift = u32::try_from(one.exponent - exponent).ok()?;
            one.digits.checked_mul(10_i128.checked_pow(shift)?)
        };
        let digits = aligned(self)?.checked_add(aligned(other)?)?;
        Some(Self::of(digits, exponent))
    }

    /// The nearest float, for comparisons.
    pub fn nearly(self) -> f64 {
        self.to_string().parse().unwrap_or(f64::NAN)
    }
}

/// As JSON has it.
impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { digits, exponent } = *self;
        if !(-MOST_PLACES..=MOST_PLACES).contains(&exponent) {
            return write!(f, "{digits}e{exponent}");
        }
        let places = usize::try_from(exponent.unsigned_abs()).unwrap_or_default();
        if exponent >= 0 {
            return write!(f, "{digits}{}", "0".repeat(places));
        }
        let sign = if digits < 0 { "-" } else { "" };
        let text = format!("{:0>width$}", digits.unsigned_abs(), width = places + 1);
        let (whole, fraction) = text.split_at(text.len() - places);
        write!(f, "{sign}{whole}.{fraction}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scaled(raw: i128, scale: f64, offset: f64) -> String {
        let scaled = Decimal::integer(raw).times(Decimal::of_f64(scale).unwrap());
        let moved = scaled.unwrap().plus(Decimal::of_f64(offset).unwrap());
        moved.unwrap().to_string()
    }

    #[test]
    fn what_is_scaled_has_the_digits_of_the_manual() {
        assert_eq!(scaled(2301, 0.1, 0.0), "230.1");
        assert_eq!(scaled(3, 0.1, 0.0), "0.3");
        assert_eq!(scaled(2300, 0.1, 0.0), "230");
        assert_eq!(scaled(-5, 0.01, 0.0), "-0.05");
        assert_eq!(scaled(2951, 0.1, -273.15), "21.95");
        assert_eq!(
            scaled(i128::from(u64::MAX), 0.001, 0.0),
            "18446744073709551.615"
        );
        assert_eq!(scaled(7, 1e-7, 0.0), "0.0000007");
        assert_eq!(scaled(0, 0.1, 0.0), "0");
        assert_eq!(scaled(1, 1e30, 0.0), "1e30");
    }

    #[test]
    fn a_float_is_as_short_as_it_was_meant() {
        assert_eq!(Decimal::of_f32(230.1).unwrap().to_string(), "230.1");
        assert_eq!(Decimal::of_f64(-0.000_1).unwrap().to_string(), "-0.0001");
        assert_eq!(Decimal::of_f32(-0.0), Some(Decimal::ZERO));
        assert_eq!(Decimal::of_f32(f32::NAN), None);
        assert_eq!(Decimal::of_f64(f64::INFINITY), None);
    }

    #[test]
    fn what_has_no_room_is_told() {
        let large = Decimal::of(i128::MAX / 7, 0);
        assert_eq!(large.times(Decimal::integer(99)), None);
        assert_eq!(Decimal::of(1, 300).plus(Decimal::ONE), None);
        assert_eq!(
            Decimal::of(1, 300).plus(Decimal::ZERO),
            Some(Decimal::of(1, 300))
        );
    }

    proptest! {
        #[test]
        fn a_raw_value_times_a_scale_is_exact(raw: i64, digits in -99_999_i64..=99_999, places in 0_u32..9, moved in -99_999_i64..=99_999) {
            let float = |digits: i64| format!("{digits}e-{places}").parse::<f64>().unwrap();
            let found = Decimal::integer(raw.into()).times(Decimal::of_f64(float(digits)).unwrap()).unwrap();
            let found = found.plus(Decimal::of_f64(float(moved)).unwrap()).unwrap();
            // The same in whole numbers of the last place.
            let expected = i128::from(raw) * i128::from(digits) + i128::from(moved);
            prop_assert_eq!(found, Decimal::of(expected, -i32::try_from(places).unwrap()));
            let shown: serde_json::Value = serde_json::from_str(&found.to_string()).unwrap();
            prop_assert!(shown.is_number());
        }

        #[test]
        fn any_float_is_read_back_from_what_is_shown(value: f64, single: f32) {
            if let Some(shown) = Decimal::of_f64(value) {
                prop_assert_eq!(shown.to_string().parse::<f64>().unwrap(), value);
            }
            if let Some(shown) = Decimal::of_f32(single) {
                prop_assert_eq!(shown.to_string().parse::<f32>().unwrap(), single);
            }
        }
    }
}
