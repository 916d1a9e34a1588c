//! MessagePack as JSON.

use rmp::Marker;
use tidegate_sdk::foreign::{self, Bytes, Singles};
use tidegate_sdk::prelude::*;

/// Lists and maps in one another; what other plugins take.
const MAX_DEPTH: u32 = 128;

/// The type of what is not one's own: a moment.
const TIMESTAMP: i8 = -1;

/// How it becomes JSON.
#[derive(Clone, Copy, Debug)]
pub struct Forms {
    pub bytes: Bytes,
    pub singles: Singles,
}

/// Appends the one value that `value` is.
///
/// # Errors
/// It ends too early, something follows, it is nested too deeply, or has what JSON has no place for.
pub fn decode(value: &[u8], forms: Forms, payload: &mut Vec<u8>) -> Result<()> {
    let mut reading = Reading {
        bytes: value,
        at: 0,
        forms,
    };
    reading.value(payload, 0)?;
    match reading.at {
        at if at == value.len() => Ok(()),
        at => Err(
            format!("payload is not MessagePack: something follows the value, at byte {at}").into(),
        ),
    }
}

struct Reading<'v> {
    bytes: &'v [u8],
    at: usize,
    forms: Forms,
}

impl<'v> Reading<'v> {
    fn take(&mut self, length: usize) -> Result<&'v [u8]> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..length).ok_or_else(|| {
            let at = self.bytes.len();
            format!("payload is not MessagePack: it ends too early, at byte {at}")
        })?;
        self.at += length;
        Ok(taken)
    }

    fn chunk<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut chunk = [0; N];
        chunk.copy_from_slice(self.take(N)?);
        Ok(chunk)
    }

    /// A length of so many bytes.
    fn length(&mut self, bytes: usize) -> Result<usize> {
        let length = self.take(bytes)?;
        Ok(length
            .iter()
            .fold(0, |length, byte| length << 8 | usize::from(*byte)))
    }

    fn value(&mut self, payload: &mut Vec<u8>, depth: u32) -> Result<()> {
        let start = self.at;
        let [first] = self.chunk()?;
        let marker = Marker::from_u8(first);
        if let Some(number) = self.whole_number(marker)? {
            foreign::whole(number, payload);
            return Ok(());
        }
        if let Some(text) = self.text(marker)? {
            foreign::text(text, payload);
            return Ok(());
        }
        match marker {
            Marker::Null => payload.extend_from_slice(b"null"),
            Marker::True => payload.extend_from_slice(b"true"),
            Marker::False => payload.extend_from_slice(b"false"),
            Marker::F32 => {
                let number = f32::from_be_bytes(self.chunk()?);
                foreign::single(number, self.forms.singles, payload);
            }
            Marker::F64 => foreign::double(f64::from_be_bytes(self.chunk()?), payload),
            Marker::Bin8 => self.binary(1, payload)?,
            Marker::Bin16 => self.binary(2, payload)?,
            Marker::Bin32 => self.binary(4, payload)?,
            Marker::FixArray(length) => self.array(usize::from(length), payload, depth)?,
            Marker::Array16 => {
                let length = self.length(2)?;
                self.array(length, payload, depth)?;
            }
            Marker::Array32 => {
                let length = self.length(4)?;
                self.array(length, payload, depth)?;
            }
            Marker::FixMap(length) => self.map(usize::from(length), payload, depth)?,
            Marker::Map16 => {
                let length = self.length(2)?;
                self.map(length, payload, depth)?;
            }
            Marker::Map32 => {
                let length = self.length(4)?;
                self.map(length, payload, depth)?;
            }
            marker => return self.extension(marker, start, payload),
        }
        Ok(())
    }

    /// A whole number, where it is one.
    fn whole_number(&mut self, marker: Marker) -> Result<Option<i128>> {
        Ok(Some(match marker {
            Marker::FixPos(number) => number.into(),
            Marker::FixNeg(number) => number.into(),
            Marker::U8 => u8::from_be_bytes(self.chunk()?).into(),
            Marker::U16 => u16::from_be_bytes(self.chunk()?).into(),
            Marker::U32 => u32::from_be_bytes(self.chunk()?).into(),
            Marker::U64 => u64::from_be_bytes(self.chunk()?).into(),
            Marker::I8 => i8::from_be_bytes(self.chunk()?).into(),
            Marker::I16 => i16::from_be_bytes(self.chunk()?).into(),
            Marker::I32 => i32::from_be_bytes(self.chunk()?).into(),
            Marker::I64 => i64::from_be_bytes(self.chunk()?).into(),
            _ => return Ok(None),
        }))
    }

    /// A text, where it is one.
    fn text(&mut self, marker: Marker) -> Result<Option<&'v str>> {
        let length = match marker {
            Marker::FixStr(length) => usize::from(length),
            Marker::Str8 => self.length(1)?,
            Marker::Str16 => self.length(2)?,
            Marker::Str32 => self.length(4)?,
            _ => return Ok(None),
        };
        let at = self.at;
        let text = std::str::from_utf8(self.take(length)?);
        text.map(Some)
            .map_err(|_| format!("payload has a text that is not UTF-8, at byte {at}").into())
    }

    fn binary(&mut self, bytes: usize, payload: &mut Vec<u8>) -> Result<()> {
        let length = self.length(bytes)?;
        let bytes = self.take(length)?;
        self.forms.bytes.write(bytes, payload);
        Ok(())
    }

    fn array(&mut self, length: usize, payload: &mut Vec<u8>, depth: u32) -> Result<()> {
        self.check_depth(depth)?;
        payload.push(b'[');
        for place in 0..length {
            if place > 0 {
                payload.push(b',');
            }
            self.value(payload, depth + 1)?;
        }
        payload.push(b']');
        Ok(())
    }

    fn map(&mut self, length: usize, payload: &mut Vec<u8>, depth: u32) -> Result<()> {
        self.check_depth(depth)?;
        payload.push(b'{');
        let mut names = Vec::new();
        for place in 0..length {
            if place > 0 {
                payload.push(b',');
            }
            let at = self.at;
            let [first] = self.chunk()?;
            let marker = Marker::from_u8(first);
            let start = payload.len();
            match (self.whole_number(marker)?, self.text(marker)?) {
                (Some(number), _) => foreign::text(&number.to_string(), payload),
                (None, Some(name)) => foreign::text(name, payload),
                (None, None) => {
                    let words = format!(
                        "payload has a name that is neither text nor a whole number, at byte {at}, which JSON has not"
                    );
                    return Err(words.into());
                }
            }
            names.push(start..payload.len());
            payload.push(b':');
            self.value(payload, depth + 1)?;
        }
        payload.push(b'}');
        foreign::check_names(payload, &mut names)
    }

    fn check_depth(&self, depth: u32) -> Result<()> {
        match depth {
            MAX_DEPTH => {
                let at = self.at;
                Err(format!("payload is nested deeper than {MAX_DEPTH}, at byte {at}").into())
            }
            _ => Ok(()),
        }
    }

    /// A moment in seconds, and what somebody has a type of his own for with that.
    fn extension(&mut self, marker: Marker, start: usize, payload: &mut Vec<u8>) -> Result<()> {
        let length = match marker {
            Marker::FixExt1 => 1,
            Marker::FixExt2 => 2,
            Marker::FixExt4 => 4,
            Marker::FixExt8 => 8,
            Marker::FixExt16 => 16,
            Marker::Ext8 => self.length(1)?,
            Marker::Ext16 => self.length(2)?,
            Marker::Ext32 => self.length(4)?,
            _ => {
                let words = format!(
                    "payload is not MessagePack: no value begins like this, at byte {start}"
                );
                return Err(words.into());
            }
        };
        let kind = i8::from_be_bytes(self.chunk()?);
        let bytes = self.take(length)?;
        if kind == TIMESTAMP {
            let moment = moment(bytes)
                .ok_or_else(|| format!("payload has a time that is none, at byte {start}"))?;
            payload.extend_from_slice(moment.as_bytes());
            return Ok(());
        }
        payload.extend_from_slice(b"{\"type\":");
        foreign::whole(kind.into(), payload);
        payload.extend_from_slice(b",\"data\":");
        self.forms.bytes.write(bytes, payload);
        payload.push(b'}');
        Ok(())
    }
}

/// Seconds since 1970, with all digits that there are of the fraction.
fn moment(bytes: &[u8]) -> Option<String> {
    let (seconds, nanos) = match bytes.len() {
        4 => (i128::from(u32::from_be_bytes(bytes.try_into().ok()?)), 0),
        8 => {
            let both = u64::from_be_bytes(bytes.try_into().ok()?);
            (i128::from(both & ((1 << 34) - 1)), both >> 34)
        }
        12 => {
            let (nanos, seconds) = bytes.split_at(4);
            let seconds = i64::from_be_bytes(seconds.try_into().ok()?);
            let nanos = u32::from_be_bytes(nanos.try_into().ok()?);
            (i128::from(seconds), u64::from(nanos))
        }
        _ => return None,
    };
    if nanos >= 1_000_000_000 {
        return None;
    }
    let nanos_in_all = seconds * 1_000_000_000 + i128::from(nanos);
    let (sign, size) = match nanos_in_all < 0 {
        true => ("-", nanos_in_all.unsigned_abs()),
        false => ("", nanos_in_all.unsigned_abs()),
    };
    let (whole, part) = (size / 1_000_000_000, size % 1_000_000_000);
    Some(match part {
        0 => format!("{sign}{whole}"),
        part => {
            let part = format!("{part:09}");
            format!("{sign}{whole}.{}", part.trim_end_matches('0'))
        }
    })
}
