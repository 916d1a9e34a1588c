//! The flows of the config by number and by name: chunks keep the name.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use crate::message::FlowId;

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
        let ids = names
            .iter()
            .enumerate()
            .filter_map(|(index, name)| Some((Arc::clone(name), FlowId::at(index)?)))
            .collect();
        Self(RwLock::new(NamesAndIds {
            names: names.to_vec(),
            ids,
        }))
    }

    /// The name; empty when there is none.
    pub(crate) fn name(&self, id: Option<FlowId>) -> Arc<str> {
        let all = self.read();
        id.and_then(|id| all.names.get(id.index()))
            .map_or_else(|| Arc::from(""), Arc::clone)
    }

    /// `None` for the empty name, and for a flow that the config no longer has.
    pub(crate) fn id(&self, name: &str) -> Option<FlowId> {
        self.read().ids.get(name).copied()
    }

    /// One more flow, which gets the next number, unless it is known.
    pub(crate) fn learn(&self, name: &Arc<str>) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = FlowId::at(all.names.len())
            && !all.ids.contains_key(name)
        {
            all.ids.insert(Arc::clone(name), id);
            all.names.push(Arc::clone(name));
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, NamesAndIds> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}
