//! A gateway in one file, and back elsewhere.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::binary::tidegate;
use tidegate_tests::{Broker, Config, Gateway, Load, Plan, Watch, cases, wait_until};

use crate::scene::{UP, expect_at_least_once};
use crate::tools::told;

pub fn cases() -> Vec<Trial> {
    cases![
        what_is_owed_at_a_backup_arrives_from_where_it_is_restored,
        a_stopped_gateway_is_backed_up_and_a_damaged_backup_refused,
    ]
}

fn backup(folder: &Path, file: &Path, code: i32) -> Result<(String, String)> {
    told(folder, &["backup", &file.display().to_string()], code)
}

/// Restores `file` into `folder`, as `told` finds config and data there; what it said.
fn restore(folder: &Path, file: &Path, code: i32) -> Result<String> {
    let output = Command::new(tidegate()?)
        .arg("restore")
        .arg(file)
        .arg("--into")
        .arg(folder.join("data"))
        .arg("--config")
        .arg(folder.join("tidegate.toml"))
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        output.status.code() == Some(code),
        "ended with {}, not {code}: {said}",
        output.status
    );
    Ok(said)
}

/// A flow beside the others, which brings nothing to where the watch looks.
const ASIDE: &str = "from = \"field\"\ntopics = [\"aside/{device}/telemetry\"]\nto = \"cloud:telemetry\"\ntopic = \"beside/{topic}\"\n";

/// A load while upstream is away; a backup meanwhile; the gateway is killed, and the backup restored into another folder, after
/// which upstream is back.
/// Guarantee: everything that was acknowledged before the backup began arrives from there, in order; the gateway went on
/// meanwhile; the copied store gives its messages ids of another name; a second restore, and one over a config that differs, is
/// refused and changes nothing; the file is for its owner only.
fn what_is_owed_at_a_backup_arrives_from_where_it_is_restored() -> Result<()> {
    let (field, mut cloud) = (Broker::embedded()?, Broker::embedded()?);
    let gateway = Gateway::with(
        Config::forwarding()
            .between(&field.url(), &cloud.url())
            .add("flow.aside", ASIDE),
    )
    .start()?;
    cloud.go_dark()?;
    let first = Load::start(
        field.address(),
        Plan {
            rate: None,
            total: Some(2_000),
            ..Plan::default()
        },
    )
    .wait()?;
    let owed = || gateway.metric("tidegate_spool_messages", &[]);
    wait_until("all of it is owed", || owed() >= 2_000.0)?;
    let more = Load::start(
        field.address(),
        Plan {
            rate: Some(2_000),
            topic: ("aside/", "/telemetry"),
            ..Plan::default()
        },
    );
    wait_until("more comes", || owed() > 3_000.0)?;
    let before = owed();
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("barn-7.backup");
    let (_, said) = backup(gateway.folder(), &file, 0)?;
    ensure!(said.contains("messages owed"), "{said}");
    ensure!(
        fs::metadata(&file)?.permissions().mode() & 0o777 == 0o600,
        "others may read it"
    );
    wait_until("the gateway goes on", || owed() > before)?;
    ensure!(
        !gateway.folder().join("data/backup").exists(),
        "something was left behind"
    );
    let (_, said) = backup(gateway.folder(), &file, 1)?;
    ensure!(said.contains("exists"), "{said}");
    drop(more.stop()?);
    let name = fs::read_to_string(gateway.folder().join("data/spool/lock"))?;
    let _setup = gateway.kill()?;

    restore(folder.path(), &file, 0)?;
    let said = restore(folder.path(), &file, 1)?;
    ensure!(said.contains("a store in"), "{said}");
    let elsewhere = tempfile::tempdir()?;
    fs::write(elsewhere.path().join("tidegate.toml"), "# mine\n")?;
    let said = restore(elsewhere.path(), &file, 1)?;
    ensure!(said.contains("--replace-config"), "{said}");
    ensure!(
        !elsewhere.path().join("data").exists(),
        "half of it was put there"
    );
    let store = |text: &str| {
        text.lines()
            .find(|line| line.starts_with("store "))
            .map(str::to_owned)
    };
    let restored = fs::read_to_string(folder.path().join("data/spool/lock"))?;
    ensure!(
        store(&restored) == store(&name),
        "another store: {restored}"
    );

    cloud.back()?;
    let watch = Watch::start(cloud.address(), UP)?;
    let text = fs::read_to_string(folder.path().join("tidegate.toml"))?;
    // It is a gateway of its own beside the first, whose broker still has a session of the same name.
    let setup = Gateway::with(Config::read(&text)).data_at(folder.path().join("data"));
    let gateway = setup.start()?;
    gateway
        .lines()
        .wait_for(&["was copied, restored or moved"])?;
    let verdict = crate::scene::compare(&first, watch)?;
    expect_at_least_once(&verdict)
}

/// A gateway with a plugin beside its config and a part in `conf.d` is stopped, and backed up; the backup is then cut short and
/// changed.
/// Guarantee: all of that is in it; what is not whole is refused, and nothing is put in place.
fn a_stopped_gateway_is_backed_up_and_a_damaged_backup_refused() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let setup = Gateway::with(Config::forwarding().between(&field.url(), &cloud.url()));
    let parts = setup.folder().join("conf.d");
    fs::create_dir(&parts)?;
    fs::write(parts.join("10-log.toml"), "[log]\nlevel = \"debug\"\n")?;
    let (status, setup) = setup.start()?.stop()?;
    ensure!(status.success(), "ended with {status}");
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("a.backup");
    backup(setup.folder(), &file, 0)?;
    let whole = fs::read(&file)?;
    let mut changed = whole.clone();
    let middle = changed.get_mut(whole.len() / 2).context("it is empty")?;
    *middle ^= 1;
    for damaged in [&whole[..whole.len() / 2], &changed] {
        fs::write(&file, damaged)?;
        restore(folder.path(), &file, 1)?;
        let left: Vec<_> = fs::read_dir(folder.path())?
            .flatten()
            .map(|entry| entry.file_name())
            .collect();
        ensure!(left == ["a.backup"], "something was put there: {left:?}");
    }
    fs::write(&file, &whole)?;
    restore(folder.path(), &file, 0)?;
    let restored = fs::read_to_string(folder.path().join("conf.d/10-log.toml"))?;
    ensure!(restored.contains("debug"), "{restored}");
    Ok(())
}
