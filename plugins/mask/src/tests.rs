use super::*;
use tidegate_sdk::serde_json::{Value, json};
use tidegate_sdk::test::{Input, Plugin, hostile_payloads, settings_shown};

const KEY: &str = "key-of-sixteen-b";

fn masked(fields: Value, payload: &str) -> String {
    let settings = json!({ "fields": fields, "key": KEY });
    let outcome = Plugin::<Mask>::new(settings).feed(Input::new("d7", payload));
    assert_eq!(outcome.rejected(), None);
    outcome.on("out")[0].text().to_owned()
}

fn refused(settings: Value) -> String {
    Plugin::<Mask>::try_new(settings).unwrap_err()
}

#[test]
fn what_the_page_shows_works() {
    let shown = settings_shown(include_str!("lib.rs"));
    let reading = r#"{"t":21.50,"owner":{"mail":"a@b.c","name":"Ann","x":1},"plate":"ZH 1234","latitude":47.37689}"#;
    let outcome = Plugin::<Mask>::new(shown[0].clone()).feed(Input::new("d7", reading));
    let payload = outcome.on("out")[0];
    let hash = payload.json::<Value>()["owner"]["mail"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(hash.len(), 32);
    let wanted = format!(
        r#"{{"t":21.50,"owner":{{"mail":"{hash}","x":1}},"plate":"ZH ","latitude":47.38}}"#
    );
    assert_eq!(payload.text(), wanted);
}

/// Test case 2 of RFC 4231, whose key is shorter than ours may be.
#[test]
fn a_hash_is_the_hmac_of_the_letters() {
    let key = Key::new(b"Jefe", 64).unwrap();
    let mut root = Node::default();
    let field = Field {
        field: "a".to_owned(),
        action: Do::Hash,
        keep: None,
        decimals: None,
    };
    root.add(&field).unwrap();
    let mut written = Vec::new();
    let mut object = Object::begin(&mut written);
    let members = json::members(br#"{"a":"what do ya want for nothing\u003f"}"#).unwrap();
    root.write(&mut object, &members, &key).unwrap();
    object.end();
    assert_eq!(
        String::from_utf8(written).unwrap(),
        r#"{"a":"5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"}"#
    );
}

#[test]
fn what_says_the_same_has_the_same_hash_and_another_key_another() {
    let hash = |payload: &str| masked(json!([{ "field": "a", "do": "hash" }]), payload);
    let one = hash(r#"{"a":1}"#);
    for same in [r#"{"a":1.0}"#, r#"{"a":"1"}"#, r#"{ "\u0061" : 1e0 }"#] {
        assert_eq!(hash(same), one, "{same}");
    }
    assert_ne!(hash(r#"{"a":2}"#), one);
    let settings = json!({ "fields": [{ "field": "a", "do": "hash" }], "key": "key-of-sixteen-c" });
    let other = Plugin::<Mask>::new(settings).feed(Input::new("d7", r#"{"a":1}"#));
    assert_ne!(other.on("out")[0].text(), one);
}

#[test]
fn each_element_of_a_list_is_meant() {
    let fields = json!([{ "field": "people.name", "do": "truncate", "keep": 1 }, { "field": "tags", "do": "drop" }, { "field": "ids", "do": "truncate", "decimals": 0 }]);
    let reading = r#"{"people":[{"name":"Äda","n":1},[{"name":"Bob"}],7],"tags":[1,2],"ids":[1.5,2,"x",null]}"#;
    assert_eq!(
        masked(fields, reading),
        r#"{"people":[{"name":"Ä","n":1},[{"name":"B"}],7],"ids":[2,2,null]}"#
    );
}

#[test]
fn what_cannot_be_truncated_goes() {
    let fields = json!([{ "field": "a", "do": "truncate", "keep": 2 }]);
    assert_eq!(
        masked(fields.clone(), r#"{"a":123456,"b":1}"#),
        r#"{"b":1}"#
    );
    assert_eq!(masked(fields.clone(), r#"{"a":{"x":1}}"#), "{}");
    assert_eq!(masked(fields, r#"{"a":null}"#), r#"{"a":null}"#);
}

#[test]
fn a_name_that_stands_there_twice_hides_nothing() {
    let settings = json!({ "fields": [{ "field": "o.a", "do": "drop" }] });
    let mut plugin = Plugin::<Mask>::new(settings);
    for payload in [r#"{"o":{"a":1,"\u0061":2}}"#, r#"{"o":{},"o":{"a":1}}"#] {
        assert!(
            plugin.feed(Input::new("d7", payload)).rejected().is_some(),
            "{payload}"
        );
    }
    assert!(plugin.feed(Input::new("d7", "").retained()).passed());
}

#[test]
fn what_cannot_work_is_refused_in_words_without_the_key() {
    let field = json!({ "field": "a", "do": "hash" });
    for (settings, words) in [
        (json!({ "fields": [] }), "`fields` is empty"),
        (json!({ "fields": [field] }), "a hash wants a `key`"),
        (
            json!({ "fields": [field], "key": "short" }),
            "less than 16 bytes",
        ),
        (
            json!({ "fields": [field, field], "key": KEY }),
            "`fields.1`: `a` is masked already",
        ),
        (
            json!({ "fields": [{ "field": "a.b", "do": "drop" }, { "field": "a", "do": "drop" }] }),
            "fields in `a`",
        ),
        (
            json!({ "fields": [{ "field": "a[0].b", "do": "drop" }] }),
            "has a place in a list",
        ),
        (
            json!({ "fields": [{ "field": "a", "do": "truncate" }] }),
            "wants `keep`",
        ),
        (
            json!({ "fields": [{ "field": "a", "do": "drop", "keep": 1 }] }),
            "are for `truncate`",
        ),
        (
            json!({ "fields": [{ "field": "a", "do": "truncate", "decimals": 16 }] }),
            "more than 15",
        ),
        (
            json!({ "fields": [field], "key": KEY, "digits": 8 }),
            "`digits` is 16 to 64",
        ),
        (
            json!({ "fields": [{ "field": "a", "do": "burn" }] }),
            "`drop`, `hash`, `truncate`",
        ),
    ] {
        let error = refused(settings);
        assert!(error.contains(words) && !error.contains("short"), "{error}");
    }
}

#[test]
fn whatever_comes_nothing_panics_and_nothing_leaks() {
    let settings = json!({ "fields": [{ "field": "a.b", "do": "hash" }, { "field": "t", "do": "truncate", "keep": 1, "decimals": 1 }], "key": KEY });
    let mut plugin = Plugin::<Mask>::new(settings);
    for payload in hostile_payloads("t") {
        let outcome = plugin.feed(Input::new("d7", payload));
        assert!(outcome.rejected().is_some() || outcome.on("out").len() == 1);
        assert!(
            outcome
                .on("out")
                .iter()
                .all(|told| !told.text().contains("xx"))
        );
    }
}
