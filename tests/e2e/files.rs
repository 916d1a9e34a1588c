//! An uplink that is a folder of files, read by programs that nobody here wrote.

mod shared;

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::Value;
use tidegate_tests::disk::{Disk, can_mount};
use tidegate_tests::tally::{Sent, Tally, device_name};
use tidegate_tests::{
    Broker, Config, Gateway, Load, Plan, Setup, cases, needs, rounds, wait_until,
};

use crate::scene::{send_all, unnamed};

pub fn cases() -> Vec<Trial> {
    let mut cases = cases![
        they_have_everything_over_kills,
        columns_are_read_by_another,
        a_folder_that_comes_late_gets_everything,
        an_uplink_of_files_stands_in_for_a_broker,
    ];
    let mounting = |name: &str, run| needs(name, "mount(8) for root", can_mount(), run);
    cases.extend(cases![mounting; a_full_disk_stops_the_uplink_and_nothing_is_lost]);
    cases.extend(shared::cases());
    cases
}

/// One flow of all readings into the folder `history` beside the config.
fn gateway(field: &Broker, keys: &str) -> Setup {
    changed(field, |config| config.put("uplink.cloud", keys))
}

/// The same with a change of its config.
fn changed(field: &Broker, change: impl FnOnce(Config) -> Config) -> Setup {
    Gateway::within(|folder| {
        let history = format!("file://{}", folder.join("history").display());
        change(unnamed().between(&field.url(), &history))
    })
}

/// The same where the folder is an uplink `disk`, which stands in for `cloud`.
fn standing_in(field: &Broker, cloud: &Broker, change: impl FnOnce(Config) -> Config) -> Setup {
    changed(field, |config| {
        let config = config
            .put("uplink.cloud", "batch = { wait = \"50ms\" }")
            .rename("uplink.cloud", "disk")
            .uplink("cloud", &cloud.url())
            .put("uplink.cloud", "fallback = \"disk\"\nbackoff = { first = \"50ms\", cap = \"400ms\", jitter = 0.2 }");
        change(config)
    })
}

/// What is in the files, in the order in which they were begun.
fn tally(folder: &Path) -> Result<Tally> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default()
            .to_owned();
        let stem = name.split('.').next().unwrap_or_default();
        let stem = stem.split('~').next().unwrap_or_default();
        let mut parts = stem.rsplit('-');
        let (number, boot) = (parts.next(), parts.next());
        let place = boot.zip(number).and_then(|(boot, number)| {
            Some((boot.parse::<u64>().ok()?, number.parse::<u64>().ok()?))
        });
        files.push((
            place.with_context(|| format!("{name} is no name of ours"))?,
            path,
        ));
    }
    files.sort();
    let mut tally = Tally::default();
    for (_, path) in files {
        let is_packed = path.extension().is_some_and(|ending| ending == "gz");
        let text = if is_packed {
            let output = Command::new("zcat").arg(&path).output()?;
            ensure!(
                output.status.success(),
                "zcat cannot read {}",
                path.display()
            );
            String::from_utf8(output.stdout)?
        } else {
            // It may have got its other name just now.
            fs::read_to_string(&path).unwrap_or_default()
        };
        // The last line may be on its way still.
        for line in text
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
        {
            let line: Value = serde_json::from_str(line).with_context(|| format!("{line:?}"))?;
            let number = |at: &str| {
                line.pointer(at)
                    .and_then(Value::as_u64)
                    .with_context(|| format!("{line}"))
            };
            let device = line["device"].as_str().unwrap_or_default();
            tally.note_as(
                device,
                number("/payload/seq")?,
                (number("/boot")?, number("/seq")?),
            );
        }
    }
    Ok(tally)
}

/// Waits until all that was acknowledged is there.
fn expect_all(sent: &Sent, folder: &Path) -> Result<Tally> {
    let all = sent.count() as u64;
    // A time-out here is not the finding: the comparison says how much is missing.
    let _ = wait_until("all has arrived", || {
        tally(folder).is_ok_and(|tally| tally.count() >= all)
    });
    let tally = tally(folder)?;
    let verdict = sent.against(&tally, |_, _| true);
    ensure!(verdict.sent > 0 && verdict.is_at_least_once(), "{verdict}");
    Ok(tally)
}

/// Under load, with files of 64 KiB that are compressed as they are whole, the gateway is killed again and again.
/// Guarantee: every reading that was acknowledged is in the files, per device in order; what is there twice was sent twice.
fn they_have_everything_over_kills() -> Result<()> {
    let field = Broker::embedded()?;
    let keys = "compress = \"gzip\"\nfiles = { bytes = \"64KiB\" }\nbatch = { wait = \"100ms\" }\n";
    let setup = gateway(&field, keys);
    let folder = setup.folder().join("history");
    fs::create_dir(&folder)?;
    let mut gateway = setup.start()?;
    let plan = Plan {
        devices: 20,
        rate: Some(2_000),
        ..Plan::default()
    };
    let load = Load::start(field.address(), plan);
    for _ in 0..rounds(6, 20) {
        let before = tally(&folder)?.count();
        wait_until("traffic flows", || {
            tally(&folder).is_ok_and(|tally| tally.count() > before + 500)
        })?;
        gateway = gateway.kill()?.start()?;
    }
    let sent = load.stop()?;
    let tally = expect_all(&sent, &folder)?;
    eprintln!(
        "{} sent, {} lines came again by their id",
        sent.count(),
        tally.again()
    );
    ensure!(gateway.metric("tidegate_messages_refused_total", &[]) == 0.0);
    let (status, _setup) = gateway.stop()?;
    ensure!(status.success());
    let packed = |path: &Path| path.extension().is_some_and(|ending| ending == "gz");
    let mut parts = 0;
    let mut whole = 0;
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        parts += usize::from(path.extension().is_some_and(|ending| ending == "part"));
        whole += usize::from(packed(&path));
    }
    ensure!(
        parts == 0 && whole > 0,
        "{parts} files are not whole, {whole} are compressed"
    );
    Ok(())
}

/// Devices and payloads that would end a row, be a formula or steer a terminal.
/// Guarantee: Python's own reader finds each value as the manual says.
fn columns_are_read_by_another() -> Result<()> {
    let field = Broker::embedded()?;
    let setup = gateway(
        &field,
        "pack = \"csv\"\nfiles = { columns = [\"device\", \"payload.t\", \"payload.room\", \"payload\"] }\nbatch = { wait = \"50ms\" }\n",
    );
    let folder = setup.folder().join("history");
    fs::create_dir(&folder)?;
    let gateway = setup.start()?;
    let sent: [(&str, &[u8]); 5] = [
        ("d1", br#"{"t":21.50,"room":"living, \"room\""}"#),
        ("=cmd", b"{\"t\":-3,\n\"room\":\"a\\nb\"}"),
        ("d\"3", b"21,5"),
        ("d,4", b"-line\r\nline"),
        ("d5", &[0xff, 0x00]),
    ];
    for (device, payload) in sent {
        field.publish(&format!("devices/{device}/telemetry"), payload)?;
    }
    wait_until("all are written", || {
        gateway.metric("tidegate_messages_forwarded_total", &[]) >= 5.0
    })?;
    let (status, _setup) = gateway.stop()?;
    ensure!(status.success());
    let script = "import csv, glob, json, sys; print(json.dumps(sorted(row for name in glob.glob(sys.argv[1] + '/*.csv') for row in csv.reader(open(name, newline='')))))";
    let output = Command::new("python3")
        .args(["-c", script])
        .arg(&folder)
        .output()?;
    let rows: Value = serde_json::from_slice(&output.stdout)?;
    let expected = serde_json::json!([
        ["'=cmd", "-3", "a\\nb", "{\"t\":-3, \"room\":\"a\\nb\"}"],
        ["d\"3", "", "", "21,5"],
        ["d,4", "", "", "'-line\\r\\nline"],
        [
            "d1",
            "21.50",
            "living, \"room\"",
            "{\"t\":21.50,\"room\":\"living, \\\"room\\\"\"}"
        ],
        ["d5", "", "", "/wA="],
        ["device", "t", "room", "payload"],
    ]);
    ensure!(rows == expected, "{rows:#}\n{expected:#}");
    Ok(())
}

fn says(gateway: &Gateway, words: &str) -> bool {
    gateway.health().is_ok_and(|(_, text)| text.contains(words))
}

/// The folder is not there when the gateway starts, as a stick that is not plugged in.
/// Guarantee: it is not made, nothing is parked, `tidegate health` says why, and all goes in once it is there.
fn a_folder_that_comes_late_gets_everything() -> Result<()> {
    let field = Broker::embedded()?;
    let gateway = gateway(&field, "batch = { wait = \"50ms\" }\n").start()?;
    let folder = gateway.folder().join("history");
    let sent = send_all(&field, 500)?;
    wait_until("it is said", || says(&gateway, "mount the disk"))?;
    ensure!(!folder.exists(), "the folder was made");
    fs::create_dir(&folder)?;
    expect_all(&sent, &folder)?;
    ensure!(gateway.metric("tidegate_dead_letters_kept", &[]) == 0.0);
    Ok(())
}

/// Somebody else fills the disk of the folder, and takes the files away later.
/// Guarantee: the uplink says so and waits, no line is cut, nothing is parked, and nothing is lost.
fn a_full_disk_stops_the_uplink_and_nothing_is_lost() -> Result<()> {
    let field = Broker::embedded()?;
    let setup = gateway(&field, "batch = { wait = \"50ms\" }\n");
    let folder = setup.folder().join("history");
    let disk = Disk::tmpfs(&folder, 8)?;
    let gateway = setup.start()?;
    let load = Load::start(field.address(), Plan::default());
    let written = || tally(&folder).map_or(0, |tally| tally.count());
    // What fills it stands beside the files: only names of ours are looked at by the tally.
    wait_until("traffic flows", || written() > 500)?;
    disk.fill()?;
    wait_until("it is said", || says(&gateway, "there is room"))?;
    disk.free()?;
    let before = gateway.metric("tidegate_messages_forwarded_total", &[]);
    wait_until("it goes on", || {
        gateway.metric("tidegate_messages_forwarded_total", &[]) > before + 1_000.0
    })?;
    let sent = load.stop()?;
    expect_all(&sent, &folder)?;
    ensure!(gateway.metric("tidegate_dead_letters_kept", &[]) == 0.0);
    Ok(())
}

/// A broker's queues go into files while it is away.
/// Guarantee: each reading is with the broker or in the files.
fn an_uplink_of_files_stands_in_for_a_broker() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let setup = standing_in(&field, &cloud, |config| config);
    let folder = setup.folder().join("history");
    fs::create_dir(&folder)?;
    let gateway = setup.start()?;
    let first = send_all(&field, 100)?;
    wait_until("the broker has the first ones", || {
        gateway.metric("tidegate_messages_forwarded_total", &[]) >= first.count() as f64
    })?;
    ensure!(
        tally(&folder)?.count() == 0,
        "nothing was to go into files yet"
    );
    drop(cloud);
    let second = send_all(&field, 200)?;
    let all = second.count() as u64;
    wait_until("the others are in files", || {
        tally(&folder).is_ok_and(|tally| tally.count() >= all)
    })?;
    let tally = tally(&folder)?;
    let verdict = second.against(&tally, |_, _| true);
    ensure!(verdict.is_at_least_once(), "{verdict}");
    ensure!(tally.count_of(&device_name(0)) > 0);
    Ok(())
}
