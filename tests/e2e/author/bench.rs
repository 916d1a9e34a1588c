//! What a plugin costs, as its author is told. No figure is held to anything here: only that there is one, of what it is, or why
//! there is none.

use std::fs;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::Value;
use tidegate_tests::cases;

use super::{Told, told, with_cases};
use crate::guest::component;

pub fn cases() -> Vec<Trial> {
    cases![
        each_batch_size_has_its_figures_beside_the_limits,
        two_plugins_are_compared_round_by_round,
        what_fails_has_its_reason_in_place_of_a_figure,
        a_plugin_that_takes_nothing_has_no_figure,
        mistakes_of_who_measures_are_told,
    ]
}

const CASES: &str = "\
settings = { field = \"t\" }
limits = { memory = \"8MiB\", time = \"100ms\" }
case a number
[devices/d1/t] 1
> [devices/d1/t] {\"t\":1}
[devices/d1/t] 2
> [devices/d1/t] {\"t\":2}
case no number
[devices/d1/t] none
> rejected no number
";

const BRIEF: [&str; 4] = ["--rounds", "3", "-o", "json"];

fn document(told: &Told) -> Result<Value> {
    serde_json::from_str(&told.out).with_context(|| format!("no JSON:\n{}\n{}", told.out, told.err))
}

/// The sizes of a plugin's batches, with figures or why there are none.
fn batches(plugin: &Value) -> Result<&Vec<Value>> {
    let batches = plugin["batches"].as_array().context("batches are a list")?;
    let sizes: Vec<_> = batches
        .iter()
        .map(|batch| batch["messages"].as_u64())
        .collect();
    ensure!(
        sizes == [Some(1), Some(16), Some(256)],
        "the sizes are {sizes:?}"
    );
    Ok(batches)
}

fn is_spread(value: &Value) -> bool {
    let [low, median, high] = ["low", "median", "high"].map(|key| value[key].as_f64());
    matches!((low, median, high), (Some(low), Some(median), Some(high))
        if low > 0.0 && low <= median && median <= high)
}

/// A shipped plugin on a file of cases with settings and limits, and messages that it is to take and not to take.
/// Guarantee: every key of the figures is there and means what it says; the limits are those of the file; what is to fail is left out.
fn each_batch_size_has_its_figures_beside_the_limits() -> Result<()> {
    let folder = with_cases(CASES)?;
    let plain = ["plugin", "bench", "number", "--messages", "a.cases"];
    let told_json = told(folder.path(), &[&plain[..], &BRIEF].concat(), "")?;
    told_json.expect(0, &[])?;
    let document = document(&told_json)?;
    ensure!(
        document["messages"]["count"] == 2 && document["messages"]["left_out"] == 1,
        "{document}"
    );
    ensure!(
        document["rounds"] == 3
            && document["optimised"].is_boolean()
            && document.get("against").is_none(),
        "{document}"
    );
    let plugin = &document["plugins"][0];
    ensure!(
        plugin["limits"]["memory_bytes"] == 8 << 20 && plugin["limits"]["call_seconds"] == 0.1,
        "{plugin}"
    );
    ensure!(
        plugin["component_bytes"].as_u64() > Some(1_000)
            && plugin["compile_seconds"].as_f64() > Some(0.0)
            && plugin["digest"].as_str().map(str::len) == Some(64),
        "{plugin}"
    );
    for batch in batches(plugin)? {
        let figures = &batch["figures"];
        ensure!(is_spread(&figures["ns_per_message"]), "{batch}");
        let seconds = ["batch_seconds", "longest_batch_seconds"].map(|key| figures[key].as_f64());
        ensure!(seconds.iter().all(|time| *time > Some(0.0)), "{batch}");
        let memory = figures["memory_bytes"].as_u64();
        ensure!(
            memory > Some(0) && memory <= Some(8 << 20),
            "the memory is not within its limit: {batch}"
        );
        ensure!(
            figures["outputs"] == 2 && figures["rejected"] == 0 && batch.get("failed").is_none(),
            "{batch}"
        );
    }
    told(folder.path(), &[&plain[..], &BRIEF[..2]].concat(), "")?.expect(
        0,
        &[
            "2 messages (a.cases), 3 rounds",
            "1 message of the files left out",
            "ns a message",
            "limit",
            "8.0 MiB",
            "100 ms",
            "2 outputs, 0 absorbed, 0 rejected",
        ],
    )
}

/// A plugin against itself, and against one that traps.
/// Guarantee: each size has a ratio with its spread, or none where one of the two has no figure.
fn two_plugins_are_compared_round_by_round() -> Result<()> {
    let folder = tempfile::tempdir()?;
    fs::write(
        folder.path().join("lines.txt"),
        "devices/d1/t trap\ndevices/d1/t 2\n",
    )?;
    for guest in ["trap", "count"] {
        fs::write(
            folder.path().join(format!("{guest}.wasm")),
            component(guest)?,
        )?;
    }
    let run = |one: &str, other: &str| {
        let arguments = ["plugin", "bench", one, "--against", other];
        let messages = ["--messages", "lines.txt"];
        told(
            folder.path(),
            &[&arguments[..], &messages, &BRIEF].concat(),
            "",
        )
    };
    let same = run("count.wasm", "count.wasm")?;
    same.expect(0, &[])?;
    let both = document(&same)?;
    let against = both["against"].as_array().context("there is a ratio")?;
    ensure!(
        against.len() == 3 && against.iter().all(|size| is_spread(&size["ratio"])),
        "{both}"
    );
    let [one, other] = [0, 1].map(|index| &both["plugins"][index]);
    ensure!(
        one["digest"] == other["digest"] && one["compile_seconds"] == other["compile_seconds"],
        "{both}"
    );
    let trapped = run("count.wasm", "trap.wasm")?;
    trapped.expect(4, &[])?;
    let both = document(&trapped)?;
    let against = both["against"].as_array().context("there is a ratio")?;
    ensure!(against.iter().all(|size| size["ratio"].is_null()), "{both}");
    ensure!(
        batches(&both["plugins"][0])?
            .iter()
            .all(|batch| batch["figures"].is_object())
            && batches(&both["plugins"][1])?
                .iter()
                .all(|batch| batch["failed"].is_string()),
        "{both}"
    );
    Ok(())
}

/// Guests that panic, never come back and take memory without end, and one that refuses its settings.
/// Guarantee: no figure, exit code 4, and what happened in the words that a dead letter would have.
fn what_fails_has_its_reason_in_place_of_a_figure() -> Result<()> {
    let failing = [
        ("trap", "failed trap: "),
        ("spin", "failed timeout: "),
        ("grow", "failed memory: "),
        ("configure-error", "refused "),
    ];
    for (guest, words) in failing {
        let folder = with_cases(&format!(
            "limits = {{ time = \"50ms\", memory = \"4MiB\" }}\ncase all\n[devices/d1/t] good\n[devices/d1/t] {guest}\n"
        ))?;
        fs::write(folder.path().join("guest.wasm"), component(guest)?)?;
        let plain = ["plugin", "bench", "guest.wasm", "--messages", "a.cases"];
        let told_json = told(folder.path(), &[&plain[..], &BRIEF].concat(), "")?;
        told_json.expect(4, &[])?;
        let document = document(&told_json)?;
        for batch in batches(&document["plugins"][0])? {
            let failed = batch["failed"].as_str().unwrap_or_default();
            ensure!(
                failed.starts_with(words) && batch.get("figures").is_none(),
                "`{words}` is not why: {batch}"
            );
        }
        told(folder.path(), &[&plain[..], &BRIEF[..2]].concat(), "")?.expect(4, &[words])?;
    }
    Ok(())
}

/// Messages that a plugin rejects one and all, and some of which it rejects.
/// Guarantee: the one has its reason in place of a figure, the other figures and the count.
fn a_plugin_that_takes_nothing_has_no_figure() -> Result<()> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("number.json"), "{\"field\": \"t\"}")?;
    fs::write(folder.path().join("none.txt"), "devices/d1/t none\n")?;
    fs::write(
        folder.path().join("some.txt"),
        "devices/d1/t none\ndevices/d1/t 7\ndevices/d1/t 8\n",
    )?;
    let run = |messages: &str| {
        let arguments = ["plugin", "bench", "number", "--settings", "number.json"];
        let messages = ["--messages", messages];
        told(
            folder.path(),
            &[&arguments[..], &messages, &BRIEF].concat(),
            "",
        )
    };
    let none = run("none.txt")?;
    none.expect(4, &["rejected "])?;
    let some = run("some.txt")?;
    some.expect(0, &[])?;
    let document = document(&some)?;
    for batch in batches(&document["plugins"][0])? {
        let figures = &batch["figures"];
        ensure!(
            figures["outputs"] == 2 && figures["rejected"] == 1 && figures["reason"].is_string(),
            "{batch}"
        );
    }
    Ok(())
}

/// Files that are none, that have no message or no settings, topics that are not taken, components that are none.
/// Guarantee: each is told with what it is about, and nothing is measured.
fn mistakes_of_who_measures_are_told() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for (name, text) in [
        ("empty.txt", "# nothing\n"),
        ("far.txt", "elsewhere 1\n"),
        ("broken.txt", "devices/d1/t 1\n[devices\n"),
        ("broken.toml", "field = \n"),
        ("no.wasm", "no component"),
    ] {
        fs::write(folder.path().join(name), text)?;
    }
    let run = |plugin: &str, more: &[&str]| {
        told(
            folder.path(),
            &[&["plugin", "bench", plugin][..], more].concat(),
            "",
        )
    };
    run("number", &["--messages", "empty.txt"])?.expect(3, &["empty.txt", "no message"])?;
    run("number", &["--messages", "away.txt"])?.expect(3, &["away.txt"])?;
    run("number", &["--messages", "broken.txt"])?.expect(3, &["broken.txt", "line 2"])?;
    run("number", &["--settings", "broken.toml"])?.expect(3, &["broken.toml", "TOML"])?;
    run("number", &["--messages", "far.txt"])?
        .expect(3, &["elsewhere", "devices/{device}/{metric}"])?;
    run("nmber", &[])?.expect(2, &["nmber", "number"])?;
    run("number", &["--rounds", "2"])?.expect(2, &["--rounds"])?;
    run("no.wasm", &[])?.expect(4, &["not a WebAssembly component"])
}
