//! Whose outputs count, his state counts: over a shadow, a canary, a way back, a stop and a kill.

use super::swap::{probation, settings, wait_for, watched, while_in};
use super::*;

const AT_ONCE: Duration = Duration::from_millis(1);

/// One plugin in three lanes whose state goes to disk.
fn kept(every: Duration) -> Config {
    config(vec![PluginConfig {
        checkpoint: Some(every),
        ..plugin("probe", "")
    }])
}

fn kept_value(seen: &Seen, key: &str) -> Option<(u32, u64)> {
    let (version, value) = seen.state.get(&("probe".to_owned(), key.to_owned()))?;
    Some((*version, u64::from_le_bytes(value[..].try_into().ok()?)))
}

#[test]
fn a_roll_back_goes_on_from_what_was_told_in_every_lane() {
    let rig = Rig::of("");
    assert_eq!(one_each(&rig, "x"), vec!["x 1"; 9]);
    let by_ten = settings("by-ten");
    let refused = while_in(
        &rig,
        ChangeState::OnProbation,
        watched(&by_ten, 10_000),
        || {
            assert_eq!(one_each(&rig, "x"), vec!["x 11"; 9]);
            assert!(rig.chain.cancel(0, "by hand"));
        },
    )
    .unwrap_err();
    assert_eq!(refused.why, "by hand", "nothing is uncertain");
    assert_eq!(one_each(&rig, "x"), vec!["x 12"; 9]);
    assert_eq!(rig.metric("tidegate_plugin_state_lost_total", &[]), 0.0);
}

#[test]
fn a_stop_on_probation_keeps_what_was_told_and_the_next_start_goes_on_from_it() {
    let rig = Rig::new(kept(Duration::from_secs(3_600)));
    assert_eq!(one_each(&rig, "x"), vec!["x 1"; 9]);
    let by_ten = settings("by-ten");
    let refused = while_in(
        &rig,
        ChangeState::OnProbation,
        watched(&by_ten, 10_000),
        || {
            assert_eq!(one_each(&rig, "x"), vec!["x 11"; 9]);
            assert_eq!(rig.chain.stop(PATIENCE), 0);
        },
    )
    .unwrap_err();
    assert_eq!(refused.step, ChangeStep::Cancel, "{refused}");
    assert_eq!(kept_value(&rig.seen(), "d1"), Some((1, 11)));
    let rig = Rig::after(rig.outlet.clone(), kept(AT_ONCE)).unwrap();
    assert_eq!(one_each(&rig, "x"), vec!["x 12"; 9]);
}

#[test]
fn what_a_kill_on_probation_leaves_is_what_was_told_in_the_form_of_the_version_that_starts() {
    let rig = Rig::new(kept(AT_ONCE));
    let by_ten = settings("by-ten");
    let refused = while_in(
        &rig,
        ChangeState::OnProbation,
        watched(&by_ten, 10_000),
        || {
            for told in [10, 20] {
                assert_eq!(one_each(&rig, "x"), vec![format!("x {told}"); 9]);
                rig.wait("a checkpoint of every lane", |seen| {
                    KEYS.iter()
                        .all(|key| kept_value(seen, key) == Some((1, told)))
                });
            }
            let after = Rig::after(rig.outlet.clone(), kept(Duration::from_secs(3_600))).unwrap();
            assert_eq!(one_each(&after, "x"), vec!["x 21"; 9]);
            assert_eq!(one_each(&rig, "x"), vec!["x 30"; 9], "it goes on meanwhile");
            assert!(rig.chain.cancel(0, "by hand"));
        },
    );
    assert!(refused.is_err());
}

#[test]
fn what_a_shadow_has_done_is_forgotten_when_it_begins_to_speak() {
    let rig = Rig::of("");
    let by_ten = settings("by-ten");
    let plan = ChangePlan {
        shadow: Some(Shadow::default()),
        ..probation(9)
    };
    let change = Change {
        plan,
        ..watched(&by_ten, 9)
    };
    let swapped = while_in(&rig, ChangeState::Shadowing, change, || {
        for count in 1..=5 {
            assert_eq!(one_each(&rig, "x"), vec![format!("x {count}"); 9]);
        }
        assert!(rig.chain.promote(0));
        wait_for(&rig, ChangeState::OnProbation);
        assert_eq!(one_each(&rig, "x"), vec!["x 15"; 9]);
    });
    assert!(swapped.is_ok(), "{swapped:?}");
    assert_eq!(one_each(&rig, "x"), vec!["x 25"; 9]);
}

#[test]
fn a_canary_that_is_taken_back_leaves_its_keys_where_it_has_brought_them() {
    let rig = Rig::of("");
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
    let change = Change {
        plan,
        ..watched(&by_ten, 9)
    };
    let told = Mutex::new(Vec::new());
    let refused = while_in(&rig, ChangeState::Canary, change, || {
        *told.lock().unwrap() = one_each(&rig, "x");
        assert!(rig.chain.cancel(0, "by hand"));
    });
    assert!(refused.is_err());
    let on = |text: &String| if text == "x 10" { "x 11" } else { "x 2" }.to_owned();
    let told = told.into_inner().unwrap();
    let expected: Vec<_> = told.iter().map(on).collect();
    assert!(told.contains(&"x 10".to_owned()) && told.contains(&"x 1".to_owned()));
    assert_eq!(one_each(&rig, "x"), expected);
}

#[test]
fn a_state_that_the_version_before_does_not_read_stays_behind_and_that_is_told() {
    let rig = Rig::of("refuse-restore");
    assert_eq!(rig.payloads("d1", &["x"]), ["x 1"]);
    let by_ten = settings("by-ten");
    let refused = while_in(
        &rig,
        ChangeState::OnProbation,
        watched(&by_ten, 10_000),
        || {
            assert_eq!(rig.payloads("d1", &["x", "x"]), ["x 11", "x 21"]);
            assert!(rig.chain.cancel(0, "by hand"));
        },
    )
    .unwrap_err();
    assert!(
        refused.why.starts_with("by hand; ")
            && refused.why.contains("from its own state")
            && refused.why.contains("cannot read state of version 2")
            && refused.why.contains("of 2 messages"),
        "{refused}"
    );
    assert_eq!(rig.payloads("d1", &["x"]), ["x 4"], "its own goes on");
    assert_eq!(rig.metric("tidegate_plugin_state_lost_total", &[]), 2.0);
}
