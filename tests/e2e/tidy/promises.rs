//! That the tests are there which host/ARCHITECTURE.md names.

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::binary::workspace;
use tidegate_tests::cases;
use tidegate_tests::source_text::{Source, sources};

use super::complain;

pub fn cases() -> Vec<Trial> {
    cases![
        every_test_that_a_promise_names_is_there,
        every_bound_of_what_is_foreign_has_a_test,
        every_file_that_the_table_of_changes_names_is_there,
    ]
}

/// Every `path::of::a_test` in `host/ARCHITECTURE.md`.
/// Guarantee: no sentence of the promise stands on a test that is gone or has another name.
fn every_test_that_a_promise_names_is_there() -> Result<()> {
    let text = std::fs::read_to_string(workspace().join("host/ARCHITECTURE.md"))?;
    let named: Vec<&str> = text
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| is_path_of_a_test(name))
        .collect();
    ensure!(named.len() > 40, "only {} tests are named", named.len());
    let (cases, host) = (crate::cases(), sources("host/src")?);
    let is_there =
        |name: &&&str| cases.iter().any(|case| case.name() == **name) || has_unit_test(&host, name);
    complain(
        named
            .iter()
            .filter(|name| !is_there(name))
            .map(|name| format!("there is no test `{name}`"))
            .collect(),
    )
}

/// The table of bounds in `host/ARCHITECTURE.md`, row by row; that the tests are there is looked at above.
/// Guarantee: nothing foreign is run or waited for without a bound that a test has met.
fn every_bound_of_what_is_foreign_has_a_test() -> Result<()> {
    let text = std::fs::read_to_string(workspace().join("host/ARCHITECTURE.md"))?;
    let (_, table) = text
        .split_once("| what is foreign |")
        .context("the table of bounds is gone")?;
    let rows: Vec<&str> = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .collect();
    ensure!(rows.len() >= 12, "only {} bounds are listed", rows.len());
    let lacks = |row: &&&str| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let has_test = cells
            .last()
            .is_some_and(|cell| cell.split('`').skip(1).step_by(2).any(is_path_of_a_test));
        cells.len() != 4 || cells.iter().any(|cell| cell.is_empty()) || !has_test
    };
    complain(
        rows.iter()
            .filter(lacks)
            .map(|row| format!("a bound without a test: {row}"))
            .collect(),
    )
}

/// The tables of "Where would I change …" in `host/ARCHITECTURE.md`.
/// Guarantee: whoever follows it finds the file.
fn every_file_that_the_table_of_changes_names_is_there() -> Result<()> {
    let text = std::fs::read_to_string(workspace().join("host/ARCHITECTURE.md"))?;
    let (_, table) = text
        .split_once("## Where would I change")
        .context("the table of changes is gone")?;
    let rows = table
        .lines()
        .take_while(|line| !line.starts_with("## "))
        .filter(|line| line.starts_with('|'));
    let files: Vec<&str> = rows
        .flat_map(|row| row.split('`').skip(1).step_by(2))
        .filter(|name| name.ends_with(".rs"))
        .collect();
    ensure!(files.len() >= 20, "only {} files are named", files.len());
    let host = workspace().join("host/src");
    complain(
        files
            .into_iter()
            .filter(|file| !host.join(file).is_file())
            .map(|file| format!("there is no `host/src/{file}`"))
            .collect(),
    )
}

/// At least two words in small letters, joined by `::`.
pub(super) fn is_path_of_a_test(name: &str) -> bool {
    let is_word = |part: &str| {
        part.starts_with(|letter: char| letter.is_ascii_lowercase())
            && !part.contains([' ', '<', '/'])
    };
    name.contains("::") && name.split("::").all(is_word)
}

/// Whether the module at `path` has a function of that name; `tests` may be a file or stand at the end of one.
pub(super) fn has_unit_test(host: &[Source], path: &str) -> bool {
    let Some((module, name)) = path.rsplit_once("::") else {
        return false;
    };
    let files = [module, module.strip_suffix("::tests").unwrap_or(module)]
        .map(|module| module.replace("::", "/"));
    let is_file = |path: &str| {
        files.iter().any(|file| {
            path == format!("host/src/{file}.rs") || path == format!("host/src/{file}/mod.rs")
        })
    };
    host.iter()
        .any(|source| is_file(&source.path) && source.text.contains(&format!("fn {name}(")))
}
