use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, chown};

use super::*;
use crate::config::{Sources, load};

/// With nothing to find.
const GOOD: &str = r#"
[gateway]
name = "barn-7"
[source.field]
url = "mqtt://127.0.0.1"
[uplink.cloud]
url = "mqtts://ingest.example.com"
user = "barn-7"
password = { file = "password" }
will = { topic = "gateways/barn-7", payload = "offline" }
[flow.climate]
from = "field"
topics = ["devices/{device}"]
to = { out = "cloud:telemetry", alarms = "cloud:alarm" }
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
        std::fs::write(folder.path().join("password"), "hunter2").unwrap();
        std::fs::write(folder.path().join("rule.wasm"), "").unwrap();
        let case = Self {
            sources: Sources {
                path,
                env: BTreeMap::from([("SECRET_OF_TEST".to_owned(), "hunter2".to_owned())]),
                sets: Vec::new(),
                data_dir: Some("/var/lib/tidegate-of-a-test".into()),
                cores: 2,
                secrets: crate::config::Secrets::Elsewhere,
            },
            folder,
        };
        case.mode(0o640);
        case
    }

    fn mode(&self, mode: u32) {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(self.folder.path().join("password"), mode).unwrap();
    }

    #[track_caller]
    fn strict(&self) -> Strict {
        load(&self.sources)
            .unwrap_or_else(|problems| panic!("{problems}"))
            .strict()
    }

    #[track_caller]
    fn names(&self) -> Vec<&'static str> {
        let strict = self.strict();
        strict
            .problems
            .iter()
            .map(|problem| problem.code.name())
            .collect()
    }
}

#[track_caller]
fn finds(change: [&str; 2], names: &[&str]) {
    assert!(GOOD.contains(change[0]), "{change:?}");
    let case = Case::new(&GOOD.replacen(change[0], change[1], 1));
    let strict = case.strict();
    assert_eq!(case.names(), names, "{}", strict.problems);
    assert_eq!(strict.open, names.len());
}

#[test]
fn a_config_that_may_go_live_has_nothing_to_find() {
    let strict = Case::new(GOOD).strict();
    assert!(
        strict.open == 0 && strict.problems.is_empty(),
        "{}",
        strict.problems
    );
}

#[test]
fn what_goes_over_networks_of_others_in_the_clear_is_found() {
    let cloud = "mqtts://ingest.example.com\"";
    for url in [
        "mqtt://ingest.example.com\"",
        "mqtt://8.8.8.8:1883\"",
        "mqtt://[2001:db8::1]\"",
    ] {
        finds([cloud, url], &["plain-tcp"]);
    }
    for url in [
        "mqtt://broker.local\"",
        "mqtt://10.0.0.1\"",
        "mqtt://[fd00::1]\"",
        "mqtt://broker\"",
    ] {
        finds([cloud, url], &[]);
    }
    finds(
        ["mqtt://127.0.0.1\"", "mqtt://field.example.com\""],
        &["plain-tcp"],
    );
    finds(
        [
            "mqtt://127.0.0.1\"",
            "modbus+tcp://203.0.113.7\"\ntopic = \"devices/{device}\"\ndevice.a = { station = 1, group.g = { values.x = { holding = 0 } } }",
        ],
        &["plain-tcp"],
    );
    finds(
        [
            "[source.field]",
            "[source.web]\nurl = \"http://0.0.0.0:8080\"\nopen = true\n[source.field]",
        ],
        &["TG0215", "plain-tcp", "open-port"],
    );
    finds(
        [
            "[source.field]",
            "[source.web]\nurl = \"http://192.168.0.2:8080\"\ntoken = { file = \"password\" }\n[source.field]",
        ],
        &["TG0215"],
    );
}

#[test]
fn an_uplink_that_shows_nothing_of_itself_beyond_this_site_is_found() {
    finds(
        [
            "user = \"barn-7\"\npassword = { file = \"password\" }\n",
            "",
        ],
        &["no-identity"],
    );
    let server = "url = \"https://ingest.example.com/v1\"\npack = \"ndjson\"\n";
    let old = GOOD
        .split_once("[uplink.cloud]\n")
        .unwrap()
        .1
        .split_once("[flow")
        .unwrap()
        .0;
    finds([old, server], &["no-identity"]);
    finds(
        [
            old,
            &format!("{server}\ntoken = {{ file = \"password\" }}\n"),
        ],
        &[],
    );
    finds(
        [
            old,
            "url = \"http://ingest.example.com\"\nheaders = { X-Api-Key = { file = \"password\" } }\n",
        ],
        &["plain-tcp"],
    );
}

#[test]
fn what_is_not_acknowledged_or_too_early_is_found() {
    finds(["[source.field]", "[source.field]\nqos = 0"], &["qos-0"]);
    finds(["[uplink.cloud]", "[uplink.cloud]\nqos = 0"], &["qos-0"]);
    finds(
        ["[uplink.cloud]", "[uplink.cloud]\nallow_qos0 = true"],
        &["qos-0"],
    );
    finds(
        [
            "[flow.climate]",
            "[class.telemetry]\nqos = 0\n[flow.climate]",
        ],
        &["qos-0"],
    );
    finds(
        ["[flow.climate]", "[class.debug]\nqos = 0\n[flow.climate]"],
        // Nothing is sent with it, and that is what is said.
        &["TG0215"],
    );
    finds(
        ["topics =", "ack = \"received\"\ntopics ="],
        &["ack-received"],
    );
    // The broker forgets, and the flow has said that it may.
    let both = GOOD
        .replace("[source.field]", "[source.field]\nqos = 0")
        .replace("topics =", "ack = \"received\"\ntopics =");
    assert_eq!(Case::new(&both).names(), ["ack-received"]);
    // A flow with a connection of its own is of the same source.
    let apart = GOOD
        .replace("[source.field]", "[source.field]\nqos = 0")
        .replace("topics =", "priority = true\ntopics =");
    assert_eq!(Case::new(&apart).names(), ["qos-0"]);
}

#[test]
fn what_nobody_would_hear_is_found() {
    finds(
        [
            "alarms = \"cloud:alarm\"",
            "rest = \"cloud:alarm\", alarms = \"drop\"",
        ],
        &["alarms-dropped"],
    );
    finds([", alarms = \"cloud:alarm\"", ""], &["no-alarm-class"]);
    finds(["will =", "# will ="], &["outage-untold"]);
    finds(
        [
            "[source.field]",
            "[spool]\ngap_topic = \"\"\n[source.field]",
        ],
        &["losses-untold"],
    );
    finds(["name = \"barn-7\"", ""], &["default-name"]);
    let down = "[source.commands]\nurl = \"mqtts://ingest.example.com\"\n[uplink.devices]\nurl = \"mqtt://127.0.0.1\"\n[flow.down]\nfrom = \"commands\"\ntopics = [\"cmd/{device}\"]\nto = \"devices:state\"\n[flow.climate]";
    finds(["[flow.climate]", down], &["commands-without-expiry"]);
    let valid = down.replace("to = ", "expires = \"60s\"\nto = ");
    finds(["[flow.climate]", &valid], &[]);
}

#[test]
fn what_a_stranger_could_put_in_place_is_found() {
    let plugin = format!("{GOOD}[[flow.climate.plugin]]\nplugin = \"rule.wasm\"\n");
    assert_eq!(Case::new(&plugin).names(), ["unsigned-plugins"]);
    let builtin = plugin.replace("rule.wasm", "builtin:decode-json");
    assert_eq!(Case::new(&builtin).names(), [""; 0]);
    finds(
        ["{ file = \"password\" }", "{ env = \"SECRET_OF_TEST\" }"],
        &["secret-in-environment"],
    );
    let case = Case::new(GOOD);
    case.mode(0o602);
    assert_eq!(case.names(), ["foreign-secret"]);
    case.mode(0o644);
    assert_eq!(case.names(), ["TG0110"]);
    case.mode(0o600);
    // Only root can give a file away.
    if chown(case.folder.path().join("password"), Some(12_345), None).is_ok() {
        assert_eq!(case.names(), ["foreign-secret"]);
        let shown = case.strict().problems.to_string();
        assert!(
            shown.contains("user 12345") && !shown.contains("hunter2"),
            "{shown}"
        );
    }
}

#[test]
fn what_fills_a_card_or_does_not_outlive_the_day_is_found() {
    finds(
        [
            "topics =",
            "record = \"1MiB\"\nrecord_to = \"disk\"\ntopics =",
        ],
        &["recording-to-disk"],
    );
    finds(["topics =", "record = \"1MiB\"\ntopics ="], &[]);
    finds(
        ["[source.field]", "[log]\nlevel = \"debug\"\n[source.field]"],
        &["verbose-log"],
    );
    let files = "[uplink.disk]\nurl = \"file:///media/history\"\n[flow.climate]";
    let text = GOOD.replace("[flow.climate]", files).replace(
        "\"cloud:telemetry\"",
        "[\"cloud:telemetry\", \"disk:telemetry\"]",
    );
    assert_eq!(Case::new(&text).names(), ["files-without-keep"]);
    let bounded = text.replace(
        "/media/history\"\n",
        "/media/history\"\nfiles = { keep = \"8GiB\" }\n",
    );
    assert_eq!(Case::new(&bounded).names(), [""; 0]);
    let mut case = Case::new(GOOD);
    case.sources.data_dir = Some("/tmp/tidegate".into());
    assert_eq!(case.names(), ["data-in-tmp"]);
    case.sources.data_dir = Some("/var/tmp/tidegate".into());
    assert_eq!(case.names(), [""; 0]);
}

#[test]
fn what_is_accepted_is_not_found_and_what_is_not_found_is_told() {
    let open = GOOD
        .replace("mqtts://ingest", "mqtt://ingest")
        .replace("127.0.0.1", "field.example.com");
    let with = |line: &str| Case::new(&format!("{open}[accepted]\n{line}\n"));
    assert_eq!(with("").names(), ["plain-tcp", "plain-tcp"]);
    let case = with("plain-tcp = \"a tunnel\"");
    let strict = case.strict();
    assert!(strict.open == 0 && strict.problems.is_empty());
    let pardon = |subject: &str| Pardon {
        code: "plain-tcp",
        subject: subject.to_owned(),
        reason: "a tunnel".to_owned(),
    };
    assert_eq!(
        strict.accepted,
        [pardon("source.field"), pardon("uplink.cloud")]
    );
    // One of them alone.
    let strict = with("\"plain-tcp:uplink.cloud\" = \"a tunnel\"").strict();
    assert_eq!(
        (strict.open, strict.accepted),
        (1, vec![pardon("uplink.cloud")])
    );
    // One that is not there, beside those that are.
    let strict = with("\"plain-tcp:uplink.clod\" = \"a tunnel\"\nqos-0 = \"none\"").strict();
    assert_eq!(strict.open, 2);
    let unneeded = strict
        .problems
        .iter()
        .filter(|problem| problem.code == ProblemCode::Unneeded);
    assert_eq!(unneeded.count(), 2);
}

#[test]
fn a_warning_of_every_check_is_open_until_it_is_accepted() {
    let text = GOOD.replace("ingest.example.com", "ingest.example.com:1883");
    let case = Case::new(&text);
    assert_eq!((case.names(), case.strict().open), (vec!["TG0218"], 1));
    let case = Case::new(&format!("{text}[accepted]\nTG0218 = \"theirs is there\"\n"));
    assert_eq!((case.names(), case.strict().open), (vec![], 0));
    // What only the one who runs it has is no fault of the config.
    let text = GOOD.replace("{ file = \"password\" }", "{ credential = \"cloud\" }");
    let case = Case::new(&text);
    assert_eq!((case.names(), case.strict().open), (vec!["TG0113"], 0));
}

#[test]
fn only_what_can_be_found_is_accepted_and_for_a_reason() {
    for (line, code) in [
        ("plane-tcp = \"x\"", ProblemCode::Choice),
        ("TG0100 = \"x\"", ProblemCode::Choice),
        ("TG0113 = \"x\"", ProblemCode::Choice),
        ("\"TG0218:uplink.cloud\" = \"x\"", ProblemCode::Choice),
        ("plain-tcp = \" \"", ProblemCode::OutOfRange),
        ("plain-tcp = true", ProblemCode::WrongType),
        ("[accepted.plain-tcp]\nx = 1", ProblemCode::WrongType),
    ] {
        let problems =
            load(&Case::new(&format!("{GOOD}[accepted]\n{line}\n")).sources).unwrap_err();
        let codes: Vec<ProblemCode> = problems.iter().map(|problem| problem.code).collect();
        assert_eq!(codes, [code], "{line}: {problems}");
    }
}
