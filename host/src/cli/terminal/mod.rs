//! What is written to a terminal or a pipe: data to standard output, all else to standard error, nothing that a terminal
//! would act on.

pub(super) mod differences;
pub(super) mod lines;

use std::io::Write;

use crate::telemetry::sink;
use crate::words;

/// Text on standard output, without what a terminal would act on. A reader that has gone away (`| head`) is no failure.
pub fn print(text: &str) {
    let _ = writeln!(
        std::io::stdout().lock(),
        "{}",
        words::lines(text, usize::MAX)
    );
}

/// A document on standard output, on one line: what a terminal would act on stands there by its number.
pub fn print_json(document: &impl serde::Serialize) {
    match serde_json::to_string(document) {
        Ok(text) => drop(writeln!(
            std::io::stdout().lock(),
            "{}",
            words::escaped(&text)
        )),
        Err(error) => say(&format!("error: this cannot be written as JSON: {error}")),
    }
}

/// Text on standard error, without what a terminal would act on.
pub fn say(text: &str) {
    sink::say(&words::lines(text, usize::MAX));
}
