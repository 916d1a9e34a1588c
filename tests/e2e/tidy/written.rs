//! How the cases themselves are written.

use anyhow::Result;
use libtest_mimic::Trial;
use tidegate_tests::cases;
use tidegate_tests::source_text::{Source, sources};

use super::{complain, hits};

pub fn cases() -> Vec<Trial> {
    cases![
        a_config_is_changed_by_its_keys_and_never_by_its_text,
        a_case_has_its_name_from_its_function,
    ]
}

/// The ways of a text into the config of a gateway, and the cases that may take each: their point is the text.
const TEXTS: [(&str, &[&str]); 4] = [
    // What the version before was started on.
    ("Config::read", &["compat"]),
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
            "cli",
            "compat",
            "config",
            "doctor",
            "tools",
            "tools/looking",
        ],
    ),
];

/// Every way of a text into the file that a gateway is started on, outside the cases that are about a text.
/// Guarantee: a case cannot change its config by replacing a part of its text, which does nothing where that part is another by
/// now, and passes then without what it is about.
fn a_config_is_changed_by_its_keys_and_never_by_its_text() -> Result<()> {
    let written = written()?;
    let mut found = Vec::new();
    for (way, by) in TEXTS {
        let may = |path: &str| by.iter().any(|name| path == format!("tests/e2e/{name}.rs"));
        if way.starts_with('"') {
            let strange = written
                .iter()
                .filter(|source| source.text.contains(way) && !may(&source.path));
            found.extend(strange.map(|source| format!("{}: {way}", source.path)));
        } else {
            found.extend(hits(&written, way, may));
        }
    }
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
