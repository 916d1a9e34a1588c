//! Where what leaves a flow goes: its ports, and the queues and other flows they lead to.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{KnownNames, Queues};
use crate::config::fields::Fields;
use crate::config::problem::code::ProblemCode;
use crate::config::tree::{Node, Place, TomlItem};
use crate::message::{Destination, QueueId};

/// What a route into another flow begins with.
const FLOW: &str = "flow.";

/// Names of the flows that the ports of a flow lead to, as they are written.
pub(in crate::config) fn flows_led_to<'a>(fields: &Fields<'a>) -> Vec<&'a str> {
    let mut names = Vec::new();
    let mut left: Vec<&Node> = fields
        .own("to")
        .map(|item| &item.node)
        .into_iter()
        .collect();
    while let Some(node) = left.pop() {
        match node {
            Node::Text(text) => names.extend(text.strip_prefix(FLOW)),
            Node::List(items) => left.extend(items.iter().map(|item| &item.node)),
            Node::Table(table) => left.extend(table.entries.iter().map(|entry| &entry.item.node)),
            _ => {}
        }
    }
    names
}

pub(super) fn ports(
    fields: &mut Fields<'_>,
    names: &KnownNames<'_>,
    queues: &mut Queues,
) -> BTreeMap<String, Vec<Destination>> {
    let mut ports = BTreeMap::new();
    let example = names.uplinks.first().map_or("cloud", |name| name);
    if !fields.require("to", &format!("\"{example}:telemetry\"")) {
        return ports;
    }
    let Some(item) = fields.find("to") else {
        return ports;
    };
    if !matches!(item.node, Node::Table(_)) {
        ports.insert("out".to_owned(), route(fields, "to", item, names, queues));
        return ports;
    }
    let Some(mut table) = fields.table("to") else {
        return ports;
    };
    let place = table.place;
    for entry in table.entries() {
        table.check.name("port", &entry.key, entry.place);
        let name = format!("{}.{}", table.path, entry.key);
        ports.insert(
            entry.key.clone(),
            route(&table, &name, &entry.item, names, queues),
        );
    }
    if !ports.contains_key("out") {
        let hint = format!("add: out = \"{example}:telemetry\", or out = \"drop\"");
        fields.check.problem(
            ProblemCode::Missing,
            place,
            format!("`{}` has no route for the port `out`", table.path),
            hint,
        );
    }
    ports
}

pub(in crate::config) fn route(
    fields: &Fields<'_>,
    name: &str,
    item: &TomlItem,
    names: &KnownNames<'_>,
    queues: &mut Queues,
) -> Vec<Destination> {
    let texts = fields.texts_of(name, item);
    if let [("drop", _)] = texts.as_slice() {
        return Vec::new();
    }
    if matches!(&item.node, Node::List(items) if items.is_empty()) {
        fields.check.problem(
            ProblemCode::Route,
            item.place,
            "an empty list goes nowhere",
            "write \"drop\" if that is meant".to_owned(),
        );
    }
    let mut route = Vec::new();
    for (text, place) in texts {
        let target = match text.strip_prefix(FLOW) {
            Some(name) if !text.contains(':') => flow(fields, name, place, names),
            _ => queue(fields, text, place, names, queues).map(Destination::Queue),
        };
        if let Some(target) = target
            && !route.contains(&target)
        {
            route.push(target);
        }
    }
    route
}

fn flow(
    fields: &Fields<'_>,
    name: &str,
    place: Place,
    names: &KnownNames<'_>,
) -> Option<Destination> {
    let is_known = fields.check.reference("flow", name, place, &names.flows);
    is_known.then(|| Destination::Flow(Arc::from(name)))
}

pub(super) fn queue(
    fields: &Fields<'_>,
    text: &str,
    place: Place,
    names: &KnownNames<'_>,
    queues: &mut Queues,
) -> Option<QueueId> {
    let Some((uplink, class)) = text.split_once(':') else {
        let hint = if text == "drop" {
            "\"drop\" stands alone".to_owned()
        } else if names.uplinks.contains(&text) {
            format!("write \"{text}:telemetry\"")
        } else {
            "write \"uplink:class\", \"flow.NAME\" or \"drop\"".to_owned()
        };
        fields.check.problem(
            ProblemCode::Route,
            place,
            format!("`{text}` is not a route"),
            hint,
        );
        return None;
    };
    let uplink_known = fields
        .check
        .reference("uplink", uplink, place, &names.uplinks);
    let known: Vec<&str> = names.classes.iter().map(|class| &*class.name).collect();
    let class_known = fields.check.reference("class", class, place, &known);
    let class = names
        .classes
        .iter()
        .find(|known| class_known && &*known.name == class)?;
    uplink_known.then(|| queues.id(uplink, class))
}
