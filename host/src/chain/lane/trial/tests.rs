use super::*;
use crate::chain::lane::trial::phase::Canary;
use crate::chain::settings::Probation;

fn begun(messages: u64) -> Trial {
    let trial = Trial::new(2);
    let probation = Probation {
        messages,
        ..Probation::default()
    };
    trial.begin(Phase::probation(probation), Instant::now());
    trial
}

fn work(messages: u64, newly_rejected: u64) -> LaneComparison {
    let figures = TrialFigures {
        messages,
        memory_bytes: 10,
        ..TrialFigures::default()
    };
    LaneComparison {
        old: figures,
        new: figures,
        newly_rejected,
        ..LaneComparison::default()
    }
}

#[test]
fn the_messages_of_all_lanes_pass_a_phase_together() {
    let trial = begun(100);
    trial.note(0, &work(60, 0), Instant::now());
    assert!(!trial.lock().passed);
    trial.note(1, &work(40, 0), Instant::now());
    assert!(
        trial.passed(&Clock::default()) && trial.verdict() == TrialVerdict::Running,
        "the driver confirms, not the lanes"
    );
    let report = trial.report(Instant::now()).unwrap();
    assert_eq!((report.old.messages, report.new.memory_bytes), (100, 20));
    assert!(trial.confirm());
}

#[test]
fn the_first_verdict_stands() {
    let trial = begun(100);
    assert!(trial.fail("trap"));
    assert!(!trial.confirm() && trial.cancel("by hand"));
    assert_eq!(
        trial.verdict(),
        TrialVerdict::Failed(ChangeStep::Probation, "trap".to_owned())
    );
    assert_eq!(trial.join(), Err("trap".to_owned()));
    assert!(!trial.passed(&Clock::default()) && !trial.promote());

    let trial = begun(100);
    assert!(trial.confirm());
    assert!(!trial.fail("late"));
    assert_eq!(trial.verdict(), TrialVerdict::Confirmed);
}

#[test]
fn one_lane_over_a_limit_fails_it_for_all() {
    let trial = begun(10_000);
    trial.note(0, &work(200, 150), Instant::now());
    assert!(
        matches!(trial.verdict(), TrialVerdict::Failed(ChangeStep::Probation, why) if why.contains("rejects 75 %"))
    );
}

#[test]
fn each_phase_counts_anew_and_says_whose_outputs_count() {
    let trial = Trial::new(2);
    assert!(
        !trial.promote()
            && trial.report(Instant::now()).is_none()
            && trial.share() == KeyShare::NONE
    );
    let canary = Canary {
        share: 0.5,
        time: None,
        messages: None,
    };
    trial.begin(Phase::canary(canary, Probation::default()), Instant::now());
    trial.note(0, &work(60, 0), Instant::now());
    assert!(trial.share() != KeyShare::NONE && trial.share() != KeyShare::ALL);
    assert!(trial.promote() && trial.passed(&Clock::default()));
    trial.begin(Phase::probation(Probation::default()), Instant::now());
    assert_eq!(
        (
            trial.report(Instant::now()).unwrap().new.messages,
            trial.share()
        ),
        (0, KeyShare::ALL)
    );
}

#[test]
fn without_traffic_time_passes_a_phase() {
    let trial = Trial::new(3);
    let probation = Probation {
        time: Duration::ZERO,
        ..Probation::default()
    };
    trial.begin(Phase::probation(probation), Instant::now());
    assert!(trial.passed(&Clock::default()));
}

#[test]
fn it_is_settled_when_the_lanes_that_joined_have_acted() {
    let trial = Trial::new(2);
    assert!(trial.settled(Duration::ZERO));
    trial.join().unwrap();
    assert!(!trial.settled(Duration::ZERO));
    std::thread::scope(|scope| {
        scope.spawn(|| trial.settle());
        assert!(trial.settled(Duration::from_secs(60)));
    });
}
