//! Somebody else has a hand in a file while it is written to.

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::*;

/// The file that is being written.
fn part(folder: &Path) -> PathBuf {
    let names = fs::read_dir(folder).unwrap();
    let mut paths = names.map(|file| file.unwrap().path());
    paths
        .find(|path| path.extension().is_some_and(|ending| ending == "part"))
        .unwrap()
}

/// Does `meddle` between two batches: the second is not accepted, and is in a file once it is sent again.
async fn after(meddle: impl Fn(&Path)) -> BTreeMap<String, String> {
    let parent = TempDir::new().unwrap();
    let folder = parent.path().join("history");
    fs::create_dir(&folder).unwrap();
    let mut lane = dial(config(&folder)).await.unwrap();
    write(&mut lane, "t", 1..3).await.unwrap();
    meddle(&folder);
    let error = write(&mut lane, "t", 3..4).await.unwrap_err();
    assert!(matches!(error, Error::Meddled { .. }), "{error}");
    assert_eq!(error.kind(), FailureKind::Passing);
    drop(lane);
    if !folder.exists() {
        let error = dial(config(&folder)).await.err().unwrap();
        assert_eq!(error.kind(), FailureKind::Refused);
        fs::create_dir(&folder).unwrap();
    }
    let mut lane = dial(config(&folder)).await.unwrap();
    write(&mut lane, "t", 3..5).await.unwrap();
    lane.close().await;
    files_in(&folder)
}

#[tokio::test]
async fn a_folder_that_is_taken_away_takes_nothing_with_it_that_comes_later() {
    let later = of(&[("t-0-3.ndjson", "3\n4\n")]);
    let gone = |folder: &Path| fs::remove_dir_all(folder).unwrap();
    assert_eq!(after(gone).await, later);
    let made_again = |folder: &Path| {
        fs::remove_dir_all(folder).unwrap();
        fs::create_dir(folder).unwrap();
    };
    assert_eq!(after(made_again).await, later);
    let moved = |folder: &Path| {
        fs::rename(folder, folder.with_extension("old")).unwrap();
        fs::create_dir(folder).unwrap();
    };
    assert_eq!(after(moved).await, later);
    let led_elsewhere = |folder: &Path| {
        let other = folder.with_extension("other");
        fs::rename(folder, folder.with_extension("old")).unwrap();
        fs::create_dir(&other).unwrap();
        symlink(&other, folder).unwrap();
    };
    assert_eq!(after(led_elsewhere).await, later);
}

#[tokio::test]
async fn a_file_that_is_taken_away_takes_nothing_with_it_that_comes_later() {
    let later = of(&[("t-0-3.ndjson", "3\n4\n")]);
    let gone = |folder: &Path| fs::remove_file(part(folder)).unwrap();
    assert_eq!(after(gone).await, later);
    let led_elsewhere = |folder: &Path| {
        let part = part(folder);
        let elsewhere = folder.with_extension("taken");
        fs::rename(&part, &elsewhere).unwrap();
        symlink(&elsewhere, &part).unwrap();
    };
    let files = after(led_elsewhere).await;
    assert_eq!(files["t-0-3.ndjson"], "3\n4\n");
    let replaced = |folder: &Path| {
        let part = part(folder);
        fs::remove_file(&part).unwrap();
        fs::write(&part, "theirs\n").unwrap();
    };
    let files = after(replaced).await;
    assert_eq!(files["t-0-1.ndjson"], "theirs\n");
    assert_eq!(files["t-0-3.ndjson"], "3\n4\n");
}

#[tokio::test]
async fn a_file_that_is_changed_keeps_its_whole_lines() {
    let cut = |folder: &Path| {
        let file = fs::File::options().write(true).open(part(folder)).unwrap();
        file.set_len(3).unwrap();
    };
    let files = after(cut).await;
    assert_eq!(files["t-0-1.ndjson"], "1\n");
    assert_eq!(files["t-0-3.ndjson"], "3\n4\n");
    let lengthened = |folder: &Path| {
        let text = fs::read(part(folder)).unwrap();
        fs::File::options()
            .append(true)
            .open(part(folder))
            .and_then(|mut file| std::io::Write::write_all(&mut file, b"theirs\n"))
            .unwrap();
        assert_eq!(text, b"1\n2\n");
    };
    let files = after(lengthened).await;
    assert_eq!(files["t-0-1.ndjson"], "1\n2\ntheirs\n");
    let hole = |folder: &Path| {
        let file = fs::File::options().write(true).open(part(folder)).unwrap();
        file.set_len(2).unwrap();
        file.set_len(6).unwrap();
        fs::File::options()
            .append(true)
            .open(part(folder))
            .and_then(|mut file| std::io::Write::write_all(&mut file, b"7\n"))
            .unwrap();
    };
    let files = after(hole).await;
    assert_eq!(files["t-0-1.ndjson"], "1\n");
    assert_eq!(files["t-0-1.ndjson.damaged"], "\x00\x00\x00\x007\n");
    assert_eq!(files["t-0-3.ndjson"], "3\n4\n");
}

#[tokio::test]
async fn a_file_that_is_gone_when_it_is_whole_is_told() {
    let folder = TempDir::new().unwrap();
    let mut lane = dial(config(folder.path())).await.unwrap();
    write(&mut lane, "t", 1..2).await.unwrap();
    fs::remove_file(part(folder.path())).unwrap();
    let error = lane.leave().await.unwrap_err();
    assert!(matches!(error, Error::Meddled { .. }), "{error}");
    let old = Config {
        file_age: SECOND / 10,
        ..config(folder.path())
    };
    let mut lane = dial(old).await.unwrap();
    write(&mut lane, "t", 1..2).await.unwrap();
    fs::remove_file(part(folder.path())).unwrap();
    let error = lane.turn(&mut Vec::new()).await.unwrap_err();
    assert!(matches!(error, Error::Meddled { .. }), "{error}");
}
