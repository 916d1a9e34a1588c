//! What was written and does nothing beside what else stands there: keys of another mode, framing or feature. None of it does
//! harm but that somebody relies on it, so it is told and does not keep the gateway from starting.

use std::sync::Arc;

use super::Queues;
use crate::config::check::Check;
use crate::config::flow::FlowSpec;
use crate::config::globals::Gateway;
use crate::config::problem::code::ProblemCode;
use crate::config::tree::{Node, Place, Table, TomlEntry, TomlItem};
use crate::uplink::{self, UplinkKind};

/// What else there is, as it was read.
pub(super) struct WrittenBeside<'a> {
    uplinks: &'a [(uplink::Config, Place)],
    flows: &'a [FlowSpec],
    queues: &'a Queues,
    has_plugin_keys: bool,
}

impl<'a> WrittenBeside<'a> {
    pub(super) fn of(
        uplinks: &'a [(uplink::Config, Place)],
        flows: &'a [FlowSpec],
        queues: &'a Queues,
        gateway: &Gateway,
    ) -> Self {
        Self {
            uplinks,
            flows,
            queues,
            has_plugin_keys: !gateway.trust.keys.is_empty(),
        }
    }
}

/// Tells of all of it.
pub(super) fn report(check: &Check<'_>, tree: &Table, beside: &WrittenBeside<'_>) {
    for source in WrittenTable::all(check, tree, "source") {
        of_source(&source);
    }
    for written in WrittenTable::all(check, tree, "uplink") {
        of_uplink(&written, beside);
    }
    let flows = WrittenTable::all(check, tree, "flow");
    for (written, flow) in flows.iter().zip(beside.flows) {
        of_flow(written, flow, beside.has_plugin_keys);
    }
    for written in WrittenTable::all(check, tree, "class") {
        of_class(&written, beside);
    }
}

/// A table as the operator wrote it.
struct WrittenTable<'a> {
    check: &'a Check<'a>,
    path: String,
    name: &'a str,
    table: &'a Table,
}

impl<'a> WrittenTable<'a> {
    /// Every `[source.NAME]` where `sort` is "source", in the order of the file.
    fn all(check: &'a Check<'a>, tree: &'a Table, sort: &str) -> Vec<Self> {
        let tables = tree.table(sort);
        let entries = tables.map(|tables| tables.entries.iter());
        let below = |entry: &'a TomlEntry| match &entry.item.node {
            Node::Table(table) => Some(Self {
                check,
                path: format!("{sort}.{}", entry.key),
                name: &entry.key,
                table,
            }),
            _ => None,
        };
        entries.into_iter().flatten().filter_map(below).collect()
    }

    /// The tables below `key`, be it a table of tables, which have names, or a list, in which they have none.
    fn below(&self, key: &str) -> Vec<Self> {
        let of = |name: &'a str, item: &'a TomlItem| match &item.node {
            Node::Table(table) => Some(Self {
                check: self.check,
                path: format!("{}.{key}.{name}", self.path),
                name,
                table,
            }),
            _ => None,
        };
        match self.table.get(key).map(|item| &item.node) {
            Some(Node::Table(tables)) => {
                let entries = tables.entries.iter();
                entries.filter_map(|one| of(&one.key, &one.item)).collect()
            }
            Some(Node::List(items)) => items.iter().filter_map(|item| of("", item)).collect(),
            _ => Vec::new(),
        }
    }

    fn has(&self, key: &str) -> bool {
        self.table.get(key).is_some()
    }

    fn text(&self, key: &str) -> Option<&'a str> {
        match &self.table.get(key)?.node {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }

    fn scheme(&self) -> &'a str {
        let url = self.text("url").unwrap_or_default();
        url.split_once("://").map_or("", |(scheme, _)| scheme)
    }

    /// The key `key`, which may be one of a table in it (`files.columns`), does nothing, where it was written.
    fn idle(&self, key: &str, why: &str, hint: &str) {
        let root = Node::Table(self.table.clone());
        let Some(place) = root.find(key.split('.')).map(|item| item.place) else {
            return;
        };
        // Plugins have numbers in a path, which nobody has written.
        let path = self.path.trim_end_matches('.');
        let message = format!("`{path}.{key}` does nothing: {why}");
        self.check
            .problem(ProblemCode::Idle, place, message, hint.to_owned());
    }
}

fn of_source(source: &WrittenTable<'_>) {
    let scheme = source.scheme();
    if scheme.starts_with("mqtt") && source.text("protocol") == Some("3.1.1") {
        let why = "MQTT 3.1.1 knows no such limit, the broker decides";
        source.idle(
            "receive_maximum",
            why,
            "leave it out, or use protocol = \"5\"",
        );
    }
    if scheme.starts_with("http") && source.has("token") {
        let why = "a token is wanted all the same";
        source.idle("open", why, "leave one of the two out");
    }
    let devices = source.below("device");
    let groups = devices.iter().flat_map(|device| device.below("group"));
    groups.for_each(|group| of_group(&group));
}

fn of_group(group: &WrittenTable<'_>) {
    let reports_change = group.text("report") == Some("change");
    for value in group.below("values") {
        let is_of_bits = value.has("coil") || value.has("discrete");
        let is_one = !value.has("bit") && matches!(value.text("type"), None | Some("u16" | "i16"));
        let leave = "leave it out";
        if is_of_bits || value.has("bit") {
            let why = "a bit has no order";
            value.idle("words", why, leave);
            value.idle("bytes", why, leave);
        } else if is_one {
            value.idle("words", "the value is in one register", leave);
        }
        if !reports_change {
            let hint = "set `report = \"change\"` in its group, or leave it out";
            value.idle("deadband", "every reading is reported", hint);
        }
    }
}

fn of_uplink(written: &WrittenTable<'_>, beside: &WrittenBeside<'_>) {
    let mut known = beside.uplinks.iter().map(|(uplink, _)| uplink);
    let Some(uplink) = known.find(|uplink| *uplink.name == *written.name) else {
        return;
    };
    match &uplink.kind {
        UplinkKind::Mqtt(_) => of_broker(written, beside),
        UplinkKind::Http(_) if matches!(written.text("pack"), None | Some("raw")) => {
            let hint = "set `pack`, for example to \"ndjson\", or leave it out";
            written.idle("batch", "each message is a request of its own", hint);
        }
        UplinkKind::File(_) if written.text("pack") != Some("csv") => {
            let hint = "set `pack = \"csv\"`, or leave it out";
            written.idle("files.columns", "lines of JSON have no columns", hint);
        }
        #[cfg(feature = "s3")]
        UplinkKind::S3(_) if written.text("pack") != Some("csv") => {
            let hint = "set `pack = \"csv\"`, or leave it out";
            written.idle("columns", "lines of JSON have no columns", hint);
        }
        _ => {}
    }
    of_fallback(written, beside);
}

fn of_broker(written: &WrittenTable<'_>, beside: &WrittenBeside<'_>) {
    let leave = "leave it out";
    if matches!(written.text("pack"), None | Some("raw")) {
        let hint = "set `pack`, for example to \"json-array\", or leave it out";
        written.idle("pack_max", "each message goes by itself", hint);
    }
    let is_old = written.text("protocol") == Some("3.1.1");
    let no_properties = "MQTT 3.1.1 has no user properties";
    if is_old && written.text("id") == Some("property") {
        let hint = "use id = \"envelope\", or protocol = \"5\"";
        written.idle("id", no_properties, hint);
    }
    let mut queues = beside.queues.0.iter();
    let has_fresh = queues.any(|queue| queue.is_fresh_first && *queue.uplink == *written.name);
    if !has_fresh {
        let why = "no class that leads here has `order = \"fresh-first\"`";
        written.idle("replay_mark", why, leave);
    } else if is_old && written.text("replay_mark") == Some("property") {
        let hint = "use replay_mark = \"topic\", or protocol = \"5\"";
        written.idle("replay_mark", no_properties, hint);
    }
}

/// Classes that may use a fallback, of which nothing is owed here.
fn of_fallback(written: &WrittenTable<'_>, beside: &WrittenBeside<'_>) {
    let Some(Node::List(classes)) = written.table.get("fallback_classes").map(|item| &item.node)
    else {
        return;
    };
    let leads = |class: &str| {
        let mut queues = beside.queues.0.iter();
        queues.any(|queue| *queue.uplink == *written.name && *queue.class == *class)
    };
    for item in classes {
        if let Node::Text(class) = &item.node
            && !leads(class)
        {
            let message = format!(
                "`{}.fallback_classes`: `{class}` does nothing: no route leads to `{}:{class}`",
                written.path, written.name
            );
            written.check.problem(
                ProblemCode::Idle,
                item.place,
                message,
                "leave it out".to_owned(),
            );
        }
    }
}

fn of_flow(written: &WrittenTable<'_>, flow: &FlowSpec, has_plugin_keys: bool) {
    let leave = "leave it out";
    if flow.from.is_empty() {
        let why = "no source leads to the flow, only others do";
        for key in ["ack", "dedup", "dedup_window"] {
            written.idle(key, why, "set it in the flows that lead to it");
        }
    }
    if flow.chain.ports.values().flatten().count() < 2 {
        written.idle("settle", "the flow leads to one place", leave);
    }
    if flow.record.is_none() {
        let hint = "set `record`, for example to \"16MiB\", or leave it out";
        written.idle("record_to", "nothing is recorded", hint);
    }
    let plugins = written.below("plugin");
    if plugins.is_empty() {
        let why = "no plugin of the flow could fail on a device";
        written.idle("quarantine", why, leave);
    }
    for (written, plugin) in plugins.iter().zip(&flow.chain.plugins) {
        if matches!(plugin.artefact, crate::chain::Artefact::Builtin(_)) {
            let why = "what is built in has no signature of its own";
            written.idle("signed_as", why, leave);
        } else if !has_plugin_keys {
            let hint = "set `plugin_keys` in [gateway], or leave it out";
            written.idle("signed_as", "no signature counts", hint);
        }
        let limits = &plugin.limits;
        if limits.recycle_bytes > limits.memory_bytes && limits.recycle_bytes != usize::MAX {
            let why = "it is more than `memory`, which ends the instance before";
            written.idle("limits.recycle_at", why, "write less, or \"off\"");
        }
    }
}

fn of_class(written: &WrittenTable<'_>, beside: &WrittenBeside<'_>) {
    let queues = beside.queues.0.iter();
    let own = queues.filter(|queue| *queue.class == *written.name);
    let ways: Vec<&Arc<str>> = own.map(|queue| &queue.uplink).collect();
    let has_levels = |name: &str| {
        let mut known = beside.uplinks.iter().map(|(uplink, _)| uplink);
        known.any(|uplink| *uplink.name == *name && uplink.kind.has_levels())
    };
    if !ways.is_empty() && !ways.iter().any(|name| has_levels(name)) {
        let why = "no uplink that has messages of this class knows levels";
        written.idle("qos", why, "leave it out");
    }
}
