//! The structure of the host as its source text shows it: which file names which, circles, sizes, and habits that are counted.
//!
//! An arrow leads from a file to the file that defines what it names, through whatever re-exports it. `pub use` and `mod`
//! lines are no arrows: they are a folder's face. What only tests name does not count.

mod paths;

use std::collections::{BTreeMap, BTreeSet};

use self::paths::{expand, resolve, uses};
use crate::source_text::Source;

/// Files and the arrows between them.
#[derive(Debug, Default)]
pub struct Graph {
    /// Paths, in order.
    pub files: Vec<String>,
    /// For each file those it names.
    pub arrows: Vec<BTreeSet<usize>>,
}

/// A file with its place among the modules, and what it brings into scope.
struct File {
    module: Vec<String>,
    /// What it defines by itself.
    defines: BTreeSet<String>,
    /// Name in this file, and the path it stands for.
    imports: Vec<(String, Vec<String>)>,
    /// Every path that counts as an arrow.
    named: Vec<Vec<String>>,
}

impl Graph {
    /// Of the files below `root`, which is a crate's `src`.
    pub fn of(sources: &[Source], root: &str) -> Self {
        let sources: Vec<&Source> = sources
            .iter()
            .filter(|source| !source.code.trim().is_empty())
            .collect();
        let files: Vec<File> = sources
            .iter()
            .map(|source| File::read(source, root))
            .collect();
        let by_module: BTreeMap<&[String], usize> = files
            .iter()
            .enumerate()
            .map(|(index, file)| (file.module.as_slice(), index))
            .collect();
        let targets = |index: usize| {
            let found = files[index]
                .named
                .iter()
                .filter_map(|path| resolve(&files, &by_module, path, 0));
            found.filter(|target| *target != index).collect()
        };
        let arrows = (0..files.len()).map(targets).collect();
        Self {
            files: sources.iter().map(|source| source.path.clone()).collect(),
            arrows,
        }
    }

    /// How many arrows there are.
    pub fn len(&self) -> usize {
        self.arrows.iter().map(BTreeSet::len).sum()
    }

    /// Whether no file names another one.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Files that lead to each other, two or more, each circle in the files' order.
    pub fn circles(&self) -> Vec<Vec<usize>> {
        let reach: Vec<BTreeSet<usize>> = (0..self.files.len())
            .map(|from| self.reachable(from))
            .collect();
        let mut circles = Vec::new();
        let mut seen = BTreeSet::new();
        for file in 0..self.files.len() {
            let circle: Vec<usize> = reach[file]
                .iter()
                .copied()
                .filter(|other| reach[*other].contains(&file))
                .collect();
            if circle.len() > 1 && seen.insert(file) {
                seen.extend(&circle);
                circles.push(circle);
            }
        }
        circles
    }

    fn reachable(&self, from: usize) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        let mut open = vec![from];
        while let Some(file) = open.pop() {
            open.extend(self.arrows[file].iter().filter(|next| found.insert(**next)));
        }
        found
    }

    /// The arrows to be turned for a circle to be none: those against the best order of its files that is found.
    pub fn arrows_up(&self, circle: &[usize]) -> Vec<(usize, usize)> {
        let order = self.order(circle);
        let place = |file: usize| {
            order
                .iter()
                .position(|other| *other == file)
                .unwrap_or_default()
        };
        let inside = circle
            .iter()
            .flat_map(|from| self.arrows[*from].iter().map(move |to| (*from, *to)));
        inside
            .filter(|(from, to)| circle.contains(to) && place(*from) > place(*to))
            .collect()
    }

    /// Users before what they use: a file with most arrows out and fewest in comes next (Eades, Lin and Smyth), then
    /// each file is moved to where fewest arrows run against the order, until that mends nothing.
    fn order(&self, circle: &[usize]) -> Vec<usize> {
        let mut left: BTreeSet<usize> = circle.iter().copied().collect();
        let mut order = Vec::new();
        while !left.is_empty() {
            let out = |file: usize| {
                self.arrows[file]
                    .iter()
                    .filter(|to| left.contains(to))
                    .count() as i64
            };
            let into = |file: usize| {
                left.iter()
                    .filter(|from| self.arrows[**from].contains(&file))
                    .count() as i64
            };
            let next = left
                .iter()
                .copied()
                .max_by_key(|file| out(*file) - into(*file))
                .unwrap_or_default();
            left.remove(&next);
            order.push(next);
        }
        let against = |order: &[usize]| {
            let pairs = order
                .iter()
                .enumerate()
                .flat_map(|(at, from)| order[..at].iter().map(move |to| (*from, *to)));
            pairs
                .filter(|(from, to)| self.arrows[*from].contains(to))
                .count()
        };
        let mut best = against(&order);
        let mut is_better = true;
        while is_better {
            is_better = false;
            for (from, to) in
                (0..order.len()).flat_map(|from| (0..circle.len()).map(move |to| (from, to)))
            {
                let mut moved = order.clone();
                let file = moved.remove(from);
                moved.insert(to, file);
                if against(&moved) < best {
                    best = against(&moved);
                    order = moved;
                    is_better = true;
                }
            }
        }
        order
    }
}

impl File {
    fn read(source: &Source, root: &str) -> Self {
        let module = module_of(&source.path, root);
        let code = without_reach(&source.code);
        let children = declared(&code, &["mod "]);
        let kinds = [
            "struct ",
            "enum ",
            "trait ",
            "type ",
            "const ",
            "static ",
            "fn ",
            "union ",
            "macro_rules! ",
        ];
        let mut file = Self {
            defines: declared(&code, &kinds),
            imports: Vec::new(),
            named: Vec::new(),
            module,
        };
        let mut rest = String::new();
        let mut from = 0;
        for (start, end, is_face) in uses(&code) {
            rest.push_str(&code[from..start]);
            from = end;
            let tree = code[start..end]
                .split_once("use ")
                .map_or("", |(_, tree)| tree.trim_end_matches(';'));
            for (path, name) in expand(tree) {
                if let Some(path) = file.absolute(&path, &children) {
                    file.imports.push((name, path.clone()));
                    if !is_face {
                        file.named.push(path);
                    }
                }
            }
        }
        rest.push_str(&code[from..]);
        let inline = paths(&rest);
        file.named.extend(
            inline
                .iter()
                .filter_map(|path| file.absolute(path, &children))
                .collect::<Vec<_>>(),
        );
        file
    }

    /// `path` from the crate's root; `None` when it leads out of the crate.
    fn absolute(&self, path: &[String], children: &BTreeSet<String>) -> Option<Vec<String>> {
        let mut base = self.module.clone();
        let mut rest = path;
        match path.first()?.as_str() {
            "crate" => {
                base.clear();
                rest = &rest[1..];
            }
            "self" => rest = &rest[1..],
            "super" => {
                while rest.first().is_some_and(|part| part == "super") {
                    base.pop();
                    rest = &rest[1..];
                }
            }
            child if children.contains(child) => {}
            _ => return None,
        }
        Some(base.into_iter().chain(rest.iter().cloned()).collect())
    }
}

fn module_of(path: &str, root: &str) -> Vec<String> {
    let inside = path
        .strip_prefix(root)
        .unwrap_or(path)
        .trim_start_matches('/')
        .trim_end_matches(".rs");
    let mut parts: Vec<String> = inside.split('/').map(ToOwned::to_owned).collect();
    if parts
        .last()
        .is_some_and(|last| matches!(last.as_str(), "mod" | "lib" | "main"))
    {
        parts.pop();
    }
    parts
}

/// Names that stand behind one of `kinds` at the beginning of an item.
fn declared(code: &str, kinds: &[&str]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in code.lines() {
        let mut line = line.trim_start();
        if let Some(rest) = line.strip_prefix("pub") {
            line = rest.trim_start();
            if line.starts_with('(') {
                line = line
                    .split_once(')')
                    .map_or(line, |(_, rest)| rest.trim_start());
            }
        }
        for word in ["const fn ", "async fn ", "unsafe fn "] {
            if let Some(rest) = line.strip_prefix(word)
                && kinds.contains(&"fn ")
            {
                found.insert(name(rest));
            }
        }
        found.extend(
            kinds
                .iter()
                .filter_map(|kind| line.strip_prefix(kind))
                .map(name),
        );
    }
    found
}

fn name(text: &str) -> String {
    text.chars()
        .take_while(|symbol| symbol.is_alphanumeric() || *symbol == '_')
        .collect()
}

/// `pub(in a::b)` as `pub`: who may see an item is nothing that it uses.
fn without_reach(code: &str) -> String {
    let mut parts = code.split("pub(in ");
    let mut clean = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        clean.push_str("pub");
        clean.push_str(part.split_once(')').map_or(part, |(_, behind)| behind));
    }
    clean
}

/// Every `a::b::c` in code.
fn paths(code: &str) -> Vec<Vec<String>> {
    let is_part = |symbol: char| symbol.is_alphanumeric() || symbol == '_' || symbol == ':';
    let words = code
        .split(|symbol: char| !is_part(symbol))
        .filter(|word| word.contains("::"));
    let path = |word: &str| {
        word.split("::")
            .map(str::to_owned)
            .take_while(|part| !part.is_empty())
            .collect::<Vec<_>>()
    };
    words
        .map(path)
        .filter(|path: &Vec<String>| path.len() > 1)
        .collect()
}

/// Lengths of the functions, in lines that are neither blank nor comment, first line and last brace included.
pub fn functions(source: &Source) -> Vec<(String, usize)> {
    let lines: Vec<&str> = source.code.lines().collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let begin = format!(" {line}");
        let Some((before, rest)) = begin.split_once(" fn ") else {
            continue;
        };
        if before.contains(|symbol: char| !(symbol.is_alphanumeric() || " ()_\"".contains(symbol)))
        {
            continue;
        }
        let (mut depth, mut length, mut is_open) = (0_i64, 0, false);
        for line in &lines[index..] {
            length += usize::from(!line.trim().is_empty());
            is_open |= line.contains('{');
            depth += line.matches(['{', '(', '[']).count() as i64
                - line.matches(['}', ')', ']']).count() as i64;
            if depth == 0 && (is_open || line.trim_end().ends_with(';')) {
                break;
            }
        }
        if is_open {
            found.push((name(rest), length));
        }
    }
    found
}

/// Names of the types that a file defines, associated ones apart.
pub fn types(source: &Source) -> BTreeSet<String> {
    let outer: String = source
        .code
        .lines()
        .filter(|line| !line.starts_with(' '))
        .map(|line| format!("{line}\n"))
        .collect();
    declared(&outer, &["struct ", "enum ", "trait ", "type ", "union "])
}

/// Statements that give several names their values at once: `let (a, b) = (c, d);`. Those that only ask whether several values
/// are of a form are none: `if let (Some(a), Some(b)) = (c, d)`.
pub fn tuple_lets(source: &Source) -> usize {
    let starts = source.code.match_indices("let (").filter(|(at, _)| {
        let before = source.code[..*at].trim_end();
        let asks = ["if", "while", "&&"];
        let statement = source.code[*at..].split(';').next().unwrap_or_default();
        let value = statement.split_once(" = ").map(|(_, value)| value);
        !asks.iter().any(|word| before.ends_with(word))
            && !statement.contains(" else {")
            && value.is_some_and(|value| value.trim_start().starts_with('('))
    });
    starts.count()
}

/// Lines with documentation of three words or fewer above them, from 1 on. What `--help` shows of an argument is none.
pub fn short_docs(source: &Source) -> Vec<usize> {
    let is_production = |line: &str| !line.trim().is_empty();
    let is_help = |code: &str| {
        let code = code.trim_start();
        code.starts_with("#[arg(") || code.starts_with("#[command(")
    };
    let lines = source.text.lines().zip(source.code.lines()).enumerate();
    let mut found = Vec::new();
    let mut words = 0;
    for (index, (line, code)) in lines {
        if let Some(text) = line.trim_start().strip_prefix("///") {
            words += text.split_whitespace().count();
            continue;
        }
        if (1..=3).contains(&words) && is_production(code) && !is_help(code) {
            found.push(index + 1);
        }
        words = 0;
    }
    found
}

/// The value that so many of a hundred do not exceed.
pub fn percentile(values: &[usize], of_hundred: usize) -> usize {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let at = (sorted.len() * of_hundred).div_ceil(100).max(1) - 1;
    sorted.get(at).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests;
