//! From an idea to a plugin that runs: what its author types, and what he is told.

mod bench;
mod cookbook;
mod languages;
mod made;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tempfile::TempDir;
use tidegate_tests::binary::{tidegate, workspace};
use tidegate_tests::cases;

use crate::guest::component;

pub fn cases() -> Vec<Trial> {
    let mut cases = cases![
        every_shipped_plugin_does_what_its_cases_say,
        a_case_that_fails_is_shown_with_its_line_and_both_sides,
        what_a_terminal_would_obey_is_shown_by_its_number,
        a_limit_that_is_met_is_named,
        mistakes_in_a_file_are_told_with_their_lines,
        one_case_is_run_by_its_name,
        a_flow_of_a_config_is_tested_as_it_stands,
        what_goes_in_by_hand_comes_out_readable_and_pipes_into_itself,
    ];
    cases.extend(bench::cases());
    cases.extend(cookbook::cases());
    cases.extend(made::cases());
    cases.extend(languages::cases());
    cases
}

/// What a command said: standard output, standard error, exit code.
struct Told {
    out: String,
    err: String,
    code: Option<i32>,
}

impl Told {
    fn expect(&self, code: i32, parts: &[&str]) -> Result<()> {
        let Self { out, err, .. } = self;
        let is_there = parts
            .iter()
            .all(|part| out.contains(part) || err.contains(part));
        ensure!(
            self.code == Some(code) && is_there,
            "code {:?} (not {code}), or one of {parts:?} is missing:\n{out}\n{err}",
            self.code
        );
        Ok(())
    }
}

fn told(folder: &Path, arguments: &[&str], input: &str) -> Result<Told> {
    let mut command = Command::new(tidegate()?);
    command.args(arguments).current_dir(folder).envs(cargo());
    run(&mut command, input)
}

/// No network, and one place for what all projects are built of.
fn cargo() -> [(&'static str, std::path::PathBuf); 2] {
    [
        ("CARGO_NET_OFFLINE", "true".into()),
        ("CARGO_TARGET_DIR", workspace().join("target/author")),
    ]
}

fn run(command: &mut Command, input: &str) -> Result<Told> {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot run {command:?}"))?;
    let mut stdin = child.stdin.take().context("a child has an input")?;
    let input = input.to_owned();
    // It may end before it has read all.
    let writer = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let output = child.wait_with_output()?;
    writer
        .join()
        .map_err(|_| anyhow::anyhow!("the writer panicked"))?;
    let text = |bytes| String::from_utf8(bytes).context("an output is no text");
    Ok(Told {
        out: text(output.stdout)?,
        err: text(output.stderr)?,
        code: output.status.code(),
    })
}

fn with_cases(text: &str) -> Result<TempDir> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("a.cases"), text)?;
    Ok(folder)
}

/// Every folder of `plugins` that has code: its cases, on the plugin in this binary.
/// Guarantee: what each plugin is documented to do it does, in the sandbox and within the limits of a gateway.
fn every_shipped_plugin_does_what_its_cases_say() -> Result<()> {
    let mut tested = 0;
    for entry in fs::read_dir(workspace().join("plugins"))? {
        let folder = entry?.path();
        let name = folder
            .file_name()
            .and_then(|name| name.to_str())
            .context("a folder has a name")?;
        if name == "sdk" || !folder.join("Cargo.toml").is_file() {
            continue;
        }
        let file = folder.join("cases").join(format!("{name}.cases"));
        ensure!(file.is_file(), "the plugin `{name}` has no cases");
        let file = file.to_str().context("a path is text")?;
        let plugin = format!("builtin:{name}");
        told(workspace(), &["plugin", "test", &plugin, file], "")?
            .expect(0, &[" 0 failed", name])?;
        tested += 1;
    }
    ensure!(tested > 10, "only {tested} plugins were tested");
    Ok(())
}

/// A case that expects another number, one that expects another reason, one that forbids what comes.
/// Guarantee: exit code 1, the line, what was expected above what came, and a mark where they part; the same as JSON.
fn a_case_that_fails_is_shown_with_its_line_and_both_sides() -> Result<()> {
    let folder = with_cases(
        "settings = { field = \"t\" }\ncase one\n[devices/d1/t] 1\n> [devices/d1/t] {\"t\": 2}\n\ncase two\n[devices/d1/t] x\n> rejected no such words\n\ncase three\n[devices/d1/t] 1\n\ncase good\n[devices/d1/t] 1\n> [devices/d1/t] { \"t\": 1 }\n",
    )?;
    let failed = told(folder.path(), &["plugin", "test", "number", "a.cases"], "")?;
    failed.expect(
        1,
        &[
            "ok    good",
            "FAIL  one",
            "a.cases:3: [devices/d1/t] 1",
            "FAIL  two",
            "a.cases:7",
            "FAIL  three",
            "4 cases: 1 passed, 3 failed",
        ],
    )?;
    let shown = "        expected  [devices/d1/t] {\"t\":2}\n        got       [devices/d1/t] {\"t\":1}\n                                      ^\n";
    ensure!(failed.out.contains(shown), "{}", failed.out);
    let json = told(
        folder.path(),
        &["plugin", "test", "number", "a.cases", "-o", "json"],
        "",
    )?;
    json.expect(1, &[])?;
    let document: serde_json::Value = serde_json::from_str(&json.out)?;
    ensure!(
        document["failed"] == 3 && document["cases"][0]["differences"][0]["line"] == 3,
        "{document}"
    );
    ensure!(
        document["cases"][0]["differences"][0]["got"][0] == "[devices/d1/t] {\"t\":1}",
        "{document}"
    );
    Ok(())
}

/// Control characters, a megabyte, bytes that are no text, letters that turn the direction, as payload, topic and name.
/// Guarantee: a report is short and a terminal obeys none of it.
fn what_a_terminal_would_obey_is_shown_by_its_number() -> Result<()> {
    let folder = with_cases(
        "settings = { within = \"1m\" }\ncase hostile \u{202e}name\n[devices/d1/t\u{202e}] b\"\\x1b[2J\\xff\\x00\" * 3\n> filtered\n\ncase long\n[devices/d1/t] b\"ab\" * 500000\n> [devices/d1/t] b\"ab\" * 499999\n",
    )?;
    let failed = told(folder.path(), &["plugin", "test", "dedupe", "a.cases"], "")?;
    failed.expect(1, &["b\"\\x1b[2J\\xff\\x00\\x1b", "0 passed, 2 failed"])?;
    let all = format!("{}{}", failed.out, failed.err);
    ensure!(
        !all.chars()
            .any(|letter| letter == '\u{202e}' || letter.is_control() && letter != '\n'),
        "{all:?}"
    );
    ensure!(all.len() < 3_000, "{} bytes are shown", all.len());
    Ok(())
}

/// Guests that panic, never come back and take memory without end.
/// Guarantee: the headline says what happened, and by which setting; the messages around it pass.
fn a_limit_that_is_met_is_named() -> Result<()> {
    for (guest, words) in [
        (
            "trap",
            vec!["failed trap: ", "panicked at ", "last lines of the plugin"],
        ),
        (
            "spin",
            vec!["failed timeout: ", "longer than 50ms", "`limits.time`"],
        ),
        (
            "grow",
            vec![
                "failed memory: ",
                "more than 4194304 bytes",
                "`limits.memory`",
            ],
        ),
    ] {
        let text = format!(
            "limits = {{ time = \"50ms\", memory = \"4MiB\" }}\ncase it passes\n[devices/d1/t] good\n> pass\n[devices/d1/t] {guest}\n> pass\n[devices/d1/t] good\n> pass\n\ncase it is known\n[devices/d1/t] {guest}\n> failed {}\n",
            words[0].trim_start_matches("failed ")
        );
        let folder = with_cases(&text)?;
        fs::write(folder.path().join("guest.wasm"), component(guest)?)?;
        let failed = told(
            folder.path(),
            &["plugin", "test", "guest.wasm", "a.cases"],
            "",
        )?;
        failed.expect(
            1,
            &[
                "FAIL  it passes",
                "a.cases:5: ",
                "ok    it is known",
                "1 passed, 1 failed",
            ],
        )?;
        failed.expect(1, &words)?;
    }
    let folder = with_cases("case one\n[a/b] 1\n")?;
    fs::write(folder.path().join("no.wasm"), "no component")?;
    told(folder.path(), &["plugin", "test", "no.wasm", "a.cases"], "")?
        .expect(4, &["not a WebAssembly component"])?;
    told(folder.path(), &["plugin", "test", "nmber", "a.cases"], "")?
        .expect(2, &["nmber", "number"])
}

/// A file with mistakes of each kind, one with a limit that no gateway takes, and a topic that nobody takes.
/// Guarantee: exit code 3, each with its line and what to write instead.
fn mistakes_in_a_file_are_told_with_their_lines() -> Result<()> {
    let folder = with_cases("case one\n[devices/d1/t 1\n> perhaps\nadvance soon\n")?;
    told(folder.path(), &["plugin", "test", "number", "a.cases"], "")?.expect(
        3,
        &[
            "a.cases:2: ",
            "a.cases:3: ",
            "a.cases:4: ",
            "`]` is missing",
            "500ms",
        ],
    )?;
    let folder = with_cases("limits = { memory = \"9TB\" }\ncase one\n[devices/d1/t] 1\n")?;
    told(folder.path(), &["plugin", "test", "number", "a.cases"], "")?
        .expect(3, &["a.cases:1: ", "memory", "KiB"])?;
    let folder = with_cases("case one\n[elsewhere] 1\n")?;
    told(folder.path(), &["plugin", "test", "number", "a.cases"], "")?.expect(
        3,
        &["a.cases:2: ", "elsewhere", "devices/{device}/{metric}"],
    )?;
    told(
        folder.path(),
        &["plugin", "test", "number", "none.cases"],
        "",
    )?
    .expect(3, &["none.cases"])
}

/// `--case` with a whole name, with a part of one, and with none.
/// Guarantee: that case runs and no other; whoever mistypes sees the names.
fn one_case_is_run_by_its_name() -> Result<()> {
    let folder = with_cases(
        "settings = { field = \"t\" }\ncase warm\n[devices/d1/t] 1\n> [devices/d1/t] {\"t\":1}\ncase warmer\n[devices/d1/t] 1\n",
    )?;
    let run = |name: &str| {
        told(
            folder.path(),
            &["plugin", "test", "number", "a.cases", "--case", name],
            "",
        )
    };
    run("warm")?.expect(0, &["1 case: 1 passed"])?;
    run("armer")?.expect(1, &["1 case: 0 passed"])?;
    run("cold")?.expect(2, &["warm\n  warmer"])
}

/// The flow for alarms of `examples/tasks`.
/// Guarantee: settings, topics and routes of a config are tested as they stand, without its brokers.
fn a_flow_of_a_config_is_tested_as_it_stands() -> Result<()> {
    let folder = with_cases(
        "case an alarm\n[alarm/d1] {\"temperature\":31}\n> [up/alarm/d1] {\"temperature\":31}\nadvance 1m\n> alarms [up/alarm/d1/temperature] {\"alarm\":\"temperature\",\"device\":\"d1\",\"state\":\"raised\",\"side\":\"above\",\"limit\":30.0,\"value\":31.0,\"since\":1767225600000000,\"at\":1767225660000000}\n",
    )?;
    let config = workspace().join("examples/tasks/tidegate.toml");
    let config = config.to_str().context("a path is text")?;
    told(
        folder.path(),
        &["plugin", "test", "--flow", "alarm", config, "a.cases"],
        "",
    )?
    .expect(0, &["1 passed", "threshold"])?;
    told(
        folder.path(),
        &["plugin", "test", "--flow", "alarms", config, "a.cases"],
        "",
    )?
    .expect(2, &["no flow `alarms`", "alarm, "])?;
    told(
        folder.path(),
        &[
            "plugin",
            "try",
            "--flow",
            "alarm",
            config,
            "--advance",
            "1m",
        ],
        "alarm/d1 {\"temperature\":31}\n",
    )?
    .expect(
        0,
        &[
            "#   threshold  [alarm/d1] {\"temperature\":31}",
            "\n[up/alarm/d1] {\"temperature\":31}\n",
            "\nalarms [up/alarm/d1/temperature] ",
        ],
    )
}

/// Lines in each form through `number`, what comes of it through `threshold`, and what no one takes.
/// Guarantee: what leaves can be read in again; what does not is told and costs nobody else anything.
fn what_goes_in_by_hand_comes_out_readable_and_pipes_into_itself() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let number = ["plugin", "try", "number", "--settings", "{ field = \"t\" }"];
    let input = "[devices/d1/t] 21,5 °C\ndevices/d1/t 31\n{\"topic\":\"devices/d1/t\",\"payload\":\"40\"}\n\n# nothing\ndevices/d1/t warm\n";
    let first = told(folder.path(), &number, input)?;
    first.expect(
        0,
        &[
            "# [devices/d1/t] 21,5 °C",
            "\n[devices/d1/t] {\"t\":21.5,\"unit\":\"°C\"}\n",
            "#   rejected ",
        ],
    )?;
    let threshold = [
        "plugin",
        "try",
        "threshold",
        "--settings",
        "{\"field\":\"t\",\"above\":30}",
    ];
    let second = told(folder.path(), &threshold, &first.out)?;
    second.expect(
        0,
        &["\n[devices/d1/t] {\"t\":31}\n", "\nalarms [alarms/d1/t] {"],
    )?;
    ensure!(
        second
            .out
            .lines()
            .filter(|line| !line.starts_with('#'))
            .count()
            == 4,
        "{}",
        second.out
    );
    let json = told(
        folder.path(),
        &[&number[..], &["-o", "json"]].concat(),
        input,
    )?;
    let third = told(folder.path(), &threshold, &json.out)?;
    ensure!(third.out == second.out, "{}\n{}", third.out, second.out);
    let strange = told(
        folder.path(),
        &number,
        "elsewhere 1\n[devices/d1/t] 7\n[devices/+/t] 1\n",
    )?;
    strange.expect(1, &["line 1: ", "line 3: ", "{\"t\":7}"])
}
