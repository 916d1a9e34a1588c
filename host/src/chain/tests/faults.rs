use super::*;

/// A message that does `command`, among others, costs itself only.
fn costs_itself_only(command: &str, kind: FaultKind, limits: Limits) -> String {
    let rig = Rig::new(Config {
        lanes: 1,
        ..config(vec![PluginConfig {
            limits,
            ..plugin("probe", "")
        }])
    });
    assert_eq!(rig.payloads("d1", &["a", "b"]), ["a 1", "b 2"]);
    assert_eq!(
        rig.payloads("d1", &["c", "d", "e", command, "f", "g"]),
        ["c 3", "d 4", "e 5", "f 6", "g 7"],
        "{command}"
    );
    let letters = rig.letters();
    assert_eq!(letters.len(), 1, "{letters:?}");
    let (message, reason, detail, plugin) = letters.into_iter().next().unwrap();
    assert_eq!(
        (payload(&message).as_str(), reason, plugin.as_deref()),
        (command, Reason::Poison, Some("probe"))
    );
    assert!(detail.starts_with(kind.name()), "{detail}");
    assert!(rig.errors(kind) >= 1.0);
    assert_eq!(rig.fate("parked"), 1.0);
    assert_eq!(rig.payloads("d1", &["h"]), ["h 8"]);
    detail
}

#[test]
fn a_trap_is_parked_with_its_trace_and_last_words() {
    let detail = costs_itself_only("trap", FaultKind::Trap, limits());
    assert!(
        detail.contains("told to trap")
            && detail.contains("unreachable")
            && detail.contains("panic"),
        "{detail}"
    );
}

#[test]
fn an_endless_loop_is_ended_and_parked() {
    let limits = Limits {
        call_time: Duration::from_millis(300),
        ..limits()
    };
    costs_itself_only("spin", FaultKind::Timeout, limits);
}

#[test]
fn too_much_memory_is_parked() {
    costs_itself_only("grow", FaultKind::Memory, limits());
}

#[test]
fn endless_recursion_is_parked() {
    costs_itself_only("recurse", FaultKind::Stack, limits());
}

#[test]
fn a_flood_of_entries_or_bytes_is_parked() {
    costs_itself_only("flood", FaultKind::Output, limits());
    costs_itself_only(
        "huge",
        FaultKind::Output,
        Limits {
            memory_bytes: 64 << 20,
            ..limits()
        },
    );
}

#[test]
fn broken_contracts_are_parked() {
    for command in ["wild", "port"] {
        costs_itself_only(command, FaultKind::Contract, limits());
    }
}

#[test]
fn sleeping_and_leaving_are_parked() {
    let detail = costs_itself_only("sleep", FaultKind::Trap, limits());
    assert!(detail.contains("may not sleep"), "{detail}");
    costs_itself_only("exit", FaultKind::Trap, limits());
}

#[test]
fn an_output_that_goes_back_costs_no_message_that_does_not() {
    let rig = Rig::new(Config {
        lanes: 1,
        ..config(vec![plugin("probe", "")])
    });
    // At the head of its half of the batch the message has no input to go back to, and is counted like any other.
    assert_eq!(
        rig.payloads("d1", &["a", "b", "back", "c"]),
        ["a 1", "b 2", "back 3", "c 4"]
    );
    assert_eq!(rig.errors(FaultKind::Contract), 1.0);
}

#[test]
fn many_poisoned_messages_are_each_found() {
    let rig = Rig::of("");
    let payloads: Vec<_> = (0..60)
        .map(|index| if index % 7 == 3 { "trap" } else { "x" })
        .collect();
    let left = rig.payloads("d1", &payloads);
    let expected: Vec<_> = (1..=60 - 9).map(|count| format!("x {count}")).collect();
    assert_eq!(
        left,
        expected,
        "state is exact over {} traps",
        rig.errors(FaultKind::Trap)
    );
    assert_eq!(rig.letters().len(), 9);
    assert_eq!(rig.settled.faults(), 0);
}

#[test]
fn counts_stay_exact_over_traps_and_moved_save_points() {
    let rig = Rig::of("");
    let mut sent = 0;
    for round in 0..12 {
        let burst: Vec<_> = (0..1_000)
            .map(|index| (["d1", "d2", "d3", "d4", "d5"][index % 5], "x"))
            .collect();
        rig.settle(&rig.send(&burst));
        sent += 200;
        let key = ["d1", "d2", "d3", "d4", "d5"][round % 5];
        assert_eq!(rig.payloads(key, &["trap", "pass"]), ["pass"]);
    }
    for key in ["d1", "d2", "d3", "d4", "d5"] {
        assert_eq!(
            rig.payloads(key, &["y"]),
            [format!("y {}", sent + 1)],
            "{key}"
        );
    }
    assert_eq!(rig.metric("tidegate_plugin_state_lost_total", &[]), 0.0);
}

#[test]
fn a_plugin_that_cannot_be_saved_goes_on_and_the_loss_is_counted() {
    for (settings, kind) in [
        ("trap-save", FaultKind::Trap),
        ("big-state", FaultKind::State),
    ] {
        let rig = Rig::new(Config {
            lanes: 1,
            ..config(vec![plugin("probe", settings)])
        });
        for _ in 0..6 {
            let burst: Vec<_> = (0..1_000).map(|_| ("d1", "x")).collect();
            rig.settle(&rig.send(&burst));
        }
        assert_eq!(rig.payloads("d1", &["y"]), ["y 6001"], "{settings}");
        assert!(rig.errors(kind) >= 1.0, "{settings}");
        assert_eq!(rig.payloads("d1", &["trap"]), Vec::<String>::new());
        assert!(
            rig.metric("tidegate_plugin_state_lost_total", &[]) > 0.0,
            "{settings}"
        );
        assert_eq!(rig.payloads("d1", &["z"]).len(), 1, "it works on");
    }
}

#[test]
fn a_tick_that_traps_costs_no_message_and_no_state() {
    let rig = Rig::of("trap-tick tick");
    let mut expected = 0;
    while rig.errors(FaultKind::Trap) < 3.0 {
        expected += 1;
        assert_eq!(rig.payloads("d1", &["x"]), [format!("x {expected}")]);
    }
    assert!(rig.letters().is_empty());
}

#[test]
fn a_panic_of_the_host_restarts_the_lane_with_its_state() {
    let rig = Rig::new(Config {
        lanes: 1,
        ..config(vec![plugin("probe", "")])
    });
    assert_eq!(rig.payloads("d1", &["a"]), ["a 1"]);
    rig.seen().panics = 1;
    let lost = rig.send(&[("d1", "b")]);
    let deadline = Instant::now() + PATIENCE;
    while rig.metric("tidegate_lane_restarts_total", &[]) < 1.0 {
        assert!(Instant::now() < deadline, "the lane does not restart");
        std::thread::yield_now();
    }
    assert_eq!(rig.payloads("d1", &["c"]), ["c 3"]);
    assert!(!lost.all_settled(), "what was in hand is not acknowledged");
    assert_eq!(rig.metric("tidegate_lane_restarts_total", &[]), 1.0);
    assert_eq!(rig.chain.failure().why(), None);
}

#[test]
fn three_panics_within_a_minute_end_the_lane_and_are_told() {
    let rig = Rig::new(Config {
        lanes: 1,
        batch_messages: 1,
        ..config(vec![plugin("probe", "")])
    });
    rig.seen().panics = 3;
    let burst = rig.send(&[("d1", "a"), ("d1", "b"), ("d1", "c"), ("d1", "d")]);
    let deadline = Instant::now() + PATIENCE;
    while rig.chain.failure().why().is_none() {
        assert!(Instant::now() < deadline, "nobody is told");
        std::thread::yield_now();
    }
    let why = rig.chain.failure().why().unwrap();
    assert!(
        why.contains("lane 0 of flow `climate`") && why.contains("told to panic"),
        "{why}"
    );
    rig.chain.stop(PATIENCE);
    assert!(!burst.all_settled());
}

#[test]
fn a_dead_letter_goes_on_from_the_plugin_it_stopped_at_or_from_the_first() {
    let rig = Rig::new(config(vec![plugin("first", ""), plugin("second", "")]));
    let letter = |payload: &str| {
        let burst = Burst::new(Arc::clone(&rig.settled), [1]);
        let (topic, key) = (
            Bytes::from_static(b"devices/d1/telemetry"),
            Span { offset: 8, len: 2 },
        );
        let message = Message {
            topic,
            key,
            payload: Bytes::copy_from_slice(payload.as_bytes()),
            ..Message::default()
        };
        let returned = ReturnedLetter {
            delivery: Delivery {
                message,
                receipt: Some(burst.receipt(0)),
            },
            own_topic: false,
        };
        (returned, burst.progress())
    };
    let (letters, progress): (Vec<_>, Vec<_>) = [letter("a"), letter("trap"), letter("b")]
        .into_iter()
        .unzip();
    rig.chain.rerun(Some("second"), letters);
    let (more, last) = letter("c");
    rig.chain.rerun(Some("gone"), vec![more]);
    rig.wait("what was parked", |seen| seen.appends.len() == 3);
    assert!(
        progress
            .iter()
            .chain([&last])
            .all(|progress| progress.all_settled())
    );
    let seen: Vec<_> = rig
        .outlet
        .seen
        .lock()
        .unwrap()
        .appends
        .iter()
        .map(|(_, message)| payload(message))
        .collect();
    assert_eq!(seen, ["a 1", "b 2", "c 1 3"]);
    assert_eq!(rig.letters().len(), 1);
}

#[test]
fn what_comes_of_one_message_is_bounded_over_all_plugins() {
    let rig = Rig::new(Config {
        lanes: 1,
        ..config(vec![plugin("first", ""), plugin("second", "")])
    });
    let left = rig.round(&[("d1", "a"), ("d1", "more"), ("d2", "b"), ("d1", "two")]);
    let payloads: Vec<_> = left.into_iter().map(|(.., payload)| payload).collect();
    assert_eq!(payloads, ["a 1 1", "b 1 1", "0 2", "1 3"]);
    let letters = rig.letters();
    let (message, reason, detail, plugin) = &letters[0];
    assert_eq!(
        (letters.len(), payload(message).as_str(), *reason),
        (1, "more", Reason::Poison)
    );
    assert_eq!(
        plugin.as_deref(),
        Some("first"),
        "that is where it is tried again"
    );
    assert!(detail.contains("more than 4096 messages"), "{detail}");
    assert_eq!(
        (
            rig.fate("parked"),
            rig.fate("forwarded"),
            rig.settled.faults()
        ),
        (1.0, 3.0, 0)
    );
}

#[test]
fn a_save_that_goes_on_for_ever_ends_and_messages_go_on() {
    let rig = Rig::new(Config {
        lanes: 1,
        ..config(vec![plugin("probe", "endless-save")])
    });
    let burst: Vec<_> = (0..5_000).map(|_| ("d1", "x")).collect();
    rig.settle(&rig.send(&burst));
    assert_eq!(rig.payloads("d1", &["y"]), ["y 5001"]);
    assert!(rig.errors(FaultKind::State) >= 1.0);
    let change = Change {
        settings: Some(&serde_json::Value::String("endless-save by-ten".to_owned())),
        ..Change::default()
    };
    let refused = rig.chain.swap(0, change, &|_| {}).unwrap_err();
    assert!(
        refused
            .why
            .contains("`save` takes longer than 2s of processor time"),
        "{refused}"
    );
}

#[test]
fn what_was_run_again_after_a_fault_is_not_run_again_after_the_next() {
    let rig = Rig::new(Config {
        lanes: 1,
        batch_messages: 1,
        ..config(vec![plugin("probe", "")])
    });
    rig.settle(&rig.send(&[("d1", "x"); 50]));
    assert_eq!(rig.payloads("d1", &["trap", "trap", "runs"]), ["1"]);
    assert_eq!(rig.payloads("d1", &["y"]), ["y 51"]);
}

#[test]
fn whoever_stops_keeps_his_time_whatever_a_lane_does() {
    let limits = Limits {
        call_time: Duration::from_secs(8),
        ..limits()
    };
    let rig = Rig::new(Config {
        lanes: 1,
        ..config(vec![PluginConfig {
            limits,
            ..plugin("probe", "")
        }])
    });
    let burst = rig.send(&[("d1", "spin")]);
    rig.send(&[("d1", "a")]);
    let begun = Instant::now();
    rig.chain.stop(Duration::from_millis(50));
    drop(rig);
    assert!(
        begun.elapsed() < Duration::from_secs(6),
        "{:?}",
        begun.elapsed()
    );
    assert!(!burst.all_settled());
}
