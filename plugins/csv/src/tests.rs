use super::*;
use tidegate_sdk::serde_json::{Value, json};
use tidegate_sdk::test::{Input, Plugin, settings_shown};

fn told(settings: Value, payload: &str) -> Vec<String> {
    let outcome = Plugin::<Csv>::new(settings).feed(Input::new("d7", payload));
    match outcome.rejected() {
        Some(reason) => vec![format!("rejected: {reason}")],
        None => outcome
            .on("out")
            .iter()
            .map(|message| message.text().to_owned())
            .collect(),
    }
}

#[test]
fn what_the_page_shows_works() {
    let shown = settings_shown(include_str!("lib.rs"));
    assert_eq!(
        told(shown[0].clone(), "23.5;41;ok"),
        [r#"{"temperature":23.5,"humidity":41,"state":"ok"}"#]
    );
    assert_eq!(
        told(shown[1].clone(), "t;h\r\n21,5;40\r\n22,0;41\r\n"),
        [r#"{"t":21.5,"h":40}"#, r#"{"t":22.0,"h":41}"#]
    );
    assert_eq!(
        told(shown[2].clone(), "12:30,x,0071,3.70"),
        [r#"{"time":"12:30","serial":"0071","volts":3.70}"#]
    );
}

#[test]
fn columns_may_be_quoted_and_empty() {
    let abc = |more: Value| {
        let mut settings = json!({ "columns": ["a", "b", "c"] });
        settings
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        settings
    };
    assert_eq!(
        told(abc(json!({})), r#" "x, ""y""" ,, 007 "#),
        [r#"{"a":"x, \"y\"","c":"007"}"#]
    );
    assert_eq!(
        told(abc(json!({ "empty": "null" })), "1,,3"),
        [r#"{"a":1,"b":null,"c":3}"#]
    );
    assert_eq!(told(abc(json!({ "missing": "skip" })), "1"), [r#"{"a":1}"#]);
    assert_eq!(
        told(abc(json!({ "delimiter": "\t" })), "1\t2\t3"),
        [r#"{"a":1,"b":2,"c":3}"#]
    );
    assert_eq!(
        told(abc(json!({ "delimiter": " " })), "1 2 3"),
        [r#"{"a":1,"b":2,"c":3}"#]
    );
    assert_eq!(
        told(abc(json!({ "header": true })), "\u{feff}x,y,z\n1,2,3"),
        [r#"{"a":1,"b":2,"c":3}"#]
    );
    assert_eq!(
        told(abc(json!({ "lines": "array" })), "1,2,3\n\n\"4\n\",5,6"),
        [r#"[{"a":1,"b":2,"c":3},{"a":"4\n","b":5,"c":6}]"#]
    );
    assert_eq!(
        told(
            json!({ "columns": [{ "name": "on", "type": "truth" }] }),
            "ON"
        ),
        [r#"{"on":true}"#]
    );
}

#[test]
fn lines_that_cannot_be_read_reject_the_message() {
    let ab = json!({ "columns": ["a", { "name": "b", "type": "number" }], "lines": "messages" });
    for (payload, words) in [
        ("1", "line 1 has 1 columns, not 2"),
        ("1,2\n3,4,5", "line 2 has 3 columns, not 2"),
        ("1,2\n\n3,NaN", "line 3: `b` is no number: `NaN`"),
        ("1,1e999", "line 1: `b` is no number: `1e999`"),
        ("1,\"2", "line 1: a quote is not closed"),
        ("1,\"2\"x", "line 1: something follows a closed quote"),
        ("", "payload has no line with values"),
        ("\n\r\n", "payload has no line with values"),
    ] {
        assert_eq!(
            told(ab.clone(), payload),
            [format!("rejected: {words}")],
            "{payload:?}"
        );
    }
    let many = "1,2\n".repeat(1_001);
    assert_eq!(
        told(ab.clone(), &many),
        ["rejected: payload has more than 1000 lines"]
    );
    assert_eq!(told(ab, &"1,2\n".repeat(1_000)).len(), 1_000);
    let one = json!({ "columns": ["a"] });
    assert_eq!(
        told(one, "1\n2"),
        ["rejected: payload has 2 lines: `lines` says what becomes of them"]
    );
    assert_eq!(
        told(json!({ "header": true }), "a,a\n1,2"),
        ["rejected: line 1: two are called `a`"]
    );
    assert_eq!(
        told(json!({ "header": true }), "a,b"),
        ["rejected: payload has no line with values"]
    );
    let mut plugin = Plugin::<Csv>::new(json!({ "header": true }));
    assert!(plugin.feed(Input::new("d7", "").retained()).passed());
    assert!(
        plugin
            .feed(Input::new("d7", b"\xff\xfe".to_vec()))
            .rejected()
            .unwrap()
            .contains("not text")
    );
}

#[test]
fn settings_that_make_no_sense_are_refused_in_words() {
    let refused = |settings| Plugin::<Csv>::try_new(settings).unwrap_err();
    assert!(refused(json!({})).starts_with("set `columns`"));
    assert_eq!(
        refused(json!({ "columns": ["a", "a"] })),
        "`columns`: two are called `a`"
    );
    assert_eq!(
        refused(json!({ "columns": [""] })),
        "`columns`: none has a name"
    );
    assert!(refused(json!({ "columns": ["a"], "decimal": "comma" })).contains("set `delimiter`"));
    assert!(
        refused(json!({ "columns": ["a"], "delimiter": "\n" })).starts_with("`delimiter` must be")
    );
    assert!(
        refused(json!({ "columns": ["a"], "delimiter": "ab" })).starts_with("`delimiter` must be")
    );
}

#[test]
fn a_delimiter_that_numbers_and_names_are_made_of_is_refused() {
    for delimiter in ["5", ".", "-", "e"] {
        let settings = json!({ "columns": ["a"], "delimiter": delimiter });
        let refused = Plugin::<Csv>::try_new(settings).unwrap_err();
        assert!(
            refused.starts_with(&format!("`delimiter` is `{delimiter}`, which")),
            "{refused}"
        );
    }
    for delimiter in [";", "|", "\t", " ", ":"] {
        assert!(
            Plugin::<Csv>::try_new(json!({ "columns": ["a"], "delimiter": delimiter })).is_ok()
        );
    }
}
