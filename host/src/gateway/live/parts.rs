//! What live change works on.

use std::sync::Arc;

use crate::config::{Config, Sources};
use crate::gateway::audit::Audit;
use crate::gateway::current::Current;
use crate::gateway::flow_handle::FlowHandles;
use crate::gateway::service::socket::ServiceSocket;
use crate::gateway::standing::SharedStanding as Standing;
use crate::gateway::start::{Started, Starter};
use crate::link::Hurry;
use crate::spool::Spool;
use crate::telemetry::trace::Tracer;
use crate::versions::Versions;
use crate::{devices, recording};

pub(in crate::gateway) struct LiveParts {
    pub(in crate::gateway) config: Config,
    /// Who hears when the config is read again.
    pub(in crate::gateway) service: ServiceSocket,
    /// Where others look at it.
    pub(in crate::gateway) current: Current,
    /// Where it came from.
    pub(in crate::gateway) origin: Sources,
    /// The handles of its flows.
    pub(in crate::gateway) flow_handles: FlowHandles,
    pub(in crate::gateway) versions: Versions,
    pub(in crate::gateway) audit: Audit,
    /// How their plugins were started, and what the config says of each, as it was last seen.
    pub(in crate::gateway) started: Vec<Vec<Started>>,
    /// Builds more of them.
    pub(in crate::gateway) starter: Starter,
    /// What is counted of recordings.
    pub(in crate::gateway) recordings: recording::Metrics,
    /// Knows the flows by number.
    pub(in crate::gateway) spool: Arc<Spool>,
    pub(in crate::gateway) devices: devices::Registry,
    /// Takes the spans of traced messages.
    pub(in crate::gateway) tracer: Tracer,
    /// Has sources and uplinks try again that wait to.
    pub(in crate::gateway) hurries: [Hurry; 2],
    /// What became of the config.
    pub(in crate::gateway) standing: Standing,
}
