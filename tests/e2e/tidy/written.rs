//! How the cases themselves are written, and what the host says.

use anyhow::Result;
use libtest_mimic::Trial;
use tidegate_tests::binary::workspace;
use tidegate_tests::cases;
use tidegate_tests::source_text::{Source, sources};

use super::{complain, hits};

pub fn cases() -> Vec<Trial> {
    cases![
        a_config_is_changed_by_its_keys_and_never_by_its_text,
        a_case_has_its_name_from_its_function,
        every_key_that_a_hint_names_is_in_the_manual,
    ]
}

/// The ways of a text into the config of a gateway, and the cases that may take each: their point is the text.
const TEXTS: [(&str, &[&str]); 4] = [
    // What the version before was started on, or a backup has brought back.
    ("Config::read", &["backup", "compat"]),
    // A file that is no TOML.
    ("rewrite_text", &["swap"]),
    // What `config show` prints; all others tell a command where the file is.
    (
        "config_file",
        &[
            "cli",
            "doctor",
            "hostile/guarded",
            "signature",
            "signature/lost",
            "tools/looking",
        ],
    ),
    // The only other way to the file's name is that of the commands.
    (
        "\"tidegate.toml\"",
        &[
            "backup",
            "cli",
            "compat",
            "config",
            "doctor",
            "tools",
            "tools/looking",
        ],
    ),
];

/// The cases that replace parts of a text which is no config: of requests, of a plugin's source, of what was printed.
const OTHER_TEXTS: [&str; 7] = [
    "access",
    "access/hostile",
    "api",
    "author/made",
    "config",
    "http_in",
    "influx",
];

fn is_one_of(path: &str, cases: &[&str]) -> bool {
    let path = path.strip_prefix("tests/e2e/");
    let name = path.and_then(|path| path.strip_suffix(".rs"));
    name.is_some_and(|name| name.starts_with("tidy") || cases.contains(&name))
}

/// Whether a part of a text is replaced; a gateway's `replace` puts a file in the place of another.
fn replaces(source: &Source) -> bool {
    let code: String = source.code.split_whitespace().collect();
    let of_text = |word: &str| {
        let mut places = code.match_indices(word);
        places.any(|(at, _)| !code[..at].ends_with("gateway"))
    };
    of_text(".replace(") || of_text(".replacen(")
}

/// Every way of a text into the file that a gateway is started on, outside the cases that are about a text, and every
/// replaced part of a text outside those that have other texts.
/// Guarantee: a case cannot change its config by replacing a part of its text, which does nothing where that part is another by
/// now, and passes then without what it is about.
fn a_config_is_changed_by_its_keys_and_never_by_its_text() -> Result<()> {
    let written = written()?;
    let mut found = Vec::new();
    for (way, by) in TEXTS {
        let may = |path: &str| is_one_of(path, by);
        if way.starts_with('"') {
            let strange = written
                .iter()
                .filter(|source| source.text.contains(way) && !may(&source.path));
            found.extend(strange.map(|source| format!("{}: {way}", source.path)));
        } else {
            found.extend(hits(&written, way, may));
        }
    }
    let replacing = written
        .iter()
        .filter(|source| replaces(source) && !is_one_of(&source.path, &OTHER_TEXTS));
    found.extend(replacing.map(|source| format!("{}: replaces a part of a text", source.path)));
    complain(found)
}

/// Texts that end with the name of a function of their file, as in a path.
/// Guarantee: a case is called as its function is: whoever reads its name in a report or a document finds it.
fn a_case_has_its_name_from_its_function() -> Result<()> {
    let named_twice = |source: &Source| {
        let functions = source.code.split("fn ").skip(1);
        let names = functions.filter_map(|rest| rest.split(['(', '<']).next());
        let twice = names.filter(|name| source.text.contains(&format!("::{name}\"")));
        twice
            .map(|name| format!("{}: `{name}` is named beside its function", source.path))
            .collect::<Vec<_>>()
    };
    complain(written()?.iter().flat_map(named_twice).collect())
}

/// All cases but these, which speak of the words.
fn written() -> Result<Vec<Source>> {
    let mut written = sources("tests/e2e")?;
    written.retain(|source| source.path != "tests/e2e/tidy/written.rs");
    Ok(written)
}

/// Every `word_with_underscore` in what the host says.
/// Guarantee: whoever follows a hint finds the key.
fn every_key_that_a_hint_names_is_in_the_manual() -> Result<()> {
    let manual = std::fs::read_to_string(workspace().join("host/default.toml"))?;
    let manual: std::collections::HashSet<&str> = manual
        .split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'))
        .collect();
    let is_key = |word: &str| {
        word.len() > 2
            && word.contains('_')
            && word
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    let mut found = Vec::new();
    for source in sources("host/src")? {
        let said = source
            .text
            .lines()
            .filter(|line| line.contains('"') && !line.trim_start().starts_with("//"));
        let words = said.flat_map(|line| line.split('`').skip(1).step_by(2));
        let strange = words.filter(|word| is_key(word) && !manual.contains(*word));
        found.extend(strange.map(|word| format!("{} speaks of `{word}`", source.path)));
    }
    complain(found)
}
