//! How many lanes a flow has, by what memory is left for its instances and messages.

use crate::chain::ROOM_BYTES;
use crate::config::check::Check;
use crate::config::flow;
use crate::config::flow::{FlowSpec, Queues};
use crate::config::globals::{Gateway, SpoolLimits};
use crate::config::priority::SourceConnection;
use crate::config::problem::code::ProblemCode;
use crate::config::tree::Place;
use crate::config::units::Quantity;
use crate::{devices, recording};

/// What the process itself needs beside what the limits bound: engine, compiled code, buffers, stacks.
const HOST_BYTES: u64 = 32 << 20;

/// Limits that do not depend on the number of lanes, bytes.
pub(super) struct Fixed {
    sources: u64,
    spool: u64,
    /// A part of `spool`.
    cache: u64,
    recordings: u64,
    /// The register of devices, with what is heard between two looks.
    devices: u64,
}

impl Fixed {
    /// What `memory` leaves for messages and dead letters beside all that is not theirs: where the limits fit, at least what
    /// sources and queues may hold.
    pub(super) fn left_for_messages(&self, gateway: &Gateway, flows: &[FlowSpec]) -> u64 {
        let plugins: u64 = flows
            .iter()
            .map(|flow| flow.chain.lanes as u64 * instances_bytes(flow))
            .sum();
        gateway
            .memory_bytes
            .saturating_sub(HOST_BYTES + self.recordings + self.devices + self.cache + plugins)
    }

    pub(super) fn of(
        sources: &[SourceConnection],
        queues: &Queues,
        limits: &SpoolLimits,
        flows: &[FlowSpec],
        register: Option<&devices::Config>,
    ) -> Self {
        // A table of its own, and one for what each source has heard.
        let tables = 1 + sources.len() as u64;
        let heads = queues.0.len() as u64 * limits.head_bytes as u64;
        let recording = |flow: &FlowSpec| {
            let in_memory =
                |record: flow::RecordSettings| if record.on_disk { 0 } else { record.bytes };
            flow.record
                .map(|record| in_memory(record) + recording::DESK_BYTES)
        };
        Self {
            sources: sources
                .iter()
                .map(|line| line.spec.max_unsettled_bytes as u64)
                .sum(),
            spool: heads + limits.cache_bytes,
            cache: limits.cache_bytes,
            recordings: flows.iter().filter_map(recording).sum(),
            devices: register.map_or(0, |config| tables * config.most_bytes as u64),
        }
    }
}

/// Gives every flow its number of lanes. Where the config leaves it open it is the processors but one, shared among
/// the flows, and fewer where the memory does not take as many.
pub(super) fn settle_lanes(
    check: &Check<'_>,
    gateway: &Gateway,
    memory_place: Place,
    fixed: &Fixed,
    flows: &mut [FlowSpec],
) {
    let share = check.sources.cores.saturating_sub(1) / flows.len().max(1);
    let plugins = |flows: &[FlowSpec], open: usize| -> u64 {
        let lanes = |flow: &FlowSpec| flow.lanes.unwrap_or(open) as u64;
        flows
            .iter()
            .map(|flow| lanes(flow) * instances_bytes(flow))
            .sum()
    };
    let host = HOST_BYTES + fixed.recordings + fixed.devices;
    let rest = host + fixed.sources + fixed.spool;
    let open = (1..=share.clamp(1, 64))
        .rev()
        .find(|open| rest + plugins(flows, *open) <= gateway.memory_bytes)
        .unwrap_or(1);
    let total = rest + plugins(flows, open);
    if total > gateway.memory_bytes {
        let show = |bytes| Quantity::Size.show(bytes);
        let message = format!(
            "the limits add up to {}, more than `memory` = {}",
            megabytes(total),
            show(gateway.memory_bytes)
        );
        let hint = format!(
            "plugins {}, sources {}, spool {}, the rest {}: raise `memory`, or lower `lanes` or a limit",
            megabytes(plugins(flows, open)),
            megabytes(fixed.sources),
            megabytes(fixed.spool),
            megabytes(host),
        );
        check.problem(ProblemCode::Memory, memory_place, message, hint);
    }
    for flow in flows {
        flow.chain.lanes = flow.lanes.unwrap_or(open);
    }
}

/// What the plugins of a flow may take in each lane, and what other flows may bring it.
pub(super) fn instances_bytes(flow: &FlowSpec) -> u64 {
    let room = if flow.is_led_to { ROOM_BYTES } else { 0 };
    let plugins = flow.chain.plugins.iter();
    let bytes = plugins.map(|plugin| plugin.limits.memory_bytes as u64);
    bytes.sum::<u64>() + room as u64
}

/// Rounded up, as a reader compares it.
pub(super) fn megabytes(bytes: u64) -> String {
    format!("{}MiB", bytes.div_ceil(1 << 20))
}
