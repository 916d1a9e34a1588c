//! Until when a certificate counts.

use std::path::Path;

use super::{Error, tls};
use crate::clock;

/// Until when all certificates of a PEM file count: microseconds since 1970, of the one that ends first. Reads the file.
///
/// # Errors
/// It cannot be read, or holds no certificate.
pub fn valid_until(path: &Path) -> Result<Option<u64>, Error> {
    let certificates = tls::certificates(path)?;
    Ok(certificates.iter().filter_map(|one| not_after(one)).min())
}

/// The end of the validity that a certificate (DER) states; `None` where it is not of that form.
fn not_after(certificate: &[u8]) -> Option<u64> {
    let (_, whole, _) = value(certificate)?;
    let (_, mut signed, _) = value(whole)?;
    // The version stands first, and may be left out; then number, algorithm and issuer.
    if signed.first() == Some(&0xa0) {
        signed = value(signed)?.2;
    }
    for _ in 0..3 {
        signed = value(signed)?.2;
    }
    let (_, validity, _) = value(signed)?;
    let (_, _, end) = value(validity)?;
    let (kind, text, _) = value(end)?;
    moment(kind, std::str::from_utf8(text).ok()?)
}

/// Kind and content of the first value, and what follows it.
fn value(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let kind = *bytes.first()?;
    let (length, rest) = tls::der(bytes, kind)?;
    let (content, rest) = rest.split_at_checked(length)?;
    Some((kind, content, rest))
}

/// `UTCTime` has two digits of the year, `GeneralizedTime` four.
fn moment(kind: u8, text: &str) -> Option<u64> {
    let text = match kind {
        0x17 if text.get(..2)? < "50" => format!("20{text}"),
        0x17 => format!("19{text}"),
        0x18 => text.to_owned(),
        _ => return None,
    };
    let part = |at: std::ops::Range<usize>| text.get(at);
    clock::moment(&format!(
        "{}-{}-{}T{}:{}:{}Z",
        part(0..4)?,
        part(4..6)?,
        part(6..8)?,
        part(8..10)?,
        part(10..12)?,
        part(12..14)?
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A value of this kind around `content`.
    fn of(kind: u8, content: &[u8]) -> Vec<u8> {
        let mut value = vec![kind, 0x82];
        value.extend((content.len() as u16).to_be_bytes());
        value.extend(content);
        value
    }

    fn certificate(version: &[u8], end: &[u8]) -> Vec<u8> {
        let begin = of(0x17, b"250101000000Z");
        let validity = of(0x30, &[begin, end.to_vec()].concat());
        let before = [of(0x02, &[7]), of(0x30, b"x"), of(0x30, &[0; 300])].concat();
        let signed = of(
            0x30,
            &[version, &before, &validity, &of(0x30, b"y")].concat(),
        );
        of(0x30, &[signed, of(0x30, b"z")].concat())
    }

    #[test]
    fn the_end_is_found_in_both_forms_and_nothing_in_what_is_cut_short() {
        let noon = clock::moment("2031-02-03T12:00:01Z");
        let version = of(0xa0, &of(0x02, &[2]));
        for end in [of(0x17, b"310203120001Z"), of(0x18, b"20310203120001Z")] {
            let whole = certificate(&version, &end);
            assert_eq!(not_after(&whole), noon);
            assert_eq!(not_after(&certificate(&[], &end)), noon);
            for length in 0..whole.len() {
                let _ = not_after(&whole[..length]);
            }
        }
        assert_eq!(
            moment(0x17, "991231235959Z"),
            clock::moment("1999-12-31T23:59:59Z")
        );
        assert_eq!(moment(0x18, "é1231235959Z1234"), None);
        assert_eq!(not_after(b"no certificate"), None);
    }
}
