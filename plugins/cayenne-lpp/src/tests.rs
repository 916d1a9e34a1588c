use super::*;
use tidegate_sdk::serde_json::{self, Value, json};
use tidegate_sdk::test::{Input, Plugin, hostile_payloads, settings_shown};

/// By pycayennelpp: the types of the first page, and those that were added later.
const FIRST: &str = "0000010101ff0202fb2e030300050465ffff0566010667ffd7076865087104d2fb2e0000097327940a86d8f000e100010b8806765ff2960a0003e8";
const LATER: &str = "0164ffffffff0274014a037500fa047633be27a00578640679fff4077d019f088008fc0982000004d20a830012d6870b8401670c856955b9000d870102ff0e8e01";

fn bytes(hex: &str) -> Vec<u8> {
    Bytes::Hex.read(hex).unwrap()
}

fn told(settings: Value, payload: impl Into<Vec<u8>>) -> String {
    let outcome = Plugin::<Cayenne>::new(settings).feed(Input::new("d7", payload));
    match outcome.rejected() {
        Some(reason) => format!("rejected: {reason}"),
        None => outcome.emitted().text().to_owned(),
    }
}

#[test]
fn what_the_page_shows_works() {
    let shown = settings_shown(include_str!("lib.rs"));
    assert_eq!(
        told(shown[0].clone(), bytes("016700d7")),
        r#"{"temperature_1":21.5}"#
    );
    let chirpstack = r#"{"fPort": 2, "data": "AWcA1w==", "fCnt": 7}"#;
    assert_eq!(
        told(shown[1].clone(), chirpstack),
        r#"{"temperature_1":21.5,"fPort":2}"#
    );
    assert_eq!(
        told(shown[2].clone(), "016700D7\n"),
        r#"{"temperature_1":21.5}"#
    );
}

#[test]
fn what_another_implementation_writes_is_read() {
    assert_eq!(
        told(json!({}), bytes(FIRST)),
        concat!(
            r#"{"digital_in_0":1,"digital_out_1":255,"analog_in_2":-12.34,"analog_out_3":0.05,"luminosity_4":65535,"presence_5":1,"#,
            r#""temperature_6":-4.1,"relative_humidity_7":50.5,"accelerometer_8":{"x":1.234,"y":-1.234,"z":0.000},"#,
            r#""barometric_pressure_9":1013.2,"gyrometer_10":{"x":-100.00,"y":2.25,"z":0.01},"#,
            r#""gps_11":{"latitude":42.3519,"longitude":-87.9094,"altitude":10.00}}"#
        )
    );
    assert_eq!(
        told(json!({}), bytes(LATER)),
        concat!(
            r#"{"generic_1":4294967295,"voltage_2":3.30,"current_3":0.250,"frequency_4":868100000,"percentage_5":100,"altitude_6":-12,"#,
            r#""concentration_7":415,"power_8":2300,"distance_9":1.234,"energy_10":1234.567,"direction_11":359,"unixtime_12":1767225600,"#,
            r#""colour_13":{"red":1,"green":2,"blue":255},"switch_14":1}"#
        )
    );
}

#[test]
fn what_cannot_be_read_is_rejected_with_the_byte() {
    for (hex, words) in [
        (
            "",
            "payload is not in the Cayenne format: it ends too early, at byte 0",
        ),
        (
            "01",
            "payload is not in the Cayenne format: it ends too early, at byte 1",
        ),
        (
            "0167 00",
            "payload is not in the Cayenne format: it ends too early, at byte 3",
        ),
        (
            "016700d7 01",
            "payload is not in the Cayenne format: it ends too early, at byte 5",
        ),
        (
            "016700d7 02ff",
            "payload has a type that is not known: 255, at byte 5",
        ),
        (
            "016700d7 016700d7",
            "payload has field \"temperature_1\" twice",
        ),
    ] {
        let hex = hex.replace(' ', "");
        assert_eq!(
            told(json!({}), bytes(&hex)),
            format!("rejected: {words}"),
            "{hex}"
        );
    }
    let field = json!({ "field": "data" });
    for (payload, words) in [
        ("{}", "field `data` is missing"),
        (r#"{"data":1}"#, "field `data` is no text"),
        (r#"{"data":"%"}"#, "payload has no bytes in base64: `%`"),
        ("[]", "payload is not a JSON object, at byte 0"),
    ] {
        assert_eq!(told(field.clone(), payload), format!("rejected: {words}"));
    }
    assert_eq!(
        told(
            json!({ "field": "data", "keep": ["temperature_1"] }),
            r#"{"data":"AWcA1w==","temperature_1":2}"#
        ),
        "rejected: payload has field \"temperature_1\" twice"
    );
}

#[test]
fn settings_that_make_no_sense_are_refused_in_words() {
    let refused = |settings| Plugin::<Cayenne>::try_new(settings).map(drop).unwrap_err();
    assert!(
        refused(json!({ "field": "data", "input": "bytes" })).starts_with("`input` is \"bytes\"")
    );
    assert!(refused(json!({ "keep": ["a"] })).starts_with("`keep` names fields of JSON"));
    assert!(refused(json!({ "field": "a..b" })).starts_with("`field`: "));
}

#[test]
fn whatever_comes_nothing_panics() {
    let mut raw = Plugin::<Cayenne>::new(json!({}));
    assert!(raw.feed(Input::new("d7", "").retained()).passed());
    let mut field = Plugin::<Cayenne>::new(json!({ "field": "data", "keep": ["t"] }));
    for payload in hostile_payloads("data") {
        assert_eq!(raw.feed(Input::new("d7", payload.clone())).0.len(), 1);
        assert_eq!(field.feed(Input::new("d7", payload)).0.len(), 1);
    }
    for first in 0..=255 {
        for length in 0..12 {
            let mut payload = vec![0xff; length];
            payload.insert(0, first);
            payload.insert(0, 1);
            for message in raw.feed(Input::new("d7", payload)).on("out") {
                serde_json::from_slice::<Value>(&message.payload).unwrap();
            }
        }
    }
}
