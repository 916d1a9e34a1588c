//! What the tests themselves are held to.

use anyhow::Result;
use libtest_mimic::Trial;
use tidegate_tests::source_text::sources;
use tidegate_tests::{cases, guests};

use super::complain;

pub fn cases() -> Vec<Trial> {
    cases![no_test_is_ignored_and_none_sleeps, every_guest_is_used,]
}

/// `ignore` attributes and naps, wherever there are tests (hostile guests may well nap).
/// Guarantee: a test that cannot run says so, and none depends on how fast the machine is.
fn no_test_is_ignored_and_none_sleeps() -> Result<()> {
    let mut found = Vec::new();
    for folder in ["host/src", "plugins", "tests/src", "tests/e2e"] {
        for source in sources(folder)? {
            // A line of production code stands in both; one of a test only in the text.
            let lines = source
                .text
                .lines()
                .zip(source.code.lines().map(Some).chain(std::iter::repeat(None)))
                .enumerate();
            for (index, (line, code)) in lines {
                let is_test = folder.starts_with("tests") || !code.is_some_and(naps);
                if line.trim_start().starts_with("#[ignore") || (is_test && naps(line)) {
                    found.push(format!("{}:{}: {}", source.path, index + 1, line.trim()));
                }
            }
        }
    }
    complain(found)
}

/// A pause of a fixed length in one of the forms that a standard library, tokio or the system offers.
fn naps(line: &str) -> bool {
    const FORMS: [&str; 6] = [
        concat!("thread::", "sleep("),
        concat!("time::", "sleep("),
        concat!("sleep(", "Duration"),
        concat!("sleep_", "ms("),
        concat!("nano", "sleep("),
        concat!("Command::new(\"", "sleep"),
    ];
    FORMS.iter().any(|form| line.contains(form))
}

/// The folders under `tests/guests`, each looked for by its name, its constant or its package.
/// Guarantee: no guest is built for nothing, and what it was written to show is shown.
fn every_guest_is_used() -> Result<()> {
    let mut users = Vec::new();
    for folder in ["tests/e2e", "tests/benches", "host/src/chain/tests"] {
        users.extend(sources(folder)?);
    }
    let idle = guests::ALL.iter().map(|guest| guest.name).filter(|name| {
        let constant = format!("guests::{}", name.to_uppercase().replace('-', "_"));
        let names = [format!("\"{name}\""), constant, format!("guest-{name}")];
        !users
            .iter()
            .any(|user| names.iter().any(|name| user.text.contains(name)))
    });
    complain(
        idle.map(|name| format!("no test uses the guest `{name}`"))
            .collect(),
    )
}
