//! Numbers that were not written as JSON.

/// A number as devices and people write it (`+5`, `.5`, `007`, `1.50`, `1e3`), as JSON, with its digits; `None` for what is
/// none, and for what no double can hold.
///
/// ```
/// use tidegate_sdk::json::plain_number;
///
/// assert_eq!(plain_number("+007.50").as_deref(), Some("7.50"));
/// assert_eq!(plain_number("NaN"), None);
/// ```
pub fn plain_number(text: &str) -> Option<String> {
    let (negative, rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (digits, exponent) = match rest.find(['e', 'E']) {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() && fraction.is_empty() || !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let whole = whole.trim_start_matches('0');
    let mut number = if negative { "-" } else { "" }.to_owned();
    number.push_str(if whole.is_empty() { "0" } else { whole });
    if !fraction.is_empty() {
        number.push('.');
        number.push_str(fraction);
    }
    number.push_str(exponent);
    if let Some(power) = exponent.get(1..) {
        let power = power.strip_prefix(['+', '-']).unwrap_or(power);
        if power.is_empty() || !is_digits(power) {
            return None;
        }
    }
    number.parse().is_ok_and(f64::is_finite).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_number_is_none() {
        for text in [
            "", "-", ".", "+", "e5", "1e", "1e+", "1e+-5", "--1", "1.2.3", "0x10", "inf", "1 ",
            "1e999", "1,5", "1e5e5",
        ] {
            assert_eq!(plain_number(text), None, "{text}");
        }
        assert_eq!(plain_number("-.5E-3").as_deref(), Some("-0.5E-3"));
        assert_eq!(plain_number("000").as_deref(), Some("0"));
    }

    proptest! {
        #[test]
        fn what_comes_out_is_json(text in "[-+.0-9eE]{0,12}") {
            if let Some(number) = plain_number(&text) {
                let value: serde_json::Value = serde_json::from_str(&number).unwrap();
                prop_assert_eq!(value.as_f64(), text.parse::<f64>().ok());
            }
        }
    }
}
