//! Settings that make no sense, in words.

use super::*;

fn refused(settings: Value) -> String {
    Plugin::<Aggregate>::try_new(settings).unwrap_err()
}

#[test]
fn windows_that_make_no_sense_are_refused_in_words() {
    for (settings, words) in [
        (json!({}), "the setting `window` is missing"),
        (
            json!({ "window": "10m", "every": "3m" }),
            "`window` and `every`: a window has to be a whole number of steps",
        ),
        (
            json!({ "window": "10h", "every": "1s" }),
            "`window` and `every`: a window can have 100 steps at most",
        ),
        (
            json!({ "window": "0s" }),
            "`window` and `every`: a window of no length holds nothing",
        ),
        (
            json!({ "window": 0 }),
            "`window` and `every`: a window of no length holds nothing",
        ),
        (
            json!({ "window": "10m", "every": 3 }),
            "`window` and `every` must both be a time, or both a number",
        ),
    ] {
        assert_eq!(refused(settings.clone()), words, "{settings}");
    }
}

#[test]
fn what_does_not_go_together_is_refused_in_words() {
    for (settings, words) in [
        (
            json!({ "window": "1m", "functions": ["min"] }),
            "`functions` wants `fields`; without, messages are counted",
        ),
        (
            json!({ "window": "1m", "fields": ["a"], "functions": [] }),
            "`functions` is empty",
        ),
        (
            json!({ "window": "1m", "fields": ["a.t", "b.t"] }),
            "two results would be called `t_mean`: set `as`",
        ),
        (
            json!({ "window": "1m", "by": "{key}", "by_field": "x" }),
            "`by` and `by_field` do not go together",
        ),
        (
            json!({ "window": "1m", "time": "event" }),
            "`time = \"event\"` and `time_field` go together",
        ),
        (
            json!({ "window": "1m", "lateness": "1m" }),
            "`lateness` is for `time = \"event\"`",
        ),
        (
            json!({ "window": "1d", "utc_offset": "+01:00" }),
            "`utc_offset` is for `time = \"arrival\"` or \"event\"",
        ),
        (
            json!({ "window": 5, "time": "arrival" }),
            "`window` is a number of messages: `time` does not go with it",
        ),
        (
            json!({ "window": "1s", "time": "event", "time_field": "t", "lateness": "1h" }),
            "`lateness` is more than 100 times `every`",
        ),
        (
            json!({ "window": "1m", "fields": ["a"], "decimals": 16 }),
            "`decimals` is more than 15",
        ),
        (
            json!({ "window": "1m", "max_groups": 0 }),
            "`max_groups` is 0",
        ),
    ] {
        assert_eq!(refused(settings.clone()), words, "{settings}");
    }
    assert!(refused(json!({ "window": true })).contains("a length is a time with its unit"));
    assert!(
        refused(json!({ "window": "1m", "by": "{room}" }))
            .starts_with("`by`: `{room}` is not known")
    );
    assert!(
        refused(json!({ "window": "1m", "time": "arrival", "utc_offset": "CET" }))
            .contains("an offset from UTC")
    );
}

#[test]
fn more_state_than_fits_is_refused_unless_it_is_asked_for() {
    let fields: Vec<String> = (0..10).map(|number| format!("f{number}")).collect();
    let mut settings = json!({ "window": "100m", "every": "1m", "fields": fields });
    assert!(
        refused(settings.clone())
            .starts_with("10 fields in 100 steps of `window` and `lateness` are too much state")
    );
    settings["max_groups"] = json!(5);
    plugin(settings);
}
