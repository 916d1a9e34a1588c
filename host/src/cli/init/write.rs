//! The config that is written: comments, an end on each side, and a flow for each system that was recognised. Nothing that came
//! from a broker stands in it but levels of plain letters.

use super::recognise::Ecosystem;
use crate::words::quoted;

/// What somebody wants of the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Want {
    /// All of them, as they come, in one shape where there is a plugin for it.
    Forward,
    /// Only what has changed, and all the same every quarter of an hour.
    Changes,
    /// All of them, and an alarm when a device has been silent for an hour.
    Silence,
}

/// An end as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct InitEnd {
    pub(super) url: String,
    pub(super) user: Option<String>,
    /// Path of the file that holds the password.
    pub(super) password_file: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct InitWanted {
    pub(super) name: String,
    pub(super) field: InitEnd,
    pub(super) upstream: InitEnd,
    pub(super) want: Want,
}

/// A flow for one system.
struct InitFlow {
    name: &'static str,
    /// Lines of comment above it, each with its `#`.
    words: &'static str,
    topics: Vec<String>,
    /// Each plugin with its settings, as TOML.
    plugins: &'static [(&'static str, &'static str)],
    /// Fields that are compared where only changes are wanted; none where payloads are not known to have any.
    fields: &'static [&'static str],
}

/// Fields that `unify` makes.
const UNIFIED: &[&str] = &[
    "temperature",
    "humidity",
    "power",
    "on",
    "contact",
    "occupancy",
    "leak",
    "smoke",
    "battery",
];

pub(super) fn config(wanted: &InitWanted, found: Option<&[Ecosystem]>) -> String {
    let has_looked = found.is_some();
    let found = found.unwrap_or_default();
    let mut text = format!(
        "# Written by `tidegate init`. Every setting, its default and the reason for it: tidegate check --manual\n\
         # Before it goes live: tidegate check --strict, and tidegate doctor\n\n\
         [gateway]\nname = {}\n\n\
         # The broker of the devices.\n[source.field]\n{}\n\
         # Where messages go.\n[uplink.upstream]\n{}",
        quoted(&wanted.name),
        end(&wanted.field),
        end(&wanted.upstream),
    );
    if wanted.upstream.url.starts_with("mqtt") {
        let topic = format!("gateways/{}/status", wanted.name);
        text.push_str(&format!("# What upstream hears when this gateway is gone, and when it is back.\nwill = {{ topic = {}, payload = \"offline\", online = \"online\", retain = true }}\n", quoted(&topic)));
    } else if wanted.upstream.url.starts_with("http") {
        text.push_str("pack = \"json-array\"\n");
    }
    for name in found
        .iter()
        .filter(|one| flow_of(one).is_none())
        .map(Ecosystem::name)
    {
        text.push_str(&format!(
            "\n# {name} was seen, too: it describes topics of others, and carries no readings.\n"
        ));
    }
    let mut flows: Vec<InitFlow> = found.iter().filter_map(flow_of).collect();
    if flows.is_empty() {
        flows.push(InitFlow {
            name: "all",
            words: if has_looked {
                "# Nothing was recognised: everything, as it comes. Name your topics, with the level that is the device in braces."
            } else {
                "# Nothing was looked at: everything, as it comes. Name your topics, with the level that is the device in braces."
            },
            topics: vec!["{device}/#".to_owned()],
            plugins: &[],
            fields: &[],
        });
    }
    // Two of one sort, as two coordinators, are told apart by their number.
    let mut counts = std::collections::BTreeMap::<&str, usize>::new();
    for flow in &flows {
        let count = counts.entry(flow.name).or_default();
        *count += 1;
        let name = if *count == 1 {
            flow.name.to_owned()
        } else {
            format!("{}-{count}", flow.name)
        };
        text.push_str(&flow_text(wanted, flow, &name));
    }
    text
}

fn end(end: &InitEnd) -> String {
    let mut text = format!("url = {}\n", quoted(&end.url));
    if let Some(user) = &end.user {
        text.push_str(&format!("user = {}\n", quoted(user)));
    }
    if let Some(file) = &end.password_file {
        let key = if end.url.starts_with("http") {
            "token"
        } else {
            "password"
        };
        text.push_str(&format!("{key} = {{ file = {} }}\n", quoted(file)));
    }
    text
}

fn flow_text(wanted: &InitWanted, flow: &InitFlow, name: &str) -> String {
    let topics: Vec<String> = flow.topics.iter().map(|topic| quoted(topic)).collect();
    let to = match wanted.want {
        Want::Silence => "{ out = \"upstream:telemetry\", alarms = \"upstream:alarm\" }",
        Want::Forward | Want::Changes => "\"upstream:telemetry\"",
    };
    let mut text = format!(
        "\n{}\n[flow.{name}]\nfrom   = \"field\"\ntopics = [{}]\nto     = {to}\ntopic  = \"up/{{topic}}\"\n",
        flow.words,
        topics.join(", "),
    );
    let mut plugin = |words: &str, builtin: &str, settings: &str| {
        text.push_str(&format!(
            "\n{words}[[flow.{name}.plugin]]\nplugin   = \"builtin:{builtin}\"\nsettings = {settings}\n"
        ));
    };
    for (builtin, settings) in flow.plugins {
        plugin("", builtin, settings);
    }
    match wanted.want {
        Want::Changes if !flow.fields.is_empty() => {
            let fields: Vec<String> = flow.fields.iter().map(|field| quoted(field)).collect();
            let settings = format!(
                "{{ fields = [{}], heartbeat = \"15m\" }}",
                fields.join(", ")
            );
            let words =
                "# A field that may move a little: { field = \"temperature\", absolute = 0.2 }\n";
            plugin(words, "deadband", &settings);
        }
        Want::Silence => plugin("", "silence", "{ after = \"1h\", retained = \"ignore\" }"),
        Want::Changes => text.push_str(UNCOMPARED),
        Want::Forward => {}
    }
    text
}

fn flow(
    name: &'static str,
    words: &'static str,
    topics: &[&str],
    plugins: &'static [(&'static str, &'static str)],
    fields: &'static [&'static str],
) -> Option<InitFlow> {
    Some(InitFlow {
        name,
        words,
        topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
        plugins,
        fields,
    })
}

/// Of a flow whose payloads are not known to have fields.
pub(super) const UNCOMPARED: &str = "# Everything, though only changes were wanted: which of its fields are to be compared is yours to say.\n# [[flow.NAME.plugin]] plugin = \"builtin:deadband\": see `tidegate plugin inspect builtin:deadband`.\n";

/// The flow for a system; `None` where it carries no readings of its own.
fn flow_of(system: &Ecosystem) -> Option<InitFlow> {
    match system {
        Ecosystem::Zigbee2Mqtt(base) => flow(
            "zigbee",
            "# Zigbee2MQTT, in one shape with the others: the same names and units, whatever sent them.",
            &[&format!("{base}/{{device}}")],
            &[("unify", "{ from = \"zigbee2mqtt\" }")],
            UNIFIED,
        ),
        Ecosystem::Tasmota => flow(
            "tasmota",
            "# Tasmota: what sensors and switches say by themselves.",
            &["tele/{device}/SENSOR", "tele/{device}/STATE"],
            &[("unify", "{ from = \"tasmota\" }")],
            UNIFIED,
        ),
        Ecosystem::ShellyFirst => flow(
            "shelly-first",
            "# Shelly, first generation.",
            &["shellies/{device}/#"],
            &[("unify", "{ from = \"shelly\" }")],
            UNIFIED,
        ),
        Ecosystem::Shelly => flow(
            "shelly",
            "# Shelly, second generation and later: status messages and events.",
            &["{device}/status/+", "{device}/events/rpc"],
            &[("unify", "{ from = \"shelly\" }")],
            UNIFIED,
        ),
        Ecosystem::EspHome => flow(
            "esphome",
            "# ESPHome: plain numbers and words; the field is called as the sensor is.",
            &[
                "{device}/sensor/{metric}/state",
                "{device}/binary_sensor/{metric}/state",
                "{device}/switch/{metric}/state",
            ],
            &[("number", "{ field = \"{metric}\", missing = \"drop\" }")],
            &[],
        ),
        Ecosystem::HomeAssistant(_) => None,
        of_networks => flow_of_network(of_networks),
    }
}

/// What comes from networks of radio and of plants, by way of a server of their own.
fn flow_of_network(system: &Ecosystem) -> Option<InitFlow> {
    match system {
        Ecosystem::ChirpStack => flow(
            "chirpstack",
            "# ChirpStack: what devices send over LoRaWAN, each frame once, whoever heard it.",
            &["application/{application}/device/{device}/event/up"],
            &[(
                "dedupe",
                "{ fields = [\"fCnt\"], topics = \"together\", within = \"5m\" }",
            )],
            &[],
        ),
        Ecosystem::ThingsStack => flow(
            "things-stack",
            "# The Things Stack: what devices send over LoRaWAN. It has told repeated frames apart already.",
            &["v3/{application}/devices/{device}/up"],
            &[],
            &[],
        ),
        Ecosystem::SparkplugB => flow(
            "sparkplug",
            "# Sparkplug B, as it comes: births, data and deaths of a node keep their order. Payloads are binary.",
            &["spBv1.0/{group}/+/{device}/#"],
            &[],
            &[],
        ),
        Ecosystem::Homie(base) => flow(
            "homie",
            "# Homie: plain numbers and words; attributes, of devices and nodes, begin with `$` and go along as text.",
            &[
                &format!("{base}/{{device}}/{{node}}/{{metric}}"),
                &format!("{base}/{{device}}/{{metric}}"),
            ],
            &[(
                "number",
                "{ field = \"{metric}\", text = \"keep\", missing = \"drop\" }",
            )],
            &[],
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
