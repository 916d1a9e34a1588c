use super::super::recognise::{Seen, recognise};
use super::*;

fn wanted(want: Want) -> InitWanted {
    let end = |url: &str| InitEnd {
        url: url.to_owned(),
        user: None,
        password_file: None,
    };
    InitWanted {
        name: "barn-7".to_owned(),
        field: end("mqtt://127.0.0.1:1883"),
        upstream: end("mqtts://ingest.example.com"),
        want,
    }
}

fn table(text: &str) -> toml::Table {
    text.parse()
        .unwrap_or_else(|error| panic!("{error}\n{text}"))
}

#[test]
fn two_of_a_sort_have_names_of_their_own_and_nothing_recognised_is_everything() {
    let two = [
        Ecosystem::Zigbee2Mqtt("a".to_owned()),
        Ecosystem::Zigbee2Mqtt("b".to_owned()),
    ];
    let flows = table(&config(&wanted(Want::Silence), Some(&two)))["flow"]
        .as_table()
        .unwrap()
        .clone();
    assert_eq!(flows.keys().collect::<Vec<_>>(), ["zigbee", "zigbee-2"]);
    assert_eq!(flows["zigbee-2"]["topics"][0].as_str(), Some("b/{device}"));
    let flows = table(&config(&wanted(Want::Forward), None))["flow"]
        .as_table()
        .unwrap()
        .clone();
    assert_eq!(flows.keys().collect::<Vec<_>>(), ["all"]);
    let described = [Ecosystem::HomeAssistant("homeassistant".to_owned())];
    let text = config(&wanted(Want::Changes), Some(&described));
    assert!(
        text.contains("# Home Assistant discovery was seen, too") && text.contains("[flow.all]")
    );
}

#[test]
fn what_somebody_types_stays_inside_of_its_quotes() {
    let mut wanted = wanted(Want::Forward);
    wanted.name = "x\"\n[admin]\nlisten = \"0.0.0.0:1\"".to_owned();
    wanted.field.user = Some("me\" # \u{1b}[2J".to_owned());
    wanted.field.password_file = Some("a\"b".to_owned());
    let text = config(&wanted, Some(&[]));
    let read = table(&text);
    assert!(!read.contains_key("admin") && !text.contains('\u{1b}'));
    assert_eq!(read["gateway"]["name"].as_str(), Some(&*wanted.name));
    assert_eq!(
        read["source"]["field"]["user"].as_str(),
        wanted.field.user.as_deref()
    );
}

proptest::proptest! {
    #[test]
    fn whatever_a_broker_says_the_config_has_the_tables_that_are_written_and_nothing_a_terminal_obeys(
        topics in proptest::collection::vec(
            proptest::prop_oneof![
                ".*",
                "[^/]{0,9}/bridge/state",
                "(.{0,5}/){1,3}bridge/info",
                ".{0,9}/.{0,9}/\\$homie",
                "tele/.{0,9}/STATE",
                ".{0,9}/status/switch:0",
            ],
            0..20,
        ),
        payload: Vec<u8>,
        want in proptest::sample::select(vec![Want::Forward, Want::Changes, Want::Silence]),
    ) {
        let seen: Vec<Seen> = topics.into_iter().map(|topic| Seen { topic, payload: payload.clone() }).collect();
        let text = config(&wanted(want), Some(&recognise(&seen)));
        proptest::prop_assert!(text.chars().all(|symbol| symbol == '\n' || crate::words::line(&symbol.to_string(), 1) == symbol.to_string()), "{text:?}");
        let table = table(&text);
        let mut keys: Vec<&str> = table.keys().map(String::as_str).collect();
        keys.sort_unstable();
        proptest::prop_assert_eq!(keys, ["flow", "gateway", "source", "uplink"]);
    }
}
