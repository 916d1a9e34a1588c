//! That contract, host and SDK mean the same word by the same number.

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::binary::workspace;
use tidegate_tests::cases;

pub fn cases() -> Vec<Trial> {
    cases![the_word_table_is_the_same_everywhere,]
}

/// The table in `wit/tidegate.wit` against the constants of host and SDK.
/// Guarantee: all three mean the same word by the same number.
fn the_word_table_is_the_same_everywhere() -> Result<()> {
    let wit = std::fs::read_to_string(workspace().join("wit/tidegate.wit"))?;
    let host = std::fs::read_to_string(workspace().join("host/src/chain/sandbox/batch.rs"))?;
    let sdk = std::fs::read_to_string(workspace().join("plugins/sdk/src/layout.rs"))?;
    let (host_in, host_out) = host
        .split_once("mod output")
        .context("batch.rs has its words in two modules")?;
    let rows: Vec<_> = wit.lines().filter_map(table_row).collect();
    let counts = [
        rows.iter().filter(|row| row.1.is_some()).count(),
        rows.iter().filter(|row| row.2.is_some()).count(),
    ];
    ensure!(counts == [10, 8], "the table has {counts:?} words");
    let has = |text: &str, place: &str, line: String| {
        ensure!(text.contains(&line), "{place}: `{line}` is missing");
        Ok(())
    };
    for (number, incoming, outgoing) in &rows {
        if let Some(name) = incoming {
            has(
                host_in,
                "host, in",
                format!("const {name}: usize = {number};"),
            )?;
            has(
                &sdk,
                "SDK, in",
                format!("const IN_{name}: usize = {number};"),
            )?;
        }
        if let Some(name) = outgoing {
            has(
                host_out,
                "host, out",
                format!("const {name}: usize = {number};"),
            )?;
            has(
                &sdk,
                "SDK, out",
                format!("const OUT_{name}: usize = {number};"),
            )?;
        }
    }
    let [incoming, outgoing] = counts;
    has(
        host_in,
        "host, in",
        format!("const STRIDE: usize = {incoming};"),
    )?;
    has(
        host_out,
        "host, out",
        format!("const STRIDE: usize = {outgoing};"),
    )?;
    has(&sdk, "SDK", format!("const STRIDE_IN: usize = {incoming};"))?;
    has(
        &sdk,
        "SDK",
        format!("const STRIDE_OUT: usize = {outgoing};"),
    )
}

/// Number, name of the word in and name of the word out of a row of the table.
pub(super) fn table_row(line: &str) -> Option<(usize, Option<&'static str>, Option<&'static str>)> {
    const WORDS: [(&str, &str); 12] = [
        ("topic length", "TOPIC"),
        ("headers length", "HEADERS"),
        ("payload length", "PAYLOAD"),
        ("key:", "KEY"),
        ("received-at", "RECEIVED_LOW"),
        ("the same, high", "RECEIVED_HIGH"),
        ("marks", "MARKS"),
        ("index of the input", "INPUT"),
        ("action", "ACTION"),
        ("arrived at", "RUNNING_LOW"),
        ("the running clock, high", "RUNNING_HIGH"),
        ("own key: length", "OWN_KEY"),
    ];
    let mut cells = line.trim().strip_prefix("/// |")?.split('|').map(str::trim);
    let number = cells.next()?.parse().ok()?;
    let mut word = || {
        let cell = cells.next()?;
        let named = WORDS
            .iter()
            .find(|(start, _)| cell.starts_with(start))
            .map(|(_, name)| *name);
        (named.is_some() || cell.is_empty()).then_some(named)
    };
    Some((number, word()?, word()?))
}
