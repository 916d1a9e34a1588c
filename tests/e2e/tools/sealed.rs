//! A store that is sealed, damaged, or in use.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::cases;
use tidegate_tests::cut::Cuttable;
use tidegate_tests::{Broker, Config, Gateway, Watch, wait_until};

use super::{Dark, json, told};
use crate::scene::{UP, compare, expect_at_least_once, send_all};

pub fn cases() -> Vec<Trial> {
    cases![
        a_sealed_store_opens_with_its_key_only,
        a_damaged_chunk_is_found_and_costs_only_itself,
        files_in_use_and_files_that_are_not_there,
    ]
}

/// Bytes of all files below `folder`.
pub(super) fn all_bytes(folder: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(all_bytes(&path)?);
        } else {
            let bytes = fs::read(&path)?;
            found.push((path, bytes));
        }
    }
    found.sort();
    Ok(found)
}

/// A thousand messages are owed in a sealed store; the key is taken out of the config, changed for another, and at last a
/// new one comes with the old one beside it.
/// Guarantee: no topic or payload stands in the store, without its key neither gateway nor commands touch it and both say
/// what is missing, and with it all messages arrive.
fn a_sealed_store_opens_with_its_key_only() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let link = Cuttable::to(cloud.address())?;
    link.go_dark();
    let watch = Watch::start(cloud.address(), UP)?;
    let config = |encrypt: &str| {
        Config::forwarding()
            .between(&field.url(), &link.url())
            .add("spool", encrypt)
    };
    let setup = Gateway::with(config("encrypt = { key = { file = \"one.key\" } }"));
    for (name, digits) in [("one.key", "1a"), ("two.key", "2b")] {
        let path = setup.folder().join(name);
        fs::write(&path, digits.repeat(32))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    }
    let gateway = setup.start()?;
    let sent = send_all(&field, 1_000)?;
    wait_until("all messages are in", || {
        gateway.metric("tidegate_spool_messages", &[]) == 1_000.0
    })?;
    let (_, setup) = gateway.stop()?;
    let before = all_bytes(&setup.data().join("spool"))?;
    for word in ["devices/", "telemetry\"", "\"seq\""] {
        let shows = |bytes: &[u8]| {
            bytes
                .windows(word.len())
                .any(|part| part == word.as_bytes())
        };
        ensure!(
            !before.iter().any(|(_, bytes)| shows(bytes)),
            "`{word}` stands in the store"
        );
    }
    ensure!(
        !told(setup.folder(), &["spool", "peek"], 0)?.0.is_empty(),
        "the key does not open it"
    );
    for encrypt in ["", "encrypt = { key = { file = \"two.key\" } }"] {
        setup.rewrite(config(encrypt))?;
        let before = all_bytes(&setup.data().join("spool"))?;
        let (status, lines) = setup.fail()?;
        ensure!(
            status.code() == Some(1) && lines.has(&["is sealed with key", "`encrypt."]),
            "{status}, {:?}",
            lines.all()
        );
        let (_, said) = told(setup.folder(), &["spool", "export"], 1)?;
        ensure!(said.contains("is sealed with key"), "{said}");
        ensure!(
            all_bytes(&setup.data().join("spool"))? == before,
            "the store was touched"
        );
    }
    setup.rewrite(config(
        "encrypt = { key = { file = \"two.key\" }, old_keys = [{ file = \"one.key\" }] }",
    ))?;
    link.back();
    let gateway = setup.start()?;
    wait_until("nothing is owed", || {
        gateway.metric("tidegate_spool_messages", &[]) == 0.0
    })?;
    let (_, setup) = gateway.stop()?;
    setup.rewrite(config("encrypt = { key = { file = \"two.key\" } }"))?;
    let _gateway = setup.start()?;
    expect_at_least_once(&compare(&sent, watch)?)
}

/// One byte of a chunk in the middle of the store is changed.
/// Guarantee: `check` finds it, names the places and changes nothing; `repair` sets it aside; all other messages arrive.
fn a_damaged_chunk_is_found_and_costs_only_itself() -> Result<()> {
    let dark = Dark::owing(Broker::embedded, 20_000)?;
    let (_, setup) = dark.gateway.stop()?;
    told(setup.folder(), &["spool", "check"], 0)?;
    damage(&setup.data().join("spool/chunks"))?;
    for _ in 0..2 {
        let (_, said) = told(setup.folder(), &["spool", "check"], 1)?;
        ensure!(
            said.contains("cloud:telemetry: places") && said.contains("checksum"),
            "{said}"
        );
    }
    let checked = json(setup.folder(), &["spool", "check"], 1)?;
    let queue = &checked["queues"][0];
    let missing = queue["noted"]
        .as_u64()
        .zip(queue["messages"].as_u64())
        .map(|(noted, found)| noted - found)
        .context("two numbers")?;
    ensure!(missing > 0 && missing < 20_000, "{checked}");
    told(setup.folder(), &["spool", "repair"], 0)?;
    let repaired = json(setup.folder(), &["spool", "check"], 0)?;
    ensure!(
        repaired["queues"][0]["noted"] == 20_000 - missing && repaired["set_aside"] == 1,
        "{repaired}"
    );
    dark.link.back();
    let _gateway = setup.start()?;
    wait_until("all that is left has arrived", || {
        dark.watch.count() >= 20_000 - missing
    })?;
    let verdict = dark.sent.against(&dark.watch.stop()?, |_, _| true);
    ensure!(
        verdict.lost as u64 == missing && verdict.disordered == 0,
        "{missing} were in the chunk: {verdict}"
    );
    Ok(())
}

/// Changes a byte of a chunk in the middle of the largest file.
pub(super) fn damage(chunks: &Path) -> Result<()> {
    let files = std::fs::read_dir(chunks)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    let sized = files
        .into_iter()
        .map(|path| Ok((path.metadata()?.len(), path)))
        .collect::<Result<Vec<_>>>()?;
    let (_, path) = sized.into_iter().max().context("no file of chunks")?;
    let mut bytes = std::fs::read(&path)?;
    let middle = bytes.len() / 2;
    let begin = bytes[middle..]
        .windows(4)
        .position(|window| window == b"TGc1")
        .context("no chunk in the second half")?;
    // Behind its head and header.
    bytes[middle + begin + 60] ^= 1;
    Ok(std::fs::write(&path, bytes)?)
}

/// A gateway without its socket, then a stopped one, then a folder where none has ever run.
/// Guarantee: each time a clear error with its own exit code; nobody opens files that another process has.
fn files_in_use_and_files_that_are_not_there() -> Result<()> {
    let dark = Dark::owing(Broker::embedded, 10)?;
    let folder = dark.gateway.folder().to_owned();
    let (_, said) = told(&folder, &["spool", "peek", "cloud:nothing"], 1)?;
    ensure!(
        said.contains("cloud:nothing") && said.contains("cloud:telemetry"),
        "{said}"
    );
    let (_, said) = told(&folder, &["parked", "show", "9-9"], 1)?;
    ensure!(said.contains("9-9"), "{said}");
    // So that it makes no new one.
    dark.gateway.freeze()?;
    fs::remove_file(folder.join("data/admin.sock"))?;
    for arguments in [
        &["status"][..],
        &["spool", "check"],
        &["spool", "drop", "cloud:telemetry", "--yes"],
    ] {
        let (_, said) = told(&folder, arguments, 1)?;
        ensure!(
            said.contains(&format!("process {} has", dark.gateway.pid())),
            "{said}"
        );
    }
    dark.gateway.thaw()?;
    let (_, setup) = dark.gateway.stop()?;
    let (_, said) = told(setup.folder(), &["parked", "retry", "--all"], 5)?;
    ensure!(said.contains("no gateway runs"), "{said}");
    ensure!(
        json(setup.folder(), &["spool", "stat"], 0)?["queues"][0]["on_disk"] == 10,
        "what is owed is still there"
    );
    fs::rename(setup.data(), setup.folder().join("elsewhere"))?;
    told(setup.folder(), &["spool", "stat"], 5)?;
    ensure!(!setup.data().exists(), "a look has made a data folder");
    Ok(())
}
