//! Flows that go in a circle: what one sends is taken from the same broker again, or comes to the gateway's own port, by itself or over
//! others. Each message would come back for ever, faster than it can be sent, were it not counted at a broker how often it did.

use crate::config::address::BrokerIdentity;
use crate::config::check::Check;
use crate::config::flow::{FlowSpec, Queues};
use crate::config::priority::SourceConnection;
use crate::config::problem::code::ProblemCode;
use crate::config::tree::Place;
use crate::message::pattern::overlap;
use crate::message::{Destination, Pattern, QueueId};
use crate::{devices, source, uplink};

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

/// What stands for the topic of a message, and for the path of a request.
const TOPIC: &str = "{topic}";
const PATH: &str = "{path}";

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

/// Warns of each circle once, and of what is told of `devices` and taken in. Plugins may drop or rename what goes round, so it is no more than a warning.
pub(super) fn report(
    check: &Check<'_>,
    flows: &[FlowSpec],
    sources: &[SourceConnection],
    out: WaysOut<'_>,
    devices: Option<&devices::Config>,
) {
    if let Some(devices) = devices {
        report_devices(check, devices, flows, sources, out);
    }
    let ends: Vec<FlowEnds> = flows
        .iter()
        .map(|flow| FlowEnds::of(flow, sources, out))
        .collect();
    let mut next = direct(flows);
    for (from, next) in ends.iter().zip(&mut next) {
        next.extend((0..ends.len()).filter(|to| from.feeds(&ends[*to]).is_some()));
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
                "flow {one} takes in what it sends: both ends are at one {}, and the topics match",
                ends[first].feeds(&ends[first]).unwrap_or("broker")
            ),
            [first, others @ ..] => format!(
                "what flow {first} sends comes back to it over {}",
                others.join(", ")
            ),
            [] => continue,
        };
        let hint = "messages go round until they are parked, over MQTT 3.1.1 and HTTP for ever: send to topics that `topics` do not match";
        let hint = hint.to_owned();
        check.problem(ProblemCode::Circle, flow.place, message, hint);
    }
}

/// Warns of flows that take in what is told of devices: each would be a sign of life of one, which may be dead.
fn report_devices(
    check: &Check<'_>,
    devices: &devices::Config,
    flows: &[FlowSpec],
    sources: &[SourceConnection],
    out: WaysOut<'_>,
) {
    let queue = |to: &Destination| match to {
        Destination::Queue(id) => Some(*id),
        Destination::Flow(_) => None,
    };
    let led_to: Vec<QueueId> = devices.events.iter().filter_map(queue).collect();
    let events = FlowEnds {
        from: Vec::new(),
        to: out.ends(&led_to),
        takes: Vec::new(),
        sends: vec![as_filter(&devices.topic)],
    };
    for flow in flows {
        let Some(noun) = events.feeds(&FlowEnds::of(flow, sources, out)) else {
            continue;
        };
        let name = &flow.chain.name;
        let message = format!(
            "flow `{name}` takes in what is told of devices: both are at one {noun}, and `devices.topic` matches `topics`"
        );
        let hint = "each event would count as heard of a device, which may be dead: send events to a topic that `topics` do not match";
        check.problem(ProblemCode::Circle, flow.place, message, hint.to_owned());
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

/// A place that messages come from or go to.
struct FlowEnd {
    noun: &'static str,
    at: BrokerIdentity,
    /// Of one that they go to: where, with the topic in it. Of one that they come from: their topic, with that in it.
    template: String,
}

impl FlowEnd {
    fn of_source(kind: &source::SourceKind) -> Option<Self> {
        match kind {
            source::SourceKind::Mqtt(own) => {
                Some(Self::broker(BrokerIdentity::of(&own.connection), PATH))
            }
            source::SourceKind::Http(http) => Some(Self {
                noun: "address",
                at: BrokerIdentity::at(&http.host, http.port),
                template: http.topic.to_string(),
            }),
            _ => None,
        }
    }

    fn of_uplink(kind: &uplink::UplinkKind) -> Option<Self> {
        match kind {
            uplink::UplinkKind::Mqtt(own) => Some(Self::broker(BrokerIdentity::of(own), TOPIC)),
            uplink::UplinkKind::Http(http) => {
                let path = http.path.written();
                let path = path.split_once('?').map_or(&*path, |(path, _)| path);
                Some(Self {
                    noun: "address",
                    at: BrokerIdentity::at(&http.host, http.port),
                    template: path.trim_start_matches('/').to_owned(),
                })
            }
            _ => None,
        }
    }

    fn broker(at: BrokerIdentity, template: &str) -> Self {
        Self {
            noun: "broker",
            at,
            template: template.to_owned(),
        }
    }

    /// As what comes from `self` what went there from `other` comes, if it does.
    fn led_from(&self, other: &Self, sent: &str) -> Option<String> {
        let path = other.template.replace(TOPIC, sent);
        (self.at == other.at).then(|| as_filter(&self.template.replace(PATH, &path)))
    }
}

/// The ways out: which queue is whose, and where it leads.
#[derive(Clone, Copy)]
pub(super) struct WaysOut<'a>(
    pub(super) &'a Queues,
    pub(super) &'a [(uplink::Config, Place)],
);

impl WaysOut<'_> {
    /// Where what is in these queues goes.
    fn ends(self, led_to: &[QueueId]) -> Vec<FlowEnd> {
        // What is left over for a stand-in depends on the class of a queue.
        let leads_to = |link: &uplink::Config| {
            led_to.iter().any(|id| {
                let queue = self.0.0.get(usize::from(id.0));
                queue.is_some_and(|queue| queue.link == link.name)
            })
        };
        let stands_in = |link: &uplink::Config| {
            let mut drains = link.drains.iter();
            drains.any(|drain| led_to.contains(&drain.queue))
        };
        let end = |link: &uplink::Config| FlowEnd::of_uplink(&link.kind);
        let ways = |(uplink, _): &(uplink::Config, Place)| {
            let fallback = uplink
                .fallback
                .as_deref()
                .filter(|fallback| stands_in(fallback));
            [
                Some(uplink).filter(|uplink| leads_to(uplink)).and_then(end),
                fallback.and_then(end),
            ]
        };
        self.1.iter().flat_map(ways).flatten().collect()
    }
}

/// Where a flow begins and ends.
struct FlowEnds {
    from: Vec<FlowEnd>,
    to: Vec<FlowEnd>,
    takes: Vec<String>,
    sends: Vec<String>,
}

impl FlowEnds {
    fn of(flow: &FlowSpec, sources: &[SourceConnection], out: WaysOut<'_>) -> Self {
        let led_to: Vec<QueueId> = flow.chain.queues().collect();
        let is_taken_from =
            |line: &&SourceConnection| flow.from.iter().any(|name| **name == *line.source);
        let template = flow
            .chain
            .topic
            .as_ref()
            .map_or(TOPIC, |template| &template.0);
        // What other flows lead to it may have any topic.
        let any = || flow.patterns.is_empty().then(|| "#".to_owned());
        let filters = || flow.patterns.iter().map(Pattern::filter).chain(any());
        Self {
            from: sources
                .iter()
                .filter(is_taken_from)
                .filter_map(|line| FlowEnd::of_source(&line.spec.kind))
                .collect(),
            to: out.ends(&led_to),
            takes: filters().collect(),
            sends: filters()
                .map(|filter| sent(template, &filter, &flow.chain.name))
                .collect(),
        }
    }

    /// Whether `other` takes what this one sends, and what that place is.
    fn feeds(&self, other: &Self) -> Option<&'static str> {
        let is_taken = |topic: String| other.takes.iter().any(|taken| overlap(&topic, taken));
        let joined = |from: &&FlowEnd| {
            let ways = self.to.iter();
            let mut led =
                ways.flat_map(|to| self.sends.iter().filter_map(|sent| from.led_from(to, sent)));
            led.any(is_taken)
        };
        Some(other.from.iter().find(joined)?.noun)
    }
}

/// A filter for what a template makes of the topics of another filter.
fn sent(template: &str, filter: &str, flow: &str) -> String {
    let topic = filter
        .strip_prefix("$share/")
        .and_then(|rest| rest.split_once('/'))
        .map_or(filter, |(_, topic)| topic);
    as_filter(&template.replace(TOPIC, topic).replace("{flow}", flow))
}

/// What such a text makes, as a filter: a level with something unknown in it is any.
fn as_filter(text: &str) -> String {
    let mut levels = Vec::new();
    for level in text.split('/') {
        if level.contains('#') {
            levels.push("#");
            break;
        }
        levels.push(if level.contains(['+', '{', '%']) {
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
