use super::*;
use tidegate_sdk::serde_json::{Value, json};
use tidegate_sdk::test::{Input, Plugin, hostile_payloads, settings_shown};

fn fed(settings: Value, input: Input) -> Vec<String> {
    let outcome = Plugin::<Jq>::new(settings).feed(input);
    match outcome.rejected() {
        Some(reason) => vec![format!("rejected: {reason}")],
        None => outcome
            .on("out")
            .iter()
            .map(|message| message.text().to_owned())
            .collect(),
    }
}

fn gives(program: &str, payload: &str) -> Vec<String> {
    fed(json!({ "program": program }), Input::new("d7", payload))
}

fn refused(program: &str) -> String {
    let refused = Plugin::<Jq>::try_new(json!({ "program": program })).map(drop);
    refused.unwrap_err()
}

#[test]
fn what_the_page_shows_works() {
    let shown = settings_shown(include_str!("lib.rs"));
    let fahrenheit = Input::new("d7", r#"{"loc":{"room":"attic"},"f":70.7}"#);
    assert_eq!(
        fed(shown[0].clone(), fahrenheit),
        [r#"{"room":"attic","celsius":21.5}"#]
    );
    let list = Input::new("d7", r#"{"readings":[{"t":20.50},{"t":19},{"t":31}]}"#);
    assert_eq!(
        fed(shown[1].clone(), list.header("site", b"barn")),
        [
            r#"{"t":20.50,"device":"d7","site":"barn"}"#,
            r#"{"t":31,"device":"d7","site":"barn"}"#
        ]
    );
    assert_eq!(
        fed(shown[2].clone(), Input::new("d7", "21.50;ok")),
        [r#"{"t":21.50,"state":"ok"}"#]
    );
    let door = Input::new("d7", r#"{"name":"gate","state":"open"}"#);
    assert_eq!(fed(shown[3].clone(), door), ["gate is open"]);
}

#[test]
fn none_one_and_many_leave_and_a_delete_goes_on() {
    assert_eq!(gives("empty", "1"), Vec::<String>::new());
    assert_eq!(gives(".[]", "[1,\"b\",null]"), ["1", "\"b\"", "null"]);
    assert_eq!(gives("$topic", "1"), [r#""devices/d7/telemetry""#]);
    assert_eq!(gives("range(1000)", "1").len(), 1_000);
    assert_eq!(
        gives("range(1001)", "1"),
        ["rejected: the program gives more than 1000 outputs"]
    );
    let mut plugin = Plugin::<Jq>::new(json!({ "program": ".a" }));
    assert!(plugin.feed(Input::new("d7", "").retained()).passed());
    assert!(plugin.feed(Input::new("d7", "{}")).emitted().text() == "null");
}

#[test]
fn numbers_that_are_handed_on_keep_their_digits() {
    let digits = r#"[21.50,18446744073709551615,-9007199254740993,0.1000000000000000000001,1e400]"#;
    assert_eq!(gives(".", digits), [digits]);
    assert_eq!(gives("map(.)[1] + 1", digits), ["18446744073709551616"]);
    assert_eq!(
        gives(".a + .b", r#"{"a":0.1,"b":0.2}"#),
        ["0.30000000000000004"]
    );
    assert_eq!(
        gives("[.*2, ./4, 1e17*10, -0.5]", "86.0"),
        ["[172,21.5,1e+18,-0.5]"]
    );
    assert_eq!(
        gives("[nan, infinite, -infinite]", "1"),
        ["[null,1.7976931348623157e+308,-1.7976931348623157e+308]"]
    );
    assert_eq!(gives("tonumber", "\"+1.5\""), ["1.5"]);
}

#[test]
fn what_jq_can_do_is_there_and_the_system_is_not() {
    assert_eq!(
        gives(
            r#"capture("(?<n>[0-9]+) (?<u>.+)") | .n |= tonumber"#,
            "\"12 °C\""
        ),
        [r#"{"n":12,"u":"°C"}"#]
    );
    assert_eq!(
        gives("@base64 | ., @base64d", "\"ä\""),
        ["\"w6Q=\"", "\"ä\""]
    );
    assert_eq!(gives("todate", "1767225600"), ["\"2026-01-01T00:00:00Z\""]);
    assert_eq!(gives("now | floor", "1"), ["1767225600"]);
    assert_eq!(gives("env", "1"), ["{}"]);
    assert_eq!(
        gives(
            "group_by(.r) | map({r: .[0].r, t: (map(.t) | add / length)})",
            r#"[{"r":1,"t":3},{"r":2,"t":5},{"r":1,"t":4}]"#
        ),
        [r#"[{"r":1,"t":3.5},{"r":2,"t":5}]"#]
    );
    assert_eq!(gives("1, halt, 2", "1"), ["1"]);
    let mut plugin = Plugin::<Jq>::new(json!({ "program": "debug" }));
    plugin.feed(Input::new("d7", "[1]"));
    assert_eq!(plugin.log()[0].1, "[1]");
}

#[test]
fn errors_reject_with_the_words_of_jq() {
    for (program, payload, words) in [
        (".a.b", r#"{"a":1}"#, "jq: cannot index 1 with \"b\""),
        ("error(\"no site\")", "1", "jq: no site"),
        ("1, error({a: 1})", "1", "jq: {\"a\":1}"),
        ("halt(3)", "1", "the program halted with 3"),
        (
            "tobytes",
            "1",
            "the output has bytes, which JSON has not: see `@base64`",
        ),
        (
            "{(1|tostring): 1} | with_entries(.key = 1)",
            "1",
            "the output has an object with a key that is no text",
        ),
        (
            "reduce range(200) as $i (1; [.])",
            "1",
            "the output is nested deeper than 128",
        ),
        (
            ".",
            "nan",
            "payload is not valid JSON: expected a value, at byte 0",
        ),
        (
            ".",
            "1 2",
            "payload is not valid JSON: something follows the value, at byte 2",
        ),
    ] {
        assert_eq!(
            gives(program, payload),
            [format!("rejected: {words}")],
            "{program}"
        );
    }
    let long = format!("\"{}\"", "x".repeat(10_000));
    assert!(gives(".a", &long)[0].len() < 400);
}

#[test]
fn a_program_that_is_none_is_refused_with_its_place() {
    for (program, words) in [
        (
            ".a | foo(1)",
            "`program`: there is no filter `foo` with 1 arguments at line 1, column 6, before `foo(1)`",
        ),
        (
            ".a |\n  $sit",
            "`program`: there is no variable `$sit` at line 2, column 3, before `$sit`",
        ),
        (
            "{a: 1",
            "`program`: expected closing brace at line 1, column 6, before the end",
        ),
        (
            ".a |",
            "`program`: expected term at line 1, column 5, before the end",
        ),
        (
            "",
            "`program`: expected term at line 1, column 1, before the end",
        ),
        (
            "import \"a\" as a; .",
            "`program`: there are no modules to be had at line 1, column 9, before `a\" as a; .`",
        ),
        (
            "input",
            "`program`: there is no filter `input` with 0 arguments at line 1, column 1, before `input`",
        ),
    ] {
        assert_eq!(refused(program), words, "{program}");
    }
}

#[test]
fn whatever_comes_nothing_panics() {
    for program in [".", ".t + 1", "[.. | tostring]", ".t |= (tonumber? // 0)"] {
        let mut plugin = Plugin::<Jq>::new(json!({ "program": program }));
        for payload in hostile_payloads("t") {
            assert!(plugin.feed(Input::new("d7", payload)).0.len() <= 1);
        }
    }
}
