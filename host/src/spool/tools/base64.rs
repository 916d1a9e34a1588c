//! Base64 (RFC 4648, with padding): how payloads travel in JSON, which has no bytes.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

pub(super) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let word = group
            .iter()
            .chain([&0, &0])
            .take(3)
            .fold(0_usize, |word, byte| word << 8 | usize::from(*byte));
        for digit in 0..4 {
            let symbol = if digit > group.len() {
                b'='
            } else {
                ALPHABET[word >> (18 - 6 * digit) & 63]
            };
            text.push(char::from(symbol));
        }
    }
    text
}

/// Text to bytes; `None` for what `encode` would not have made.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let text = text.as_bytes();
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let padding = text
        .iter()
        .rev()
        .take_while(|symbol| **symbol == b'=')
        .count();
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for group in text[..text.len().checked_sub(padding).filter(|_| padding <= 2)?].chunks(4) {
        let mut word: u32 = 0;
        for place in 0..4 {
            word = word << 6 | group.get(place).map_or(Some(0), |symbol| value(*symbol))?;
        }
        bytes.extend_from_slice(&word.to_be_bytes()[1..group.len()]);
        // Bits that the padding cuts off are zero in what `encode` makes.
        if word & ((1 << (32 - 8 * group.len())) - 1) != 0 {
            return None;
        }
    }
    Some(bytes)
}

fn value(symbol: u8) -> Option<u32> {
    Some(u32::from(match symbol {
        b'A'..=b'Z' => symbol - b'A',
        b'a'..=b'z' => symbol - b'a' + 26,
        b'0'..=b'9' => symbol - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_encoded_is_read_back(bytes in proptest::collection::vec(any::<u8>(), 0..50)) {
            prop_assert_eq!(decode(&encode(&bytes)), Some(bytes));
        }

        #[test]
        fn only_what_encode_makes_is_read(text in "[A-Da-d0-3+/=]{0,12}") {
            if let Some(bytes) = decode(&text) {
                prop_assert_eq!(encode(&bytes), text);
            }
        }
    }

    #[test]
    fn the_examples_of_the_standard() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(
                (encode(bytes.as_bytes()), decode(text)),
                (text.to_owned(), Some(bytes.into()))
            );
        }
        assert!(
            decode("Zg=").is_none()
                && decode("====").is_none()
                && decode("Zh==").is_none()
                && decode("Z===").is_none()
        );
    }
}
