//! Which names a file takes from which modules: its `use` trees, read without a compiler.

use std::collections::BTreeMap;

use super::File;

/// Where the `use` items stand, and whether they are a face (`pub use`).
pub(super) fn uses(code: &str) -> Vec<(usize, usize, bool)> {
    let mut found = Vec::new();
    let mut at = 0;
    for line in code.split_inclusive('\n') {
        let trimmed = line.trim_start();
        let is_face = trimmed.starts_with("pub ") || trimmed.starts_with("pub(");
        let item = if is_face {
            trimmed.split_once(' ').map_or("", |(_, item)| item)
        } else {
            trimmed
        };
        if item.starts_with("use ") && found.last().is_none_or(|(_, end, _)| *end <= at) {
            let end = code[at..]
                .find(';')
                .map_or(code.len(), |length| at + length + 1);
            found.push((at, end, is_face));
        }
        at += line.len();
    }
    found
}

/// `a::{b, c::{d as e}}` as its paths, each with the name it gets.
pub(super) fn expand(tree: &str) -> Vec<(Vec<String>, String)> {
    let mut found = Vec::new();
    branch(tree, &[], &mut found);
    found
}

pub(super) fn branch(tree: &str, before: &[String], found: &mut Vec<(Vec<String>, String)>) {
    let tree = tree.trim();
    if let Some((head, group)) = tree.split_once('{') {
        let mut path = before.to_vec();
        path.extend(
            head.split("::")
                .map(str::trim)
                .filter(|part| !part.is_empty())
                .map(ToOwned::to_owned),
        );
        let group = group.trim_end().strip_suffix('}').unwrap_or(group);
        parts(group)
            .into_iter()
            .for_each(|part| branch(part, &path, found));
        return;
    }
    if tree.is_empty() {
        return;
    }
    let (path, alias) = tree
        .split_once(" as ")
        .map_or((tree, None), |(path, alias)| (path, Some(alias.trim())));
    let mut all = before.to_vec();
    all.extend(
        path.split("::")
            .map(|part| part.trim().to_owned())
            .filter(|part| !part.is_empty() && part != "*"),
    );
    if all.len() > 1 && all.last().is_some_and(|last| last == "self") {
        all.pop();
    }
    let name = alias.map_or_else(
        || all.last().cloned().unwrap_or_default(),
        ToOwned::to_owned,
    );
    found.push((all, name));
}

/// The parts of a group between commas outside of inner groups.
pub(super) fn parts(group: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (at, symbol) in group.char_indices() {
        match symbol {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                found.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    found.push(&group[start..]);
    found
}

/// The file that defines what `path` ends in.
pub(super) fn resolve(
    files: &[File],
    by_module: &BTreeMap<&[String], usize>,
    path: &[String],
    depth: usize,
) -> Option<usize> {
    let length = (0..=path.len())
        .rev()
        .find(|length| by_module.contains_key(&path[..*length]))?;
    let (file, rest) = (by_module[&path[..length]], &path[length..]);
    let Some((name, behind)) = rest.split_first() else {
        return Some(file);
    };
    if files[file].defines.contains(name) || depth > 8 {
        return Some(file);
    }
    let found = files[file].imports.iter().find(|(known, _)| known == name);
    let Some((_, through)) = found else {
        return Some(file);
    };
    let through: Vec<String> = through.iter().chain(behind).cloned().collect();
    resolve(files, by_module, &through, depth + 1)
}
