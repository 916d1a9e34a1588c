//! What is shipped for Prometheus and Grafana: every name in it is one that a gateway tells, and every alert fires when it
//! should and not else.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::Value;
use tidegate_tests::binary::workspace;
use tidegate_tests::certificates::Authority;
use tidegate_tests::guests::component;
use tidegate_tests::source_text::sources;
use tidegate_tests::{Broker, Config, Gateway, cases, needs, wait_until};

use crate::scene::plugin_file;

pub fn cases() -> Vec<Trial> {
    let promtool = Command::new("promtool").arg("--version").output().is_ok();
    let by_promtool = |name: &str, run| needs(name, "promtool", promtool, run);
    let mut cases = cases![every_query_names_what_a_gateway_tells];
    cases.extend(cases![by_promtool; every_alert_fires_when_it_should]);
    cases
}

/// Series that begin with an event which this test does not bring about; each is looked for in the source.
const WITH_AN_EVENT: [&str; 1] = ["tidegate_uplink_condition"];

/// Names of metrics in a text, as they stand in the first column of `# TYPE`.
fn names(text: &str) -> BTreeSet<String> {
    let is_name =
        |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
    let words = text.split(|letter| !is_name(letter));
    let own = words.filter(|word| word.starts_with("tidegate_") || word.starts_with("process_"));
    own.map(|word| word.strip_suffix("_bucket").unwrap_or(word).to_owned())
        .collect()
}

fn queries() -> Result<BTreeSet<String>> {
    let folder = workspace().join("examples/monitoring");
    let board: Value = serde_json::from_str(&fs::read_to_string(folder.join("grafana.json"))?)?;
    let panels = board["panels"].as_array().context("no panels")?;
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array())
        .flatten();
    let mut all: Vec<String> = targets
        .filter_map(|target| Some(target["expr"].as_str()?.to_owned()))
        .collect();
    ensure!(all.len() > 30, "only {} queries", all.len());
    let rules = fs::read_to_string(folder.join("alerts.yml"))?;
    all.extend(
        rules
            .lines()
            .filter(|line| line.trim_start().starts_with("expr:"))
            .map(str::to_owned),
    );
    Ok(names(&all.join("\n")))
}

/// A gateway with a plugin, certificates, dead letters and something given up tells all it can.
/// Guarantee: each metric that dashboard and alerts ask for is among that.
fn every_query_names_what_a_gateway_tells() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let authority = Authority::new(folder.path(), "authority")?;
    let field = Broker::embedded()?;
    let tls = format!("tls = {{ ca = \"{}\" }}", authority.ca.display());
    let config = Config::forwarding()
        .between(&field.url(), "mqtts://127.0.0.1:1")
        .put("uplink.cloud", &tls)
        .step("all", &plugin_file("trap", "trap.wasm"))
        .add("class.telemetry", "max = \"64MiB\"");
    let setup = Gateway::with(config);
    fs::write(setup.folder().join("trap.wasm"), component("trap")?)?;
    let gateway = setup.start()?;
    field.publish("devices/d1/telemetry", "trap")?;
    field.publish("devices/d2/telemetry", "harmless")?;
    wait_until("one is a dead letter and one is owed", || {
        gateway.metric("tidegate_dead_letters_kept", &[]) == 1.0
            && gateway.metric("tidegate_spool_messages", &[]) == 1.0
    })?;
    crate::tools::told(
        gateway.folder(),
        &["spool", "drop", "cloud:telemetry", "--yes"],
        0,
    )?;
    wait_until("one is given up", || {
        gateway.metric("tidegate_messages_dropped_total", &[]) >= 1.0
    })?;
    let text = gateway.get("/metrics")?.1;
    let told: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    let code: String = sources("host/src")?
        .into_iter()
        .map(|source| source.text)
        .collect();
    let missing: Vec<String> = queries()?
        .into_iter()
        .filter(|name| !told.contains(&**name))
        .filter(|name| !(WITH_AN_EVENT.contains(&&**name) && code.contains(&format!("\"{name}\""))))
        .collect();
    ensure!(missing.is_empty(), "nobody tells {missing:?}:\n{text}");
    for line in [
        "tidegate_plugin_limit_used_ratio{flow=\"all\",limit=\"memory\"",
        "tidegate_flow_bytes_total{direction=\"in\"",
    ] {
        ensure!(text.contains(line), "no {line}");
    }
    ensure!(
        gateway.metric("tidegate_plugin_cpu_seconds_total", &[]) > 0.0
            && gateway.metric("tidegate_plugin_memory_bytes", &[]) > 0.0,
        "a plugin that ran costs nothing"
    );
    Ok(())
}

/// `promtool` on the rules, and on series made up so that each alert fires once and is quiet once.
/// Guarantee: the rules parse, and say what they are meant to.
fn every_alert_fires_when_it_should() -> Result<()> {
    let folder = workspace().join("examples/monitoring");
    for arguments in [
        ["check", "rules", "alerts.yml"],
        ["test", "rules", "alerts_test.yml"],
    ] {
        let output = Command::new("promtool")
            .args(arguments)
            .current_dir(&folder)
            .output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{arguments:?}: {said}");
    }
    let rules = fs::read_to_string(folder.join("alerts.yml"))?;
    let tests = fs::read_to_string(folder.join("alerts_test.yml"))?;
    for alert in rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
    {
        for case in ["fires", "is quiet"] {
            ensure!(
                tests.contains(&format!("name: {alert} {case}\n")),
                "{alert}: no test in which it {case}"
            );
        }
    }
    Ok(())
}
