//! What does not go as it should in a source and is no lost connection, while it lasts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// One such thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Of what sort, in one word.
    pub kind: &'static str,
    /// What, where, why, and what to do: on one line, cleaned.
    pub words: String,
    /// Messages that it has cost.
    pub messages: u64,
    pub since: Instant,
    /// When something is tried next, where that is known.
    pub next_try: Option<Instant>,
}

/// Those of all sources.
#[derive(Clone, Debug, Default)]
pub(super) struct Conditions(Arc<Mutex<BTreeMap<Arc<str>, Vec<Condition>>>>);

impl Conditions {
    pub(super) fn of(&self, source: &str) -> Vec<Condition> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(source).cloned().unwrap_or_default()
    }

    /// Where one source tells its own.
    pub(super) fn board(&self, source: &str) -> Board {
        Board {
            all: self.clone(),
            source: source.into(),
        }
    }
}

/// Where one source tells its conditions; taken back at its end.
#[derive(Debug)]
pub(super) struct Board {
    all: Conditions,
    source: Arc<str>,
}

impl Board {
    /// These, in place of what was.
    pub(super) fn show(&self, conditions: Vec<Condition>) {
        let mut all = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        if conditions.is_empty() {
            all.remove(&self.source);
        } else {
            all.insert(Arc::clone(&self.source), conditions);
        }
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        self.show(Vec::new());
    }
}
