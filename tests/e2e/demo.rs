//! README's first command.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::Value;
use tidegate_tests::binary::tidegate;
use tidegate_tests::cases;
use tidegate_tests::process::Process;

pub fn cases() -> Vec<Trial> {
    cases![the_tally_adds_up,]
}

/// `tidegate demo -o json`, to its end.
/// Guarantee: exit code 0, nothing lost, and every message sent is in exactly one column of the tally.
fn the_tally_adds_up() -> Result<()> {
    let mut demo = Process::start(
        "the demo",
        Command::new(tidegate()?).args(["demo", "-o", "json"]),
    )?;
    let status = demo.wait_at_most(std::time::Duration::from_secs(180))?;
    ensure!(status.code() == Some(0), "the demo ended with {status}");
    let tally = demo
        .lines()
        .all()
        .into_iter()
        .rev()
        .find(|line| line.starts_with('{') && line.contains("\"sent\""));
    let tally: Value = serde_json::from_str(&tally.context("the demo printed no tally")?)?;
    let column = |name: &str| {
        tally[name]
            .as_u64()
            .with_context(|| format!("no `{name}` in {tally}"))
    };
    let accounted = [
        "delivered",
        "owed",
        "dead_letters",
        "filtered",
        "absorbed",
        "lost",
    ]
    .map(column);
    let accounted = accounted.into_iter().sum::<Result<u64>>()?;
    ensure!(column("lost")? == 0, "{tally}");
    ensure!(
        column("sent")? > 1_000 && column("sent")? == accounted,
        "{accounted} accounted for in {tally}"
    );
    column("duplicates").map(drop)
}
