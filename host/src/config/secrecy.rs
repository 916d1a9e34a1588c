//! What of a config is never shown: not with a problem, not in its words, not in the log.
//!
//! A secret that stands beside its place (under a misspelt key, in a URL, in `--set`) is told from a harmless value by nobody
//! but its owner. So the value of a key that nobody knows is hidden, and everything under a name that speaks of secrets;
//! what is shown there has the form of a file's, a variable's or a credential's name.

mod spoken;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::Path;

use self::spoken::{ShownNames, masked};
use super::problem::{ConfigText, Problem};
use super::tree::{Node, Place, Table, TomlItem};
use crate::file;

/// Parts of names under which secrets stand.
const NAMES: [&str; 10] = [
    "pass",
    "pwd",
    "secret",
    "token",
    "credential",
    "private",
    "encrypt",
    "tls",
    "auth",
    "bearer",
];
/// Ends of the names of files that such keys lead to.
const FILES: [&str; 11] = [
    "pem", "crt", "cer", "der", "key", "pub", "pass", "password", "secret", "token", "txt",
];
/// Where a key or certificate begins that is written out.
const PEM: &str = "-----BEGIN";
/// What of a token that is made or fetched goes over the wire in the open, or is nobody's secret.
const OPEN_OF_TOKENS: [&str; 9] = [
    "algorithm",
    "claims",
    "lives",
    "key_id",
    "url",
    "client",
    "login",
    "scope",
    "audience",
];
/// What a plugin is told, where a `key` may be one to encrypt with.
const SETTINGS: &str = "settings";
/// The table of what is accepted, with the reasons.
const ACCEPTED: &str = "accepted";
/// What stands for a secret.
const STARS: &str = "***";
/// A shorter text is part of too many words to be looked for in others.
const LEAST: usize = 4;
/// Secrets that are looked for in the words of all problems; further ones only where they stand.
const MOST: usize = 1_000;

/// Parts of the texts, and the values that stand there.
#[derive(Debug, Default)]
pub(super) struct Hidden {
    /// By text and first byte.
    places: BTreeMap<(usize, usize), (usize, Option<String>)>,
    names: ShownNames,
}

impl Hidden {
    /// Looks through a document, or what a variable or an argument sets, for what must not be shown.
    pub(super) fn look(&mut self, table: &Table, folder: &Path) {
        self.know(table);
        // Why something is accepted is said to everybody, whatever its name speaks of.
        for entry in table.entries.iter().filter(|entry| entry.key != ACCEPTED) {
            self.look_at(
                &entry.key,
                &entry.item,
                Under {
                    secret: false,
                    flow: entry.key == "flow",
                },
                folder,
            );
        }
    }

    /// The keys in it are no secrets, in comments neither.
    pub(super) fn know_manual(&mut self, manual: &str) {
        self.names.add_manual(manual);
    }

    /// Its keys are no secrets.
    fn know(&mut self, table: &Table) {
        for entry in &table.entries {
            self.names.add(&entry.key);
            match &entry.item.node {
                Node::Table(table) => self.know(table),
                Node::List(items) => {
                    let tables = items.iter().filter_map(|item| match &item.node {
                        Node::Table(table) => Some(table),
                        _ => None,
                    });
                    tables.for_each(|table| self.know(table));
                }
                _ => {}
            }
        }
    }

    /// The same of one value with the names that lead to it.
    pub(super) fn look_along(&mut self, path: &[String], item: &TomlItem, folder: &Path) {
        let Some((key, above)) = path.split_last() else {
            return;
        };
        if path.first().is_some_and(|table| table == ACCEPTED) {
            return;
        }
        let flow = path.first().is_some_and(|table| table == "flow")
            && !above.iter().any(|name| name == SETTINGS);
        path.iter().for_each(|name| self.names.add(name));
        let secret = above.iter().any(|name| is_secret(name, flow));
        self.look_at(key, item, Under { secret, flow }, folder);
    }

    /// Hides a value whatever it is.
    pub(super) fn hide(&mut self, item: &TomlItem) {
        match &item.node {
            Node::List(items) => items.iter().for_each(|item| self.hide(item)),
            Node::Table(table) => table
                .entries
                .iter()
                .for_each(|entry| self.hide(&entry.item)),
            node => self.put(item, word(node)),
        }
    }

    fn look_at(&mut self, key: &str, item: &TomlItem, under: Under, folder: &Path) {
        let under = Under {
            secret: under.secret || is_secret(key, under.flow),
            flow: under.flow && key != SETTINGS,
        };
        match &item.node {
            Node::List(items) => items
                .iter()
                .for_each(|item| self.look_at(key, item, under, folder)),
            Node::Table(table) => {
                let is_made = under.secret && matches!(key, "jwt" | "fetch");
                for entry in &table.entries {
                    let is_open = is_made && OPEN_OF_TOKENS.contains(&&*entry.key);
                    let under = Under {
                        secret: under.secret && !is_open,
                        ..under
                    };
                    self.look_at(&entry.key, &entry.item, under, folder);
                }
            }
            Node::Text(text) if text.contains(PEM) => self.hide(item),
            // A secret key stands where the public one belongs.
            Node::Text(text)
                if key == "plugin_keys" && !is_public_key(text) && !is_path(text, folder) =>
            {
                self.hide(item)
            }
            Node::Text(text) if under.secret && is_reference(key, text, folder) => {}
            Node::Text(text) if !under.secret => {
                if let Some(secret) = in_url(key, text) {
                    self.put(item, Some(secret.to_owned()));
                }
            }
            _ if under.secret => self.hide(item),
            _ => {}
        }
    }

    fn put(&mut self, item: &TomlItem, word: Option<String>) {
        if let Some((start, end)) = item.place.span {
            self.places.insert((item.place.text, start), (end, word));
        }
    }

    /// Whether what stands there is not to be shown.
    pub(super) fn hides(&self, place: Place) -> bool {
        place
            .span
            .is_some_and(|(start, _)| self.places.contains_key(&(place.text, start)))
    }

    /// Hides texts, and leaves numbers and flags.
    pub(super) fn hide_texts(&mut self, item: &TomlItem) {
        match &item.node {
            Node::List(items) => items.iter().for_each(|item| self.hide_texts(item)),
            Node::Table(table) => table
                .entries
                .iter()
                .for_each(|entry| self.hide_texts(&entry.item)),
            Node::Text(_) => self.put(item, None),
            _ => {}
        }
    }

    /// Takes the secrets out of the texts and out of the words of `problems`.
    pub(super) fn apply(&self, texts: &mut [ConfigText], problems: &mut [Problem]) {
        let mut spans: BTreeMap<usize, Vec<Range<usize>>> = BTreeMap::new();
        for ((text, start), (end, _)) in &self.places {
            spans.entry(*text).or_default().push(*start..*end);
        }
        for (text, spans) in spans {
            texts[text].mask_all(&spans);
        }
        let words =
            |from: &(usize, Option<String>)| from.1.clone().filter(|word| word.len() >= LEAST);
        let mut everywhere: Vec<String> =
            self.places.values().filter_map(words).take(MOST).collect();
        // A secret that holds another goes first.
        everywhere.sort_by_key(|word| std::cmp::Reverse(word.len()));
        everywhere.dedup();
        for problem in problems {
            let here = problem
                .place
                .span
                .and_then(|(start, _)| self.places.get(&(problem.place.text, start)));
            let here = here
                .and_then(|(_, word)| word.as_deref())
                .filter(|word| !word.is_empty());
            // What is taken for a path or an address is shown in parts. Its scheme is no secret.
            let behind = |word: &'_ str| word.find("://").map_or(0, |at| at + 3);
            let parts = here
                .into_iter()
                .map(|word| &word[behind(word)..])
                .flat_map(|word| word.split(['/', '\n', ' ', ':', '@', '?', '&', '=', '.']));
            // Words of ours, as in `write mqtt://host:1883`, are no part of a secret.
            let parts = parts
                .filter(|part| part.len() >= LEAST && !matches!(*part, "mqtt" | "mqtts" | "host"));
            for word in here
                .into_iter()
                .chain(everywhere.iter().map(String::as_str))
                .chain(parts)
            {
                for text in [Some(&mut problem.message), problem.hint.as_mut()]
                    .into_iter()
                    .flatten()
                {
                    *text = masked(text, word, &self.names);
                }
            }
        }
    }
}

/// The words of comments, which may be yesterday's password: what stands in quotes is none, as far as a text has no mistakes.
pub(super) fn comments(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    let mut quote = "";
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let opened = ["\"\"\"", "'''", "\"", "'"]
            .into_iter()
            .find(|mark| rest.starts_with(mark));
        let step = match (quote, opened) {
            (_, Some(mark)) if quote.is_empty() => {
                quote = mark;
                mark.len()
            }
            ("", _) if rest.starts_with('#') => {
                let end = rest.find('\n').unwrap_or(rest.len());
                found.push(at + 1..at + end);
                end
            }
            ("\"" | "\"\"\"", _) if rest.starts_with('\\') => {
                rest.chars().take(2).map(char::len_utf8).sum()
            }
            (mark, _)
                if !mark.is_empty()
                    && (rest.starts_with(mark) || (mark.len() == 1 && rest.starts_with('\n'))) =>
            {
                quote = "";
                mark.len()
            }
            _ => rest.chars().next().map_or(1, char::len_utf8),
        };
        at += step;
    }
    found
}

/// Where in the tree a value stands.
#[derive(Clone, Copy)]
struct Under {
    secret: bool,
    /// A flow's `key` names what keeps its order.
    flow: bool,
}

fn is_secret(name: &str, in_flow: bool) -> bool {
    let name = name.to_ascii_lowercase();
    NAMES.iter().any(|part| name.contains(part))
        || (!in_flow
            && name != "plugin_keys"
            && name.split('_').any(|part| matches!(part, "key" | "keys")))
}

/// Whether a text is what such a place should hold: the name of something that holds the secret.
pub(super) fn is_reference(key: &str, text: &str, folder: &Path) -> bool {
    if matches!(key, "ca" | "cert" | "server_name" | "alpn") {
        // What everybody may read, and what goes over the wire in the open.
        return true;
    }
    let is_short = text.len() <= 255
        && !text
            .chars()
            .any(|letter| letter.is_control() || letter == ' ');
    let is_variable = || {
        text.bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
    };
    is_short
        && match key {
            // `S3CR3T` is rather a password.
            "env" => {
                is_variable()
                    && (text.contains('_') || text.bytes().all(|byte| byte.is_ascii_uppercase()))
            }
            "credential" => text
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || b"-._".contains(&byte)),
            _ => is_path(text, folder),
        }
}

/// Whether a text leads to a file: there is one, or by its end, or because there is a folder that it leads through.
fn is_path(text: &str, folder: &Path) -> bool {
    let path = Path::new(text);
    let has_end = path
        .extension()
        .is_some_and(|end| FILES.iter().any(|known| end.eq_ignore_ascii_case(known)));
    let through = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty() && *parent != Path::new("/"));
    has_end
        || through.is_some_and(|parent| leads(&folder.join(parent), |found| found.is_dir()))
        || (!text.is_empty() && leads(&folder.join(text), |_| true))
}

/// Whether something is there that is so; what hangs when it is looked at is there, on a mount whose server is gone.
fn leads(path: &Path, is_so: impl FnOnce(std::fs::Metadata) -> bool) -> bool {
    match file::about(path) {
        Ok(found) => is_so(found),
        Err(error) => error.kind() == ErrorKind::TimedOut,
    }
}

/// What of an address says who asks: user information and query.
fn in_url<'a>(key: &str, text: &'a str) -> Option<&'a str> {
    // A folder, and nobody who asks.
    if text.starts_with("file:///") {
        return None;
    }
    let is_url = text.contains("://") || key.contains("url");
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let has_more = || {
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let port = host
            .rsplit_once(':')
            .filter(|_| !host.ends_with(']'))
            .map_or("", |(_, port)| port);
        !path.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit())
    };
    (is_url && (text.contains(['@', '?', '#', '%']) || (key.contains("url") && has_more())))
        .then_some(rest)
}

/// Whether a text has the form of a public key of minisign: a secret one is longer.
fn is_public_key(text: &str) -> bool {
    text.len() == 56
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte))
}

fn word(node: &Node) -> Option<String> {
    match node {
        Node::Text(text) | Node::Moment(text) => Some(text.clone()),
        Node::Integer(number) => number.map(|number| number.to_string()),
        Node::Float(number) => Some(number.to_string()),
        Node::Flag(_) | Node::List(_) | Node::Table(_) => None,
    }
}

/// Whether what stands behind `key` in a line that is no TOML may be shown: only of a key that the manual has, and that
/// does not speak of secrets.
pub(super) fn may_show(key: &str, manual: &str) -> bool {
    let key = key
        .trim()
        .trim_start_matches('[')
        .rsplit('.')
        .next()
        .unwrap_or_default()
        .trim()
        .trim_matches('"');
    let is_known = || {
        manual.lines().any(|line| {
            let line = line.trim_start_matches(['#', ' ']);
            line.split_once('=')
                .is_some_and(|(name, _)| name.trim() == key)
        })
    };
    !key.is_empty() && !is_secret(key, false) && is_known()
}

#[cfg(test)]
mod tests;
