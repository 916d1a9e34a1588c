//! Entries of an answer whose every part is what a message asks for, right or wrong.

/// The words of an entry, and its topic, headers and payload.
type Entry = ([u32; 7], Vec<u8>);

const PASS: u32 = 0;
const EMIT: u32 = 1;
/// QoS 1.
const MARKS: u32 = 1 << 4;

/// The entry for input `index` that `payload` asks for; `None` where it asks for something else.
pub fn made(index: u32, payload: &[u8]) -> Option<Entry> {
    let emit = |key: u32, length: u32| [index, EMIT, 5, 0, length, key, MARKS];
    Some(match payload {
        b"headers" => with_headers(index, &header(b"room", b"shed"), MARKS),
        b"many-headers" => {
            let headers: Vec<u8> = (0..200).flat_map(|_| header(b"n", b"v")).collect();
            with_headers(index, &headers, MARKS)
        }
        b"cut-headers" => with_headers(index, &[9, 0, b'x'], MARKS),
        b"no-name" => with_headers(index, &header(b"", b"v"), MARKS),
        b"nul-header" => with_headers(index, &header(b"a\0", b"\xff"), MARKS),
        b"reserved" => with_headers(index, &header(b":message-expiry", b"soon"), MARKS),
        b"marks" => with_headers(index, b"", u32::MAX),
        b"key" => (emit(2 | 3 << 16, 1), b"k/one1".to_vec()),
        b"no-key" => (emit(0, 1), b"k/one1".to_vec()),
        b"far-key" => (emit(4 | 9 << 16, 1), b"k/one1".to_vec()),
        b"short" => (emit(0, u32::MAX), b"k/one1".to_vec()),
        b"other-key" => {
            let words = [index, EMIT, 10, 0, 1, 8 | 2 << 16, MARKS];
            (words, b"devices/d11".to_vec())
        }
        b"action" => ([index, 77, 0, 0, 0, 0, 0], Vec::new()),
        b"nobody" => ([u32::MAX - 1, EMIT, 0, 0, 0, 0, 0], Vec::new()),
        b"back-one" => ([index.saturating_sub(1), PASS, 0, 0, 0, 0, 0], Vec::new()),
        _ => return None,
    })
}

/// What goes on under its own topic, with these headers and marks.
fn with_headers(index: u32, headers: &[u8], marks: u32) -> Entry {
    let words = [index, EMIT, 0, headers.len() as u32, 4, 0, marks];
    (words, [headers, b"told"].concat())
}

fn header(name: &[u8], value: &[u8]) -> Vec<u8> {
    let length = |text: &[u8]| (text.len() as u16).to_le_bytes();
    [&length(name)[..], name, &length(value)[..], value].concat()
}
