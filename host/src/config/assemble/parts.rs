//! What a config is made of, put together.

use crate::config::flow::plugin::Places;
use crate::config::globals::{Gateway, LogSettings};
use crate::config::sources::spec::SourceSpec;
use crate::config::strict::accepted::Accepted;
use crate::telemetry::trace::TraceSettings;
use crate::{admin, chain, devices, recording, spool, uplink};

/// Everything a config is made of.
#[derive(Debug)]
pub(in crate::config) struct ConfigParts {
    pub(in crate::config) gateway: Gateway,
    pub(in crate::config) sources: Vec<SourceSpec>,
    pub(in crate::config) uplinks: Vec<uplink::Config>,
    pub(in crate::config) flows: Vec<chain::Config>,
    pub(in crate::config) devices: Option<devices::Config>,
    pub(in crate::config) spool: spool::Config,
    pub(in crate::config) admin: admin::Config,
    pub(in crate::config) log: LogSettings,
    pub(in crate::config) traces: Option<TraceSettings>,
    pub(in crate::config) recordings: Vec<Option<recording::Config>>,
    pub(in crate::config) plugin_places: Vec<Vec<Places>>,
    pub(in crate::config) accepted: Vec<Accepted>,
}
