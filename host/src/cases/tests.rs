use proptest::prelude::*;

use super::difference::without_spaces;
use super::*;

fn message(text: &str) -> Outcome {
    Outcome::Message {
        port: "out".to_owned(),
        sent: read_message(text).unwrap(),
    }
}

#[test]
fn every_word_that_is_named_is_read_and_no_other() {
    for word in OUTCOMES {
        assert!(
            Outcome::read(word).unwrap().show().starts_with(word),
            "{word}"
        );
    }
    for mark in MARKS {
        let sent = read_message(&format!("[d/1 {mark}]")).unwrap();
        assert!(
            mark == "+qos1" || show_message(&sent).contains(mark),
            "{mark}"
        );
    }
    assert!(Outcome::read("lost").is_err() && read_message("[d/1 +late]").is_err());
}

#[test]
fn what_is_exported_is_read_as_the_message_it_was() {
    let read = |text: &str| read_loose(text).unwrap().unwrap();
    let text = read(
        r#"{"queue":"cloud:x","topic":"d/1","headers":[["unit","C"]],"payload":"eyJhIjoxfQ==","text":"{\"a\":1}","received":"2026-11-29T19:00:00Z"}"#,
    );
    assert_eq!(
        (text.payload.as_slice(), text.headers[0].0.as_str()),
        (&b"{\"a\":1}"[..], "unit")
    );
    let bytes = read(r#"{"topic":"d/1","payload":"/wA=","received":"2026-11-29T19:00:00Z"}"#);
    assert_eq!(bytes.payload, [0xff, 0]);
    assert_eq!(read(r#"{"topic":"d/1","payload":"/wA="}"#).payload, b"/wA=");
}

#[test]
fn help_and_page_have_every_word() {
    let page = include_str!("../../../plugins/README.md");
    let words = KEYS.iter().chain(&MARKS).chain(&OUTCOMES).chain(&STARTS);
    for word in words {
        for text in [crate::cli::CASES_HELP, page] {
            assert!(text.contains(word), "`{word}` is not in\n{text}");
        }
    }
}

#[test]
fn a_file_is_read_as_its_manual_says() {
    let text = "\
# all
settings = { limit = 20,
  words = [\"a}\"] }

case keeps
[d/1 +retain +unit=°C] {\"t\": 25.5}
> pass
advance 90s
> alarms [a/1] b\"\\xff\\n\"
at 2026-03-29T00:59:00Z

case refuses
settings = { limit = -1 }
> refused limit
";
    let cases = read(text).unwrap();
    let [keeps, refuses] = cases.as_slice() else {
        panic!("{cases:?}")
    };
    assert_eq!(
        (keeps.name.as_str(), keeps.line, keeps.steps.len()),
        ("keeps", 5, 4)
    );
    assert_eq!(
        keeps.setup["settings"],
        Written {
            line: 2,
            value: "{ limit = 20, words = [\"a}\"] }".to_owned()
        }
    );
    let Act::Message(sent) = &keeps.steps[1].act else {
        panic!()
    };
    assert!(sent.retain && sent.headers == [("unit".to_owned(), "°C".as_bytes().to_vec())]);
    assert_eq!(keeps.steps[1].expected, [Outcome::Pass]);
    assert_eq!(keeps.steps[2].act, Act::Advance(Duration::from_secs(90)));
    let Outcome::Message { port, sent } = &keeps.steps[2].expected[0] else {
        panic!()
    };
    assert_eq!(
        (port.as_str(), sent.payload.as_slice()),
        ("alarms", b"\xff\n".as_slice())
    );
    assert_eq!(refuses.setup["settings"].value, "{ limit = -1 }");
    assert_eq!(
        refuses.steps[0].expected,
        [Outcome::Refused("limit".to_owned())]
    );
}

#[test]
fn every_mistake_is_told_with_its_line() {
    let text = "\
[d/1] early
settings = { limit = }
case one
case one
advance soon
[d/#] x
[d/1 +loud] x
> perhaps
> pass
at noon
what
settings = { limit = 1
";
    let wrong = read(text).unwrap_err();
    let lines: Vec<usize> = wrong.0.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12], "{wrong}");
    assert!(
        read("# nothing\n")
            .unwrap_err()
            .to_string()
            .contains("case NAME")
    );
}

#[test]
fn a_payload_is_written_by_escapes_and_may_be_long() {
    let payload = |text: &str| read_message(&format!("[t] {text}")).map(|sent| sent.payload);
    assert_eq!(payload(r#"b"\x00\xff\"\\\n""#).unwrap(), b"\x00\xff\"\\\n");
    assert_eq!(payload("b\"ab\" * 500000").unwrap().len(), 1_000_000);
    assert_eq!(payload(r#"{"a":"\n"}"#).unwrap(), br#"{"a":"\n"}"#);
    for wrong in [
        "b\"",
        "b\"\\q\"",
        "b\"\\xg0\"",
        "b\"\\x1\"",
        "b\"a\" x",
        "b\"a\" * 99999999999",
    ] {
        assert!(payload(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn ports_keep_their_own_order_and_json_may_be_spaced() {
    let came = [
        Outcome::Message {
            port: "alarms".to_owned(),
            sent: read_message("[a] 1").unwrap(),
        },
        message("[t] {\"a\":1,\"b\":[1,2]}"),
        message("[t] 2"),
    ];
    let expected = |lines: &[&str]| -> Vec<Outcome> {
        lines
            .iter()
            .map(|line| Outcome::read(line).unwrap())
            .collect()
    };
    assert!(agree(
        &expected(&["[t] { \"a\": 1, \"b\": [1, 2] }", "[t] 2", "alarms [a] 1"]),
        &came,
        None
    ));
    assert!(!agree(
        &expected(&["[t] 2", "[t] {\"a\":1,\"b\":[1,2]}", "alarms [a] 1"]),
        &came,
        None
    ));
    assert!(!agree(
        &expected(&["[t] {\"a\":1.0,\"b\":[1,2]}", "[t] 2", "alarms [a] 1"]),
        &came,
        None
    ));
    assert!(!agree(
        &expected(&["[t +retain] {\"a\":1,\"b\":[1,2]}", "[t] 2", "alarms [a] 1"]),
        &came,
        None
    ));
    assert!(!agree(&[], &came, None) && agree(&[], &[Outcome::Absorbed], None));
    assert!(agree(
        &[Outcome::Rejected("missing".to_owned())],
        &[Outcome::Rejected("it is missing".to_owned())],
        None
    ));
    let input = read_message("[t] {\"a\": 1}").unwrap();
    assert!(agree(
        &[Outcome::Pass],
        &[message("[t] {\"a\": 1}")],
        Some(&input)
    ));
    assert!(!agree(
        &[Outcome::Pass],
        &[message("[t] {\"a\": 2}")],
        Some(&input)
    ));
}

#[test]
fn the_place_where_two_lines_part_is_shown_also_far_behind() {
    let long = "x".repeat(2_000);
    let found = pairs(
        &[message(&format!("[t] {long}a"))],
        &[message(&format!("[t] {long}b"))],
        None,
    );
    let [
        LinePair {
            expected: Some(expected),
            came: Some(came),
            parts_at: Some(at),
        },
    ] = found.as_slice()
    else {
        panic!("{found:?}")
    };
    assert_eq!(
        (expected.chars().nth(*at), came.chars().nth(*at)),
        (Some('a'), Some('b'))
    );
    assert!(expected.chars().count() < 110, "{expected}");
    let found = pairs(&[], &[Outcome::Rejected("no".to_owned())], None);
    assert_eq!(found[0].expected.as_deref(), Some("nothing"));
}

#[test]
fn what_other_programs_write_is_a_message_too() {
    let topic = |text: &str| {
        read_loose(text)
            .unwrap()
            .map(|sent| (sent.topic, sent.payload))
    };
    let expected =
        |topic: &str, payload: &str| Some((topic.to_owned(), payload.as_bytes().to_vec()));
    assert_eq!(
        topic("devices/d1/t 21.5\n"),
        expected("devices/d1/t", "21.5")
    );
    assert_eq!(
        topic("[devices/d1/t] 21.5"),
        expected("devices/d1/t", "21.5")
    );
    assert_eq!(
        topic("alarms [devices/d1/t] 21.5"),
        expected("devices/d1/t", "21.5")
    );
    assert_eq!(
        topic(r#"{"topic":"t","payload":{"a":1}}"#),
        expected("t", "{\"a\":1}")
    );
    assert_eq!(topic(r#"{"topic":"t","payload":"a"}"#), expected("t", "a"));
    assert_eq!(
        (
            topic("# what came"),
            topic(""),
            topic(r#"{"came":"rejected","reason":"x"}"#)
        ),
        (None, None, None)
    );
    assert!(
        read_loose("{\"payload\":1}").is_err()
            && read_loose("{").is_err()
            && read_loose("a/# 1").is_err()
    );
}

fn legal_text() -> impl Strategy<Value = String> {
    "[^+#\u{0}-\u{1f}\u{7f}-\u{9f}\u{fdd0}-\u{fdef}\u{fffe}\u{ffff}]{1,12}"
}

proptest! {
    #[test]
    fn what_is_shown_is_read_back_and_no_terminal_obeys_it(
        topic in legal_text(), value in legal_text(), payload: Vec<u8>, retain: bool, qos in 0_u8..3,
    ) {
        let sent = WrittenMessage {
            topic, payload, retain, qos: QosLevel(qos), duplicate: false,
            headers: vec![("a name".to_owned(), value.into_bytes())],
        };
        prop_assume!(super::line::headers(&sent).is_ok());
        let shown = show_message(&sent);
        prop_assert!(!shown.chars().any(char::is_control));
        match read_message(&shown) {
            Ok(read) => prop_assert_eq!(read, sent),
            // What may not come in is not read, wherever it stands.
            Err(why) => prop_assert!(crate::message::legal::check_topic(sent.topic.as_bytes()).is_err()
                || why.0.contains("header"), "{}: {}", shown, why),
        }
    }

    #[test]
    fn no_text_breaks_the_reading_of_a_file(text in "\\PC{0,80}", lines in proptest::collection::vec("(case|advance|at|>|\\[t\\]|settings =|\\[t \\+)? ?\\PC{0,12}", 0..12)) {
        let _ = read(&text);
        let _ = read(&lines.join("\n"));
        let _ = read_loose(&text);
    }

    #[test]
    fn spaces_between_the_parts_of_json_do_not_count(keys in proptest::collection::btree_map("[ a-z\"\\\\]{1,6}", any::<i32>(), 0..5)) {
        let value = serde_json::json!(keys);
        let wide = serde_json::to_vec_pretty(&value).unwrap();
        prop_assert_eq!(without_spaces(&wide), serde_json::to_vec(&value).unwrap());
    }
}
