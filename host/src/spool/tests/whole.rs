//! A store with all there can be in it, one bit of which flips, or one read of which fails: nothing differs untold.

use std::path::Path;

use super::*;
use crate::clock::RunningTime;
use crate::spool::disk::folder::DataFolder;
use crate::spool::ledger::LedgerEntry;
use crate::spool::settings::Config;
use crate::spool::tests::damage::Dice;

/// Each of the two; `TIDEGATE_SOAK` has a thousand.
fn trials() -> usize {
    if std::env::var_os("TIDEGATE_SOAK").is_some() {
        1_000
    } else {
        60
    }
}

const EIO: i32 = 5;
const ENOMEM: i32 = 12;
const MESSAGES: u64 = 300;
const ACCEPTED: u64 = 40;
const LETTERS: u64 = 30;
const EXPIRED: u64 = 7_239;
const STATES: u64 = 50;

/// How an earlier run has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// In order: what there is was noted.
    Noted,
    /// By a kill right behind the last commit.
    Killed,
}

fn closed(folder: &Path, end: End) -> Config {
    let config = Config {
        head_bytes: 64 << 20,
        ..config(folder)
    };
    let mut bench = Bench::open(config.clone());
    bench
        .shared
        .park((0..LETTERS).map(|number| letter(number, None)).collect());
    let keys: Vec<String> = (0..STATES).map(|number| format!("d{number:02}")).collect();
    for key in &keys {
        remember(&bench, "count", &[(key, Some(key))]);
        assert!(bench.commit());
    }
    let expired = LedgerEntry {
        count: EXPIRED,
        ..bench.shared.plain(crate::message::LossReason::Expired, 0)
    };
    bench.shared.record_losses([expired]);
    for number in 0..MESSAGES {
        bench.append(number, None);
        assert!((number + 1) % (MESSAGES / 10) > 0 || bench.commit());
        if number == MESSAGES / 2 {
            let first: Vec<Stored> = bench
                .owed(9)
                .into_iter()
                .take(usize::try_from(ACCEPTED).unwrap())
                .collect();
            bench
                .backlog
                .accept(QUEUE, Seq(0), first.last().unwrap().seq.next());
            assert!(bench.commit());
            bench.shared.write_low_marks().unwrap();
        }
    }
    if end == End::Noted {
        bench.shared.witness_soon();
        bench.shared.write_low_marks().unwrap();
    }
    bench.kill();
    config
}

/// What there is of it.
#[derive(Debug, PartialEq, Eq)]
struct Stock {
    messages: Vec<u64>,
    letters: u64,
    expired: u64,
    states: Vec<(String, String)>,
}

impl Stock {
    fn of(bench: &Bench) -> Self {
        let messages = bench.numbers();
        let given_up = bench.shared.account().given_up;
        let expired = given_up
            .iter()
            .find(|account| account.reason == crate::message::LossReason::Expired)
            .unwrap();
        let letters = bench.shared.dead_letters(99);
        assert!(
            letters
                .iter()
                .all(|record| record.message.payload == message(record.message.id.seq).payload)
        );
        Self {
            messages,
            letters: letters.len() as u64,
            expired: expired.messages,
            states: remembered(bench, "count"),
        }
    }

    fn whole() -> Self {
        let states = (0..STATES)
            .map(|number| (format!("d{number:02}"), format!("d{number:02}")))
            .collect();
        Self {
            messages: (ACCEPTED..MESSAGES).collect(),
            letters: LETTERS,
            expired: EXPIRED,
            states,
        }
    }
}

fn damaged(bench: &Bench) -> u64 {
    let given_up = bench.shared.account().given_up;
    given_up
        .iter()
        .find(|account| account.reason == crate::message::LossReason::Damaged)
        .unwrap()
        .messages
}

/// Looks at a hurt store, and again after a restart: what is missing is told, once, and with its number. Answers what that
/// is: messages, letters, messages in the ledger, entries of state.
fn compare(config: Config, is_noted: bool, what: &str) -> [u64; 4] {
    let mut bench = Bench::open(config);
    let found = Stock::of(&bench);
    let (account, faults) = (bench.shared.account(), bench.shared.metrics.faults.get());
    let (letters, ledger, states) = account.lost_records;
    let owed: Vec<u64> = found
        .messages
        .iter()
        .copied()
        .filter(|number| *number >= ACCEPTED)
        .collect();
    let missing = MESSAGES - ACCEPTED - owed.len() as u64;
    assert!(found.messages.is_sorted(), "{what}: out of order, or twice");
    assert!(
        is_noted || owed.len() == found.messages.len(),
        "{what}: what was accepted comes again"
    );
    assert_eq!(account.queues[0].damaged, missing, "{what}: messages");
    assert_eq!(
        (found.letters + letters, account.dead_letters()),
        (LETTERS, found.letters),
        "{what}: letters"
    );
    assert_eq!(
        (found.expired, found.states.len() as u64 + states),
        (EXPIRED, STATES),
        "{what}: ledger ({ledger}) and state"
    );
    assert!(found.states.iter().all(|(key, value)| key == value));
    assert!(faults > 0 || (letters, ledger, states) == (0, 0, 0));
    assert_eq!(
        damaged(&bench),
        missing + letters,
        "{what}: what the ledger says"
    );
    assert!(bench.commit(), "{what}");
    let bench = bench.reopen();
    assert_eq!(
        (Stock::of(&bench), damaged(&bench)),
        (found, missing + letters),
        "{what}: after a restart"
    );
    assert_eq!(
        bench.shared.account().lost_records,
        (0, 0, 0),
        "{what}: told again"
    );
    bench.kill();
    [missing, letters, ledger, states]
}

fn flip_bits(end: End, seed: u64) {
    let mut lost = [0; 4];
    let folder = tempdir();
    let config = closed(folder.path(), end);
    let mut dice = Dice(seed);
    for trial in 0..trials() {
        let copy = tempdir();
        copy_folder(folder.path(), copy.path());
        let all: Vec<_> = files(copy.path())
            .into_iter()
            .filter(|(_, (length, ..))| *length > 0)
            .collect();
        let (path, (_, _, mut bytes)) = all[dice.roll(all.len())].clone();
        let used = bytes
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(bytes.len(), |last| last + 1);
        let (at, bit) = (dice.roll(used), dice.roll(8));
        bytes[at] ^= 1 << bit;
        fs::write(&path, &bytes).unwrap();
        let name = path
            .strip_prefix(copy.path())
            .unwrap()
            .display()
            .to_string();
        // Whoever takes the low marks takes what they alone knew: how far upstream had accepted.
        let is_noted = name == "low" || name.starts_with("store");
        let what = format!("trial {trial}, {name}:{at}.{bit}");
        let found = compare(
            Config {
                path: copy.path().to_owned(),
                ..config.clone()
            },
            is_noted,
            &what,
        );
        lost.iter_mut()
            .zip(found)
            .for_each(|(sum, found)| *sum += found);
    }
    let [messages, letters, ledger, states] = lost;
    eprintln!(
        "{} flipped bits: {messages} messages, {letters} letters, {ledger} in the ledger and {states} entries of state lost, all told",
        trials()
    );
}

#[test]
fn a_bit_that_flips_in_any_file_costs_nothing_untold() {
    flip_bits(End::Noted, 3);
}

#[test]
fn a_bit_that_flips_right_after_a_kill_costs_nothing_untold() {
    flip_bits(End::Killed, 5);
}

#[test]
fn a_chunk_and_the_index_that_are_both_hurt_cost_the_chunk_and_it_is_told() {
    let folder = tempdir();
    let config = closed(folder.path(), End::Killed);
    fs::remove_dir_all(folder.path().join("store")).unwrap();
    let last = files(&folder.path().join("chunks"))
        .into_keys()
        .next_back()
        .unwrap();
    let mut bytes = fs::read(&last).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(&last, bytes).unwrap();
    compare(config, true, "index and chunk");
}

/// Files of records of a closed store.
pub(super) fn records(folder: &Path) -> Vec<std::path::PathBuf> {
    files(folder)
        .into_keys()
        .filter(|path| path.to_string_lossy().contains("/records."))
        .collect()
}

#[test]
fn any_file_of_records_that_is_gone_is_missed() {
    let folder = tempdir();
    let config = closed(folder.path(), End::Noted);
    // Each start begins a file.
    Bench::open(config.clone()).kill();
    let count = records(folder.path()).len();
    assert!(count > 1, "{count} files");
    for index in 0..count {
        let copy = tempdir();
        copy_folder(folder.path(), copy.path());
        fs::remove_file(&records(copy.path())[index]).unwrap();
        compare(
            Config {
                path: copy.path().to_owned(),
                ..config.clone()
            },
            true,
            &format!("file {index} of {count}"),
        );
    }
}

#[test]
fn all_files_of_records_that_are_gone_or_zero_with_all_who_know_of_them_are_missed() {
    let folder = tempdir();
    let config = closed(folder.path(), End::Noted);
    let hurts: [fn(&Path); 2] = [
        |path| fs::remove_file(path).unwrap(),
        |path| fs::write(path, vec![0; fs::read(path).unwrap().len()]).unwrap(),
    ];
    for hurt in hurts {
        let copy = tempdir();
        copy_folder(folder.path(), copy.path());
        records(copy.path()).iter().for_each(|path| hurt(path));
        hurt(&copy.path().join("low"));
        let mut bench = Bench::open(Config {
            path: copy.path().to_owned(),
            ..config.clone()
        });
        assert_eq!(bench.shared.account().lost_commits, 1);
        // It is told once, and goes on.
        bench.append(1_000, None);
        assert!(bench.commit());
        bench.kill();
        let again = Bench::open(Config {
            path: copy.path().to_owned(),
            ..config.clone()
        });
        assert_eq!(again.shared.account().lost_commits, 0);
    }
}

#[test]
fn records_of_another_store_in_place_of_some_of_ours_are_left_alone_and_ours_are_missed() {
    let (folder, other) = (tempdir(), tempdir());
    let config = closed(folder.path(), End::Noted);
    closed(other.path(), End::Noted);
    let first = &records(folder.path())[0];
    fs::copy(&records(other.path())[0], first).unwrap();
    // As it lies where it was signed, the store is known by its lock file.
    compare(config, true, "the first file is another store's");
}

#[test]
fn a_read_that_fails_once_changes_nothing() {
    let folder = tempdir();
    let config = closed(folder.path(), End::Noted);
    let mut dice = Dice(7);
    for trial in 0..trials() {
        let copy = tempdir();
        copy_folder(folder.path(), copy.path());
        let handle = DataFolder::lock(copy.path()).unwrap();
        let (at, errno) = (
            1 + dice.roll(200) as u64,
            if trial % 2 == 0 { EIO } else { ENOMEM },
        );
        handle.fault_injection.script.fail_reads(at, 1, errno);
        let mut bench = Bench::open_in(
            handle,
            Config {
                path: copy.path().to_owned(),
                ..config.clone()
            },
        );
        // Whatever is asked for while it fails is asked for again.
        let _ = (
            bench.numbers(),
            bench.shared.dead_letters(99),
            bench.shared.recall("climate", "count"),
        );
        bench.script.heal_reads();
        if !bench.shared.account().is_well() {
            bench.writer.turn(RunningTime(u64::MAX));
        }
        assert_eq!(
            Stock::of(&bench),
            Stock::whole(),
            "trial {trial}: read {at} fails"
        );
        assert_eq!(
            (damaged(&bench), bench.shared.account().lost_records),
            (0, (0, 0, 0)),
            "trial {trial}: read {at} fails"
        );
        let bench = bench.reopen();
        assert_eq!(
            Stock::of(&bench),
            Stock::whole(),
            "trial {trial}: after a restart"
        );
        bench.kill();
    }
}

#[test]
fn a_read_that_fails_while_a_running_gateway_opens_its_store_anew_changes_nothing() {
    let folder = tempdir();
    let config = closed(folder.path(), End::Noted);
    let mut bench = Bench::open(config);
    for at in 1..20 {
        bench.append(MESSAGES + at, None);
        bench.script.fail_syncs(1);
        bench.script.fail_reads(at, 1, EIO);
        assert!(!bench.commit());
        for _ in 0..3 {
            bench.writer.turn(RunningTime(u64::MAX));
        }
        assert!(bench.shared.account().is_well(), "read {at}");
    }
    bench.script.heal_reads();
    let mut expected = Stock::whole();
    expected.messages.extend((1..20).map(|at| MESSAGES + at));
    assert_eq!(Stock::of(&bench), expected);
    assert!(bench.commit());
    assert_eq!(Stock::of(&bench.reopen()), expected);
}

#[test]
fn a_store_of_the_format_before_is_taken_over() {
    let folder = tempdir();
    let config = closed(folder.path(), End::Noted);
    crate::spool::disk::format_before::put_back(folder.path(), 2);
    let bench = Bench::open(config);
    assert_eq!(Stock::of(&bench), Stock::whole());
    let bench = bench.reopen();
    assert_eq!(
        (Stock::of(&bench), bench.shared.account().lost_records),
        (Stock::whole(), (0, 0, 0))
    );
}

#[test]
fn what_is_written_after_all_files_of_a_queue_are_gone_is_found_again_after_a_kill() {
    let folder = tempdir();
    let files = || {
        let names = fs::read_dir(folder.path().join("chunks"))
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap());
        let number = |name: String| name.strip_prefix("cloud:telemetry.")?.parse().ok();
        names.filter_map(number).collect::<Vec<u64>>()
    };
    let mut bench = Bench::open(config(folder.path()));
    bench.append(0, None);
    assert!(bench.commit());
    assert_eq!(files(), [1]);
    bench
        .backlog
        .accept(QUEUE, Seq(0), bench.owed(9)[0].seq.next());
    assert!(bench.commit());
    // The file goes with a commit that is about another queue.
    bench = bench.reopen();
    bench.shared.append(vec![Append {
        queue: QueueId(1),
        message: message(1),
        receipt: None,
    }]);
    assert!(bench.commit());
    assert!(files().is_empty());
    // An index that is older than this start looks only behind the files it knew.
    bench = bench.reopen();
    bench.append(7, None);
    assert!(bench.commit());
    assert_eq!((files(), bench.numbers()), (vec![2], vec![7]));
}
