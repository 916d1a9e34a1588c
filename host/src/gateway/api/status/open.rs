//! The account for whoever may use the loopback port: without what devices, plugins, upstream and the system have said,
//! addresses and paths. Each struct with words in it is put together field by field, so that a new field is decided here.

use std::path::PathBuf;

use super::{FlowStatus, SourceStatus, Status, StoreStatus, UplinkStatus};
use crate::gateway::api::trouble::{ConditionStatus, TroubleStatus};
use crate::gateway::standing::ConfigStanding;

impl Status {
    /// What of it anybody may read.
    pub(in crate::gateway::api) fn open(self) -> Self {
        Self {
            running: self.running,
            name: self.name,
            version: self.version,
            data_dir: PathBuf::new(),
            boot: self.boot,
            process: self.process,
            config: ConfigStanding::default(),
            sources: self.sources.into_iter().map(SourceStatus::open).collect(),
            flows: self.flows.into_iter().map(FlowStatus::open).collect(),
            queues: self.queues,
            uplinks: self.uplinks.into_iter().map(UplinkStatus::open).collect(),
            dead_letters: self.dead_letters,
            given_up: self.given_up,
            store: self.store.open(),
            crashes: Vec::new(),
            traces: None,
        }
    }
}

/// What ails a connection, as anybody may read it.
fn open_ailments(
    trouble: Option<TroubleStatus>,
    conditions: Vec<ConditionStatus>,
) -> (Option<TroubleStatus>, Vec<ConditionStatus>) {
    (
        trouble.map(TroubleStatus::open),
        conditions.into_iter().map(ConditionStatus::open).collect(),
    )
}

impl SourceStatus {
    fn open(self) -> Self {
        let (trouble, conditions) = open_ailments(self.trouble, self.conditions);
        Self {
            name: self.name,
            state: self.state,
            connected: self.connected,
            trouble,
            conditions,
            unsettled: self.unsettled,
            received: self.received,
            dropped: self.dropped,
            refused_filters: self.refused_filters,
            lowered_filters: self.lowered_filters,
            session_s: self.session_s,
        }
    }
}

impl UplinkStatus {
    fn open(self) -> Self {
        let (trouble, conditions) = open_ailments(self.trouble, self.conditions);
        Self {
            name: self.name,
            state: self.state,
            connected: self.connected,
            trouble,
            conditions,
            on_fallback: self.on_fallback,
            failures: self.failures,
            inflight: self.inflight,
            forwarded: self.forwarded,
            refused: self.refused,
        }
    }
}

impl FlowStatus {
    fn open(self) -> Self {
        Self {
            // That it is down, not why.
            down: self.down.map(|_| String::new()),
            // The rest is numbers and names of the config.
            ..self
        }
    }
}

impl StoreStatus {
    fn open(self) -> Self {
        Self {
            why: None,
            damaged_store: None,
            // The rest is numbers and names of queues.
            ..self
        }
    }
}

impl TroubleStatus {
    fn open(self) -> Self {
        Self {
            cause: String::new(),
            since_s: self.since_s,
            next_try_s: self.next_try_s,
            over_s: self.over_s,
        }
    }
}

impl ConditionStatus {
    fn open(self) -> Self {
        Self {
            kind: self.kind,
            words: self.own.clone(),
            own: self.own,
            messages: self.messages,
            since_s: self.since_s,
            next_try_s: self.next_try_s,
        }
    }
}
