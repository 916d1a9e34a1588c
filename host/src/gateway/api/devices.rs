//! The register of devices, as `tidegate devices` shows it.

use std::collections::HashSet;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;

use crate::admin::{ApiRefusal, ApiResult, json};
use crate::devices::DeviceQuery;
use crate::gateway::running::RunningGateway;

/// Answers a [`DeviceQuery`] with a [`crate::devices::DeviceList`]. A register may be long: it is gone through off the network's
/// thread.
pub(super) async fn list(State(running): State<Arc<RunningGateway>>, body: Bytes) -> ApiResult {
    let query: DeviceQuery = serde_json::from_slice(&body)
        .map_err(|error| ApiRefusal(format!("a query in another form: {error}")))?;
    let found = tokio::task::spawn_blocking(move || {
        let chains = running.flow_handles.chains();
        let held = chains.iter().flat_map(|(_, chain)| chain.quarantined());
        let held: HashSet<Box<[u8]>> = held.collect();
        running.devices.list(&query, &|name| held.contains(name))
    });
    Ok(json(&found.await?))
}
