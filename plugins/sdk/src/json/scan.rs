//! One pass over a JSON text. Strict (RFC 8259), without recursion for what nobody looks for.

use std::ops::Range;

use super::{Level, Node};

/// Objects and lists in one another; the same bound as serde_json's.
const MAX_DEPTH: u32 = 128;

/// What is wrong, and at which byte.
pub(super) struct Fault {
    at: usize,
    kind: Kind,
}

pub(super) enum Kind {
    NotText,
    Ends,
    Expected(&'static str),
    NotAnObject,
    NotAList,
    Follows(&'static str),
    Deep,
    Twice(Box<str>),
}

impl Fault {
    pub(super) fn in_words(&self) -> String {
        let at = self.at;
        match &self.kind {
            Kind::NotText => "payload is not UTF-8 text".to_owned(),
            Kind::Ends => format!("payload is not valid JSON: it ends too early, at byte {at}"),
            Kind::Expected(what) => {
                format!("payload is not valid JSON: expected {what}, at byte {at}")
            }
            Kind::NotAnObject => format!("payload is not a JSON object, at byte {at}"),
            Kind::NotAList => format!("payload is not a JSON array, at byte {at}"),
            Kind::Follows(what) => {
                format!("payload is not valid JSON: something follows {what}, at byte {at}")
            }
            Kind::Deep => format!("payload is nested deeper than {MAX_DEPTH}, at byte {at}"),
            Kind::Twice(name) => format!("payload has field `{name}` twice, at byte {at}"),
        }
    }
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x80 * ONES;

/// Sets the high bit of the first byte that is a quote, a backslash or a control character, and perhaps of bytes
/// after it; 0 when there is none.
#[inline]
fn special(eight: u64) -> u64 {
    let (quotes, backslashes) = (eight ^ (0x22 * ONES), eight ^ (0x5c * ONES));
    let found = (quotes.wrapping_sub(ONES) & !quotes)
        | (backslashes.wrapping_sub(ONES) & !backslashes)
        | (eight.wrapping_sub(0x20 * ONES) & !eight);
    found & HIGH_BITS
}

pub(super) type Step<T = ()> = Result<T, Fault>;

pub(super) struct Scan<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
    /// Has a high bit set somewhere once a byte that is not ASCII was read.
    high: u64,
}

impl<'a> Scan<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            high: 0,
        }
    }

    /// The whole text: one object and nothing else. Spans of the wanted fields go into `spans`.
    pub(super) fn document(&mut self, wanted: &Level, spans: &mut [Range<usize>]) -> Step {
        self.whole(b'{', |scan| scan.object(wanted, spans, 1))
    }

    /// The whole text: what begins with `opening` and is read by `read`, and nothing else.
    pub(super) fn whole(&mut self, opening: u8, read: impl FnOnce(&mut Self) -> Step) -> Step {
        match self.after_space() {
            Some(found) if found == opening => read(self)?,
            Some(_) if opening == b'[' => return self.fail(Kind::NotAList),
            Some(_) => return self.fail(Kind::NotAnObject),
            None => return self.fail(Kind::Ends),
        }
        self.end(if opening == b'[' {
            "the array"
        } else {
            "the object"
        })
    }

    /// The whole text: one value of any kind, of which the place is given, and nothing else.
    pub(super) fn only(&mut self) -> Step<Range<usize>> {
        self.after_space();
        let start = self.at;
        self.skip(0)?;
        let value = start..self.at;
        self.end("the value")?;
        Ok(value)
    }

    /// Nothing follows `what`, and all of it was text.
    fn end(&mut self, what: &'static str) -> Step {
        if self.after_space().is_some() {
            return self.fail(Kind::Follows(what));
        }
        // Outside of strings only ASCII gets here, so most payloads need no second look.
        if self.high & HIGH_BITS != 0 && std::str::from_utf8(self.bytes).is_err() {
            self.fail(Kind::NotText)
        } else {
            Ok(())
        }
    }

    /// An object with fields that are looked for; recurses no deeper than the paths do.
    fn object(&mut self, wanted: &Level, spans: &mut [Range<usize>], depth: u32) -> Step {
        self.at += 1;
        if self.after_space() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            let node = self.name(wanted)?;
            self.value(node, spans, depth)?;
            match self.after_space() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(_) => return self.fail(Kind::Expected("`,` or `}`")),
                None => return self.fail(Kind::Ends),
            }
        }
    }

    /// A list with places that are looked for.
    fn list(&mut self, wanted: &Level, spans: &mut [Range<usize>], depth: u32) -> Step {
        self.at += 1;
        if self.after_space() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        let mut place = 0;
        loop {
            let node = wanted.iter().find(|node| node.place == Some(place));
            self.value(node, spans, depth)?;
            place += 1;
            match self.after_space() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(_) => return self.fail(Kind::Expected("`,` or `]`")),
                None => return self.fail(Kind::Ends),
            }
        }
    }

    /// The value of a field or place, which `node` may look for, or for something in it.
    #[inline]
    fn value(&mut self, node: Option<&Node>, spans: &mut [Range<usize>], depth: u32) -> Step {
        let opening = self.after_space();
        let start = self.at;
        match node {
            Some(node) if !node.below.is_empty() && matches!(opening, Some(b'{' | b'[')) => {
                if depth == MAX_DEPTH {
                    return self.fail(Kind::Deep);
                }
                if opening == Some(b'{') {
                    self.object(&node.below, spans, depth + 1)?;
                } else {
                    self.list(&node.below, spans, depth + 1)?;
                }
            }
            _ => self.skip(depth)?,
        }
        if let Some((node, index)) = node.and_then(|node| Some((node, node.index?))) {
            if !spans[index].is_empty() {
                self.at = start;
                return self.fail(Kind::Twice(node.name.clone()));
            }
            spans[index] = start..self.at;
        }
        Ok(())
    }

    /// A field's name and its colon; gives the wanted field of that name.
    #[inline]
    pub(super) fn name<'n>(&mut self, wanted: &'n Level) -> Step<Option<&'n Node>> {
        if self.after_space() != Some(b'"') {
            return if self.peek().is_none() {
                self.fail(Kind::Ends)
            } else {
                self.fail(Kind::Expected("a field's name"))
            };
        }
        let start = self.at;
        let escaped = self.string()?;
        let name = &self.bytes[start + 1..self.at - 1];
        let node = if escaped {
            // Rare: let serde take the escapes out.
            let name: String =
                serde_json::from_slice(&self.bytes[start..self.at]).or_else(|_| {
                    self.at = start;
                    self.fail(Kind::Expected("a name with whole escapes"))
                })?;
            wanted.iter().find(|node| *node.name == *name)
        } else {
            wanted.iter().find(|node| node.name.as_bytes() == name)
        };
        match self.after_space() {
            Some(b':') => self.at += 1,
            Some(_) => return self.fail(Kind::Expected("`:`")),
            None => return self.fail(Kind::Ends),
        }
        Ok(node)
    }

    /// Any value, unread. `open` has a bit for each list or object that is open, set for an object.
    /// Two loops in one function: a decoder spends most of its time here, and cut in two they would call each other for
    /// each value.
    pub(super) fn skip(&mut self, depth: u32) -> Step {
        let (mut open, mut deep) = (0_u128, 0);
        loop {
            match self.after_space() {
                Some(opening @ (b'{' | b'[')) => {
                    if depth + deep == MAX_DEPTH {
                        return self.fail(Kind::Deep);
                    }
                    self.at += 1;
                    (open, deep) = (open << 1 | u128::from(opening == b'{'), deep + 1);
                    match (opening, self.after_space()) {
                        (b'{', Some(b'}')) | (b'[', Some(b']')) => {}
                        (b'{', _) => {
                            self.name(&Vec::new())?;
                            continue;
                        }
                        _ => continue,
                    }
                }
                _ => self.scalar()?,
            }
            // A value has ended, or a list or object that is empty stands before its closing mark.
            loop {
                if deep == 0 {
                    return Ok(());
                }
                let closing = if open & 1 == 1 { b'}' } else { b']' };
                match self.after_space() {
                    Some(found) if found == closing => {
                        self.at += 1;
                        (open, deep) = (open >> 1, deep - 1);
                    }
                    Some(b',') => {
                        self.at += 1;
                        if closing == b'}' {
                            self.name(&Vec::new())?;
                        }
                        break;
                    }
                    Some(_) => {
                        return self.fail(Kind::Expected(if closing == b'}' {
                            "`,` or `}`"
                        } else {
                            "`,` or `]`"
                        }));
                    }
                    None => return self.fail(Kind::Ends),
                }
            }
        }
    }

    #[inline]
    fn scalar(&mut self) -> Step {
        match self.peek() {
            Some(b'"') => self.string().map(drop),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word(b"true"),
            Some(b'f') => self.word(b"false"),
            Some(b'n') => self.word(b"null"),
            Some(_) => self.fail(Kind::Expected("a value")),
            None => self.fail(Kind::Ends),
        }
    }

    fn word(&mut self, word: &'static [u8]) -> Step {
        if !self.bytes[self.at..].starts_with(word) {
            return self.fail(Kind::Expected("a value"));
        }
        self.at += word.len();
        Ok(())
    }

    /// A string with its quotes; tells whether it has escapes. Eight bytes at a time while they last.
    #[inline]
    fn string(&mut self) -> Step<bool> {
        let bytes = self.bytes;
        let mut escaped = false;
        let mut at = self.at + 1;
        loop {
            while let Some(eight) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
                let eight = u64::from_le_bytes(*eight);
                self.high |= eight;
                let ends = special(eight);
                at += (ends.trailing_zeros() / 8) as usize;
                if ends != 0 {
                    break;
                }
            }
            match bytes.get(at) {
                Some(b'"') => {
                    self.at = at + 1;
                    return Ok(escaped);
                }
                Some(b'\\') => {
                    escaped = true;
                    self.at = at;
                    self.escape()?;
                    at = self.at;
                }
                Some(0..0x20) => {
                    self.at = at;
                    return self.fail(Kind::Expected("no control character in a string"));
                }
                Some(byte) => {
                    self.high |= u64::from(*byte);
                    at += 1;
                }
                None => {
                    self.at = at;
                    return self.fail(Kind::Ends);
                }
            }
        }
    }

    fn escape(&mut self) -> Step {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                let digits = self.bytes.get(self.at + 1..self.at + 5).unwrap_or_default();
                if digits.len() < 4 || !digits.iter().all(u8::is_ascii_hexdigit) {
                    return self.fail(Kind::Expected("four hexadecimal digits"));
                }
                self.at += 5;
            }
            Some(_) => return self.fail(Kind::Expected("an escape that JSON knows")),
            None => return self.fail(Kind::Ends),
        }
        Ok(())
    }

    #[inline]
    fn number(&mut self) -> Step {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    #[inline]
    fn digits(&mut self) -> Step {
        let rest = &self.bytes[self.at..];
        let count = rest
            .iter()
            .position(|byte| !byte.is_ascii_digit())
            .unwrap_or(rest.len());
        self.at += count;
        match self.peek() {
            _ if count > 0 => Ok(()),
            Some(_) => self.fail(Kind::Expected("a digit")),
            None => self.fail(Kind::Ends),
        }
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Steps over white space.
    #[inline]
    pub(super) fn after_space(&mut self) -> Option<u8> {
        loop {
            match self.peek() {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                found => return found,
            }
        }
    }

    #[cold]
    pub(super) fn fail<T>(&self, kind: Kind) -> Step<T> {
        Err(Fault { at: self.at, kind })
    }
}
