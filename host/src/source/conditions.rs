//! What does not go as it should in a source and is no lost connection, while it lasts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Something that does not go as it should, while it lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceCondition {
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
pub(super) struct SourceConditions(Arc<Mutex<BTreeMap<Arc<str>, Vec<SourceCondition>>>>);

impl SourceConditions {
    pub(super) fn of(&self, source: &str) -> Vec<SourceCondition> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(source).cloned().unwrap_or_default()
    }

    /// Where one source tells its own.
    pub(super) fn board(&self, source: &str) -> ConditionBoard {
        ConditionBoard {
            all: self.clone(),
            source: source.into(),
        }
    }
}

/// Where one source tells its conditions; taken back at its end.
#[derive(Debug)]
pub(super) struct ConditionBoard {
    all: SourceConditions,
    source: Arc<str>,
}

impl ConditionBoard {
    /// These, in place of what was.
    pub(super) fn show(&self, conditions: Vec<SourceCondition>) {
        let mut all = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        if conditions.is_empty() {
            all.remove(&self.source);
        } else {
            all.insert(Arc::clone(&self.source), conditions);
        }
    }
}

impl Drop for ConditionBoard {
    fn drop(&mut self) {
        self.show(Vec::new());
    }
}
