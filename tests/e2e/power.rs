//! Power cuts: the file system under the data folder stops dead, and everything that was not synced is gone.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use libtest_mimic::Trial;
use tidegate_tests::cut::Cuttable;
use tidegate_tests::disk::{Disk, can_cut_power};
use tidegate_tests::tally::Verdict;
use tidegate_tests::{
    Broker, Config, Gateway, Load, Plan, Watch, cases, rounds, wait_until, where_possible,
};

use crate::scene::{UP, compare};

pub fn cases() -> Vec<Trial> {
    let has_strace = Command::new("strace").arg("-V").output().is_ok();
    let what = "root, a loop device, mkfs.ext4 and xfs_io";
    let with_cuts = |name: &str, run| where_possible(name, what, can_cut_power, run);
    let with_strace = |name: &str, run| {
        let what = "root, a loop device, mkfs.ext4, xfs_io and strace";
        where_possible(name, what, move || can_cut_power() && has_strace, run)
    };
    let mut cases = cases![with_cuts; nothing_acknowledged_is_lost, nothing_sealed_is_lost];
    cases.extend(cases![with_strace; the_test_sees_a_sync_left_out]);
    cases
}

/// Guarantee: whatever was acknowledged before a cut arrives.
fn nothing_acknowledged_is_lost() -> Result<()> {
    let verdict = cuts(rounds(20, 200), Sync::Done, Seal::None)?;
    ensure!(verdict.is_at_least_once(), "{verdict}");
    Ok(())
}

/// Guarantee: the same where the store is sealed, with another key each time.
fn nothing_sealed_is_lost() -> Result<()> {
    let verdict = cuts(rounds(5, 50), Sync::Done, Seal::NewKeys)?;
    ensure!(verdict.is_at_least_once(), "{verdict}");
    Ok(())
}

/// Guarantee: these tests can fail: what a sync that is left out costs is seen.
fn the_test_sees_a_sync_left_out() -> Result<()> {
    // Not every cut does harm; that twenty in a row do none would say that the test is blind.
    for _ in 0..20 {
        if !cuts(1, Sync::LeftOut, Seal::None)?.is_at_least_once() {
            return Ok(());
        }
    }
    bail!("twenty power cuts without a sync, and nothing was lost: the test sees nothing")
}

/// Whether the gateway's syncs reach the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sync {
    Done,
    /// The gateway believes they do.
    LeftOut,
}

/// How the store is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seal {
    None,
    /// With another key from start to start; the one before is known.
    NewKeys,
}

impl Seal {
    /// The config at start number `start`.
    fn put_into(self, config: Config, start: usize) -> Config {
        let key = |number: usize| format!("{{ env = \"KEY_{number}\" }}");
        match self {
            Self::None => config,
            Self::NewKeys => config.put(
                "spool",
                &format!(
                    "encrypt = {{ key = {}, old_keys = [{}] }}",
                    key(start % 2),
                    key(1 - start % 2)
                ),
            ),
        }
    }
}

/// Upstream is dark, so that all that is acknowledged is so because it is on disk. At random moments under load the power is
/// cut: in turns while the disk fills, after what was on it has been drained and deleted, and in the middle of a drain. Every
/// second time the gateway stands still at that moment, so that it notices nothing; else it runs into the dead disk. At the
/// end the link comes back.
/// Guarantee: the store opens after every cut, and every message that the field broker acknowledged to its sender
/// arrives upstream at least once, in order per device.
fn cuts(rounds: usize, sync: Sync, seal: Seal) -> Result<Verdict> {
    let (field, cloud, folder) = (
        Broker::embedded()?,
        Broker::embedded()?,
        tempfile::tempdir()?,
    );
    let at = folder.path().join("card");
    let disk = Disk::ext4(&at, 1_024)?;
    let link = Cuttable::to(cloud.address())?;
    let watch = Watch::start(cloud.address(), UP)?;
    let config = |start| {
        let config = Config::forwarding()
            .between(&field.url(), &link.url())
            .add("spool", "commit_every = \"50ms\"");
        seal.put_into(config, start)
    };
    let mut setup = Gateway::with(config(0)).data_at(at.join("data"));
    for key in 0..2 {
        setup = setup.env(&format!("KEY_{key}"), &format!("{key}f").repeat(32));
    }
    if sync == Sync::LeftOut {
        setup = setup.under(&[
            "strace",
            "-D",
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            "inject=syncfs,fsync,fdatasync,sync_file_range:retval=0",
        ]);
    }
    // Once online, so that the field broker has a session that keeps messages while the gateway is away.
    setup = setup.start()?.kill()?;
    link.go_dark();
    // As many as the gateway can catch up with between the cuts, or else the broker drops some.
    let load = Load::start(
        field.address(),
        Plan {
            rate: Some(5_000),
            window: 10_000,
            ..Plan::default()
        },
    );
    let mut on_disk = 0.0;
    for round in 0..rounds {
        setup.rewrite(config(round + 1))?;
        let gateway = setup.launch()?;
        if sync == Sync::Done && round % 3 == 1 {
            // What is on disk is drained and deleted, so that the store is written over in its second use.
            link.back();
            let on_disk = || gateway.metric("tidegate_spool_disk_messages", &[]);
            wait_until("the disk is drained", || {
                gateway.is_online() && on_disk() == 0.0
            })?;
            link.go_dark();
        }
        wait_until("something is on disk", || {
            gateway.metric("tidegate_spool_commits_total", &[]) > 0.0
        })?;
        if sync == Sync::Done && round % 3 == 2 {
            link.back();
            wait_until("it drains", || {
                gateway.metric("tidegate_messages_forwarded_total", &[]) > 0.0
            })?;
        }
        // The time until the cut is the experiment; nothing is synchronised by it.
        std::thread::park_timeout(Duration::from_millis(fastrand::u64(10..600)));
        on_disk += gateway.metric("tidegate_spool_commits_total", &[]);
        if round % 2 == 0 {
            gateway.freeze()?;
        }
        disk.cut_power()?;
        setup = gateway.kill()?;
        link.go_dark();
        disk.mount_again()?;
    }
    link.back();
    let sent = load.stop()?;
    let gateway = setup.start()?;
    let verdict = match sync {
        Sync::Done => compare(&sent, watch)?,
        Sync::LeftOut => {
            // What is lost never comes, but what is sent after it does.
            field.publish("devices/marker/telemetry", r#"{"device":"marker","seq":0}"#)?;
            wait_until("what is sent after the cuts arrives", || {
                watch.tally().count_of("marker") == 1
            })?;
            wait_until("the gateway has nothing more", || {
                gateway.metric("tidegate_source_unsettled_messages", &[])
                    + gateway.metric("tidegate_spool_messages", &[])
                    == 0.0
            })?;
            sent.against(&watch.stop()?, |_, _| true)
        }
    };
    let (status, _) = gateway.stop()?;
    ensure!(status.success(), "the last gateway ended with {status}");
    eprintln!("{rounds} power cuts, sync {sync:?}, seal {seal:?}, {on_disk} commits: {verdict}");
    Ok(verdict)
}
