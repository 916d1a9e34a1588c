//! A change of one plugin on a thread of its own: how long it takes is its own affair, and other flows' changes go on.

use std::sync::mpsc::TrySendError;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::super::order::ChangeLine;
use super::super::{ChangeTracker, Orders, PluginIndex};
use super::candidate::{Candidate, ChangeSubject};
use crate::chain::PluginConfig;
use crate::gateway::audit::Audit;
use crate::gateway::flow_handle::FlowHandles;
use crate::gateway::live::request::{Adopted, DriverRequest};
use crate::versions::Versions;
use crate::versions::history::Who;

/// Pause between two tries to tell the driver that a change has ended.
const FULL: Duration = Duration::from_millis(20);

/// What all changes work on. Cheap to clone.
#[derive(Clone)]
pub(super) struct Bench {
    pub(super) desk: Orders,
    pub(super) flow_handles: FlowHandles,
    pub(super) versions: Versions,
    pub(super) audit: Audit,
    pub(super) in_vain: InVain,
}

/// Digests of what failed and of an earlier version that did not help.
#[derive(Clone, Debug, Default)]
pub(super) struct InVain(Arc<Mutex<Vec<(String, String)>>>);

impl InVain {
    pub(super) fn has(&self, pair: &(String, String)) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(pair)
    }

    pub(super) fn add(&self, pair: (String, String)) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(pair);
    }
}

/// What a change is followed by, beside its verdict.
#[derive(Default)]
pub(super) struct After {
    /// What runs before is not to come back by itself.
    pub(super) is_way_back: bool,
    /// A version that keeps failing and the earlier one that is to help.
    pub(super) cure: Option<(String, String)>,
    /// What the config says of the plugin, unless the change is refused.
    pub(super) adopt: Option<Box<PluginConfig>>,
}

/// A change that has its turn.
pub(super) struct Job {
    pub(super) bench: Bench,
    pub(super) id: u64,
    pub(super) place: PluginIndex,
    pub(super) who: Who,
    pub(super) spec: PluginConfig,
    pub(super) about: ChangeSubject,
    pub(super) candidate: Candidate,
    pub(super) after: After,
    /// Who reads the config again, until this is in place.
    pub(super) reload: Mutex<Option<Arc<InPlace>>>,
}

impl Job {
    pub(super) fn push(&self, line: ChangeLine) {
        if let Some(reload) = self.lock_reload().as_ref() {
            reload.board.push(reload.id, line.clone());
        }
        self.bench.desk.board.push(self.id, line);
    }

    /// Whoever reads the config again need not wait for it any more.
    pub(super) fn let_reload_go(&self, line: ChangeLine) {
        if let Some(reload) = self.lock_reload().take() {
            reload.board.push(reload.id, line);
        }
    }

    pub(super) fn title(&self) -> String {
        format!("{}/{}", self.about.flow, self.about.plugin)
    }

    fn lock_reload(&self) -> std::sync::MutexGuard<'_, Option<Arc<InPlace>>> {
        self.reload.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What ends it, whatever becomes of its thread.
    pub(super) fn ending(&self) -> JobEnd {
        JobEnd {
            desk: self.bench.desk.clone(),
            id: self.id,
            place: self.place,
            adopted: None,
        }
    }
}

/// A config that is read again: ended when everything it brings is in place.
pub(super) struct InPlace {
    pub(super) board: ChangeTracker,
    pub(super) id: u64,
}

impl Drop for InPlace {
    fn drop(&mut self) {
        self.board.end(self.id);
    }
}

/// Tells the driver when a change has ended.
pub(super) struct JobEnd {
    desk: Orders,
    id: u64,
    place: PluginIndex,
    pub(super) adopted: Option<Adopted>,
}

impl Drop for JobEnd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(
                "a change of a plugin crashed: the version before runs on; this is a fault in tidegate, please report it"
            );
        }
        self.desk.board.end(self.id);
        let mut request = DriverRequest::Ended {
            place: self.place,
            adopted: self.adopted.take(),
        };
        while let Err(TrySendError::Full(again)) = self.desk.requests.try_send(request) {
            if self.desk.board.is_stopping() {
                return;
            }
            request = again;
            std::thread::park_timeout(FULL);
        }
    }
}
