//! What is done about an operator's order to put in another version.

use super::Driver;
use super::candidate::{Candidate, SignatureRule};
use crate::chain;
use crate::gateway::live::PluginIndex;
use crate::gateway::live::driver::job::After;
use crate::gateway::live::order::SwapOrder;
use crate::gateway::start::signature;
use crate::versions::history::Who;
use crate::words::with_causes;

impl Driver {
    pub(super) fn swap(
        &mut self,
        (id, place, who): (u64, PluginIndex, Who),
        order: SwapOrder,
        component: Option<Vec<u8>>,
    ) {
        let mut candidate = Candidate {
            component,
            signature: order.signature,
            settings: None,
            plan: order.plan.into(),
            is_asked: true,
            admission: if order.downgrade {
                SignatureRule::Older
            } else {
                SignatureRule::New
            },
        };
        if order.from_config {
            let plugin = self.plugin(place);
            match chain::read_component(&plugin.name, &plugin.artefact) {
                Ok(component) => candidate.component = Some(component),
                Err(error) => return self.refuse(id, (place, who), with_causes(&error)),
            }
            candidate.signature = signature(&plugin.artefact);
            candidate.settings = Some(plugin.settings.clone());
        }
        self.start(id, (place, who), candidate, After::default());
    }
}
