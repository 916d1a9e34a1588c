//! One sentence: where it begins and ends, its checksum, its name, and the object that it becomes.

use tidegate_sdk::foreign::text;
use tidegate_sdk::prelude::*;

use crate::fields::{Fields, Members};
use crate::table;

/// A sentence whose checksum was looked at.
#[derive(Debug)]
pub struct Sentence<'t> {
    /// Who talks: two letters, `P` of one that a vendor has made.
    pub talker: &'t str,
    /// Its name, without the talker.
    pub name: &'t str,
    fields: &'t str,
}

impl<'t> Sentence<'t> {
    /// Reads a line.
    ///
    /// # Errors
    /// It is no sentence, or its checksum is wrong, or missing where it is `required`.
    pub fn read(line: &'t [u8], required: bool) -> Result<Self> {
        let is_printable = |byte: &u8| matches!(byte, b' '..=b'~');
        let line = match std::str::from_utf8(line) {
            Ok(text) if line.iter().all(is_printable) => text,
            _ => return Err("not NMEA 0183: it has bytes that are no printable ASCII".into()),
        };
        let line = after_tags(line)?;
        let inside = line.strip_prefix(['$', '!']);
        let inside = inside.ok_or_else(|| {
            let shown = line.get(..20).unwrap_or(line);
            format!("not NMEA 0183: it does not begin with `$` or `!`: `{shown}`")
        })?;
        let data = match inside.split_once('*') {
            Some((data, written)) => {
                check(data, written)?;
                data
            }
            None if required => {
                return Err("a sentence without a checksum: `checksum` may be \"optional\"".into());
            }
            None => inside,
        };
        let (address, fields) = data.split_once(',').unwrap_or((data, ""));
        let is_name = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
        if !(4..=10).contains(&address.len()) || !address.bytes().all(is_name) {
            return Err("not NMEA 0183: it has no talker and name, as in `GPGGA`".into());
        }
        let talker = if address.starts_with('P') { 1 } else { 2 };
        let (talker, name) = address.split_at(talker);
        Ok(Self {
            talker,
            name,
            fields,
        })
    }

    /// Appends it as an object; whether it is known, and not a list of texts.
    ///
    /// # Errors
    /// Something stands in a field that it cannot have.
    pub fn write(&self, json: &mut Vec<u8>) -> Result<bool> {
        let mut members = Members::begin(json);
        members.text("sentence", self.name);
        members.text("talker", self.talker);
        // Vendors have names of their own.
        let parts = match self.talker {
            "P" => None,
            _ => table::parts(self.name),
        };
        let mut fields = Fields::new(self.name, self.fields);
        if let Some(parts) = parts {
            for part in parts {
                part.write(&mut fields, &mut members)?;
            }
        } else {
            members.list("fields", self.fields.split(','), |field, json| {
                text(field, json);
            });
        }
        members.end();
        Ok(parts.is_some())
    }
}

/// A line without the block of tags before its sentence.
fn after_tags(line: &str) -> Result<&str> {
    let Some(tags) = line.strip_prefix('\\') else {
        return Ok(line);
    };
    let (_, rest) = tags
        .split_once('\\')
        .ok_or("not NMEA 0183: a block of tags has no end")?;
    Ok(rest)
}

fn check(data: &str, written: &str) -> Result<()> {
    let sum = data.bytes().fold(0, |sum, byte| sum ^ byte);
    let is_hex = written.len() == 2 && written.bytes().all(|byte| byte.is_ascii_hexdigit());
    match u8::from_str_radix(written, 16) {
        Ok(written) if is_hex && written == sum => Ok(()),
        _ => {
            let shown = written.get(..8).unwrap_or(written);
            Err(format!("a wrong checksum: `{shown}` is not {sum:02X}").into())
        }
    }
}
