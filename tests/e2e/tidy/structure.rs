//! What `just structure` counts, held: names, sizes, documentation, circles.

use std::collections::BTreeMap;

use anyhow::Result;
use libtest_mimic::Trial;
use tidegate_tests::cases;
use tidegate_tests::source_text::sources;
use tidegate_tests::structure::{Graph, functions, short_docs, types};

use super::complain;

pub fn cases() -> Vec<Trial> {
    cases![
        a_type_is_known_by_its_name,
        no_function_of_the_host_has_more_than_60_lines,
        documentation_says_more_than_the_name_below_it,
        no_circle_of_files_is_larger_than_those_there_are,
    ]
}

/// What each stage or command has one of, by a rule: elsewhere it is named with its folder, `spool::Config`.
const ONE_EACH: [&str; 6] = [
    "Account",
    "Arguments",
    "Command",
    "Config",
    "Error",
    "Metrics",
];

/// Names of types, file by file.
/// Guarantee: whoever meets a name knows what it is without a look at where it comes from.
fn a_type_is_known_by_its_name() -> Result<()> {
    let host = sources("host/src")?;
    let mut files: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for source in &host {
        for name in types(source) {
            files.entry(name).or_default().push(&source.path);
        }
    }
    let twice = files
        .iter()
        .filter(|(name, files)| files.len() > 1 && !ONE_EACH.contains(&name.as_str()));
    complain(
        twice
            .map(|(name, files)| format!("`{name}` is a type in {}", files.join(" and ")))
            .collect(),
    )
}

/// Lines of functions that are neither blank nor comment, first line and last brace included.
/// Guarantee: each step of what is done has a name.
fn no_function_of_the_host_has_more_than_60_lines() -> Result<()> {
    let host = sources("host/src")?;
    let of_file = |source| {
        functions(source)
            .into_iter()
            .filter(|(_, lines)| *lines > 60)
            .map(|(name, lines)| format!("{}: `{name}` has {lines} lines", source.path))
    };
    complain(host.iter().flat_map(of_file).collect())
}

/// Documentation of three words or fewer.
/// Guarantee: what stands above an item says something that its name does not.
fn documentation_says_more_than_the_name_below_it() -> Result<()> {
    let host = sources("host/src")?;
    let of_file = |source| {
        short_docs(source)
            .into_iter()
            .map(|line| format!("{}:{line}: say more, or nothing", source.path))
    };
    complain(host.iter().flat_map(of_file).collect())
}

/// Files that lead to each other. A circle may only become smaller.
/// Guarantee: a file is read with those that it stands on, and seldom with many.
fn no_circle_of_files_is_larger_than_those_there_are() -> Result<()> {
    const MOST: usize = 3;
    let graph = Graph::of(&sources("host/src")?, "host/src");
    let names = |circle: Vec<usize>| {
        let files: Vec<&str> = circle
            .iter()
            .map(|file| graph.files[*file].as_str())
            .collect();
        format!(
            "{} files lead to each other: {}",
            files.len(),
            files.join(" ")
        )
    };
    let large = graph
        .circles()
        .into_iter()
        .filter(|circle| circle.len() > MOST);
    complain(large.map(names).collect())
}
