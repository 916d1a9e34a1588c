//! Several lanes of one gateway in one folder.

use super::*;

#[tokio::test]
async fn each_lane_has_files_of_its_own() {
    let folder = TempDir::new().unwrap();
    let mut lane = dial(config(folder.path())).await.unwrap();
    write(&mut lane, "t", 1..2).await.unwrap();
    let mut other = dial(config(folder.path())).await.unwrap();
    write(&mut other, "t", 7..8).await.unwrap();
    write(&mut lane, "t", 2..3).await.unwrap();
    write(&mut other, "alarm", 5..6).await.unwrap();
    other.close().await;
    write(&mut lane, "t", 3..4).await.unwrap();
    lane.close().await;
    let files = files(&folder);
    assert_eq!(files["t-0-1.ndjson"], "1\n2\n3\n");
    assert_eq!(files["t-0-7.ndjson"], "7\n");
    assert_eq!(files["alarm-0-5.ndjson"], "5\n");
    assert_eq!(files.len(), 3, "{files:?}");
}

#[tokio::test]
async fn after_a_kill_each_lane_comes_back_in_any_order() {
    let folder = TempDir::new().unwrap();
    for round in 0..3_u64 {
        let mut lanes = Vec::new();
        for lane in 0..3_u64 {
            let number = 10 * round + lane;
            let mut lane = dial(config(folder.path())).await.unwrap();
            write(&mut lane, "t", number..number + 1).await.unwrap();
            lanes.push(lane);
        }
        // As a kill does: nothing is named as whole.
        drop(lanes);
    }
    let _lane = dial(config(folder.path())).await.unwrap();
    let files = files(&folder);
    assert_eq!(files.len(), 9, "{files:?}");
    let whole = |name: &String| name.ends_with(".ndjson");
    assert!(files.keys().all(whole), "{files:?}");
}

#[tokio::test]
async fn lanes_compress_each_file_once() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("t-unset-0-1.ndjson"), "1\n").unwrap();
    let packed = || Config {
        compress: Compress::Gzip,
        file_bytes: 1,
        ..config(folder.path())
    };
    let mut one = dial(packed()).await.unwrap();
    let mut other = dial(packed()).await.unwrap();
    rest(&mut one).await;
    rest(&mut other).await;
    assert_eq!(files(&folder), of(&[("t-0-1.ndjson.gz", "1\n")]));
}
