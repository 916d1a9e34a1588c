//! Flows that go in a circle: what one sends is taken from the same broker again, by itself or over others. Each message would
//! come back for ever, faster than it can be sent, were it not counted how often it did.

use crate::config::address::BrokerIdentity;
use crate::config::check::Check;
use crate::config::flow::{FlowSpec, Queues};
use crate::config::priority::SourceConnection;
use crate::config::problem::code::ProblemCode;
use crate::config::tree::Place;
use crate::message::Pattern;
use crate::message::pattern::overlap;
use crate::uplink;

/// Messages to a broker that messages are taken from tell how often they went there, so that a circle comes to an end.
pub(super) fn count_rounds(sources: &[SourceConnection], uplinks: &mut [(uplink::Config, Place)]) {
    let taken_from: Vec<BrokerIdentity> = sources
        .iter()
        .filter_map(|line| line.spec.broker().map(BrokerIdentity::of))
        .collect();
    for (uplink, _) in uplinks {
        let broker = uplink.kind.broker().map(BrokerIdentity::of);
        uplink.format.counts_rounds = broker.is_some_and(|broker| taken_from.contains(&broker));
    }
}

/// Refuses flows that lead to each other in a circle: a message would never settle.
pub(super) fn refuse(check: &Check<'_>, flows: &[FlowSpec]) {
    let next = direct(flows);
    for (first, flow) in flows.iter().enumerate() {
        let Some(way) = way_back(first, &next) else {
            continue;
        };
        let name = |flow: &usize| format!("`flow.{}`", flows[*flow].chain.name);
        let message = match &way[..] {
            [_] => format!("{} leads to itself", name(&first)),
            [_, others @ ..] => {
                let others: Vec<_> = others.iter().map(name).collect();
                let first = name(&first);
                format!("{first} leads to itself over {}", others.join(", "))
            }
            [] => continue,
        };
        let hint = "flows may lead to others, but not in a circle: take one of these routes out";
        check.problem(ProblemCode::Route, flow.to, message, hint.to_owned());
    }
}

/// For each flow those that it leads to.
fn direct(flows: &[FlowSpec]) -> Vec<Vec<usize>> {
    let number = |name: &std::sync::Arc<str>| {
        let is_it = |flow: &FlowSpec| flow.chain.name == *name;
        flows.iter().position(is_it)
    };
    let of = |flow: &FlowSpec| flow.chain.flows().filter_map(number).collect();
    flows.iter().map(of).collect()
}

/// Warns of each circle once. Plugins may drop or rename what goes round, so it is no more than a warning.
pub(super) fn report(
    check: &Check<'_>,
    flows: &[FlowSpec],
    queues: &Queues,
    sources: &[SourceConnection],
    uplinks: &[(uplink::Config, Place)],
) {
    let ends: Vec<FlowEnds> = flows
        .iter()
        .map(|flow| FlowEnds::of(flow, queues, sources, uplinks))
        .collect();
    let mut next = direct(flows);
    for (from, next) in ends.iter().zip(&mut next) {
        next.extend((0..ends.len()).filter(|to| from.feeds(&ends[*to])));
    }
    for (first, flow) in flows.iter().enumerate() {
        let Some(way) = way_back(first, &next) else {
            continue;
        };
        let names: Vec<_> = way
            .iter()
            .map(|flow| format!("`{}`", flows[*flow].chain.name))
            .collect();
        let message = match &names[..] {
            [one] => format!(
                "flow {one} takes in what it sends: both ends are at one broker, and the topics match"
            ),
            [first, others @ ..] => format!(
                "what flow {first} sends comes back to it over {}",
                others.join(", ")
            ),
            [] => continue,
        };
        let hint = "messages go round until they are parked, over MQTT 3.1.1 for ever: send to topics that `topics` do not match";
        let hint = hint.to_owned();
        check.problem(ProblemCode::Circle, flow.place, message, hint);
    }
}

/// The shortest way from a flow back to itself over flows that come after it, so that each circle is told once.
fn way_back(first: usize, next: &[Vec<usize>]) -> Option<Vec<usize>> {
    let mut ways = std::collections::VecDeque::from([vec![first]]);
    let mut seen = vec![false; next.len()];
    while let Some(way) = ways.pop_front() {
        for to in &next[*way.last()?] {
            if *to == first {
                return Some(way);
            }
            if *to > first && !std::mem::replace(&mut seen[*to], true) {
                ways.push_back(way.iter().copied().chain([*to]).collect());
            }
        }
    }
    None
}

/// Where a flow begins and ends.
struct FlowEnds {
    from: Vec<BrokerIdentity>,
    to: Vec<BrokerIdentity>,
    takes: Vec<String>,
    sends: Vec<String>,
}

impl FlowEnds {
    fn of(
        flow: &FlowSpec,
        queues: &Queues,
        sources: &[SourceConnection],
        uplinks: &[(uplink::Config, Place)],
    ) -> Self {
        // What is left over for a stand-in depends on the class of a queue.
        let leads_to = |link: &uplink::Config| {
            flow.chain.queues().any(|id| {
                queues
                    .0
                    .get(usize::from(id.0))
                    .is_some_and(|queue| queue.link == link.name)
            })
        };
        let stands_in = |link: &uplink::Config| {
            let is_led_to = |drain: &uplink::Drain| flow.chain.queues().any(|id| id == drain.queue);
            link.drains.iter().any(is_led_to)
        };
        let at_broker = |link: &uplink::Config| link.kind.broker().map(BrokerIdentity::of);
        let ways = |(uplink, _): &(uplink::Config, Place)| {
            let fallback = uplink
                .fallback
                .as_deref()
                .filter(|fallback| stands_in(fallback));
            [
                Some(uplink)
                    .filter(|uplink| leads_to(uplink))
                    .and_then(at_broker),
                fallback.and_then(at_broker),
            ]
        };
        let is_taken_from =
            |line: &&SourceConnection| flow.from.iter().any(|name| **name == *line.source);
        let template = flow
            .chain
            .topic
            .as_ref()
            .map_or("{topic}", |template| &template.0);
        // What other flows lead to it may have any topic.
        let any = || flow.patterns.is_empty().then(|| "#".to_owned());
        let filters = || flow.patterns.iter().map(Pattern::filter).chain(any());
        Self {
            from: sources
                .iter()
                .filter(is_taken_from)
                .filter_map(|line| line.spec.broker().map(BrokerIdentity::of))
                .collect(),
            to: uplinks.iter().flat_map(ways).flatten().collect(),
            takes: filters().collect(),
            sends: filters()
                .map(|filter| sent(template, &filter, &flow.chain.name))
                .collect(),
        }
    }

    fn feeds(&self, other: &Self) -> bool {
        let at_one_broker = self.to.iter().any(|broker| other.from.contains(broker));
        at_one_broker
            && self
                .sends
                .iter()
                .any(|sent| other.takes.iter().any(|taken| overlap(sent, taken)))
    }
}

/// A filter for what a template makes of the topics of another filter: a level with something unknown in it is any.
fn sent(template: &str, filter: &str, flow: &str) -> String {
    let topic = filter
        .strip_prefix("$share/")
        .and_then(|rest| rest.split_once('/'))
        .map_or(filter, |(_, topic)| topic);
    let text = template.replace("{topic}", topic).replace("{flow}", flow);
    let mut levels = Vec::new();
    for level in text.split('/') {
        if level.contains('#') {
            levels.push("#");
            break;
        }
        levels.push(if level.contains(['+', '{']) {
            "+"
        } else {
            level
        });
    }
    levels.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_template_makes_is_known_as_a_filter() {
        for (template, filter, expected) in [
            ("{topic}", "a/+/b", "a/+/b"),
            ("up/{topic}", "a/#", "up/a/#"),
            ("{topic}/out", "a/#", "a/#"),
            ("up/x-{device}/{flow}", "a/+", "up/+/climate"),
            ("{topic}", "$share/g/a/+", "a/+"),
        ] {
            assert_eq!(sent(template, filter, "climate"), expected);
        }
    }

    #[test]
    fn the_way_back_is_the_shortest_and_each_circle_is_told_once() {
        // 0 → 1 → 2 → 0, 2 → 1, 3 → 3, 4 leads into it.
        let next = [vec![1], vec![2], vec![0, 1], vec![3], vec![3]];
        let ways: Vec<_> = (0..5).map(|first| way_back(first, &next)).collect();
        assert_eq!(
            ways,
            [
                Some(vec![0, 1, 2]),
                Some(vec![1, 2]),
                None,
                Some(vec![3]),
                None
            ]
        );
    }
}
