//! Where settings come from: the file with its parts, then `TIDEGATE_<TABLE>__<KEY>` variables, then `--set a.b=c`. The last word
//! counts, and each value remembers which text it stands in.

mod quotes;
pub(super) mod written;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::problem::{ConfigText, Problem};
use super::secrecy::{self, Hidden};
use super::tree::{Node, Place, Table, TomlItem};
use crate::config::problem::code::ProblemCode;
use written::{MOST_BYTES, WrittenConfig};

/// The manual, which is also the default of everything.
pub(super) const DEFAULTS: &str = include_str!("../../default.toml");

/// The tables of a config.
pub(super) const TABLES: [&str; 11] = [
    "gateway",
    "source",
    "uplink",
    "flow",
    "class",
    "devices",
    "spool",
    "admin",
    "log",
    "telemetry",
    "accepted",
];

/// Lines that are no TOML and are told of: twenty are shown.
const MOST_ERRORS: usize = 500;
/// What is said where one quote is missing, in place of all that comes of it.
pub(super) const MISSING_QUOTE: &str = "a quote is missing in this line";

const PREFIX: &str = "TIDEGATE_";

/// What is asked of what the config only refers to: passwords, tokens, certificates and keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Secrets {
    /// All of them are there, and good.
    #[default]
    Needed,
    /// Somebody else runs it: what that one's environment and rights give is not asked for.
    Elsewhere,
    /// Files are looked at when something is dialled with them: one that is damaged costs what needs it, not the start. What
    /// leads to none, and has not the form of a file's name, may be the secret itself: that is a mistake.
    AtDial,
    /// The same of a config that has worked: what it names is a file. So are plugins and their keys, which are looked for
    /// when their flow is built.
    Proven,
    /// Nothing is dialled, so none of them is looked at.
    Unused,
}

impl Secrets {
    /// Whether a file that cannot be used is a mistake of the config.
    pub(super) fn judges_files(self) -> bool {
        matches!(self, Self::Needed | Self::Elsewhere)
    }

    /// Whether a file that is not there may come later.
    pub(super) fn wait_for(self, written: &str, folder: &Path) -> bool {
        match self {
            Self::Needed | Self::Elsewhere => false,
            Self::AtDial => secrecy::is_reference("file", written, folder),
            Self::Proven | Self::Unused => true,
        }
    }
}

/// What a config is loaded from. Only [`Sources::new`] reads the environment, so that a load can be repeated.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The file; plugins, certificates and secrets with relative paths are looked for beside it.
    pub path: PathBuf,
    /// Variables: overrides, what `{ env = … }` refers to, `CREDENTIALS_DIRECTORY`, `HOME`.
    pub env: BTreeMap<String, String>,
    /// Overrides of the command line, `a.b=c`.
    pub sets: Vec<String>,
    /// Folder for what must survive; wins over the config.
    pub data_dir: Option<PathBuf>,
    /// Processors to spread lanes over.
    pub cores: usize,
    pub secrets: Secrets,
}

impl Sources {
    /// The file at `path` with this process's environment and machine; a variable that is not text is left out.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self {
            path: path.into(),
            env: std::env::vars_os().filter_map(text).collect(),
            sets: Vec::new(),
            data_dir: None,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            secrets: Secrets::default(),
        }
    }

    /// The folder of the config's parts, which need not be there.
    pub fn parts_folder(&self) -> PathBuf {
        written::parts_folder(self.folder())
    }

    /// The folder that relative paths of the config start from.
    pub(super) fn folder(&self) -> &Path {
        self.path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."))
    }
}

/// All layers, one over the other.
#[derive(Debug, Default)]
pub(super) struct Layers {
    /// Everything that was read; number 0 is the manual, number 1 the file.
    pub(super) texts: Vec<ConfigText>,
    pub(super) base: Table,
    pub(super) tree: Table,
    /// What is wrong so far.
    pub(super) problems: Vec<Problem>,
    /// What must not be shown with them.
    pub(super) hidden: Hidden,
    /// A bracket was left open.
    is_open: bool,
    folder: PathBuf,
    /// Which of the texts are files: lines are counted in them.
    pub(super) files: Range<usize>,
}

/// How far the tree can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Completeness {
    Full,
    /// Some lines could not be read: what seems to be missing may stand there.
    Partial,
    /// A bracket or quote was left open: keys may stand under the wrong table.
    None,
}

/// Number of the file among the texts.
pub(super) const FILE: usize = 1;

impl Layers {
    pub(super) fn read(sources: &Sources, written: WrittenConfig) -> Self {
        let mut layers = Self {
            folder: sources.folder().to_owned(),
            ..Self::default()
        };
        layers.base = layers.document("default.toml (built in)".to_owned(), DEFAULTS.to_owned());
        layers.hidden.know_manual(DEFAULTS);
        let WrittenConfig { file, parts } = written;
        layers.tree = layers.file(&sources.path, file);
        for (path, part) in parts {
            let part = layers.file(&path, part);
            layers.join(part);
        }
        layers.files = FILE..layers.texts.len();
        for (name, value) in &sources.env {
            layers.variable(name, value);
        }
        for set in &sources.sets {
            layers.argument(set);
        }
        layers
    }

    /// A file of the config as a tree, which is empty where it cannot be read.
    fn file(&mut self, path: &Path, written: Result<String, String>) -> Table {
        let name = path.display().to_string();
        match written {
            Ok(content) => self.document(name, content),
            Err(message) => {
                let place = Place::whole(self.texts.len());
                let content = String::new();
                self.texts.push(ConfigText { name, content });
                let hint = hint_of(path, &message).to_owned();
                self.problem(ProblemCode::Unreadable, place, message, Some(hint));
                Table::default()
            }
        }
    }

    /// What stands in two files is refused: which of them would count is nothing that a reader of one of them sees.
    fn join(&mut self, part: Table) {
        for (name, one, before) in written::join(&mut self.tree, part) {
            let text = &self.texts[before.place.text];
            let line = before.place.span.map_or(0, |(start, _)| text.line(start)) + 1;
            let message = format!("`{name}` stands in `{}`, too, in line {line}", text.name);
            let hint = "a key, and each source, uplink, flow and class, stands in one file only: leave one of the two out";
            let hint = Some(hint.to_owned());
            self.problem(ProblemCode::Conflict, one.place, message, hint);
        }
    }

    /// How far the tree can be believed.
    pub(super) fn trust(&self) -> Completeness {
        let any = |is_one: &dyn Fn(&Problem) -> bool| self.problems.iter().any(is_one);
        if self.is_open || any(&|problem| problem.code == ProblemCode::Unreadable) {
            Completeness::None
        } else if any(&|problem| problem.code == ProblemCode::Syntax) {
            Completeness::Partial
        } else {
            Completeness::Full
        }
    }

    fn problem(&mut self, code: ProblemCode, place: Place, message: String, hint: Option<String>) {
        self.problems.push(Problem {
            code,
            message,
            hint,
            place,
        });
    }

    fn document(&mut self, name: String, content: String) -> Table {
        let text = self.texts.len();
        let (table, errors) = DeTable::parse_recoverable(&content);
        let tree = Table::from_toml(text, table.get_ref());
        self.hidden.look(&tree, &self.folder);
        let told = quotes::told(&content, errors.into_iter().take(MOST_ERRORS));
        self.is_open |= told.is_open;
        if let Some(span) = told.missing {
            let hint = Some("each text stands between two of them".to_owned());
            let message = MISSING_QUOTE.to_owned();
            self.problem(ProblemCode::Syntax, Place::at(text, span), message, hint);
        }
        for error in told.errors {
            let place = error
                .span()
                .map_or(Place::whole(text), |span| Place::at(text, span));
            let (message, hint) = explain(error.message());
            self.problem(ProblemCode::Syntax, place, message, hint);
        }
        self.texts.push(ConfigText { name, content });
        tree
    }

    fn variable(&mut self, name: &str, value: &str) {
        let Some(path) = name.strip_prefix(PREFIX) else {
            return;
        };
        let place = Place::whole(self.texts.len());
        if !path.contains("__") {
            let lower = path.to_ascii_lowercase();
            let Some(table) = TABLES.iter().find(|table| {
                lower
                    .strip_prefix(**table)
                    .is_some_and(|rest| rest.starts_with('_'))
            }) else {
                return;
            };
            self.text_of_variable(name, value);
            let key = &path[table.len() + 1..];
            let hint = format!(
                "two underscores stand between table and key: {PREFIX}{}__{key}",
                table.to_ascii_uppercase()
            );
            self.problem(
                ProblemCode::Override,
                place,
                format!("variable `{name}` sets nothing"),
                Some(hint),
            );
            return;
        }
        self.text_of_variable(name, value);
        let path = self.existing_names(path);
        self.set(&path, value, 0, Place::at(place.text, 0..value.len()));
    }

    fn text_of_variable(&mut self, name: &str, value: &str) {
        self.texts.push(ConfigText {
            name: format!("environment variable {name}"),
            content: value.to_owned(),
        });
    }

    /// Upper case and `_` of a variable meet the names as they are written in the file, hyphens and all.
    fn existing_names(&self, path: &str) -> Vec<String> {
        let mut node = Some(&self.tree);
        let mut names = Vec::new();
        for part in path.split("__") {
            let lower = part.to_ascii_lowercase();
            let same = |key: &str| key.to_ascii_lowercase().replace(['-', '.'], "_") == lower;
            let entry = node.and_then(|table| table.entries.iter().find(|entry| same(&entry.key)));
            names.push(entry.map_or(lower, |entry| entry.key.clone()));
            node = entry.and_then(|entry| {
                if let Node::Table(table) = &entry.item.node {
                    Some(table)
                } else {
                    None
                }
            });
        }
        names
    }

    fn argument(&mut self, set: &str) {
        let text = self.texts.len();
        self.texts.push(ConfigText {
            name: "argument --set".to_owned(),
            content: set.to_owned(),
        });
        let split = set
            .find('=')
            .and_then(|at| Some((parse_path(&set[..at])?, at + 1)));
        let Some((path, start)) = split else {
            let hint = "write `--set table.key=value`, as in `--set log.level=debug`".to_owned();
            self.problem(
                ProblemCode::Override,
                Place::at(text, 0..set.len()),
                "`--set` without a key and a value".to_owned(),
                Some(hint),
            );
            return;
        };
        self.set(
            &path,
            &set[start..],
            start,
            Place::at(text, start..set.len()),
        );
    }

    fn set(&mut self, path: &[String], value: &str, shift: usize, place: Place) {
        let shift = shift + value.len() - value.trim_start().len();
        let value = value.trim();
        let item = match DeValue::parse(value) {
            Ok(parsed) => TomlItem::from_toml(place.text, shift, &parsed),
            // A lone word needs no quotes here: shells take them away.
            Err(_) if !value.starts_with(['"', '\'', '[', '{']) => TomlItem {
                place,
                node: Node::Text(value.to_owned()),
            },
            Err(error) => {
                let span = error.span().unwrap_or(0..value.len());
                let (message, hint) = explain(error.message());
                self.problem(
                    ProblemCode::Syntax,
                    Place::at(place.text, span.start + shift..span.end + shift),
                    message,
                    hint,
                );
                return;
            }
        };
        self.hidden.look_along(path, &item, &self.folder);
        if let Err(error) = self.tree.insert(path, item) {
            self.problem(
                ProblemCode::Override,
                place,
                format!("cannot set `{}`: {error}", path.join(".")),
                None,
            );
        }
    }
}

/// What to do about a config that cannot be read.
fn hint_of(path: &Path, message: &str) -> &'static str {
    match crate::file::about(path) {
        Ok(found) if found.is_file() && message.contains("UTF-8") => "save it as text in UTF-8",
        Ok(found) if found.is_file() && found.len() > MOST_BYTES => {
            "1 MiB is read at most: is it the config?"
        }
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            "let this user read it, and pass the folders above it"
        }
        Ok(found) if found.is_file() => "let this user read it",
        Ok(_) | Err(_) => "give the file's path with `--config FILE`",
    }
}

/// The keys of `a.b."c.d"`.
fn parse_path(text: &str) -> Option<Vec<String>> {
    let document = format!("{text} = 0");
    let parsed = DeTable::parse(&document).ok()?;
    let mut path = Vec::new();
    let mut table = parsed.into_inner();
    loop {
        let (key, value) = table.into_iter().next()?;
        path.push(key.into_inner().into_owned());
        match value.into_inner() {
            DeValue::Table(inner) => table = inner,
            _ => return Some(path),
        }
    }
}

/// The parser's words, and what to do where they do not say it.
fn explain(message: &str) -> (String, Option<String>) {
    let (what, expected) = message
        .split_once(", expected ")
        .map_or((message, None), |(what, expected)| (what, Some(expected)));
    let hint = match what {
        "string values must be quoted" => Some("put it in double quotes".to_owned()),
        "duplicate key" => Some("this name was used before in this table".to_owned()),
        _ => expected.map(|expected| format!("expected {expected}")),
    };
    (what.to_owned(), hint)
}

#[cfg(test)]
mod tests;
