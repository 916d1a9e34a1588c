//! What is kept, and that room is made before it is needed.

use super::*;

/// Three files of a byte each, whole; gives those that are kept then.
async fn kept_of(config: Config, others: &[&str]) -> Vec<String> {
    let folder = config.folder.clone();
    for name in others {
        fs::write(folder.join(name), "0\n").unwrap();
    }
    let mut lane = dial(config).await.unwrap();
    for number in 1..4 {
        write(&mut lane, "t", number..number + 1).await.unwrap();
        rest(&mut lane).await;
    }
    let names = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = names
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn whole_files_are_compressed_and_the_oldest_go() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("notes.csv"), "mine").unwrap();
    fs::write(folder.path().join("t-unset-0-0.ndjson"), "0\n").unwrap();
    fs::write(folder.path().join("t-unset-0-0.ndjson.gz.packing"), "half").unwrap();
    let packed = Config {
        compress: Compress::Gzip,
        file_bytes: 1,
        keep_bytes: Some(50),
        ..config(folder.path())
    };
    let mut lane = dial(packed).await.unwrap();
    for number in 1..4 {
        write(&mut lane, "t", number..number + 1).await.unwrap();
        rest(&mut lane).await;
    }
    assert_eq!(
        fs::read_to_string(folder.path().join("notes.csv")).unwrap(),
        "mine"
    );
    fs::remove_file(folder.path().join("notes.csv")).unwrap();
    // Each has 22 bytes.
    assert_eq!(
        files(&folder),
        of(&[("t-0-2.ndjson.gz", "2\n"), ("t-0-3.ndjson.gz", "3\n")])
    );
}

#[tokio::test]
async fn what_came_last_stays_whatever_the_clock_said_before() {
    let folder = TempDir::new().unwrap();
    let old = folder.path().join("t-20990101T000000Z-0-0.ndjson");
    fs::write(&old, "0\n").unwrap();
    let future = std::time::SystemTime::now() + 3_600 * SECOND;
    fs::File::options()
        .write(true)
        .open(&old)
        .and_then(|file| file.set_modified(future))
        .unwrap();
    let small = Config {
        file_bytes: 1,
        keep_bytes: Some(4),
        ..config(folder.path())
    };
    // One of a store that is gone, and knew of more starts.
    let kept = kept_of(small, &["t-unset-44-7.ndjson"]).await;
    let newest = |name: &String| name.ends_with("-0-2.ndjson") || name.ends_with("-0-3.ndjson");
    assert!(kept.len() == 2 && kept.iter().all(newest), "{kept:?}");
}

#[tokio::test]
async fn only_what_this_uplink_names_counts_and_goes() {
    let folder = TempDir::new().unwrap();
    let small = Config {
        file_bytes: 1,
        keep_bytes: Some(2),
        ..config(folder.path())
    };
    let others = [
        "tmp-unset-0-0.ndjson",
        "t-t-unset-0-0.ndjson",
        "t-unset-0-0.txt",
    ];
    let kept = kept_of(small, &others).await;
    assert_eq!(kept.len(), 4, "{kept:?}");
    assert!(
        others
            .iter()
            .all(|other| kept.iter().any(|name| name == other))
    );
}

#[tokio::test]
async fn a_lower_keep_makes_room_before_anything_is_written() {
    let folder = TempDir::new().unwrap();
    let names = [1, 2, 3].map(|number| format!("t-unset-0-{number}.ndjson"));
    for name in &names {
        fs::write(folder.path().join(name), "0\n").unwrap();
    }
    let lower = Config {
        keep_bytes: Some(2),
        ..config(folder.path())
    };
    let _lane = dial(lower).await.unwrap();
    assert_eq!(files(&folder), of(&[("t-0-3.ndjson", "0\n")]));
}

#[tokio::test]
async fn what_cannot_be_compressed_stays_and_all_goes_on() {
    let folder = TempDir::new().unwrap();
    // Stands where the copy of the first one would be written.
    let name = |ending: &str| folder.path().join(format!("t-unset-0-1.ndjson{ending}"));
    fs::write(name(""), "1\n").unwrap();
    fs::create_dir(name(".gz.packing")).unwrap();
    let packed = Config {
        compress: Compress::Gzip,
        file_bytes: 1,
        ..config(folder.path())
    };
    let mut lane = dial(packed).await.unwrap();
    write(&mut lane, "t", 2..3).await.unwrap();
    rest(&mut lane).await;
    fs::remove_dir(name(".gz.packing")).unwrap();
    let there = of(&[("t-0-1.ndjson", "1\n"), ("t-0-2.ndjson.gz", "2\n")]);
    assert_eq!(files(&folder), there);
}
