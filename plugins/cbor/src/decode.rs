//! CBOR (RFC 8949) as JSON. `senml` reads its packs with this file, too.

use ciborium_io::Read;
use ciborium_ll::{Decoder, Header};
use tidegate_sdk::foreign::{self, Bytes, Singles};
use tidegate_sdk::json::Decimal;
use tidegate_sdk::prelude::*;

/// Lists and maps in one another; what other plugins take.
const MAX_DEPTH: u32 = 128;

/// Bytes of a number without a length of its own at most.
const LONGEST_NUMBER: usize = 16;

/// How it becomes JSON.
#[derive(Clone, Copy, Debug, Default)]
pub struct Forms {
    pub bytes: Bytes,
    pub singles: Singles,
}

/// Appends the one item that `item` is.
///
/// # Errors
/// It ends too early, something follows, it is nested too deeply, or has what JSON has no place for.
pub fn decode(item: &[u8], forms: Forms, payload: &mut Vec<u8>) -> Result<()> {
    if item.is_empty() {
        return Err(ends(0));
    }
    let mut reading = Reading {
        decoder: Decoder::from(item),
        item,
        forms,
    };
    let header = reading.pull()?;
    reading.value(header, payload, 0)?;
    match reading.decoder.offset() {
        at if at == item.len() => Ok(()),
        at => Err(format!("payload is not CBOR: something follows the item, at byte {at}").into()),
    }
}

struct Reading<'i> {
    decoder: Decoder<&'i [u8]>,
    item: &'i [u8],
    forms: Forms,
}

/// What begins an item, and whether it is a number of half or single precision.
struct Begun {
    header: Header,
    at: usize,
    is_single: bool,
}

fn ends(at: usize) -> tidegate_sdk::Error {
    format!("payload is not CBOR: it ends too early, at byte {at}").into()
}

fn unfit(what: &str, at: usize) -> tidegate_sdk::Error {
    format!("payload has {what}, at byte {at}, which JSON has not").into()
}

impl Reading<'_> {
    fn pull(&mut self) -> Result<Begun> {
        let at = self.decoder.offset();
        let is_single = matches!(self.item.get(at), Some(0xf9 | 0xfa));
        let header = self.decoder.pull().map_err(|error| match error {
            ciborium_ll::Error::Io(_) => ends(self.item.len()),
            ciborium_ll::Error::Syntax(at) => {
                format!("payload is not CBOR: no item begins like this, at byte {at}").into()
            }
        })?;
        Ok(Begun {
            header,
            at,
            is_single,
        })
    }

    fn value(&mut self, begun: Begun, payload: &mut Vec<u8>, depth: u32) -> Result<()> {
        let Begun {
            header,
            at,
            is_single,
        } = begun;
        match header {
            Header::Positive(number) => foreign::whole(i128::from(number), payload),
            Header::Negative(number) => foreign::whole(-1 - i128::from(number), payload),
            Header::Float(number) if is_single => {
                foreign::single(number as f32, self.forms.singles, payload);
            }
            Header::Float(number) => foreign::double(number, payload),
            Header::Simple(20) => payload.extend_from_slice(b"false"),
            Header::Simple(21) => payload.extend_from_slice(b"true"),
            Header::Simple(22 | 23) => payload.extend_from_slice(b"null"),
            Header::Simple(simple) => return Err(unfit(&format!("the simple value {simple}"), at)),
            Header::Bytes(length) => {
                let bytes = self.bytes(length)?;
                self.forms.bytes.write(&bytes, payload);
            }
            Header::Text(length) => foreign::text(&self.text(length)?, payload),
            Header::Tag(tag) => return self.tagged(tag, payload, depth),
            Header::Array(length) => return self.array(length, payload, depth),
            Header::Map(length) => return self.map(length, payload, depth),
            Header::Break => return Err(misplaced_end(at)),
        }
        Ok(())
    }

    /// What a tag says is of no use to JSON, but for numbers.
    fn tagged(&mut self, mut tag: u64, payload: &mut Vec<u8>, depth: u32) -> Result<()> {
        loop {
            let begun = self.pull()?;
            match (tag, begun.header) {
                (2 | 3, Header::Bytes(_)) => {
                    let number = self.large(tag, begun)?;
                    payload.extend_from_slice(number.as_bytes());
                    return Ok(());
                }
                (4, Header::Array(Some(2))) => return self.fraction(payload),
                (_, Header::Tag(next)) => tag = next,
                _ => return self.value(begun, payload, depth),
            }
        }
    }

    /// Digits of a number of more than 64 bits.
    fn large(&mut self, tag: u64, begun: Begun) -> Result<String> {
        let Header::Bytes(length) = begun.header else {
            return Err(unfit("a number that is none", begun.at));
        };
        let bytes = self.bytes(length)?;
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let digits = &bytes[zeros..];
        let too_long = || unfit("a number of more than 128 bits", begun.at);
        if digits.len() > LONGEST_NUMBER {
            return Err(too_long());
        }
        let number = digits
            .iter()
            .fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
        Ok(match tag {
            2 => number.to_string(),
            _ => format!("-{}", number.checked_add(1).ok_or_else(too_long)?),
        })
    }

    /// A decimal fraction: an exponent of ten and a number, exactly.
    fn fraction(&mut self, payload: &mut Vec<u8>) -> Result<()> {
        let exponent = self.whole_number()?;
        let mantissa = self.whole_number()?;
        let number = Decimal::parse(format!("{mantissa}e{exponent}").as_bytes());
        let number = number.ok_or("payload has a decimal fraction that is too long")?;
        payload.extend_from_slice(number.to_json().as_bytes());
        Ok(())
    }

    fn whole_number(&mut self) -> Result<String> {
        let begun = self.pull()?;
        match begun.header {
            Header::Positive(number) => Ok(number.to_string()),
            Header::Negative(number) => Ok((-1 - i128::from(number)).to_string()),
            Header::Tag(tag @ (2 | 3)) => {
                let begun = self.pull()?;
                self.large(tag, begun)
            }
            _ => Err(unfit("a decimal fraction that is none", begun.at)),
        }
    }

    fn array(&mut self, length: Option<usize>, payload: &mut Vec<u8>, depth: u32) -> Result<()> {
        self.enter(length, 1, depth)?;
        payload.push(b'[');
        let mut place = 0;
        while length.is_none_or(|length| place < length) {
            let begun = self.pull()?;
            if length.is_none() && begun.header == Header::Break {
                break;
            }
            if place > 0 {
                payload.push(b',');
            }
            self.value(begun, payload, depth + 1)?;
            place += 1;
        }
        payload.push(b']');
        Ok(())
    }

    fn map(&mut self, length: Option<usize>, payload: &mut Vec<u8>, depth: u32) -> Result<()> {
        self.enter(length, 2, depth)?;
        payload.push(b'{');
        let mut names = Vec::new();
        while length.is_none_or(|length| names.len() < length) {
            let begun = self.pull()?;
            if length.is_none() && begun.header == Header::Break {
                break;
            }
            if !names.is_empty() {
                payload.push(b',');
            }
            let start = payload.len();
            let name = self.name(begun)?;
            foreign::text(&name, payload);
            names.push(start..payload.len());
            payload.push(b':');
            let begun = self.pull()?;
            self.value(begun, payload, depth + 1)?;
        }
        payload.push(b'}');
        foreign::check_names(payload, &mut names)
    }

    /// Each of what is inside takes this many bytes at least: what says that it has more than there are is not read at all.
    fn enter(&mut self, length: Option<usize>, each: usize, depth: u32) -> Result<()> {
        let at = self.decoder.offset();
        if depth == MAX_DEPTH {
            return Err(format!("payload is nested deeper than {MAX_DEPTH}, at byte {at}").into());
        }
        match length {
            Some(length) if length > (self.item.len() - at) / each => Err(ends(self.item.len())),
            _ => Ok(()),
        }
    }

    /// Whole numbers are names as well: CoAP and its kin have them to be short.
    fn name(&mut self, begun: Begun) -> Result<String> {
        match begun.header {
            Header::Text(length) => self.text(length),
            Header::Positive(number) => Ok(number.to_string()),
            Header::Negative(number) => Ok((-1 - i128::from(number)).to_string()),
            Header::Break => Err(misplaced_end(begun.at)),
            _ => Err(unfit(
                "a name that is neither text nor a whole number",
                begun.at,
            )),
        }
    }

    fn text(&mut self, length: Option<usize>) -> Result<String> {
        let at = self.decoder.offset();
        let bytes = self.parts(length, |header| match header {
            Header::Text(length) => length,
            _ => None,
        })?;
        String::from_utf8(bytes)
            .map_err(|_| format!("payload has a text that is not UTF-8, at byte {at}").into())
    }

    fn bytes(&mut self, length: Option<usize>) -> Result<Vec<u8>> {
        self.parts(length, |header| match header {
            Header::Bytes(length) => length,
            _ => None,
        })
    }

    /// Text or bytes, in one or, where no length is said, in parts up to an end.
    fn parts(
        &mut self,
        length: Option<usize>,
        of_part: impl Fn(Header) -> Option<usize>,
    ) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        if let Some(length) = length {
            self.append(length, &mut bytes)?;
            return Ok(bytes);
        }
        loop {
            let begun = self.pull()?;
            if begun.header == Header::Break {
                return Ok(bytes);
            }
            let length = of_part(begun.header).ok_or_else(|| {
                let at = begun.at;
                format!(
                    "payload is not CBOR: no part of what it is in begins like this, at byte {at}"
                )
            })?;
            self.append(length, &mut bytes)?;
        }
    }

    fn append(&mut self, length: usize, bytes: &mut Vec<u8>) -> Result<()> {
        let before = bytes.len();
        if length > self.item.len() - self.decoder.offset() {
            return Err(ends(self.item.len()));
        }
        bytes.resize(before + length, 0);
        self.decoder
            .read_exact(&mut bytes[before..])
            .map_err(|_| ends(self.item.len()))
    }
}

fn misplaced_end(at: usize) -> tidegate_sdk::Error {
    format!("payload is not CBOR: an end of nothing, at byte {at}").into()
}
