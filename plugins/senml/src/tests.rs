use super::*;
use tidegate_sdk::serde_json::{self, Value, json};
use tidegate_sdk::test::{Input, Plugin, START_US, hostile_payloads, settings_shown};

fn told(settings: Value, payload: impl Into<Vec<u8>>) -> Vec<String> {
    let outcome = Plugin::<Senml>::new(settings).feed(Input::new("d7", payload));
    match outcome.rejected() {
        Some(reason) => vec![format!("rejected: {reason}")],
        None => outcome
            .on("out")
            .iter()
            .map(|message| message.text().to_owned())
            .collect(),
    }
}

/// By cbor2 for Python, of labels as the standard numbers them.
const CBOR: &str = "85a721781c75726e3a6465763a6f773a313065323037336130313038303036333a22fb41d303a15b00106223614120050067766f6c7461676501615602fb405e066666666666a3006763757272656e74062402fb3ff3333333333333a200626f6e04f5a200637261770842fbffa30065776f72647303626f6b07183c";

fn cbor() -> Vec<u8> {
    let digits = CBOR.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.map(byte).collect()
}

/// The standard's own, of its section 5.1.2.
const PACK: &str = r#"[{"bn":"urn:dev:ow:10e2073a01080063:","bt":1.276020076001e+09,"bu":"A","bver":5,"n":"voltage","u":"V","v":120.10},
    {"n":"current","t":-5,"v":1.2},{"n":"current","t":-4,"v":1.3}]"#;

#[test]
fn packs_of_the_standard_become_readings() {
    let shown = settings_shown(include_str!("lib.rs"));
    assert_eq!(
        told(shown[0].clone(), PACK),
        [
            r#"{"voltage":120.10,"time":1276020076.001}"#,
            r#"{"current":1.2,"time":1276020071.001}"#,
            r#"{"current":1.3,"time":1276020072.001}"#,
        ]
    );
    assert_eq!(
        told(shown[1].clone(), PACK)[..2],
        [
            r#"{"name":"urn:dev:ow:10e2073a01080063:voltage","unit":"V","value":120.10,"time":1276020076.001}"#,
            r#"{"name":"urn:dev:ow:10e2073a01080063:current","unit":"A","value":1.2,"time":1276020071.001}"#,
        ]
    );
    assert_eq!(
        told(
            json!({ "names": "full" }),
            r#"[{"bn":"a/","n":"t","v":1,"t":1276020076}]"#
        ),
        [r#"{"a/t":1,"time":1276020076}"#]
    );
}

#[test]
fn cbor_is_the_same() {
    assert_eq!(
        told(json!({ "records": "messages" }), cbor()),
        [
            r#"{"name":"urn:dev:ow:10e2073a01080063:voltage","unit":"V","value":120.1,"time":1276020076.001}"#,
            r#"{"name":"urn:dev:ow:10e2073a01080063:current","unit":"A","value":1.2,"time":1276020071.001}"#,
            r#"{"name":"urn:dev:ow:10e2073a01080063:on","unit":"A","value":true,"time":1276020076.001}"#,
            r#"{"name":"urn:dev:ow:10e2073a01080063:raw","unit":"A","value":"-_8","time":1276020076.001}"#,
            r#"{"name":"urn:dev:ow:10e2073a01080063:words","unit":"A","value":"ok","time":1276020076.001,"update":60}"#,
        ]
    );
}

#[test]
fn base_values_are_added_and_times_may_be_relative() {
    let now = START_US / 1_000_000;
    let messages = json!({ "records": "messages" });
    assert_eq!(
        told(
            messages.clone(),
            r#"[{"bn":"a","bv":20.1,"bs":100,"v":0.2,"s":0.5},{"t":-60},{"n":"b","v":1}]"#
        ),
        [
            format!(r#"{{"name":"a","value":20.3,"sum":100.5,"time":{now}}}"#),
            format!(
                r#"{{"name":"a","value":20.1,"sum":100,"time":{}}}"#,
                now - 60
            ),
            format!(r#"{{"name":"ab","value":21.1,"sum":100,"time":{now}}}"#),
        ]
    );
    assert_eq!(
        told(messages, r#"[{"bn":"a"},{"s":5}]"#),
        [format!(r#"{{"name":"a","sum":5,"time":{now}}}"#)]
    );
}

#[test]
fn what_is_no_pack_is_rejected_in_words() {
    for (payload, words) in [
        ("", "payload is not CBOR: it ends too early, at byte 0"),
        ("{}", "payload is not a JSON array, at byte 0"),
        ("[]", "payload is a pack without readings"),
        ("[1]", "record 0: it is no object"),
        (
            r#"[{"n":"a"}]"#,
            "record 0: it has neither a value nor a sum",
        ),
        (r#"[{"v":1}]"#, "record 0: `` is no name"),
        (r#"[{"n":"a b","v":1}]"#, "record 0: `a b` is no name"),
        (r#"[{"n":"-a","v":1}]"#, "record 0: `-a` is no name"),
        (r#"[{"n":"a","v":"1"}]"#, "record 0: `v` is no number"),
        (
            r#"[{"n":"a","v":1,"bver":11}]"#,
            "record 0: version 11 is newer than 10",
        ),
        (
            r#"[{"n":"a","v":1,"x_":1}]"#,
            "record 0: the label `x_` has to be understood",
        ),
        (
            r#"[{"n":"a","v":1},{"n":"a","v":2}]"#,
            "payload has field `a` twice",
        ),
        (r#"[{"n":"time","v":1}]"#, "payload has field `time` twice"),
        (
            r#"[{"n":"a","v":1,"v":2}]"#,
            "record 0: payload has field `v` twice",
        ),
    ] {
        let told = told(json!({}), payload);
        assert!(
            told[0].starts_with(&format!("rejected: {words}")),
            "{payload}: {}",
            told[0]
        );
    }
    let many = format!("[{}]", vec![r#"{"n":"a","v":1}"#; 1_001].join(","));
    assert_eq!(
        told(json!({ "records": "messages" }), many),
        ["rejected: payload makes more than 1000 messages"]
    );
}

#[test]
fn whatever_comes_nothing_panics() {
    for records in ["fields", "messages"] {
        let mut plugin = Plugin::<Senml>::new(json!({ "records": records }));
        assert!(plugin.feed(Input::new("d7", "").retained()).passed());
        for payload in hostile_payloads("v") {
            assert_eq!(
                plugin
                    .feed(Input::new("d7", [b"[".as_slice(), &payload, b"]"].concat()))
                    .0
                    .len(),
                1
            );
            assert_eq!(plugin.feed(Input::new("d7", payload)).0.len(), 1);
        }
        let whole = cbor();
        for place in 0..whole.len() {
            for byte in [0x00, 0x3b, 0x7f, 0x9f, 0xbf, 0xff] {
                let mut pack = whole.clone();
                pack[place] = byte;
                for message in plugin.feed(Input::new("d7", pack)).on("out") {
                    serde_json::from_slice::<Value>(&message.payload).unwrap();
                }
            }
        }
    }
}
