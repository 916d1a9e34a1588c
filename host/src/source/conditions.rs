//! What does not go as it should in a source and is no lost connection, while it lasts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use prometheus::{IntGaugeVec, Opts, Registry};

/// Something that does not go as it should, while it lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceCondition {
    /// Of what sort, in one word.
    pub kind: &'static str,
    /// What, where, why, and what to do: on one line, cleaned.
    pub words: String,
    /// The same without names, addresses and what a device said.
    pub own: &'static str,
    /// Messages that it has cost.
    pub messages: u64,
    pub since: Instant,
    /// When something is tried next, where that is known.
    pub next_try: Option<Instant>,
}

impl SourceCondition {
    /// What nobody can be told to hold back, and `own` says what, is left out while what came before is unsettled.
    pub(super) fn no_room(own: &'static str, since: Instant, left_out: u64) -> Self {
        Self {
            kind: "no-room",
            words: format!("{own} (`max_unsettled`): see the spool and its uplinks"),
            own,
            messages: left_out,
            since,
            next_try: None,
        }
    }
}

/// Those of all sources.
#[derive(Clone, Debug)]
pub(super) struct SourceConditions {
    all: Arc<Mutex<BTreeMap<Arc<str>, Vec<SourceCondition>>>>,
    gauge: IntGaugeVec,
}

impl SourceConditions {
    /// # Errors
    /// The name is taken.
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let opts = Opts::new(
            "tidegate_source_condition",
            "1 while something does not go as it should in a source and is no lost connection, by what it is.",
        );
        let gauge = IntGaugeVec::new(opts, &["source", "condition"])?;
        registry.register(Box::new(gauge.clone()))?;
        Ok(Self {
            all: Arc::default(),
            gauge,
        })
    }

    pub(super) fn of(&self, source: &str) -> Vec<SourceCondition> {
        self.lock().get(source).cloned().unwrap_or_default()
    }

    /// Names of those that tell something.
    pub(super) fn names(&self) -> Vec<Arc<str>> {
        self.lock().keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Vec<SourceCondition>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
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
pub struct ConditionBoard {
    all: SourceConditions,
    source: Arc<str>,
}

impl ConditionBoard {
    /// These, in place of what was.
    pub fn show(&self, conditions: Vec<SourceCondition>) {
        let mut all = self.all.lock();
        let labels = |one: &SourceCondition| [&*self.source, one.kind];
        for gone in all.get(&self.source).into_iter().flatten() {
            // An error means that it is not there.
            let _ = self.all.gauge.remove_label_values(&labels(gone));
        }
        for one in &conditions {
            self.all.gauge.with_label_values(&labels(one)).set(1);
        }
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
