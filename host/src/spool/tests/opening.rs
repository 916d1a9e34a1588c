//! A store is opened, or refused with the reason.

use super::*;
use crate::spool::disk::format_before::set_format;

#[test]
fn a_folder_in_use_is_refused_by_name_and_holder() {
    let folder = tempdir();
    let _bench = Bench::open(config(folder.path()));
    let error = Spool::open(config(folder.path()), metrics()).err().unwrap();
    let expected = format!(
        "the data folder `{}` is in use by process {}",
        folder.path().display(),
        std::process::id()
    );
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_store_of_another_version_is_refused_and_left_alone() {
    let folder = tempdir();
    Bench::open(config(folder.path())).kill();
    for other in [1, 5] {
        set_format(&folder.path().join("store"), other);
        let error = Spool::open(config(folder.path()), metrics()).err().unwrap();
        assert!(
            matches!(error, Error::Format { known: 4, found, .. } if found == other),
            "{error}"
        );
    }
    set_format(&folder.path().join("store"), 2);
    assert_eq!(Bench::open(config(folder.path())).shared.boot, 2);
}

#[test]
fn a_store_that_does_not_open_is_moved_aside_and_what_is_owed_is_found_again() {
    let folder = tempdir();
    let mut bench = Bench::open(config(folder.path()));
    for number in 0..50 {
        bench.append(number, None);
    }
    assert!(bench.commit());
    bench.kill();
    fs::write(folder.path().join("store/conf"), [b'x'; 64]).unwrap();
    let mut bench = Bench::open(config(folder.path()));
    let aside = bench.shared.account().damaged_store.unwrap();
    assert!(
        aside.join("db").exists()
            && aside
                .file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with("store.damaged-")
    );
    assert_eq!((bench.shared.boot, bench.shared.account().owed()), (2, 50));
    bench.append(50, None);
    assert!(bench.commit());
    assert_eq!(bench.reopen().numbers(), (0..51).collect::<Vec<_>>());
}

#[test]
fn a_broken_snapshot_costs_nothing() {
    let folder = tempdir();
    let mut bench = Bench::open(config(folder.path()));
    bench.append(1, None);
    assert!(bench.commit());
    bench.kill();
    fs::write(
        folder.path().join("store/snap.FFFFFFFFFFFFFFFF.generating"),
        b"",
    )
    .unwrap();
    let bench = Bench::open(config(folder.path()));
    assert_eq!(bench.numbers(), [1]);
    bench.kill();
    fs::write(
        folder.path().join("store/snap.FFFFFFFFFFFFFFFF"),
        b"torn snapshot bytes",
    )
    .unwrap();
    let bench = Bench::open(config(folder.path()));
    assert_eq!(
        (bench.numbers(), bench.shared.account().damaged_store),
        (vec![1], None)
    );
}

#[test]
fn a_queue_that_left_the_config_is_kept_and_named() {
    let folder = tempdir();
    let mut bench = Bench::open(config(folder.path()));
    bench.append(1, None);
    bench.append(2, None);
    assert!(bench.commit());
    bench.kill();
    let mut other = config(folder.path());
    other.queues.remove(0);
    let bench = Bench::open(other);
    assert_eq!(
        bench.shared.account().strangers,
        [("cloud:telemetry".to_owned(), 2)]
    );
    bench.kill();
    assert_eq!(Bench::open(config(folder.path())).numbers(), [1, 2]);
}
