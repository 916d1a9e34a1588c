use std::collections::BTreeMap;

use super::*;

const CONFIG: &str = r#"
[gateway]
name = "barn-7"

[source.field]
url = "mqtt://127.0.0.1"
backoff = { cap = "30s" }

[source.web]
url = "http://127.0.0.1:8080"
token = { env = "TOKEN_OF_TEST" }

[source.meters]
url = "modbus+tcp://127.0.0.1"

[source.meters.device.m-1]
station = 3

[source.meters.device.m-1.group.power]
values.voltage = { holding = 0, scale = 0.1 }

[uplink.cloud]
url = "https://ingest.example.com"
pack = "ndjson"
headers = { X-Site = "a\"b" }

[class.own]
max = "1MiB"

[flow.climate]
from = ["field", "web", "meters"]
topics = ["devices/{device}"]
to = { out = "cloud:telemetry", alarms = "cloud:own" }
quarantine = "off"

[[flow.climate.plugin]]
plugin = "builtin:filter"
settings = { field = "t", above = 20.5, "odd key" = { x = [1, true] } }
limits = { time = "1s" }

[[flow.climate.plugin]]
plugin = "builtin:threshold"
settings = { field = "t", above = 30 }

[accepted]
"plain-tcp:uplink.cloud" = "none"
"#;

struct Case {
    folder: tempfile::TempDir,
    sources: Sources,
}

impl Case {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tidegate.toml");
        std::fs::write(&path, text).unwrap();
        Self {
            sources: Sources {
                path,
                env: BTreeMap::from([("TOKEN_OF_TEST".to_owned(), "hunter2".to_owned())]),
                sets: Vec::new(),
                data_dir: Some(folder.path().join("data")),
                cores: 2,
                secrets: crate::config::Secrets::Elsewhere,
            },
            folder,
        }
    }

    #[track_caller]
    fn read(&self) -> Effective {
        Effective::read(&self.sources).unwrap_or_else(|problems| panic!("{problems}"))
    }
}

fn setting<'a>(effective: &'a Effective, key: &str) -> &'a Setting {
    let found = effective.settings.iter().find(|setting| setting.key == key);
    found.unwrap_or_else(|| panic!("{key} is not in {:#?}", effective.settings))
}

#[test]
fn each_value_says_where_it_comes_from() {
    let mut case = Case::new(CONFIG);
    case.sources
        .env
        .insert("TIDEGATE_LOG__LEVEL".to_owned(), "debug".to_owned());
    case.sources.sets.push("spool.reserve=128MiB".to_owned());
    let effective = case.read();
    let file = case.folder.path().join("tidegate.toml");
    let origin = |key: &str| setting(&effective, key).origin.clone();
    assert_eq!(
        origin("gateway.name"),
        Some(format!("{}:3", file.display()))
    );
    assert_eq!(
        origin("source.field.backoff.cap"),
        Some(format!("{}:7", file.display()))
    );
    assert_eq!(origin("source.field.backoff.first"), None);
    assert_eq!(
        origin("log.level"),
        Some("environment variable TIDEGATE_LOG__LEVEL".to_owned())
    );
    assert_eq!(origin("spool.reserve"), Some("argument --set".to_owned()));
    assert_eq!(setting(&effective, "log.level").value, "\"debug\"");
    assert_eq!(setting(&effective, "class.alarm.max").value, "\"64MiB\"");
    assert_eq!(
        setting(&effective, "flow.climate.plugin.0.limits.time").value,
        "\"1s\""
    );
    assert_eq!(
        setting(&effective, "flow.climate.plugin.1.limits.time").origin,
        None
    );
    let station = "source.meters.device.m-1.station";
    assert!(origin(station).is_some() && setting(&effective, station).value == "3");
    let group = "source.meters.device.m-1.group.power";
    assert_eq!(origin(&format!("{group}.every")), None);
    assert_eq!(
        setting(&effective, &format!("{group}.values.voltage.scale")).value,
        "0.1"
    );
    let text = effective.to_toml(true);
    assert!(
        text.lines()
            .any(|line| line.starts_with("reserve = \"128MiB\"")
                && line.ends_with("# argument --set")),
        "{text}"
    );
    assert!(!text.contains("hunter2"));
}

#[test]
fn a_default_that_means_nothing_there_is_not_shown() {
    let effective = Case::new(CONFIG).read();
    let has = |key: &str| effective.settings.iter().any(|setting| setting.key == key);
    assert!(has("uplink.cloud.batch.messages") && !has("uplink.cloud.inflight"));
    assert!(
        has("source.web.settle_within")
            && !has("source.web.receive_maximum")
            && has("source.field.receive_maximum")
    );
    assert!(!has("flow.climate.quarantine.after") && has("flow.climate.quarantine"));
}

#[test]
fn what_is_shown_is_a_config_that_means_the_same() {
    let first = Case::new(CONFIG).read();
    let text = first.to_toml(false);
    let again = Case::new(&text).read();
    let values = |effective: &Effective| -> BTreeMap<String, String> {
        effective
            .settings
            .iter()
            .map(|setting| (setting.key.clone(), setting.value.clone()))
            .collect()
    };
    assert_eq!(values(&first), values(&again), "{text}");
    let with_origin = Case::new(&first.to_toml(true)).read();
    assert_eq!(values(&first), values(&with_origin));
}

#[test]
fn a_config_with_mistakes_is_told_and_not_shown() {
    let problems = Effective::read(&Case::new("[log]\nlevel = \"lod\"\n").sources).unwrap_err();
    assert!(problems.errors() > 0);
}

proptest::proptest! {
    #[test]
    fn a_text_in_quotes_is_read_as_it_was(text: String) {
        let quoted = words::quoted(&text);
        let read: toml::Table = format!("x = {quoted}").parse().unwrap();
        proptest::prop_assert_eq!(read["x"].as_str(), Some(&*text));
    }
}

#[test]
fn what_a_plugin_hides_with_is_hidden() {
    let plugin = "plugin = \"builtin:mask\"\nsettings = { fields = { name = \"hash\" }, key = \"hunter2 hunter2 hunter2\" }\n";
    let (flow, _) = CONFIG.split_once("[[flow.climate.plugin]]").unwrap();
    let effective = Case::new(&format!("{flow}[[flow.climate.plugin]]\n{plugin}")).read();
    let text = effective.to_toml(true);
    assert!(
        text.contains("name = ") && !text.contains("hunter2"),
        "{text}"
    );
}
