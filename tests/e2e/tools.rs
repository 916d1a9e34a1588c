//! The operator's commands against the real binary: status, dead letters, the spool by hand.

mod looking;
mod sealed;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::ensure;
use anyhow::{Context, Result};
use libtest_mimic::Trial;
use serde_json::Value;
use tidegate_tests::binary::tidegate;
use tidegate_tests::cut::Cuttable;
use tidegate_tests::tally::Sent;
use tidegate_tests::{Broker, Config, Gateway, Watch, cases, needs, wait_until, with_mosquitto};

use crate::scene::{UP, compare, expect_at_least_once, send_all};

pub fn cases() -> Vec<Trial> {
    let as_nobody = |name: &str, run| {
        let what = "the right to act as another user who may run the binary";
        needs(name, what, can_act_as_nobody(), run)
    };
    let mut cases = cases![
        status_tells_what_is_owed_running_and_stopped,
        a_control_socket_that_is_taken_away_is_made_anew,
    ];
    cases.extend(cases![as_nobody; the_control_socket_is_for_owner_and_group]);
    cases.extend(cases![with_mosquitto;
        parked_messages_go_through_the_mended_plugin,
        what_is_exported_and_imported_is_delivered,
    ]);
    cases.extend(looking::cases());
    cases.extend(sealed::cases());
    cases
}

/// A user and a group that own nothing.
const NOBODY: u32 = 65_534;

/// Runs `tidegate` with these arguments on the gateway in this folder.
fn ask(folder: &Path, arguments: &[&str]) -> Result<Output> {
    command(folder, arguments)?
        .output()
        .context("cannot run tidegate")
}

pub fn command(folder: &Path, arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(tidegate()?);
    command
        .args(arguments)
        .arg("--config")
        .arg(folder.join("tidegate.toml"))
        .arg("--data-dir")
        .arg(folder.join("data"));
    Ok(command)
}

/// The same, which must end with `code`; what it said on standard output and on standard error.
pub fn told(folder: &Path, arguments: &[&str], code: i32) -> Result<(String, String)> {
    let output = ask(folder, arguments)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, error) = (text(&output.stdout), text(&output.stderr));
    ensure!(
        output.status.code() == Some(code),
        "{arguments:?} ended with {}, not {code}:\n{out}{error}",
        output.status
    );
    Ok((out, error))
}

pub fn json(folder: &Path, arguments: &[&str], code: i32) -> Result<Value> {
    let (out, _) = told(folder, &[arguments, &["-o", "json"]].concat(), code)?;
    serde_json::from_str(&out).with_context(|| format!("{arguments:?} answered no JSON: {out}"))
}

/// Brokers on either side, the one upstream behind a link that is dark, and what was sent into the gateway.
struct Dark {
    _field: Broker,
    _cloud: Broker,
    link: Cuttable,
    watch: Watch,
    gateway: Gateway,
    config: Config,
    sent: Sent,
}

impl Dark {
    /// `total` messages; `metric` is what tells that all of them are in.
    fn with(
        brokers: fn() -> Result<Broker>,
        config: Config,
        total: usize,
        metric: &str,
    ) -> Result<Self> {
        let (field, cloud) = (brokers()?, brokers()?);
        let link = Cuttable::to(cloud.address())?;
        link.go_dark();
        let watch = Watch::start(cloud.address(), UP)?;
        let config = config.between(&field.url(), &link.url());
        let gateway = Gateway::with(&config).start()?;
        let sent = send_all(&field, total)?;
        wait_until("all messages are in", || {
            gateway.metric(metric, &[]) == total as f64
        })?;
        Ok(Self {
            _field: field,
            _cloud: cloud,
            link,
            watch,
            gateway,
            config,
            sent,
        })
    }

    /// So many messages are owed.
    fn owing(brokers: fn() -> Result<Broker>, total: usize) -> Result<Self> {
        let config = Config::forwarding();
        Self::with(brokers, config, total, "tidegate_spool_messages")
    }
}

const FILTER: &str = "plugin = \"builtin:filter\"\nsettings = { where = [{ field = \"sequence\", op = \">=\", value = 0 }] }";

/// Every message is rejected for a field that the config misspells; the setting is mended while the gateway runs, the
/// letters are sent again while the link is dark, and the gateway is killed.
/// Guarantee: list and show tell flow, plugin, hash and reason; after the retry nothing is parked, and all of it
/// arrives in order per device although nobody could say goodbye.
fn parked_messages_go_through_the_mended_plugin() -> Result<()> {
    let dark = Dark::with(
        Broker::mosquitto,
        Config::forwarding().step("all", FILTER),
        600,
        "tidegate_dead_letters_kept",
    )?;
    let folder = dark.gateway.folder().to_owned();
    let page = json(
        &folder,
        &[
            "parked", "list", "--flow", "all", "--reason", "rejected", "-n", "7",
        ],
        0,
    )?;
    ensure!(
        page["letters"]
            .as_array()
            .is_some_and(|letters| letters.len() == 7),
        "{page}"
    );
    let next = page["next"].as_str().context("there is a next page")?;
    ensure!(
        json(
            &folder,
            &["parked", "list", "--after", next, "-n", "1000"],
            0
        )?["letters"]
            .as_array()
            .map(Vec::len)
            == Some(593)
    );
    let first = page["letters"][0]["id"]
        .as_str()
        .context("a letter has a name")?;
    let (shown, _) = told(&folder, &["parked", "show", first], 0)?;
    let digest = page["letters"][0]["plugin_digest"]
        .as_str()
        .context("a rejected letter has a plugin")?;
    for part in [
        "rejected",
        "all",
        "filter",
        digest,
        "sequence",
        "devices/d",
        "\"seq\"",
    ] {
        ensure!(shown.contains(part), "`{part}` is not in {shown}");
    }
    ensure!(digest.len() == 64, "`{digest}` is no SHA-256");
    let misspelt = "flow.all.plugin.0.settings.where.0.field";
    dark.gateway
        .rewrite_config(dark.config.change(misspelt, "seq"))?;
    wait_until("the plugin is mended", || {
        dark.gateway
            .metric("tidegate_swap_transitions_total", &[("state", "swapped")])
            >= 1.0
    })?;
    let retried = json(&folder, &["parked", "retry", "--all"], 0)?;
    ensure!(
        retried["retried"] == 600 && retried["parked_again"] == 0,
        "{retried}"
    );
    ensure!(
        json(&folder, &["parked", "list"], 0)?["letters"]
            .as_array()
            .is_some_and(Vec::is_empty),
        "letters are left"
    );
    let setup = dark.gateway.kill()?;
    dark.link.back();
    let _gateway = setup.start()?;
    expect_at_least_once(&compare(&dark.sent, dark.watch)?)
}

/// 700 messages are owed to a dark upstream; the gateway is asked, stopped, and asked again.
/// Guarantee: both answers say how many are owed and whether it runs, and fit a terminal of 80 columns.
fn status_tells_what_is_owed_running_and_stopped() -> Result<()> {
    let dark = Dark::owing(Broker::embedded, 700)?;
    let folder = dark.gateway.folder().to_owned();
    let owed = |status: &Value| {
        status["queues"][0]["in_ram"]
            .as_u64()
            .zip(status["queues"][0]["on_disk"].as_u64())
    };
    let status = json(&folder, &["status"], 7)?;
    let trouble = &status["uplinks"][0]["trouble"];
    ensure!(
        trouble["cause"].is_string() && trouble["since_s"].is_u64(),
        "{status}"
    );
    ensure!(
        status["running"] == true && status["process"]["pid"] == dark.gateway.pid(),
        "{status}"
    );
    ensure!(
        owed(&status).is_some_and(|(ram, disk)| ram + disk == 700),
        "{status}"
    );
    ensure!(
        status["sources"][0]["connected"] == true && status["uplinks"][0]["connected"] == false,
        "{status}"
    );
    ensure!(
        status["flows"][0]["messages_in"] == 700 && status["flows"][0]["messages_out"] == 700,
        "{status}"
    );
    let (running, _) = told(&folder, &["status"], 7)?;
    let (ended, setup) = dark.gateway.stop()?;
    ensure!(ended.success(), "the gateway ended with {ended}");
    let status = json(setup.folder(), &["status"], 0)?;
    ensure!(
        status["running"] == false && owed(&status) == Some((0, 700)),
        "{status}"
    );
    let (stopped, _) = told(setup.folder(), &["status"], 0)?;
    ensure!(
        running.contains(" runs for ") && stopped.contains(" does not run"),
        "{running}\n{stopped}"
    );
    let line = |line: &str| line.chars().count() <= 80 || line.contains("/data");
    ensure!(
        running.lines().chain(stopped.lines()).all(line),
        "{running}\n{stopped}"
    );
    Ok(())
}

/// What is owed is exported and dropped on the running gateway, and imported into the files of the stopped one.
/// Guarantee: after the drop nothing is owed, after the import all of it, and all of it arrives in order per device.
fn what_is_exported_and_imported_is_delivered() -> Result<()> {
    let dark = Dark::owing(Broker::mosquitto, 3_000)?;
    let folder = dark.gateway.folder().to_owned();
    let file = folder.join("owed.ndjson");
    let file = file.to_str().context("the folder's name is text")?;
    told(&folder, &["spool", "export", "--to", file], 0)?;
    ensure!(
        fs::read_to_string(file)?.lines().count() == 3_000,
        "not all was exported"
    );
    told(&folder, &["spool", "drop", "cloud:telemetry"], 2)?;
    let dropped = json(&folder, &["spool", "drop", "cloud:telemetry", "--yes"], 0)?;
    ensure!(
        dropped["dropped"] == 3_000 && dark.gateway.metric("tidegate_spool_messages", &[]) == 0.0,
        "{dropped}"
    );
    let (_, setup) = dark.gateway.stop()?;
    let (peeked, said) = told(setup.folder(), &["spool", "peek"], 0)?;
    ensure!(
        peeked.is_empty() && said.contains("nothing is owed"),
        "{peeked}{said}"
    );
    ensure!(
        json(setup.folder(), &["spool", "import", file], 0)?["imported"] == 3_000,
        "not all was imported"
    );
    told(setup.folder(), &["spool", "check"], 0)?;
    dark.link.back();
    let _gateway = setup.start()?;
    expect_at_least_once(&compare(&dark.sent, dark.watch)?)
}

fn can_act_as_nobody() -> bool {
    let try_it = || {
        Command::new(tidegate().ok()?)
            .arg("--version")
            .uid(NOBODY)
            .gid(NOBODY)
            .output()
            .ok()
    };
    rustix::process::geteuid().is_root() && try_it().is_some_and(|output| output.status.success())
}

/// Somebody takes the control socket away while the gateway runs.
/// Guarantee: it is made anew and answers, and the log tells it.
fn a_control_socket_that_is_taken_away_is_made_anew() -> Result<()> {
    let dark = Dark::owing(Broker::embedded, 10)?;
    let socket = dark.gateway.folder().join("data/admin.sock");
    fs::remove_file(&socket)?;
    wait_until("it is there again", || socket.exists())?;
    // Its uplink is dark, and status says so.
    let status = json(dark.gateway.folder(), &["status"], 7)?;
    ensure!(status["queues"].is_array(), "{status}");
    dark.gateway.lines().wait_for(&["taken away or replaced"])
}

/// Another user asks: outside of the group, in it, and outside of it with a socket that somebody opened to all.
/// Guarantee: mode 0660, and who is neither owner nor in the group is refused by the file, and by the gateway too.
fn the_control_socket_is_for_owner_and_group() -> Result<()> {
    let dark = Dark::owing(Broker::embedded, 10)?;
    let folder = dark.gateway.folder().to_owned();
    let socket = folder.join("data/admin.sock");
    let open = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    ensure!(
        fs::metadata(&socket)?.permissions().mode() & 0o777 == 0o660,
        "the mode is not 0660"
    );
    for path in [&folder, &folder.join("data")] {
        open(path, 0o755)?;
    }
    let as_user = |group| -> Result<(bool, String)> {
        let output = command(&folder, &["status"])?
            .uid(NOBODY)
            .gid(group)
            .output()?;
        // Its uplink is dark, and status says so.
        Ok((
            output.status.code() == Some(7),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        ))
    };
    let (done, said) = as_user(NOBODY)?;
    ensure!(!done && said.contains("its group"), "{said}");
    let (done, said) = as_user(rustix::process::getegid().as_raw())?;
    ensure!(done, "a member of the group was refused: {said}");
    open(&socket, 0o666)?;
    let (done, said) = as_user(NOBODY)?;
    ensure!(!done && said.contains("its group"), "{said}");
    dark.gateway.lines().wait_for(&["stranger"])
}
