//! Mistakes in a config: `tests/config/NAME.toml` beside `NAME.err`, the exact text the user sees.
//!
//! `NAME.layers`, where it is there, holds what lies over the file: lines `env NAME=VALUE` and `set KEY=VALUE`.
//! Of a NAME that begins with `strict` it is what `check --strict` shows.
//! After a change that is meant: `TIDEGATE_GOLDEN=write cargo test --test e2e config`, then read the diff.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;
use serde_json::Value;
use tidegate::config::{ProblemCode, Secrets, Sources, load};
use tidegate_tests::binary::tidegate;
use tidegate_tests::{case, cases};

/// All cases: one for each pair, and some on the real binary.
pub fn cases() -> Vec<Trial> {
    let mut cases = cases![
        every_code_is_seen_in_a_pair,
        a_mistake_is_exit_code_3_and_shown,
        json_has_the_same_places,
        a_good_config_is_exit_code_0,
        no_secret_is_shown_wherever_it_stands,
        a_file_of_mistakes_is_bounded,
    ];
    for name in names().unwrap_or_default() {
        cases.push(case(&format!("config::{name}"), move || pair(&name)));
    }
    cases
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config")
}

fn names() -> Result<BTreeSet<String>> {
    let entries = fs::read_dir(folder()).context("the tests have a folder `config`")?;
    let name = |path: PathBuf| {
        path.file_stem()
            .map(|stem| stem.to_string_lossy().into_owned())
    };
    let configs = entries.flatten().map(|entry| entry.path()).filter(|path| {
        path.extension()
            .is_some_and(|extension| extension == "toml")
    });
    Ok(configs.filter_map(name).collect())
}

/// What the config `name` is loaded from; nothing of this machine's environment is in it.
fn sources(name: &str) -> Result<Sources> {
    let mut sources = Sources {
        path: folder().join(format!("{name}.toml")),
        env: BTreeMap::new(),
        sets: Vec::new(),
        data_dir: Some("/var/lib/tidegate".into()),
        cores: 4,
        secrets: Secrets::default(),
    };
    let layers = fs::read_to_string(folder().join(format!("{name}.layers"))).unwrap_or_default();
    for line in layers.lines() {
        match line.split_once(' ') {
            Some(("env", variable)) => {
                let (name, value) = variable.split_once('=').context("`env` wants NAME=VALUE")?;
                sources.env.insert(name.to_owned(), value.to_owned());
            }
            Some(("set", set)) => sources.sets.push(set.to_owned()),
            _ => bail!("`{line}` is neither `env NAME=VALUE` nor `set KEY=VALUE`"),
        }
    }
    Ok(sources)
}

fn shown(name: &str) -> Result<String> {
    let problems = match load(&sources(name)?) {
        Ok(config) if name.starts_with("strict") => config.strict().problems,
        Ok(config) => config.warnings,
        Err(problems) => problems,
    };
    Ok(problems
        .render(false)
        .replace(&format!("{}/", folder().display()), ""))
}

/// A config with mistakes.
/// Guarantee: what the user sees is exactly what was reviewed.
fn pair(name: &str) -> Result<()> {
    let (expected, shown) = (folder().join(format!("{name}.err")), shown(name)?);
    if std::env::var("TIDEGATE_GOLDEN").is_ok_and(|value| value == "write") {
        return fs::write(&expected, shown).context("cannot write the expected text");
    }
    let expected = fs::read_to_string(&expected)
        .with_context(|| format!("`{}` is missing", expected.display()))?;
    ensure!(
        shown == expected,
        "--- expected\n{expected}\n--- shown\n{shown}"
    );
    Ok(())
}

/// All pairs together.
/// Guarantee: no mistake is without its reviewed text, but those that depend on the machine (unit tests hold them).
fn every_code_is_seen_in_a_pair() -> Result<()> {
    let mut texts = String::new();
    for name in names()? {
        texts.push_str(&shown(&name)?);
    }
    let elsewhere = [
        ProblemCode::Unreadable,
        ProblemCode::SecretExposed,
        ProblemCode::SecretElsewhere,
        ProblemCode::DataDir,
        ProblemCode::Plugin,
    ];
    let unseen: Vec<_> = ProblemCode::ALL
        .iter()
        .filter(|code| !elsewhere.contains(code) && !texts.contains(code.name()))
        .collect();
    ensure!(unseen.is_empty(), "without a pair: {unseen:?}");
    Ok(())
}

fn check(name: &str, more: &[&str]) -> Result<std::process::Output> {
    let mut command = Command::new(tidegate()?);
    command
        .args([
            "check",
            "--color",
            "never",
            "--data-dir",
            "/var/lib/tidegate",
            "-c",
        ])
        .arg(format!("{name}.toml"))
        .args(more);
    command
        .current_dir(folder())
        .env("NO_COLOR", "1")
        .output()
        .context("cannot run tidegate")
}

/// The real binary on a config with many mistakes.
/// Guarantee: all of them are shown, the exit code says that it is the config, and no secret is in the text.
fn a_mistake_is_exit_code_3_and_shown() -> Result<()> {
    let output = check("many", &[])?;
    let text = String::from_utf8(output.stderr)?;
    let expected = fs::read_to_string(folder().join("many.err"))?;
    ensure!(
        output.status.code() == Some(3),
        "it ended with {}\n{text}",
        output.status
    );
    ensure!(text.trim_end() == expected.trim_end(), "{text}");
    ensure!(!text.contains("hunter2"), "a password is shown");
    Ok(())
}

/// The same as JSON.
/// Guarantee: programs get code, file, line, column and hint of every problem.
fn json_has_the_same_places() -> Result<()> {
    let output = check("many", &["-o", "json"])?;
    let json: Value = serde_json::from_slice(&output.stdout)?;
    let problems = json["problems"]
        .as_array()
        .context("`problems` is a list")?;
    let expected = fs::read_to_string(folder().join("many.err"))?;
    ensure!(problems.len() == expected.matches("[TG").count(), "{json}");
    for problem in problems {
        let place = format!(
            "{}:{}:{}",
            problem["file"].as_str().unwrap_or_default(),
            problem["line"],
            problem["column"]
        );
        let code = problem["code"].as_str().unwrap_or_default();
        ensure!(
            expected.contains(&place) && expected.contains(code),
            "{problem}"
        );
    }
    Ok(())
}

/// What must not be shown, in each place it may stand in by mistake: as a line of the uplink's table, or elsewhere.
const PLANTED: &[(&str, &str)] = &[
    ("password = \"S3CR3T\"", ""),
    ("pasword = \"S3CR3T\"", ""),
    ("passwd = \"S3CR3T\"", ""),
    ("token = \"S3CR3T\"", ""),
    ("anything = { deep = [\"S3CR3T\"] }", ""),
    ("user = \"me\"\npassword = \"S3CR3T", ""),
    ("password = S3CR3T", ""),
    ("pasword = S3CR3T", ""),
    ("password = { file = \"S3CR3T\" }", ""),
    ("password = { env = \"S3CR3T\" }", ""),
    ("password = { credential = \"S3CR3T\" }", ""),
    ("password = { value = \"S3CR3T\" }", ""),
    ("password = [\"S3CR3T\"]", ""),
    ("password = \"\"\"\nS3CR3T\n\"\"\"", ""),
    ("tls = { key = \"S3CR3T\" }", ""),
    (
        "tls = { ca = \"\"\"-----BEGIN CERTIFICATE-----\nS3CR3T\n-----END CERTIFICATE-----\"\"\" }",
        "",
    ),
    (
        "client_id = \"\"\"-----BEGIN PRIVATE KEY-----\nS3CR3T\"\"\"",
        "",
    ),
    ("tls = \"S3CR3T\"", ""),
    (
        "tls = { key = \"\"\"-----BEGIN PRIVATE KEY-----\nab/S3CR3T/cd=\n\"\"\" }",
        "",
    ),
    ("password = \"\"\"-----BEGIN PRIVATE KEY-----\nS3CR3T=", ""),
    (
        "-----BEGIN PRIVATE KEY-----\nS3CR3T\n-----END PRIVATE KEY-----",
        "",
    ),
    ("", "[spool]\nencrypt = \"S3CR3T\"\n"),
    ("", "[spool]\nencrypt = { key = \"S3CR3T\" }\n"),
    (
        "",
        "[spool]\nencrypt = { key = { file = \"S3CR3T\" }, old_keys = [\"S3CR3T\"] }\n",
    ),
    ("", "[uplnk.cloud]\npassword = \"S3CR3T\"\n"),
    ("", "[uplink.other]\nurl = \"mqtt://me:S3CR3T@host\"\n"),
    ("", "[uplink.other]\nurl = \"me:S3CR3T@host\"\n"),
    ("", "[uplink.other]\nurl = mqtt://me:S3CR3T@host\n"),
    ("", "[uplink.other]\nurl = \"mqtt://me:S3CR3T@host\n"),
    ("", "[uplink.other]\nurl = \"mqtt://host/?token=S3CR3T\"\n"),
    (
        "",
        "[uplink.other]\nurl = \"mqtt://host\"\nqos = \"mqtt://me:S3CR3T@host\"\n",
    ),
];

/// Each of them in a config, as text and as JSON, and some by `--set` and by variables; one with the real binary.
/// Guarantee: a secret beside its place is in no output.
fn no_secret_is_shown_wherever_it_stands() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("tidegate.toml");
    let tail = "[source.field]\nurl = \"mqtt://127.0.0.1:1883\"\n[flow.all]\nfrom = \"field\"\ntopics = \"d/{device}\"\nto = \"cloud:telemetry\"\n";
    let told = |sets: &[&str], variable: Option<(&str, &str)>| -> Result<()> {
        let sources = Sources {
            path: file.clone(),
            env: variable
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            sets: sets.iter().map(|set| (*set).to_owned()).collect(),
            data_dir: Some(folder.path().join("data")),
            cores: 1,
            secrets: Secrets::default(),
        };
        let Err(problems) = load(&sources) else {
            bail!("no mistake in\n{}", fs::read_to_string(&file)?)
        };
        let text = format!("{}{}", problems.render(false), problems.to_json());
        ensure!(
            !text.contains("S3CR3T"),
            "shown of\n{}\n{text}",
            fs::read_to_string(&file)?
        );
        Ok(())
    };
    for (line, table) in PLANTED {
        fs::write(
            &file,
            format!("[uplink.cloud]\nurl = \"mqtt://127.0.0.1:1884\"\n{line}\n{table}{tail}"),
        )?;
        told(&[], None)?;
    }
    fs::write(
        &file,
        format!("[uplink.cloud]\nurl = \"mqtt://127.0.0.1:1884\"\n{tail}"),
    )?;
    for set in [
        "uplink.cloud.password=S3CR3T",
        "uplink.cloud.pasword=S3CR3T",
        "uplink.cloud.password:S3CR3T",
        "S3CR3T",
        "uplink.cloud.password=\"S3CR3T",
        "uplink.cloud.url=mqtt://me:S3CR3T@host",
        "uplink.cloud.password.x=S3CR3T",
    ] {
        told(&[set], None)?;
    }
    for name in [
        "TIDEGATE_UPLINK__CLOUD__PASSWORD",
        "TIDEGATE_UPLINK__CLOUD__PASWORD",
        "TIDEGATE_UPLINK_CLOUD_PASSWORD",
    ] {
        told(&[], Some((name, "S3CR3T")))?;
        told(&[], Some((name, "\"S3CR3T")))?;
    }
    for command in ["check", "run"] {
        let mut program = Command::new(tidegate()?);
        program
            .args([command, "--data-dir"])
            .arg(folder.path().join("data"))
            .arg("-c")
            .arg(&file);
        let output = program
            .args(["--set", "uplink.cloud.pasword=S3CR3T"])
            .output()?;
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        ensure!(
            output.status.code() == Some(3) && !text.contains("S3CR3T"),
            "{}: {text}",
            output.status
        );
    }
    Ok(())
}

/// 100,000 unknown keys, and a file beyond all measure.
/// Guarantee: the first mistakes are shown and the others counted; what is no config is not read.
fn a_file_of_mistakes_is_bounded() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("tidegate.toml");
    let mistakes: String = (0..90_000).map(|number| format!("k{number}=1\n")).collect();
    fs::write(
        &file,
        format!("[uplink.cloud]\nurl = \"mqtt://127.0.0.1:1884\"\n{mistakes}"),
    )?;
    let check = || -> Result<String> {
        let output = Command::new(tidegate()?)
            .args(["check", "-c"])
            .arg(&file)
            .output()?;
        ensure!(
            output.status.code() == Some(3),
            "it ended with {}",
            output.status
        );
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let text = check()?;
    ensure!(
        text.matches("error[").count() == 20
            && text.contains("more are not shown")
            && text.len() < 20_000,
        "{text}"
    );
    fs::File::create(&file)?.set_len(600 << 20)?;
    ensure!(check()?.contains("are read at most"), "{}", check()?);
    Ok(())
}

/// The examples.
/// Guarantee: they can be run as they are.
fn a_good_config_is_exit_code_0() -> Result<()> {
    for example in ["convert", "commands", "meter", "serial", "tasks"] {
        let output = check(&format!("../../examples/{example}/tidegate"), &[])?;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}
