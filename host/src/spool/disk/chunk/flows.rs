//! The flows of the config by number and by name: chunks keep the name.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use crate::message::FlowId;

/// The flow of a record whose name the config no longer has.
pub(super) const UNKNOWN_FLOW: FlowId = FlowId(u16::MAX);

/// The flows of the config, by number and by name.
#[derive(Debug)]
pub(crate) struct FlowNames(RwLock<NamesAndIds>);

#[derive(Debug)]
struct NamesAndIds {
    names: Vec<Arc<str>>,
    ids: HashMap<Arc<str>, FlowId>,
}

impl FlowNames {
    /// In the config's order.
    pub(crate) fn new(names: &[Arc<str>]) -> Self {
        let ids = (0..)
            .zip(names)
            .map(|(id, name)| (Arc::clone(name), FlowId(id)))
            .collect();
        Self(RwLock::new(NamesAndIds {
            names: names.to_vec(),
            ids,
        }))
    }

    /// The name; empty when there is none.
    pub(crate) fn name(&self, id: FlowId) -> Arc<str> {
        self.read()
            .names
            .get(usize::from(id.0))
            .map_or_else(|| Arc::from(""), Arc::clone)
    }

    pub(crate) fn id(&self, name: &str) -> FlowId {
        self.read().ids.get(name).copied().unwrap_or(UNKNOWN_FLOW)
    }

    /// One more flow, which gets the next number, unless it is known.
    pub(crate) fn learn(&self, name: &Arc<str>) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let id = FlowId(u16::try_from(all.names.len()).unwrap_or(u16::MAX));
        if !all.ids.contains_key(name) {
            all.ids.insert(Arc::clone(name), id);
            all.names.push(Arc::clone(name));
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, NamesAndIds> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}
