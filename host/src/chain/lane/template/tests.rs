use super::*;

fn applied(template: &str, topic: &'static str, key: Span) -> (String, String) {
    let mut template = OutgoingTopic::compile(
        &TopicTemplate(template.to_owned()),
        "climate",
        &Topics::default(),
    )
    .unwrap();
    let mut message = Message {
        topic: Bytes::from_static(topic.as_bytes()),
        key,
        ..Message::default()
    };
    let (topic, key) = template.apply(&message).unwrap();
    message.rename(topic, key);
    (
        message.topic_str().to_owned(),
        String::from_utf8(message.key().to_vec()).unwrap(),
    )
}

#[test]
fn the_key_is_found_again_in_the_new_topic() {
    let key = Span { offset: 8, len: 2 };
    for (template, topic, found) in [
        ("up/{topic}", "up/devices/d7/t", "d7"),
        ("{flow}/{device}/x", "climate/d7/x", "d7"),
        ("{topic}", "devices/d7/t", "d7"),
        ("fixed/{flow}", "fixed/climate", "d7"),
        ("{device}{topic}", "d7devices/d7/t", "d7"),
    ] {
        assert_eq!(
            applied(template, "devices/d7/t", key),
            (topic.to_owned(), found.to_owned())
        );
    }
    assert_eq!(
        applied("a/{device}/b", "t", Span::default()),
        ("a//b".to_owned(), String::new())
    );
}

fn topics(patterns: &[&str], key: Option<&str>) -> Topics {
    Topics {
        patterns: patterns
            .iter()
            .map(|pattern| (*pattern).to_owned())
            .collect(),
        key: key.map(str::to_owned),
    }
}

#[test]
fn every_name_that_all_topics_have_can_stand_in_it() {
    let two = topics(&["{site}/{device}/t", "$share/g/x/{site}/{device}"], None);
    let mut template =
        OutgoingTopic::compile(&TopicTemplate("up/{device}/{site}".to_owned()), "f", &two).unwrap();
    for (topic, expected) in [("barn/d7/t", "up/d7/barn"), ("x/barn/d7", "up/d7/barn")] {
        let offset = topic.find("d7").unwrap() as u16;
        let message = Message {
            topic: topic.into(),
            key: Span { offset, len: 2 },
            ..Message::default()
        };
        assert_eq!(
            template.apply(&message).unwrap(),
            (Bytes::from(expected), Span { offset: 3, len: 2 })
        );
    }
    let by_site = topics(&["{site}/{device}/t"], Some("site"));
    let mut template = OutgoingTopic::compile(
        &TopicTemplate("{device}/{key}/{site}".to_owned()),
        "f",
        &by_site,
    )
    .unwrap();
    let message = Message {
        topic: "barn/d7/t".into(),
        key: Span { offset: 0, len: 4 },
        ..Message::default()
    };
    assert_eq!(
        template.apply(&message).unwrap(),
        ("d7/barn/barn".into(), Span { offset: 3, len: 4 })
    );
    let mixed = topics(&["{site}/{device}/t", "x/{device}"], None);
    assert_eq!(
        OutgoingTopic::compile(&TopicTemplate("{site}".to_owned()), "f", &mixed).unwrap_err(),
        "site"
    );
    assert_eq!(mixed.captures(), ["device"]);
}

#[test]
fn topics_that_name_the_same_need_no_new_template() {
    let one = topics(&["devices/{device}/t"], None);
    assert!(one.names_as(&topics(
        &["devices/{device}/t", "devices/{device}/state"],
        None
    )));
    assert!(
        !one.names_as(&topics(&["{device}/t"], None))
            && !one.names_as(&topics(&["devices/{device}/t", "x"], None))
    );
}

#[test]
fn unknown_placeholders_and_endless_topics_are_refused() {
    assert_eq!(
        OutgoingTopic::compile(
            &TopicTemplate("a/{room}".to_owned()),
            "f",
            &Topics::default()
        )
        .unwrap_err(),
        "room"
    );
    assert_eq!(
        OutgoingTopic::compile(
            &TopicTemplate("a/{device".to_owned()),
            "f",
            &Topics::default()
        )
        .unwrap_err(),
        "device"
    );
    let mut template = OutgoingTopic::compile(
        &TopicTemplate("up/{topic}".to_owned()),
        "f",
        &Topics::default(),
    )
    .unwrap();
    assert!(
        template
            .apply(&Message {
                topic: vec![b't'; 65_533].into(),
                ..Message::default()
            })
            .is_none()
    );
}
