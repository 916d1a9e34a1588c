//! Topics of a flow that nothing of its sources can have: many a source makes topics by its template, one over Modbus has as many as groups,
//! a clock has one. From a broker anything may come.

use crate::config::check::Check;
use crate::config::flow::FlowSpec;
use crate::config::problem::code::ProblemCode;
use crate::config::sources::spec::SourceSpec;
use crate::config::tree::{Place, Table};
use crate::message::Pattern;
use crate::source::SourceTopics;

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
    match source.kind.facts().topics {
        SourceTopics::Any => true,
        SourceTopics::Made { reaches, .. } => reaches(pattern),
        SourceTopics::Listed(all) => all.iter().any(|topic| pattern.matches(topic).is_some()),
    }
}

/// What its topics are.
fn hint(source: &SourceSpec) -> String {
    let name = &source.name;
    let all = match source.kind.facts().topics {
        SourceTopics::Made { written, .. } => {
            return format!("its topics are made as `source.{name}.topic` says: {written}");
        }
        SourceTopics::Listed(all) => all,
        SourceTopics::Any => Vec::new(),
    };
    let more = (all.len() > SHOWN).then_some("…");
    let shown: Vec<&str> = all.into_iter().take(SHOWN).chain(more).collect();
    format!("its topics are {}", shown.join(", "))
}
