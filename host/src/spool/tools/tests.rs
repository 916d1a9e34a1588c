//! The tools against a real store: what they read is what is owed, what they put in or take out lasts.

use std::collections::BTreeSet;
use std::path::Path;

use bytes::Bytes;

use super::*;
use crate::message::{DeadLetter, MessageId, PluginRef, Reason, Receipt};
use crate::spool::Spool;
use crate::spool::dead_letters::letter::{LetterId, LetterRecord};
use crate::spool::settings::Config;
use crate::spool::tests::{config, metrics, tempdir};
use crate::spool::tools::check::DamageFinding;
use crate::spool::tools::parked::{LetterFilter, LetterPage, RequeuedLetter};
use crate::spool::tools::record::QueueRecord;
use crate::spool::tools::stopped::Stopped;
use crate::spool::tools::{ToolError, Tools};

const QUEUE: &str = "cloud:telemetry";

fn open(path: &Path) -> Spool {
    Spool::open(config(path), metrics()).unwrap()
}

fn message(number: u64) -> Message {
    Message {
        id: MessageId {
            boot: 1,
            seq: number,
        },
        topic: Bytes::from(format!("devices/d{}/telemetry", number % 5)),
        payload: Bytes::from(format!("reading {number}")),
        ..Message::default()
    }
}

fn records(range: std::ops::Range<u64>) -> Vec<QueueRecord> {
    let record = |number| QueueRecord {
        queue: QUEUE.to_owned(),
        seq: Seq(0),
        content: RecordContent::of(&message(number), "climate"),
    };
    range.map(record).collect()
}

/// The numbers of all messages, read in pages of `max`.
fn numbers(tools: &Tools, max: usize) -> (Vec<u64>, Vec<DamageFinding>) {
    let (mut found, mut findings, mut from) = (Vec::new(), Vec::new(), Some(Seq::FIRST));
    while let Some(next) = from {
        let page = tools.page(QUEUE, next, max).unwrap();
        assert!(page.records.len() <= max);
        found.extend(page.records.iter().map(|record| record.content.number));
        findings.extend(page.findings);
        from = page.next;
    }
    (found, findings)
}

fn letter(number: u64, reason: Reason, receipt: Option<Receipt>) -> DeadLetter {
    let plugin = Some(PluginRef {
        name: "decode-json".into(),
        digest: "ab".repeat(32).into(),
    });
    let (flow, detail) = (
        if number.is_multiple_of(2) {
            "even"
        } else {
            "odd"
        }
        .into(),
        format!("no {number}"),
    );
    DeadLetter {
        message: message(number),
        flow,
        plugin,
        reason,
        detail,
        own_topic: false,
        receipt,
    }
}

/// Parks letters and waits for their commit.
fn park(spool: &Spool, letters: impl Iterator<Item = (u64, Reason)>) {
    let letters: Vec<_> = letters.collect();
    let burst = Burst::new(Arc::new(Settled::default()), letters.iter().map(|_| 1));
    let receipts = (0..).map(|index| burst.receipt(index));
    spool.outlet().park(
        letters
            .iter()
            .zip(receipts)
            .map(|((number, reason), receipt)| letter(*number, *reason, Some(receipt)))
            .collect(),
    );
    let progress = burst.progress();
    wait(|| progress.all_settled()).unwrap();
}

fn names(page: &LetterPage) -> Vec<u64> {
    page.letters
        .iter()
        .map(|letter| letter.content.number)
        .collect()
}

#[test]
fn what_is_imported_is_safe_and_is_read_in_order_on_disk_and_in_ram() {
    let folder = tempdir();
    let spool = open(folder.path());
    let tools = spool.tools();
    assert_eq!(tools.import(&records(0..100)).unwrap(), 100);
    assert_eq!(spool.account().queues[0].on_disk, 100);
    let more = records(100..120)
        .iter()
        .map(|record| record.content.message().unwrap())
        .collect::<Vec<_>>();
    let append = |message| Append {
        queue: QueueId(0),
        message,
        receipt: None,
    };
    spool
        .outlet()
        .append(more.into_iter().map(append).collect());
    for max in [1, 7, 1_000] {
        assert_eq!(numbers(&tools, max), ((0..120).collect(), Vec::new()));
    }
    let page = tools.page(QUEUE, Seq(0), 3).unwrap();
    assert_eq!(
        page.records[2].content,
        RecordContent {
            flow: "climate".into(),
            ..records(2..3)[0].content.clone()
        }
    );
}

#[test]
fn a_queue_is_exported_dropped_and_imported_over_restarts() {
    let folder = tempdir();
    let spool = open(folder.path());
    spool.tools().import(&records(0..500)).unwrap();
    spool.close().unwrap();
    let stopped = Stopped::open(config(folder.path()), metrics()).unwrap();
    assert_eq!(stopped.account().queues[0].on_disk, 500);
    let exported = stopped.tools().page(QUEUE, Seq(0), 1_000).unwrap().records;
    drop(stopped);
    let spool = open(folder.path());
    assert_eq!(spool.tools().drop_queue(QUEUE).unwrap(), 500);
    assert_eq!(
        (spool.account().queues[0].dropped, spool.account().owed()),
        (500, 0)
    );
    spool.close().unwrap();
    let spool = open(folder.path());
    assert_eq!(numbers(&spool.tools(), 1_000).0, [0; 0]);
    assert_eq!(spool.tools().import(&exported).unwrap(), 500);
    spool.close().unwrap();
    let stopped = Stopped::open(config(folder.path()), metrics()).unwrap();
    assert_eq!(
        numbers(stopped.tools(), 1_000).0,
        (0..500).collect::<Vec<_>>()
    );
}

#[test]
fn a_damaged_chunk_is_found_left_alone_by_a_look_and_set_aside_by_a_repair() {
    let folder = tempdir();
    let spool = open(folder.path());
    spool.tools().import(&records(0..300)).unwrap();
    spool.close().unwrap();
    let stopped = Stopped::open(config(folder.path()), metrics()).unwrap();
    let tools = stopped.tools();
    assert!(tools.check().unwrap().is_well());
    let store = tools.store().unwrap();
    let first = store
        .next_chunk(0, tools.page(QUEUE, Seq(0), 50).unwrap().next.unwrap())
        .unwrap()
        .unwrap();
    let next = store.next_chunk(0, first).unwrap().unwrap();
    store.damage_chunk(0, first);
    drop(store);
    for _ in 0..2 {
        let checked = tools.check().unwrap();
        assert_eq!(
            (
                checked.findings.len(),
                checked.findings[0].from,
                checked.findings[0].to
            ),
            (1, first, next)
        );
        assert_eq!(
            (
                checked.queues[0].messages,
                checked.queues[0].noted,
                checked.set_aside
            ),
            (300 - (next.places_since(first)), 300, 0)
        );
        assert_eq!(&*checked.findings[0].queue, QUEUE);
    }
    let (found, findings) = numbers(tools, 20);
    assert_eq!(
        (found.len() as u64, findings.len()),
        (300 - (next.places_since(first)), 1)
    );
    drop(stopped);
    let spool = open(folder.path());
    assert_eq!(spool.tools().repair().unwrap().findings.len(), 1);
    spool.close().unwrap();
    let stopped = Stopped::open(config(folder.path()), metrics()).unwrap();
    let checked = stopped.tools().check().unwrap();
    assert!(checked.is_well(), "{checked:?}");
    assert_eq!(
        (checked.queues[0].messages, checked.set_aside),
        (found.len() as u64, 1)
    );
    assert_eq!(
        checked.queues[0].noted, checked.queues[0].messages,
        "the repair has the mark rewritten"
    );
    assert_eq!(numbers(stopped.tools(), 1_000).0, found);
}

#[test]
fn a_queue_whose_files_are_gone_is_missed_also_by_who_has_no_config() {
    let folder = tempdir();
    let spool = open(folder.path());
    spool.tools().import(&records(0..300)).unwrap();
    spool.close().unwrap();
    std::fs::remove_dir_all(folder.path().join("chunks")).unwrap();
    for queues in [config(folder.path()).queues, Vec::new()] {
        let config = Config {
            queues,
            ..config(folder.path())
        };
        let stopped = Stopped::open(config, metrics()).unwrap();
        let checked = stopped.tools().check().unwrap();
        assert!(!checked.is_well(), "{checked:?}");
        let queue = checked.queues.iter().find(|queue| &*queue.queue == QUEUE);
        assert_eq!(
            queue.map(|queue| (queue.messages, queue.noted)),
            Some((0, 300))
        );
    }
}

#[test]
fn a_look_at_a_stopped_store_begins_no_boot_and_sees_queues_the_config_has_lost() {
    let folder = tempdir();
    let spool = open(folder.path());
    let boot = spool.boot();
    spool.tools().import(&records(0..10)).unwrap();
    spool.close().unwrap();
    let smaller = || Config {
        queues: config(folder.path()).queues.split_off(1),
        ..config(folder.path())
    };
    let stopped = Stopped::open(smaller(), metrics()).unwrap();
    assert_eq!(numbers(stopped.tools(), 100).0.len(), 10);
    assert!(stopped.account().strangers.is_empty());
    assert!(matches!(
        Stopped::open(smaller(), metrics()),
        Err(crate::spool::Error::Locked { .. })
    ));
    drop(stopped);
    assert_eq!(open(folder.path()).boot(), boot + 1);
}

#[test]
fn letters_are_listed_in_pages_by_flow_and_reason_and_taken_out_for_good() {
    let folder = tempdir();
    let spool = open(folder.path());
    park(
        &spool,
        (0..30).map(|number| {
            (
                number,
                if number < 10 {
                    Reason::Poison
                } else {
                    Reason::Rejected
                },
            )
        }),
    );
    let tools = spool.tools();
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = tools.letters(&LetterFilter::default(), after, 7).unwrap();
        seen.extend(names(&page));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, (0..30).collect::<Vec<_>>());
    let filter = LetterFilter {
        flow: Some("odd".into()),
        reason: Some("poison".into()),
    };
    assert_eq!(
        names(&tools.letters(&filter, None, 100).unwrap()),
        [1, 3, 5, 7, 9]
    );
    let ids: Vec<LetterId> = tools
        .letters(&filter, None, 2)
        .unwrap()
        .letters
        .iter()
        .map(|letter| letter.id.parse().unwrap())
        .collect();
    let before = spool.account();
    assert_eq!(tools.forget(&ids).unwrap(), 2);
    assert_eq!(tools.forget(&ids).unwrap(), 0);
    let after = spool.account();
    assert_eq!((before.dead_letters(), after.dead_letters()), (30, 28));
    assert!(after.letter_bytes < before.letter_bytes && after.letters_evicted == 0);
    assert!(matches!(tools.letter(ids[0]), Err(ToolError::NoLetter(_))));
    spool.close().unwrap();
    let spool = open(folder.path());
    assert_eq!(
        names(&spool.tools().letters(&filter, None, 100).unwrap()),
        [5, 7, 9]
    );
    assert_eq!(
        (spool.account().dead_letters(), spool.account().letter_bytes),
        (28, after.letter_bytes)
    );
}

#[test]
fn letters_are_bounded_by_their_bytes_too_and_the_oldest_make_room() {
    let folder = tempdir();
    let one = {
        let spool = open(folder.path());
        park(&spool, [(100, Reason::Rejected)].into_iter());
        spool.account().letter_bytes
    };
    let spool = Spool::open(
        Config {
            dead_letter_bytes: 5 * one + one / 2,
            ..config(folder.path())
        },
        metrics(),
    )
    .unwrap();
    for number in 101..110 {
        park(&spool, [(number, Reason::Rejected)].into_iter());
    }
    let account = spool.account();
    assert_eq!((account.dead_letters(), account.letters_evicted), (5, 5));
    assert!(
        account.letter_bytes > 4 * one && account.letter_bytes <= 5 * one + one / 2,
        "{one} {}",
        account.letter_bytes
    );
    assert_eq!(
        names(
            &spool
                .tools()
                .letters(&LetterFilter::default(), None, 100)
                .unwrap()
        ),
        [105, 106, 107, 108, 109]
    );
    park(&spool, (200..220).map(|number| (number, Reason::Rejected)));
    let left: BTreeSet<u64> = names(
        &spool
            .tools()
            .letters(&LetterFilter::default(), None, 100)
            .unwrap(),
    )
    .into_iter()
    .collect();
    assert!(
        left.len() <= 5 && left.contains(&219) && spool.account().letter_bytes <= 5 * one + one / 2,
        "{left:?}"
    );
}

#[test]
fn a_refused_letter_knows_its_queue_and_goes_back_there() {
    let folder = tempdir();
    let spool = open(folder.path());
    let (backlog, tools) = (spool.owed("cloud").backlog, spool.tools());
    let append = Append {
        queue: QueueId(1),
        message: message(7),
        receipt: None,
    };
    spool.outlet().append(vec![append]);
    let Fetch::Ready(stored) = backlog.fetch(QueueId(1), backlog.low(QueueId(1)), 1, 1 << 20)
    else {
        panic!("it is in RAM")
    };
    backlog.refuse(QueueId(1), stored[0].clone(), "not authorised".into());
    wait(|| spool.account().dead_letters() == 1).unwrap();
    let kept = tools
        .letters(&LetterFilter::default(), None, 9)
        .unwrap()
        .letters;
    assert_eq!(
        (
            kept[0].queue.as_deref(),
            kept[0].own_topic,
            &*kept[0].reason
        ),
        (Some("cloud:alarm"), true, "refused")
    );
    let record = tools.letter(kept[0].id.parse().unwrap()).unwrap();
    let homeless = LetterRecord {
        queue: Some(("gone".into(), "alarm".into())),
        ..record.clone()
    };
    let burst = Burst::new(Arc::new(Settled::default()), [1, 1]);
    let letters = [record, homeless]
        .into_iter()
        .zip(0..)
        .map(|(record, index)| RequeuedLetter {
            record,
            receipt: burst.receipt(index),
        });
    assert_eq!(tools.back_to_queue(letters.collect()).len(), 1);
    assert_eq!(
        tools.page("cloud:alarm", Seq(0), 9).unwrap().records[0]
            .content
            .number,
        7
    );
    assert!(
        tools
            .page("cloud:debug", Seq(0), 9)
            .unwrap_err()
            .to_string()
            .contains("cloud:alarm")
    );
}
