use super::*;
use crate::chain::lane::trial::report::TrialFigures;

const MINUTE: Duration = Duration::from_secs(60);

fn report(old: TrialFigures, new: TrialFigures) -> TrialReport {
    TrialReport {
        old,
        new,
        ..TrialReport::default()
    }
}

fn equal(messages: u64) -> TrialReport {
    let figures = TrialFigures {
        messages,
        calls: messages,
        cpu_us: messages * 5,
        memory_bytes: 4 << 20,
        ..TrialFigures::default()
    };
    report(figures, figures)
}

fn failure(judgement: Judgement) -> String {
    match judgement {
        Judgement::Failed(why) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_probation_is_passed_by_time_or_by_messages() {
    let phase = Phase::probation(Probation::default());
    assert_eq!(phase.judge(&equal(9_999), MINUTE / 2), Judgement::Open);
    assert_eq!(
        phase.judge(&equal(10_000), Duration::ZERO),
        Judgement::Passed
    );
    assert_eq!(
        phase.judge(&equal(0), MINUTE),
        Judgement::Passed,
        "an idle flow"
    );
}

#[test]
fn a_cure_has_to_fail_less_than_what_it_takes_the_place_of() {
    let phase = Phase::cure(Probation::default());
    let failing = |old, new| {
        let figures = |faults| TrialFigures {
            messages: 500,
            faults,
            ..TrialFigures::default()
        };
        report(figures(old), figures(new))
    };
    assert_eq!(phase.judge(&failing(9, 0), Duration::ZERO), Judgement::Open);
    assert_eq!(
        phase.judge(&failing(10, 0), Duration::ZERO),
        Judgement::Passed,
        "before its time"
    );
    assert_eq!(
        phase.judge(&failing(10, 1), Duration::ZERO),
        Judgement::Open
    );
    assert_eq!(phase.judge(&failing(2, 1), MINUTE), Judgement::Passed);
    let why = failure(phase.judge(&failing(0, 0), MINUTE));
    assert_eq!(
        why,
        "it does not help: 0 of its calls failed, and 0 of the running version's"
    );
    assert!(failure(phase.judge(&failing(7, 7), MINUTE)).contains("does not help"));
}

#[test]
fn a_shadow_without_an_end_waits_to_be_told() {
    let phase = Phase::shadow(Shadow::default(), Probation::default());
    assert_eq!(phase.judge(&equal(1 << 40), MINUTE * 60), Judgement::Open);
}

#[test]
fn what_the_old_version_accepts_and_the_new_one_rejects_is_counted_not_what_both_reject() {
    let phase = Phase::probation(Probation::default());
    let all = |newly_rejected, messages| {
        let rejected = messages / 2;
        let old = TrialFigures {
            messages,
            rejected,
            ..TrialFigures::default()
        };
        TrialReport {
            newly_rejected,
            ..report(
                old,
                TrialFigures {
                    rejected: rejected + newly_rejected,
                    ..old
                },
            )
        }
    };
    assert_eq!(phase.judge(&all(0, 1_000), Duration::ZERO), Judgement::Open);
    assert_eq!(
        phase.judge(&all(25, 1_000), Duration::ZERO),
        Judgement::Open,
        "exactly the limit"
    );
    let why = failure(phase.judge(&all(60, 1_000), Duration::ZERO));
    assert_eq!(
        why,
        "it rejects 12 % of what the running version accepts, the limit is 5 %"
    );
    assert_eq!(
        phase.judge(&all(1, 4), Duration::ZERO),
        Judgement::Open,
        "few messages decide nothing"
    );
    assert!(
        failure(phase.judge(&all(1, 4), MINUTE)).contains("50 %"),
        "unless no more come"
    );
}

#[test]
fn differences_are_reported_unless_a_limit_is_set() {
    let differing = TrialReport {
        compared: 1_000,
        differing: 6,
        ..equal(1_000)
    };
    let shadow = Shadow {
        messages: Some(1_000),
        ..Shadow::default()
    };
    assert_eq!(
        Phase::shadow(shadow, Probation::default()).judge(&differing, Duration::ZERO),
        Judgement::Passed
    );
    let strict = Shadow {
        max_differing: Some(0.005),
        ..shadow
    };
    let why =
        failure(Phase::shadow(strict, Probation::default()).judge(&differing, Duration::ZERO));
    assert_eq!(
        why,
        "its outputs differ for 0.60 % of what was compared, the limit is 0.50 %"
    );
    let none = Shadow {
        max_differing: Some(0.0),
        ..shadow
    };
    assert_eq!(
        Phase::shadow(none, Probation::default()).judge(&equal(1_000), Duration::ZERO),
        Judgement::Passed
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn noise_does_not_decide_about_time_and_memory() {
    let phase = Phase::probation(Probation::default());
    let old = TrialFigures {
        messages: 50,
        calls: 50,
        cpu_us: 500,
        memory_bytes: 1 << 20,
        ..TrialFigures::default()
    };
    let judge = |new| phase.judge(&report(old, new), Duration::ZERO);
    assert_eq!(
        judge(TrialFigures {
            cpu_us: 45_000,
            ..old
        }),
        Judgement::Open,
        "90 times slower, and still below the floor"
    );
    assert!(
        failure(judge(TrialFigures {
            cpu_us: 50_000,
            ..old
        }))
        .contains("1000 µs a call where the running version takes 10")
    );
    assert_eq!(
        judge(TrialFigures {
            calls: 19,
            cpu_us: 1_000_000,
            ..old
        }),
        Judgement::Open
    );
    assert_eq!(
        judge(TrialFigures {
            memory_bytes: 4 << 20,
            ..old
        }),
        Judgement::Open,
        "exactly the limit"
    );
    assert!(
        failure(judge(TrialFigures {
            memory_bytes: 5 << 20,
            ..old
        }))
        .contains("5120 KiB of memory")
    );
    let small = TrialFigures {
        memory_bytes: 64 << 10,
        ..old
    };
    assert_eq!(
        phase.judge(
            &report(
                small,
                TrialFigures {
                    memory_bytes: 1 << 20,
                    ..old
                }
            ),
            Duration::ZERO
        ),
        Judgement::Open
    );
}

#[test]
fn a_share_holds_about_its_part_of_the_keys_whatever_the_lane() {
    let keys: Vec<String> = (0..10_000).map(|number| format!("d{number}")).collect();
    for lane in 0..3 {
        let mine: Vec<_> = keys
            .iter()
            .filter(|key| crate::chain::lane::slot::lane_of(key.as_bytes(), 3) == lane)
            .collect();
        let held = mine
            .iter()
            .filter(|key| KeyShare::of(0.1).holds(key.as_bytes()))
            .count();
        assert!(
            (mine.len() / 20..mine.len() / 5).contains(&held),
            "{held} of {}",
            mine.len()
        );
    }
    assert!(
        keys.iter()
            .all(|key| KeyShare::ALL.holds(key.as_bytes()) && !KeyShare::NONE.holds(key.as_bytes()))
    );
    assert_eq!(
        (KeyShare::of(1.0), KeyShare::of(0.0)),
        (KeyShare::ALL, KeyShare::NONE)
    );
}
