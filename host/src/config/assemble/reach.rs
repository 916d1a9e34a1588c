//! Topics of a flow that nothing of its sources can have: a source over HTTP or CoAP makes topics by its template, one over Modbus has
//! as many as groups, a clock has one. From a broker anything may come.

use crate::config::check::Check;
use crate::config::flow::FlowSpec;
use crate::config::problem::code::ProblemCode;
use crate::config::sources::spec::SourceSpec;
use crate::config::tree::{Place, Table};
use crate::message::Pattern;
use crate::source::SourceKind;

/// Topics of a source that are told as an example.
const SHOWN: usize = 3;

/// Tells of each flow that gets nothing of one of its sources, and of each topic that none of them has.
pub(super) fn report(
    check: &Check<'_>,
    tree: &Table,
    flows: &[FlowSpec],
    sources: &[(SourceSpec, Place)],
) {
    for flow in flows.iter().filter(|flow| !flow.patterns.is_empty()) {
        let name = &*flow.chain.name;
        let is_its =
            |(source, _): &&(SourceSpec, Place)| flow.from.iter().any(|from| *from == *source.name);
        let own: Vec<&SourceSpec> = sources.iter().filter(is_its).map(|(one, _)| one).collect();
        let written = tree.table("flow").and_then(|flows| flows.table(name));
        let topics = written.and_then(|flow| flow.get("topics"));
        let place = topics.map_or(flow.place, |topics| topics.place);
        let mut has_silent = false;
        for source in &own {
            if !flow.patterns.iter().any(|pattern| reaches(source, pattern)) {
                has_silent = true;
                let message = format!(
                    "`flow.{name}` takes nothing of `source.{}`: no topic matches",
                    source.name
                );
                check.problem(ProblemCode::Idle, place, message, hint(source));
            }
        }
        // One that none of them has, where each has others.
        let of_nobody =
            |pattern: &&Pattern| !own.is_empty() && !own.iter().any(|one| reaches(one, pattern));
        for pattern in flow.patterns.iter().filter(of_nobody) {
            if !has_silent {
                let message =
                    format!("no source of `flow.{name}` has a topic that matches `{pattern}`");
                check.problem(ProblemCode::Idle, place, message, hint(own[0]));
            }
        }
    }
}

/// Whether a topic of the source may match.
fn reaches(source: &SourceSpec, pattern: &Pattern) -> bool {
    match &source.kind {
        SourceKind::Mqtt(_) => true,
        SourceKind::Http(http) => http.topic.reaches(pattern),
        SourceKind::Coap(coap) => coap.topic.reaches(pattern),
        SourceKind::Raw(raw) => raw.topic.reaches(pattern),
        SourceKind::Nats(own) => own.topic.reaches(pattern),
        SourceKind::Modbus(_) | SourceKind::Ticks(_) => {
            let mut topics = topics(source);
            topics.any(|topic| pattern.matches(topic).is_some())
        }
    }
}

fn topics(source: &SourceSpec) -> impl Iterator<Item = &str> {
    let (devices, own) = match &source.kind {
        SourceKind::Modbus(modbus) => (modbus.devices.as_slice(), None),
        SourceKind::Ticks(own) => (&[][..], Some(&own.topic)),
        _ => (&[][..], None),
    };
    let groups = devices.iter().flat_map(|device| &device.groups);
    let topics = groups.map(|group| &group.topic).chain(own);
    topics.filter_map(|topic| std::str::from_utf8(topic).ok())
}

/// What its topics are.
fn hint(source: &SourceSpec) -> String {
    let name = &source.name;
    let made: Option<&dyn std::fmt::Display> = match &source.kind {
        SourceKind::Http(http) => Some(&http.topic),
        SourceKind::Coap(coap) => Some(&coap.topic),
        SourceKind::Raw(raw) => Some(&raw.topic),
        SourceKind::Nats(own) => Some(&own.topic),
        SourceKind::Mqtt(_) | SourceKind::Modbus(_) | SourceKind::Ticks(_) => None,
    };
    if let Some(made) = made {
        return format!("its topics are made as `source.{name}.topic` says: {made}");
    }
    let mut all = topics(source);
    let mut shown: Vec<&str> = all.by_ref().take(SHOWN).collect();
    if all.next().is_some() {
        shown.push("…");
    }
    format!("its topics are {}", shown.join(", "))
}
