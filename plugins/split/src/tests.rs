use super::*;
use tidegate_sdk::serde_json::{Value as Json, json};
use tidegate_sdk::test::{Input, Plugin, settings_shown};

fn told(settings: Json, payload: &str) -> Vec<String> {
    let outcome = Plugin::<Split>::new(settings).feed(Input::new("d7", payload));
    match outcome.rejected() {
        Some(reason) => vec![format!("rejected: {reason}")],
        None if outcome.passed() => vec!["passed".to_owned()],
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
        told(shown[0].clone(), r#"[{"t":1.50}, 7,null]"#),
        [r#"{"t":1.50}"#, r#"{"value":7}"#, r#"{"value":null}"#]
    );
    let payload =
        r#"{"device":"d7","readings":[{"t":1},{"t":2,"device":"d8"}],"gateway":{"id":5}}"#;
    let wanted = [
        r#"{"device":"d7","id":5,"t":1}"#,
        r#"{"id":5,"t":2,"device":"d8"}"#,
    ];
    assert_eq!(told(shown[1].clone(), payload), wanted);
    assert_eq!(
        told(shown[2].clone(), r#"{"samples":[3.70,[1]]}"#),
        [r#"{"volts":3.70}"#, r#"{"volts":[1]}"#]
    );
}

#[test]
fn what_is_no_list_is_rejected() {
    let list = json!({ "field": "a" });
    assert_eq!(
        told(json!({}), "{}"),
        ["rejected: payload is not a JSON array, at byte 0"]
    );
    assert_eq!(
        told(json!({}), "[1,"),
        ["rejected: payload is not valid JSON: it ends too early, at byte 3"]
    );
    assert_eq!(
        told(list.clone(), r#"{"a":{"b":1}}"#),
        [r#"rejected: field `a` is not a list: `{"b":1}`"#]
    );
    assert_eq!(
        told(list.clone(), r#"{"a":[{"x":1,"x":2}]}"#),
        ["rejected: payload has field `x` twice"]
    );
    assert_eq!(told(list.clone(), r#"{"a":[]}"#), [""; 0]);
    assert_eq!(
        told(json!({ "field": "a", "missing": "pass" }), r#"{"a":null}"#),
        ["passed"]
    );
    let many = format!("{{\"a\":[{}1]}}", "1,".repeat(1_000));
    assert_eq!(
        told(list.clone(), &many),
        ["rejected: the list has 1001 elements, 1000 are the most"]
    );
    let mut plugin = Plugin::<Split>::new(list);
    assert!(plugin.feed(Input::new("d7", "{}")).excused());
    assert!(plugin.feed(Input::new("d7", "").retained()).passed());
}

#[test]
fn settings_that_make_no_sense_are_refused_in_words() {
    let refused = |settings| Plugin::<Split>::try_new(settings).unwrap_err();
    assert!(refused(json!({ "keep": ["a"] })).starts_with("`keep` goes with `field`"));
    assert_eq!(
        refused(json!({ "field": "x", "keep": ["a.t", "b.t"] })),
        "`keep`: two fields are called `t`"
    );
    assert_eq!(refused(json!({ "as": "" })), "`as` is empty");
    assert_eq!(
        refused(json!({ "field": "a..b" })),
        "`field`: path `a..b` has an empty name"
    );
}
