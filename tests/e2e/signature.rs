//! Signed plugins: who may bring one in.

mod lost;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::ensure;
use anyhow::{Context, Result};
use libtest_mimic::Trial;
use tidegate_tests::Config;
use tidegate_tests::Gateway;
use tidegate_tests::Setup;
use tidegate_tests::binary::tidegate;
use tidegate_tests::cases;
use tidegate_tests::fake::FakeBroker;
use tidegate_tests::needs;
use tidegate_tests::wait_until;

use crate::guest::{component, marked};
use crate::scene::plugin_file;
use crate::tools::{self, json};

pub fn cases() -> Vec<Trial> {
    let by_minisign = |name: &str, run| needs(name, "minisign", has_minisign(), run);
    let mut cases = cases![
        a_start_takes_only_what_is_signed,
        a_file_is_taken_when_its_signature_has_come,
        an_older_version_comes_back_only_when_asked,
        a_new_key_takes_over_what_runs,
    ];
    cases.extend(cases![by_minisign; minisign_agrees]);
    cases.extend(lost::cases());
    cases
}

const FILE: &str = "count.wasm";

fn has_minisign() -> bool {
    Command::new("minisign")
        .arg("-v")
        .output()
        .is_ok_and(|output| output.status.success())
}

fn run(folder: &Path, program: &Path, arguments: &[&str]) -> Result<Output> {
    Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .output()
        .with_context(|| format!("cannot run {program:?}"))
}

/// Runs a command in `folder` that must end with `code`; what it printed.
fn told(folder: &Path, program: &Path, arguments: &[&str], code: i32) -> Result<String> {
    let output = run(folder, program, arguments)?;
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    ensure!(
        output.status.code() == Some(code),
        "{arguments:?} ended with {}, not {code}: {text}",
        output.status
    );
    Ok(text)
}

/// A pair of keys in `folder`: `ops.key` and `ops.pub`.
fn keys(folder: &Path) -> Result<()> {
    told(
        folder,
        tidegate()?,
        &["plugin", "keygen", "-n", "ops", "--no-password"],
        0,
    )
    .map(drop)
}

/// Signs the component as `count`, of this version.
fn sign(folder: &Path, version: &str, more: &[&str]) -> Result<()> {
    let arguments = [
        &[
            "plugin",
            "sign",
            FILE,
            "--key",
            "ops.key",
            "--version",
            version,
        ],
        more,
    ]
    .concat();
    told(folder, tidegate()?, &arguments, 0).map(drop)
}

/// A config that wants signatures, with the component and the keys beside it.
fn strict(field: &str, cloud: &str) -> Result<Setup> {
    let config = Config::forwarding()
        .step("all", &plugin_file("count", FILE))
        .between(field, cloud)
        .add(
            "gateway",
            "plugin_keys = [\"ops.pub\"]\nrequire_signature = true",
        );
    let setup = Gateway::with(config);
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
        ensure!(
            lines.has(&["count", why]),
            "no line says `{why}`: {:#?}",
            lines.all()
        );
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
    refused(&setup, "expired on 2024-03-01")?;
    ensure!(
        fake.connections() == 0,
        "a broker was dialled although the plugin was not let in"
    );
    sign(&folder, "1.0.0", &[])?;
    told(&folder, tidegate()?, &["check", "-c", file], 0)?;
    let gateway = setup.launch()?;
    gateway.lines().wait_for(&["the gateway runs"])
}

/// Digest of what runs.
fn running(folder: &Path) -> Result<String> {
    let plugins = json(folder, &["plugins"], 0)?;
    Ok(plugins[0]["digest"]
        .as_str()
        .context("a plugin has a digest")?
        .to_owned())
}

/// What an order to the running gateway printed.
fn order(folder: &Path, arguments: &[&str], code: i32) -> Result<String> {
    tools::told(folder, arguments, code).map(|(out, error)| out + &error)
}

fn wait_running(folder: &Path, component: &[u8]) -> Result<()> {
    let wanted = tidegate::trust::digest(component);
    wait_until("the version runs", || {
        running(folder).is_ok_and(|digest| digest == wanted)
    })
}

/// On a running gateway a component is replaced first and signed afterwards.
/// Guarantee: what ran goes on until the signature is there; then the new version is taken by itself.
fn a_file_is_taken_when_its_signature_has_come() -> Result<()> {
    let fake = FakeBroker::start(Vec::new())?;
    let setup = strict(&fake.url(), &fake.url())?;
    let (folder, good) = (setup.folder().to_owned(), component("count")?);
    sign(&folder, "1.0.0", &[])?;
    let gateway = setup.launch()?;
    let next = marked(&good, 1);
    gateway.replace(FILE, &next)?;
    wait_until("it is refused", || {
        gateway
            .lines()
            .has(&["the running version stays", "changed after signing"])
    })?;
    ensure!(
        running(&folder)? == tidegate::trust::digest(&good),
        "something else runs"
    );
    sign(&folder, "1.0.1", &[])?;
    wait_running(&folder, &next)
}

/// A signed version gives way to a higher one; then it comes again as a file, by `swap`, by `swap --downgrade`, by
/// `rollback`, and as a file while the gateway is off.
/// Guarantee: it is taken only when an operator asks for just that; a start that finds it falls back to what ran.
fn an_older_version_comes_back_only_when_asked() -> Result<()> {
    let fake = FakeBroker::start(Vec::new())?;
    let setup = strict(&fake.url(), &fake.url())?;
    let (folder, low, high) = (
        setup.folder().to_owned(),
        component("count")?,
        marked(&component("count")?, 1),
    );
    sign(&folder, "1.9.0", &[])?;
    let older = fs::read(folder.join(format!("{FILE}.minisig")))?;
    let file = folder
        .join(FILE)
        .to_str()
        .context("the folder's name is no text")?
        .to_owned();
    let gateway = setup.launch()?;
    gateway.replace(FILE, &high)?;
    sign(&folder, "1.10.0", &[])?;
    wait_running(&folder, &high)?;

    let mark = gateway.lines().count();
    fs::write(folder.join(format!("{FILE}.minisig")), &older)?;
    gateway.replace(FILE, &low)?;
    let why = "it is version 1.9.0, and 1.10.0 was confirmed here";
    wait_until("it is refused", || {
        gateway
            .lines()
            .has_since(mark, &["the running version stays", why])
    })?;
    let said = order(&folder, &["swap", "count", &file, "--replace"], 6)?;
    ensure!(said.contains(why), "{said}");
    order(&folder, &["swap", "count", &file, "--downgrade"], 0)?;
    wait_running(&folder, &low)?;
    order(&folder, &["rollback", "count"], 0)?;
    wait_running(&folder, &high)?;
    order(
        &folder,
        &[
            "rollback",
            "count",
            "--to",
            &tidegate::trust::digest(&low)[..12],
        ],
        0,
    )?;
    wait_running(&folder, &low)?;
    order(
        &folder,
        &[
            "rollback",
            "count",
            "--to",
            &tidegate::trust::digest(&high)[..12],
        ],
        0,
    )?;

    let (_, setup) = gateway.stop()?;
    let other = marked(&low, 7);
    fs::write(folder.join(FILE), &other)?;
    sign(&folder, "1.9.9", &[])?;
    let gateway = setup.launch()?;
    wait_until("the start says why", || {
        gateway
            .lines()
            .has(&["the last good version of it runs", "it is version 1.9.9"])
    })?;
    wait_running(&folder, &high)
}

/// While the gateway is off its key is exchanged for a new one, with which what runs is signed anew.
/// Guarantee: it starts with what ran, by the new signature, and from then on without the one beside the file.
fn a_new_key_takes_over_what_runs() -> Result<()> {
    let fake = FakeBroker::start(Vec::new())?;
    let setup = strict(&fake.url(), &fake.url())?;
    let (folder, good) = (setup.folder().to_owned(), component("count")?);
    sign(&folder, "1.0.0", &[])?;
    let (_, setup) = setup.launch()?.stop()?;
    for file in ["ops.key", "ops.pub"] {
        fs::remove_file(folder.join(file))?;
    }
    keys(&folder)?;
    sign(&folder, "1.0.0", &[])?;
    let gateway = setup.launch()?;
    wait_running(&folder, &good)?;
    let (_, setup) = gateway.stop()?;
    fs::remove_file(folder.join(format!("{FILE}.minisig")))?;
    let _gateway = setup.launch()?;
    wait_running(&folder, &good)
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
    ensure!(
        said.contains("version=1.2.0"),
        "minisign does not show the manifest: {said}"
    );
    told(
        folder,
        minisign,
        &["-G", "-W", "-p", "their.pub", "-s", "their.key"],
        0,
    )?;
    for (key, public) in [("ops.key", "ops.pub"), ("their.key", "their.pub")] {
        told(
            folder,
            minisign,
            &[
                "-S",
                "-W",
                "-s",
                key,
                "-m",
                FILE,
                "-t",
                "name=count version=2.0.0",
            ],
            0,
        )?;
        let said = told(
            folder,
            tidegate,
            &["plugin", "verify", FILE, "--key", public],
            0,
        )?;
        ensure!(said.contains("count 2.0.0"), "{key}: {said}");
    }
    told(
        folder,
        tidegate,
        &[
            "plugin",
            "sign",
            FILE,
            "--key",
            "their.key",
            "--version",
            "3.0.0",
        ],
        0,
    )?;
    told(folder, minisign, &["-V", "-m", FILE, "-p", "their.pub"], 0)?;
    told(
        folder,
        tidegate,
        &["plugin", "verify", FILE, "--key", "ops.pub"],
        4,
    )
    .map(drop)
}
