use super::*;

#[test]
fn order_per_key_and_its_state_hold_over_three_lanes() {
    let rig = Rig::of("");
    let keys: Vec<_> = (0..12).map(|key| format!("d{key}")).collect();
    for round in 0..20 {
        let text = round.to_string();
        let messages: Vec<_> = keys
            .iter()
            .map(|key| (key.as_str(), text.as_str()))
            .collect();
        rig.send(&messages);
    }
    rig.wait("all messages", |seen| seen.appends.len() == 240);
    let seen = rig.seen();
    for key in &keys {
        let payloads: Vec<_> = seen
            .appends
            .iter()
            .filter(|(_, message)| message.key() == key.as_bytes())
            .map(|(_, message)| payload(message))
            .collect();
        let expected: Vec<_> = (0..20)
            .map(|round| format!("{round} {}", round + 1))
            .collect();
        assert_eq!(payloads, expected, "{key}");
    }
    drop(seen);
    assert_eq!(rig.fate("forwarded"), 240.0);
    assert_eq!(rig.settled.faults(), 0);
    assert_eq!(rig.metric("tidegate_chain_waiting_messages", &[]), 0.0);
}

#[test]
fn keys_are_spread_over_the_lanes() {
    let lanes: std::collections::BTreeSet<_> = (0..20)
        .map(|key| lane_of(format!("d{key}").as_bytes(), 3))
        .collect();
    assert_eq!(lanes.len(), 3);
    assert_eq!(lane_of(b"d7", 1), 0);
}

#[test]
fn every_message_is_settled_once_whatever_becomes_of_it() {
    let rig = Rig::of("ports");
    let left = rig.round(
        &[
            "pass", "drop", "absorb", "reject", "two", "alarm", "both", "topic",
        ]
        .map(|command| ("d1", command)),
    );
    let text: Vec<_> = left
        .iter()
        .map(|(queue, topic, payload)| (queue.0, topic.as_str(), payload.as_str()))
        .collect();
    assert_eq!(
        text,
        [
            (0, "devices/d1", "pass"),
            (0, "devices/d1", "0"),
            (0, "devices/d1", "1"),
            (1, "devices/d1", "alarm"),
            (2, "devices/d1", "alarm"),
            (1, "devices/d1", "alarm"),
            (2, "devices/d1", "alarm"),
            (0, "devices/d1", "both"),
            (0, "own/d1", "moved"),
        ]
    );
    let fates = ["forwarded", "filtered", "absorbed", "parked"].map(|fate| rig.fate(fate));
    assert_eq!(fates, [5.0, 1.0, 1.0, 1.0]);
    let letters = rig.letters();
    assert_eq!(letters.len(), 1);
    let (message, reason, detail, plugin) = &letters[0];
    assert_eq!(
        (
            payload(message).as_str(),
            *reason,
            detail.as_str(),
            plugin.as_deref()
        ),
        ("reject", Reason::Rejected, "no good", Some("probe"))
    );
    let seen = rig.seen();
    let ids: std::collections::BTreeSet<_> = seen
        .appends
        .iter()
        .filter(|(queue, _)| *queue != BACKUP)
        .map(|(_, message)| message.id)
        .collect();
    assert_eq!(ids.len(), 7, "an id stands for one message");
    assert_eq!(
        seen.appends[0].1.id,
        MessageId { boot: 1, seq: 1 },
        "what is passed on keeps its name"
    );
    assert_eq!(rig.settled.faults(), 0);
}

#[test]
fn a_chain_of_two_keeps_the_order_of_inputs_in_one_append() {
    let rig = Rig::new(Config {
        lanes: 1,
        ..config(vec![plugin("first", "ports"), plugin("second", "")])
    });
    let left = rig.round(&[("d1", "a"), ("d1", "alarm"), ("d1", "b")]);
    let text: Vec<_> = left
        .iter()
        .map(|(queue, _, payload)| (queue.0, payload.as_str()))
        .collect();
    assert_eq!(
        text,
        [(0, "a 1 1"), (1, "alarm"), (2, "alarm"), (0, "b 2 2")]
    );
}

#[test]
fn the_template_leaves_topics_alone_that_a_plugin_named() {
    let template = TopicTemplate("up/{flow}/{topic}".to_owned());
    let rig = Rig::new(Config {
        topic: Some(template),
        ..config(vec![plugin("probe", "ports")])
    });
    let topics: Vec<_> = rig
        .round(&[("d1", "pass"), ("d1", "topic"), ("d1", "alarm")])
        .into_iter()
        .map(|(_, topic, _)| topic)
        .collect();
    assert_eq!(
        topics,
        [
            "up/climate/devices/d1",
            "own/d1",
            "up/climate/devices/d1",
            "up/climate/devices/d1"
        ]
    );
    let seen = rig.seen();
    assert!(
        seen.appends
            .iter()
            .all(|(_, message)| message.key() == b"d1"),
        "the key is found again"
    );
}

/// Brokers acknowledge what is sent to topics of their own and throw it away, and a device chooses its name.
#[test]
fn a_device_that_is_called_like_a_topic_of_the_broker_is_parked_and_one_that_the_config_means_is_not()
 {
    let with = |template: &str| {
        Rig::new(Config {
            topic: Some(TopicTemplate(template.to_owned())),
            ..config(vec![])
        })
    };
    let rig = with("{device}/telemetry");
    let left = rig.round(&[
        ("$SYS", "x"),
        ("d1", "a"),
        ("$share", "x"),
        ("$", "x"),
        ("d1", "b"),
    ]);
    assert_eq!(
        left.iter()
            .map(|(_, topic, _)| topic.as_str())
            .collect::<Vec<_>>(),
        ["d1/telemetry", "d1/telemetry"]
    );
    let letters = rig.letters();
    assert!(
        letters.len() == 3
            && letters
                .iter()
                .all(|(_, reason, ..)| *reason == Reason::Refused),
        "{letters:?}"
    );
    // Three lanes, so in any order.
    assert!(
        letters
            .iter()
            .any(|(.., why, _)| why.contains("`$SYS/telemetry` begins with `$`")),
        "{letters:?}"
    );
    assert_eq!(with("up/{device}").round(&[("$SYS", "x")])[0].1, "up/$SYS");
    assert_eq!(
        with("$aws/rules/{device}").round(&[("$SYS", "x")])[0].1,
        "$aws/rules/$SYS"
    );
}

#[test]
fn a_port_that_drops_filters() {
    let mut config = config(vec![plugin("probe", "ports")]);
    config.ports.insert("alarms".to_owned(), Vec::new());
    let rig = Rig::new(config);
    assert!(rig.round(&[("d1", "alarm")]).is_empty());
    assert_eq!(rig.round(&[("d1", "both")]).len(), 1);
    assert_eq!((rig.fate("filtered"), rig.fate("forwarded")), (1.0, 1.0));
}

#[test]
fn a_timer_is_told_the_time_and_its_messages_go_on_through_the_chain() {
    // In several lanes the second plugin would count them under a key that is at home in one.
    let rig = Rig::new(Config {
        lanes: 1,
        ..config(vec![plugin("first", "tick"), plugin("second", "")])
    });
    rig.wait("two ticks", |seen| seen.appends.len() >= 2);
    let seen = rig.seen();
    let (queue, message) = &seen.appends[0];
    assert_eq!(
        (*queue, message.topic_str(), message.key()),
        (OUT, "tick/all", b"all".as_slice())
    );
    let text = payload(message);
    let [now, ticks, count] = text.split(' ').collect::<Vec<_>>().try_into().unwrap();
    assert_eq!(
        (now, ticks, count),
        (message.received.0.to_string().as_str(), "1", "1"),
        "the second plugin has counted it"
    );
    assert_eq!(message.id.boot, 7, "its name is minted");
}

#[test]
fn the_host_interfaces_are_there_and_bounded() {
    let rig = Rig::of("");
    let before = crate::clock::Now::read().wall;
    let now: u64 = rig.payloads("d1", &["log"])[0].parse().unwrap();
    assert!((before..=crate::clock::Now::read().wall).contains(&crate::clock::WallTime(now)));
    let limit = f64::from(Limits::default().log_lines_per_second);
    assert_eq!(
        rig.metric("tidegate_plugin_log_lines_dropped_total", &[]),
        100.0 - limit
    );
    assert_eq!(
        rig.metric("tidegate_plugin_counted_total", &[("name", "seen")]),
        2.0
    );
    assert_eq!(
        rig.metric("tidegate_plugin_value", &[("name", "level")]),
        1.5
    );
    assert_eq!(
        rig.payloads("d1", &["file"]),
        ["true"],
        "no file can be read"
    );
}

#[test]
fn stopping_empties_the_inboxes_first() {
    let rig = Rig::of("");
    let bursts: Vec<_> = (0..50)
        .map(|_| rig.send(&[("d1", "x"), ("d2", "x"), ("d3", "x")]))
        .collect();
    assert_eq!(rig.chain.stop(PATIENCE), 0);
    assert!(bursts.iter().all(|burst| burst.all_settled()));
    let late = rig.send(&[("d1", "x")]);
    drop(late);
    assert_eq!(
        rig.settled.faults(),
        1,
        "what comes later is not acknowledged"
    );
}

#[test]
fn without_time_to_stop_the_rest_is_left() {
    let rig = Rig::new(Config {
        lanes: 1,
        batch_messages: 1,
        ..config(vec![plugin("probe", "")])
    });
    let bursts: Vec<_> = (0..5_000).map(|_| rig.send(&[("d1", "x")])).collect();
    let left = rig.chain.stop(Duration::ZERO);
    let unsettled = bursts.iter().filter(|burst| !burst.all_settled()).count();
    assert_eq!(unsettled, left);
}

#[test]
fn plugins_are_described() {
    let rig = Rig::new(config(vec![
        plugin("a", "ports"),
        plugin("b", "tick by-ten"),
    ]));
    let infos = rig.chain.plugins();
    assert_eq!(
        (
            &*infos[0].name,
            infos[0].ports.clone(),
            infos[0].tick_every,
            infos[0].state_version
        ),
        ("a", vec!["alarms".to_owned()], None, Some(1))
    );
    assert_eq!(
        (infos[1].tick_every, infos[1].state_version),
        (Some(Duration::from_millis(1)), Some(2))
    );
    assert_eq!(infos[0].digest.len(), 64);
}

#[test]
fn what_cannot_be_built_is_named() {
    let error = |config: Config| check(&config, engine()).unwrap().remove(0).1.to_string();
    let both = check(
        &config(vec![
            plugin("p", "refuse"),
            plugin("q", ""),
            plugin("r", "trap-configure"),
        ]),
        engine(),
    )
    .unwrap();
    assert_eq!(
        both.iter().map(|(index, _)| *index).collect::<Vec<_>>(),
        [0, 2],
        "every plugin is tried"
    );
    assert!(
        error(config(vec![plugin("p", "refuse")]))
            .contains("plugin `p` refuses its settings: told to refuse")
    );
    assert!(
        error(config(vec![plugin("p", "strange-port")]))
            .contains("plugin `p` has a port `nowhere` without a route")
    );
    assert!(
        error(config(vec![plugin("p", "trap-configure")]))
            .contains("plugin `p` fails while it is started")
    );
    let missing = PluginConfig {
        artefact: Artefact::File("/nowhere/rule.wasm".into()),
        ..plugin("p", "")
    };
    assert!(error(config(vec![missing])).contains("cannot read `/nowhere/rule.wasm`"));
    let unknown = PluginConfig {
        artefact: Artefact::Builtin("nothing".to_owned()),
        ..plugin("p", "")
    };
    assert!(error(config(vec![unknown])).contains("no built-in plugin `nothing`"));
    assert!(
        error(Config {
            ports: [].into(),
            ..config(vec![plugin("p", "")])
        })
        .contains("no route for `out`")
    );
    assert!(
        error(Config {
            topic: Some(TopicTemplate("{room}".to_owned())),
            ..config(vec![])
        })
        .contains("`{room}`")
    );
    let small = PluginConfig {
        limits: Limits {
            memory_bytes: 64 << 10,
            ..limits()
        },
        ..plugin("p", "")
    };
    assert!(error(config(vec![small])).contains("memory"));
}

#[test]
fn a_flow_without_plugins_forwards() {
    let rig = Rig::new(config(Vec::new()));
    assert_eq!(rig.payloads("d1", &["x"]), ["x"]);
}

#[test]
fn a_plugin_built_on_the_sdk_reads_and_writes_the_same_words() {
    let decode = PluginConfig {
        artefact: Artefact::Builtin("decode-json".to_owned()),
        settings: serde_json::json!({ "pick": ["device", "temperature"] }),
        ..plugin("decode", "")
    };
    let rig = Rig::new(config(vec![decode, plugin("probe", "")]));
    let left = rig.round(&[
        ("d1", r#"{"device":"d1","temperature":21.5,"humidity":40}"#),
        ("d2", "no json"),
        ("d1", r#"{"temperature":-3,"device":"d1"}"#),
    ]);
    let text: Vec<_> = left
        .iter()
        .map(|(_, topic, payload)| (topic.as_str(), payload.as_str()))
        .collect();
    let expected = [
        r#"{"device":"d1","temperature":21.5} 1"#,
        r#"{"device":"d1","temperature":-3} 2"#,
    ];
    assert_eq!(text, expected.map(|payload| ("devices/d1", payload)));
    let letters = rig.letters();
    assert_eq!(
        (
            payload(&letters[0].0).as_str(),
            letters[0].1,
            letters[0].3.as_deref()
        ),
        ("no json", Reason::Rejected, Some("decode"))
    );
}

#[test]
fn what_a_plugin_makes_of_its_own_does_not_expire_with_its_cause() {
    let rig = Rig::of("ports");
    let cause = |payload: &'static [u8]| Message {
        topic: Bytes::from_static(b"devices/d1"),
        key: Span { offset: 8, len: 2 },
        headers: crate::message::with_expiry(b"", 2),
        payload: Bytes::from_static(payload),
        ..Message::default()
    };
    let deliveries = [&b"alarm"[..], b"topic", b"two", b"pass"].map(|payload| Delivery {
        message: cause(payload),
        receipt: None,
    });
    rig.chain.deliver(deliveries.into());
    rig.wait("all of them", |seen| seen.appends.len() == 6);
    let seen = rig.seen();
    let expiring: Vec<_> = seen
        .appends
        .iter()
        .filter(|(_, message)| message.expires())
        .map(|(_, message)| payload(message))
        .collect();
    assert_eq!(expiring, ["0", "1", "pass"]);
    assert!(
        seen.appends
            .iter()
            .all(|(_, message)| message.key() == b"d1")
    );
    assert!(
        seen.appends
            .iter()
            .filter(|(_, message)| !message.expires())
            .all(|(_, message)| message.uptime > crate::clock::Uptime::default()),
        "they come now"
    );
}

#[test]
fn the_device_is_known_whatever_the_topic_says() {
    let topic = Some(TopicTemplate("up/batch".to_owned()));
    let rig = Rig::new(Config {
        topic,
        ..config(vec![plugin("probe", "")])
    });
    rig.round(&[("d1", "x"), ("d2", "x"), ("d1", "topic")]);
    let seen = rig.seen();
    let mut known: Vec<_> = seen
        .appends
        .iter()
        .map(|(_, message)| (message.topic_str(), message.key()))
        .collect();
    known.sort_unstable();
    assert_eq!(
        known,
        [
            ("own/d1", &b"d1"[..]),
            ("up/batch", b"d1"),
            ("up/batch", b"d2")
        ]
    );
}

#[test]
fn many_flows_share_few_workers_and_their_code() {
    let rigs: Vec<_> = (0..60).map(|_| Rig::of("")).collect();
    let bursts: Vec<_> = rigs
        .iter()
        .map(|rig| rig.send(&KEYS.map(|key| (key, "a"))))
        .collect();
    rigs.iter()
        .zip(&bursts)
        .for_each(|(rig, burst)| rig.settle(burst));
    assert!(
        rigs.iter()
            .all(|rig| rig.seen().appends.len() == KEYS.len())
    );
    let names = std::fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    let workers = names.filter(|name| name.trim_end() == "worker").count();
    // Unit tests of the pool have some of their own, and so may those with an engine of their own.
    assert!(
        workers < 60,
        "{workers} workers for {} lanes",
        3 * rigs.len()
    );
    let made: f64 = rigs
        .iter()
        .map(|rig| rig.metric("tidegate_plugin_code_total", &[("origin", "compiled")]))
        .sum();
    assert!(made <= 1.0, "compiled {made} times");
}

#[test]
fn while_there_is_no_room_lanes_take_nothing_and_a_stop_does_not_wait_for_it() {
    let fill = |rig: &Rig, is_full| {
        rig.outlet
            .is_full
            .store(is_full, std::sync::atomic::Ordering::Relaxed)
    };
    let rig = Rig::of("");
    fill(&rig, true);
    let burst = rig.send(&KEYS.map(|key| (key, "a")));
    // The lanes have had turns since.
    assert!(rig.chain.copies(0).is_ok());
    assert_eq!(
        (
            rig.seen().appends.len(),
            rig.metric("tidegate_chain_waiting_messages", &[])
        ),
        (0, KEYS.len() as f64)
    );
    fill(&rig, false);
    rig.settle(&burst);
    fill(&rig, true);
    drop(rig.send(&KEYS.map(|key| (key, "b"))));
    rig.chain.stop(PATIENCE);
    assert_eq!(
        (rig.seen().appends.len(), rig.settled.faults()),
        (KEYS.len(), 1),
        "the broker sends the others again"
    );
}
