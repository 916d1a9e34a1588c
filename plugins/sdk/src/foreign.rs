//! What other formats have and JSON has not: bytes, numbers of single precision, numbers without a value; and names that stand there
//! twice. For plugins that decode.

use std::io::Write as _;
use std::ops::Range;

use crate::plugin::Result;
use crate::settings;

settings! {
    /// What bytes become.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Bytes {
        /// Text in base64 (RFC 4648), with its padding.
        #[default]
        Base64,
        /// Text of two digits each.
        Hex,
        /// A list of numbers.
        List,
    }
}

settings! {
    /// How numbers of single precision are written.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Singles {
        /// By what they are: `21.600000381469727`.
        #[default]
        Exact,
        /// By the fewest digits that read back as the same single: `21.6`.
        Short,
    }
}

impl Bytes {
    /// Appends them as JSON.
    ///
    /// ```
    /// use tidegate_sdk::foreign::Bytes;
    ///
    /// let mut payload = Vec::new();
    /// Bytes::Base64.write(b"\x00\xffa", &mut payload);
    /// Bytes::Hex.write(b"\x00\xffa", &mut payload);
    /// Bytes::List.write(b"\x00\xffa", &mut payload);
    /// assert_eq!(payload, br#""AP9h""00ff61"[0,255,97]"#);
    /// ```
    pub fn write(self, bytes: &[u8], payload: &mut Vec<u8>) {
        if self == Self::List {
            payload.push(b'[');
            for (place, byte) in bytes.iter().enumerate() {
                if place > 0 {
                    payload.push(b',');
                }
                whole(i128::from(*byte), payload);
            }
            payload.push(b']');
            return;
        }
        payload.push(b'"');
        match self {
            Self::Hex => {
                const DIGITS: &[u8; 16] = b"0123456789abcdef";
                for byte in bytes {
                    payload.push(DIGITS[usize::from(byte >> 4)]);
                    payload.push(DIGITS[usize::from(byte & 15)]);
                }
            }
            _ => base64(bytes, payload),
        }
        payload.push(b'"');
    }
}

impl Bytes {
    /// The bytes that a text says: base64 of either alphabet, with or without its padding, or pairs of digits; `None` where it says
    /// none. Nobody writes lists as text.
    ///
    /// ```
    /// use tidegate_sdk::foreign::Bytes;
    ///
    /// assert_eq!(Bytes::Base64.read("AP9h").as_deref(), Some(&b"\x00\xffa"[..]));
    /// assert_eq!(Bytes::Hex.read("00FF61").as_deref(), Some(&b"\x00\xffa"[..]));
    /// assert_eq!(Bytes::Hex.read("0"), None);
    /// ```
    pub fn read(self, text: &str) -> Option<Vec<u8>> {
        match self {
            Self::Base64 => from_base64(text),
            Self::Hex if text.len().is_multiple_of(2) => {
                let digit = |letter: u8| char::from(letter).to_digit(16);
                let pair = |pair: &[u8]| Some((digit(pair[0])? << 4 | digit(pair[1])?) as u8);
                text.as_bytes().chunks(2).map(pair).collect()
            }
            Self::Hex | Self::List => None,
        }
    }
}

fn from_base64(text: &str) -> Option<Vec<u8>> {
    let letters = text.trim_end_matches('=').as_bytes();
    let padding = text.len() - letters.len();
    if letters.len() % 4 == 1 || padding > 2 || padding > 0 && !text.len().is_multiple_of(4) {
        return None;
    }
    let mut bytes = Vec::with_capacity(letters.len() * 3 / 4);
    for four in letters.chunks(4) {
        let mut bits = 0_u32;
        for letter in four {
            let value = match letter {
                b'A'..=b'Z' => letter - b'A',
                b'a'..=b'z' => letter - b'a' + 26,
                b'0'..=b'9' => letter - b'0' + 52,
                b'+' | b'-' => 62,
                b'/' | b'_' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(value);
        }
        bits <<= 6 * (4 - four.len());
        bytes.extend_from_slice(&bits.to_be_bytes()[1..four.len()]);
    }
    Some(bytes)
}

fn base64(bytes: &[u8], payload: &mut Vec<u8>) {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for three in bytes.chunks(3) {
        let byte = |place: usize| u32::from(three.get(place).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            payload.push(match place <= three.len() {
                true => LETTERS[(bits >> (18 - 6 * place) & 63) as usize],
                false => b'=',
            });
        }
    }
}

/// Appends a whole number.
pub fn whole(number: i128, payload: &mut Vec<u8>) {
    write!(payload, "{number}").expect("memory takes it");
}

/// Appends a double by the fewest digits that read back as the same one; what is no number, or infinite, is `null`.
///
/// ```
/// let mut payload = Vec::new();
/// tidegate_sdk::foreign::double(21.5, &mut payload);
/// assert_eq!(payload, b"21.5");
/// ```
pub fn double(number: f64, payload: &mut Vec<u8>) {
    serde_json::to_writer(payload, &number).expect("memory takes it");
}

/// Appends a number of single precision.
pub fn single(number: f32, singles: Singles, payload: &mut Vec<u8>) {
    match singles {
        Singles::Exact => double(f64::from(number), payload),
        Singles::Short => serde_json::to_writer(payload, &number).expect("memory takes it"),
    }
}

/// Appends a text with its quotes.
pub fn text(text: &str, payload: &mut Vec<u8>) {
    serde_json::to_writer(payload, text).expect("memory takes it");
}

/// An error when two of an object's names, which stand at these places of the payload, are one: readers would disagree on it.
pub fn check_names(payload: &[u8], names: &mut [Range<usize>]) -> Result<()> {
    names.sort_unstable_by(|one, other| payload[one.clone()].cmp(&payload[other.clone()]));
    let same = |pair: &&[Range<usize>]| payload[pair[0].clone()] == payload[pair[1].clone()];
    match names.windows(2).find(same) {
        None => Ok(()),
        Some(pair) => {
            let name = String::from_utf8_lossy(&payload[pair[0].clone()]);
            Err(format!("payload has field {name} twice").into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (bytes, wanted) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            let mut payload = Vec::new();
            Bytes::Base64.write(bytes.as_bytes(), &mut payload);
            assert_eq!(payload, format!("\"{wanted}\"").as_bytes());
            for text in [wanted, wanted.trim_end_matches('=')] {
                assert_eq!(Bytes::Base64.read(text).unwrap(), bytes.as_bytes());
            }
        }
        assert_eq!(Bytes::Base64.read("-_8"), Bytes::Base64.read("+/8="));
        for text in ["Z", "Zg=", "Zg===", "Zg==Zg==", "Z g=", "ü"] {
            assert_eq!(Bytes::Base64.read(text), None, "{text}");
        }
        for text in ["0", "0g", "ü"] {
            assert_eq!(Bytes::Hex.read(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_number_is_null_and_singles_may_be_short() {
        let mut payload = Vec::new();
        double(f64::NAN, &mut payload);
        single(f32::INFINITY, Singles::Short, &mut payload);
        single(21.6, Singles::Exact, &mut payload);
        payload.push(b' ');
        single(21.6, Singles::Short, &mut payload);
        assert_eq!(payload, b"nullnull21.600000381469727 21.6");
    }

    #[test]
    fn a_name_may_not_stand_there_twice() {
        let payload = br#""a""b""a""#;
        let mut names = [0..3, 3..6, 6..9];
        assert_eq!(
            check_names(payload, &mut names).unwrap_err().to_string(),
            "payload has field \"a\" twice"
        );
        assert!(check_names(payload, &mut [0..3, 3..6]).is_ok());
    }
}
