//! `tidegate sim` with a connection for each device.

use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::Value;
use tidegate_tests::binary::tidegate;
use tidegate_tests::{Broker, Mosquitto, cases, with_mosquitto};

pub fn cases() -> Vec<Trial> {
    let mut cases = cases![
        limits_that_are_not_kept_end_with_1_and_are_told,
        what_does_not_go_together_is_refused,
    ];
    cases.extend(cases![with_mosquitto;
        each_client_has_its_connection_and_wills_are_heard,
        a_login_that_is_refused_ends_at_the_first_connection,
    ]);
    cases
}

fn sim(url: &str, arguments: &[&str]) -> Result<Output> {
    Command::new(tidegate()?)
        .args(["sim", "--broker", url, "-o", "json"])
        .args(arguments)
        .output()
        .context("cannot run tidegate")
}

fn report(output: &Output) -> Result<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    serde_json::from_str(&text).with_context(|| format!("no report: {text} {error}"))
}

/// 300 clients at mosquitto, 40 of which end without a goodbye, and what they send watched.
/// Guarantee: mosquitto saw 300 clients of that name, all they sent is there in order, and 40 wills were heard, of no other.
fn each_client_has_its_connection_and_wills_are_heard() -> Result<()> {
    let broker = Mosquitto::new().option("log_type all").start()?;
    let output = sim(
        &broker.url(),
        &[
            "--connections=300",
            "--ramp=500",
            "--rate=0",
            "--count=3000",
            "--will=devices/{device}/status",
            "--kill=40",
            "--settle=60s",
            "--limit=connected=100%",
            "--limit=latency-max=10m",
            &format!("--watch={}", broker.url()),
            "--watch-topic=devices/+/telemetry",
        ],
    )?;
    let report = report(&output)?;
    ensure!(output.status.success(), "{}: {report}", output.status);
    for (place, wanted) in [
        ("/connections/connected", 300),
        ("/connections/failed", 0),
        ("/sent", 3000),
        ("/accepted", 3000),
        ("/unanswered", 0),
        ("/wills/killed", 40),
        ("/wills/arrived", 40),
        ("/wills/unexpected", 0),
        ("/watched/delivered", 3000),
        ("/watched/lost", 0),
        ("/watched/out_of_order", 0),
    ] {
        let found = report.pointer(place).and_then(Value::as_u64);
        ensure!(found == Some(wanted), "{place} is {found:?}: {report}");
    }
    for number in [0, 1, 150, 299] {
        let name = format!("-{number} (");
        broker
            .lines()
            .wait_for(&["New client connected", "as tidegate-sim-", &name])?;
    }
    Ok(())
}

/// Limits that no run can keep, and one that any keeps.
/// Guarantee: exit code 1, and each that is exceeded is told with its figure, no other.
fn limits_that_are_not_kept_end_with_1_and_are_told() -> Result<()> {
    let broker = Broker::embedded()?;
    let limits = [
        "--connections=20",
        "--count=40",
        "--rate=0",
        "--limit=connect-p99=0ms",
        "--limit=rate=1000000000",
        "--limit=connected=1%",
    ];
    let output = sim(&broker.url(), &limits)?;
    let report = report(&output)?;
    ensure!(
        output.status.code() == Some(1),
        "{}: {report}",
        output.status
    );
    let told: Vec<_> = report["exceeded"]
        .as_array()
        .into_iter()
        .flatten()
        .collect();
    let said = |part: &str| {
        told.iter()
            .any(|line| line.as_str().is_some_and(|line| line.contains(part)))
    };
    ensure!(
        told.len() == 2 && said("connect-p99 is") && said("rate is"),
        "{report}"
    );
    ensure!(report["accepted"] == 40, "{report}");
    Ok(())
}

/// A password that the broker does not take, for a thousand clients.
/// Guarantee: the first connection ends it, with the broker's words and without the password.
fn a_login_that_is_refused_ends_at_the_first_connection() -> Result<()> {
    let broker = Mosquitto::new().login("ann", "right").start()?;
    let url = format!("mqtt://ann:wrong@{}", broker.address());
    let output = sim(&url, &["--connections=1000", "--count=1000"])?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(1),
        "{}: {error}",
        output.status
    );
    ensure!(error.contains("the devices have no connection"), "{error}");
    ensure!(!error.contains("wrong@"), "{error}");
    Ok(())
}

/// More connections than devices, more killed than there are, a latency that nobody measures, a will without a device.
/// Guarantee: each is refused with the reason, and nobody is dialled.
fn what_does_not_go_together_is_refused() -> Result<()> {
    for (arguments, reason) in [
        (
            &["--connections=20", "--devices=10"][..],
            "nothing to send for 10 devices",
        ),
        (
            &["--will=a/{device}", "--kill=2"],
            "more than the 1 connections",
        ),
        (&["--limit=latency-p99=1s"], "needs --watch"),
        (&["--will=a/b"], "as a level of its own"),
        (&["--limit=speed=1"], "connect-p99"),
        (&["--kill=2"], "--will"),
    ] {
        let output = sim("mqtt://127.0.0.1:1", arguments)?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(!output.status.success(), "{arguments:?} was taken");
        ensure!(error.contains(reason), "{arguments:?}: {error}");
    }
    Ok(())
}
