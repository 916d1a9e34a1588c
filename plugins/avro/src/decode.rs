//! Bytes to JSON, by a schema.

use tidegate_sdk::foreign::{Bytes, Singles, check_names, double, single, text, whole};
use tidegate_sdk::prelude::*;

use crate::schema::{Kind, Schema};

/// Values within one another; what other plugins take of JSON.
const DEEPEST: usize = 128;

/// Bytes of JSON that one payload may become: elements without bytes may be any number.
const MOST_JSON: usize = 1 << 20;

/// How things are written.
#[derive(Clone, Copy, Debug)]
pub struct Forms {
    /// What bytes become.
    pub bytes: Bytes,
    /// How numbers of single precision are written.
    pub singles: Singles,
}

/// Appends the value that begins at `start` as JSON.
///
/// # Errors
/// The bytes are none of the schema, or become too much.
pub fn decode(
    schema: &Schema,
    payload: &[u8],
    start: usize,
    forms: Forms,
    json: &mut Vec<u8>,
) -> Result<()> {
    let most = json.len() + MOST_JSON;
    let mut decoder = Decoder {
        schema,
        payload,
        at: start,
        forms,
        json,
        most,
    };
    decoder.value(&schema.root, 0)?;
    match decoder.at {
        at if at == payload.len() => Ok(()),
        _ => Err(decoder.wrong("something follows the value")),
    }
}

struct Decoder<'d> {
    schema: &'d Schema,
    payload: &'d [u8],
    at: usize,
    forms: Forms,
    json: &'d mut Vec<u8>,
    /// How long the buffer may get.
    most: usize,
}

impl<'d> Decoder<'d> {
    fn wrong(&self, what: &str) -> Error {
        format!("payload is not of the schema: {what}, at byte {}", self.at).into()
    }

    fn take(&mut self, count: usize) -> Result<&'d [u8]> {
        let rest = &self.payload[self.at..];
        match rest.get(..count) {
            Some(taken) => {
                self.at += count;
                Ok(taken)
            }
            None => {
                self.at = self.payload.len();
                Err(self.wrong("it ends too early"))
            }
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }

    /// A whole number of 64 bits, seven bits a byte, the sign in the lowest.
    fn long(&mut self) -> Result<i64> {
        let start = self.at;
        let mut bits = 0_u64;
        for shift in (0..70).step_by(7) {
            let [byte] = self.array()?;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                break;
            }
            bits |= part << shift;
            if byte & 0x80 == 0 {
                return Ok((bits >> 1) as i64 ^ -((bits & 1) as i64));
            }
        }
        self.at = start;
        Err(self.wrong("a number of more than 64 bits"))
    }

    fn length(&mut self) -> Result<usize> {
        let start = self.at;
        let length = self.long()?;
        usize::try_from(length).map_err(|_| {
            self.at = start;
            self.wrong("a length below 0")
        })
    }

    fn bytes(&mut self) -> Result<&'d [u8]> {
        let length = self.length()?;
        self.take(length)
    }

    fn words(&mut self) -> Result<&'d str> {
        let start = self.at;
        let bytes = self.bytes()?;
        std::str::from_utf8(bytes).map_err(|_| {
            self.at = start;
            self.wrong("a text that is not UTF-8")
        })
    }

    fn value(&mut self, kind: &Kind, depth: usize) -> Result<()> {
        if depth > DEEPEST {
            return Err(self.wrong(&format!("it is nested deeper than {DEEPEST}")));
        }
        let start = self.at;
        match self.schema.resolve(kind) {
            Kind::Null => self.json.extend_from_slice(b"null"),
            Kind::Bytes => {
                let bytes = self.bytes()?;
                self.forms.bytes.write(bytes, self.json);
            }
            Kind::Fixed(size) => {
                let bytes = self.take(*size)?;
                self.forms.bytes.write(bytes, self.json);
            }
            Kind::Decimal(scale, size) => self.decimal(*scale, *size)?,
            Kind::String => {
                let words = self.words()?;
                text(words, self.json);
            }
            Kind::Enum(symbols) => {
                let place = self.length()?;
                match symbols.get(place) {
                    Some(symbol) => text(symbol, self.json),
                    None => return Err(self.no_such(start, "word", symbols.len())),
                }
            }
            Kind::Union(kinds) => {
                let place = self.length()?;
                match kinds.get(place) {
                    Some(kind) => self.value(kind, depth + 1)?,
                    None => return Err(self.no_such(start, "type", kinds.len())),
                }
            }
            Kind::Array(kind) => self.list(kind, depth)?,
            Kind::Map(kind) => self.map(kind, depth)?,
            Kind::Record(fields) => {
                self.json.push(b'{');
                for (place, field) in fields.iter().enumerate() {
                    self.comma(place > 0)?;
                    text(&field.name, self.json);
                    self.json.push(b':');
                    self.value(&field.kind, depth + 1)?;
                }
                self.json.push(b'}');
            }
            kind => self.plain(kind)?,
        }
        Ok(())
    }

    /// Truths and numbers.
    fn plain(&mut self, kind: &Kind) -> Result<()> {
        let start = self.at;
        match kind {
            Kind::Boolean => match self.array()? {
                [0] => self.json.extend_from_slice(b"false"),
                [1] => self.json.extend_from_slice(b"true"),
                _ => {
                    self.at = start;
                    return Err(self.wrong("neither true nor false"));
                }
            },
            Kind::Int => {
                let number = self.long()?;
                if i32::try_from(number).is_err() {
                    self.at = start;
                    return Err(self.wrong("a number of more than 32 bits"));
                }
                whole(i128::from(number), self.json);
            }
            Kind::Long => {
                let number = self.long()?;
                whole(i128::from(number), self.json);
            }
            Kind::Float => {
                let number = f32::from_le_bytes(self.array()?);
                single(number, self.forms.singles, self.json);
            }
            Kind::Double => {
                let number = f64::from_le_bytes(self.array()?);
                double(number, self.json);
            }
            // `resolve` gives no other.
            _ => return Err(self.wrong("a type without a form")),
        }
        Ok(())
    }

    fn no_such(&mut self, start: usize, what: &str, of: usize) -> Error {
        self.at = start;
        self.wrong(&format!("no such {what} of {of}"))
    }

    fn decimal(&mut self, scale: u32, size: Option<usize>) -> Result<()> {
        let start = self.at;
        let bytes = match size {
            Some(size) => self.take(size)?,
            None => self.bytes()?,
        };
        let number = number_of(bytes).ok_or_else(|| {
            self.at = start;
            self.wrong("a decimal of more than 128 bits")
        })?;
        let scale = scale as usize;
        let sign = if number < 0 { "-" } else { "" };
        let digits = format!("{:0>width$}", number.unsigned_abs(), width = scale + 1);
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        let point = if scale == 0 { "" } else { "." };
        let number = format!("{sign}{whole}{point}{fraction}");
        self.json.extend_from_slice(number.as_bytes());
        Ok(())
    }

    /// A comma but before the first, as long as there is room.
    fn comma(&mut self, is_wanted: bool) -> Result<()> {
        if self.json.len() > self.most {
            return Err(format!("payload becomes more than {MOST_JSON} bytes of JSON").into());
        }
        if is_wanted {
            self.json.push(b',');
        }
        Ok(())
    }

    /// How many elements follow; 0 at the end. A count below 0 has its bytes behind it.
    fn block(&mut self) -> Result<u64> {
        let count = self.long()?;
        if count < 0 {
            self.length()?;
        }
        Ok(count.unsigned_abs())
    }

    fn list(&mut self, kind: &Kind, depth: usize) -> Result<()> {
        self.json.push(b'[');
        let mut is_first = true;
        loop {
            let count = self.block()?;
            if count == 0 {
                break;
            }
            for _ in 0..count {
                self.comma(!std::mem::take(&mut is_first))?;
                self.value(kind, depth + 1)?;
            }
        }
        self.json.push(b']');
        Ok(())
    }

    fn map(&mut self, kind: &Kind, depth: usize) -> Result<()> {
        self.json.push(b'{');
        let mut names = Vec::new();
        loop {
            let count = self.block()?;
            if count == 0 {
                break;
            }
            for _ in 0..count {
                self.comma(!names.is_empty())?;
                let name = self.words()?;
                let start = self.json.len();
                text(name, self.json);
                names.push(start..self.json.len());
                self.json.push(b':');
                self.value(kind, depth + 1)?;
            }
        }
        self.json.push(b'}');
        check_names(self.json, &mut names)
    }
}

/// A whole number with its sign, high byte first.
fn number_of(bytes: &[u8]) -> Option<i128> {
    let is_negative = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
    let filling = if is_negative { 0xff } else { 0 };
    let surplus = bytes.len().saturating_sub(16);
    let (above, low) = bytes.split_at(surplus);
    let mut whole = [filling; 16];
    whole[16 - low.len()..].copy_from_slice(low);
    let number = i128::from_be_bytes(whole);
    let fits = above.iter().all(|byte| *byte == filling) && (number < 0) == is_negative;
    fits.then_some(number)
}
