//! Makes fields of lines of text: `23.5;41;ok` becomes `{"temperature":23.5,"humidity":41,"state":"ok"}`.
//!
//! ```toml
//! settings = { columns = ["temperature", "humidity", "state"], delimiter = ";" }
//! settings = { header = true, lines = "messages", decimal = "comma", delimiter = ";" }
//! settings = { columns = ["time", "", { name = "serial", type = "text" }, { name = "volts", type = "number" }] }
//! ```
//!
//! - `columns`: the columns in their order, each a name or a table; `""` leaves one out. Required without `header`.
//!   - `name`: the field's name. Required.
//!   - `type`: `"number"`, `"text"`, `"truth"` (`true` `on` `yes` `1`, `false` `off` `no` `0`), or `"auto"`: a number where it is
//!     one (without zeros in front, which codes have), else text. Default: `"auto"`.
//! - `header`: true: the first line of each payload names the columns; `columns`, where they are given, count instead. Default: false.
//! - `delimiter`: the sign between columns, none that numbers or names are made of; `"\t"` is a tab. Default: `","`.
//! - `decimal`: `"point"` or `"comma"`: what parts the whole of a number from its fraction. Default: `"point"`.
//! - `lines`: `"one"`: a payload is one line, beside the header. `"messages"`: each line becomes a message of its own. `"array"`: the
//!   lines become one message, a JSON array. At most 1,000. Default: `"one"`.
//! - `missing`: what becomes of a line with fewer columns. `"reject"`: its message goes to the dead letters. `"skip"`: the last fields are
//!   left out. One with more columns is rejected in any case. Default: `"reject"`.
//! - `empty`: what becomes of a column with nothing in it. `"skip"`: the field is left out. `"null"`: it is `null`. Default: `"skip"`.
//!
//! Columns may stand in double quotes, with a doubled one for a quote. Empty lines are stepped over. A line that cannot be read rejects
//! the whole message with the reason in words. What deletes a retained reading (an empty payload) goes on.

mod column;
mod rows;

use std::borrow::Cow;

use tidegate_sdk::json::Object;
use tidegate_sdk::prelude::*;

pub use column::{Column, Kind, Mark};
use column::{Columns, Named};

settings! {
    /// The plugin's settings.
    pub struct Settings {
        /// The columns in their order.
        pub columns: Option<Vec<Column>>,
        /// Whether the first line names them.
        #[serde(default)]
        pub header: bool,
        /// What stands between them.
        #[serde(default = "default_delimiter")]
        pub delimiter: char,
        /// What parts the whole of a number from its fraction.
        #[serde(default)]
        pub decimal: Mark,
        /// How many messages a payload makes.
        #[serde(default)]
        pub lines: Lines,
        /// What becomes of a line with fewer columns.
        #[serde(default)]
        pub missing: Missing,
        /// What becomes of a column with nothing in it.
        #[serde(default)]
        pub empty: Empty,
    }
}

settings! {
    /// How many messages a payload makes.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Lines {
        /// One, of its one line.
        #[default]
        One,
        /// One of each line.
        Messages,
        /// One of all lines.
        Array,
    }
}

settings! {
    /// What becomes of a line with fewer columns.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Missing {
        /// It is rejected.
        #[default]
        Reject,
        /// The last fields are left out.
        Skip,
    }
}

settings! {
    /// What becomes of a column with nothing in it.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Empty {
        /// The field is left out.
        #[default]
        Skip,
        /// It is `null`.
        Null,
    }
}

fn default_delimiter() -> char {
    ','
}

/// Lines of a payload at most: less than what a plugin may answer to one call.
const MOST_LINES: usize = 1_000;

/// The configured plugin.
#[derive(Debug)]
pub struct Csv {
    columns: Option<Columns>,
    header: bool,
    delimiter: u8,
    mark: Mark,
    lines: Lines,
    missing: Missing,
    empty: Empty,
}

impl Transform for Csv {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        let delimiter = u8::try_from(settings.delimiter)
            .ok()
            .filter(|byte| byte.is_ascii() && !b"\"\r\n".contains(byte))
            .ok_or(
                "`delimiter` must be an ASCII letter, and neither a quote nor the end of a line",
            )?;
        if delimiter.is_ascii_alphanumeric() || b".+-_".contains(&delimiter) {
            return Err(format!(
                "`delimiter` is `{}`, which numbers and names are made of: it may be \",\", \";\", \"|\", \"\\t\" and the like",
                settings.delimiter
            )
            .into());
        }
        if settings.decimal == Mark::Comma && delimiter == b',' {
            return Err("a comma cannot part both columns and fractions: set `delimiter`".into());
        }
        if settings.columns.is_none() && !settings.header {
            return Err("set `columns`, or `header = true` where the first line names them".into());
        }
        Ok(Self {
            columns: settings.columns.map(Columns::new).transpose()?,
            header: settings.header,
            delimiter,
            mark: settings.decimal,
            lines: settings.lines,
            missing: settings.missing,
            empty: settings.empty,
        })
    }

    fn process(&mut self, message: &Message<'_>, out: &mut Outputs<'_>) -> Result<()> {
        if message.is_delete() {
            out.pass();
            return Ok(());
        }
        let text = message.text()?;
        let most = MOST_LINES + usize::from(self.header);
        let mut rows = rows::rows(text.trim_start_matches('\u{feff}'), self.delimiter, most)?;
        let named = match (&self.columns, self.header) {
            (None, _) => Cow::Owned(Columns::named_by(
                rows.first().ok_or("payload has no line")?,
            )?),
            (Some(columns), _) => Cow::Borrowed(columns),
        };
        if self.header && !rows.is_empty() {
            rows.remove(0);
        }
        match (self.lines, rows.len()) {
            (Lines::One, 1) | (Lines::Messages | Lines::Array, 1..) => {}
            (Lines::One, many) if many > 1 => {
                let words = format!("payload has {many} lines: `lines` says what becomes of them");
                return Err(words.into());
            }
            _ => return Err("payload has no line with values".into()),
        }
        if self.lines == Lines::Array {
            return out.emit_with(|payload| {
                for (place, row) in rows.iter().enumerate() {
                    payload.push(if place == 0 { b'[' } else { b',' });
                    self.write(&named, row, payload)?;
                }
                payload.push(b']');
                Ok(())
            });
        }
        for row in &rows {
            out.emit_with(|payload| self.write(&named, row, payload))?;
        }
        Ok(())
    }
}

impl Csv {
    /// One line as an object.
    fn write(&self, columns: &Columns, row: &rows::Row<'_>, payload: &mut Vec<u8>) -> Result<()> {
        let (found, wanted) = (row.cells.len(), columns.0.len());
        if found > wanted || found < wanted && self.missing == Missing::Reject {
            return Err(format!("line {} has {found} columns, not {wanted}", row.line).into());
        }
        let mut object = Object::begin(payload);
        for (cell, column) in row.cells.iter().zip(&columns.0) {
            let Some(Named { name, kind }) = column else {
                continue;
            };
            match kind.read(cell, self.mark) {
                _ if cell.is_empty() && self.empty == Empty::Skip => {}
                _ if cell.is_empty() => object.raw(name, b"null"),
                Some(json) => object.raw(name, json.as_bytes()),
                None => {
                    let shown: String = cell.chars().take(40).collect();
                    let (line, kind) = (row.line, kind.in_words());
                    return Err(format!("line {line}: `{name}` is no {kind}: `{shown}`").into());
                }
            }
        }
        object.end();
        Ok(())
    }
}

tidegate_sdk::export!(Csv);

#[cfg(test)]
mod tests;
