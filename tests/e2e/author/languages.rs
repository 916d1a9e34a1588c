//! Plugins in other languages than Rust: their templates, the same rules in each of them, and codecs of LoRaWAN devices.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tempfile::TempDir;
use tidegate_tests::binary::workspace;
use tidegate_tests::case::where_possible;
use tidegate_tests::cases;

use super::told;

pub fn cases() -> Vec<Trial> {
    let mut cases = cases![
        a_language_without_its_tool_is_told_what_to_type,
        a_codec_that_is_none_makes_no_plugin,
    ];
    let wants = "tests/languages/install to have run";
    cases.extend(cases![
        |name, run| where_possible(name, wants, || is_there("node_modules/componentize-qjs"), run);
        javascript_and_typescript_do_what_their_cases_say,
        a_codec_becomes_a_plugin,
    ]);
    cases.extend(cases![
        |name, run| where_possible(name, wants, || is_there(".venv/bin/componentize-py"), run);
        python_does_what_its_cases_say,
    ]);
    cases.extend(cases![
        |name, run| where_possible(name, wants, || is_there(".venv/requirements.txt"), run);
        c_does_what_its_cases_say,
    ]);
    cases.extend(cases![
        |name, run| where_possible(name, "go", has_go, run);
        go_does_what_its_cases_say,
    ]);
    cases
}

fn tools() -> PathBuf {
    workspace().join("target/languages")
}

fn is_there(path: &str) -> bool {
    tools().join(path).exists()
}

fn has_go() -> bool {
    Command::new("go").arg("version").output().is_ok()
}

/// A folder below the tools, where a plugin finds them as it finds its own.
fn folder() -> Result<TempDir> {
    fs::create_dir_all(tools())?;
    Ok(tempfile::tempdir_in(tools())?)
}

/// `new` and `test` of a language; then the rules of examples/languages in it, a single file each, on the cases of all.
fn does_what_the_cases_say(language: &str, ending: &str, rules: &[&str]) -> Result<()> {
    let folder = folder()?;
    let made = ["plugin", "new", "above", "--language", language];
    told(folder.path(), &made, "")?.expect(0, &["cd above", "tidegate plugin test"])?;
    let project = folder.path().join("above");
    told(&project, &["plugin", "test"], "")?.expect(0, &["5 cases: 5 passed, 0 failed"])?;
    for rule in rules {
        let from = workspace().join("examples/languages").join(rule);
        let (code, cases) = (format!("{rule}.{ending}"), format!("{rule}.cases"));
        let to = folder.path().join(rule);
        fs::create_dir(&to)?;
        fs::copy(from.join(&code), to.join(&code))?;
        let cases = from.join(cases).display().to_string();
        told(&to, &["plugin", "test", &code, &cases], "")?.expect(0, &["passed, 0 failed"])?;
    }
    Ok(())
}

/// Guarantee: the first five minutes work, and a rule does the same in JavaScript as in Rust.
fn javascript_and_typescript_do_what_their_cases_say() -> Result<()> {
    does_what_the_cases_say("js", "js", &["silence", "split"])?;
    does_what_the_cases_say("ts", "ts", &[])
}

/// Guarantee: the same in Python. Of one rule only: a component takes half a minute to be built and compiled.
fn python_does_what_its_cases_say() -> Result<()> {
    let folder = folder()?;
    let made = ["plugin", "new", "above", "--language", "python"];
    told(folder.path(), &made, "")?.expect(0, &["pip install componentize-py==0.25.1"])?;
    let project = folder.path().join("above");
    told(&project, &["plugin", "test"], "")?.expect(0, &["5 cases: 5 passed, 0 failed"])
}

/// Guarantee: the same in C.
fn c_does_what_its_cases_say() -> Result<()> {
    does_what_the_cases_say("c", "c", &["convert", "count", "silence", "split"])
}

/// Guarantee: the same in Go.
fn go_does_what_its_cases_say() -> Result<()> {
    does_what_the_cases_say("go", "go", &["silence"])
}

/// Each language in a folder above which nothing is installed.
/// Guarantee: what is missing is named in the version that is wanted, with a command that can be typed as it is.
fn a_language_without_its_tool_is_told_what_to_type() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let here = folder.path().canonicalize()?;
    fs::write(here.join("rule.js"), "export const transform = {};")?;
    let command = format!(
        "npm install --prefix '{}' --save-dev --save-exact componentize-qjs@0.4.5",
        here.display()
    );
    told(&here, &["plugin", "build"], "")?.expect(1, &["is missing; type:", &command])?;
    let empty = here.join("empty");
    fs::create_dir(&empty)?;
    told(&empty, &["plugin", "build"], "")?.expect(1, &["rule.js", "Cargo.toml"])
}

const CODEC: &str = "\
function decodeUplink(input) {
  bytes = input.bytes;                       // never declared, as in many codecs
  if (bytes.length < 2) return { errors: ['too short'] };
  return { data: { temperature: (bytes[0] << 8 | bytes[1]) / 10, port: input.fPort }, warnings: bytes[2] ? ['low battery'] : [] };
}
function encodeDownlink(input) {
  return { fPort: 7, bytes: [input.data.seconds >> 8, input.data.seconds & 255] };
}
";

/// A codec as vendors write them, on envelopes of both servers, there and back.
/// Guarantee: its words become the plugin's, and the plugin's own cases pass.
fn a_codec_becomes_a_plugin() -> Result<()> {
    let folder = folder()?;
    fs::write(folder.path().join("vendor.js"), CODEC)?;
    let made = ["plugin", "new", "em300", "--from-lorawan", "vendor.js"];
    told(folder.path(), &made, "")?.expect(0, &["em300/codec.js", "npm install"])?;
    let project = folder.path().join("em300");
    told(&project, &["plugin", "test"], "")?.expect(0, &["3 cases: 3 passed, 0 failed"])?;
    let cases = "\
case a reading by ChirpStack
[devices/d7/up] {\"deviceInfo\": {\"devEui\": \"d7\"}, \"fPort\": 2, \"data\": \"AP8B\"}
> [devices/d7/up] {\"temperature\":25.5,\"port\":2}
case a reading by The Things Stack
[devices/d7/up] {\"end_device_ids\": {\"device_id\": \"d7\"}, \"uplink_message\": {\"f_port\": 2, \"frm_payload\": \"AP8=\"}}
> [devices/d7/up] {\"temperature\":25.5,\"port\":2}
case its errors are the reason
[devices/d7/up] {\"deviceInfo\": {\"devEui\": \"d7\"}, \"fPort\": 2, \"data\": \"AA==\"}
> rejected codec.js says: too short
case what it is to be sent
[devices/d7/down] {\"devEui\": \"d7\", \"object\": {\"seconds\": 600}, \"confirmed\": true}
> [devices/d7/down] {\"devEui\":\"d7\",\"confirmed\":true,\"fPort\":7,\"data\":\"Alg=\"}
";
    fs::write(project.join("own.cases"), cases)?;
    told(&project, &["plugin", "test", ".", "own.cases"], "")?
        .expect(0, &["4 cases: 4 passed, 0 failed"])
}

/// Guarantee: a file that is no such codec is refused before anything is written.
fn a_codec_that_is_none_makes_no_plugin() -> Result<()> {
    let folder = tempfile::tempdir()?;
    fs::write(
        folder.path().join("old.js"),
        "function Decoder(bytes, port) {}",
    )?;
    let made = ["plugin", "new", "em300", "--from-lorawan", "old.js"];
    told(folder.path(), &made, "")?.expect(1, &["old.js", "TS013"])?;
    ensure!(!folder.path().join("em300").exists(), "something was made");
    let missing = ["plugin", "new", "em300", "--from-lorawan", "none.js"];
    told(folder.path(), &missing, "")?.expect(1, &["none.js"])
}
