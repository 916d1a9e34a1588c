//! Plugins and devices that keep failing, plugins that grow, and what they are granted.

use super::*;

fn failing(on_error: OnError, retry: Duration) -> Rig {
    let breaker = BreakerConfig {
        after: 3,
        retry,
        close_after: 2,
        ..BreakerConfig::default()
    };
    Rig::new(Config {
        lanes: 1,
        ..config(vec![PluginConfig {
            on_error,
            breaker,
            ..plugin("probe", "")
        }])
    })
}

fn run(rig: &Rig, key: &str, payloads: &[&str]) {
    rig.payloads(key, payloads);
}

fn wait_for(reached: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !reached() {
        assert!(Instant::now() < deadline, "it never comes to that");
        std::thread::yield_now();
    }
}

fn state(rig: &Rig) -> BreakerState {
    rig.chain.plugins()[0].breaker
}

#[test]
fn an_open_breaker_parks_without_asking_and_closes_after_good_messages() {
    let rig = failing(OnError::Park, Duration::from_millis(1));
    run(&rig, "d1", &["trap", "trap", "trap"]);
    assert_eq!(state(&rig), BreakerState::Open);
    let deadline = Instant::now() + PATIENCE;
    while state(&rig) != BreakerState::Closed {
        assert!(Instant::now() < deadline, "it does not close");
        run(&rig, "d1", &["a"]);
    }
    assert_eq!(rig.payloads("d1", &["b", "c"]).len(), 2);
}

#[test]
fn while_it_is_open_messages_are_parked_with_the_last_fault() {
    let rig = failing(OnError::Park, Duration::from_secs(3_600));
    run(&rig, "d1", &["trap", "trap", "trap", "good"]);
    let letters = rig.letters();
    let (message, reason, detail, plugin) = letters.last().unwrap();
    assert_eq!(
        (payload(message).as_str(), *reason, plugin.as_deref()),
        ("good", Reason::Poison, Some("probe"))
    );
    assert!(
        detail.contains("breaker is open; its last fault: trap"),
        "{detail}"
    );
    assert_eq!((letters.len(), rig.fate("parked")), (4, 4.0));
}

#[test]
fn what_is_dropped_is_told_to_the_ledger_with_its_receipt() {
    let rig = failing(OnError::Drop, Duration::from_secs(3_600));
    run(&rig, "d1", &["trap", "a", "trap", "trap", "b"]);
    let seen = rig.seen();
    let lost: Vec<_> = seen
        .losses
        .iter()
        .map(|loss| (loss.reason, &*loss.topic))
        .collect();
    assert_eq!(lost, [(LossReason::PluginFailed, &b"devices/d1"[..]); 4]);
    assert_eq!((seen.letters.len(), seen.appends.len()), (0, 1));
    drop(seen);
    assert_eq!((rig.fate("dropped"), rig.fate("forwarded")), (4.0, 1.0));
}

#[test]
fn what_is_passed_goes_on_as_it_came_and_in_order() {
    let rig = failing(OnError::Pass, Duration::from_secs(3_600));
    assert_eq!(
        rig.payloads("d1", &["a", "trap", "trap", "b", "trap", "trap", "c"]),
        ["a 1", "trap", "trap", "b 2", "trap", "trap", "c"]
    );
    assert_eq!((rig.letters().len(), rig.fate("forwarded")), (0, 7.0));
}

/// A plugin that fails on `odd`, until it is mended.
fn holding() -> PluginConfig {
    let breaker = BreakerConfig {
        retry: Duration::from_secs(3_600),
        ..BreakerConfig::default()
    };
    PluginConfig {
        on_error: OnError::Hold,
        breaker,
        ..plugin("probe", "trap-on-odd")
    }
}

fn mend(rig: &Rig) {
    let mended = serde_json::Value::String(String::new());
    let probation = Some(Probation {
        messages: 1,
        ..Probation::default()
    });
    let change = Change {
        settings: Some(&mended),
        plan: ChangePlan {
            probation,
            ..ChangePlan::default()
        },
        ..Change::default()
    };
    rig.chain.swap(0, change, &|_| {}).unwrap();
}

#[test]
fn a_chain_that_holds_messages_is_not_followed_by_another_and_goes_on() {
    let rig = Rig::new(Config {
        lanes: 1,
        ..config(vec![holding()])
    });
    let burst = rig.send(&["a", "odd", "b"].map(|payload| ("d1", payload)));
    rig.wait("what came before it", |seen| seen.appends.len() == 1);
    let metrics = Metrics::new(&Registry::new()).unwrap();
    let wiring = Wiring {
        outlet: rig.outlet.clone(),
        flows: rig.outlet.clone(),
        states: rig.outlet.clone(),
        mint: Arc::new(Mint::new(8)),
        metrics,
        taps: Default::default(),
        tracer: Default::default(),
        failed: Arc::default(),
    };
    let next = rig
        .chain
        .rehearse(
            Config {
                lanes: 2,
                ..config(vec![holding()])
            },
            wiring,
        )
        .unwrap();
    let why = next.follow(&rig.chain, &|| true).err().unwrap().to_string();
    assert!(
        why.contains("a plugin holds messages until it does its work"),
        "{why}"
    );
    mend(&rig);
    rig.settle(&burst);
    let seen = rig.seen();
    assert_eq!((seen.appends.len(), seen.letters.len()), (3, 0));
}

#[test]
fn what_is_held_waits_with_all_behind_it_and_goes_on_in_order_once_the_plugin_is_mended() {
    let rig = Rig::new(Config {
        lanes: 1,
        ..config(vec![holding(), plugin("last", "")])
    });
    let first = rig.send(&["a", "odd", "b"].map(|payload| ("d1", payload)));
    rig.wait("what came before it", |seen| seen.appends.len() == 1);
    let second = rig.send(&["c", "odd", "d"].map(|payload| ("d1", payload)));
    let breaker = || rig.chain.plugins()[0].breaker;
    assert_eq!(
        (breaker(), rig.letters().len(), first.all_settled()),
        (BreakerState::Open, 0, false)
    );
    wait_for(|| rig.fate("forwarded") == 1.0);
    assert_eq!(
        (rig.fate("parked"), rig.fate("filtered")),
        (0.0, 0.0),
        "a fate that is open"
    );

    mend(&rig);
    rig.settle(&first);
    rig.settle(&second);
    let left: Vec<String> = rig
        .seen()
        .appends
        .iter()
        .map(|(_, message)| payload(message))
        .collect();
    assert_eq!(
        left,
        ["a 1 1", "odd 2 2", "b 3 3", "c 4 4", "odd 5 5", "d 6 6"]
    );
    wait_for(|| rig.fate("forwarded") == 6.0);
    assert_eq!((rig.letters().len(), rig.fate("filtered")), (0, 0.0));
}

#[test]
fn what_is_held_is_tried_again_after_a_pause_and_a_stop_leaves_it_unsettled() {
    let rig = failing(OnError::Hold, Duration::from_millis(5));
    let burst = rig.send(&["a", "trap", "b"].map(|payload| ("d1", payload)));
    wait_for(|| rig.errors(FaultKind::Trap) >= 4.0);
    let behind = rig.send(&[("d1", "c")]);
    rig.chain.stop(PATIENCE);
    assert!(
        !behind.all_settled() && !burst.all_settled(),
        "a message that is held was acknowledged"
    );
    let seen = rig.seen();
    assert_eq!((seen.appends.len(), seen.letters.len()), (1, 0));
}

#[test]
fn who_knows_other_versions_is_told_when_a_breaker_opens() {
    let rig = failing(OnError::Park, Duration::from_secs(3_600));
    let told: Arc<Mutex<Vec<BreakerOpened>>> = Arc::default();
    let hook = Arc::clone(&told);
    rig.chain
        .on_opened(move |opened| hook.lock().unwrap().push(opened));
    run(&rig, "d1", &["trap", "trap", "trap", "trap"]);
    let told = told.lock().unwrap();
    assert_eq!(
        (told.len(), &*told[0].flow, told[0].plugin),
        (1, "climate", 0)
    );
    assert_eq!(told[0].digest, rig.chain.plugins()[0].digest);
    assert!(told[0].why.starts_with("trap"), "{}", told[0].why);
}

#[test]
fn a_device_with_bad_payloads_is_quarantined_and_the_others_go_on() {
    let quarantine = Some(QuarantineConfig {
        after: 3,
        retry: Duration::from_secs(3_600),
    });
    let rig = Rig::new(Config {
        lanes: 2,
        quarantine,
        ..config(vec![plugin("probe", "")])
    });
    (0..3).for_each(|_| run(&rig, "d1", &["reject"]));
    run(&rig, "d1", &["good"]);
    assert_eq!(rig.payloads("d2", &["a"]), ["a 1"]);
    let letters = rig.letters();
    let (message, reason, detail, plugin) = letters.last().unwrap();
    assert_eq!(
        (payload(message).as_str(), *reason, plugin.as_deref()),
        ("good", Reason::Quarantined, None)
    );
    assert!(
        detail.contains("device `d1` is quarantined after 3 bad payloads in a row"),
        "{detail}"
    );
}

#[test]
fn an_instance_that_has_grown_is_replaced_with_its_state() {
    let limits = Limits {
        memory_bytes: 8 << 20,
        recycle_bytes: 2 << 20,
        ..limits()
    };
    let rig = Rig::new(Config {
        lanes: 1,
        ..config(vec![PluginConfig {
            limits,
            ..plugin("probe", "leak")
        }])
    });
    let mut expected = 0;
    for _ in 0..40 {
        expected += 1;
        assert_eq!(rig.payloads("d1", &["a"]), [format!("a {expected}")]);
    }
    let recycled = rig.metric("tidegate_plugin_recycled_total", &[]);
    assert!(recycled >= 2.0, "{recycled}");
    assert_eq!(rig.letters().len(), 0);
}

#[test]
fn a_topic_that_is_not_granted_costs_its_message() {
    let grants = Grants {
        topics: vec!["own/d1".to_owned(), "alarms/#".to_owned()],
        ..Grants::default()
    };
    let rig = Rig::new(Config {
        lanes: 1,
        ..config(vec![PluginConfig {
            grants,
            ..plugin("probe", "")
        }])
    });
    run(&rig, "d1", &["topic", "a"]);
    run(&rig, "d2", &["topic", "b"]);
    let letters = rig.letters();
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert!(
        letters[0].2.contains("may not publish to `own/d2`") && letters[0].2.contains("alarms/#"),
        "{}",
        letters[0].2
    );
    assert_eq!(
        (rig.errors(FaultKind::Contract), rig.fate("forwarded")),
        (2.0, 3.0),
        "the batch, and the message"
    );
}

#[test]
fn an_import_that_is_not_granted_is_refused_with_the_line_to_add() {
    let grants = Grants {
        clock: false,
        ..Grants::default()
    };
    let refused = Rig::after(
        Arc::default(),
        config(vec![PluginConfig {
            grants,
            ..plugin("probe", "")
        }]),
    )
    .err()
    .unwrap();
    let text = refused.to_string();
    assert!(
        text.contains("reads the clock") && text.contains("add \"clock\""),
        "{text}"
    );
}

#[test]
fn what_a_component_is_is_told_without_running_a_flow() {
    let found = inspect(
        &probe_bytes(),
        engine(),
        Some(&serde_json::Value::String("ports tick".to_owned())),
    )
    .unwrap();
    assert_eq!(
        (found.contract.as_str(), found.has_timer, found.has_state),
        ("0.1.0", true, true)
    );
    assert!(
        found
            .imports
            .iter()
            .any(|import| import.capability == Capability::Clock),
        "{:?}",
        found.imports
    );
    let setup = found.setup.unwrap().unwrap();
    assert_eq!(
        (setup.ports, setup.tick_every),
        (vec!["alarms".to_owned()], Some(Duration::from_millis(1)))
    );
    assert!(found.memory_bytes > Some(0) && found.digest.len() == 64);
}

#[test]
fn a_payload_that_lacks_a_value_is_no_reason_for_a_quarantine() {
    let quarantine = Some(QuarantineConfig {
        after: 3,
        retry: Duration::from_secs(3_600),
    });
    for (bad, left) in [("lacks", vec!["x 1".to_owned()]), ("reject", Vec::new())] {
        let rig = Rig::new(Config {
            quarantine,
            ..config(vec![plugin("probe", "")])
        });
        for _ in 0..5 {
            assert!(rig.payloads("d1", &[bad]).is_empty());
        }
        assert_eq!(rig.payloads("d1", &["x"]), left, "{bad}");
    }
}
/// One lane whose devices are judged, with a breaker that opens early.
fn judged(plugins: Vec<PluginConfig>) -> Rig {
    let quarantine = Some(QuarantineConfig {
        after: 3,
        retry: Duration::from_secs(3_600),
    });
    let breaker = BreakerConfig {
        after: 3,
        retry: Duration::from_secs(3_600),
        ..BreakerConfig::default()
    };
    let plugins = plugins
        .into_iter()
        .map(|plugin| PluginConfig { breaker, ..plugin })
        .collect();
    Rig::new(Config {
        lanes: 1,
        quarantine,
        ..config(plugins)
    })
}

#[test]
fn the_device_of_the_input_is_accused_and_not_the_one_that_a_plugin_names() {
    let rig = judged(vec![plugin("first", ""), plugin("second", "")]);
    (0..4).for_each(|_| run(&rig, "rogue", &["pose"]));
    assert_eq!(
        rig.payloads("d1", &["a"]),
        ["a 1 1"],
        "`d1` is named by what `rogue` sends"
    );
    assert_eq!(rig.payloads("rogue", &["b"]), Vec::<String>::new());
    assert_eq!(rig.letters().last().unwrap().1, Reason::Quarantined);
}

#[test]
fn one_devices_burst_of_poison_parks_no_reading_of_others() {
    for is_first in [false, true] {
        let rig = judged(vec![plugin("probe", "")]);
        if !is_first {
            run(&rig, "d1", &["a"]);
        }
        let bad = (0..30).map(|_| ("rogue".to_owned(), "trap"));
        let good = (0..30).map(|number| (format!("d{}", number % 10), "good"));
        let all: Vec<_> = bad.chain(good).collect();
        let all: Vec<_> = all
            .iter()
            .map(|(key, payload)| (key.as_str(), *payload))
            .collect();
        assert_eq!(
            (rig.round(&all).len(), state(&rig)),
            (30, BreakerState::Closed),
            "{is_first}"
        );
        assert!(
            rig.errors(FaultKind::Trap) < 30.0,
            "{}",
            rig.errors(FaultKind::Trap)
        );
        (0..2).for_each(|_| run(&rig, "rogue", &["trap"]));
        run(&rig, "rogue", &["good"]);
        assert_eq!(
            rig.letters().last().unwrap().1,
            Reason::Quarantined,
            "{is_first}"
        );
    }
}

#[test]
fn a_bad_payload_under_ever_new_names_costs_itself() {
    let rig = judged(vec![plugin("probe", "")]);
    let mut forwarded = 0;
    for round in 0..40 {
        let (one, other) = (format!("new{round}"), format!("newer{round}"));
        let honest = ["h1", "h2", "h3", "h4"][round % 4];
        forwarded += rig
            .round(&[(&one, "trap"), (honest, "good"), (&other, "trap")])
            .len();
    }
    assert_eq!(
        (forwarded, rig.letters().len(), state(&rig)),
        (40, 80, BreakerState::Closed)
    );
}

#[test]
fn while_a_breaker_is_open_those_that_are_served_well_go_on() {
    let rig = judged(vec![plugin("probe", "trap-on-odd")]);
    let all: Vec<_> = KEYS.iter().map(|key| (*key, "even")).collect();
    assert_eq!(rig.round(&all).len(), 9);
    run(&rig, "d1", &["odd"]);
    run(&rig, "d2", &["odd"]);
    // Half of all at least, with the nine good ones.
    (0..7).for_each(|number| run(&rig, KEYS[2 + number], &["odd"]));
    assert_eq!(state(&rig), BreakerState::Open);
    assert_eq!(rig.payloads("stranger", &["even"]).len(), 1);
    assert_eq!(
        rig.payloads("d1", &["even"]).len(),
        0,
        "it failed on its last one"
    );
    assert_eq!(rig.payloads("stranger", &["even"]).len(), 1);
}

#[test]
fn a_tick_that_keeps_failing_opens_the_breaker_and_costs_no_message() {
    let breaker = BreakerConfig {
        after: 3,
        retry: Duration::from_secs(3_600),
        ..BreakerConfig::default()
    };
    let rig = Rig::new(Config {
        lanes: 1,
        ..config(vec![PluginConfig {
            breaker,
            ..plugin("probe", "tick trap-tick")
        }])
    });
    wait_for(|| state(&rig) == BreakerState::Open);
    let mut expected = 0;
    for _ in 0..50 {
        expected += 1;
        assert_eq!(rig.payloads("d1", &["a"]), [format!("a {expected}")]);
    }
    assert_eq!(
        (rig.errors(FaultKind::Trap), rig.letters().len()),
        (3.0, 0),
        "no tick is tried before the pause is over"
    );
}

#[test]
fn names_and_lines_are_the_plugins_over_all_of_its_instances() {
    let limits = Limits {
        log_lines_per_second: 0,
        ..limits()
    };
    let breaker = BreakerConfig {
        after: 1_000,
        ..BreakerConfig::default()
    };
    let rig = Rig::new(Config {
        lanes: 1,
        ..config(vec![PluginConfig {
            limits,
            breaker,
            ..plugin("probe", "")
        }])
    });
    for round in 0..40 {
        run(&rig, "d1", &[format!("name:n{round}").as_str(), "trap"]);
    }
    let families = rig.registry.gather();
    let own = families
        .iter()
        .find(|family| family.name() == "tidegate_plugin_counted_total")
        .unwrap();
    assert_eq!(own.get_metric().len(), 32);
    assert!(rig.metric("tidegate_plugin_metric_updates_refused_total", &[]) >= 8.0);
    assert!(rig.metric("tidegate_plugin_log_lines_dropped_total", &[]) >= 40.0);
}
