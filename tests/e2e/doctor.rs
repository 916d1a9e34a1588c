//! `tidegate check --strict`, `tidegate doctor` and `tidegate config`: what they find and show, how they end, and what `--fix` changes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::Value;
use tidegate_tests::binary::{tidegate, workspace};
use tidegate_tests::{Config, Gateway, Setup, cases, wait_until};

use crate::scene::Scene;

pub fn cases() -> Vec<Trial> {
    cases![
        what_should_not_go_live_ends_with_6_until_it_is_accepted,
        the_examples_have_few_findings,
        a_doctor_looks_at_machine_and_gateway,
        what_a_doctor_may_mend_is_mended_and_told,
        the_config_in_effect_can_be_read_again_and_shows_no_secret,
        a_key_is_explained_and_a_slip_of_the_finger_is_recognised,
    ]
}

/// A data folder that does not lie where the tests do, which is emptied at a restart.
const LASTING: &str = "/var/lib/tidegate-of-a-test";

/// Runs `tidegate` on the config in this folder; it must end with one of `codes`.
fn told(folder: &Path, arguments: &[&str], codes: &[i32]) -> Result<(String, String)> {
    let output = Command::new(tidegate()?)
        .args(arguments)
        .arg("--config")
        .arg(folder.join("tidegate.toml"))
        .output()
        .context("cannot run tidegate")?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, error) = (text(&output.stdout), text(&output.stderr));
    ensure!(
        output
            .status
            .code()
            .is_some_and(|code| codes.contains(&code)),
        "{arguments:?} ended with {}, not {codes:?}:\n{out}{error}",
        output.status
    );
    Ok((out, error))
}

fn json(folder: &Path, arguments: &[&str], codes: &[i32]) -> Result<Value> {
    let (out, _) = told(folder, &[arguments, &["-o", "json"]].concat(), codes)?;
    serde_json::from_str(&out).with_context(|| format!("{arguments:?} answered no JSON: {out}"))
}

fn strict(folder: &Path, code: i32) -> Result<(Value, String)> {
    let arguments = ["check", "--strict", "--data-dir", LASTING];
    let (_, said) = told(folder, &arguments, &[code])?;
    Ok((json(folder, &arguments, &[code])?, said))
}

fn names(document: &Value) -> Vec<&str> {
    let problems = document["problems"].as_array().into_iter().flatten();
    problems
        .filter_map(|problem| problem["code"].as_str())
        .collect()
}

/// A config with findings, before and after they are accepted.
/// Guarantee: scripts learn by the exit code, and what is accepted stands there with its reason.
fn what_should_not_go_live_ends_with_6_until_it_is_accepted() -> Result<()> {
    let config = Config::forwarding().between("mqtt://127.0.0.1:1", "mqtt://broker.example.com");
    let setup = Gateway::with(&config);
    told(setup.folder(), &["check"], &[0])?;
    let (document, said) = strict(setup.folder(), 6)?;
    let found = [
        "default-name",
        "no-identity",
        "outage-untold",
        "plain-tcp",
        "no-alarm-class",
    ];
    let mut sorted = names(&document);
    sorted.sort_unstable();
    let mut expected = found.to_vec();
    expected.sort_unstable();
    ensure!(sorted == expected && document["open"] == 5, "{document}");
    let first = &document["problems"][0];
    for key in ["why", "hint", "line", "file"] {
        ensure!(!first[key].is_null(), "{key} is missing in {first}");
    }
    ensure!(said.contains("should not go live"), "{said}");
    let accepted: Vec<String> = found
        .iter()
        .map(|name| format!("{name} = \"of a test\"\n"))
        .collect();
    setup.rewrite(config.add("accepted", &accepted.concat()))?;
    let (document, said) = strict(setup.folder(), 0)?;
    ensure!(
        names(&document).is_empty() && document["accepted"].as_array().map(Vec::len) == Some(5),
        "{document}"
    );
    ensure!(
        said.contains("accepted: plain-tcp (uplink.cloud): of a test"),
        "{said}"
    );
    Ok(())
}

/// The configs that we show people.
/// Guarantee: what is found there is right, and little.
fn the_examples_have_few_findings() -> Result<()> {
    for (example, found) in [
        ("tasks", &["default-name", "outage-untold"][..]),
        (
            "convert",
            &[
                "default-name",
                "outage-untold",
                "alarms-dropped",
                "no-alarm-class",
            ],
        ),
    ] {
        let (document, _) = strict(&workspace().join("examples").join(example), 6)?;
        let mut names = names(&document);
        names.sort_unstable();
        let mut expected = found.to_vec();
        expected.sort_unstable();
        ensure!(names == expected, "{example}: {names:?}");
    }
    Ok(())
}

fn finding<'a>(document: &'a Value, subject: &str, words: &str) -> Result<&'a Value> {
    let findings = document["findings"].as_array().context("no findings")?;
    let is_it = |finding: &&Value| {
        finding["subject"] == subject
            && finding["what"]
                .as_str()
                .is_some_and(|what| what.contains(words))
    };
    findings
        .iter()
        .find(is_it)
        .with_context(|| format!("{subject}: {words} is not in {document}"))
}

/// A gateway runs, and one of its brokers goes.
/// Guarantee: the doctor says that it runs, how soon its disk is safe, what it lacks, and ends with 7 for that.
fn a_doctor_looks_at_machine_and_gateway() -> Result<()> {
    let Scene {
        field,
        cloud,
        watch,
        gateway,
    } = Scene::with(&Config::forwarding(), &[])?;
    wait_until("both are in use", || {
        gateway.metric("tidegate_uplink_up", &[]) == 1.0
            && gateway.metric("tidegate_source_up", &[]) == 1.0
    })?;
    let data = gateway.folder().join("data").display().to_string();
    let arguments = ["doctor", "--data-dir", &data];
    let document = json(gateway.folder(), &arguments, &[0, 7])?;
    ensure!(
        finding(&document, "gateway", " runs, process")?["level"] == "ok",
        "{document}"
    );
    ensure!(
        finding(&document, "disk", "a small write")?["why"].is_string(),
        "{document}"
    );
    finding(&document, "descriptors", "files may be open")?;
    drop((cloud, watch));
    wait_until("upstream is gone", || {
        gateway.metric("tidegate_uplink_up", &[]) == 0.0
    })?;
    let document = json(gateway.folder(), &arguments, &[7])?;
    let lost = finding(&document, "gateway", "uplink cloud is not connected")?;
    ensure!(
        lost["level"] == "failed" && lost["mend"] == "tidegate check --connect",
        "{lost}"
    );
    let (text, _) = told(gateway.folder(), &arguments, &[7])?;
    ensure!(
        text.contains("FAILED") && text.contains(" why: ") && text.contains(" do: "),
        "{text}"
    );
    drop(field);
    Ok(())
}

/// A gateway with a password in a file of this mode beside the config, and that file.
fn with_password(mode: u32) -> Result<(Setup, PathBuf)> {
    let config = Config::forwarding()
        .between("mqtt://127.0.0.1:1", "mqtt://127.0.0.1:2")
        .put(
            "uplink.cloud",
            "user = \"me\"\npassword = { file = \"password\" }",
        );
    let setup = Gateway::with(config);
    let secret = setup.folder().join("password");
    fs::write(&secret, "hunter2")?;
    fs::set_permissions(&secret, fs::Permissions::from_mode(mode))?;
    Ok((setup, secret))
}

/// A password that everybody reads, and no data folder yet.
/// Guarantee: both are told; with `--fix` they are mended, which is said, and nothing else is touched; root makes no folder.
fn what_a_doctor_may_mend_is_mended_and_told() -> Result<()> {
    let (setup, secret) = with_password(0o644)?;
    let data = setup.folder().join("fresh");
    let data_dir = data.display().to_string();
    let arguments = ["doctor", "--data-dir", &data_dir];
    let document = json(setup.folder(), &arguments, &[7])?;
    ensure!(
        finding(&document, "secrets", "can read")?["level"] == "failed",
        "{document}"
    );
    finding(&document, "disk", "is not there")?;
    ensure!(
        !document.to_string().contains("hunter2") && !data.exists(),
        "{document}"
    );
    let fixing = ["doctor", "--data-dir", &data_dir, "--fix"];
    let document = json(setup.folder(), &fixing, &[0, 7])?;
    let fixed = document["fixed"].as_array().context("nothing is said")?;
    ensure!(
        fixed.len() == 2 && fixed[0].to_string().contains("mode 644 became 640"),
        "{document}"
    );
    ensure!(
        finding(&document, "secrets", "for the gateway alone")?["level"] == "ok",
        "{document}"
    );
    // What root makes is no use to the gateway's user.
    let is_root = rustix::process::geteuid().is_root();
    ensure!(
        data.is_dir() != is_root && fixed[1].to_string().contains("not made") == is_root,
        "{document}"
    );
    ensure!(
        fs::metadata(&secret)?.permissions().mode() & 0o777 == 0o640,
        "not mended"
    );
    Ok(())
}

/// A config with a secret by reference and something over it, shown, and what is shown as a config.
/// Guarantee: it means the same, each value says where it comes from, and the secret is nowhere in it.
fn the_config_in_effect_can_be_read_again_and_shows_no_secret() -> Result<()> {
    let (setup, _) = with_password(0o600)?;
    let over = ["--set", "spool.reserve=128MiB"];
    let (shown, _) = told(
        setup.folder(),
        &[&["config", "show", "--origin"], &over[..]].concat(),
        &[0],
    )?;
    for part in [
        "# default",
        "# argument --set",
        "tidegate.toml:",
        "password = { file = \"password\" }",
    ] {
        ensure!(shown.contains(part), "{part} is not in {shown}");
    }
    ensure!(!shown.contains("hunter2"), "{shown}");
    let before = json(
        setup.folder(),
        &[&["config", "show"], &over[..]].concat(),
        &[0],
    )?;
    fs::write(setup.config_file(), &shown)?;
    told(setup.folder(), &["check"], &[0])?;
    let after = json(setup.folder(), &["config", "show"], &[0])?;
    let values = |document: &Value| -> std::collections::BTreeMap<String, String> {
        let settings = document["settings"].as_array().into_iter().flatten();
        settings
            .map(|one| (one["key"].to_string(), one["value"].to_string()))
            .collect()
    };
    ensure!(
        values(&before) == values(&after) && values(&before).len() > 80,
        "{before}\n{after}"
    );
    let schema = json(setup.folder(), &["config", "schema"], &[0])?;
    ensure!(
        schema["properties"]["spool"]["properties"]["reserve"]["default"] == "64MiB",
        "{schema}"
    );
    Ok(())
}

/// Keys by their full name, by the end of it, and misspelt.
/// Guarantee: the manual's words and the default, or what was probably meant.
fn a_key_is_explained_and_a_slip_of_the_finger_is_recognised() -> Result<()> {
    let folder = workspace();
    let (text, _) = told(
        folder,
        &["config", "explain", "uplink.cloud.inflight"],
        &[0],
    )?;
    ensure!(
        text.contains("Messages sent and not yet accepted") && text.contains("default: 1000"),
        "{text}"
    );
    let (_, error) = told(folder, &["config", "explain", "spool.reserv"], &[2])?;
    ensure!(error.contains("did you mean spool.reserve?"), "{error}");
    let (_, error) = told(folder, &["config", "explain", "a\u{1b}[2J"], &[2])?;
    ensure!(!error.contains('\u{1b}'), "{error:?}");
    Ok(())
}
