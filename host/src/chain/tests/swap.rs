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

/// A change with the default plan.
pub(super) fn change<'a>(component: Option<&'a [u8]>, settings: Option<&'a serde_json::Value>) -> Change<'a> {
    Change { component, settings, ..Change::default() }
}

/// Swaps on a thread of its own while `during` is repeated until the verdict is there.
fn swap_under_traffic(rig: &Rig, change: Change<'_>, mut during: impl FnMut()) -> Result<Swapped, Refused> {
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
        let swapped = swap_under_traffic(&rig, change(Some(&bytes), None), || expect(&rig)).unwrap();
        assert_eq!((&swapped.old, swapped.pauses.len()), (&before, 3));
        assert_ne!(swapped.new, before);
        assert_eq!(rig.chain.plugins()[0].digest, swapped.new);
        expect(&rig);
    }
    assert_eq!(rig.metric("tidegate_swap_transitions_total", &[("state", "swapped")]), 5.0);
    assert!(rig.letters().is_empty());
    assert_eq!(rig.settled.faults(), 0);
}

#[test]
fn new_settings_are_a_swap_too_and_the_state_goes_along() {
    let rig = Rig::of("");
    assert_eq!(one_each(&rig, "x"), vec!["x 1"; 9]);
    let by_ten = settings("by-ten");
    rig.chain.set_trial(Duration::ZERO);
    let swapped = rig.chain.swap(0, change(None, Some(&by_ten)), QUIET).unwrap();
    assert_eq!(swapped.old, swapped.new);
    assert_eq!(one_each(&rig, "x"), vec!["x 11"; 9]);
    assert_eq!(rig.payloads("d1", &["trap", "x"]), ["x 21"], "recovered with what the old version saved");
}

#[test]
fn the_same_again_changes_nothing() {
    let rig = Rig::of("");
    let swapped = rig.chain.swap(0, change(Some(&probe_bytes()), Some(&settings(""))), QUIET).unwrap();
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
        (b"\0asm\x0d\0\x01\0", "does not export `tidegate:plugin/transform@0.1.0`"),
        (DENIED, "denied import `x:y/z`"),
    ];
    for (component, why) in bytes {
        let refused = rig.chain.swap(0, change(Some(component), None), QUIET).unwrap_err();
        assert!(refused.step == Step::Compile && refused.why.contains(why), "{refused}");
    }
    let all = [
        ("refuse", Step::Configure, "told to refuse"),
        ("trap-configure", Step::Configure, "trap"),
        ("strange-port", Step::Configure, "`nowhere` without a route"),
        ("trap-empty", Step::SelfTest, "trap"),
        ("trap-tick tick", Step::SelfTest, "trap"),
        ("refuse-restore", Step::Restore, "cannot read state of version 1"),
        ("trap-restore", Step::Restore, "trap"),
    ];
    for (text, step, why) in all {
        let refused = rig.chain.swap(0, change(None, Some(&settings(text))), QUIET).unwrap_err();
        assert!(refused.step == step && refused.why.contains(why), "{text}: {refused}");
    }
    assert_eq!(rig.metric("tidegate_swap_transitions_total", &[("state", "refused")]), 13.0);
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
    let refused = swap_under_traffic(&rig, change(None, Some(&trap)), || expect(&rig)).unwrap_err();
    assert!(refused.step == Step::Probation && refused.why.contains("on live messages: trap"), "{refused}");
    expect(&rig);
    assert!(rig.letters().is_empty(), "nothing was parked");
    assert_eq!(rig.metric("tidegate_swap_transitions_total", &[("state", "rolled-back")]), 1.0);
    assert_eq!(rig.settled.faults(), 0);
}

#[test]
fn lanes_that_had_begun_with_a_failed_version_count_what_they_did() {
    let rig = Rig::of("");
    assert_eq!(one_each(&rig, "x"), vec!["x 1"; 9]);
    // The keys of one lane work with the new version first; then another lane's first message makes it trap.
    let lane = |key: &&str| lane_of(key.as_bytes(), 3);
    let mine: Vec<_> = KEYS.iter().copied().filter(|key| lane(key) == lane(&"d1")).collect();
    let other = KEYS.iter().copied().find(|key| lane(key) != lane(&"d1")).unwrap();
    let by_ten = settings("by-ten");
    let mut told = 1;
    let refused = std::thread::scope(|scope| {
        let swap = scope.spawn(|| rig.chain.swap(0, change(None, Some(&by_ten)), QUIET));
        // By ten: the new version is at work in this lane.
        loop {
            let text = rig.payloads("d1", &["x"]).remove(0);
            told += 1;
            if text == format!("x {}", told - 1 + 10) {
                break;
            }
            assert_eq!(text, format!("x {told}"));
        }
        // It works in the other lane as soon as its answer jumps; before that the old one traps, which parks.
        rig.settle(&rig.send(&[(other, "trap")]));
        swap.join().unwrap()
    });
    match refused {
        Err(refused) => {
            assert_eq!(refused.step, Step::Probation, "{refused}");
            assert_eq!(rig.payloads("d1", &["x"]), [format!("x {}", told + 1)], "counted by one, as the old version does");
        }
        Ok(_) => panic!("the trap was not on a live message of the new version"),
    }
    assert_eq!(rig.payloads(mine.last().unwrap(), &["y"]).len(), 1);
}

#[test]
fn without_traffic_the_trial_ends_and_a_later_trap_is_an_ordinary_one() {
    let rig = Rig::of("");
    rig.chain.set_trial(Duration::ZERO);
    rig.chain.swap(0, change(Some(&other_probe(1)), None), QUIET).unwrap();
    assert_eq!(rig.payloads("d1", &["trap", "x"]), ["x 1"]);
    assert_eq!(rig.letters().len(), 1);
}

#[test]
fn ticks_run_on_through_a_swap() {
    let rig = Rig::of("tick");
    rig.wait("ticks", |seen| seen.appends.len() > 3);
    rig.chain.set_trial(Duration::ZERO);
    rig.chain.swap(0, change(Some(&other_probe(1)), None), QUIET).unwrap();
    let before = rig.seen().appends.len();
    rig.wait("ticks of the new version", |seen| seen.appends.len() > before + 6);
}

#[test]
fn stopping_ends_a_swap_that_is_on_trial() {
    let rig = Rig::of("");
    std::thread::scope(|scope| {
        let bytes = other_probe(1);
        let chain = &rig.chain;
        let swap = scope.spawn(move || chain.swap(0, change(Some(&bytes), None), QUIET));
        while !rig.chain.plugins()[0].change.is_some() && !swap.is_finished() {
            std::thread::yield_now();
        }
        rig.chain.stop(PATIENCE);
        let refused = swap.join().unwrap().unwrap_err();
        assert!(matches!(refused.step, Step::Probation | Step::Commit | Step::Restore), "{refused}");
    });
}

/// A component that imports one function of `x:y/z`, by hand.
const DENIED: &[u8] = b"\0asm\x0d\0\x01\0\x07\x0e\x01\x42\x02\x01\x40\0\x01\0\x04\0\x01f\x01\0\x0a\x0a\x01\0\x05x:y/z\x05\0";
