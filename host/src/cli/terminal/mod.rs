//! What is written to a terminal or a pipe: data to standard output, all else to standard error, nothing that a terminal
//! would act on.

pub(super) mod differences;
pub(super) mod lines;
pub(super) mod screen;

use std::io::{ErrorKind, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::telemetry::sink;
use crate::words;

/// Why standard output did not take what was printed first and did not go out.
static UNWRITTEN: OnceLock<String> = OnceLock::new();

/// Whoever read standard output has gone away.
static CLOSED: AtomicBool = AtomicBool::new(false);

/// Text on standard output, without what a terminal would act on. A reader that has gone away (`| head`) is no failure.
pub fn print(text: &str) {
    put(&words::lines(text, usize::MAX));
}

fn put(line: &str) {
    let mut out = std::io::stdout().lock();
    let written = writeln!(out, "{line}").and_then(|()| out.flush());
    match written {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {
            CLOSED.store(true, Ordering::Relaxed)
        }
        Err(error) => drop(UNWRITTEN.get_or_init(|| error.to_string())),
    }
}

/// Whether nobody reads standard output any more, so that there is no use in going on.
pub fn is_closed() -> bool {
    CLOSED.load(Ordering::Relaxed) || unwritten().is_some()
}

/// Why not all that was printed has gone out, if so.
pub fn unwritten() -> Option<&'static str> {
    UNWRITTEN.get().map(String::as_str)
}

/// A document on standard output, on one line: what a terminal would act on stands there by its number.
pub fn print_json(document: &impl serde::Serialize) {
    match serde_json::to_string(document) {
        Ok(text) => put(&words::escaped(&text)),
        Err(error) => say(&format!("error: this cannot be written as JSON: {error}")),
    }
}

/// Text on standard error, without what a terminal would act on.
pub fn say(text: &str) {
    sink::say(&words::lines(text, usize::MAX));
}
