//! Bytes as people write them: as they stand, or as `b"…"` with escapes where something would not show or not be read back.

use crate::words;

/// Bytes that one value may become.
pub(super) const MOST_BYTES: usize = 16 << 20;

/// Reads bytes that stand up to the end of `text`: as they are, or `b"…"`, or `b"…" * 1000`.
pub(super) fn read_to_end(text: &str) -> Result<Vec<u8>, String> {
    let Some(quoted) = text.strip_prefix("b\"") else {
        return Ok(text.as_bytes().to_vec());
    };
    let (bytes, rest) = read_quoted(quoted)?;
    let rest = rest.trim();
    if rest.is_empty() {
        return Ok(bytes);
    }
    let times = rest
        .strip_prefix('*')
        .and_then(|times| times.trim().parse::<usize>().ok())
        .ok_or_else(|| format!("behind b\"…\" may stand `* NUMBER`, not `{rest}`"))?;
    match bytes.len().checked_mul(times) {
        Some(length) if length <= MOST_BYTES => Ok(bytes.repeat(times)),
        _ => Err(format!("that is more than {MOST_BYTES} bytes")),
    }
}

/// Reads a value that ends where `ends` says, or at a closing quote: the value and what stands behind it.
pub(super) fn read_word(
    text: &str,
    ends: impl Fn(&str) -> bool,
) -> Result<(Vec<u8>, &str), String> {
    if let Some(quoted) = text.strip_prefix("b\"") {
        return read_quoted(quoted);
    }
    let end = text
        .char_indices()
        .map(|(at, _)| at)
        .find(|at| ends(&text[*at..]))
        .unwrap_or(text.len());
    Ok((text.as_bytes()[..end].to_vec(), &text[end..]))
}

/// What stands behind `b"`, up to the quote that ends it.
fn read_quoted(text: &str) -> Result<(Vec<u8>, &str), String> {
    let mut bytes = Vec::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Ok((bytes, &text[at + 1..])),
            '\\' => {
                let (_, escape) = letters.next().ok_or("an escape is cut short")?;
                let byte = match escape {
                    'n' => b'\n',
                    'r' => b'\r',
                    't' => b'\t',
                    '0' => 0,
                    '\\' | '"' => escape as u8,
                    'x' => {
                        let digits = text.get(at + 2..at + 4).unwrap_or_default();
                        letters.next();
                        letters.next();
                        u8::from_str_radix(digits, 16).map_err(|_| {
                            format!("`\\x{digits}` is no byte: write two digits, \\x00 to \\xff")
                        })?
                    }
                    other => {
                        return Err(format!(
                            "`\\{other}` is no escape: there are \\n \\r \\t \\0 \\\\ \\\" and \\xNN"
                        ));
                    }
                };
                bytes.push(byte);
            }
            other => bytes.extend(other.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
    Err("b\" has no closing quote".to_owned())
}

/// Bytes in the form that is read back; as they stand where `is_plain` says that they are.
pub(super) fn show(bytes: &[u8], is_plain: impl Fn(&str) -> bool) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if is_visible(text) && !text.starts_with("b\"") && is_plain(text) => {
            text.to_owned()
        }
        _ => quoted(bytes),
    }
}

fn quoted(bytes: &[u8]) -> String {
    let mut shown = String::from("b\"");
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '"' => shown.push_str("\\\""),
                '\\' => shown.push_str("\\\\"),
                '\n' => shown.push_str("\\n"),
                letter if is_visible(letter.encode_utf8(&mut [0; 4])) => shown.push(letter),
                letter => {
                    let mut buffer = [0; 4];
                    put_bytes(&mut shown, letter.encode_utf8(&mut buffer).as_bytes());
                }
            }
        }
        put_bytes(&mut shown, chunk.invalid());
    }
    shown.push('"');
    shown
}

fn put_bytes(shown: &mut String, bytes: &[u8]) {
    for byte in bytes {
        shown.push_str(&format!("\\x{byte:02x}"));
    }
}

/// Whether a terminal shows all of it, and obeys none.
fn is_visible(text: &str) -> bool {
    words::line(text, usize::MAX) == text
}
