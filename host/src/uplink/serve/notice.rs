//! Where a connection says what upstream does not take.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use crate::link::{Contribution, level};
use crate::uplink::condition::{
    ConditionKind, ConnectionNumber, UplinkCondition, UplinkConditions,
};
use crate::uplink::metrics::Metrics;

/// Where one connection tells its conditions; taken back at the end.
#[derive(Debug)]
pub(super) struct ConditionNotice {
    board: UplinkConditions,
    key: ConnectionNumber,
    told: Vec<UplinkCondition>,
    metrics: Metrics,
    /// Connections in this condition, and messages that wait for it; there since it first was.
    gauges: BTreeMap<ConditionKind, (Contribution, Contribution)>,
}

impl ConditionNotice {
    /// Of connection number `index` of `name`.
    pub(super) fn on(metrics: &Metrics, name: &Arc<str>, index: u64) -> Self {
        Self {
            board: metrics.conditions.clone(),
            key: (Arc::clone(name), index),
            told: Vec::new(),
            metrics: metrics.clone(),
            gauges: BTreeMap::new(),
        }
    }

    /// These it is in now. One that goes on keeps its beginning.
    pub(super) fn tell(&mut self, mut found: Vec<UplinkCondition>) {
        for condition in &mut found {
            let told = self.told.iter().find(|told| told.kind == condition.kind);
            condition.since = told.map_or(condition.since, |told| told.since.min(condition.since));
        }
        if found == self.told {
            return;
        }
        for condition in &found {
            let gauges = || self.metrics.condition(&self.key.0, condition.kind);
            self.gauges.entry(condition.kind).or_insert_with(gauges);
        }
        for (kind, (connections, messages)) in &mut self.gauges {
            let condition = found.iter().find(|condition| condition.kind == *kind);
            connections.set(i64::from(condition.is_some()));
            let waiting = condition.map_or(0, |condition| condition.messages);
            messages.set(level(usize::try_from(waiting).unwrap_or(usize::MAX)));
        }
        let mut all = self.board.0.lock().unwrap_or_else(PoisonError::into_inner);
        if found.is_empty() {
            all.remove(&self.key);
        } else {
            all.insert(self.key.clone(), found.clone());
        }
        drop(all);
        self.told = found;
    }
}

impl Drop for ConditionNotice {
    fn drop(&mut self) {
        self.tell(Vec::new());
    }
}
