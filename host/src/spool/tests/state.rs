//! Plugins' state survives a kill once it is committed.

use super::*;
use crate::clock::RunningTime;

#[test]
fn plugins_state_survives_a_kill_once_it_is_committed_and_what_is_gone_is_gone() {
    let folder = tempdir();
    let mut bench = Bench::open(config(folder.path()));
    remember(&bench, "count", &[("d1", Some("1")), ("d2", Some("1"))]);
    remember(&bench, "other", &[("d1", Some("9"))]);
    assert!(bench.commit());
    remember(
        &bench,
        "count",
        &[("d1", Some("2")), ("d2", None), ("d3", None)],
    );
    assert!(bench.commit());
    remember(&bench, "count", &[("d1", Some("3"))]);
    let bench = bench.reopen();
    assert_eq!(remembered(&bench, "count"), pairs(&[("d1", "2")]));
    assert_eq!(remembered(&bench, "other"), pairs(&[("d1", "9")]));
    let states = bench.shared.read_store(Store::states).unwrap();
    let states: Vec<_> = states
        .iter()
        .map(|state| (state.plugin.as_str(), state.keys))
        .collect();
    assert_eq!(states, [("count", 1), ("other", 1)]);
}

#[test]
fn state_that_is_on_disk_already_is_not_written_again() {
    let folder = tempdir();
    let mut bench = Bench::open(config(folder.path()));
    remember(&bench, "count", &[("d1", Some("1")), ("d2", Some("1"))]);
    assert!(bench.commit());
    let (written, commits) = (
        bench.shared.metrics.state_written.get(),
        bench.shared.metrics.commits.get(),
    );
    remember(
        &bench,
        "count",
        &[("d1", Some("1")), ("d2", Some("1")), ("d3", None)],
    );
    assert!(bench.commit());
    assert_eq!(
        (
            bench.shared.metrics.state_written.get(),
            bench.shared.metrics.commits.get()
        ),
        (written, commits)
    );
    assert_eq!(
        (
            bench.shared.metrics.checkpoints.get(),
            bench.shared.metrics.written.get()
        ),
        (1, 0)
    );
}

#[test]
fn state_whose_commit_failed_is_written_with_the_next() {
    let folder = tempdir();
    let mut bench = Bench::open(config(folder.path()));
    bench.script.fail_syncs(1);
    remember(&bench, "count", &[("d1", Some("1")), ("d2", Some("1"))]);
    assert!(!bench.commit());
    remember(&bench, "count", &[("d1", Some("2"))]);
    bench.writer.turn(RunningTime(u64::MAX));
    assert_eq!(
        remembered(&bench.reopen(), "count"),
        pairs(&[("d1", "2"), ("d2", "1")])
    );
}

#[test]
fn state_that_is_set_aside_is_out_of_the_way_and_not_deleted() {
    let folder = tempdir();
    let mut bench = Bench::open(config(folder.path()));
    remember(&bench, "count", &[("d1", Some("1"))]);
    remember(&bench, "other", &[("d1", Some("9"))]);
    assert!(bench.commit());
    bench.shared.set_aside("climate", "count");
    assert_eq!(
        (remembered(&bench, "count"), remembered(&bench, "other")),
        (Vec::new(), pairs(&[("d1", "9")]))
    );
    remember(&bench, "count", &[("d5", Some("5"))]);
    assert!(bench.commit());
    assert_eq!(remembered(&bench.reopen(), "count"), pairs(&[("d5", "5")]));
}
