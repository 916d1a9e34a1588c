//! Rust source as text, for invariants that show there: code without its comments, strings and tests.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::binary::workspace;

/// One source file.
#[derive(Clone, Debug)]
pub struct Source {
    /// Path from the workspace's root, with `/`.
    pub path: String,
    /// As it stands in the file.
    pub text: String,
    /// Production code: comments, strings and everything that is compiled for tests only are blanked.
    pub code: String,
}

impl Source {
    /// Lines of production code: neither blank nor only comment.
    pub fn code_lines(&self) -> usize {
        self.code
            .lines()
            .filter(|line| !line.trim().is_empty())
            .count()
    }

    /// Numbers of the lines of production code that have `word` as a whole word, or as start or end of a path.
    pub fn lines_with(&self, word: &str) -> Vec<usize> {
        let has = |line: &str| {
            line.match_indices(word)
                .any(|(at, _)| is_whole(line, at, word.len()))
        };
        self.code
            .lines()
            .enumerate()
            .filter(|(_, line)| has(line))
            .map(|(index, _)| index + 1)
            .collect()
    }

    /// First parts of the paths taken from the crate's root: `crate::spool::Seq` gives `spool`,
    /// `crate::{chain, mqtt::Qos}` gives `chain` and `mqtt`.
    pub fn modules_used(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (at, _) in self.code.match_indices("crate::") {
            let rest = &self.code[at + "crate::".len()..];
            match rest.strip_prefix('{') {
                Some(group) => found.extend(group_heads(group)),
                None => found.push(head(rest)),
            }
        }
        found
    }
}

/// All Rust files below `folder`, a path from the workspace's root.
pub fn sources(folder: &str) -> Result<Vec<Source>> {
    sources_at(workspace(), folder)
}

/// All Rust files below `folder` of the checkout at `root`.
pub fn sources_at(root: &Path, folder: &str) -> Result<Vec<Source>> {
    let mut files = Vec::new();
    collect(&root.join(folder), &mut files)?;
    files.sort();
    let mut sources = files
        .iter()
        .map(|file| read(root, file))
        .collect::<Result<Vec<_>>>()?;
    let tests: Vec<String> = sources.iter().flat_map(test_files).collect();
    for source in &mut sources {
        let belongs = |module: &String| {
            source
                .path
                .strip_prefix(module.as_str())
                .is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        };
        if tests.iter().any(belongs) {
            source.code.clear();
        }
    }
    Ok(sources)
}

/// Paths of the files, without `.rs`, that this one declares as modules of tests.
fn test_files(source: &Source) -> Vec<String> {
    let (folder, file) = source.path.rsplit_once('/').unwrap_or(("", &source.path));
    let folder = match file {
        "mod.rs" | "lib.rs" | "main.rs" => folder.to_owned(),
        other => format!("{folder}/{}", other.trim_end_matches(".rs")),
    };
    let text = blank(&source.text);
    let declared = test_items(&text).into_iter().filter_map(|item| {
        let (before, name) = item.strip_suffix(';')?.split_once("mod ")?;
        let before = before.trim_start_matches(TEST_ONLY).trim();
        (before.is_empty() || before.starts_with("pub")).then(|| format!("{folder}/{name}"))
    });
    declared.collect()
}

const TEST_ONLY: &str = "#[cfg(test)]";

/// The items of `code` that only tests have, from their attribute to their last brace or semicolon.
fn test_items(code: &str) -> Vec<&str> {
    let mut items = Vec::new();
    let mut from = 0;
    while let Some(start) = code[from..].find(TEST_ONLY).map(|at| from + at) {
        from = start + item_length(&code[start..]);
        items.push(&code[start..from]);
    }
    items
}

fn item_length(code: &str) -> usize {
    let mut depth = 0;
    for (at, symbol) in code.char_indices().skip(TEST_ONLY.len()) {
        match symbol {
            ';' if depth == 0 => return at + 1,
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => depth -= 1,
            _ => {}
        }
        if symbol == '}' && depth == 0 {
            return at + 1;
        }
    }
    code.len()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot read `{}`", folder.display()))?
    {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

fn read(root: &Path, file: &Path) -> Result<Source> {
    let text =
        fs::read_to_string(file).with_context(|| format!("cannot read `{}`", file.display()))?;
    let path = file
        .strip_prefix(root)?
        .to_string_lossy()
        .replace('\\', "/");
    let code = production(&blank(&text));
    Ok(Source { path, text, code })
}

/// The code without what only tests have; line breaks stay.
fn production(code: &str) -> String {
    let mut production = code.to_owned();
    for item in test_items(code) {
        production = production.replacen(item, &"\n".repeat(item.matches('\n').count()), 1);
    }
    production
}

fn is_whole(line: &str, at: usize, length: usize) -> bool {
    let part_of_name = |symbol: char| symbol.is_alphanumeric() || symbol == '_';
    let before = line[..at]
        .chars()
        .next_back()
        .is_none_or(|symbol| !part_of_name(symbol));
    let after = line[at + length..]
        .chars()
        .next()
        .is_none_or(|symbol| !part_of_name(symbol));
    before && after
}

fn head(path: &str) -> String {
    path.trim_start()
        .chars()
        .take_while(|symbol| symbol.is_alphanumeric() || *symbol == '_')
        .collect()
}

fn group_heads(group: &str) -> Vec<String> {
    let mut heads = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (at, symbol) in group.char_indices() {
        match symbol {
            '{' => depth += 1,
            '}' if depth == 0 => {
                heads.push(head(&group[start..at]));
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                heads.push(head(&group[start..at]));
                start = at + 1;
            }
            _ => {}
        }
    }
    heads.retain(|head| !head.is_empty());
    heads
}

/// The text with comments and the content of strings and characters as spaces; line breaks stay.
fn blank(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(symbol) = rest.chars().next() {
        let length = match symbol {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => block_comment(rest),
            '"' => string(rest),
            'r' if out.ends_with(|last: char| last.is_alphanumeric() || last == '_') => 0,
            'r' => raw_string(rest),
            '\'' => character(rest),
            _ => 0,
        };
        if length == 0 {
            out.push(symbol);
            rest = &rest[symbol.len_utf8()..];
        } else {
            out.extend(
                rest[..length]
                    .chars()
                    .map(|symbol| if symbol == '\n' { '\n' } else { ' ' }),
            );
            rest = &rest[length..];
        }
    }
    out
}

fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if text[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, symbol) in text.char_indices().skip(1) {
        match symbol {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Length of `r"…"` or `r#"…"#`, 0 when it is none.
fn raw_string(text: &str) -> usize {
    let hashes = text[1..]
        .chars()
        .take_while(|symbol| *symbol == '#')
        .count();
    if !text[1 + hashes..].starts_with('"') {
        return 0;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let body = 2 + hashes;
    text[body..]
        .find(&end)
        .map_or(text.len(), |at| body + at + end.len())
}

/// Length of a character literal, 0 for a lifetime.
fn character(text: &str) -> usize {
    let mut symbols = text.char_indices().skip(1);
    match symbols.next() {
        Some((_, '\\')) => text[3..].find('\'').map_or(0, |at| 3 + at + 1),
        Some(_) => match symbols.next() {
            Some((at, '\'')) => at + 1,
            _ => 0,
        },
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source {
            path: String::new(),
            text: text.to_owned(),
            code: production(&blank(text)),
        }
    }

    #[test]
    fn comments_strings_and_tests_do_not_count() {
        let text = "//! sled\nfn a<'x>(b: &'x str) { let c = '\"'; let d = \"sled\\\"sled\"; /* sled /* */ sled */ }\nlet e = r#\"sled\"#;\n#[cfg(test)]\nmod tests { sled }\n";
        assert!(source(text).lines_with("sled").is_empty());
        assert_eq!(source(text).code_lines(), 2);
    }

    #[test]
    fn a_file_of_tests_is_known_from_its_declaration() {
        let parent = Source {
            path: "host/src/config/mod.rs".into(),
            ..source("mod a;\n#[cfg(test)]\npub(super) mod tests;\nfn b() {}\n")
        };
        assert_eq!(test_files(&parent), ["host/src/config/tests"]);
        assert!(parent.code.contains("fn b"));
    }

    #[test]
    fn a_word_counts_only_as_a_whole() {
        let text = "use sled::Db;\nlet unsledged = 1;\nlet sled_2 = 2;\n";
        assert_eq!(source(text).lines_with("sled"), [1]);
    }

    #[test]
    fn paths_from_the_root_are_found_alone_and_in_groups() {
        let text =
            "use crate::spool::Seq;\nuse crate::{chain, mqtt::{Qos, Event}, message::Bytes};\n";
        assert_eq!(
            source(text).modules_used(),
            ["spool", "chain", "mqtt", "message"]
        );
    }
}
