//! Encryption at rest: what the disk shows, what a wrong key does, how keys change.

use super::*;
use crate::message::{Checkpoint, Loss, LossReason, Span};
use crate::spool::disk::folder::DataFolder;
use crate::spool::disk::sealing::keys;
use crate::spool::disk::sealing::sealer::tests::sealer;
use crate::spool::disk::store::Store;
use crate::spool::error::Error;
use crate::spool::settings::Config;
use crate::spool::shared::Shared;
use crate::spool::shared::end::ShutdownMode;
use crate::spool::start::OpenPurpose;

const PAYLOAD: &str = "MARKER-PAYLOAD";
const TOPIC: &str = "MARKER-TOPIC";
const DEVICE: &str = "MARKER-DEVICE";

fn sealed(path: &Path, numbers: &[u8]) -> Config {
    Config {
        sealer: sealer(numbers),
        ..config(path)
    }
}

/// A message of which every part would be known again.
fn marked(number: u64) -> Message {
    let topic = format!("{DEVICE}/{TOPIC}/{number}");
    let key = Span {
        offset: 0,
        len: u16::try_from(DEVICE.len()).unwrap(),
    };
    Message {
        topic: topic.into(),
        key,
        payload: format!("{PAYLOAD} {number}").into(),
        ..message(number)
    }
}

fn remembered(number: u64, value: Option<&str>) -> Vec<Checkpoint> {
    let key = Bytes::from(format!("{DEVICE}-{number}"));
    let change = Remembered {
        key,
        version: 1,
        value: value.map(|value| Bytes::copy_from_slice(value.as_bytes())),
    };
    vec![Checkpoint {
        flow: "climate".into(),
        plugin: "count".into(),
        changes: vec![change],
    }]
}

/// Everything that puts something on disk, over a start.
fn use_everything(config: Config) -> Bench {
    let mut bench = Bench::open(config);
    let loss = |number: u64| {
        let Message {
            topic,
            key,
            received,
            ..
        } = marked(number);
        Loss {
            reason: LossReason::Qos0Pressed,
            topic,
            key,
            device: None,
            flow: None,
            count: 3,
            received,
            is_clock_set: true,
            receipt: None,
        }
    };
    for number in 0..60 {
        bench.shared.append(vec![Append {
            queue: QUEUE,
            message: marked(number),
            receipt: None,
        }]);
        if number % 10 < 9 {
            continue;
        }
        bench.shared.park(vec![DeadLetter {
            message: marked(number),
            detail: format!("{PAYLOAD} is bad"),
            ..letter(number, None)
        }]);
        bench.shared.checkpoint(remembered(number, Some(PAYLOAD)));
        bench.shared.lose(vec![loss(number)]);
        assert!(bench.commit());
        let owed = bench.owed(9);
        bench
            .backlog
            .refuse(QUEUE, owed[3].clone(), format!("no {TOPIC}"));
        bench.backlog.expire(QUEUE, &owed[5..6]);
        bench.backlog.accept(QUEUE, owed[0].seq, owed[0].seq.next());
        assert!(bench.commit());
    }
    let prefix = bench.shared.recall("climate", "count").unwrap();
    assert_eq!(prefix.len(), 6);
    bench.shared.checkpoint(remembered(9, None));
    assert!(bench.commit());
    bench.reopen()
}

/// The files of a folder in which one of the markers stands.
fn showing(path: &Path) -> Vec<String> {
    let is_in = |bytes: &[u8], marker: &str| {
        bytes
            .windows(marker.len())
            .any(|window| window == marker.as_bytes())
    };
    let shows = |bytes: &[u8]| {
        [PAYLOAD, TOPIC, DEVICE]
            .iter()
            .any(|marker| is_in(bytes, marker))
    };
    let found = files(path)
        .into_iter()
        .filter(|(name, (.., bytes))| shows(bytes) || shows(name.to_str().unwrap().as_bytes()));
    found.map(|(name, _)| name.display().to_string()).collect()
}

fn keys_of(state: &[Remembered]) -> Vec<String> {
    let mut keys: Vec<String> = state
        .iter()
        .map(|entry| String::from_utf8(entry.key.to_vec()).unwrap())
        .collect();
    keys.sort();
    keys
}

/// All that came back of what `use_everything` has left.
fn check_everything(bench: &Bench) {
    let owed = bench.owed(9);
    assert!(
        owed.len() > 40
            && owed
                .iter()
                .all(|stored| stored.message == marked(stored.message.id.seq))
    );
    let letters = bench.shared.dead_letters(99);
    assert_eq!(letters.len(), 12);
    assert!(
        letters
            .iter()
            .all(|record| record.message.payload == marked(record.message.id.seq).payload)
    );
    let entries = bench.shared.ledger();
    assert!(entries.iter().any(|entry| {
        entry
            .topic
            .as_deref()
            .is_some_and(|topic| topic.contains(TOPIC))
    }));
    assert_eq!(
        entries.iter().map(|entry| entry.count).sum::<u64>(),
        6 * 3 + 6
    );
    let state = bench.shared.recall("climate", "count").unwrap();
    assert_eq!(
        keys_of(&state),
        (1..6)
            .map(|number| format!("{DEVICE}-{}", number * 10 + 9))
            .collect::<Vec<_>>()
    );
    assert!(
        state
            .iter()
            .all(|entry| entry.value.as_deref() == Some(PAYLOAD.as_bytes()))
    );
    assert_eq!(
        bench
            .shared
            .read_store(Store::states)
            .unwrap()
            .iter()
            .map(|kept| kept.keys)
            .sum::<u64>(),
        5
    );
}

#[test]
fn nothing_that_devices_have_said_stands_in_any_file_and_all_of_it_comes_back() {
    let (plain, safe) = (tempdir(), tempdir());
    use_everything(config(plain.path())).kill();
    assert!(
        showing(plain.path()).len() >= 2,
        "without a key both chunks and store show it"
    );
    let bench = use_everything(sealed(safe.path(), &[1]));
    assert_eq!(showing(safe.path()), Vec::<String>::new());
    check_everything(&bench);
    bench.shared.set_aside("climate", "count");
    let mut bench = bench;
    assert!(bench.commit() && bench.shared.recall("climate", "count").unwrap().is_empty());
    assert_eq!(showing(safe.path()), Vec::<String>::new());
}

#[test]
fn a_wrong_or_missing_key_is_refused_and_not_a_byte_changes() {
    let folder = tempdir();
    use_everything(sealed(folder.path(), &[1])).kill();
    let before = files(folder.path());
    let needed = sealer(&[1]).current().unwrap();
    for numbers in [&[][..], &[2], &[2, 3]] {
        for purpose in [OpenPurpose::Run, OpenPurpose::Look] {
            let refused =
                Shared::open_to(purpose, sealed(folder.path(), numbers), metrics()).map(drop);
            let Err(Error::Key {
                key, has_others, ..
            }) = refused
            else {
                panic!("{numbers:?}, {purpose:?}: {refused:?}")
            };
            assert_eq!((key, has_others), (needed, !numbers.is_empty()));
            assert_eq!(files(folder.path()), before, "{numbers:?}, {purpose:?}");
        }
    }
    // The note of it is lost: the chunks tell.
    fs::remove_file(folder.path().join("keys")).unwrap();
    assert!(matches!(
        Shared::open_to(OpenPurpose::Run, config(folder.path()), metrics()),
        Err(Error::Key { .. })
    ));
    check_everything(&Bench::open(sealed(folder.path(), &[1])));
}

#[test]
fn a_plain_store_goes_on_with_a_key_and_what_is_written_from_then_on_is_sealed() {
    let folder = tempdir();
    use_everything(config(folder.path())).kill();
    let mut bench = Bench::open(sealed(folder.path(), &[1]));
    check_everything(&bench);
    let old = files(&folder.path().join("chunks"));
    bench.shared.append(
        (100..160)
            .map(|number| Append {
                queue: QUEUE,
                message: marked(number),
                receipt: None,
            })
            .collect(),
    );
    assert!(bench.commit());
    assert_eq!(
        bench
            .owed(9)
            .iter()
            .filter(|stored| stored.message == marked(stored.message.id.seq))
            .count(),
        bench.owed(9).len()
    );
    let new = files(&folder.path().join("chunks"))
        .into_iter()
        .filter(|(name, _)| !old.contains_key(name));
    let shows = |(.., bytes): &(u64, SystemTime, Vec<u8>)| {
        bytes
            .windows(PAYLOAD.len())
            .any(|part| part == PAYLOAD.as_bytes())
    };
    let new: Vec<_> = new.map(|(_, about)| shows(&about)).collect();
    assert!(!new.is_empty() && !new.contains(&true));
    bench.kill();
    let without = Shared::open_to(OpenPurpose::Look, config(folder.path()), metrics());
    assert!(matches!(without, Err(Error::Key { .. })));
    drop(without);
    // Something unsealed is owed still.
    assert!(keys::is_mixed(
        &DataFolder::lock(folder.path()).unwrap(),
        &sealer(&[1])
    ));
}

#[test]
fn a_new_key_takes_over_and_the_old_one_may_go_when_its_last_chunk_is_gone() {
    let folder = tempdir();
    use_everything(sealed(folder.path(), &[1])).kill();
    let mut bench = Bench::open(sealed(folder.path(), &[2, 1]));
    check_everything(&bench);
    bench.append(1_000, None);
    assert!(bench.commit());
    bench.kill();
    let too_early = Shared::open_to(OpenPurpose::Run, sealed(folder.path(), &[2]), metrics());
    assert!(matches!(
        too_early,
        Err(Error::Key {
            has_others: true,
            ..
        })
    ));
    drop(too_early);
    let bench = Bench::open(sealed(folder.path(), &[2, 1]));
    let owed = bench.owed(9);
    let last = owed
        .iter()
        .rposition(|stored| stored.message.id.seq < 1_000)
        .unwrap();
    bench.backlog.accept(QUEUE, Seq(0), owed[last].seq.next());
    let Bench {
        shared,
        mut writer,
        backlog,
        ..
    } = bench;
    shared.end(ShutdownMode::Write);
    writer.run().unwrap();
    shared.open_store.close();
    drop((shared, writer, backlog));
    let bench = Bench::open(sealed(folder.path(), &[2]));
    assert_eq!(bench.numbers(), [1_000]);
    assert_eq!(
        (
            bench.shared.dead_letters(99).len(),
            bench.shared.recall("climate", "count").unwrap().len()
        ),
        (12, 5)
    );
}

#[test]
fn a_damaged_sealed_chunk_costs_itself_and_is_set_aside() {
    let folder = tempdir();
    let mut bench = Bench::open(sealed(folder.path(), &[1]));
    for number in 0..30 {
        bench.append(number, None);
        assert!(number % 10 < 9 || bench.commit());
    }
    let whole = bench.owed(9);
    let first = whole[10].seq.0;
    bench
        .shared
        .read_store(|store| {
            store.damage_chunk(0, Seq(first));
            Ok(())
        })
        .unwrap();
    let left = bench.owed(9);
    let lost = (whole.len() - left.len()) as u64;
    assert!((1..=10).contains(&lost), "{lost}");
    assert_eq!(bench.queue().damaged, lost);
    assert_eq!(
        bench
            .shared
            .read_store(|store| Ok(store.set_aside()))
            .unwrap(),
        1
    );
}
