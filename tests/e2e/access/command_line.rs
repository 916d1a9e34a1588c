//! The command line, asking a gateway elsewhere: at its admin port, and through ssh.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tidegate::admin::Scope::{Deploy, Operate, Read};
use tidegate_tests::binary::tidegate;
use tidegate_tests::certificates::Authority;
use tidegate_tests::guests::component;
use tidegate_tests::{Broker, Gateway, cases, wait_until};

use super::{put, token, with_tokens};

pub fn cases() -> Vec<Trial> {
    cases![
        over_tls_with_a_token_every_command_asks_the_gateway_there,
        through_ssh_every_command_asks_the_gateway_there,
        what_is_about_this_machine_says_so,
    ]
}

/// What asks and changes nothing, each with its words.
const QUESTIONS: &[&[&str]] = &[
    &["status", "-o", "json"],
    &["health"],
    &["log"],
    &["plugins", "-o", "json"],
    &["history"],
    &["ledger"],
    &["parked", "list"],
    &["spool", "stat"],
    &["spool", "check"],
    &["recording", "list"],
    &["reload"],
    &["top", "--times", "1"],
];

fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Output> {
    Command::new(tidegate()?)
        .args(arguments)
        .envs(environment.iter().copied())
        .output()
        .context("cannot run tidegate")
}

fn said(output: &Output) -> String {
    let [told, said] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    format!("{told}{said}")
}

/// Nothing is known to go wrong but health, which may be degraded for a while.
fn ask_everything(way: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    for question in QUESTIONS {
        let arguments = [way, *question].concat();
        let output = run(&arguments, environment)?;
        let code = output.status.code();
        ensure!(
            code == Some(0) || (code == Some(7) && question[0] != "reload"),
            "{arguments:?}: {code:?} {}",
            said(&output)
        );
    }
    Ok(())
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is text")
}

/// A gateway with a certificate that wants one of whoever asks, and tokens; a token is renewed, and withdrawn.
/// Guarantee: the command line does there what it does here, as far as its token goes; nobody else does; a renewed token counts
/// and a withdrawn one does not, without a restart.
fn over_tls_with_a_token_every_command_asks_the_gateway_there() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let folder = tempfile::tempdir()?;
    let authority = Authority::new(folder.path(), "authority")?;
    let (own, client) = (authority.broker()?, authority.client("operator")?);
    let [cert, key, ca] = [&own.certificate, &own.key, &authority.ca].map(|path| path.display());
    let tls = format!("tls = {{ cert = \"{cert}\", key = \"{key}\", client_ca = \"{ca}\" }}");
    let gateway = with_tokens(&field, &cloud, &tls)?.launch()?;
    let url = format!("https://localhost:{}", gateway.admin().port());
    let shown = |scope: tidegate::admin::Scope| {
        let file = gateway.folder().join(format!("{}.token", scope.word()));
        file.display().to_string()
    };
    let (cert, key) = (text(&client.certificate)?, text(&client.key)?);
    let ca = text(&authority.ca)?;
    let (deploy, operate, read) = (shown(Deploy), shown(Operate), shown(Read));
    let empty = folder.path().join("empty").display().to_string();
    fs::write(&empty, "")?;
    let strange = ["--gateway", &*url, "--ca", ca];
    let named = [&strange[..], &["--client-cert", cert, "--client-key", key]].concat();
    let way = |file| [&named[..], &["--token-file", file]].concat();
    wait_until("the gateway runs", || {
        run(&[&way(&read)[..], &["status"]].concat(), &[])
            .is_ok_and(|output| output.status.success())
    })?;
    ask_everything(&way(&deploy), &[])?;
    for (way, expected) in [
        (strange.to_vec(), "certificate"),
        (named.clone(), "give --token-file"),
        (way(&empty), "it is empty"),
        (way(&read), "larger scope"),
    ] {
        let output = run(&[&way[..], &["parked", "list"]].concat(), &[])?;
        let words = said(&output);
        ensure!(
            output.status.code() == Some(1)
                && words.contains(expected)
                && !words.contains("S3CR3T"),
            "{way:?}: {words}"
        );
    }
    let lines = gateway.lines();
    let order = [&way(&operate)[..], &["log", "info", "--for", "1s"]].concat();
    let output = run(&order, &[])?;
    ensure!(output.status.success(), "{}", said(&output));
    // Who did it is known by the token's name.
    lines.wait_for(&["token operate, from 127.0.0.1"])?;
    put(gateway.folder(), Operate, "tok-renewed-S3CR3T-0123456789")?;
    let renewed = [
        ("TIDEGATE_GATEWAY", &*url),
        ("TIDEGATE_TOKEN_FILE", &*operate),
        ("TIDEGATE_CA", ca),
    ];
    let identity = ["--client-cert", cert, "--client-key", key];
    wait_until("the renewed token counts", || {
        let asked = run(&[&identity[..], &["parked", "list"]].concat(), &renewed);
        asked.is_ok_and(|output| output.status.success())
    })?;
    fs::write(folder.path().join("copy"), token(Deploy))?;
    fs::remove_file(&deploy)?;
    let copy = folder.path().join("copy").display().to_string();
    wait_until("the withdrawn token does not", || {
        let asked = run(&[&way(&copy)[..], &["parked", "list"]].concat(), &[]);
        asked.is_ok_and(|output| output.status.code() == Some(1))
    })
}

/// Stands in for ssh: notes what it was told, says what a login says, and runs the order by a shell of this machine.
fn fake_ssh(folder: &Path) -> Result<(PathBuf, String)> {
    let file = folder.join("ssh");
    let noted = folder.join("noted");
    let script = format!(
        "#!/bin/sh\necho \"$@\" >>{}\nwhile [ \"$1\" != -- ]; do shift; done\nshift 2\necho Welcome\nexec /bin/sh -c \"$*\"\n",
        noted.display()
    );
    fs::write(&file, script)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
    let own = tidegate()?.parent().context("a program lies in a folder")?;
    let path = format!("{}:{}:/usr/bin:/bin", folder.display(), own.display());
    Ok((noted, path))
}

/// A gateway that is reached by a program in the place of ssh, which logs in on this very machine.
/// Guarantee: every command does what it does over there, also with files of this side; a wrong name of a host is no option of
/// ssh; what does not get there says why.
fn through_ssh_every_command_asks_the_gateway_there() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let folder = tempfile::tempdir()?;
    let (noted, path) = fake_ssh(folder.path())?;
    let config = tidegate_tests::Config::forwarding()
        .between(&field.url(), &cloud.url())
        .step("all", &crate::scene::plugin_file("own", "own.wasm"));
    let setup = Gateway::with(config);
    fs::write(setup.folder().join("own.wasm"), component("trap")?)?;
    let data = setup.data().display().to_string();
    let gateway = setup.start()?;
    let environment = [("PATH", &*path)];
    let way = ["--gateway", "ssh://pi@barn-7:2222", "--data-dir", &data];
    let questions = |question: &&[&str]| {
        // The option belongs to the command.
        let words: Vec<&str> = [&way[..2], *question, &way[2..]].concat();
        run(&words, &environment)
    };
    for question in QUESTIONS {
        let output = questions(question)?;
        let code = output.status.code();
        let is_good = code == Some(0) || code == Some(7);
        ensure!(is_good, "{question:?}: {code:?} {}", said(&output));
    }
    let candidate = folder.path().join("new.wasm");
    fs::write(&candidate, component("trap")?)?;
    let swap: &[&str] = &["swap", "all/own", text(&candidate)?, "--detach"];
    let output = questions(&swap)?;
    ensure!(output.status.success(), "{}", said(&output));
    let backup = folder.path().join("barn.backup");
    let output = questions(&&["backup", text(&backup)?][..])?;
    ensure!(
        output.status.success() && backup.is_file(),
        "{}",
        said(&output)
    );
    let told = fs::read_to_string(&noted)?;
    ensure!(
        told.lines()
            .all(|line| line.contains("-p 2222 -- pi@barn-7 tidegate relay --data-dir '")),
        "{told}"
    );
    for (words, expected) in [
        (
            &[
                "--gateway",
                "ssh://barn-7",
                "status",
                "--data-dir",
                "/nowhere",
            ][..],
            "no gateway runs on `/nowhere`",
        ),
        (
            &["--gateway", "ssh://-oProxyCommand=x", "status"],
            "--gateway names no",
        ),
    ] {
        let output = run(words, &environment)?;
        ensure!(
            !output.status.success() && said(&output).contains(expected),
            "{words:?}: {}",
            said(&output)
        );
    }
    drop(gateway);
    Ok(())
}

/// Commands that are about this machine, with a gateway elsewhere named.
/// Guarantee: each says so and does nothing; those that have to do with no gateway do not mind.
fn what_is_about_this_machine_says_so() -> Result<()> {
    let way = ["--gateway", "ssh://barn-7"];
    for command in [
        &["run"][..],
        &["check"],
        &["config", "show"],
        &["doctor"],
        &["restore", "nothing"],
        &["replay"],
    ] {
        let output = run(&[&way[..], command].concat(), &[])?;
        let words = said(&output);
        let is_said = words.contains("about this machine only") && words.contains(command[0]);
        ensure!(
            output.status.code() == Some(2) && is_said,
            "{command:?}: {words}"
        );
    }
    let output = run(
        &["plugin", "new", "--help"],
        &[("TIDEGATE_GATEWAY", "ssh://barn-7")],
    )?;
    ensure!(output.status.success(), "{}", said(&output));
    Ok(())
}
