use super::*;
use tidegate_sdk::serde_json::{self, Value, json};
use tidegate_sdk::test::{Input, Plugin, hostile_payloads, settings_shown};

fn told(settings: Value, payload: &str) -> Vec<String> {
    let outcome = Plugin::<Influx>::new(settings).feed(Input::new("d7", payload));
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
    let line = "cpu,host=a usage=0.64,n=3i 1465839830100400200";
    assert_eq!(
        told(shown[0].clone(), line),
        [r#"{"measurement":"cpu","host":"a","usage":0.64,"n":3,"time":1465839830100400200}"#]
    );
    assert_eq!(
        told(shown[1].clone(), line),
        [
            r#"{"measurement":"cpu","tags":{"host":"a"},"fields":{"usage":0.64,"n":3},"time":1465839830100400200}"#
        ]
    );
}

#[test]
fn lines_of_the_protocols_page_are_understood() {
    for (line, json) in [
        (
            r#"my\ Measurement,tag\ Key1=tag\ Value1 fieldKey="string value""#,
            r#"{"measurement":"my Measurement","tag Key1":"tag Value1","fieldKey":"string value"}"#,
        ),
        (
            r#"m,a\,b=c\=d e\=f=1i -5"#,
            r#"{"measurement":"m","a,b":"c=d","e=f":1,"time":-5}"#,
        ),
        (
            r#"m f="a \"quoted\" \\ \x, b=c"  7 "#,
            r#"{"measurement":"m","f":"a \"quoted\" \\ \\x, b=c","time":7}"#,
        ),
        (
            "m a=T,b=False,c=-1.50,d=1e-3,e=18446744073709551615u,f=-9223372036854775808i,g=+.5",
            r#"{"measurement":"m","a":true,"b":false,"c":-1.50,"d":1e-3,"e":18446744073709551615,"f":-9223372036854775808,"g":0.5}"#,
        ),
        (
            r"path\with=equals,t=\a f=1",
            r#"{"measurement":"path\\with=equals","t":"\\a","f":1}"#,
        ),
        ("m f=1\r\n", r#"{"measurement":"m","f":1}"#),
        (
            "wetter,ort=Köln t=\"☂\"",
            r#"{"measurement":"wetter","ort":"Köln","t":"☂"}"#,
        ),
    ] {
        assert_eq!(told(json!({}), line), [json], "{line}");
    }
    assert_eq!(
        told(json!({}), "m f=\"a\nb\"\nm f=x"),
        ["rejected: line 3: field `f` has no value that is one: `x`"]
    );
    assert_eq!(told(json!({}), "m f=\"a\nb\"\nm f=2").len(), 2);
}

#[test]
fn lines_that_cannot_be_read_reject_the_message() {
    for (lines, words) in [
        ("", "payload has no line"),
        ("# only this", "payload has no line"),
        (
            "m",
            "line 1: expected a space and fields at the end of the line",
        ),
        (
            "m ",
            "line 1: expected a name and `=` at the end of the line",
        ),
        (",a=b f=1", "line 1: expected a measurement at `,a=b f=1`"),
        ("m,a f=1", "line 1: expected a name and `=` at `a f=1`"),
        ("m,a= f=1", "line 1: tag `a` has no value"),
        (
            "m,a=b=c f=1",
            "line 1: expected a space and fields at `=c f=1`",
        ),
        (
            "m f=1,",
            "line 1: expected a name and `=` at the end of the line",
        ),
        (
            "m f=",
            "line 1: field `f` has no value that is one: the end of the line",
        ),
        (
            "m f=1.5i",
            "line 1: field `f` has no value that is one: `1.5i`",
        ),
        (
            "m f=NaN",
            "line 1: field `f` has no value that is one: `NaN`",
        ),
        (
            "m f=\"a",
            "line 1: field `f` has no value that is one: `\"a`",
        ),
        ("m f=\"a\"b", "line 1: expected the end of a value at `b`"),
        ("m f=1 soon", "line 1: expected a time at `soon`"),
        ("m f=1 1 2", "line 1: expected a time at `1 2`"),
        ("m f=1 9223372036854775808", "line 1: expected a time"),
        ("m f=1\nm,a=1 a=2", "line 2: payload has field \"a\" twice"),
        ("m time=1 5", "line 1: payload has field \"time\" twice"),
        (
            "m measurement=1",
            "line 1: payload has field \"measurement\" twice",
        ),
    ] {
        let told = told(json!({}), lines);
        assert!(
            told[0].starts_with(&format!("rejected: {words}")),
            "{lines}: {}",
            told[0]
        );
    }
}

#[test]
fn names_and_lines_are_counted() {
    assert_eq!(told(json!({ "shape": "nested" }), "m,a=1,a=2 f=1").len(), 1);
    assert_eq!(told(json!({}), &"m f=1\n".repeat(1_000)).len(), 1_000);
    assert_eq!(
        told(json!({}), &"m f=1\n".repeat(1_001)),
        ["rejected: payload has more than 1000 lines"]
    );
}

#[test]
fn whatever_comes_nothing_panics() {
    let mut plugin = Plugin::<Influx>::new(json!({}));
    assert!(plugin.feed(Input::new("d7", "").retained()).passed());
    for payload in hostile_payloads("f") {
        assert_eq!(
            plugin
                .feed(Input::new("d7", [b"m f=".as_slice(), &payload].concat()))
                .0
                .len(),
            1
        );
        assert!(!plugin.feed(Input::new("d7", payload)).0.is_empty());
    }
    let whole = b"m\\ x,t\\,a=b\\=c f=\"a \\\" b\",g=1.5,h=3i 12\n".to_vec();
    for place in 0..whole.len() {
        for byte in b"\\\", =\nit\xff" {
            let mut line = whole.clone();
            line[place] = *byte;
            for message in plugin.feed(Input::new("d7", line)).on("out") {
                serde_json::from_slice::<Value>(&message.payload).unwrap();
            }
        }
    }
}
