//! What programs say becomes messages: of one that runs on, and of one that is run again and again.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use rustix::process::{Pid, Signal, kill_process};
use tidegate_tests::{Broker, Config, Gateway, Watch, cases, wait_until};

use super::{idle, payloads, raw};
use crate::scene::UP;

pub fn cases() -> Vec<Trial> {
    cases![
        a_program_that_runs_on_is_started_anew_and_ends_with_the_gateway,
        a_program_that_is_run_each_second_is_told_when_it_fails,
        a_program_that_has_ended_is_started_anew_whoever_holds_its_output,
    ]
}

/// A program of these lines.
fn program(folder: &Path, lines: &str) -> Result<PathBuf> {
    let path = folder.join("program");
    fs::write(&path, format!("#!/bin/sh\n{lines}\n"))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

fn running(path: &Path, cloud: &str, keys: &str) -> Config {
    raw(&format!("exec://{}", path.display()), cloud, keys)
        .change("source.field.topic", "devices/d1/telemetry")
}

fn is_alive(process: &str) -> bool {
    let state = fs::read_to_string(format!("/proc/{}/stat", process.trim()));
    state.is_ok_and(|state| !state.contains(") Z "))
}

/// A program that says a line and fails, until it finds something; then it runs on, and the gateway is killed.
/// Guarantee: each line is a message; with what code it ended and what it said last is told without control characters; it does not
/// outlive the gateway.
fn a_program_that_runs_on_is_started_anew_and_ends_with_the_gateway() -> Result<()> {
    let (cloud, folder) = (Broker::embedded()?, tempfile::tempdir()?);
    let (found, number) = (folder.path().join("found"), folder.path().join("number"));
    let lines = format!(
        "echo \"$1 $TIDEGATE_SECRET\"\nif [ -e {0} ]; then echo $$ > {1}.new; mv {1}.new {1}; exec sleep 1000; fi\nprintf 'no \\033[31msensor\\n' >&2\nexit 3",
        found.display(),
        number.display()
    );
    let path = program(folder.path(), &lines)?;
    let watch = Watch::start(cloud.address(), UP)?;
    let config = running(&path, &cloud.url(), "arguments = [\"it's $HOME\"]\n");
    let gateway = Gateway::with(idle(config)).start()?;
    wait_until("health says how it ended", || {
        let told = gateway.health();
        told.is_ok_and(|(_, text)| {
            text.contains("it ended with exit code 3: no ") && !text.contains('\u{1b}')
        })
    })?;
    fs::write(&found, "")?;
    wait_until("it runs on", || number.exists())?;
    let process = fs::read_to_string(&number)?;
    wait_until("its lines are messages", || watch.arrivals().len() >= 2)?;
    ensure!(
        payloads(&watch).iter().all(|line| line == b"it's $HOME "),
        "{:?}",
        watch.arrivals()
    );
    ensure!(is_alive(&process), "it runs");
    gateway.kill()?;
    wait_until("it is gone", || !is_alive(&process))
}

/// A program that fails in its second run, and does not end in its third.
/// Guarantee: what it says counts in each; a failure is told until a run goes well again.
fn a_program_that_is_run_each_second_is_told_when_it_fails() -> Result<()> {
    let (cloud, folder) = (Broker::embedded()?, tempfile::tempdir()?);
    let runs = folder.path().join("runs");
    let lines = format!(
        "echo x >> {0}\nn=$(wc -l < {0})\necho run $n\n[ $n != 2 ] || exit 4\n[ $n != 3 ] || sleep 1000",
        runs.display()
    );
    let path = program(folder.path(), &lines)?;
    let watch = Watch::start(cloud.address(), UP)?;
    let keys = "every = \"1s\"\nwithin = \"500ms\"\n";
    let gateway = Gateway::with(running(&path, &cloud.url(), keys)).start()?;
    let failing = || {
        gateway.metric(
            "tidegate_source_condition",
            &[("condition", "program-failed")],
        )
    };
    wait_until("a failure is told", || failing() == 1.0)?;
    wait_until("what does not end is told", || {
        let told = gateway.health();
        told.is_ok_and(|(_, text)| text.contains("it has not ended in time (`within`)"))
    })?;
    wait_until("it goes well again", || failing() == 0.0)?;
    wait_until("four runs are messages", || watch.arrivals().len() >= 4)?;
    let expected = [1, 2, 3, 4].map(|run| format!("run {run}").into_bytes());
    ensure!(payloads(&watch)[..4] == expected, "{:?}", watch.arrivals());
    Ok(())
}

/// A program that fails and leaves another behind, in a session of its own, which says nothing and holds its output. Its arguments
/// look like ours.
/// Guarantee: all that it said is a message, with its arguments as they were written; it counts as ended, and is started anew.
fn a_program_that_has_ended_is_started_anew_whoever_holds_its_output() -> Result<()> {
    let (cloud, folder) = (Broker::embedded()?, tempfile::tempdir()?);
    let others = folder.path().join("others");
    let lines = format!(
        "echo \"$*\"\nsetsid sleep 1000 &\necho $! >> {}\nexit 7",
        others.display()
    );
    let path = program(folder.path(), &lines)?;
    let watch = Watch::start(cloud.address(), UP)?;
    let keys = "arguments = [\"-c\", \"--config\", \"x\", \"--\", \"--help\"]\n";
    let gateway = Gateway::with(idle(running(&path, &cloud.url(), keys))).start()?;
    wait_until("it is told how it ended", || {
        gateway.lines().has(&["it ended with exit code 7"])
    })?;
    wait_until("it is started anew", || watch.arrivals().len() >= 2)?;
    let told = payloads(&watch);
    for other in fs::read_to_string(&others)?.lines() {
        let other = Pid::from_raw(other.parse()?).context("a process has a number")?;
        // It may have ended by itself.
        let _ = kill_process(other, Signal::KILL);
    }
    ensure!(
        told.iter().all(|line| line == b"-c --config x -- --help"),
        "{told:?}"
    );
    Ok(())
}
