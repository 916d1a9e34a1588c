//! Mistakes in a config: `tests/config/NAME.toml` beside `NAME.err`, the exact text the user sees.
//!
//! `NAME.layers`, where it is there, holds what lies over the file: lines `env NAME=VALUE` and `set KEY=VALUE`.
//! After a change that is meant: `TIDEGATE_GOLDEN=write cargo test --test e2e config`, then read the diff.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;
use serde_json::Value;
use tidegate::config::{Code, Sources, load};
use tidegate_tests::binary::tidegate;
use tidegate_tests::case;

/// All cases: one for each pair, and some on the real binary.
pub fn cases() -> Vec<Trial> {
    let mut cases = vec![
        case("config::every_code_is_seen_in_a_pair", every_code_is_seen_in_a_pair),
        case("config::a_mistake_is_exit_code_3_and_shown", a_mistake_is_exit_code_3_and_shown),
        case("config::json_has_the_same_places", json_has_the_same_places),
        case("config::a_good_config_is_exit_code_0", a_good_config_is_exit_code_0),
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
    let name = |path: PathBuf| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let configs =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|extension| extension == "toml"));
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
        Ok(config) => config.warnings,
        Err(problems) => problems,
    };
    Ok(problems.render(false).replace(&format!("{}/", folder().display()), ""))
}

/// A config with mistakes.
/// Guarantee: what the user sees is exactly what was reviewed.
fn pair(name: &str) -> Result<()> {
    let (expected, shown) = (folder().join(format!("{name}.err")), shown(name)?);
    if std::env::var("TIDEGATE_GOLDEN").is_ok_and(|value| value == "write") {
        return fs::write(&expected, shown).context("cannot write the expected text");
    }
    let expected = fs::read_to_string(&expected).with_context(|| format!("`{}` is missing", expected.display()))?;
    ensure!(shown == expected, "--- expected\n{expected}\n--- shown\n{shown}");
    Ok(())
}

/// All pairs together.
/// Guarantee: no mistake is without its reviewed text, but those that depend on the machine (unit tests hold them).
fn every_code_is_seen_in_a_pair() -> Result<()> {
    let mut texts = String::new();
    for name in names()? {
        texts.push_str(&shown(&name)?);
    }
    let elsewhere = [Code::Unreadable, Code::SecretExposed, Code::Plugin];
    let unseen: Vec<_> = Code::ALL.iter().filter(|code| !elsewhere.contains(code) && !texts.contains(code.name())).collect();
    ensure!(unseen.is_empty(), "without a pair: {unseen:?}");
    Ok(())
}

fn check(name: &str, more: &[&str]) -> Result<std::process::Output> {
    let mut command = Command::new(tidegate()?);
    command.args(["check", "--color", "never", "--data-dir", "/var/lib/tidegate", "-c"]).arg(format!("{name}.toml")).args(more);
    command.current_dir(folder()).env("NO_COLOR", "1").output().context("cannot run tidegate")
}

/// The real binary on a config with many mistakes.
/// Guarantee: all of them are shown, the exit code says that it is the config, and no secret is in the text.
fn a_mistake_is_exit_code_3_and_shown() -> Result<()> {
    let output = check("many", &[])?;
    let text = String::from_utf8(output.stderr)?;
    let expected = fs::read_to_string(folder().join("many.err"))?;
    ensure!(output.status.code() == Some(3), "it ended with {}\n{text}", output.status);
    ensure!(text.trim_end() == expected.trim_end(), "{text}");
    ensure!(!text.contains("hunter2"), "a password is shown");
    Ok(())
}

/// The same as JSON.
/// Guarantee: programs get code, file, line, column and hint of every problem.
fn json_has_the_same_places() -> Result<()> {
    let output = check("many", &["-o", "json"])?;
    let json: Value = serde_json::from_slice(&output.stdout)?;
    let problems = json["problems"].as_array().context("`problems` is a list")?;
    let expected = fs::read_to_string(folder().join("many.err"))?;
    ensure!(problems.len() == expected.matches("[TG").count(), "{json}");
    for problem in problems {
        let place = format!("{}:{}:{}", problem["file"].as_str().unwrap_or_default(), problem["line"], problem["column"]);
        let code = problem["code"].as_str().unwrap_or_default();
        ensure!(expected.contains(&place) && expected.contains(code), "{problem}");
    }
    Ok(())
}

/// The examples.
/// Guarantee: they can be run as they are.
fn a_good_config_is_exit_code_0() -> Result<()> {
    for example in ["convert", "commands"] {
        let output = check(&format!("../../examples/{example}/tidegate"), &[])?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
