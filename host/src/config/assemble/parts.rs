//! What a config is made of, put together.

use std::sync::Arc;

use super::closed;
use crate::config::fields::Fields;
use crate::config::flow::plugin::Places;
use crate::config::globals::{self, Gateway, LogSettings};
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

/// What shows others how it goes: the ways in for commands and readers, the log and the traces.
pub(super) fn seen_by(
    root: &mut Fields<'_>,
    gateway: &Arc<str>,
) -> (admin::Config, LogSettings, Option<TraceSettings>) {
    (
        closed(root, "admin", globals::admin::read),
        closed(root, "log", globals::log),
        globals::telemetry::read(root, gateway),
    )
}
