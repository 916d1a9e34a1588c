use super::*;
use tidegate_sdk::serde_json::{self, Value, json};
use tidegate_sdk::test::{Input, Plugin, hostile_payloads, settings_shown};

/// Made by bthome-ble (`vectors.py`): whether it is encrypted, service data, fields.
const VECTORS: &str = include_str!("tests/vectors.txt");

const ADDRESS: &str = "54:48:E6:8F:80:A5";
const KEY: &str = "231d39c1d7cc1ab1aee224cd096db932";

/// The example of the format's page on encryption: 25.06 °C and 50.55 %.
const SEALED: &str = "41a47266c95f730011223378237214";

fn bytes(hex: &str) -> Vec<u8> {
    Bytes::Hex.read(hex).unwrap()
}

fn with_key() -> Value {
    json!({ "keys": { ADDRESS: KEY } })
}

fn told(settings: Value, input: Input) -> String {
    let outcome = Plugin::<Bthome>::new(settings).feed(input);
    match outcome.rejected() {
        Some(reason) => format!("rejected: {reason}"),
        None => outcome.emitted().text().to_owned(),
    }
}

fn plain(hex: &str) -> String {
    told(json!({}), Input::new("d7", bytes(hex)))
}

fn same(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Number(ours), Value::Number(theirs)) => ours.as_f64() == theirs.as_f64(),
        (Value::Object(ours), Value::Object(theirs)) => {
            let equal = |(name, value)| ours.get(name).is_some_and(|own| same(own, value));
            ours.len() == theirs.len() && theirs.iter().all(equal)
        }
        _ => ours == theirs,
    }
}

#[test]
fn what_another_implementation_reads_is_read_the_same() {
    let mut seen = 0;
    for line in VECTORS.lines().filter(|line| !line.starts_with('#')) {
        let mut parts = line.splitn(3, ' ');
        let [way, hex, wanted] = [(); 3].map(|()| parts.next().unwrap());
        let is_sealed = way == "sealed";
        let settings = if is_sealed { with_key() } else { json!({}) };
        let told = told(settings, Input::new("5448e68f80a5", bytes(hex)));
        let mut found: Value = serde_json::from_str(&told).unwrap_or_else(|_| panic!("{told}"));
        let count = found.as_object_mut().unwrap().remove("encryption_counter");
        assert_eq!(count.is_some(), is_sealed, "{line}");
        let wanted = serde_json::from_str(wanted).unwrap();
        assert!(same(&found, &wanted), "{line}: {told}");
        seen += 1;
    }
    assert!(seen > 250, "{seen}");
}

#[test]
fn what_the_page_shows_works() {
    let shown = settings_shown(include_str!("lib.rs"));
    let message = Input::new("d7", bytes("4002ca09"));
    assert_eq!(told(shown[0].clone(), message), r#"{"temperature":25.06}"#);
    let gateway = r#"{"id":"54:48:E6:8F:80:A5","rssi":-70,"servicedata":"4002CA0903bf13","servicedatauuid":"0xfcd2"}"#;
    assert_eq!(
        told(shown[1].clone(), Input::new("gw", gateway)),
        r#"{"temperature":25.06,"humidity":50.55,"id":"54:48:E6:8F:80:A5","rssi":-70}"#
    );
    assert_eq!(
        told(shown[2].clone(), Input::new("54-48-E6-8F-80-A5", SEALED)),
        r#"{"temperature":25.06,"humidity":50.55,"encryption_counter":857870592}"#
    );
}

#[test]
fn messages_of_other_services_go_where_they_are_told() {
    let other = r#"{"id":"54:48:E6:8F:80:A5","servicedata":"5020aa01","servicedatauuid":"fe95"}"#;
    let none = r#"{"id":"54:48:E6:8F:80:A5","rssi":-70}"#;
    let fed = |others: Option<&str>, payload: &str| {
        let mut settings = json!({ "field": "servicedata", "uuid": "servicedatauuid" });
        if let Some(others) = others {
            settings["others"] = others.into();
        }
        Plugin::<Bthome>::new(settings).feed(Input::new("gw", payload))
    };
    for payload in [other, none] {
        assert!(fed(None, payload).passed());
        assert!(fed(Some("drop"), payload).filtered());
        assert_eq!(
            fed(Some("reject"), payload).rejected(),
            Some("payload is of another service than BTHome")
        );
    }
}

#[test]
fn an_address_is_taken_from_where_it_stands() {
    let with_field = json!({ "keys": { ADDRESS: KEY }, "field": "d", "address": "id" });
    let payload = json!({ "d": SEALED, "id": ADDRESS }).to_string();
    let wanted = r#"{"temperature":25.06,"humidity":50.55,"encryption_counter":857870592}"#;
    assert_eq!(told(with_field.clone(), Input::new("gw", payload)), wanted);
    let payload = json!({ "d": SEALED, "id": "gw" }).to_string();
    assert_eq!(
        told(with_field, Input::new("gw", payload)),
        "rejected: field `id` is no Bluetooth address"
    );
    assert!(
        told(with_key(), Input::new("gw", bytes(SEALED)))
            .starts_with("rejected: payload is encrypted and its device's Bluetooth address")
    );
    // Within the service data, with the bit that says so.
    assert_eq!(
        plain("42a5808fe64854 02ca09".replace(' ', "").as_str()),
        r#"{"temperature":25.06}"#
    );
    assert_eq!(
        plain("42a5808f"),
        "rejected: payload is not BTHome: it ends within its address"
    );
}

#[test]
fn what_is_not_encrypted_as_it_has_to_be_is_rejected_without_the_key() {
    let of_device = |hex: &str| told(with_key(), Input::new(ADDRESS, bytes(hex)));
    for (hex, words) in [
        ("4002ca09", "not encrypted although its device has a key"),
        // The address in it is the device's: its bytes are reversed.
        ("42a5808fe6485402ca09", "not encrypted although"),
        ("41a47266c95f730011223378237215", "cannot be decrypted"),
        ("41a47266c95f740011223378237214", "cannot be decrypted"),
        ("45a47266c95f730011223378237214", "cannot be decrypted"),
        ("4100112233782372", "cannot be decrypted"),
        ("41", "cannot be decrypted"),
    ] {
        let told = of_device(hex);
        assert!(
            told.starts_with("rejected: ") && told.contains(words),
            "{told}"
        );
        assert!(!told.contains(&KEY[..8]), "{told}");
    }
    assert_eq!(
        told(with_key(), Input::new("54:48:E6:8F:80:A6", bytes(SEALED))),
        "rejected: payload is encrypted and `keys` has none of the device 54:48:E6:8F:80:A6"
    );
    let plugin = Plugin::<Bthome>::new(with_key()).plugin().keys_shown();
    assert!(!plugin.contains(&KEY[..8]), "{plugin}");
}

impl Bthome {
    fn keys_shown(&self) -> String {
        format!("{self:?}")
    }
}

#[test]
fn objects_that_are_not_known_end_a_message() {
    let mut plugin = Plugin::<Bthome>::new(json!({}));
    let fed = plugin.feed(Input::new("d7", bytes("4001610203ca01")));
    assert!(fed.rejected().is_some(), "a battery without its byte");
    let outcome = plugin.feed(Input::new("d7", bytes("40016102ca09ee0102")));
    assert_eq!(
        outcome.emitted().text(),
        r#"{"battery":97,"temperature":25.06}"#
    );
    assert_eq!(plugin.counters()["unknown_objects"], 1);
    assert_eq!(
        plain("403a003a01f1040201"),
        "rejected: payload is not BTHome: it ends within `firmware`, at byte 8 of its objects"
    );
    assert_eq!(
        plain("403a003a07f100010204"),
        r#"{"button_1":null,"button_2":7,"firmware":"4.2.1.0"}"#
    );
    assert_eq!(
        plain("403c0000f2000106"),
        r#"{"dimmer":null,"firmware":"6.1.0"}"#
    );
    assert_eq!(plain("d2fc4002ca09"), r#"{"temperature":25.06}"#);
}

#[test]
fn what_cannot_be_read_is_rejected_in_words() {
    for (hex, words) in [
        ("", "payload is empty"),
        ("40", "payload is a BTHome message without objects"),
        ("40ee01", "payload has an object that is not known: 0xee"),
        (
            "4002ca",
            "payload is not BTHome: it ends within `temperature`, at byte 2 of its objects",
        ),
        (
            "4053",
            "payload is not BTHome: it ends within `text`, at byte 1 of its objects",
        ),
        (
            "40540501",
            "payload is not BTHome: it ends within `raw`, at byte 3 of its objects",
        ),
        ("405302c328", "`text` is a text that is not UTF-8"),
        (
            "2002ca09",
            "payload is not BTHome of version 2: its first byte, 0x20, says version 1",
        ),
    ] {
        assert_eq!(plain(hex), format!("rejected: {words}"), "{hex}");
    }
    let field = json!({ "field": "d", "keep": ["battery"] });
    for (payload, words) in [
        ("{}", "field `d` is missing"),
        (r#"{"d":1}"#, "field `d` is no text"),
        (
            r#"{"d":"4"}"#,
            "payload has no bytes in hexadecimal digits: `4`",
        ),
        (
            r#"{"d":"400161","battery":2}"#,
            "payload has field `battery` twice",
        ),
    ] {
        assert_eq!(
            told(field.clone(), Input::new("d7", payload)),
            format!("rejected: {words}")
        );
    }
}

#[test]
fn settings_that_make_no_sense_are_refused_in_words() {
    let refused = |settings| Plugin::<Bthome>::try_new(settings).map(drop).unwrap_err();
    for (settings, words) in [
        (
            json!({ "field": "d", "input": "bytes" }),
            "`input` is \"bytes\"",
        ),
        (
            json!({ "keep": ["a"] }),
            "`uuid`, `address` and `keep` name",
        ),
        (json!({ "uuid": "a" }), "`uuid`, `address` and `keep` name"),
        (json!({ "field": "a..b" }), "`field`: "),
        (
            json!({ "keys": { "d7": KEY } }),
            "`keys`: `d7` is no Bluetooth address",
        ),
        (
            json!({ "keys": { ADDRESS: "abcd" } }),
            "`keys`: the key of `54:48:E6:8F:80:A5` is not one of 32",
        ),
        (
            json!({ "keys": { ADDRESS: KEY, "5448E68F80A5": KEY } }),
            "`keys`: `54:48:E6:8F:80:A5` stands there twice",
        ),
    ] {
        let refused = refused(settings);
        assert!(refused.starts_with(words), "{refused}");
        assert!(!refused.contains("abcd"));
    }
}

#[test]
fn whatever_comes_nothing_panics() {
    let mut raw = Plugin::<Bthome>::new(with_key());
    assert!(raw.feed(Input::new("d7", "").retained()).passed());
    let mut field = Plugin::<Bthome>::new(json!({ "field": "d", "uuid": "u", "keep": ["d"] }));
    for payload in hostile_payloads("d") {
        assert_eq!(raw.feed(Input::new("d7", payload.clone())).0.len(), 1);
        assert_eq!(field.feed(Input::new("d7", payload)).0.len(), 1);
    }
    for info in [0x40, 0x41, 0x42, 0x43] {
        for id in 0..=255 {
            for length in 0..24 {
                let mut payload = vec![0xff; length];
                payload.splice(0..0, [info, id]);
                for message in raw.feed(Input::new(ADDRESS, payload)).on("out") {
                    serde_json::from_slice::<Value>(&message.payload).unwrap();
                }
            }
        }
    }
    // Bytes of good messages, changed here and there.
    let mut plain = Plugin::<Bthome>::new(json!({}));
    let mut draws = 0x2611_u32;
    let good = VECTORS.lines().filter_map(|line| line.split(' ').nth(1));
    for hex in good.skip(1).cycle().take(4_000) {
        let Some(mut payload) = Bytes::Hex.read(hex) else {
            continue;
        };
        draws = draws.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let place = draws as usize % payload.len();
        payload[place] = (draws >> 24) as u8;
        for message in plain.feed(Input::new("d7", payload)).on("out") {
            serde_json::from_slice::<Value>(&message.payload).unwrap();
        }
    }
}
