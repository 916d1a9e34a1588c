//! What is written as it should be and cannot work all the same.

use super::*;

/// The codes of what is told of a source or uplink with these keys.
#[track_caller]
fn told(of: &str, keys: &str, files: &[(&str, &str)]) -> Vec<ProblemCode> {
    let (from, to) = MINIMAL.split_once("[uplink.cloud]").unwrap();
    let (uplink, flow) = to.split_once("[flow.climate]").unwrap();
    let whole = if of == "source" {
        format!("[source.field]\n{keys}\n[uplink.cloud]{uplink}[flow.climate]{flow}")
    } else {
        format!("{from}[uplink.cloud]\n{keys}\n[flow.climate]{flow}")
    };
    let mut case = Case::new("");
    for (name, content) in files {
        case = case.file(name, content, 0o600);
    }
    let at = case.folder.path().display().to_string();
    std::fs::write(&case.sources.path, whole.replace("HERE", &at)).unwrap();
    match load(&case.sources) {
        Ok(config) => config.warnings.iter().map(|warning| warning.code).collect(),
        Err(problems) => problems.iter().map(|problem| problem.code).collect(),
    }
}

#[test]
fn the_port_of_something_else_is_told() {
    for url in [
        "mqtt://b:8883",
        "mqtts://b:1883",
        "mqtt://b:443",
        "mqtt://b:5432",
        "mqtt+ws://b:443/mqtt",
        "mqtt+wss://b:80/mqtt",
        "mqtt+ws://b:1883/mqtt",
        "http://b:443/x",
        "https://b:80/x",
        "http://b:1883/x",
        "postgres://u@b:443/d",
    ] {
        let found = told("uplink", &format!("url = \"{url}\""), &[]);
        assert_eq!(found, [ProblemCode::Port], "{url}");
    }
    for url in [
        "mqtts://b:443",
        "mqtt+wss://b:443/mqtt",
        "mqtt+ws://b:9001/mqtt",
        "http://b:8086/x",
        "https://b/x",
        "postgres+tls://u@b/d",
    ] {
        let found = told("uplink", &format!("url = \"{url}\""), &[]);
        assert!(!found.contains(&ProblemCode::Port), "{url}");
    }
}

#[test]
fn a_folder_that_is_none_and_files_of_which_none_is_kept_are_mistakes() {
    let of = |keys: &str| told("uplink", keys, &[("file", "x")]);
    assert_eq!(of("url = \"file://HERE/file\""), [ProblemCode::Url]);
    assert_eq!(
        of("url = \"file://HERE/none\""),
        [],
        "it may be mounted yet"
    );
    let keep = "url = \"file://HERE/out\"\nfiles = { bytes = \"64MiB\", keep = \"63MiB\" }";
    assert_eq!(of(keep), [ProblemCode::Conflict]);
    let empty = "url = \"file://HERE/out\"\npack = \"csv\"\nfiles = { columns = [] }";
    assert_eq!(of(empty), [ProblemCode::OutOfRange]);
}

#[test]
fn a_folder_in_or_around_the_gateway_s_own_is_a_mistake() {
    let of = |url: &str| told("uplink", &format!("url = \"{url}\""), &[]);
    for url in [
        "file://HERE/data",
        "file://HERE/data/history",
        "file://HERE/data/spool/x/",
        "file://HERE",
    ] {
        assert_eq!(of(url), [ProblemCode::Conflict], "{url}");
    }
    for url in ["file://HERE/data2", "file://HERE/history/data"] {
        assert_eq!(of(url), [], "{url}");
    }
}

/// What is told of flows over these ways in and out.
#[track_caller]
fn told_of_flows(source: &str, uplink: &str, flows: &str) -> Vec<String> {
    let whole = format!(
        "[source.field]\nurl = \"http://{source}\n[uplink.cloud]\nurl = \"http://{uplink}\n{flows}"
    );
    let config = Case::new(&whole).good();
    let circles = config.warnings.iter();
    circles
        .filter(|warning| warning.code == ProblemCode::Circle)
        .map(|warning| warning.message.clone())
        .collect()
}

#[test]
fn an_uplink_over_http_that_leads_to_the_gateway_s_own_port_is_told() {
    const FLOW: &str =
        "[flow.a]\nfrom = \"field\"\ntopics = [\"in/{device}\"]\nto = \"cloud:telemetry\"\n";
    for (source, uplink) in [
        ("127.0.0.1:8080\"", "127.0.0.1:8080/in/x\""),
        ("127.0.0.1:8080\"", "localhost:8080/{topic}\""),
        ("127.0.0.1:8080\"", "127.0.0.1:8080/in/{device}?a=b\""),
        ("[::1]:8080\"", "[::1]:8080/{topic}\""),
        ("0.0.0.0:8080\"\nopen = true", "127.0.0.1:8080/in/{class}\""),
        (
            "127.0.0.1:8080\"\ntopic = \"in/{path}\"",
            "127.0.0.1:8080/x\"",
        ),
        (
            "127.0.0.1:8080\"\ntopic = \"in/x\"",
            "127.0.0.1:8080/anything\"",
        ),
    ] {
        let found = told_of_flows(source, uplink, FLOW);
        assert!(
            found.len() == 1 && found[0].contains("both ends are at one address"),
            "{source} {uplink}: {found:?}"
        );
    }
    for (source, uplink) in [
        ("127.0.0.1:8080\"", "127.0.0.1:8081/in/x\""),
        ("127.0.0.1:8080\"", "127.0.0.1:8080/out/x\""),
        ("127.0.0.1:8080\"", "127.0.0.1:8080/in/x/{device}\""),
        (
            "127.0.0.1:8080\"\ntopic = \"in/x/{path}\"",
            "127.0.0.1:8080/y\"",
        ),
        ("0.0.0.0:8080\"\nopen = true", "10.0.0.9:8080/{topic}\""),
    ] {
        let found = told_of_flows(source, uplink, FLOW);
        assert_eq!(found, Vec::<String>::new(), "{source} {uplink}");
    }
    let over =
        "[flow.b]\nfrom = \"field\"\ntopics = [\"out/{device}\"]\nto = \"cloud:telemetry\"\n";
    let both = format!(
        "{}{over}",
        FLOW.replace("telemetry\"\n", "telemetry\"\ntopic = \"out/{device}\"\n")
    );
    let found = told_of_flows("127.0.0.1:8080\"", "127.0.0.1:8080/{topic}\"", &both);
    // What goes out as `out/…` is taken by `b`, which leads to itself.
    assert!(
        found.iter().any(|message| message.contains("`b`")),
        "{found:?}"
    );
}

#[test]
fn a_serial_line_that_is_none_is_a_mistake() {
    let of = |url: &str| {
        let keys = format!("url = \"{url}\"\ntopic = \"devices/x/telemetry\"");
        told("source", &keys, &[("file", "x")])
    };
    assert_eq!(of("serial://HERE/file"), [ProblemCode::Url]);
    assert_eq!(of("serial://HERE/none"), [], "it may be plugged in yet");
    assert_eq!(of("serial:///dev/null"), []);
}

#[test]
fn headers_about_the_connection_and_texts_that_no_header_has_are_mistakes() {
    let files = [
        ("esc", "a\u{1b}b\n"),
        ("bearer", "Bearer abcdef\n"),
        ("space", "abcdef \n"),
    ];
    let of = |keys: &str| told("uplink", &format!("url = \"http://b:9/x\"\n{keys}"), &files);
    for name in [
        "Expect",
        "Upgrade",
        "Keep-Alive",
        "Trailer",
        "Proxy-Connection",
    ] {
        let found = of(&format!("headers = {{ {name} = \"x\" }}"));
        assert_eq!(found, [ProblemCode::Conflict], "{name}");
    }
    let secret = "headers = { X-Key = { file = \"esc\" } }";
    assert_eq!(of(secret), [ProblemCode::OutOfRange]);
    let source = |file: &str| {
        let keys = format!("url = \"http://127.0.0.1:8080\"\ntoken = {{ file = \"{file}\" }}");
        told("source", &keys, &files)
    };
    for file in ["esc", "bearer"] {
        let token = format!("token = {{ file = \"{file}\" }}");
        assert_eq!(of(&token), [ProblemCode::OutOfRange], "{file}");
        assert_eq!(source(file), [ProblemCode::OutOfRange], "{file}");
    }
    assert_eq!(source("space"), []);
}

#[test]
fn an_origin_is_as_browsers_say_it() {
    let of = |origin: &str| {
        let keys = format!("url = \"http://127.0.0.1:8080\"\norigins = [\"{origin}\"]");
        told("source", &keys, &[])
    };
    for origin in [
        "https://p.example:443",
        "http://p.example:80",
        "https://p.example/",
    ] {
        assert_eq!(of(origin), [ProblemCode::OutOfRange], "{origin}");
    }
    for origin in [
        "https://p.example",
        "https://p.example:80",
        "http://p.example:8443",
    ] {
        assert_eq!(of(origin), [], "{origin}");
    }
}

/// At a start nobody waits for a mount whose server is gone: the flow that needs it says so. Whoever checks is told.
#[test]
fn a_plugin_or_key_on_a_mount_that_hangs_costs_its_flow_and_no_start() {
    let whole = MINIMAL
        .replace("\"builtin:filter\"", "\"far/rule.wasm\"")
        .replace(
            "[source.field]",
            "[gateway]\nplugin_keys = [\"far/ops.pub\"]\n[source.field]",
        );
    let case = Case::new(&whole);
    let both = [ProblemCode::PluginKey, ProblemCode::PluginFile];
    let of = |secrets: Secrets| {
        let sources = Sources {
            secrets,
            ..case.sources.clone()
        };
        load(&sources).map_or_else(
            |problems| problems.iter().map(|problem| problem.code).collect(),
            |config| {
                assert_eq!(config.flows[0].plugins[0].trust.missing.len(), 1);
                Vec::new()
            },
        )
    };
    assert_eq!(of(Secrets::AtDial), both, "they are not there");
    let far = |name: &str| crate::file::HungPath::at(&case.folder.path().join("far").join(name));
    let _hung = [far("rule.wasm"), far("ops.pub")];
    assert_eq!(of(Secrets::AtDial), []);
    assert_eq!(of(Secrets::Needed), both);
}

#[test]
fn a_flow_that_takes_in_what_is_told_of_devices_is_told() {
    let of = |devices: &str, topics: &str| {
        let whole = MINIMAL
            .replace("127.0.0.1:1884", "localhost:1883")
            .replace("devices/{device}/telemetry", topics)
            .replace(
                "[flow.climate]\n",
                "[flow.climate]\ntopic = \"up/{device}\"\n",
            );
        let case = Case::new(&format!("{devices}\n{whole}"));
        let told = load(&case.sources).unwrap().warnings;
        told.iter()
            .any(|warning| warning.code == ProblemCode::Circle)
    };
    let events = "[devices]\nevents = \"cloud:state\"\ntopic = \"told/{device}/state\"\n";
    assert!(of(events, "told/{device}/+"));
    assert!(of(events, "{a}/{device}/#"));
    assert!(!of(events, "told/{device}"));
    assert!(!of(
        "[devices]\ntopic = \"told/{device}/state\"\n",
        "told/{device}/+"
    ));
}

#[test]
fn two_sources_of_one_consumer_are_a_mistake() {
    let source = |name: &str, server: &str, consumer: &str| {
        format!(
            "[source.{name}]\nurl = \"nats://{server}\"\nstream = \"T\"\nconsumer = \"{consumer}\"\n"
        )
    };
    let of = |server: &str, consumer: &str| {
        let both = source("field", "127.0.0.1", "gw") + &source("other", server, consumer);
        let (_, rest) = MINIMAL.split_once("[uplink.cloud]").unwrap();
        let rest = rest.replace("from = \"field\"", "from = [\"field\", \"other\"]");
        let case = Case::new(&format!("{both}[uplink.cloud]{rest}"));
        load(&case.sources).map_or_else(
            |problems| problems.iter().map(|problem| problem.code).collect(),
            |_| Vec::new(),
        )
    };
    assert_eq!(of("localhost:4222", "gw"), [ProblemCode::Conflict]);
    assert_eq!(of("127.0.0.1", "another"), []);
    assert_eq!(of("127.0.0.1:4333", "gw"), []);
}
