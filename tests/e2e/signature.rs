//! Signed plugins: who may bring one in.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::binary::tidegate;
use tidegate_tests::fake::FakeBroker;
use tidegate_tests::{Gateway, Setup, case, needs};

use crate::guest::{component, marked};
use crate::scene::{config, flow, plugin_file};

pub fn cases() -> Vec<Trial> {
    vec![
        case("signature::a_start_takes_only_what_is_signed", a_start_takes_only_what_is_signed),
        needs("signature::minisign_agrees", "minisign", has_minisign(), minisign_agrees),
    ]
}

const FILE: &str = "count.wasm";

fn has_minisign() -> bool {
    Command::new("minisign").arg("-v").output().is_ok_and(|output| output.status.success())
}

fn run(folder: &Path, program: &Path, arguments: &[&str]) -> Result<Output> {
    Command::new(program).args(arguments).current_dir(folder).output().with_context(|| format!("cannot run {program:?}"))
}

/// Runs a command in `folder` that must end with `code`; what it printed.
fn told(folder: &Path, program: &Path, arguments: &[&str], code: i32) -> Result<String> {
    let output = run(folder, program, arguments)?;
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.code() == Some(code), "{arguments:?} ended with {}, not {code}: {text}", output.status);
    Ok(text)
}

/// A pair of keys in `folder`: `ops.key` and `ops.pub`.
fn keys(folder: &Path) -> Result<()> {
    told(folder, tidegate()?, &["plugin", "keygen", "-n", "ops", "--no-password"], 0).map(drop)
}

/// Signs the component as `count`, of this version.
fn sign(folder: &Path, version: &str, more: &[&str]) -> Result<()> {
    let arguments = [&["plugin", "sign", FILE, "--key", "ops.key", "--version", version], more].concat();
    told(folder, tidegate()?, &arguments, 0).map(drop)
}

/// A config that wants signatures, with the component and the keys beside it.
fn strict(field: &str, cloud: &str) -> Result<Setup> {
    let text = config(field, cloud, &flow(&plugin_file("count", FILE)));
    let setup = Gateway::with(format!("[gateway]\nplugin_keys = [\"ops.pub\"]\nrequire_signature = true\n{text}"));
    fs::write(setup.folder().join(FILE), component("count")?)?;
    keys(setup.folder())?;
    Ok(setup)
}

/// A gateway that requires signatures is started with a plugin that has none, that was changed after signing, that is
/// signed as another, that has expired, and at last with one that is signed well.
/// Guarantee: exit code 4 with the reason and no broker dialled, until it is right; `tidegate check` says the same.
fn a_start_takes_only_what_is_signed() -> Result<()> {
    let fake = FakeBroker::start(Vec::new())?;
    let setup = strict(&fake.url(), &fake.url())?;
    let folder = setup.folder().to_owned();
    let file = setup.config_file();
    let file = file.to_str().context("the folder's name is no text")?;
    let refused = |setup: &Setup, why: &str| -> Result<()> {
        let (status, lines) = setup.fail()?;
        ensure!(status.code() == Some(4), "{why}: ended with {status}");
        ensure!(lines.has(&["count", why]), "no line says `{why}`: {:#?}", lines.all());
        let said = told(&folder, tidegate()?, &["check", "-c", file], 4)?;
        ensure!(said.contains(why), "check does not say `{why}`: {said}");
        Ok(())
    };
    refused(&setup, "not signed")?;
    sign(&folder, "1.0.0", &[])?;
    let good = component("count")?;
    fs::write(folder.join(FILE), marked(&good, 1))?;
    refused(&setup, "changed after signing")?;
    fs::write(folder.join(FILE), &good)?;
    sign(&folder, "1.0.0", &["--name", "other"])?;
    refused(&setup, "signed as `other`")?;
    sign(&folder, "1.0.0", &["--expires", "2024-02-29"])?;
    refused(&setup, "good until 2024-03-01")?;
    ensure!(fake.connections() == 0, "a broker was dialled although the plugin was not let in");
    sign(&folder, "1.0.0", &[])?;
    told(&folder, tidegate()?, &["check", "-c", file], 0)?;
    let gateway = setup.launch()?;
    ensure!(gateway.lines().has(&["the gateway runs"]), "it does not run: {:#?}", gateway.lines().all());
    Ok(())
}

/// minisign itself looks at a signature made here, and makes one, with a key of each.
/// Guarantee: both read both.
fn minisign_agrees() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (folder, minisign, tidegate) = (folder.path(), Path::new("minisign"), tidegate()?);
    fs::write(folder.join(FILE), component("count")?)?;
    keys(folder)?;
    sign(folder, "1.2.0", &[])?;
    let said = told(folder, minisign, &["-V", "-m", FILE, "-p", "ops.pub"], 0)?;
    ensure!(said.contains("version=1.2.0"), "minisign does not show the manifest: {said}");
    told(folder, minisign, &["-G", "-W", "-p", "their.pub", "-s", "their.key"], 0)?;
    for (key, public) in [("ops.key", "ops.pub"), ("their.key", "their.pub")] {
        told(folder, minisign, &["-S", "-W", "-s", key, "-m", FILE, "-t", "name=count version=2.0.0"], 0)?;
        let said = told(folder, tidegate, &["plugin", "verify", FILE, "--key", public], 0)?;
        ensure!(said.contains("count 2.0.0"), "{key}: {said}");
    }
    told(folder, tidegate, &["plugin", "sign", FILE, "--key", "their.key", "--version", "3.0.0"], 0)?;
    told(folder, minisign, &["-V", "-m", FILE, "-p", "their.pub"], 0)?;
    told(folder, tidegate, &["plugin", "verify", FILE, "--key", "ops.pub"], 4).map(drop)
}
