//! What `/readyz` looks at: a lane that is gone, a store that cannot be written. A source or uplink without a
//! connection is retrying by design and does not make the gateway unready; its own metrics tell.

use std::sync::Arc;

use super::Gateway;
use crate::admin::{Check, Health};
use crate::spool::Condition;

/// One check for each flow, and one for the spool.
pub fn checks(gateway: &Gateway) -> Vec<Check> {
    let flows = gateway.chains.iter().map(|chain| {
        let chain = Arc::clone(chain);
        let name = format!("flow {}", chain.name());
        Check { name, look: Box::new(move || chain.failure().why().map_or(Health::Good, Health::Bad)) }
    });
    let spool = Arc::clone(&gateway.spool);
    let look = move || match spool.account().condition {
        Condition::Well => Health::Good,
        bad => Health::Bad(format!("{}: {}", bad.name(), bad.advice())),
    };
    flows.chain([Check { name: "spool".to_owned(), look: Box::new(look) }]).collect()
}
