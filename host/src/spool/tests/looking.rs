//! Whoever looks at the files of a stopped gateway leaves them as they are.

use super::*;
use crate::spool::{Spool, Stopped, ToolRequest};

/// A store that owes something, holds letters, and has lost a queue of its config.
fn left(folder: &Path) {
    let mut bench = Bench::open(config(folder));
    (0..200).for_each(|number| bench.append(number, None));
    bench.shared.park(vec![letter(1, None)]);
    assert!(bench.commit());
}

#[test]
fn looking_at_a_store_changes_no_file_of_it() {
    let folder = tempdir();
    left(folder.path());
    let before = files(folder.path());
    let smaller = Config {
        queues: config(folder.path()).queues.split_off(1),
        ..config(folder.path())
    };
    for config in [config(folder.path()), smaller] {
        let stopped = Stopped::open(config, metrics()).unwrap();
        assert!(stopped.account().owed() > 0);
        for request in [ToolRequest::Check, ToolRequest::Ledger] {
            stopped.tools().answer(request).unwrap();
        }
        drop(stopped);
        assert!(before == files(folder.path()));
    }
    assert!(
        Spool::open(config(folder.path()), metrics())
            .unwrap()
            .account()
            .owed()
            > 0
    );
}

#[test]
fn a_look_at_a_store_that_was_copied_changes_no_file_and_takes_no_name() {
    let (folder, copy) = (tempdir(), tempdir());
    left(folder.path());
    copy_folder(folder.path(), copy.path());
    let copied = files(copy.path());
    drop(Stopped::open(config(copy.path()), metrics()).unwrap());
    assert!(copied == files(copy.path()));
}

#[test]
fn an_index_too_large_to_be_copied_is_said_and_left_alone() {
    let folder = tempdir();
    left(folder.path());
    let large = fs::File::create(folder.path().join("store/blobs/7"));
    large.unwrap().set_len(65 << 20).unwrap();
    let error = Stopped::open(config(folder.path()), metrics())
        .err()
        .unwrap();
    assert!(
        matches!(error, crate::spool::Error::NotCopied { .. }),
        "{error}"
    );
    assert!(crate::words::with_causes(&error).contains("it has more than 64 MiB"));
}
