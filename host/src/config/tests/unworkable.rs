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
    let keep = "url = \"file://HERE\"\nfiles = { bytes = \"64MiB\", keep = \"63MiB\" }";
    assert_eq!(of(keep), [ProblemCode::Conflict]);
    let empty = "url = \"file://HERE\"\npack = \"csv\"\nfiles = { columns = [] }";
    assert_eq!(of(empty), [ProblemCode::OutOfRange]);
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
