//! Which fault it is that a call ended with, and what the guest said of it.

use wasmtime::component::ResourceTableError;
use wasmtime::{Trap, WasmBacktrace};

use super::fault::{Fault, FaultKind};
use super::guest::{Guest, MAX_HANDLES, MAX_RESOURCES};

/// Sorts what a call ended with; `guest` knows which limit was met.
pub(super) fn classify(error: &wasmtime::Error, guest: &Guest) -> Fault {
    let trap = error.downcast_ref::<Trap>();
    let kind = match trap {
        Some(Trap::Interrupt) => FaultKind::Timeout,
        Some(Trap::StackOverflow) => FaultKind::Stack,
        _ if guest.budget.memory_denied => FaultKind::Memory,
        _ if guest.budget.table_denied => FaultKind::Table,
        _ if is_too_many_handles(error) => FaultKind::Handles,
        _ if error.downcast_ref::<WasmBacktrace>().is_none() && is_too_much_data(error) => {
            FaultKind::Output
        }
        _ => FaultKind::Trap,
    };
    let backtrace = error
        .downcast_ref::<WasmBacktrace>()
        .map(ToString::to_string)
        .unwrap_or_default();
    let [stderr, of_this_call] = guest.output.words();
    let logged = guest
        .error_lines
        .iter()
        .fold(String::new(), |text, line| text + line + "\n");
    let message = message(kind, error, guest);
    let message =
        match headline(&of_this_call).or_else(|| logged.lines().next_back().map(str::to_owned)) {
            Some(words) if kind == FaultKind::Trap => format!("{words} ({message})"),
            _ => message,
        };
    let stderr = if logged.is_empty() {
        stderr
    } else {
        format!("{stderr}\nlogged as errors:\n{logged}")
    };
    Fault {
        kind,
        message,
        backtrace,
        stderr,
    }
}

fn message(kind: FaultKind, error: &wasmtime::Error, guest: &Guest) -> String {
    match kind {
        FaultKind::Timeout => format!(
            "a call took longer than {:?} of processor time, its `limits.time`",
            guest.allowance.time
        ),
        FaultKind::Memory => format!(
            "asked for more than {} bytes of memory, its `limits.memory`",
            guest.budget.memory_bytes
        ),
        FaultKind::Table => format!(
            "asked for more than {} table elements, its `limits.table_elements`",
            guest.budget.table_elements
        ),
        FaultKind::Handles => format!(
            "holds more than {MAX_RESOURCES} resources of the host, or {MAX_HANDLES} handles"
        ),
        FaultKind::Output => "returned more data than `limits.output` allows".to_owned(),
        // The first context is the back-trace, which is kept apart.
        _ => error.root_cause().to_string(),
    }
}

const MAX_HEADLINE_BYTES: usize = 300;

/// What a plugin says of its own end, in the ways of the languages there are: the first line that names a panic or a failed
/// assertion, else the last one, which is where others put their exception.
fn headline(words: &str) -> Option<String> {
    let lines = || words.lines().map(str::trim).filter(|line| !line.is_empty());
    let named = lines().find(|line| {
        [
            "panicked at ",
            "panic: ",
            "Assertion failed",
            "message: Some(",
        ]
        .iter()
        .any(|mark| line.contains(mark))
    });
    let line = match named {
        // Rust says where, and in the next line what.
        Some(line) if line.contains("panicked at ") && line.ends_with(':') => {
            let what = lines()
                .skip_while(|other| *other != line)
                .nth(1)
                .unwrap_or_default();
            let place = line.find("panicked at ").map_or(line, |at| &line[at..]);
            format!("{place} {what}")
        }
        Some(line) => line.to_owned(),
        None => lines().next_back()?.to_owned(),
    };
    let end = line.floor_char_boundary(MAX_HEADLINE_BYTES);
    Some(crate::words::line(&line[..end], usize::MAX))
}

/// Of the host's own table there is a type, of wasmtime's handles there is none.
fn is_too_many_handles(error: &wasmtime::Error) -> bool {
    matches!(
        error.downcast_ref::<ResourceTableError>(),
        Some(ResourceTableError::Full)
    ) || error
        .root_cause()
        .to_string()
        .contains("store handle limit exceeded")
}

/// wasmtime has no type for running out of hostcall fuel.
fn is_too_much_data(error: &wasmtime::Error) -> bool {
    error
        .root_cause()
        .to_string()
        .contains("fuel allocated for hostcalls")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headline_is_what_each_language_says() {
        let cases = [
            (
                "\nthread '<unnamed>' (1) panicked at src/lib.rs:7:9:\nno such field\nnote: run with\n",
                "panicked at src/lib.rs:7:9: no such field",
            ),
            (
                "Traceback (most recent call last):\n  File \"a.py\", line 3\nKeyError: 'temp'\n",
                "KeyError: 'temp'",
            ),
            (
                "panic: index out of range\n\ngoroutine 1 [running]:\nmain.process()\n",
                "panic: index out of range",
            ),
            (
                "Assertion failed: n > 0 (a.c: f: 3)\n",
                "Assertion failed: n > 0 (a.c: f: 3)",
            ),
            ("a line\nthe\u{1b}[31m last\n\n", "the\u{fffd}[31m last"),
        ];
        for (words, expected) in cases {
            assert_eq!(headline(words).as_deref(), Some(expected));
        }
        assert_eq!(headline("\n \n"), None);
    }
}
