//! What the command line answers to mistakes and to questions.

use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::binary::{tidegate, workspace};
use tidegate_tests::fake::FakeBroker;
use tidegate_tests::{Config, Gateway, cases};

use crate::scene::plugin_file;

pub fn cases() -> Vec<Trial> {
    cases![
        config_mistakes_are_all_shown_and_nothing_starts,
        a_plugin_at_fault_is_exit_code_4,
        a_missing_config_is_a_clear_error,
        a_damaged_certificate_is_a_config_mistake,
        the_config_of_the_packages_passes_its_check,
        the_examples_pass_their_check,
        help_names_every_command,
        what_a_full_disk_does_not_take_is_an_error,
        a_config_that_is_not_there_leads_to_no_other_gateway,
    ]
}

fn run(arguments: &[&str]) -> Result<Output> {
    Command::new(tidegate()?)
        .args(arguments)
        .current_dir(workspace())
        .output()
        .context("cannot run tidegate")
}

/// A config with three mistakes, one of them in a flow, on a gateway that could dial a broker.
/// Guarantee: exit code 3, each mistake with line and hint, and not one connection was made.
fn config_mistakes_are_all_shown_and_nothing_starts() -> Result<()> {
    let fake = FakeBroker::start(Vec::new())?;
    let config = Config::forwarding()
        .between(&fake.url(), &fake.url())
        .set("source.field.qso", 1)
        .set("flow.all.to.out", "clod:telemetry")
        .set("flow.all.lanes", "three");
    let (status, lines) = Gateway::with(config).fail()?;
    ensure!(status.code() == Some(3), "ended with {status}");
    for part in ["qso", "qos", "clod", "cloud", "lanes", "tidegate.toml:"] {
        ensure!(lines.has(&[part]), "`{part}` is not in {:#?}", lines.all());
    }
    ensure!(
        fake.connections() == 0,
        "a broker was dialled although the config is wrong"
    );
    Ok(())
}

/// A plugin file that is no component.
/// Guarantee: exit code 4, and the error names the plugin.
fn a_plugin_at_fault_is_exit_code_4() -> Result<()> {
    let fake = FakeBroker::start(Vec::new())?;
    let setup = Gateway::with(
        Config::forwarding()
            .step("all", &plugin_file("broken", "broken.wasm"))
            .between(&fake.url(), &fake.url()),
    );
    std::fs::write(
        setup.folder().join("broken.wasm"),
        b"\0asm and then nothing good",
    )?;
    let (status, lines) = setup.fail()?;
    ensure!(status.code() == Some(4), "ended with {status}");
    ensure!(
        lines.has(&["broken"]),
        "no line names the plugin: {:#?}",
        lines.all()
    );
    ensure!(
        fake.connections() == 0,
        "a broker was dialled although a plugin is at fault"
    );
    Ok(())
}

/// A path where there is no config.
/// Guarantee: exit code 3, and the error names the path.
fn a_missing_config_is_a_clear_error() -> Result<()> {
    let output = run(&["run", "--config", "/nowhere/tidegate.toml"])?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(3) && said.contains("/nowhere/tidegate.toml"),
        "{}: {said}",
        output.status
    );
    Ok(())
}

/// A CA file that holds no certificate.
/// Guarantee: `tidegate check` finds it, with the file's name, and not the first handshake.
fn a_damaged_certificate_is_a_config_mistake() -> Result<()> {
    let config = Config::forwarding()
        .between("mqtts://127.0.0.1:1", "mqtt://127.0.0.1:1")
        .put("source.field", "tls = { ca = \"authority.pem\" }");
    let setup = Gateway::with(config);
    std::fs::write(setup.folder().join("authority.pem"), "not a certificate")?;
    let output = run(&[
        "check",
        "--config",
        &setup.config_file().display().to_string(),
    ])?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(3),
        "ended with {}: {said}",
        output.status
    );
    ensure!(
        said.contains("authority.pem"),
        "nothing names the file: {said}"
    );
    Ok(())
}

/// `tidegate check` on the config of the packages, with the data folder that their unit names.
/// Guarantee: who installs a package has a gateway that runs.
fn the_config_of_the_packages_passes_its_check() -> Result<()> {
    let package = workspace().join("host/package");
    let unit = std::fs::read_to_string(package.join("tidegate.service"))?;
    let data = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart=")?.split_once("--data-dir "))
        .map(|(_, folder)| folder)
        .context("the unit names no data folder")?;
    let config = package.join("tidegate.toml").display().to_string();
    let output = run(&["check", "--config", &config, "--data-dir", data])?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {said}", output.status);
    let own = run(&[
        "check",
        "--config",
        &config,
        "--data-dir",
        "/var/lib/tidegate-hello",
    ])?;
    ensure!(
        !own.status.success(),
        "a data folder of its own is not looked at"
    );
    Ok(())
}

/// `tidegate check` on every config under `examples`.
/// Guarantee: what we show people is right.
fn the_examples_pass_their_check() -> Result<()> {
    let mut checked = 0;
    for entry in std::fs::read_dir(workspace().join("examples"))? {
        let file = entry?.path().join("tidegate.toml");
        if file.is_file() {
            let output = run(&["check", "--config", &file.display().to_string()])?;
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(
                output.status.success(),
                "`{}`: {}: {said}",
                file.display(),
                output.status
            );
            checked += 1;
        }
    }
    ensure!(checked > 0, "there are no examples");
    Ok(())
}

/// `tidegate --help`.
/// Guarantee: whoever asks learns what there is.
fn help_names_every_command() -> Result<()> {
    let output = run(&["--help"])?;
    let said = String::from_utf8_lossy(&output.stdout);
    for command in ["run", "check", "demo", "sim", "plugin"] {
        ensure!(said.contains(command), "`{command}` is not in {said}");
    }
    ensure!(output.status.success(), "ended with {}", output.status);
    Ok(())
}

/// Commands that print, to a disk that takes nothing.
/// Guarantee: none ends as if all were said, and each says why.
fn what_a_full_disk_does_not_take_is_an_error() -> Result<()> {
    for arguments in [
        &["check", "--manual"][..],
        &[
            "check",
            "-o",
            "json",
            "-c",
            "examples/convert/tidegate.toml",
        ],
    ] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full")?;
        let output = Command::new(tidegate()?)
            .args(arguments)
            .current_dir(workspace())
            .stdout(full)
            .output()?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(1) && error.contains("standard output did not take"),
            "{arguments:?} ended with {}: {error}",
            output.status
        );
    }
    Ok(())
}

/// A gateway runs, and commands name a config that is not there, or one that no gateway was started with.
/// Guarantee: they do nothing to the one that runs.
fn a_config_that_is_not_there_leads_to_no_other_gateway() -> Result<()> {
    let nobody = FakeBroker::start(Vec::new())?;
    let config = Config::forwarding().between(&nobody.url(), &nobody.url());
    let gateway = Gateway::with(&config).launch()?;
    let missing = gateway.folder().join("nope.toml");
    let other = gateway.folder().join("other.toml");
    std::fs::write(&other, config.to_string())?;
    // Beside this one those of other cases may run: then it is not clear which one is meant.
    for (file, codes) in [(&missing, &[3][..]), (&other, &[5, 2])] {
        let file = file.to_string_lossy();
        for command in [
            &["status"][..],
            &["spool", "drop", "cloud:telemetry", "--yes"],
            &["reload"],
        ] {
            let output = run(&[command, &["-c", &*file]].concat())?;
            let error = String::from_utf8_lossy(&output.stderr);
            ensure!(
                output
                    .status
                    .code()
                    .is_some_and(|code| codes.contains(&code)),
                "{command:?} -c {file} ended with {}: {error}",
                output.status
            );
        }
    }
    Ok(())
}
