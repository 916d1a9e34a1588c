//! What every check shares: the problems found so far, and what a value may refer to (names, files).

use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::known::{AskedKey, Known};
use super::layers::{Secrets, Sources};
use super::problem::Problem;
use super::secrecy::{Hidden, is_reference};
use super::tree::{Place, TomlItem};
use crate::config::problem::code::ProblemCode;

/// Problems that are kept: twenty are shown, and a file may be nothing but mistakes.
const MOST_PROBLEMS: usize = 500;

/// One pass over a config.
#[derive(Debug)]
pub(super) struct Check<'a> {
    pub(super) sources: &'a Sources,
    found: RefCell<Vec<Problem>>,
    more: Cell<usize>,
    hidden: RefCell<Hidden>,
    /// What is asked for, where somebody wants to know that.
    known: Option<RefCell<Known>>,
}

/// What a pass has found.
#[derive(Debug)]
pub(super) struct Findings {
    pub(super) problems: Vec<Problem>,
    pub(super) more: usize,
    /// What must not be shown with them.
    pub(super) hidden: Hidden,
    /// What was asked for; nothing unless it was to be noted.
    pub(super) known: Known,
}

impl<'a> Check<'a> {
    pub(super) fn new(sources: &'a Sources, hidden: Hidden) -> Self {
        Self {
            sources,
            found: RefCell::default(),
            more: Cell::default(),
            hidden: RefCell::new(hidden),
            known: None,
        }
    }

    /// One that notes every key that is asked for.
    pub(super) fn noting(sources: &'a Sources, hidden: Hidden) -> Self {
        Self {
            known: Some(RefCell::default()),
            ..Self::new(sources, hidden)
        }
    }

    /// `key` is asked for in the table `path`, and `more` says as what.
    pub(super) fn note(&self, path: &str, key: &'static str, more: impl FnOnce(&mut AskedKey)) {
        if let Some(known) = &self.known {
            known.borrow_mut().note(path, key, more);
        }
    }

    /// The table `path` takes any key.
    pub(super) fn note_open(&self, path: &str) {
        if let Some(known) = &self.known {
            known.borrow_mut().open(path);
        }
    }

    pub(super) fn problem(
        &self,
        code: ProblemCode,
        place: Place,
        message: impl Into<String>,
        hint: impl Into<Option<String>>,
    ) {
        if self.found.borrow().len() >= MOST_PROBLEMS {
            return self.more.set(self.more.get() + 1);
        }
        self.found.borrow_mut().push(Problem {
            code,
            message: message.into(),
            hint: hint.into(),
            place,
        });
    }

    /// Whether further problems are only counted.
    pub(super) fn is_full(&self) -> bool {
        self.found.borrow().len() >= MOST_PROBLEMS
    }

    /// What stands there is a secret and is not to be shown with a problem.
    pub(super) fn hide(&self, item: &TomlItem) {
        self.hidden.borrow_mut().hide(item);
    }

    pub(super) fn finish(self) -> Findings {
        Findings {
            problems: self.found.into_inner(),
            more: self.more.get(),
            hidden: self.hidden.into_inner(),
            known: self.known.map(RefCell::into_inner).unwrap_or_default(),
        }
    }

    /// Whether something was found there that keeps the gateway from starting.
    pub(super) fn has_problem_at(&self, place: Place) -> bool {
        self.found
            .borrow()
            .iter()
            .any(|problem| problem.place == place && !problem.code.is_warning())
    }

    /// Whether something was found that keeps the gateway from starting.
    pub(super) fn has_errors(&self) -> bool {
        self.found
            .borrow()
            .iter()
            .any(|problem| !problem.code.is_warning())
    }

    /// The file `written` means, as a path from here; a problem with the nearest name when it is not there.
    pub(super) fn file(
        &self,
        code: ProblemCode,
        place: Place,
        what: &str,
        written: &str,
    ) -> PathBuf {
        let path = self.sources.folder().join(written);
        match crate::file::about(&path) {
            _ if code == ProblemCode::Certificate && self.waits_for(written) => {}
            _ if self.waits_for_plugins(code, written) => {}
            Ok(found) if found.is_file() => {}
            Ok(_) => self.problem(
                code,
                place,
                format!("{what} `{written}` is not a file"),
                None,
            ),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.problem(
                    code,
                    place,
                    format!("{what} not found"),
                    Some(nearest_file(&path, written)),
                );
            }
            Err(error) => self.problem(
                code,
                place,
                format!("{what} `{written}` cannot be read: {error}"),
                None,
            ),
        }
        path
    }

    /// Whether a file that flows need for their plugins may come later: what may be a secret in the place of a key may not. On a mount
    /// that hangs it may, though nothing is known of the config: its flow says so, and the others do not wait for it.
    pub(super) fn waits_for_plugins(&self, code: ProblemCode, written: &str) -> bool {
        let is_file = match code {
            ProblemCode::PluginFile => true,
            ProblemCode::PluginKey => is_reference("file", written, self.sources.folder()),
            _ => false,
        };
        let Sources { secrets, .. } = *self.sources;
        let hangs = || {
            let found = crate::file::about(&self.sources.folder().join(written));
            found.is_err_and(|error| error.kind() == ErrorKind::TimedOut)
        };
        is_file && (secrets == Secrets::Proven || (!secrets.judges_files() && hangs()))
    }

    fn waits_for(&self, written: &str) -> bool {
        let sources = self.sources;
        sources.secrets.wait_for(written, sources.folder())
    }

    /// Looks `name` up among `known`; a problem with the nearest and the list when it is none of them.
    pub(super) fn reference(&self, what: &str, name: &str, place: Place, known: &[&str]) -> bool {
        if known.contains(&name) {
            return true;
        }
        let hint = if known.is_empty() {
            format!("define it: [{what}.{name}]")
        } else {
            nearest(name, known).map_or_else(
                || {
                    format!(
                        "defined are: {}; define it: [{what}.{name}]",
                        known.join(", ")
                    )
                },
                |near| format!("did you mean `{near}`? (defined are: {})", known.join(", ")),
            )
        };
        self.problem(
            ProblemCode::Undefined,
            place,
            format!("there is no {what} `{name}`"),
            hint,
        );
        false
    }

    /// Names go into client ids, metrics and folders: letters, digits, `-`, `_` and `.`.
    pub(super) fn name(&self, what: &str, name: &str, place: Place) -> bool {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let fits = !name.is_empty()
            && name.len() <= 64
            && name.bytes().all(good)
            && name.starts_with(|first: char| first.is_ascii_alphanumeric());
        if !fits {
            let hint = "use up to 64 letters, digits, `-`, `_` and `.`, a letter or digit first"
                .to_owned();
            self.problem(
                ProblemCode::BadName,
                place,
                format!("the {what} name `{name}` is not allowed"),
                hint,
            );
        }
        fits
    }
}

/// The known name that `name` was probably meant to be.
pub(super) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let lower = name.to_ascii_lowercase();
    let near = known.iter().map(|known| {
        (
            strsim::damerau_levenshtein(&lower, &known.to_ascii_lowercase()),
            *known,
        )
    });
    near.min_by_key(|(distance, _)| *distance)
        .filter(|(distance, known)| *distance <= known.len().max(3) / 3)
        .map(|(_, known)| known)
}

/// A path beside the config without the `./` that stands for its folder.
pub(super) fn shown(path: &Path) -> std::path::Display<'_> {
    path.strip_prefix(".")
        .ok()
        .filter(|path| !path.as_os_str().is_empty())
        .unwrap_or(path)
        .display()
}

/// What lies beside the missing `path` under a similar name, in the form the operator wrote it.
fn nearest_file(path: &Path, written: &str) -> String {
    let folder = path.parent().unwrap_or(Path::new("."));
    let Ok(entries) = std::fs::read_dir(folder) else {
        return format!("there is no folder `{}`", shown(folder));
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    let wanted = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let known: Vec<&str> = names.iter().map(String::as_str).collect();
    match nearest(&wanted, &known) {
        Some(near) => format!(
            "nearest: {}",
            Path::new(written).with_file_name(near).display()
        ),
        None => format!("looked for {}", shown(path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognised_and_another_word_is_not() {
        assert_eq!(nearest("qso", &["url", "qos"]), Some("qos"));
        assert_eq!(nearest("Topics", &["topic", "topics"]), Some("topics"));
        assert_eq!(
            nearest("keepalive", &["keep_alive", "qos"]),
            Some("keep_alive")
        );
        assert_eq!(nearest("banana", &["url", "qos"]), None);
        assert_eq!(nearest("x", &[]), None);
    }
}
