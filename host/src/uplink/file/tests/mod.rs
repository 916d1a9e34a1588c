//! A way into a folder, with real files.

mod keep;
mod lanes;
mod meddled;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;

use bytes::Bytes;
use tempfile::TempDir;

use super::*;
use crate::link::{Backoff, ConnectionLoss, Dial, FailureKind};
use crate::message::{Message, Qos, Seq, Stored};
use crate::uplink::{Compress, LineFormat, Template};

const SECOND: Duration = Duration::from_secs(1);

fn config(folder: &Path) -> Config {
    Config {
        id: "history".to_owned(),
        folder: folder.to_path_buf(),
        mounted: None,
        name: Template::parse("{class}").unwrap(),
        beginnings: ["t", "telemetry", "alarm"].map(str::to_owned).to_vec(),
        form: LineFormat::Ndjson,
        has_envelope: false,
        compress: Compress::None,
        file_bytes: 1 << 20,
        file_age: 3_600 * SECOND,
        keep_bytes: None,
        batch_messages: 10,
        batch_bytes: 1 << 20,
        batch_wait: Duration::ZERO,
        answer: 30 * SECOND,
        backoff: Backoff::default(),
    }
}

async fn dial(config: Config) -> Result<FileCarrier, Error> {
    FolderDialler::new(config, 9).dial(0).await
}

fn offer(lane: &mut FileCarrier, class: &str, number: u64) -> Result<(), Unsendable> {
    let stored = Stored {
        seq: Seq(number),
        message: Message {
            topic: Bytes::from_static(b"up/d1"),
            ..Message::default()
        },
    };
    let packet = OutgoingPacket {
        topic: stored.message.topic.clone(),
        payload: Bytes::from(number.to_string()),
        headers: Bytes::new(),
        qos: Qos::AtLeastOnce,
        retain: false,
    };
    let about = PacketOrigin {
        stored: &stored,
        prefix: &format!("gw/store/history/{class}/"),
        arrived: Some(stored.message.received),
        is_asked_anew: false,
        is_beside: false,
    };
    lane.offer(packet, about, number)
}

/// Sends these, and waits until each is on the disk.
async fn write(
    lane: &mut FileCarrier,
    class: &str,
    numbers: std::ops::Range<u64>,
) -> Result<(), Error> {
    for number in numbers.clone() {
        offer(lane, class, number).unwrap();
    }
    let mut answers = Vec::new();
    lane.turn(&mut answers).await?;
    let tokens: Vec<u64> = answers
        .iter()
        .map(|answer| match answer {
            Answer::Accepted { token } => *token,
            Answer::Refused { .. } => panic!("{answer:?}"),
        })
        .collect();
    assert_eq!(tokens, numbers.collect::<Vec<_>>());
    Ok(())
}

/// One turn in which nothing is written.
async fn rest(lane: &mut FileCarrier) {
    let mut answers = Vec::new();
    let turn = lane.turn(&mut answers);
    assert!(tokio::time::timeout(SECOND / 5, turn).await.is_err());
}

/// What is in the folder, by name.
fn files(folder: &TempDir) -> BTreeMap<String, String> {
    files_in(folder.path())
}

fn files_in(folder: &Path) -> BTreeMap<String, String> {
    let entry = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        if path.extension().is_some_and(|ending| ending == "gz") {
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(&bytes[..])
                .read_to_end(&mut plain)
                .unwrap();
            bytes = plain;
        }
        let name = path.file_name().unwrap().to_str().unwrap();
        // The time in it is today's.
        let parts: Vec<&str> = name.split('-').collect();
        let name = [&parts[..1], &parts[2..]].concat().join("-");
        (name, String::from_utf8_lossy(&bytes).into_owned())
    };
    fs::read_dir(folder)
        .unwrap()
        .map(|file| entry(&file.unwrap().path()))
        .collect()
}

fn of(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
    entries.iter().map(owned).collect()
}

#[tokio::test]
async fn what_was_left_is_compressed_by_turns_with_what_is_written() {
    let folder = TempDir::new().unwrap();
    let small = || Config {
        file_bytes: 1,
        ..config(folder.path())
    };
    let mut plain = dial(small()).await.unwrap();
    for number in 1..9 {
        write(&mut plain, "telemetry", number..number + 1)
            .await
            .unwrap();
        rest(&mut plain).await;
    }
    plain.close().await;
    let packed = |folder: &TempDir| {
        let names = files(folder).into_keys();
        names.filter(|name| name.ends_with(".gz")).count()
    };
    let mut lane = dial(Config {
        compress: Compress::Gzip,
        ..config(folder.path())
    })
    .await
    .unwrap();
    write(&mut lane, "telemetry", 20..21).await.unwrap();
    assert!(
        packed(&folder) <= 2,
        "{} files were compressed first",
        packed(&folder)
    );
    rest(&mut lane).await;
    assert_eq!(packed(&folder), 8);
}

#[tokio::test]
async fn what_is_accepted_is_in_a_file_of_its_class_which_is_whole_when_it_is_left() {
    let folder = TempDir::new().unwrap();
    let mut lane = dial(config(folder.path())).await.unwrap();
    write(&mut lane, "telemetry", 1..3).await.unwrap();
    write(&mut lane, "alarm", 5..6).await.unwrap();
    write(&mut lane, "telemetry", 3..4).await.unwrap();
    let parts = of(&[
        ("alarm-0-5.ndjson.part", "5\n"),
        ("telemetry-0-1.ndjson.part", "1\n2\n3\n"),
    ]);
    assert_eq!(files(&folder), parts);
    lane.close().await;
    let whole = of(&[
        ("alarm-0-5.ndjson", "5\n"),
        ("telemetry-0-1.ndjson", "1\n2\n3\n"),
    ]);
    assert_eq!(files(&folder), whole);
}

#[tokio::test]
async fn a_file_is_whole_at_its_size_and_at_its_age() {
    let folder = TempDir::new().unwrap();
    let small = Config {
        file_bytes: 4,
        file_age: SECOND / 10,
        ..config(folder.path())
    };
    let mut lane = dial(small).await.unwrap();
    write(&mut lane, "t", 1..3).await.unwrap();
    write(&mut lane, "t", 3..4).await.unwrap();
    assert_eq!(files(&folder)["t-0-1.ndjson"], "1\n2\n");
    rest(&mut lane).await;
    assert_eq!(
        files(&folder),
        of(&[("t-0-1.ndjson", "1\n2\n"), ("t-0-3.ndjson", "3\n")])
    );
}

#[tokio::test]
async fn after_a_kill_a_file_ends_with_its_last_whole_line_and_stays() {
    let folder = TempDir::new().unwrap();
    for (left, kept) in [
        (&b"1\n2\n3"[..], Some("1\n2\n")),
        (b"1\n2\n", Some("1\n2\n")),
        // Of a power cut: the length is there, and the data is not.
        (b"1\n\0\0\0\0\n7\n", Some("1\n")),
        (b"half", None),
        (b"", None),
    ] {
        fs::write(folder.path().join("t-unset-0-1.ndjson.part"), left).unwrap();
        let mut lane = dial(config(folder.path())).await.unwrap();
        write(&mut lane, "t", 1..2).await.unwrap();
        let files = files(&folder);
        let damaged = files.get("t-0-1.ndjson.damaged").map(String::as_str);
        let lines = left.contains(&0).then_some("\0\0\0\0\n7\n");
        assert_eq!(damaged, lines, "{left:?}");
        // The first message comes again: its new file has another name.
        assert_eq!(
            files.get("t-0-1.ndjson").map(String::as_str),
            kept,
            "{left:?}"
        );
        assert_eq!(files["t-0-1.ndjson.part"], "1\n");
        drop(lane);
        fs::remove_dir_all(folder.path()).unwrap();
        fs::create_dir(folder.path()).unwrap();
    }
}

#[tokio::test]
async fn a_file_that_is_there_is_never_written_over() {
    let folder = TempDir::new().unwrap();
    for _ in 0..2 {
        // Within one second all have the same name.
        let mut lane = dial(config(folder.path())).await.unwrap();
        write(&mut lane, "t", 1..2).await.unwrap();
        lane.close().await;
    }
    let names: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_not_made() {
    let folder = TempDir::new().unwrap();
    let missing = folder.path().join("stick");
    let error = dial(config(&missing)).await.err().unwrap();
    assert_eq!(error.kind(), FailureKind::Refused);
    let words = error.to_string();
    assert!(
        words.contains("stick`") && words.contains("mount the disk"),
        "{words}"
    );
    assert!(!missing.exists());
    fs::write(&missing, "").unwrap();
    assert_eq!(
        dial(config(&missing)).await.err().unwrap().kind(),
        FailureKind::Refused
    );
}

#[tokio::test]
async fn a_folder_that_goes_away_ends_the_way_and_what_was_under_way_is_owed() {
    let folder = TempDir::new().unwrap();
    let mut lane = dial(config(folder.path())).await.unwrap();
    fs::remove_dir(folder.path()).unwrap();
    assert!(write(&mut lane, "t", 1..2).await.is_err());
    fs::create_dir(folder.path()).unwrap();
    let mut lane = dial(config(folder.path())).await.unwrap();
    write(&mut lane, "t", 1..2).await.unwrap();
    assert_eq!(files(&folder), of(&[("t-0-1.ndjson.part", "1\n")]));
}

#[tokio::test]
async fn a_message_waits_for_others_and_a_full_batch_for_nobody() {
    let folder = TempDir::new().unwrap();
    let patient = Config {
        batch_wait: 3_600 * SECOND,
        batch_messages: 3,
        ..config(folder.path())
    };
    let mut lane = dial(patient).await.unwrap();
    offer(&mut lane, "t", 1).unwrap();
    rest(&mut lane).await;
    assert!(files(&folder).is_empty());
    offer(&mut lane, "t", 2).unwrap();
    assert_eq!(lane.room(), 1);
    offer(&mut lane, "t", 3).unwrap();
    assert!(matches!(offer(&mut lane, "t", 4), Err(Unsendable::Full)));
    let mut answers = Vec::new();
    lane.turn(&mut answers).await.unwrap();
    assert_eq!(answers.len(), 3);
}
