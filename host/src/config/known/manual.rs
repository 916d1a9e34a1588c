//! The manual, key by key: what stands before each, and under which table.

use toml::de::DeValue;

use crate::config::check::nearest;
use crate::config::layers::DEFAULTS;
use crate::config::tree::{Node, TomlItem};

/// What the manual says of a key.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ManualEntry {
    /// Where it stands, as `source."*"` or `flow."*".plugin`.
    pub table: String,
    pub key: String,
    /// As it is written there; of a key without one, the example.
    pub value: String,
    pub has_default: bool,
    /// The words before it, line by line.
    pub words: Vec<&'static str>,
}

impl ManualEntry {
    /// Its value as a tree.
    pub(super) fn item(&self) -> Option<TomlItem> {
        let parsed = DeValue::parse(&self.value).ok()?;
        Some(TomlItem::from_toml(0, 0, &parsed))
    }
}

/// All keys of the manual, in its order.
pub fn entries() -> Vec<ManualEntry> {
    let mut entries: Vec<ManualEntry> = Vec::new();
    let (mut table, mut words) = (None, Vec::new());
    for line in DEFAULTS.lines() {
        if let Some(head) = head(line) {
            // What stands before a table is about it, and about its first keys where nothing else is.
            table = Some(head.to_owned());
            continue;
        }
        if line.trim().is_empty() {
            words.clear();
            continue;
        }
        let Some(table) = &table else { continue };
        let (written, has_default) = match line.strip_prefix("# ") {
            Some(comment) => (comment, false),
            None => (line, true),
        };
        match setting(written) {
            Some((key, value)) => entries.push(ManualEntry {
                table: table.clone(),
                key: key.to_owned(),
                value: value.to_owned(),
                has_default,
                words: words.clone(),
            }),
            // The title of a part.
            None if line.starts_with("# ──") => {}
            None => words.push(line.trim_start_matches('#').trim_start_matches(' ')),
        }
    }
    entries
}

/// What stands between the brackets of a line that begins a table.
fn head(line: &str) -> Option<&str> {
    let inner = line.strip_prefix('[')?.trim_end().strip_suffix(']')?;
    Some(
        inner
            .strip_prefix('[')
            .and_then(|inner| inner.strip_suffix(']'))
            .unwrap_or(inner),
    )
}

/// `key = value`, and nothing that is only prose; what stands behind the value is left out.
fn setting(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once(" = ")?;
    let is_key = !key.is_empty()
        && key
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    let value = value.split(" # ").next().unwrap_or(value).trim();
    (is_key && DeValue::parse(value).is_ok()).then_some((key, value))
}

/// What the manual says of a key that somebody names: `spool.reserve`, `uplink.cloud.inflight`, `deadlines.dial`, `reserve`.
///
/// # Errors
/// There is none; the names that were probably meant.
pub fn explain(wanted: &str) -> Result<Vec<ManualEntry>, Vec<String>> {
    let parts: Vec<&str> = wanted
        .split('.')
        .map(|part| part.trim_matches(['"', '[', ']']))
        .filter(|part| !part.is_empty())
        .collect();
    let all = entries();
    // The longest part of the name that is a key: what follows is inside its value.
    for end in (1..=parts.len()).rev() {
        let (key, tables) = (parts[end - 1], &parts[..end - 1]);
        let inside = &parts[end..];
        let fits = |entry: &&ManualEntry| {
            entry.key == key && is_of(&entry.table, tables) && has(entry, inside)
        };
        let found: Vec<ManualEntry> = all.iter().filter(fits).cloned().collect();
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Err(meant(&parts, &all))
}

/// Whether an entry's value has what somebody looks for inside it.
fn has(entry: &ManualEntry, inside: &[&str]) -> bool {
    inside.is_empty()
        || entry
            .item()
            .is_some_and(|item| item.node.find(inside.iter().copied()).is_some())
}

/// Whether the manual's `table` is one of those that a path may mean: names of the operator's stand where it has a star, and
/// numbers of a list are left out.
fn is_of(table: &str, path: &[&str]) -> bool {
    let table: Vec<&str> = table
        .split('.')
        .map(|part| part.trim_matches('"'))
        .collect();
    let path: Vec<&str> = path
        .iter()
        .copied()
        .filter(|part| part.parse::<usize>().is_err())
        .collect();
    let meets = |(own, other): (&&str, &&str)| own == other || own.contains('*');
    // `limits.time` may stand for `flow.NAME.plugin.limits.time`.
    path.len() <= table.len()
        && table[table.len() - path.len()..]
            .iter()
            .zip(&path)
            .all(meets)
        && path.first().is_none_or(|first| table.contains(first))
}

fn meant(parts: &[&str], all: &[ManualEntry]) -> Vec<String> {
    let Some(last) = parts.last() else {
        return Vec::new();
    };
    let keys: Vec<&str> = all.iter().map(|entry| entry.key.as_str()).collect();
    let near = nearest(last, &keys);
    let named =
        |entry: &ManualEntry| format!("{}.{}", entry.table.replace("\"*\"", "NAME"), entry.key);
    let mut names: Vec<String> = all
        .iter()
        .filter(|entry| entry.key == *last || Some(&*entry.key) == near)
        .map(named)
        .collect();
    names.dedup();
    names
}

/// The entry of a key in one of these tables of the manual, the first that has it.
pub(super) fn entry<'a>(
    all: &'a [ManualEntry],
    tables: &[&str],
    key: &str,
) -> Option<&'a ManualEntry> {
    tables.iter().find_map(|table| {
        all.iter()
            .find(|entry| entry.table == *table && entry.key == key)
    })
}

/// Whether it may be a text too, or a number, beside what its example is.
pub(super) fn other_kinds(key: &str) -> &'static [&'static str] {
    match key {
        "lanes" => &["integer"],
        "to" => &["string", "array"],
        "quarantine" => &["string"],
        "not" => &["array"],
        _ => &[],
    }
}

/// The name of a value's kind in a schema.
pub(super) fn kind(node: &Node) -> &'static str {
    match node {
        Node::Text(_) | Node::Moment(_) => "string",
        Node::Integer(_) => "integer",
        Node::Float(_) => "number",
        Node::Flag(_) => "boolean",
        Node::List(_) => "array",
        Node::Table(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(wanted: &str) -> Vec<String> {
        explain(wanted)
            .unwrap()
            .into_iter()
            .map(|entry| format!("{}.{}", entry.table, entry.key))
            .collect()
    }

    #[test]
    fn a_key_is_found_by_its_full_name_or_the_end_of_it() {
        assert_eq!(tables("spool.reserve"), ["spool.reserve"]);
        assert_eq!(tables("reserve"), ["spool.reserve"]);
        assert_eq!(
            tables("uplink.cloud.keep_alive"),
            ["uplink.\"*\".keep_alive"]
        );
        assert_eq!(
            tables("flow.climate.plugin.0.limits.time"),
            ["flow.\"*\".plugin.limits.time"]
        );
        assert_eq!(tables("limits.time"), ["flow.\"*\".plugin.limits.time"]);
        assert_eq!(tables("class.billing.max"), ["class.\"*\".max"]);
        assert!(tables("max_age").contains(&"class.telemetry.max_age".to_owned()));
        assert!(
            tables("source.field.url").len() >= 2,
            "each way in has its own"
        );
        // Inside a value.
        assert_eq!(
            tables("uplink.cloud.deadlines.answer"),
            [
                "uplink.\"*\".deadlines",
                "uplink.\"file://*\".deadlines",
                "uplink.\"s3://*\".deadlines",
                "uplink.\"postgres://*\".deadlines",
                "uplink.\"nats://*\".deadlines",
                "uplink.\"kafka://*\".deadlines"
            ]
        );
    }

    #[test]
    fn an_entry_has_its_words_and_its_default() {
        let found = explain("spool.reserve").unwrap().remove(0);
        assert!(
            found.has_default
                && found.value == "\"64MiB\""
                && found.words[0].starts_with("Free space")
        );
        let found = explain("gateway.name").unwrap().remove(0);
        assert!(!found.has_default && found.value == "\"barn-7\"");
        // Of two keys under one text both have it.
        let found = explain("source.field.max_payload").unwrap().remove(0);
        assert!(found.words[0].starts_with("A longer topic"), "{found:?}");
    }

    #[test]
    fn what_is_not_there_is_told_with_what_was_probably_meant() {
        assert_eq!(explain("spool.reserv").unwrap_err(), ["spool.reserve"]);
        assert_eq!(explain("gateway.reserve").unwrap_err(), ["spool.reserve"]);
        assert_eq!(explain("banana").unwrap_err(), [""; 0]);
        assert_eq!(explain("").unwrap_err(), [""; 0]);
        assert_eq!(explain("...").unwrap_err(), [""; 0]);
    }

    #[test]
    fn every_key_with_a_default_is_an_entry() {
        let table = toml::de::DeTable::parse(DEFAULTS).unwrap();
        let tree = crate::config::tree::Table::from_toml(0, table.get_ref());
        let spool = tree.table("spool").unwrap();
        let has = |key: &str| {
            entries()
                .iter()
                .any(|entry| entry.table == "spool" && entry.key == key && entry.has_default)
        };
        assert!(spool.entries.len() > 8 && spool.entries.iter().all(|entry| has(&entry.key)));
    }
}
