//! The gateway as a process among others: who reads its log, who connects to it, who signals it, whose files it finds.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::cut::Cuttable;
use tidegate_tests::{Broker, Config, Gateway, Setup, Watch, cases, wait_until, where_possible};

use crate::scene::{Scene, UP, compare, expect_at_least_once, send_all};
use crate::tools::{json, told};

pub fn cases() -> Vec<Trial> {
    let by_root = |name: &str, run| {
        where_possible(name, "root", || rustix::process::geteuid().is_root(), run)
    };
    let by_promtool = |name: &str, run| where_possible(name, "promtool", has_promtool, run);
    let mut cases = cases![
        a_log_that_nobody_reads_holds_up_nothing,
        a_log_on_a_full_disk_ends_nothing,
        idle_connections_leave_room_for_the_uplink,
        half_a_request_does_not_hold_up_a_stop,
        no_umask_opens_the_data_folder,
        a_start_on_a_broken_config_begins_on_the_last_good_one,
        operating_needs_neither_secrets_nor_a_faultless_config,
    ];
    cases.extend(cases![by_root; a_data_folder_that_was_somebody_else_s_is_refused]);
    cases.extend(cases![by_promtool; the_metrics_are_as_prometheus_wants_them]);
    cases
}

/// A gateway whose standard error goes to `place`, so that nobody hears its port, and what it carries.
fn without_log(place: &str, then: impl FnOnce(&Gateway) -> Result<()>) -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let watch = Watch::start(cloud.address(), UP)?;
    let port = tidegate_tests::port::free()?;
    let run = format!("echo admin http://127.0.0.1:{port}; exec \"$@\" 2>{place}");
    let gateway = Gateway::with(Config::forwarding().between(&field.url(), &cloud.url()))
        .env("TIDEGATE_ADMIN__LISTEN", &format!("127.0.0.1:{port}"))
        .under(&["/bin/sh", "-c", &run, "sh"])
        .launch()?;
    wait_until("the gateway is online", || gateway.is_online())?;
    let sent = send_all(&field, 500)?;
    expect_at_least_once(&compare(&sent, watch)?)?;
    ensure!(gateway.get("/livez")?.0 == 200, "not alive");
    then(&gateway)?;
    let (status, _) = gateway.stop()?;
    ensure!(status.code() == Some(0), "the gateway ended with {status}");
    Ok(())
}

/// Standard error is a pipe that is full, and whoever should read it has stopped; later it reads on, and stops again.
/// Guarantee: the start, data, health and the stop go on; what was said arrives when somebody reads.
fn a_log_that_nobody_reads_holds_up_nothing() -> Result<()> {
    let (mut reader, mut writer) = std::io::pipe()?;
    rustix::fs::fcntl_setfl(&writer, rustix::fs::OFlags::NONBLOCK)?;
    while writer.write(&[b'x'; 4_096]).is_ok() {}
    // Opened anew it is a writer that waits.
    let place = format!("/proc/{}/fd/{}", std::process::id(), writer.as_raw_fd());
    without_log(&place, |_| {
        let (mut said, mut part) = (Vec::new(), [0; 4_096]);
        while !String::from_utf8_lossy(&said).contains("the gateway runs") {
            let read = reader.read(&mut part)?;
            said.extend_from_slice(&part[..read]);
        }
        while writer.write(&[b'x'; 4_096]).is_ok() {}
        Ok(())
    })
}

/// Standard error goes to a device that is always full.
/// Guarantee: the gateway starts, works and stops in order without its log.
fn a_log_on_a_full_disk_ends_nothing() -> Result<()> {
    without_log("/dev/full", |gateway| {
        wait_until("the lost lines are counted", || {
            gateway.metric("tidegate_log_lines_dropped_total", &[]) > 0.0
        })
    })
}

/// More idle connections to the admin port and the control socket than the gateway may have descriptors.
/// Guarantee: the uplink dials, whoever asks something gets an answer, and so does the command line.
fn idle_connections_leave_room_for_the_uplink() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let link = Cuttable::to(cloud.address())?;
    let watch = Watch::start(cloud.address(), UP)?;
    let limit = "ulimit -n 128; exec \"$@\"";
    let gateway = Gateway::with(Config::forwarding().between(&field.url(), &link.url()))
        .under(&["/bin/sh", "-c", limit, "sh"])
        .start()?;
    let mut idle = Vec::new();
    for number in 0..300 {
        let mut stream = TcpStream::connect(gateway.admin())?;
        if number % 2 == 0 {
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: local")?;
        }
        idle.push(stream);
    }
    let socket = gateway.folder().join("data/admin.sock");
    let silent: Vec<_> = (0..40)
        .map_while(|_| UnixStream::connect(&socket).ok())
        .collect();
    let dials = link.dials();
    link.cut();
    wait_until("the uplink dials", || link.dials() > dials)?;
    let sent = send_all(&field, 500)?;
    expect_at_least_once(&compare(&sent, watch)?)?;
    ensure!(gateway.get("/livez")?.0 == 200, "not alive");
    wait_until("status answers", || {
        json(gateway.folder(), &["status"], 0).is_ok()
    })?;
    drop((idle, silent));
    Ok(())
}

/// Half a request at the admin port and at the control socket, then SIGTERM.
/// Guarantee: the stop takes no longer for it.
fn half_a_request_does_not_hold_up_a_stop() -> Result<()> {
    let mut scene = Scene::with(&Config::forwarding(), &[])?;
    let mut half = TcpStream::connect(scene.gateway.admin())?;
    half.write_all(b"GET /met")?;
    let mut other = UnixStream::connect(scene.gateway.folder().join("data/admin.sock"))?;
    other.write_all(b"POST /v1/spool HTTP/1.1\r\ncontent-length: 1000\r\n\r\n{")?;
    // It was taken: whoever asks behind it has an answer.
    ensure!(scene.gateway.get("/livez")?.0 == 200, "not alive");
    scene.gateway.terminate()?;
    wait_until("the gateway has ended", || !scene.gateway.is_running())?;
    let (status, _) = scene.gateway.end()?;
    ensure!(status.code() == Some(0), "the gateway ended with {status}");
    let mut rest = Vec::new();
    ensure!(
        half.read_to_end(&mut rest).is_err() || rest.is_empty() || rest.starts_with(b"HTTP/1.1 4"),
        "{rest:?}"
    );
    Ok(())
}

/// A cache with its key that another user has made, in a folder that was given to us since.
/// Guarantee: nothing of it is believed; the gateway does not start, and says whose it is and what to do.
fn a_data_folder_that_was_somebody_else_s_is_refused() -> Result<()> {
    let broker = Broker::embedded()?;
    let setup = Gateway::with(Config::forwarding().between(&broker.url(), &broker.url()));
    let cache = setup.data().join("cache");
    fs::create_dir_all(&cache)?;
    fs::write(cache.join("key"), [7; 32])?;
    fs::set_permissions(cache.join("key"), fs::Permissions::from_mode(0o600))?;
    for path in [cache.join("key"), cache] {
        chown(&path, Some(12_345), Some(12_345)).context("root may give files away")?;
    }
    let (status, lines) = setup.fail()?;
    ensure!(
        status.code() == Some(1) && lines.has(&["belongs to user 12345", "chown -R"]),
        "{status} {:?}",
        lines.all()
    );
    Ok(())
}

/// The gateway is started with umask 000.
/// Guarantee: no other user can write to anything it makes, and it starts again on it.
fn no_umask_opens_the_data_folder() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let open = "umask 000; exec \"$@\"";
    let setup = Gateway::with(Config::forwarding().between(&field.url(), &cloud.url()))
        .under(&["/bin/sh", "-c", open, "sh"]);
    let (_, setup) = setup.start()?.stop()?;
    let mut folders = vec![setup.data()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let (path, found) = (
                entry
                    .as_ref()
                    .map(fs::DirEntry::path)
                    .ok()
                    .context("an entry")?,
                entry?.metadata()?,
            );
            ensure!(
                found.permissions().mode() & 0o002 == 0,
                "everybody may write `{}`",
                path.display()
            );
            if found.is_dir() {
                folders.push(path);
            }
        }
    }
    setup.start().map(drop)
}

/// Starts it and waits until its uplink is online too: before, `status` ends with 7.
fn online(setup: Setup) -> Result<Gateway> {
    let gateway = setup.start()?;
    wait_until("the uplink is online", || {
        gateway.metric("tidegate_uplink_up", &[]) == 1.0
    })?;
    Ok(gateway)
}

/// A config is broken while the gateway runs, then it is restarted twice; then the file is mended.
/// Guarantee: what ran runs on, the start begins on what worked last, and status says so until the file is good again.
fn a_start_on_a_broken_config_begins_on_the_last_good_one() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let watch = Watch::start(cloud.address(), UP)?;
    let good = Config::forwarding().between(&field.url(), &cloud.url());
    let gateway = online(Gateway::with(&good))?;
    let refused = |gateway: &Gateway| -> Result<bool> {
        Ok(!json(gateway.folder(), &["status"], 0)?["config"]["refused"].is_null())
    };
    ensure!(!refused(&gateway)?, "nothing was refused yet");
    gateway.rewrite_config(good.clone().set("flow.all.lanse", 3))?;
    wait_until("the refusal shows", || refused(&gateway).unwrap_or(false))?;
    let (_, setup) = gateway.stop()?;
    let gateway = online(setup)?;
    gateway
        .lines()
        .wait_for(&["started on the last one that worked"])?;
    ensure!(refused(&gateway)?, "the broken file is not told");
    let (out, _) = told(gateway.folder(), &["status"], 0)?;
    ensure!(out.contains("lanse"), "{out}");
    let sent = send_all(&field, 100)?;
    expect_at_least_once(&compare(&sent, watch)?)?;
    gateway.rewrite_config(&good)?;
    wait_until("the mended file is taken", || {
        refused(&gateway).is_ok_and(|refused| !refused)
    })
}

/// A password by credential, which an operator's shell does not have, and a slip in the file; running and stopped.
/// Guarantee: what looks at the data and talks to the gateway works all the same, and never ends with 3.
fn operating_needs_neither_secrets_nor_a_faultless_config() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let secrets = tempfile::tempdir()?;
    fs::write(secrets.path().join("cloud-password"), "hunter2")?;
    let login = "user = \"me\"\npassword = { credential = \"cloud-password\" }";
    let config = Config::forwarding()
        .between(&field.url(), &cloud.url())
        .put("uplink.cloud", login);
    let setup = Gateway::with(&config).env(
        "CREDENTIALS_DIRECTORY",
        &secrets.path().display().to_string(),
    );
    let gateway = online(setup)?;
    for arguments in [
        &["status"][..],
        &["parked", "list"],
        &["ledger"],
        &["plugins"],
        &["spool", "stat"],
    ] {
        told(gateway.folder(), arguments, 0)?;
    }
    gateway.rewrite_config(config.add("flow.all.nonsense", ""))?;
    told(gateway.folder(), &["status"], 0)?;
    let (_, setup) = gateway.stop()?;
    for arguments in [
        &["status"][..],
        &["parked", "list"],
        &["ledger"],
        &["plugins"],
    ] {
        told(setup.folder(), arguments, 0)?;
    }
    told(setup.folder(), &["reload"], 5).map(drop)
}

fn has_promtool() -> bool {
    Command::new("promtool").arg("--version").output().is_ok()
}

/// `promtool check metrics` on everything a gateway with traffic and a dead letter shows.
/// Guarantee: names, units and texts are as the field expects them.
fn the_metrics_are_as_prometheus_wants_them() -> Result<()> {
    let scene = Scene::with(&Config::forwarding(), &[])?;
    let sent = send_all(&scene.field, 200)?;
    wait_until("all has arrived", || {
        scene.watch.count() == sent.count() as u64
    })?;
    let (_, text) = scene.gateway.get("/metrics")?;
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    promtool
        .stdin
        .take()
        .context("it has a standard input")?
        .write_all(text.as_bytes())?;
    let output = promtool.wait_with_output()?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    ensure!(output.status.success() && said.trim().is_empty(), "{said}");
    Ok(())
}
