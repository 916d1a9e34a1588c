use super::*;

pub(super) fn settings(text: &str) -> serde_json::Value {
    serde_json::Value::String(text.to_owned())
}

/// A component that differs and does the same: a custom section is added.
pub(super) fn other_probe(name: u8) -> Vec<u8> {
    let mut bytes = probe_bytes();
    bytes.extend([0, 3, 1, b'v', name]);
    bytes
}

/// For whom no transition is of interest.
pub(super) const QUIET: Events<'static> = &|_| {};

/// A probation that is over after so many messages, and never by time.
pub(super) fn probation(messages: u64) -> ChangePlan {
    let probation = Probation {
        time: PATIENCE,
        messages,
        ..Probation::default()
    };
    ChangePlan {
        probation: Some(probation),
        ..ChangePlan::default()
    }
}

/// A change that is confirmed as soon as it is there.
pub(super) fn change<'a>(
    component: Option<&'a [u8]>,
    settings: Option<&'a serde_json::Value>,
) -> Change<'a> {
    let probation = Probation {
        time: Duration::ZERO,
        ..Probation::default()
    };
    let plan = ChangePlan {
        probation: Some(probation),
        ..ChangePlan::default()
    };
    Change {
        component,
        settings,
        plan,
        ..Change::default()
    }
}

/// A change that is on probation for so many messages.
pub(super) fn watched<'a>(settings: &'a serde_json::Value, messages: u64) -> Change<'a> {
    Change {
        settings: Some(settings),
        plan: probation(messages),
        ..Change::default()
    }
}

/// Swaps on a thread of its own while `during` is repeated until the verdict is there.
fn swap_under_traffic(
    rig: &Rig,
    change: Change<'_>,
    mut during: impl FnMut(),
) -> Result<Swapped, NotChanged> {
    std::thread::scope(|scope| {
        let chain = &rig.chain;
        let swap = scope.spawn(move || chain.swap(0, change, QUIET));
        while !swap.is_finished() {
            during();
        }
        swap.join().unwrap()
    })
}

#[test]
fn a_swap_keeps_every_count_under_traffic() {
    let rig = Rig::of("");
    let mut round = 0;
    let mut expect = |rig: &Rig| {
        round += 1;
        assert_eq!(one_each(rig, "x"), vec![format!("x {round}"); 9]);
    };
    expect(&rig);
    for version in 0..5 {
        let bytes = other_probe(version);
        let before = rig.chain.plugins()[0].digest.clone();
        let change = Change {
            component: Some(&bytes),
            plan: probation(100),
            ..Change::default()
        };
        let swapped = swap_under_traffic(&rig, change, || expect(&rig)).unwrap();
        assert_eq!((&swapped.old, swapped.pauses.len()), (&before, 3));
        assert_ne!(swapped.new, before);
        assert_eq!(rig.chain.plugins()[0].digest, swapped.new);
        expect(&rig);
    }
    assert_eq!(
        rig.metric("tidegate_swap_transitions_total", &[("state", "swapped")]),
        5.0
    );
    assert!(rig.letters().is_empty());
    assert_eq!(rig.settled.faults(), 0);
}

#[test]
fn new_settings_are_a_swap_too_and_the_state_goes_along() {
    let rig = Rig::of("");
    assert_eq!(one_each(&rig, "x"), vec!["x 1"; 9]);
    let by_ten = settings("by-ten");
    let swapped = rig
        .chain
        .swap(0, change(None, Some(&by_ten)), QUIET)
        .unwrap();
    assert_eq!(swapped.old, swapped.new);
    assert_eq!(one_each(&rig, "x"), vec!["x 11"; 9]);
    assert_eq!(
        rig.payloads("d1", &["trap", "x"]),
        ["x 21"],
        "recovered with what the old version saved"
    );
}

#[test]
fn the_same_again_changes_nothing() {
    let rig = Rig::of("");
    let swapped = rig
        .chain
        .swap(0, change(Some(&probe_bytes()), Some(&settings(""))), QUIET)
        .unwrap();
    assert!(swapped.pauses.is_empty() && swapped.old == swapped.new);
}

#[test]
fn a_bad_candidate_is_refused_and_the_running_version_untouched() {
    let rig = Rig::of("");
    assert_eq!(one_each(&rig, "x"), vec!["x 1"; 9]);
    let whole = probe_bytes();
    let bytes: [(&[u8], &str); 6] = [
        (b"", "the file is empty"),
        (&whole[..whole.len() / 2], "does not compile"),
        (b"not wasm", "does not begin with"),
        (b"\0asm\x01\0\0\0", "core WebAssembly module"),
        (
            b"\0asm\x0d\0\x01\0",
            "does not export `tidegate:plugin/transform@0.1.0`",
        ),
        (DENIED, "denied import `x:y/z`"),
    ];
    for (component, why) in bytes {
        let refused = rig
            .chain
            .swap(0, change(Some(component), None), QUIET)
            .unwrap_err();
        assert!(
            refused.step == ChangeStep::Compile && refused.why.contains(why),
            "{refused}"
        );
    }
    let all = [
        ("refuse", ChangeStep::Configure, "told to refuse"),
        ("trap-configure", ChangeStep::Configure, "trap"),
        (
            "strange-port",
            ChangeStep::Configure,
            "`nowhere` without a route",
        ),
        ("trap-empty", ChangeStep::SelfTest, "trap"),
        ("trap-tick tick", ChangeStep::SelfTest, "trap"),
        (
            "refuse-restore",
            ChangeStep::Restore,
            "cannot read state of version 1",
        ),
        ("trap-restore", ChangeStep::Restore, "trap"),
    ];
    for (text, step, why) in all {
        let refused = rig
            .chain
            .swap(0, change(None, Some(&settings(text))), QUIET)
            .unwrap_err();
        assert!(
            refused.step == step && refused.why.contains(why),
            "{text}: {refused}"
        );
    }
    assert_eq!(
        rig.metric("tidegate_swap_transitions_total", &[("state", "refused")]),
        13.0
    );
    assert_eq!(one_each(&rig, "x"), vec!["x 2"; 9]);
    assert!(rig.chain.swap(9, Change::default(), QUIET).is_err());
}

#[test]
fn a_trap_on_the_first_batch_brings_the_old_version_back_in_all_lanes() {
    let rig = Rig::of("");
    let mut round = 0;
    let mut expect = |rig: &Rig| {
        round += 1;
        assert_eq!(one_each(rig, "x"), vec![format!("x {round}"); 9]);
    };
    expect(&rig);
    let trap = settings("trap-first");
    let refused = swap_under_traffic(&rig, watched(&trap, 1_000), || expect(&rig)).unwrap_err();
    // A lane that has it may get its batch before the others have it: then its outputs never counted anywhere.
    assert!(
        matches!(
            refused.state,
            ChangeState::RolledBack | ChangeState::Refused
        ),
        "{refused}"
    );
    assert!(refused.why.contains("on live messages: trap"), "{refused}");
    expect(&rig);
    assert!(rig.letters().is_empty(), "nothing was parked");
    assert_eq!(
        rig.metric(
            "tidegate_swap_transitions_total",
            &[("state", refused.state.name())]
        ),
        1.0
    );
    assert_eq!(rig.settled.faults(), 0);
}

/// Waits until the change under way has come to `state`.
pub(super) fn wait_for(rig: &Rig, state: ChangeState) {
    let deadline = Instant::now() + PATIENCE;
    while rig.chain.plugins()[0]
        .change
        .as_ref()
        .is_none_or(|change| change.state != state)
    {
        assert!(
            Instant::now() < deadline,
            "it never comes to {}",
            state.name()
        );
        std::thread::yield_now();
    }
}

/// Ends a change that a failed test leaves under way.
struct Ended<'a>(&'a Chain);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.cancel(0, "the test has failed");
        }
    }
}

/// Runs a change, and `during` it from `state` on.
pub(super) fn while_in(
    rig: &Rig,
    state: ChangeState,
    change: Change<'_>,
    during: impl FnOnce(),
) -> Result<Swapped, NotChanged> {
    std::thread::scope(|scope| {
        let chain = &rig.chain;
        let swap = scope.spawn(move || chain.swap(0, change, QUIET));
        let _ended = Ended(chain);
        wait_for(rig, state);
        during();
        swap.join().unwrap()
    })
}

#[test]
fn a_trap_after_a_while_brings_back_the_old_version_from_that_very_batch_with_the_state_that_was_told()
 {
    let rig = Rig::of("");
    assert_eq!(one_each(&rig, "x"), vec!["x 1"; 9]);
    let by_ten = settings("by-ten trap-after-50");
    let refused = while_in(
        &rig,
        ChangeState::OnProbation,
        watched(&by_ten, 10_000),
        || {
            assert_eq!(
                one_each(&rig, "x"),
                vec!["x 11"; 9],
                "the new version's outputs count"
            );
            let answers = rig.payloads("d1", &["x"; 60]);
            let mut count = 11;
            let mut is_back = false;
            for answer in &answers {
                let by_ten = format!("x {}", count + 10);
                is_back |= *answer != by_ten;
                count += if is_back { 1 } else { 10 };
                assert_eq!(
                    *answer,
                    format!("x {count}"),
                    "from the very batch on in which it failed: {answers:?}"
                );
            }
            assert!(is_back, "{answers:?}");
            assert_eq!(rig.payloads("d1", &["x"]), [format!("x {}", count + 1)]);
        },
    )
    .unwrap_err();
    assert_eq!(
        (refused.step, refused.state),
        (ChangeStep::Probation, ChangeState::RolledBack),
        "{refused}"
    );
    assert_eq!(rig.payloads("d2", &["x"]), ["x 12"], "in another lane too");
    assert!(rig.letters().is_empty(), "nothing was parked");
}

#[test]
fn what_both_versions_fail_on_is_not_held_against_the_new_one() {
    let rig = Rig::of("");
    let by_ten = settings("by-ten");
    let swapped = while_in(&rig, ChangeState::OnProbation, watched(&by_ten, 12), || {
        assert_eq!(rig.payloads("d1", &["x", "trap", "y"]), ["x 10", "y 20"]);
        assert_eq!(one_each(&rig, "x").len(), 9);
    });
    let figures = swapped.unwrap().figures.unwrap();
    assert!(
        figures.old.faults > 0 && figures.new.faults > 0,
        "{figures:?}"
    );
    assert_eq!(
        (rig.letters().len(), rig.payloads("d1", &["x"])),
        (1, vec!["x 40".to_owned()])
    );
}

#[test]
fn a_fault_of_the_old_version_in_readiness_costs_nothing_but_its_recovery() {
    let rig = Rig::of("trap-on-odd");
    let cured = settings("by-ten");
    let refused = while_in(
        &rig,
        ChangeState::OnProbation,
        watched(&cured, 10_000),
        || {
            assert_eq!(
                rig.payloads("d1", &["x", "odd", "y"]),
                ["x 10", "odd 20", "y 30"],
                "the old one traps on `odd`"
            );
            assert!(rig.letters().is_empty());
            assert!(rig.chain.cancel(0, "by hand"));
        },
    )
    .unwrap_err();
    assert_eq!(
        (refused.step, refused.state, &*refused.why),
        (ChangeStep::Cancel, ChangeState::RolledBack, "by hand")
    );
    assert_eq!(
        rig.payloads("d1", &["x"]),
        ["x 31"],
        "it goes on from what was told"
    );
}

#[test]
fn more_rejections_of_the_same_messages_bring_the_old_version_back() {
    let rig = Rig::of("");
    let strict = settings("strict");
    let refused = while_in(
        &rig,
        ChangeState::OnProbation,
        watched(&strict, 10_000),
        || {
            for _ in 0..20 {
                rig.settle(&rig.send(&[
                    ("d1", "loose"),
                    ("d2", "x"),
                    ("d3", "x"),
                    ("d1", "reject"),
                    ("d1", "x"),
                ]));
            }
        },
    )
    .unwrap_err();
    assert_eq!(
        refused.why,
        "it rejects 25 % of what the running version accepts, the limit is 5 %"
    );
    let figures = *refused.figures.unwrap();
    assert_eq!(
        (figures.newly_rejected, figures.old.rejected),
        (figures.old.messages / 5, figures.old.messages / 5)
    );
}

#[test]
fn a_slow_leak_brings_the_old_version_back_before_it_meets_the_limit() {
    let rig = Rig::of("");
    let leak = settings("leak");
    let refused = while_in(
        &rig,
        ChangeState::OnProbation,
        watched(&leak, 10_000),
        || {
            (0..400).for_each(|_| assert_eq!(rig.payloads("d1", &["x"]).len(), 1));
        },
    )
    .unwrap_err();
    assert!(
        refused
            .why
            .contains("KiB of memory where the running version takes"),
        "{refused}"
    );
    assert_eq!(rig.payloads("d1", &["x"]), ["x 401"]);
}

#[test]
fn a_shadow_has_no_effect_and_its_differences_are_told() {
    let rig = Rig::of("");
    assert_eq!(one_each(&rig, "x"), vec!["x 1"; 9]);
    let by_ten = settings("by-ten");
    let shadow = Shadow {
        messages: Some(20),
        max_differing: Some(0.1),
        ..Shadow::default()
    };
    let careful = Change {
        plan: ChangePlan {
            shadow: Some(shadow),
            ..probation(1)
        },
        ..watched(&by_ten, 1)
    };
    let refused = while_in(&rig, ChangeState::Shadowing, careful, || {
        assert_eq!(one_each(&rig, "x"), vec!["x 2"; 9]);
        assert_eq!(rig.payloads("d1", &["drop", "log"]).len(), 1);
        assert_eq!(one_each(&rig, "x"), vec!["x 3"; 9]);
    })
    .unwrap_err();
    assert_eq!(
        (refused.step, refused.state),
        (ChangeStep::Shadow, ChangeState::Refused)
    );
    assert_eq!(
        refused.why,
        "its outputs differ for 90 % of what was compared, the limit is 10 %"
    );
    let differences = refused.figures.unwrap().differences.unwrap();
    assert_eq!(
        (differences.inputs.same, differences.inputs.changed),
        (2, 18)
    );
    assert!(
        !differences.samples.is_empty() && differences.parts[&DifferingPart::Payload] == 18,
        "{differences:?}"
    );
    assert_eq!(
        rig.metric("tidegate_plugin_counted_total", &[("name", "seen")]),
        2.0,
        "its metrics go nowhere either"
    );
    assert_eq!(one_each(&rig, "x"), vec!["x 4"; 9]);
}

#[test]
fn a_shadow_of_the_same_logic_is_promoted_with_exact_state_and_ticks_that_agree() {
    let rig = Rig::of("tick");
    let same = settings("tick other words");
    let shadow = Shadow {
        max_differing: Some(0.0),
        ..Shadow::default()
    };
    let careful = Change {
        plan: ChangePlan {
            shadow: Some(shadow),
            ..probation(9)
        },
        ..watched(&same, 9)
    };
    let told = Mutex::new(None);
    let events = |event: &ChangeEvent| {
        if event.state == ChangeState::Shadowed {
            *told.lock().unwrap() = event.figures.clone();
        }
    };
    let swapped = std::thread::scope(|scope| {
        let (chain, events) = (&rig.chain, &events);
        let swap = scope.spawn(move || chain.swap(0, careful, events));
        let _ended = Ended(chain);
        wait_for(&rig, ChangeState::Shadowing);
        for _ in 0..5 {
            rig.settle(&rig.send(&KEYS.map(|key| (key, "x"))));
        }
        assert!(rig.chain.promote(0));
        wait_for(&rig, ChangeState::OnProbation);
        rig.settle(&rig.send(&KEYS.map(|key| (key, "x"))));
        swap.join().unwrap()
    });
    assert!(swapped.is_ok(), "{swapped:?}");
    let differences = told.into_inner().unwrap().unwrap().differences.unwrap();
    assert_eq!(
        (
            differences.inputs.compared(),
            differences.inputs.differing()
        ),
        (45, 0)
    );
    rig.settle(&rig.send(&[("d1", "last")]));
    let seen = rig.seen();
    assert!(
        seen.appends
            .iter()
            .any(|(_, message)| payload(message) == "last 7"),
        "five, one and this"
    );
}

fn share(payloads: &[String], wanted: &str) -> usize {
    payloads.iter().filter(|payload| *payload == wanted).count()
}

#[test]
fn a_canary_takes_its_share_of_the_keys_and_then_the_rest_with_one_count_each() {
    let rig = Rig::of("");
    assert_eq!(one_each(&rig, "x"), vec!["x 1"; 9]);
    let by_ten = settings("by-ten");
    let canary = Canary {
        share: 0.5,
        time: None,
        messages: None,
    };
    let plan = ChangePlan {
        canary: Some(canary),
        ..probation(9)
    };
    let swapped = while_in(
        &rig,
        ChangeState::Canary,
        Change {
            plan,
            ..watched(&by_ten, 9)
        },
        || {
            let mixed = one_each(&rig, "x");
            let new = mixed.iter().filter(|payload| *payload == "x 11").count();
            assert!(
                (1..9).contains(&new)
                    && mixed.iter().filter(|payload| *payload == "x 2").count() == 9 - new,
                "{mixed:?}"
            );
            assert_eq!(
                one_each(&rig, "x")
                    .iter()
                    .filter(|payload| *payload == "x 21")
                    .count(),
                new,
                "always the same ones"
            );
            assert!(rig.chain.promote(0));
            wait_for(&rig, ChangeState::OnProbation);
            let all = one_each(&rig, "x");
            assert_eq!(
                [share(&all, "x 31"), share(&all, "x 13")],
                [new, 9 - new],
                "each goes on from what was told of it: {all:?}"
            );
        },
    );
    assert!(swapped.is_ok(), "{swapped:?}");
    let all = one_each(&rig, "x");
    assert_eq!(share(&all, "x 41") + share(&all, "x 23"), 9, "{all:?}");
}

#[test]
#[expect(clippy::too_many_lines, reason = "every way a swap can go")]
fn every_transition_is_told_in_order() {
    use ChangeState::{
        Compiled, Confirmed, Linked, OnProbation, Ready, Refused, Seen, SelfTested, Shadowed,
        Shadowing, Swapped, Verified,
    };
    let rig = Rig::of("");
    let told = Mutex::new(Vec::new());
    let events = |event: &ChangeEvent| {
        // Who writes it down has done so before others see it.
        let shown = rig.chain.plugins()[0]
            .change
            .as_ref()
            .map(|change| change.state);
        assert!(
            shown.is_some_and(|shown| shown != event.state || shown == Seen),
            "{shown:?} is shown before {:?}",
            event.state
        );
        told.lock().unwrap().push((event.state, event.why.clone()));
    };
    let states = || {
        told.lock()
            .unwrap()
            .drain(..)
            .map(|(state, _)| state)
            .collect::<Vec<_>>()
    };
    let (bytes, accept) = (other_probe(1), |_: &[u8]| Ok(()));
    rig.chain
        .swap(
            0,
            Change {
                verify: Some(Verifier(&accept)),
                ..change(Some(&bytes), None)
            },
            &events,
        )
        .unwrap();
    assert_eq!(
        states(),
        [
            Seen,
            Verified,
            Compiled,
            Linked,
            SelfTested,
            Ready,
            Swapped,
            OnProbation,
            Confirmed
        ]
    );

    let by_ten = settings("by-ten");
    let plan = ChangePlan {
        shadow: Some(Shadow {
            time: Some(Duration::ZERO),
            ..Shadow::default()
        }),
        canary: Some(Canary {
            share: 0.1,
            time: Some(Duration::ZERO),
            messages: None,
        }),
        ..change(None, None).plan
    };
    rig.chain
        .swap(
            0,
            Change {
                plan,
                ..change(None, Some(&by_ten))
            },
            &events,
        )
        .unwrap();
    let careful = [
        Shadowing,
        Shadowed,
        Ready,
        ChangeState::Canary,
        Swapped,
        OnProbation,
        Confirmed,
    ];
    assert_eq!(
        states(),
        [[Seen, Compiled, Linked, SelfTested].as_slice(), &careful].concat()
    );

    let (bytes, refuse) = (
        other_probe(2),
        |_: &[u8]| Err("signed by nobody".to_owned()),
    );
    let refused = rig
        .chain
        .swap(
            0,
            Change {
                verify: Some(Verifier(&refuse)),
                ..change(Some(&bytes), None)
            },
            &events,
        )
        .unwrap_err();
    assert_eq!(
        (refused.step, &*refused.why),
        (ChangeStep::Verify, "signed by nobody")
    );
    assert_eq!(
        *told.lock().unwrap(),
        [(Seen, None), (Refused, Some("signed by nobody".to_owned()))]
    );
    assert_eq!(
        rig.metric("tidegate_swap_transitions_total", &[("state", "confirmed")]),
        2.0
    );
    assert!(rig.chain.plugins()[0].change.is_none());
}

#[test]
fn nothing_can_be_promoted_or_cancelled_where_nothing_is_under_way() {
    let rig = Rig::of("");
    assert!(!rig.chain.promote(0) && !rig.chain.cancel(0, "by hand"));
}

#[test]
fn a_state_that_is_not_read_is_a_refusal_unless_the_plan_begins_without() {
    let rig = Rig::of("");
    assert_eq!(one_each(&rig, "x"), vec!["x 1"; 9]);
    let strange = settings("refuse-restore");
    let refused = rig
        .chain
        .swap(0, change(None, Some(&strange)), QUIET)
        .unwrap_err();
    assert_eq!(refused.step, ChangeStep::Restore);
    assert_eq!(one_each(&rig, "x"), vec!["x 2"; 9]);
    let empty = change(None, Some(&strange));
    let plan = ChangePlan {
        state: OnRefusedState::Empty,
        ..empty.plan
    };
    rig.chain.swap(0, Change { plan, ..empty }, QUIET).unwrap();
    assert_eq!(one_each(&rig, "x"), vec!["x 1"; 9]);

    let trap = settings("trap-restore");
    let refused = rig
        .chain
        .swap(
            0,
            Change {
                plan,
                ..change(None, Some(&trap))
            },
            QUIET,
        )
        .unwrap_err();
    assert!(
        refused.step == ChangeStep::Restore && refused.why.contains("trap"),
        "a fault is no refusal of the state: {refused}"
    );
}

#[test]
fn without_traffic_the_trial_ends_and_a_later_trap_is_an_ordinary_one() {
    let rig = Rig::of("");
    rig.chain
        .swap(0, change(Some(&other_probe(1)), None), QUIET)
        .unwrap();
    assert_eq!(rig.payloads("d1", &["trap", "x"]), ["x 1"]);
    assert_eq!(rig.letters().len(), 1);
}

#[test]
fn ticks_run_on_through_a_swap() {
    let rig = Rig::of("tick");
    rig.wait("ticks", |seen| seen.appends.len() > 3);
    rig.chain
        .swap(0, change(Some(&other_probe(1)), None), QUIET)
        .unwrap();
    let before = rig.seen().appends.len();
    rig.wait("ticks of the new version", |seen| {
        seen.appends.len() > before + 6
    });
}

#[test]
fn stopping_ends_a_swap_that_is_on_probation() {
    let rig = Rig::of("");
    let other = settings("other words");
    let refused = while_in(
        &rig,
        ChangeState::OnProbation,
        watched(&other, 1_000),
        || assert_eq!(rig.chain.stop(PATIENCE), 0),
    )
    .unwrap_err();
    assert_eq!(
        (refused.step, refused.state),
        (ChangeStep::Cancel, ChangeState::RolledBack),
        "{refused}"
    );
}

/// A component that imports one function of `x:y/z`, by hand.
const DENIED: &[u8] = b"\0asm\x0d\0\x01\0\x07\x0e\x01\x42\x02\x01\x40\0\x01\0\x04\0\x01f\x01\0\x0a\x0a\x01\0\x05x:y/z\x05\0";
