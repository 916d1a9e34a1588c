//! Puts the stages' configs together, and checks what no table can tell alone: names across tables, client ids,
//! the memory budget.

mod circle;
mod idle;
mod lanes;
mod parts;
mod reach;
mod twins;

use std::path::Path;
use std::sync::Arc;

use crate::message::{FlowId, Pattern, QueueId};
use crate::uplink::{self, Drain};
use crate::{chain, devices, recording, spool};

use self::circle::WaysOut;
use self::idle::WrittenBeside;
use self::lanes::{Fixed, settle_lanes};
pub(super) use self::parts::ConfigParts;
use self::parts::seen_by;
use super::check::{Check, nearest};
use super::class::{self, Class};
use super::fields::Fields;
use super::flow::plugin::{Common, Places};
use super::flow::{self, FlowSpec, KnownNames, Queues};
use super::globals::{self, Gateway, SpoolLimits};
use super::identity::ClientIdentity;
use super::layers::FILE;
use super::priority::{self, SourceConnection};
use super::sources;
use super::sources::spec::{RouteSpec, SourceSpec};
use super::strict::accepted;
use super::tree::{Place, Table};
use super::uplinks::{self, FallbackSpec};
use crate::config::problem::code::ProblemCode;

/// Reads every table of `tree`; what is wrong goes to `check`.
pub(super) fn assemble(check: &Check<'_>, base: &Table, tree: &Table) -> ConfigParts {
    let mut root = Fields::root(check, Place::whole(FILE), tree, base);
    let (gateway, memory_place) = closed(&mut root, "gateway", globals::gateway);
    let mut identities = Vec::new();
    let sources = sources::read_all(&mut root, &gateway.name, &mut identities);
    let mut wishes = Vec::new();
    let mut uplinks = uplinks(&mut root, &gateway.name, &mut identities, &mut wishes);
    let classes = class::read_all(&mut root);
    tell_names(&mut uplinks, (&gateway.name, &gateway.data_dir), &classes);
    let tables = root.named("flow");
    let names = known_names((&root, &tables), &sources, &uplinks, &classes, &gateway);
    check_fallbacks(check, &wishes, &names);
    let mut queues = Queues::default();
    let mut flows = flows(&root, tables, &names, &mut queues);
    let devices = globals::devices::read(&mut root, &gateway.name, &names, &mut queues);
    circle::refuse(check, &flows);
    let limits = closed(&mut root, "spool", globals::spool(&gateway.name));
    let (admin, log, traces) = seen_by(&mut root, &gateway.name);
    let accepted = closed(&mut root, "accepted", accepted::read);
    root.done();
    twins::refuse(check, &sources, &uplinks, &admin, &gateway.data_dir);
    if !check.has_errors() {
        reach::report(check, tree, &flows, &sources);
        let beside = WrittenBeside::of(&uplinks, &flows, &queues, &gateway);
        idle::report(check, tree, &beside);
    }
    let mut sources = priority::part_sources(sources, &flows, &mut identities);
    priority::part_uplinks(&mut uplinks, &mut queues, &flows, &mut identities);
    add_identities(check, &wishes, &uplinks, &mut identities);
    let mut memory_bytes = 0;
    if !check.has_errors() {
        add_routes(&flows, devices.as_ref(), &mut sources);
        add_drains(check, &queues, &classes, &mut uplinks);
        report_unused(check, &sources, &uplinks, &wishes);
        report_classes(check, &classes, &queues);
        circle::count_rounds(&sources, &mut uplinks);
        add_fallbacks(&wishes, &mut uplinks);
        let out = WaysOut(&queues, &uplinks);
        circle::report(check, &flows, &sources, out, devices.as_ref());
        let fixed = Fixed::of(&sources, &queues, &limits, &flows, devices.as_ref());
        settle_lanes(check, &gateway, memory_place, &fixed, &mut flows);
        memory_bytes = fixed.left_for_messages(&gateway, &flows);
    }
    let recordings = recordings(check, &flows, &gateway, &limits);
    let (plugin_places, flows) = parted(flows);
    ConfigParts {
        spool: spool_config(&gateway, limits, (queues, memory_bytes), &flows),
        gateway,
        sources: sources.into_iter().map(|line| line.spec).collect(),
        uplinks: uplinks.into_iter().map(|(uplink, _)| uplink).collect(),
        flows,
        devices,
        admin,
        log,
        traces,
        recordings,
        plugin_places,
        accepted,
    }
}

/// Where the settings of plugins stand, and what flows are made of: the first is for messages about the second.
fn parted(flows: Vec<FlowSpec>) -> (Vec<Vec<Places>>, Vec<chain::Config>) {
    let parts = flows
        .into_iter()
        .map(|flow| (flow.plugin_places, flow.chain));
    parts.unzip()
}

/// Uplinks that make names of it know the gateway and the classes.
fn tell_names(uplinks: &mut [(uplink::Config, Place)], gateway: (&str, &Path), classes: &[Class]) {
    let classes: Vec<&str> = classes.iter().map(|class| &*class.name).collect();
    for (uplink, _) in uplinks {
        uplinks::know(&mut uplink.kind, gateway, &classes);
    }
}

/// What flows may refer to.
fn known_names<'a, 't: 'a>(
    (root, tables): (&Fields<'t>, &[(&'t str, Fields<'t>)]),
    sources: &'a [(SourceSpec, Place)],
    uplinks: &'a [(uplink::Config, Place)],
    classes: &'a [Class],
    gateway: &'a Gateway,
) -> KnownNames<'a> {
    let led_to = tables
        .iter()
        .flat_map(|(_, fields)| flow::ports::flows_led_to(fields));
    KnownNames {
        led_to: led_to.chain(globals::devices::flows_led_to(root)).collect(),
        flows: tables.iter().map(|(name, _)| *name).collect(),
        sources: sources.iter().map(|(source, _)| &*source.name).collect(),
        uplinks: uplinks.iter().map(|(uplink, _)| &*uplink.name).collect(),
        classes,
        plugins: Common {
            stack_bytes: gateway.plugin_stack_bytes,
            trust: &gateway.trust,
        },
    }
}

fn check_fallbacks(check: &Check<'_>, wishes: &[FallbackSpec], names: &KnownNames<'_>) {
    let classes: Vec<&str> = names.classes.iter().map(|class| &*class.name).collect();
    for wish in wishes {
        uplinks::check_fallback(check, wish, &names.uplinks, &classes);
    }
}

/// What is recorded of each flow, and where.
fn recordings(
    check: &Check<'_>,
    flows: &[FlowSpec],
    gateway: &Gateway,
    limits: &SpoolLimits,
) -> Vec<Option<recording::Config>> {
    if limits.sealer.current().is_some() {
        flows.iter().for_each(|flow| check_recording(check, flow));
    }
    flows
        .iter()
        .map(|flow| recording_config(flow, gateway, limits))
        .collect()
}

fn closed<'a, T>(
    root: &mut Fields<'a>,
    key: &'static str,
    read: impl FnOnce(&mut Fields<'a>) -> T,
) -> T {
    let mut section = root.section(key);
    let value = read(&mut section);
    section.done();
    value
}

fn uplinks(
    root: &mut Fields<'_>,
    gateway: &str,
    identities: &mut Vec<ClientIdentity>,
    wishes: &mut Vec<FallbackSpec>,
) -> Vec<(uplink::Config, Place)> {
    let mut uplinks = Vec::new();
    for (name, mut fields) in root.named("uplink") {
        let config = uplinks::read(&mut fields, gateway, name);
        wishes.extend(uplinks::fallback(&mut fields, name));
        let path = fields.path.clone();
        let place = fields.place_of("client_id");
        let ids = (0..config.connections).map(|index| config.of_connection(index).kind);
        identities.extend(ids.filter_map(|kind| ClientIdentity::of(&kind, path.clone(), place)));
        uplinks.push((config, fields.place));
        fields.done();
    }
    uplinks
}

fn flows(
    root: &Fields<'_>,
    tables: Vec<(&str, Fields<'_>)>,
    names: &KnownNames<'_>,
    queues: &mut Queues,
) -> Vec<FlowSpec> {
    let mut flows = Vec::new();
    for (index, (name, mut fields)) in tables.into_iter().enumerate() {
        let Some(id) = FlowId::at(index) else {
            let message = format!("a gateway carries {} flows at most", FlowId::MOST);
            let hint = "leave out this one and those that follow".to_owned();
            fields.problem(ProblemCode::OutOfRange, "", message, hint);
            break;
        };
        flows.push(flow::read(&mut fields, id, name, names, queues));
        fields.done();
    }
    if flows.is_empty() && !root.has("flow") {
        let hint =
            "add a [source.NAME], an [uplink.NAME] and a [flow.NAME] that joins them".to_owned();
        root.check.problem(
            ProblemCode::Empty,
            root.place,
            "the config has no flow: no message would ever be taken",
            hint,
        );
    }
    flows
}

/// What is listed twice is asked for once: the first pattern that matches counts.
fn add_routes(
    flows: &[FlowSpec],
    devices: Option<&devices::Config>,
    lines: &mut [SourceConnection],
) {
    for SourceConnection {
        spec: source,
        source: of,
        priority,
        ..
    } in lines
    {
        source.devices = globals::devices::watched(devices, *priority);
        let serves = |flow: &&FlowSpec| {
            flow.from.iter().any(|name| **name == **of)
                && priority.is_none_or(|own| flow.priority == own)
        };
        for flow in flows.iter().filter(serves) {
            let (id, name, share) = (flow.chain.flow, &flow.chain.name, &source.share);
            let route = |pattern: &Pattern| RouteSpec {
                flow: id,
                name: Arc::clone(name),
                pattern: pattern.clone().shared(share.as_deref()),
                ack: flow.ack,
                expires: flow.expires,
                dedup: flow.dedup.clone(),
            };
            let routes: Vec<_> = flow.patterns.iter().map(route).collect();
            source.routes.extend(routes);
        }
    }
}

fn add_drains(
    check: &Check<'_>,
    queues: &Queues,
    classes: &[Class],
    uplinks: &mut [(uplink::Config, Place)],
) {
    for (index, queue) in queues.0.iter().enumerate() {
        let class = classes.iter().find(|class| class.name == queue.class);
        let (weight, qos) = class.map_or((1, None), |class| (class.weight, class.qos));
        for (uplink, place) in uplinks
            .iter_mut()
            .filter(|(uplink, _)| uplink.name == queue.link)
        {
            let id = QueueId(u16::try_from(index).unwrap_or(u16::MAX));
            let is_fresh_first = queue.is_fresh_first;
            if is_fresh_first && uplink.connections > 1 {
                let message = format!(
                    "`uplink.{}` has several connections, and class `{}` sends fresh data first",
                    uplink.name, queue.class
                );
                let hint = "that goes over one connection: leave one of the two out".to_owned();
                check.problem(ProblemCode::Conflict, *place, message, hint);
            }
            uplink.drains.push(Drain {
                queue: id,
                class: Arc::clone(&queue.class),
                weight,
                qos: qos.filter(|_| uplink.kind.has_levels()),
                is_fresh_first,
            });
        }
    }
}

/// The stand-in of each uplink that has one, by its place and that of its settings.
fn stand_ins<'a>(
    wishes: &'a [FallbackSpec],
    uplinks: &[(uplink::Config, Place)],
) -> Vec<(usize, usize, &'a FallbackSpec)> {
    let by_place = |(first, (uplink, _)): (usize, &(uplink::Config, Place))| {
        let found = |(other, (config, _)): (usize, &(uplink::Config, Place))| {
            Some((
                first,
                other,
                wishes
                    .iter()
                    .find(|wish| wish.joins(&uplink.owner, &config.name))?,
            ))
        };
        uplinks.iter().enumerate().find_map(found)
    };
    uplinks.iter().enumerate().filter_map(by_place).collect()
}

/// The connections of stand-ins, for the check against twins.
/// Those of stand-ins are added, and two that are one are told.
fn add_identities(
    check: &Check<'_>,
    wishes: &[FallbackSpec],
    uplinks: &[(uplink::Config, Place)],
    identities: &mut Vec<ClientIdentity>,
) {
    for (first, other, wish) in stand_ins(wishes, uplinks) {
        let (other, place) = &uplinks[other];
        let kind = uplinks::stand_in(wish, &uplinks[first].0, other).kind;
        let path = format!("uplink.{} (fallback)", other.name);
        identities.extend(ClientIdentity::of(&kind, path, *place));
    }
    twins::refuse_client_ids(check, identities);
}

fn add_fallbacks(wishes: &[FallbackSpec], uplinks: &mut [(uplink::Config, Place)]) {
    for (first, other, wish) in stand_ins(wishes, uplinks) {
        let stand_in = uplinks::stand_in(wish, &uplinks[first].0, &uplinks[other].0);
        uplinks[first].0.fallback =
            Some(Box::new(stand_in)).filter(|stand_in| !stand_in.drains.is_empty());
    }
}

fn report_unused(
    check: &Check<'_>,
    sources: &[SourceConnection],
    uplinks: &[(uplink::Config, Place)],
    wishes: &[FallbackSpec],
) {
    for line in sources.iter().filter(|line| line.spec.routes.is_empty()) {
        check.problem(
            ProblemCode::Unused,
            line.place,
            format!("no flow takes from `source.{}`", line.source),
            None,
        );
    }
    let is_unused = |uplink: &uplink::Config| {
        uplink.drains.is_empty() && !wishes.iter().any(|wish| wish.needs(&uplink.name))
    };
    for (uplink, place) in uplinks.iter().filter(|(uplink, _)| is_unused(uplink)) {
        check.problem(
            ProblemCode::Unused,
            *place,
            format!("no flow sends to `uplink.{}`", uplink.name),
            None,
        );
    }
}

/// A class of the operator's that nothing is of, perhaps since it is spelt otherwise where something is.
fn report_classes(check: &Check<'_>, classes: &[Class], queues: &Queues) {
    let used: Vec<&str> = queues.0.iter().map(|queue| &*queue.class).collect();
    for class in classes.iter().filter(|class| !used.contains(&&*class.name)) {
        let Some(place) = class.place else {
            continue;
        };
        let hint = nearest(&class.name, &used).map(|near| format!("did you mean `{near}`?"));
        let message = format!("no route leads to class `{}`", class.name);
        check.problem(ProblemCode::Unused, place, message, hint);
    }
}

/// What a recording holds lies in the clear: beside a sealed store only where that was said.
fn check_recording(check: &Check<'_>, flow: &FlowSpec) {
    if let Some(place) = flow.record.and_then(|record| record.in_the_clear) {
        let message = format!(
            "`flow.{}.record_to` would write in the clear what `spool.encrypt` seals",
            flow.chain.name
        );
        let hint = "write \"memory\", or \"disk-unsealed\" where that may be".to_owned();
        check.problem(ProblemCode::Conflict, place, message, hint);
    }
}

fn recording_config(
    flow: &FlowSpec,
    gateway: &Gateway,
    limits: &SpoolLimits,
) -> Option<recording::Config> {
    let record = flow.record?;
    let folder = || recording::Keep::Disk(recording::folder(&gateway.data_dir, &flow.chain.name));
    Some(recording::Config {
        keep: if record.on_disk {
            folder()
        } else {
            recording::Keep::Memory
        },
        bytes: record.bytes,
        // Twice, so that it ends before the spool has to.
        reserve_bytes: 2 * limits.reserve_bytes,
    })
}

fn spool_config(
    gateway: &Gateway,
    limits: SpoolLimits,
    (queues, memory_bytes): (Queues, u64),
    flows: &[chain::Config],
) -> spool::Config {
    spool::Config {
        gateway: Arc::clone(&gateway.name),
        path: gateway.data_dir.join("spool"),
        queues: queues.0,
        flows: flows.iter().map(|flow| Arc::clone(&flow.name)).collect(),
        spill_after: limits.spill_after,
        commit_every: limits.commit_every,
        head_bytes: limits.head_bytes,
        chunk_bytes: limits.chunk_bytes,
        cache_bytes: limits.cache_bytes,
        memory_bytes: usize::try_from(memory_bytes).unwrap_or(usize::MAX),
        reserve_bytes: limits.reserve_bytes,
        dead_letters: limits.dead_letters,
        gap_topic: limits.gap_topic,
        dead_letter_bytes: limits.dead_letter_bytes,
        sealer: limits.sealer,
    }
}
