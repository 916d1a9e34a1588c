//! The config as a whole; the text of each mistake is held by the golden pairs of `tests/config`.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use super::*;
use crate::message::{Destination, Qos, QueueId};
use crate::source::{self, Ack, Dedup};
use crate::{mqtt, uplink};

mod ends;
mod led_to;
mod unworkable;

const MINIMAL: &str = r#"
[source.field]
url = "mqtt://127.0.0.1:1883"
[uplink.cloud]
url = "mqtt://127.0.0.1:1884"
[flow.climate]
from = "field"
topics = ["devices/{device}/telemetry"]
to = { out = "cloud:telemetry", alarms = ["cloud:alarm", "cloud:telemetry"], rest = "drop" }
[[flow.climate.plugin]]
plugin = "builtin:filter"
settings = { field = "t", above = 20 }
"#;

struct Case {
    folder: tempfile::TempDir,
    sources: Sources,
}

impl Case {
    fn new(file: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tidegate.toml");
        std::fs::write(&path, file).unwrap();
        let data_dir = Some(folder.path().join("data"));
        Self {
            sources: Sources {
                path,
                env: BTreeMap::new(),
                sets: Vec::new(),
                data_dir,
                cores: 4,
                secrets: Secrets::default(),
            },
            folder,
        }
    }

    fn file(self, name: &str, content: &str, mode: u32) -> Self {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    fn set(mut self, set: &str) -> Self {
        self.sources.sets.push(set.to_owned());
        self
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.sources.env.insert(name.to_owned(), value.to_owned());
        self
    }

    #[track_caller]
    fn good(&self) -> Config {
        load(&self.sources).unwrap_or_else(|problems| panic!("{problems}"))
    }

    #[track_caller]
    fn codes(&self) -> Vec<ProblemCode> {
        load(&self.sources).map_or_else(
            |problems| problems.iter().map(|problem| problem.code).collect(),
            |config| panic!("{config:?}"),
        )
    }
}

/// The connection of an uplink that has one to a broker.
#[track_caller]
fn upstream(uplink: &uplink::Config) -> &mqtt::Config {
    uplink.kind.broker().unwrap()
}

/// The connection of a source that has one to a broker.
#[track_caller]
fn broker(source: &SourceSpec) -> &mqtt::Config {
    source.broker().unwrap()
}

#[test]
fn what_a_config_leaves_out_is_what_the_stages_call_their_default() {
    let config = Case::new(MINIMAL).good();
    let (source, uplink, flow) = (&config.sources[0], &config.uplinks[0], &config.flows[0]);
    for mqtt in [broker(source), upstream(uplink)] {
        assert_eq!(
            format!("{:?}", mqtt.deadlines),
            format!("{:?}", link::Deadlines::default())
        );
        assert_eq!(
            format!("{:?}", mqtt.backoff),
            format!("{:?}", link::Backoff::default())
        );
        assert_eq!(mqtt.protocol, mqtt::Protocol::default());
    }
    assert_eq!(
        format!("{:?}", flow.plugins[0].limits),
        format!("{:?}", chain::Limits::default())
    );
    assert_eq!(
        (flow.plugins[0].breaker, &flow.plugins[0].grants),
        (chain::BreakerConfig::default(), &chain::Grants::default())
    );
    assert_eq!(flow.quarantine, Some(chain::QuarantineConfig::default()));
    assert_eq!(flow.plugins[0].probation, chain::Probation::default());
    let source::SourceKind::Mqtt(own) = &source.kind else {
        panic!("{:?}", source.kind)
    };
    assert_eq!(
        (own.qos, uplink.qos, source.routes[0].ack),
        (Qos::default(), Qos::default(), Ack::default())
    );
    assert_eq!(config.log, LogSettings::default());
    // An uplink takes nothing, so its CONNECT says nothing of a window.
    assert!(
        broker(source).receive_maximum < u16::MAX && upstream(uplink).receive_maximum == u16::MAX
    );
}

/// What the hints about the admin port say is taken as it is written.
#[test]
fn what_a_hint_about_listen_says_is_taken() {
    for written in [
        "9646",
        "\"9646\"",
        "\"0.0.0.0:9646\"",
        "\":9646\"",
        "\"localhost\"",
        "false",
        "true",
        "\"off\"",
    ] {
        let case = |listen: &str| Case::new(&format!("{MINIMAL}\n[admin]\nlisten = {listen}\n"));
        let problems = load(&case(written).sources).unwrap_err();
        let hints: Vec<String> = problems
            .iter()
            .filter_map(|problem| problem.hint.clone())
            .collect();
        let (_, rest) = hints[0]
            .split_once("write ")
            .unwrap_or_else(|| panic!("{written}: {hints:?}"));
        let told = rest.split(';').next().unwrap_or_default();
        assert_eq!(
            case(told).good().admin.listen.port(),
            9646,
            "{written}: {told}"
        );
    }
}

/// Whoever checks or reloads is told; a start goes on, and what dials with it tells.
#[test]
fn a_file_that_is_read_at_each_dial_keeps_no_start_from_going_on() {
    let tls = "tls = { ca = \"ca.pem\", cert = \"a.pem\", key = \"a.key\" }";
    let uplink = format!(
        "url = \"mqtts://localhost\"\nuser = \"u\"\npassword = {{ file = \"login.password\" }}\n{tls}"
    );
    let text = MINIMAL.replace("url = \"mqtt://127.0.0.1:1884\"", &uplink);
    assert_ne!(text, MINIMAL);
    let damage: [fn(Case) -> Case; 3] = [
        |case| case,
        |case| {
            ["ca.pem", "a.pem", "a.key", "login.password"]
                .iter()
                .fold(case, |case, name| case.file(name, "", 0o600))
        },
        |case| {
            ["ca.pem", "a.pem", "a.key"]
                .iter()
                .fold(case, |case, name| case.file(name, "x", 0o600))
        },
    ];
    for damaged in damage {
        let mut case = damaged(Case::new(&text));
        for judged in [Secrets::Needed, Secrets::Elsewhere] {
            case.sources.secrets = judged;
            let codes = case.codes();
            assert!(
                codes.contains(&ProblemCode::Certificate)
                    && codes.contains(&ProblemCode::SecretUnreadable),
                "{codes:?}"
            );
        }
        for left in [Secrets::AtDial, Secrets::Unused] {
            case.sources.secrets = left;
            let config = case.good();
            let own = upstream(&config.uplinks[0]);
            let password = own.login.as_ref().and_then(|login| login.password.as_ref());
            assert!(own.tls.as_ref().is_some_and(|tls| tls.identity.is_some()));
            assert!(password.is_some_and(|password| password.file().is_some()));
        }
    }
}

/// A name that may be the password itself is waited for only where it has worked.
#[test]
fn what_has_not_the_form_of_a_file_s_name_is_waited_for_only_where_it_has_worked() {
    for written in ["hunter2", "ab\\n/etc/x.pem"] {
        let login = format!("user = \"me\"\npassword = {{ file = \"{written}\" }}\n[uplink.cloud]");
        let mut case = Case::new(&MINIMAL.replace("[uplink.cloud]", &login));
        case.sources.secrets = Secrets::AtDial;
        assert_eq!(case.codes(), [ProblemCode::SecretUnreadable]);
        case.sources.secrets = Secrets::Proven;
        case.good();
    }
    let tls = "url = \"mqtts://localhost\"\ntls = { ca = \"-----BEGIN CERTIFICATE-----\" }";
    let mut case = Case::new(&MINIMAL.replace("url = \"mqtt://127.0.0.1:1884\"", tls));
    case.sources.secrets = Secrets::AtDial;
    assert_eq!(case.codes(), [ProblemCode::Certificate]);
}

/// What is read once has to be there; what nobody reads does not.
#[test]
fn the_key_of_the_spool_is_wanted_at_a_start_and_no_secret_where_nothing_is_dialled() {
    let text = format!("{MINIMAL}\n[spool]\nencrypt = {{ key = {{ file = \"none\" }} }}\n");
    let mut case = Case::new(&text);
    for wanted in [Secrets::Needed, Secrets::AtDial] {
        case.sources.secrets = wanted;
        assert_eq!(case.codes(), [ProblemCode::SecretUnreadable]);
    }
    case.sources.secrets = Secrets::Unused;
    case.good();
    let login = "user = \"me\"\npassword = { env = \"MYPW\" }\n[uplink.cloud]";
    case = Case::new(&MINIMAL.replace("[uplink.cloud]", login));
    case.sources.secrets = Secrets::Unused;
    case.good();
}

#[test]
fn what_the_environment_of_a_start_gives_is_a_note_to_whoever_checks() {
    for reference in ["{ env = \"MYPW\" }", "{ credential = \"cloud\" }"] {
        let text = MINIMAL.replace(
            "[uplink.cloud]",
            &format!("user = \"me\"\npassword = {reference}\n[uplink.cloud]"),
        );
        let mut case = Case::new(&text);
        assert_eq!(case.codes(), [ProblemCode::SecretUnreadable]);
        case.sources.secrets = Secrets::Elsewhere;
        let warnings = case.good().warnings;
        assert_eq!(
            warnings
                .iter()
                .map(|problem| problem.code)
                .collect::<Vec<_>>(),
            [ProblemCode::SecretElsewhere]
        );
        assert!(!warnings.render(false).contains("***"));
    }
}

/// What a hint says in so many words is taken as it is written.
#[test]
fn what_a_hint_says_is_taken() {
    let (source, uplink, url) = (
        "[uplink.cloud]",
        "[flow.climate]",
        "url = \"mqtt://127.0.0.1:1884\"",
    );
    let cases: [(&str, &str, &[&str]); 6] = [
        (source, "protocol", &["5", "3", "true"]),
        (source, "qos", &["\"1\"", "\"1.5\"", "\"true\"", "\"+1\""]),
        (source, "keep_alive", &["30", "\"30\""]),
        (source, "client_id", &["7", "true"]),
        (uplink, "rate", &["2000", "true"]),
        (
            url,
            "url",
            &[
                "1884",
                "70000",
                "true",
                "\"mqtt://::1:1884\"",
                "\"mqtts://fe80::1\"",
            ],
        ),
    ];
    for (place, key, values) in cases {
        // A new line before the table that follows, or in the place of the line that has the key.
        let behind = if place.starts_with('[') {
            format!("\n{place}")
        } else {
            String::new()
        };
        let config = |value: &str| MINIMAL.replace(place, &format!("{key} = {value}{behind}"));
        let mut taken = 0;
        for value in values {
            let text = config(value);
            let problems = load(&Case::new(&text).sources).expect_err(&text);
            let hint = problems
                .iter()
                .find_map(|problem| problem.hint.clone())
                .unwrap_or_default();
            let told = hint
                .strip_prefix("write it without quotes: ")
                .or_else(|| hint.strip_prefix("write "))
                .unwrap_or_default();
            if !told.is_empty() && !told.contains("for example") {
                let told = if told.starts_with("mqtt") {
                    format!("\"{told}\"")
                } else {
                    told.to_owned()
                };
                Case::new(&config(&told)).good();
                taken += 1;
            }
        }
        assert!(taken > 0, "no hint for `{key}` says what to write");
    }
}

#[test]
fn a_client_certificate_with_the_key_of_another_is_refused() {
    let [one, other] = ["one", "other"]
        .map(|_| rcgen::generate_simple_self_signed(["gateway".to_owned()]).unwrap());
    let with_key = |key: &str| {
        let plain = "url = \"mqtt://127.0.0.1:1883\"";
        let text = MINIMAL.replace(
            plain,
            "url = \"mqtts://localhost\"\ntls = { cert = \"a.pem\", key = \"a.key\" }",
        );
        Case::new(&text)
            .file("a.pem", &one.cert.pem(), 0o600)
            .file("a.key", key, 0o600)
    };
    with_key(&one.signing_key.serialize_pem()).good();
    assert_eq!(
        with_key(&other.signing_key.serialize_pem()).codes(),
        [ProblemCode::Certificate]
    );
}

#[test]
fn plugins_keep_their_state_each_minute_unless_told_otherwise() {
    let plugin =
        |line: &str| Case::new(&format!("{MINIMAL}\n{line}\n")).good().flows[0].plugins[0].clone();
    let minute = Some(Duration::from_secs(60));
    assert_eq!(
        (plugin("").checkpoint, plugin("").refused_state),
        (minute, chain::RefusedState::Fresh)
    );
    assert_eq!(plugin("checkpoint = \"off\"").checkpoint, None);
    assert_eq!(
        plugin("refused_state = \"required\"").refused_state,
        chain::RefusedState::Required
    );
    for wrong in [
        "checkpoint = \"0s\"",
        "checkpoint = \"never\"",
        "refused_state = \"empty\"",
    ] {
        assert_eq!(
            Case::new(&format!("{MINIMAL}\n{wrong}\n")).codes().len(),
            1,
            "{wrong}"
        );
    }
}

#[test]
fn names_become_ids_and_each_uplink_drains_its_queues() {
    let config = Case::new(MINIMAL).good();
    let queues: Vec<_> = config
        .spool
        .queues
        .iter()
        .map(|queue| format!("{}:{}", queue.uplink, queue.class))
        .collect();
    assert_eq!(queues, ["cloud:telemetry", "cloud:alarm"]);
    let ports = &config.flows[0].ports;
    let target = |id: u16| Destination::Queue(QueueId(id));
    let ids = |port: &str| ports[port].clone();
    assert_eq!(
        (ids("out"), ids("alarms"), ids("rest")),
        (vec![target(0)], vec![target(1), target(0)], vec![])
    );
    let weights: Vec<u32> = config.uplinks[0]
        .drains
        .iter()
        .map(|drain| drain.weight)
        .collect();
    assert_eq!(weights, [10, 100]);
    let policy = |index: usize| config.spool.queues[index].policy;
    assert_eq!((policy(0).max_bytes, policy(1).max_age), (512 << 20, None));
    assert_eq!(config.sources[0].routes.len(), 1);
    assert_eq!(config.spool.flows, ["climate".into()]);
    assert!(
        broker(&config.sources[0])
            .client_id
            .starts_with("tidegate-")
            && !broker(&config.sources[0]).clean_start
    );
    assert!(upstream(&config.uplinks[0]).clean_start);
    assert_eq!(config.spool.path, config.gateway.data_dir.join("spool"));
}

/// What is set for all of a kind in the manual, and one of that kind.
const EXAMPLES: [(&str, &str); 13] = [
    ("http://*", "web"),
    ("coap://*", "motes"),
    ("modbus+*://*", "meters"),
    ("tcp://*", "gauges"),
    ("udp://*", "beacons"),
    ("serial://*", "scale"),
    ("exec://*", "weather"),
    ("clock://*", "clock"),
    ("tail://*", "journal"),
    ("file://*", "history"),
    ("s3://*", "archive"),
    ("postgres://*", "table"),
    ("kafka://*", "topics"),
];

/// The manual with every example in it: `*` is a name, and what it shows as a comment is set.
fn manual_with_examples() -> String {
    let is_setting = |line: &str| {
        line.split_once(" = ").is_some_and(|(key, _)| {
            !key.is_empty()
                && key
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        })
    };
    let mut text = String::new();
    // What only an uplink over HTTP has, for one of its own.
    let mut over_http = String::from("[uplink.web]\npack = \"influx\"\n");
    let mut in_sample = true;
    let mut is_over_http = false;
    for line in MANUAL.lines() {
        in_sample &= !line.starts_with("[gateway]");
        if line.starts_with("# ── over HTTP ──") {
            is_over_http = text.contains("\n[uplink");
        }
        is_over_http &= !line.starts_with("# Limits over all connections");
        let line = line
            .strip_prefix("# ")
            .filter(|line| !in_sample && is_setting(line))
            .unwrap_or(line);
        let name = if text.contains("\n[uplink") {
            "cloud"
        } else {
            "field"
        };
        let name = if line.starts_with("[uplink") {
            "cloud"
        } else {
            name
        };
        let line = EXAMPLES.iter().fold(line.to_owned(), |line, (all, one)| {
            line.replace(&format!("\"{all}\""), one)
        });
        let line = line.replace(
            "\"nats://*\"",
            if line.starts_with("[source") {
                "pulled"
            } else {
                "streams"
            },
        );
        let section = if is_over_http {
            &mut over_http
        } else {
            &mut text
        };
        section.push_str(&line.replace("\"*\"", name));
        section.push('\n');
    }
    text.push_str(&over_http);
    text.push_str("[uplink.backup]\nurl = \"mqtt://127.0.0.1\"\n");
    text.replace("\"backup:alarm\"", "\"cloud:debug\"")
}

#[test]
fn every_example_of_the_manual_is_a_setting_that_exists() {
    let case = Case::new(
        &manual_with_examples()
            .replace("mqtt://127.0.0.1:1883\"", "mqtts://127.0.0.1\"")
            .replace("http://127.0.0.1:8080\"", "https://127.0.0.1\"")
            .replace("collector = \"\"", "collector = \"https://127.0.0.1\""),
    );
    let problems = load(&case.sources).unwrap_err();
    let unexpected: Vec<_> = problems
        .iter()
        // Of the ways to frame raw bytes one source has one.
        .filter(|problem| !problem.message.contains("but `framing` is"))
        // And of the ways to say when there is a tick.
        .filter(|problem| !problem.message.contains("both `every` and `at`"))
        // Of the ways to log in one connection has one.
        .filter(|problem| !problem.message.contains("logs in by"))
        .filter(|problem| {
            !matches!(
                problem.code,
                ProblemCode::Certificate | ProblemCode::SecretUnreadable
            )
        })
        .collect();
    assert!(unexpected.is_empty(), "{problems}");
}

/// One uplink or source of each kind that has keys of its own in a table, with a key that nobody knows in each.
fn with_unknown_keys(unknown: &str) -> [String; 5] {
    let stored = format!(
        "[uplink.table]\nurl = \"postgres://barn@127.0.0.1/farm\"\n{unknown}postgres = {{ {} }}\n",
        unknown.trim()
    );
    let archived = format!(
        "[uplink.archive]\nurl = \"s3://barn/history\"\naccess_key = {{ env = \"A\" }}\nsecret_key = {{ env = \"A\" }}\n{unknown}"
    );
    let published = format!(
        "[uplink.streams]\nurl = \"nats://127.0.0.1\"\n{unknown}nats = {{ {} }}\n",
        unknown.trim()
    );
    let logged = format!(
        "[uplink.topics]\nurl = \"kafka://127.0.0.1/readings\"\n{unknown}kafka = {{ {} }}\n",
        unknown.trim()
    );
    let pulled = format!(
        "[source.pulled]\nurl = \"nats://127.0.0.1\"\n{unknown}nats = {{ {} }}\n",
        unknown.trim()
    );
    [stored, archived, published, logged, pulled]
}

#[test]
fn every_setting_that_exists_is_in_the_manual() {
    let unknown = "zzzzzzzz = 1\n";
    let file = format!(
        "[gateway]\n{unknown}[spool]\n{unknown}[class.x]\n{unknown}[admin]\n{unknown}[log]\n{unknown}[source.field]\n{unknown}tls = {{ {tls} }}\nwill = {{ {tls} }}\nbackoff = {{ {tls} }}\ndeadlines = {{ {tls} }}\n\
         [source.web]\nurl = \"http://127.0.0.1:8080\"\n{unknown}\
         [uplink.cloud]\n{unknown}[flow.a]\n{unknown}[[flow.a.plugin]]\n{unknown}[flow.a.plugin.limits]\n{unknown}",
        tls = unknown.trim()
    );
    let asked = format!(
        "[source.meters]\nurl = \"modbus+tcp://127.0.0.1\"\n{unknown}[source.meters.device.a]\n{unknown}[source.meters.device.a.group.g]\n{unknown}values.x = {{ {} }}\n",
        unknown.trim()
    );
    let raw = format!(
        "[source.gauges]\nurl = \"tcp+listen://127.0.0.1:4001\"\n{unknown}[source.beacons]\nurl = \"udp://127.0.0.1:4001\"\n{unknown}[source.scale]\nurl = \"serial:///dev/ttyUSB0\"\n{unknown}[source.weather]\nurl = \"exec:///usr/local/bin/weather\"\n{unknown}[source.clock]\nurl = \"clock://utc\"\nevery = \"1s\"\n{unknown}[source.journal]\nurl = \"tail:///var/log/app.log\"\n{unknown}[source.motes]\nurl = \"coap://127.0.0.1\"\n{unknown}"
    );
    let written = format!(
        "[uplink.history]\nurl = \"file:///media/history\"\n{unknown}files = {{ {} }}\n",
        unknown.trim()
    );
    let files = [file, asked, raw, written].into_iter();
    let files = files.chain(with_unknown_keys(unknown));
    let problems: Vec<_> = files
        .map(|file| load(&Case::new(&file).sources).unwrap_err())
        .collect();
    let hints = problems
        .iter()
        .flat_map(|problems| problems.iter())
        .filter(|problem| problem.code == ProblemCode::UnknownKey)
        .map(|problem| problem.hint.clone().unwrap());
    let keys: Vec<String> = hints
        .flat_map(|hint| {
            hint.trim_start_matches("known here: ")
                .split(", ")
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect();
    assert!(keys.len() > 70, "{keys:?}");
    for key in keys {
        let forms = [
            format!("{key} = "),
            format!(".{key}]"),
            format!(".{key}.\"*\""),
        ];
        let shown = forms.iter().any(|form| MANUAL.contains(form));
        assert!(shown, "`{key}` is missing from default.toml");
    }
}

#[test]
fn a_secret_is_read_by_reference_and_never_shows() {
    let file = MINIMAL.replace(
        "[uplink.cloud]",
        "[uplink.cloud]\nuser = \"me\"\npassword = { file = \"secret\" }",
    );
    let config = Case::new(&file).file("secret", "pa55\n", 0o600).good();
    let login = upstream(&config.uplinks[0]).login.as_ref().unwrap();
    assert_eq!(login.password.as_ref().unwrap().reveal(), "pa55");
    assert!(!format!("{config:?}").contains("pa55") && config.warnings.is_empty());
    let exposed = Case::new(&file).file("secret", "pa55", 0o644).good();
    assert_eq!(
        exposed
            .warnings
            .iter()
            .map(|problem| problem.code)
            .collect::<Vec<_>>(),
        [ProblemCode::SecretExposed]
    );
}

#[test]
fn a_secret_comes_from_a_variable_or_a_credential_too() {
    let with = |reference: &str| {
        MINIMAL.replace(
            "[uplink.cloud]",
            &format!("[uplink.cloud]\nuser = \"me\"\npassword = {reference}"),
        )
    };
    let reveal = |config: Config| {
        upstream(&config.uplinks[0])
            .login
            .clone()
            .unwrap()
            .password
            .unwrap()
            .reveal()
            .to_owned()
    };
    assert_eq!(
        reveal(
            Case::new(&with("{ env = \"PW\" }"))
                .env("PW", "x y\n")
                .good()
        ),
        "x y"
    );
    let case = Case::new(&with("{ credential = \"pw\" }")).file("pw", "c", 0o644);
    let folder = case.folder.path().display().to_string();
    assert_eq!(
        reveal(case.env("CREDENTIALS_DIRECTORY", &folder).good()),
        "c"
    );
    assert_eq!(
        Case::new(&with("{ env = \"PW\" }")).codes(),
        [ProblemCode::SecretUnreadable]
    );
    assert_eq!(
        Case::new(&with("{ env = \"PW\", file = \"x\" }")).codes(),
        [ProblemCode::Conflict]
    );
}

#[test]
fn a_password_in_the_open_is_refused_without_being_shown() {
    for written in [
        "password = \"hunter2\"",
        "password = \"hunter2",
        "url2 = 1\npassword = 'hunter2'",
    ] {
        let file = MINIMAL.replace(
            "[uplink.cloud]",
            &format!("[uplink.cloud]\nuser = \"me\"\n{written}"),
        );
        let problems = load(&Case::new(&file).sources).unwrap_err();
        assert!(!problems.render(true).contains("hunter2"), "{problems}");
        assert!(!problems.to_json().to_string().contains("hunter2"));
    }
    for case in [
        Case::new(MINIMAL).env("TIDEGATE_UPLINK__CLOUD__PASSWORD", "hunter2"),
        Case::new(MINIMAL).env("TIDEGATE_UPLINK__CLOUD__PASSWORD", "\"hunter2"),
        Case::new(MINIMAL).set("uplink.cloud.password=hunter2"),
        Case::new(MINIMAL).set("uplink.cloud.url=mqtt://me:hunter2@host"),
    ] {
        let problems = load(&case.sources).unwrap_err();
        assert!(!problems.to_string().contains("hunter2"), "{problems}");
    }
}

#[test]
fn overrides_reach_every_stage() {
    let config = Case::new(MINIMAL)
        .env("TIDEGATE_SOURCE__FIELD__KEEP_ALIVE", "7s")
        .env("TIDEGATE_ADMIN__LISTEN", "127.0.0.1:0")
        .set("flow.climate.lanes=3")
        .set("flow.climate.plugin.0.settings.above=30")
        .good();
    assert_eq!(
        broker(&config.sources[0]).keep_alive,
        Duration::from_secs(7)
    );
    assert_eq!(config.admin.listen.port(), 0);
    assert_eq!(config.flows[0].lanes, 3);
    assert_eq!(
        config.flows[0].plugins[0].settings,
        serde_json::json!({"field": "t", "above": 30})
    );
}

#[test]
fn lanes_follow_processors_and_memory() {
    let lanes = |cores: usize, memory: &str| {
        let mut case = Case::new(MINIMAL).set(&format!("gateway.memory={memory}"));
        case.sources.cores = cores;
        case.good().flows[0].lanes
    };
    assert_eq!(
        (lanes(1, "512MiB"), lanes(4, "512MiB"), lanes(64, "512MiB")),
        (1, 3, 27)
    );
    assert_eq!(
        Case::new(MINIMAL).set("flow.climate.lanes=40").codes(),
        [ProblemCode::Memory]
    );
}

#[test]
fn settings_are_a_swap_and_other_changes_of_a_flow_another_chain() {
    let old = Case::new(MINIMAL).file("new.wasm", "", 0o644);
    let before = old.good();
    assert!(difference(&before, &old.good()).is_empty());
    let settings = difference(
        &before,
        &Case::new(&MINIMAL.replace("above = 20", "above = 21"))
            .set("gateway.data_dir=x")
            .good(),
    );
    assert_eq!(
        (settings.plugins.len(), settings.other),
        (1, vec!["gateway".to_owned()])
    );
    assert_eq!(settings.plugins[0].config.settings["above"], 21);

    std::fs::write(
        &old.sources.path,
        MINIMAL.replace("builtin:filter\"", "new.wasm\"\nname = \"filter\""),
    )
    .unwrap();
    let named = difference(&before, &old.good());
    assert_eq!(
        (named.plugins.len(), named.flows.len(), named.other.len()),
        (1, 0, 0)
    );

    std::fs::write(
        &old.sources.path,
        format!("{MINIMAL}\nlimits.memory = \"8MiB\"\n[spool]\ncache = \"4MiB\"\n[class.x]\n"),
    )
    .unwrap();
    let limits = difference(&before, &old.good());
    assert_eq!(
        (limits.plugins.len(), limits.flows, limits.other),
        (
            0,
            vec![changed(
                "climate",
                FlowFate::Changed {
                    chain: true,
                    routes: false
                }
            )],
            vec!["spool".to_owned()]
        )
    );
}

fn changed(name: &str, fate: FlowFate) -> FlowChange {
    FlowChange {
        name: name.to_owned(),
        fate,
    }
}

#[test]
fn each_key_of_a_flow_has_its_way_of_changing() {
    let case = Case::new(MINIMAL);
    let before = case.good();
    let found = |from: &str, to: &str| {
        std::fs::write(&case.sources.path, MINIMAL.replace(from, to)).unwrap();
        difference(&before, &case.good())
    };
    let chain = FlowFate::Changed {
        chain: true,
        routes: false,
    };
    let routes = FlowFate::Changed {
        chain: false,
        routes: true,
    };
    for (from, to, fate) in [
        ("from =", "batch = 7\nfrom =", chain),
        ("from =", "settle = \"any\"\nfrom =", chain),
        ("rest = \"drop\"", "rest = \"cloud:alarm\"", chain),
        ("rest = \"drop\"", "rest = \"cloud:debug\"", chain),
        ("from =", "record = \"1MiB\"\nfrom =", chain),
        (
            "builtin:filter\"",
            "builtin:filter\"\nname = \"other\"",
            chain,
        ),
        ("/telemetry\"]", "/telemetry\", \"more/{device}\"]", routes),
        ("from =", "expires = \"1h\"\nfrom =", routes),
        (
            "from =",
            "ack = \"received\"\nlanes = 2\nfrom =",
            FlowFate::Changed {
                chain: true,
                routes: true,
            },
        ),
    ] {
        let found = found(from, to);
        assert_eq!(
            (found.flows, found.plugins.len(), found.other.len()),
            (vec![changed("climate", fate)], 0, 0),
            "{to}"
        );
    }
    let found = found("from =", "priority = true\nfrom =");
    assert_eq!(
        (found.flows, found.other),
        (vec![], vec!["flow.climate.priority".to_owned()])
    );
}

#[test]
fn flows_come_go_and_come_back_under_their_own_numbers() {
    let more = format!(
        "{MINIMAL}\n[flow.more]\nfrom = \"field\"\ntopics = [\"more/{{device}}\"]\nto = \"cloud:alarm\"\n"
    );
    let (mut running, with) = (Case::new(MINIMAL).good(), Case::new(&more).good());
    let only = Case::new(
        &more
            .replace("[flow.climate]", "[flow.other]")
            .replace("flow.climate", "flow.other"),
    )
    .good();
    let fates = |running: &Config, new: &Config| difference(running, new).flows;
    assert_eq!(fates(&running, &with), [changed("more", FlowFate::Added)]);
    assert_eq!(running.adopt(&with, "more"), 1);
    assert_eq!(
        (
            running.sources[0].routes.len(),
            fates(&running, &with).len()
        ),
        (2, 0)
    );
    let alarm = running.flows[0].ports["alarms"][0].clone();
    assert_eq!(
        running.flows[1].ports["out"],
        [alarm],
        "the queue has its number here"
    );
    assert_eq!(
        fates(&running, &only),
        [
            changed("climate", FlowFate::Removed),
            changed("other", FlowFate::Added)
        ]
    );
    assert_eq!(
        (running.remove("climate"), running.adopt(&only, "other")),
        (Some(0), 2)
    );
    assert_eq!(
        running.sources[0]
            .routes
            .iter()
            .map(|route| route.flow.index())
            .collect::<Vec<_>>(),
        [1, 2]
    );
    assert_eq!(
        (
            fates(&running, &only).len(),
            running.adopt(&with, "climate")
        ),
        (0, 0)
    );
}

#[test]
fn a_flow_that_changes_the_connections_needs_a_restart() {
    let more = format!(
        "{MINIMAL}\n[flow.more]\nfrom = \"field\"\ntopics = [\"more/{{device}}\"]\nto = \"cloud:alarm\"\npriority = true\n"
    );
    let case = Case::new(MINIMAL);
    let before = case.good();
    std::fs::write(&case.sources.path, more).unwrap();
    let found = difference(&before, &case.good());
    assert_eq!(
        (found.flows.len(), found.other),
        (0, vec!["flow.more".to_owned()])
    );
}

#[test]
fn a_class_keeps_the_defaults_of_its_own_name() {
    let file = format!("{MINIMAL}\n[class.alarm]\nmax = \"1MiB\"\n[class.x]\ndrop = \"newest\"\n");
    let config = Case::new(&file)
        .set("flow.climate.to.rest=cloud:x")
        .set("class.telemetry.max_age=2d")
        .good();
    let policies: Vec<_> = config
        .spool
        .queues
        .iter()
        .map(|queue| (&*queue.class, queue.policy))
        .collect();
    let days = |days: u64| Some(Duration::from_secs(days * 86_400));
    let policy = |mebibytes: u64, max_age, drop| spool::Policy {
        max_bytes: mebibytes << 20,
        max_age,
        drop,
    };
    assert_eq!(
        policies,
        [
            ("telemetry", policy(512, days(2), spool::DropPolicy::Oldest)),
            ("alarm", policy(1, None, spool::DropPolicy::Oldest)),
            ("x", policy(64, days(30), spool::DropPolicy::Newest)),
        ]
    );
    assert_eq!(
        &*config.spool.gap_topic.unwrap(),
        format!("tidegate/{}/gaps", config.gateway.name)
    );
    assert_eq!(
        Case::new(MINIMAL)
            .set("spool.gap_topic=\"\"")
            .good()
            .spool
            .gap_topic,
        None
    );
    assert_eq!(config.gateway.audit_topic, None);
    let audited = Case::new(MINIMAL)
        .set("gateway.audit_topic=\"to/{gateway}\"")
        .good()
        .gateway;
    assert_eq!(
        audited.audit_topic,
        Some(format!("to/{}", audited.name).into())
    );
}

#[test]
fn a_changed_secret_is_a_change_of_its_connection() {
    let file = MINIMAL.replace(
        "[uplink.cloud]",
        "[uplink.cloud]\nuser = \"me\"\npassword = { env = \"PW\" }",
    );
    let case = Case::new(&file).env("PW", "one");
    let before = case.good();
    let after = case.env("PW", "two").good();
    let found = difference(&before, &after);
    assert_eq!(
        (found.uplinks.put, found.other),
        (vec!["cloud".into()], Vec::new())
    );
}

#[test]
fn a_plugin_at_fault_is_shown_where_it_was_written() {
    let config = Case::new(MINIMAL).good();
    let fault = PluginFault {
        flow: FlowId::FIRST,
        plugin: 0,
        in_settings: true,
        message: "`field` is missing".into(),
        hint: None,
    };
    let json = config.plugin_problems([fault]).to_json();
    assert_eq!(
        (&json["problems"][0]["line"], &json["problems"][0]["code"]),
        (&12.into(), &"TG0301".into())
    );
}

#[test]
fn a_setting_at_fault_is_shown_under_the_setting() {
    let settings = "settings = { where = [{ field = \"a\", op = \">\", value = 1 }, { field = \"b\",\nop = \"=~\" }] }";
    let config =
        Case::new(&MINIMAL.replace("settings = { field = \"t\", above = 20 }", settings)).good();
    let line = |words: &str| {
        let message = format!("plugin `filter` refuses its settings: {words}");
        let fault = PluginFault {
            flow: FlowId::FIRST,
            plugin: 0,
            in_settings: true,
            message,
            hint: None,
        };
        config.plugin_problems([fault]).to_json()["problems"][0]["line"].clone()
    };
    assert_eq!(line("`where.1.op` cannot be `=~`; it may be: `>`"), 13);
    assert_eq!(
        line("`where.0`: `>` with field `a` wants a number as `value`"),
        12
    );
    assert_eq!(
        line("the setting `field` is missing"),
        12,
        "what is not there is missed in the whole"
    );
}

#[test]
fn the_key_is_a_name_that_all_topics_have() {
    let topics = |topics: &str, more: &str| {
        let written = format!("topics = [{topics}]\n{more}");
        Case::new(&MINIMAL.replace("topics = [\"devices/{device}/telemetry\"]", &written))
    };
    let config = topics(
        "\"{site}/{device}/t\", \"x/{site}\"",
        "key = \"{site}\"\ntopic = \"up/{site}\"",
    )
    .good();
    let keys: Vec<_> = config.sources[0]
        .routes
        .iter()
        .map(|route| route.pattern.key().map(str::to_owned))
        .collect();
    assert_eq!(keys, [Some("site".to_owned()), Some("site".to_owned())]);
    assert_eq!(config.flows[0].topics.key.as_deref(), Some("site"));
    for (names, key) in [
        ("\"{site}/{device}\"", "{room}"),
        ("\"{site}/a\", \"b/{device}\"", "{site}"),
        ("\"{site}/a\"", "site"),
    ] {
        assert_eq!(
            topics(names, &format!("key = \"{key}\"")).codes(),
            [ProblemCode::Topic],
            "{names} {key}"
        );
    }
    let nameless = topics("\"a/+/t\"", "").good();
    let codes: Vec<_> = nameless
        .warnings
        .iter()
        .map(|problem| problem.code)
        .collect();
    assert_eq!(codes, [ProblemCode::Nameless]);
    assert!(
        topics("\"a/b/t\", \"c/{device}/#\"", "")
            .good()
            .warnings
            .iter()
            .next()
            .is_none()
    );
}

#[test]
fn another_key_or_other_names_are_another_chain_and_more_topics_are_not() {
    let with = |topics: &str| {
        let written = format!("topics = [{topics}]");
        Case::new(&MINIMAL.replace("topics = [\"devices/{device}/telemetry\"]", &written)).good()
    };
    let fate = |new: &str| {
        let before = with("\"devices/{device}/{kind}\"");
        difference(&before, &with(new))
            .flows
            .first()
            .map(|change| change.fate)
    };
    let changed = |chain, routes| Some(FlowFate::Changed { chain, routes });
    assert_eq!(
        fate("\"devices/{device}/{kind}\", \"devices/{device}/{kind}/x\""),
        changed(false, true)
    );
    assert_eq!(fate("\"devices/{device}/{sort}\""), changed(true, true));
    assert_eq!(
        fate("\"devices/{device}/{kind}\"]\nkey = \"{kind}\" # ["),
        changed(true, true)
    );
}

#[test]
fn a_file_that_is_not_there_or_no_text_is_one_problem() {
    let mut case = Case::new(MINIMAL);
    std::fs::write(&case.sources.path, b"\xff\xfe").unwrap();
    assert_eq!(case.codes(), [ProblemCode::Unreadable]);
    case.sources.path = case.folder.path().join("nothing.toml");
    assert_eq!(case.codes(), [ProblemCode::Unreadable]);
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "([\\[\\]a-z.=\"'{}#\\n 0-9]{0,60}|(\\[(source|flow|uplink|gateway)[.a\\]]{0,4}\n(url|from|to|topics|plugin|tls) = [\"a{}\\[\\]=:1]{0,8}\n){0,4})") {
        let case = Case::new(&text);
        let problems = load(&case.sources).err();
        proptest::prop_assert!(problems.is_none_or(|problems| !problems.render(false).is_empty()));
    }
}

#[test]
fn a_flow_with_priority_beside_others_has_a_connection_of_its_own() {
    let second = "\n[flow.alarms]\nfrom = \"field\"\ntopics = [\"alarms/{device}\"]\nto = \"cloud:alarm\"\npriority = true\n";
    let alone =
        Case::new(&MINIMAL.replace("from = \"field\"", "from = \"field\"\npriority = true")).good();
    assert_eq!((alone.sources.len(), alone.sources[0].routes.len()), (1, 1));
    assert!(alone.sources[0].priority && alone.uplinks[0].priority);
    let config = Case::new(&format!("{MINIMAL}{second}")).good();
    let seen: Vec<_> = config
        .sources
        .iter()
        .map(|source| (&*source.name, &*source.routes[0].name, source.routes.len()))
        .collect();
    assert_eq!(
        seen,
        [("field", "climate", 1), ("field:priority", "alarms", 1)]
    );
    assert_eq!(
        [config.sources[0].priority, config.sources[1].priority],
        [false, true]
    );
    assert_eq!(
        broker(&config.sources[1]).client_id,
        format!("{}-priority", broker(&config.sources[0]).client_id)
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "every queue of one config")]
fn queues_that_only_flows_with_priority_lead_to_have_a_link_of_their_own() {
    let flow = |name: &str, to: &str| {
        format!(
            "\n[flow.{name}]\nfrom = \"field\"\ntopics = [\"{name}/{{device}}\"]\nto = \"{to}\"\npriority = true\n"
        )
    };
    let links = |config: &Config| -> Vec<String> {
        config
            .spool
            .queues
            .iter()
            .map(|queue| format!("{}:{} {}", queue.uplink, queue.class, queue.link))
            .collect()
    };
    let shared = Case::new(&format!("{MINIMAL}{}", flow("alarms", "cloud:telemetry"))).good();
    assert_eq!(
        (shared.uplinks.len(), links(&shared)),
        (
            1,
            vec![
                "cloud:telemetry cloud".to_owned(),
                "cloud:alarm cloud".to_owned()
            ]
        )
    );
    let other = "\n[uplink.backup]\nurl = \"mqtt://127.0.0.1:1885\"\n";
    let file = MINIMAL.replace(
        "[uplink.cloud]\n",
        "[uplink.cloud]\nfallback = \"backup\"\nconnections = 3\n",
    );
    let config = Case::new(&format!("{file}{other}{}", flow("commands", "cloud:state"))).good();
    assert_eq!(
        links(&config),
        [
            "cloud:telemetry cloud",
            "cloud:alarm cloud",
            "cloud:state cloud:priority"
        ]
    );
    let of = |name: &str| {
        config
            .uplinks
            .iter()
            .find(|uplink| &*uplink.name == name)
            .unwrap()
    };
    let drained = |uplink: &uplink::Config| {
        uplink
            .drains
            .iter()
            .map(|drain| drain.class.to_string())
            .collect::<Vec<_>>()
    };
    let (first, own) = (of("cloud"), of("cloud:priority"));
    assert_eq!(
        (drained(first), drained(own)),
        (
            vec!["telemetry".to_owned(), "alarm".to_owned()],
            vec!["state".to_owned()]
        )
    );
    assert_eq!((&*own.owner, own.connections), ("cloud", 1));
    assert!(own.priority && !first.priority);
    assert_eq!(
        upstream(own).client_id,
        format!("{}-priority", upstream(first).client_id)
    );
    let stand_in = own.fallback.as_ref().unwrap();
    assert_eq!(
        (drained(stand_in), &*stand_in.owner),
        (vec!["state".to_owned()], "cloud")
    );
    assert_ne!(
        upstream(stand_in).client_id,
        upstream(first.fallback.as_ref().unwrap()).client_id
    );
}

#[test]
fn a_fallback_drains_the_queues_of_the_first_by_the_settings_of_the_other() {
    let file = MINIMAL.replace(
        "[uplink.cloud]\n",
        "[uplink.cloud]\nfallback = \"backup\"\nfallback_classes = [\"alarm\"]\n",
    );
    let other = "\n[uplink.backup]\nurl = \"mqtt://127.0.0.1:1885\"\nqos = 2\nwill = { topic = \"w\", payload = \"off\" }\n";
    let config = Case::new(&format!("{file}{other}")).good();
    assert!(config.warnings.is_empty(), "{}", config.warnings);
    let [first, other] = &config.uplinks[..] else {
        panic!("two uplinks")
    };
    let fallback = first.fallback.as_deref().unwrap();
    let classes: Vec<&str> = fallback.drains.iter().map(|drain| &*drain.class).collect();
    assert_eq!(
        (&*fallback.name, &*fallback.owner, classes),
        ("cloud:fallback", "cloud", vec!["alarm"])
    );
    assert_eq!(
        (
            fallback.qos,
            upstream(fallback).port,
            upstream(fallback).will.is_none()
        ),
        (Qos::ExactlyOnce, 1885, true)
    );
    assert_eq!(
        upstream(fallback).client_id,
        format!("{}-for-cloud", upstream(other).client_id)
    );
    assert!(other.fallback.is_none() && upstream(other).will.is_some() && other.drains.is_empty());
    let all = Case::new(&format!(
        "{}{}",
        file.replace("fallback_classes = [\"alarm\"]\n", ""),
        "\n[uplink.backup]\nurl = \"mqtt://b\"\n"
    ));
    assert_eq!(
        all.good().uplinks[0]
            .fallback
            .as_ref()
            .unwrap()
            .drains
            .len(),
        2
    );
}

#[test]
fn a_certificate_file_of_any_size_is_read_to_a_bound() {
    let tls = MINIMAL.replace(
        "mqtt://127.0.0.1:1884\"",
        "mqtts://127.0.0.1:1884\"\ntls = { ca = \"ca.pem\" }",
    );
    let case = Case::new(&tls).file("ca.pem", &"x".repeat(2 << 20), 0o600);
    let problems = load(&case.sources).unwrap_err().to_string();
    assert!(problems.contains("are read at most"), "{problems}");
}

#[test]
fn a_secret_in_the_place_of_something_harmless_is_not_shown() {
    for (from, to) in [
        ("mqtt://127.0.0.1:1884", "mqtt://127.0.0.1:1884/hunter2"),
        ("mqtt://127.0.0.1:1884", "mqtt://127.0.0.1:hunter2"),
        ("mqtt://127.0.0.1:1884", "mqtt://me%3Ahunter2%40127.0.0.1"),
        (
            "\n[flow.climate]",
            "\n[gateway]\nplugin_keys = [\"untrusted comment: minisign secret key hunter2\"]\n[flow.climate]",
        ),
    ] {
        let problems = load(&Case::new(&MINIMAL.replace(from, to)).sources).unwrap_err();
        for shown in [problems.to_string(), problems.to_json().to_string()] {
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }
}

#[test]
fn a_flow_says_how_long_its_messages_live_and_by_what_repeats_are_known() {
    let route = |settings: &str| {
        let file = MINIMAL.replace("from = \"field\"", &format!("from = \"field\"\n{settings}"));
        Case::new(&file).good().sources[0].routes[0].clone()
    };
    let plain = route("");
    assert_eq!((plain.expires, plain.dedup), (None, None));
    let set =
        route("expires = \"2m\"\ndedup = [\"id\", \":correlation-data\"]\ndedup_window = \"1h\"");
    let headers = vec!["id".into(), ":correlation-data".into()];
    assert_eq!(
        (set.expires, set.dedup),
        (
            Some(120),
            Some(Dedup {
                headers,
                window: Duration::from_secs(3_600)
            })
        )
    );
}
