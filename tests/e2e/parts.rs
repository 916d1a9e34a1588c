//! A config in several files.

use std::fs;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::{Broker, Config, Gateway, cases, wait_until};

use crate::tools::{json, told};

pub fn cases() -> Vec<Trial> {
    cases![a_part_that_comes_changes_and_clashes_is_taken_up_and_told]
}

/// A flow comes in a file of `conf.d` that was not there at the start; then another file says the same flow.
/// Guarantee: it runs without a restart, `config show --origin` names its file and line, the clash is refused with file, line and
/// column while the flow runs on, and a start on the clash runs what worked last, parts and all.
fn a_part_that_comes_changes_and_clashes_is_taken_up_and_told() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let gateway =
        Gateway::with(Config::forwarding().between(&field.url(), &cloud.url())).start()?;
    let parts = gateway.folder().join("conf.d");
    fs::create_dir(&parts)?;
    let second =
        "[flow.second]\nfrom = \"field\"\ntopics = [\"other/{device}\"]\nto = \"cloud:state\"\n";
    fs::write(parts.join("10-second.toml"), second)?;
    let flows = |folder: &std::path::Path| {
        let status = json(folder, &["status"], 0).unwrap_or_default();
        status["flows"].as_array().map_or(0, Vec::len)
    };
    wait_until("the flow runs", || flows(gateway.folder()) == 2)?;
    let (out, _) = told(gateway.folder(), &["config", "show", "--origin"], 0)?;
    ensure!(out.contains("conf.d/10-second.toml:2"), "{out}");
    fs::write(parts.join("20-again.toml"), format!("# the same\n{second}"))?;
    let (_, said) = told(gateway.folder(), &["reload"], 3)?;
    for words in [
        "conf.d/20-again.toml:2:7",
        "`flow.second` stands in",
        "10-second.toml`, too, in line 1",
    ] {
        ensure!(said.contains(words), "`{words}` is not in {said}");
    }
    ensure!(flows(gateway.folder()) == 2, "the running config changed");
    let (_, setup) = gateway.stop()?;
    let gateway = setup.start()?;
    ensure!(
        gateway
            .lines()
            .has(&["started on the last one that worked"]),
        "no word of it"
    );
    ensure!(
        flows(gateway.folder()) == 2,
        "a part of what worked is missing"
    );
    Ok(())
}
