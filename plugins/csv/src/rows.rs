//! Lines and columns of a text (RFC 4180).

use std::borrow::Cow;

use tidegate_sdk::prelude::*;

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub struct Row<'t> {
    /// Its number, from 1 on.
    pub line: usize,
    pub cells: Vec<Cow<'t, str>>,
}

/// Takes a text apart; empty lines are stepped over.
///
/// # Errors
/// A quote that is not closed or that something follows; more lines than `most`.
pub fn rows(text: &str, delimiter: u8, most: usize) -> Result<Vec<Row<'_>>> {
    let (mut rows, mut rest, mut line) = (Vec::new(), text, 1);
    while !rest.is_empty() {
        let begins = line;
        let mut cells = Vec::new();
        loop {
            let (cell, behind) =
                cell(rest, delimiter).map_err(|what| format!("line {line}: {what}"))?;
            line += cell.matches('\n').count();
            cells.push(cell);
            rest = behind;
            match rest.as_bytes() {
                [first, ..] if *first == delimiter => rest = &rest[1..],
                [b'\r', b'\n', ..] => {
                    rest = &rest[2..];
                    break;
                }
                [b'\r' | b'\n', ..] => {
                    rest = &rest[1..];
                    break;
                }
                _ => break,
            }
        }
        line += 1;
        if matches!(&cells[..], [only] if only.is_empty()) {
            continue;
        }
        if rows.len() == most {
            return Err(format!("payload has more than {most} lines").into());
        }
        rows.push(Row {
            line: begins,
            cells,
        });
    }
    Ok(rows)
}

/// One column without the spaces around it, and what follows it.
fn cell(text: &str, delimiter: u8) -> Result<(Cow<'_, str>, &str), &'static str> {
    let is_end = |byte: u8| byte == delimiter || matches!(byte, b'\r' | b'\n');
    let is_space = |byte: u8| byte == b' ' && delimiter != b' ';
    let spaces = text.bytes().take_while(|byte| is_space(*byte)).count();
    let Some(quoted) = text[spaces..].strip_prefix('"') else {
        let end = text.bytes().position(is_end).unwrap_or(text.len());
        let (cell, rest) = text.split_at(end);
        return Ok((Cow::Borrowed(cell.trim()), rest));
    };
    let (mut at, mut is_doubled) = (0, false);
    let (inside, behind) = loop {
        let quote = at + quoted[at..].find('"').ok_or("a quote is not closed")?;
        let (inside, behind) = (&quoted[..quote], &quoted[quote + 1..]);
        if !behind.starts_with('"') {
            break (inside, behind);
        }
        (at, is_doubled) = (quote + 2, true);
    };
    let spaces = behind.bytes().take_while(|byte| is_space(*byte)).count();
    let rest = &behind[spaces..];
    if !rest.bytes().next().is_none_or(is_end) {
        return Err("something follows a closed quote");
    }
    let cell = if is_doubled {
        Cow::Owned(inside.replace("\"\"", "\""))
    } else {
        Cow::Borrowed(inside)
    };
    Ok((cell, rest))
}
