//! What has become of the config: which one runs, what of today's file waits for a restart, and which change was refused.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::clock::{ChangeWindow, Now, WindowState, utc};
use crate::config::Problems;

/// How the config stands, for `status` and health.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigStanding {
    pub file: PathBuf,
    /// The file had mistakes at the start: this gateway runs on the last config that worked.
    pub runs_on_kept: bool,
    /// Tables whose changes need a restart.
    pub needs_restart: Vec<String>,
    /// What is not as the file says although no restart is needed, and why: `flow.NAME`, `source.NAME`, `uplink.NAME`.
    #[serde(default)]
    pub unchanged: BTreeMap<String, String>,
    /// What was read last and not applied.
    pub refused: Option<RefusedConfig>,
    /// Files that have changed and wait for `change_window`.
    #[serde(default)]
    pub held: Option<HeldChanges>,
}

/// Changes by file that wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldChanges {
    /// The config's own files, components and signatures.
    pub files: Vec<PathBuf>,
    /// The window, as it was written.
    pub window: String,
    /// When it opens, as RFC 3339 has it; `None` while the clock is not set, which is waited for.
    pub until: Option<String>,
}

impl HeldChanges {
    /// Of no file yet.
    pub(super) fn until(window: &ChangeWindow, state: WindowState) -> Self {
        Self {
            files: Vec::new(),
            window: window.written().to_owned(),
            until: match state {
                WindowState::Shut { opens } => Some(utc(opens.0)),
                WindowState::Open | WindowState::Unknown => None,
            },
        }
    }

    /// Until when, and how not to wait.
    pub(super) fn words(&self) -> String {
        let window = &self.window;
        let until = match &self.until {
            Some(until) => {
                let until = until.get(..16).unwrap_or(until).replace('T', " ");
                format!("until {until} UTC (`change_window` is \"{window}\")")
            }
            None => format!(
                "for `change_window` (\"{window}\"), and nobody knows when that is: the clock is not set"
            ),
        };
        format!("{until}; `tidegate reload` takes it at once")
    }
}

/// A config that was not applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedConfig {
    /// When it was read, as RFC 3339 has it.
    pub at: String,
    /// How many mistakes it has.
    pub mistakes: usize,
    /// The first of them, in words.
    pub first: String,
}

impl RefusedConfig {
    fn of(problems: &Problems) -> Self {
        let first = problems
            .iter()
            .find(|problem| !problem.code.is_warning())
            .map(|problem| problem.message.clone());
        Self {
            at: utc(Now::read().wall.0),
            mistakes: problems.errors(),
            first: first.unwrap_or_default(),
        }
    }
}

impl ConfigStanding {
    /// What an operator should know, each in one line: in words that quote nothing of the config, and in full. Empty when all is
    /// as the file says.
    pub fn words(&self) -> Vec<(String, String)> {
        let mut words = Vec::new();
        if let Some(RefusedConfig {
            at,
            mistakes,
            first,
        }) = &self.refused
        {
            let runs = if self.runs_on_kept {
                "the last one that worked runs"
            } else {
                "the one before runs on"
            };
            let more = if *mistakes > 1 {
                format!(", and {} more", mistakes - 1)
            } else {
                String::new()
            };
            let at = at.get(..19).unwrap_or(at).replace('T', " ");
            let own = format!("the config of {at} was refused, {runs}");
            let all = format!("{own}: {first}{more}; `tidegate check` shows all");
            words.push((own, all));
        }
        if !self.needs_restart.is_empty() {
            let tables = self.needs_restart.join(", ");
            let own = format!("needs a restart: {tables}");
            words.push((own.clone(), own));
        }
        if let Some(held) = &self.held {
            let (count, until) = (held.files.len(), held.words());
            let files: Vec<String> = held
                .files
                .iter()
                .map(|file| file.display().to_string())
                .collect();
            let own = format!("{count} changed files wait {until}");
            let all = format!("{own}: {}", files.join(", "));
            words.push((own, all));
        }
        let unchanged = self.unchanged.iter();
        words.extend(unchanged.map(|(what, why)| {
            let own = format!("{what} is as before");
            let all = format!("{own}: {why}");
            (own, all)
        }));
        words
    }
}

/// Shared by who changes it and who shows it.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedStanding(Arc<Mutex<ConfigStanding>>);

impl SharedStanding {
    /// A start, on what the file says, or because of `problems` on what worked last.
    pub(super) fn of_start(file: &Path, problems: Option<&Problems>) -> Self {
        let standing = ConfigStanding {
            file: file.to_owned(),
            runs_on_kept: problems.is_some(),
            needs_restart: Vec::new(),
            unchanged: BTreeMap::new(),
            refused: problems.map(RefusedConfig::of),
            held: None,
        };
        Self(Arc::new(Mutex::new(standing)))
    }

    /// As it is now.
    pub(super) fn look(&self) -> ConfigStanding {
        self.lock().clone()
    }

    /// The file was read again, and is none.
    pub(super) fn refuse(&self, problems: &Problems) {
        self.lock().refused = Some(RefusedConfig::of(problems));
    }

    /// The file was read again and applied, but for these tables.
    pub(super) fn accept(&self, needs_restart: Vec<String>) {
        let mut standing = self.lock();
        *standing = ConfigStanding {
            file: std::mem::take(&mut standing.file),
            needs_restart,
            held: standing.held.take(),
            ..ConfigStanding::default()
        };
    }

    /// These files wait for the window.
    pub(super) fn holds(&self, held: Option<HeldChanges>) {
        self.lock().held = held;
    }

    /// This is not as the file says.
    pub(super) fn stays(&self, what: String, why: String) {
        self.lock().unchanged.insert(what, why);
    }

    /// What was not as the file says is so now.
    pub(super) fn is_settled(&self, what: &str) {
        self.lock().unchanged.remove(what);
    }

    fn lock(&self) -> MutexGuard<'_, ConfigStanding> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_as_the_file_says_is_said() {
        assert!(ConfigStanding::default().words().is_empty());
        let refused = RefusedConfig {
            at: "2026-11-22T01:02:03.004Z".into(),
            mistakes: 3,
            first: "unknown key `qso`".into(),
        };
        let standing = ConfigStanding {
            refused: Some(refused),
            needs_restart: vec!["[spool]".into()],
            unchanged: [("source.annex".to_owned(), "a flow takes from it".to_owned())].into(),
            ..ConfigStanding::default()
        };
        let words = standing.words().into_iter().map(|(_, all)| all);
        let words = words.collect::<Vec<_>>().join("\n");
        assert!(
            words.contains("the config of 2026-11-22 01:02:03 was refused")
                && words.contains("unknown key `qso`, and 2 more")
                && words.contains("needs a restart: [spool]")
                && words.contains("source.annex is as before: a flow takes from it"),
            "{words}"
        );
    }
}
