//! The schema of a config, for editors: keys from the code that asks for them, kinds and words about them from the manual.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::manual::{self, ManualEntry};
use super::{AskedKey, Known};
use crate::config::layers::Layers;
use crate::config::layers::written::WrittenConfig;
use crate::config::tree::{Node, TomlItem};
use crate::config::{Sources, assemble, check};

/// One of each sort of table that there is. It is only read for what is asked of it, so that it names files that are not there.
const ONE_OF_EACH: &str = r#"
[source.mqtt]
url = "mqtts://a"
user = "a"
password = { env = "A" }
tls = { ca = "a" }
will = { topic = "a" }
[source.http]
url = "https://127.0.0.1"
token = { env = "A" }
tls = { cert = "a" }
[source.modbus]
url = "modbus+tcp://a"
[source.modbus.device.a]
station = 1
[source.modbus.device.a.group.g]
values.v = { holding = 0 }
[source.serial]
url = "modbus+rtu:///dev/a"
[source.serial.device.a]
station = 1
[source.serial.device.a.group.g]
values.v = { holding = 0 }
[source.dialled]
url = "tcp://a:1"
[source.listening]
url = "tcp+listen://127.0.0.1:1"
[source.datagrams]
url = "udp://127.0.0.1:1"
[source.raw]
url = "serial:///dev/b"
[source.program]
url = "exec:///a"
every = "1s"
[source.files]
url = "tail:///a"
[source.nats]
url = "nats+tls://a"
creds = { env = "A" }
tls = { ca = "a" }
stream = "a"
consumer = "a"
[source.clock]
url = "clock://utc"
every = "1s"
at = "06:00"
[source.coap]
url = "coap://127.0.0.1"
[uplink.mqtt]
url = "mqtts://a"
user = "a"
password = { env = "A" }
tls = { ca = "a" }
will = { topic = "a" }
fallback = "http"
[uplink.http]
url = "https://a"
token = { env = "A" }
tls = { ca = "a" }
headers = { a = "a" }
[uplink.file]
url = "file:///a"
files = { keep = "1GiB" }
[uplink.nats]
url = "nats+tls://a"
creds = { env = "A" }
tls = { ca = "a" }
nats = { subject = "a" }
[uplink.streams]
url = "nats://a"
user = "a"
password = { env = "A" }
[uplink.subjects]
url = "nats://a"
token = { env = "A" }
[uplink.postgres]
url = "postgres+tls://a@b/c"
password = { env = "A" }
tls = { ca = "a" }
postgres = { table = "a" }
[uplink.s3]
url = "s3://aaa/a"
endpoint = "https://a"
style = "path"
access_key = { env = "A" }
secret_key = { env = "A" }
tls = { ca = "a" }
[uplink.kafka]
url = "kafkas://a,b/a"
user = "a"
password = { env = "A" }
tls = { ca = "a" }
kafka = { partition_by = "a" }
[class.own]
[flow.flow]
from = "mqtt"
topics = "a/{a}"
key = "{a}"
to = { out = "mqtt:own" }
topic = "a"
dedup = "a"
record = "1MiB"
[[flow.flow.plugin]]
plugin = "builtin:filter"
settings = { a = 1 }
[devices]
[spool]
encrypt = { key = { env = "A" }, old_keys = [{ env = "A" }] }
[admin]
hosts = "a"
tls = { cert = "a" }
[admin.access.a]
scope = "read"
token = { env = "A" }
[telemetry]
collector = "https://a"
ca = "a"
token = { env = "A" }
headers = { a = "a" }
[accepted]
"#;

/// The tables of the manual that speak of one of [`ONE_OF_EACH`], the most special first.
fn tables(path: &str) -> Vec<String> {
    let mut parts = path.splitn(3, '.');
    let (kind, name, rest) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    let Some(name) = name else {
        return vec![kind.to_owned()];
    };
    let stars: &[&str] = match (kind, name) {
        ("source", "http") => &["\"http://*\"", "\"*\""],
        ("source", "modbus" | "serial") => &["\"modbus+*://*\"", "\"*\""],
        ("source", "dialled" | "listening") => &["\"tcp://*\"", "\"*\""],
        ("source", "datagrams") => &["\"udp://*\"", "\"*\""],
        ("source", "program") => &["\"exec://*\"", "\"*\""],
        ("source", "files") => &["\"tail://*\"", "\"*\""],
        ("source", "nats") => &["\"nats://*\"", "\"*\""],
        ("source", "clock") => &["\"clock://*\"", "\"*\""],
        ("source", "coap") => &["\"coap://*\"", "\"*\""],
        ("source", "raw") => &["\"serial://*\"", "\"*\""],
        ("uplink", "file") => &["\"file://*\"", "\"*\""],
        ("uplink", "nats" | "streams" | "subjects") => &["\"nats://*\"", "\"*\""],
        ("uplink", "kafka") => &["\"kafka://*\"", "\"*\""],
        ("uplink", "postgres") => &["\"postgres://*\"", "\"*\""],
        ("uplink", "s3") => &["\"s3://*\"", "\"*\""],
        ("source" | "uplink" | "flow", _) => &["\"*\""],
        ("admin", "access") if rest.is_some() => return vec!["admin.access.\"*\"".to_owned()],
        ("class", _) => &["\"*\"", "alarm"],
        // A table inside one that there is one of.
        _ => return vec![path.to_owned()],
    };
    let rest = rest.map(|rest| {
        let mut of_names = false;
        let part = |part: &str| {
            let is_name =
                std::mem::replace(&mut of_names, matches!(part, "device" | "group" | "values"));
            match part {
                _ if is_name => Some("\"*\"".to_owned()),
                number if number.parse::<usize>().is_ok() => None,
                part => Some(part.to_owned()),
            }
        };
        rest.split('.')
            .filter_map(part)
            .collect::<Vec<_>>()
            .join(".")
    });
    let named = |star: &&str| match &rest {
        Some(rest) => format!("{kind}.{star}.{rest}"),
        None => format!("{kind}.{star}"),
    };
    stars.iter().map(named).collect()
}

/// The schema (JSON Schema, draft 2020-12).
pub fn schema() -> Value {
    let sources = Sources {
        path: "/dev/null".into(),
        env: BTreeMap::new(),
        sets: Vec::new(),
        data_dir: Some("/".into()),
        cores: 1,
        secrets: crate::config::Secrets::Elsewhere,
    };
    let layers = Layers::read(&sources, WrittenConfig::alone(ONE_OF_EACH));
    let check = check::Check::noting(&sources, layers.hidden);
    assemble::assemble(&check, &layers.base, &layers.tree);
    let found = check.finish();
    let maker = SchemaMaker {
        known: &found.known,
        manual: manual::entries(),
    };
    let mut properties = Map::new();
    for kind in crate::config::layers::TABLES {
        let value = match kind {
            "source" | "uplink" | "flow" | "class" => maker.named(kind),
            _ => maker.table(kind),
        };
        properties.insert(kind.to_owned(), value);
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "tidegate",
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    })
}

struct SchemaMaker<'a> {
    known: &'a Known,
    manual: Vec<ManualEntry>,
}

impl SchemaMaker<'_> {
    /// Tables with names of the operator's, each like one of those that are known below `path`.
    fn named(&self, path: &str) -> Value {
        let mut each: Vec<Value> = Vec::new();
        for name in self.known.below(path) {
            let table = self.table(&format!("{path}.{name}"));
            if !each.contains(&table) {
                each.push(table);
            }
        }
        let any = if each.len() == 1 {
            each.remove(0)
        } else {
            json!({ "anyOf": each })
        };
        json!({ "type": "object", "additionalProperties": any })
    }

    fn table(&self, path: &str) -> Value {
        let Some(table) = self.known.table(path) else {
            return json!({ "type": "object" });
        };
        let tables = tables(path);
        let tables: Vec<&str> = tables.iter().map(String::as_str).collect();
        let mut properties = Map::new();
        for (key, asked) in &table.keys {
            properties.insert((*key).to_owned(), self.property(path, key, asked, &tables));
        }
        json!({ "type": "object", "properties": properties, "additionalProperties": table.is_open })
    }

    /// What the manual has for a key of a table that is a value there: `deadlines = { dial = "8s" }`.
    fn example(&self, path: &str, key: &str) -> Option<TomlItem> {
        let (table, name) = path.rsplit_once('.')?;
        let tables = tables(table);
        let tables: Vec<&str> = tables.iter().map(String::as_str).collect();
        let item = manual::entry(&self.manual, &tables, name)?.item()?;
        item.node.find([key]).cloned()
    }

    fn property(&self, path: &str, key: &str, asked: &AskedKey, tables: &[&str]) -> Value {
        let inner = format!("{path}.{key}");
        let entry = manual::entry(&self.manual, tables, key);
        let item = entry
            .and_then(ManualEntry::item)
            .or_else(|| self.example(path, key));
        let mut kinds: Vec<Value> = Vec::new();
        let is_table = self.known.table(&inner).is_some();
        if asked.is_named {
            kinds.push(self.named(&inner));
        } else if asked.is_list {
            kinds.push(json!({ "type": "array", "items": self.table(&format!("{inner}.0")) }));
        } else if is_table {
            kinds.push(self.table(&inner));
        }
        if !asked.words.is_empty() {
            kinds.push(json!({ "type": "string", "enum": asked.words }));
        } else if asked.is_texts {
            kinds.push(json!({ "type": "string" }));
            kinds.push(json!({ "type": "array", "items": { "type": "string" } }));
        } else if asked.is_number {
            kinds.push(json!({ "type": "number" }));
        } else if let Some(item) = &item {
            match &item.node {
                Node::Table(_) if is_table => {}
                node => kinds.push(json!({ "type": manual::kind(node) })),
            }
        }
        kinds.extend(
            manual::other_kinds(key)
                .iter()
                .map(|kind| json!({ "type": kind })),
        );
        let mut property = match kinds.len() {
            0 => json!({}),
            1 => kinds.remove(0),
            _ => json!({ "anyOf": kinds }),
        };
        if let Some(entry) = entry {
            if !entry.words.is_empty() {
                property["description"] = entry.words.join(" ").into();
            }
            if let Some(item) = item.as_ref().filter(|_| entry.has_default) {
                property["default"] = item.node.to_json();
            }
        }
        property
    }
}

#[cfg(test)]
mod tests;
