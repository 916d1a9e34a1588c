//! State over restarts.

use super::swap::{QUIET, change, other_probe, probation, settings};
use super::*;
use crate::clock::{Clock, Now, RunningTime, Uptime, WallTime};

fn kept(every: Duration, settings: &str, lanes: usize) -> Config {
    let plugin = PluginConfig {
        checkpoint: Some(every),
        ..plugin("probe", settings)
    };
    Config {
        lanes,
        ..config(vec![plugin])
    }
}

const LATER: Duration = Duration::from_secs(3_600);
const AT_ONCE: Duration = Duration::from_millis(1);

#[test]
fn a_stop_keeps_every_count_and_the_next_start_goes_on_with_any_number_of_lanes() {
    let outlet = Arc::<Collector>::default();
    for (run, lanes) in [3, 1, 5, 2].into_iter().enumerate() {
        let rig = Rig::after(outlet.clone(), kept(LATER, "", lanes)).unwrap();
        assert_eq!(
            one_each(&rig, "x"),
            vec![format!("x {}", run + 1); 9],
            "{lanes} lanes"
        );
        assert_eq!(rig.chain.stop(PATIENCE), 0);
        assert_eq!(rig.seen().state.len(), 9);
    }
}

#[test]
fn changes_are_kept_within_the_interval_and_nothing_while_nothing_changes() {
    let rig = Rig::new(kept(AT_ONCE, "", 3));
    assert_eq!(one_each(&rig, "x"), vec!["x 1"; 9]);
    rig.wait("a checkpoint of every lane", |seen| seen.state.len() == 9);
    rig.chain.stop(PATIENCE);
    let outlet = rig.outlet.clone();
    let rig = Rig::after(outlet, kept(AT_ONCE, "", 3)).unwrap();
    let before = rig.seen().checkpoints;
    rig.chain.stop(PATIENCE);
    assert_eq!(
        rig.seen().checkpoints,
        before,
        "nothing has changed since the start"
    );
}

#[test]
fn a_checkpoint_is_due_by_the_clock_that_the_chain_is_given() {
    let clock = Clock::by_hand();
    let rig = Rig::on(
        &engine().clone().with_clock(clock.clone()),
        Arc::default(),
        kept(LATER, "", 1),
    )
    .unwrap();
    // The lane has seen by the second round that the first changed something.
    assert_eq!(one_each(&rig, "x"), vec!["x 1"; 9]);
    assert_eq!(one_each(&rig, "x"), vec!["x 2"; 9]);
    assert!(rig.seen().state.is_empty());
    clock.advance(LATER);
    assert_eq!(one_each(&rig, "x"), vec!["x 3"; 9]);
    rig.wait("a checkpoint an hour later", |seen| seen.state.len() == 9);
}

#[test]
fn a_trap_after_a_restart_brings_back_what_was_kept() {
    let rig = Rig::new(kept(LATER, "", 3));
    assert_eq!(one_each(&rig, "x"), vec!["x 1"; 9]);
    rig.chain.stop(PATIENCE);
    let rig = Rig::after(rig.outlet.clone(), kept(LATER, "", 2)).unwrap();
    assert_eq!(rig.payloads("d1", &["trap", "x"]), ["x 2"]);
}

#[test]
fn without_checkpoints_nothing_is_kept() {
    let rig = Rig::of("");
    assert_eq!(one_each(&rig, "x"), vec!["x 1"; 9]);
    rig.chain.stop(PATIENCE);
    assert!(rig.seen().state.is_empty());
}

#[test]
fn state_that_is_refused_is_set_aside_or_stops_the_start_as_the_config_says() {
    let outlet = Arc::<Collector>::default();
    let rig = Rig::after(outlet.clone(), kept(LATER, "", 3)).unwrap();
    assert_eq!(one_each(&rig, "x"), vec!["x 1"; 9]);
    rig.chain.stop(PATIENCE);

    let mut required = kept(LATER, "refuse-restore", 3);
    required.plugins[0].refused_state = RefusedState::Required;
    let error = Rig::after(outlet.clone(), required)
        .map(|_| ())
        .unwrap_err();
    assert!(
        matches!(&error, Error::State { why, .. } if why.contains("cannot read state of version 1")),
        "{error}"
    );
    assert_eq!(outlet.seen.lock().unwrap().state.len(), 9, "untouched");

    let rig = Rig::after(outlet.clone(), kept(LATER, "refuse-restore", 3)).unwrap();
    assert_eq!(rig.seen().set_aside, ["probe"]);
    assert_eq!(
        (one_each(&rig, "x"), rig.errors(FaultKind::State)),
        (vec!["x 1".to_owned(); 9], 1.0)
    );
    rig.chain.stop(PATIENCE);
    assert_eq!(rig.seen().state.len(), 9, "and a new state is kept");
}

#[test]
fn after_a_swap_the_new_versions_state_is_kept() {
    let rig = Rig::new(kept(LATER, "", 3));
    assert_eq!(one_each(&rig, "x"), vec!["x 1"; 9]);
    let bytes = other_probe(1);
    rig.chain
        .swap(0, change(Some(&bytes), Some(&settings("by-ten"))), QUIET)
        .unwrap();
    assert_eq!(rig.payloads("d1", &["x"]), ["x 11"]);
    rig.chain.stop(PATIENCE);
    let rig = Rig::after(rig.outlet.clone(), kept(LATER, "", 3)).unwrap();
    let expected: Vec<_> = KEYS
        .iter()
        .map(|key| if *key == "d1" { "x 12" } else { "x 2" })
        .collect();
    assert_eq!(one_each(&rig, "x"), expected);
}

#[test]
fn while_a_change_is_under_way_the_state_of_the_version_that_speaks_is_kept_for_the_one_before() {
    let rig = Rig::new(kept(AT_ONCE, "", 3));
    assert_eq!(one_each(&rig, "x"), vec!["x 1"; 9]);
    std::thread::scope(|scope| {
        let (chain, by_ten) = (&rig.chain, settings("by-ten"));
        let swap = scope.spawn(move || {
            chain.swap(
                0,
                Change {
                    plan: probation(10_000),
                    ..change(None, Some(&by_ten))
                },
                QUIET,
            )
        });
        let mut count = 1;
        while rig.payloads("d1", &["x"]) == [format!("x {}", count + 1)] {
            count += 1;
        }
        let value = |seen: &Seen| {
            seen.state
                .get(&("probe".to_owned(), "d1".to_owned()))
                .cloned()
        };
        let told = count + 10_u64;
        rig.wait("a checkpoint in the old version's form", |seen| {
            value(seen) == Some((1, Bytes::copy_from_slice(&told.to_le_bytes())))
        });
        rig.chain.stop(PATIENCE);
        let refused = swap.join().unwrap().unwrap_err();
        assert_eq!(
            (refused.step, refused.state),
            (ChangeStep::Cancel, ChangeState::RolledBack),
            "{refused}"
        );
        let rig = Rig::after(rig.outlet.clone(), kept(LATER, "", 3)).unwrap();
        assert_eq!(
            rig.payloads("d1", &["x"]),
            [format!("x {}", told + 1)],
            "the old version goes on from what was told"
        );
    });
}

#[test]
fn keys_of_the_old_version_that_the_new_one_has_not_are_gone_from_the_disk() {
    let rig = Rig::new(kept(AT_ONCE, "", 3));
    assert_eq!(one_each(&rig, "x"), vec!["x 1"; 9]);
    rig.wait("a checkpoint of every key", |seen| seen.state.len() == 9);
    let strange = settings("refuse-restore");
    let empty = change(None, Some(&strange));
    let plan = ChangePlan {
        state: OnRefusedState::Empty,
        ..empty.plan
    };
    rig.chain.swap(0, Change { plan, ..empty }, QUIET).unwrap();
    assert_eq!(rig.payloads("d1", &["x"]), ["x 1"]);
    rig.chain.stop(PATIENCE);
    let seen = rig.seen();
    let kept: Vec<_> = seen.state.keys().map(|(_, key)| key.as_str()).collect();
    assert_eq!(kept, ["d1"]);
}

#[test]
fn state_under_a_key_of_another_lane_is_a_fault_told_at_the_first_message() {
    let rig = Rig::of("room");
    let home = lane_of(b"room", 3);
    let messages: Vec<_> = KEYS.iter().map(|key| (*key, "x")).collect();
    rig.round(&messages);
    let foreign = KEYS
        .iter()
        .filter(|key| lane_of(key.as_bytes(), 3) != home)
        .count();
    let letters = rig.letters();
    assert!(foreign > 0 && letters.len() == foreign, "{letters:?}");
    let (_, reason, detail, _) = &letters[0];
    assert!(
        *reason == Reason::Poison
            && detail.contains("under `room`")
            && detail.contains("lanes = 1"),
        "{detail}"
    );
    assert_eq!(
        (
            rig.errors(FaultKind::Misplaced) as usize,
            rig.errors(FaultKind::Contract)
        ),
        (rig.errors(FaultKind::Misplaced) as usize, 0.0)
    );
    assert!(rig.errors(FaultKind::Misplaced) >= foreign as f64);
}

#[test]
fn a_plugin_that_says_so_has_one_lane_and_counts_exactly_over_restarts() {
    let outlet = Arc::<Collector>::default();
    for (run, lanes) in [3, 5, 1].into_iter().enumerate() {
        let rig = Rig::after(outlet.clone(), kept(LATER, "room one-lane", lanes)).unwrap();
        let messages: Vec<_> = KEYS.iter().map(|key| (*key, "x")).collect();
        let counts: Vec<_> = rig
            .round(&messages)
            .into_iter()
            .map(|(.., payload)| payload)
            .collect();
        let expected: Vec<_> = (1..=KEYS.len())
            .map(|count| format!("x {}", run * KEYS.len() + count))
            .collect();
        assert_eq!(counts, expected, "{lanes} lanes");
        assert_eq!(
            (
                rig.chain.stop(PATIENCE),
                rig.letters().len(),
                rig.seen().state.len()
            ),
            (0, 0, 1)
        );
    }
}

#[test]
fn a_version_that_needs_one_lane_does_not_take_over_where_there_are_several() {
    let rig = Rig::of("");
    let one_lane = settings("one-lane");
    let refused = rig
        .chain
        .swap(0, change(None, Some(&one_lane)), QUIET)
        .unwrap_err();
    assert!(
        refused.step == ChangeStep::Configure && refused.why.contains("lanes = 1"),
        "{refused}"
    );
    assert_eq!(rig.payloads("d1", &["x"]), ["x 1"]);
}

#[test]
fn the_running_clock_goes_on_over_a_restart_from_where_the_state_was_kept() {
    let rig = Rig::new(kept(AT_ONCE, "", 3));
    let before: u64 = rig.payloads("d1", &["running"])[0].parse().unwrap();
    assert_eq!(one_each(&rig, "x"), vec!["x 1"; 9]);
    rig.chain.stop(PATIENCE);
    let kept = RunningTime(rig.seen().running_us.unwrap());
    assert!(kept >= RunningTime(before), "{kept:?} after {before}");
    let clock = recalled_clock(
        &*rig.outlet,
        Now {
            wall: WallTime(0),
            uptime: Uptime(7),
        },
    );
    assert_eq!(
        (
            clock.at(Uptime(0)),
            clock.at(Uptime(7)),
            clock.at(Uptime(12))
        ),
        (kept, kept, kept.plus_us(5)),
        "whatever the machine's uptime is by then"
    );
    let fresh = recalled_clock(
        &Collector::default(),
        Now {
            wall: WallTime(0),
            uptime: Uptime(7),
        },
    );
    assert_eq!((fresh.at(Uptime(7)).0, fresh.at(Uptime(8)).0), (0, 1));
}
