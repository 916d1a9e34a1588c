//! Files that cannot be read, for a while or for good, and a folder that is not where it was.

use super::*;
use crate::spool::space::condition::StoreCondition;

const EIO: i32 = 5;

fn filled(folder: &Path, count: u64) -> Bench {
    let mut bench = Bench::open(config(folder));
    for number in 0..count {
        bench.append(number, None);
        // A commit for some, so that there are several files.
        assert!((number + 1) % 20 > 0 || bench.commit());
    }
    assert!(bench.commit());
    bench
}

fn chunk_files(folder: &Path) -> Vec<std::path::PathBuf> {
    files(&folder.join("chunks")).into_keys().collect()
}

#[test]
fn a_read_that_fails_is_tried_again_and_nothing_is_given_up() {
    let folder = tempdir();
    let bench = filled(folder.path(), 60);
    bench.script.fail_reads(1, 3, EIO);
    assert!(bench.backlog.read(QUEUE, Seq(0)).is_empty());
    let account = bench.shared.account();
    assert_eq!(
        (account.condition, account.unreadable.len()),
        (StoreCondition::Failing, 1)
    );
    assert_eq!(
        (bench.numbers(), bench.queue().damaged),
        ((0..60).collect(), 0)
    );
    assert!(bench.shared.account().is_well());
}

#[test]
fn what_the_disk_never_gives_back_is_given_up_after_a_while_and_told() {
    let folder = tempdir();
    let mut bench = filled(folder.path(), 5);
    bench.script.fail_reads(1, u64::MAX, EIO);
    assert_eq!(bench.owed(9).len(), 0);
    assert_eq!(bench.queue().damaged, 5);
    bench.script.heal_reads();
    assert!(bench.commit());
    let bench = bench.reopen();
    assert_eq!(
        (bench.numbers(), bench.shared.account().given_up[4].messages),
        (Vec::new(), 5)
    );
}

#[test]
fn a_folder_a_pipe_or_a_dangling_link_in_place_of_a_file_costs_that_file_only_and_is_told() {
    for kind in ["folder", "pipe", "link"] {
        let folder = tempdir();
        filled(folder.path(), 200).kill();
        let hurt = chunk_files(folder.path())[1].clone();
        fs::remove_file(&hurt).unwrap();
        match kind {
            "folder" => fs::create_dir(&hurt).unwrap(),
            "pipe" => rustix::fs::mkfifoat(rustix::fs::CWD, &hurt, rustix::fs::Mode::RWXU).unwrap(),
            _ => std::os::unix::fs::symlink("nowhere", &hurt).unwrap(),
        }
        let mut bench = Bench::open(config(folder.path()));
        let found = bench.numbers();
        assert!(!found.is_empty() && found.len() < 200, "{kind}");
        assert_eq!(bench.queue().damaged, 200 - found.len() as u64, "{kind}");
        bench.append(200, None);
        assert!(bench.commit(), "{kind}");
        assert_eq!(bench.reopen().numbers().len(), found.len() + 1, "{kind}");
    }
}

#[test]
fn a_folder_that_is_moved_away_for_a_while_costs_nothing() {
    let folder = tempdir();
    let (path, away) = (folder.path().join("spool"), folder.path().join("away"));
    let mut bench = filled(&path, 60);
    fs::rename(&path, &away).unwrap();
    let burst = bench.append_with_receipts(60..70);
    assert!(!bench.commit() && !burst.is_settled(0));
    bench.turn();
    assert!(!bench.shared.account().is_well() && !path.exists());
    assert!(bench.backlog.read(QUEUE, Seq(0)).is_empty());
    fs::rename(&away, &path).unwrap();
    bench.turn();
    assert!(bench.shared.account().is_well() && bench.commit() && burst.all_settled());
    assert_eq!(
        (bench.numbers(), bench.queue().damaged),
        ((0..70).collect(), 0)
    );
    assert_eq!(bench.reopen().numbers(), (0..70).collect::<Vec<_>>());
}

#[test]
fn a_folder_that_is_removed_is_made_again_for_what_memory_has_and_the_rest_is_told() {
    for part in ["", "chunks", "store", "lock"] {
        let folder = tempdir();
        let path = folder.path().join("spool");
        let mut bench = filled(&path, 60);
        bench.shared.park(vec![letter(1, None)]);
        assert!(bench.commit());
        let burst = bench.append_with_receipts(60..70);
        let gone = path.join(part);
        if gone.is_dir() {
            fs::remove_dir_all(&gone).unwrap()
        } else {
            fs::remove_file(&gone).unwrap()
        }
        assert!(!bench.commit() && !burst.is_settled(0), "{part}");
        bench.turn();
        assert!(bench.commit() && burst.all_settled(), "{part}");
        let lost = if ["", "chunks"].contains(&part) {
            60
        } else {
            0
        };
        assert_eq!(
            (bench.numbers(), bench.queue().damaged),
            ((lost..70).collect(), lost),
            "{part}"
        );
        assert!(bench.commit());
        let letters = u64::from(!part.is_empty());
        let bench = bench.reopen();
        assert_eq!(
            (bench.numbers(), bench.shared.account().dead_letters()),
            ((lost..70).collect(), letters),
            "{part}"
        );
        assert_eq!(
            bench.shared.account().given_up[4].messages,
            lost + 1 - letters,
            "{part}"
        );
    }
}

#[test]
fn notes_of_another_store_accept_nothing() {
    let (one, two) = (tempdir(), tempdir());
    filled(one.path(), 60).kill();
    let mut other = filled(two.path(), 90);
    other.backlog.accept(QUEUE, Seq(0), Seq(u64::MAX));
    assert!(other.commit());
    other.shared.write_low_marks().unwrap();
    other.kill();
    fs::copy(two.path().join("low"), one.path().join("low")).unwrap();
    assert_eq!(
        Bench::open(config(one.path())).numbers(),
        (0..60).collect::<Vec<_>>()
    );
    // And of one that was there before.
    for part in ["lock", "chunks", "store"] {
        let path = two.path().join(part);
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap()
        } else {
            fs::remove_file(path).unwrap()
        }
    }
    files(two.path())
        .into_keys()
        .filter(|path| !path.ends_with("low"))
        .for_each(|path| fs::remove_file(path).unwrap());
    let bench = filled(two.path(), 50);
    fs::copy(one.path().join("low"), two.path().join("low")).unwrap();
    assert_eq!(bench.reopen().numbers(), (0..50).collect::<Vec<_>>());
}

#[test]
fn an_index_of_another_store_is_made_up_anew() {
    let (one, two) = (tempdir(), tempdir());
    filled(one.path(), 60).kill();
    filled(two.path(), 90).kill();
    fs::remove_dir_all(one.path().join("store")).unwrap();
    copy_folder(&two.path().join("store"), &one.path().join("store"));
    let bench = Bench::open(config(one.path()));
    assert_eq!(
        (bench.numbers(), bench.queue().damaged),
        ((0..60).collect(), 0)
    );
}

#[test]
fn a_chunk_of_a_newer_version_waits_and_says_so() {
    let folder = tempdir();
    filled(folder.path(), 5).kill();
    let path = chunk_files(folder.path())[0].clone();
    let bytes = fs::read(&path).unwrap();
    let mut newer = bytes.clone();
    let at = bytes
        .windows(4)
        .position(|window| window == b"TGc1")
        .unwrap()
        + 12;
    let length = u32::from_le_bytes(bytes[at - 8..at - 4].try_into().unwrap()) as usize;
    newer[at] = 9;
    let sum = crc32fast::hash(&[&newer[at..=at], &newer[at + 5..at + length]].concat());
    newer[at + 1..at + 5].copy_from_slice(&sum.to_le_bytes());
    fs::write(&path, newer).unwrap();
    let mut bench = Bench::open(config(folder.path()));
    assert!(bench.backlog.read(QUEUE, Seq(0)).is_empty());
    let account = bench.shared.account();
    assert!(
        account.unreadable[0].why.contains("newer version") && !account.is_well(),
        "{:?}",
        account.unreadable
    );
    assert_eq!((bench.queue().on_disk, bench.queue().damaged), (5, 0));
    bench.append(5, None);
    assert!(bench.commit());
    bench.kill();
    let mut back = fs::read(&path).unwrap();
    back[..bytes.len()].copy_from_slice(&bytes);
    fs::write(&path, back).unwrap();
    assert_eq!(
        Bench::open(config(folder.path())).numbers(),
        (0..6).collect::<Vec<_>>()
    );
}

#[test]
fn a_store_that_was_copied_gets_another_name_for_its_ids_and_one_that_stays_keeps_it() {
    let (folder, copy) = (tempdir(), tempdir());
    let bench = filled(folder.path(), 5);
    let origin = bench.backlog.origin();
    let bench = bench.reopen();
    assert_eq!(bench.backlog.origin(), origin);
    bench.kill();
    copy_folder(folder.path(), copy.path());
    let copied = Bench::open(config(copy.path()));
    assert!(copied.backlog.origin() != origin && copied.backlog.origin().starts_with("barn-7/"));
    assert_eq!(copied.numbers(), (0..5).collect::<Vec<_>>());
    let other = copied.backlog.origin();
    assert_eq!(copied.reopen().backlog.origin(), other);
    assert_eq!(Bench::open(config(folder.path())).backlog.origin(), origin);
}

#[test]
fn a_file_of_letters_that_is_never_given_back_costs_its_letters_only_and_they_are_told() {
    let folder = tempdir();
    let bench = filled(folder.path(), 60);
    bench
        .shared
        .park((0..3).map(|number| letter(number, None)).collect());
    let mut bench = bench;
    assert!(bench.commit());
    bench.shared.write_low_marks().unwrap();
    let sick = super::whole::records(folder.path()).pop().unwrap();
    bench.kill();
    let locked = DataFolder::lock(folder.path()).unwrap();
    locked.fault_injection.script.fail_file(&sick);
    // It waits at first: the disk may come to itself.
    let mut bench = Bench::open_in(locked, config(folder.path()));
    assert!(!bench.shared.account().is_well() && sick.exists());
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !bench.shared.account().is_well() {
        assert!(std::time::Instant::now() < until);
        bench.turn();
    }
    assert_eq!(bench.numbers(), (0..60).collect::<Vec<_>>());
    assert!(!sick.exists());
    assert_eq!(bench.shared.account().lost_records.0, 3);
    bench.append(60, None);
    assert!(bench.commit());
    assert_eq!(bench.reopen().numbers().len(), 61);
}
