//! What a plugin can do wrong, as a value. After any fault the instance is dropped and replaced.

use std::fmt;

use wasmtime::component::ResourceTableError;
use wasmtime::{Trap, WasmBacktrace};

use super::guest::{Guest, MAX_RESOURCES};
use super::instance::MAX_HANDLES;

/// Sort of a fault: the `kind` label of `tidegate_plugin_errors_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// The guest trapped or left through `exit`.
    Trap,
    /// A call took longer than `call_time`.
    Timeout,
    /// The guest asked for more memory than `memory_bytes`.
    Memory,
    /// The guest used more than `stack_bytes`.
    Stack,
    /// The guest asked for more table elements than `table_elements`.
    Table,
    /// The guest holds more handles of resources than it may.
    Handles,
    /// An output has more entries or bytes than allowed.
    Output,
    /// An output, a page of state or a setup breaks the contract.
    Contract,
    /// Saved state is larger than `state_bytes`, or was refused by `restore`.
    State,
    /// State was kept under a key whose messages go to another lane.
    Misplaced,
    /// No instance could be made.
    Instantiate,
}

impl FaultKind {
    /// Every kind, for metrics.
    pub const ALL: [Self; 11] = [
        Self::Trap,
        Self::Timeout,
        Self::Memory,
        Self::Stack,
        Self::Table,
        Self::Handles,
        Self::Output,
        Self::Contract,
        Self::State,
        Self::Misplaced,
        Self::Instantiate,
    ];

    /// The name used in metrics, logs and dead letters.
    pub fn name(self) -> &'static str {
        match self {
            Self::Trap => "trap",
            Self::Timeout => "timeout",
            Self::Memory => "memory",
            Self::Stack => "stack",
            Self::Table => "table",
            Self::Handles => "handles",
            Self::Output => "output",
            Self::Contract => "contract",
            Self::State => "state",
            Self::Misplaced => "misplaced",
            Self::Instantiate => "instantiate",
        }
    }
}

/// One failure of a plugin, with what is needed to mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its sort.
    pub kind: FaultKind,
    /// What happened, in words.
    pub message: String,
    /// Where in the guest, innermost frame first; empty when it was not inside.
    pub backtrace: String,
    /// What the guest wrote to stdout and stderr, the first of this call and the last, and what it logged as errors in it.
    pub stderr: String,
}

impl Fault {
    /// A fault found by the host, outside of the guest.
    pub(crate) fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), backtrace: String::new(), stderr: String::new() }
    }

    /// An output that breaks the contract.
    pub(crate) fn contract(message: impl Into<String>) -> Self {
        Self::new(FaultKind::Contract, message)
    }

    /// Sorts what a call ended with; `guest` knows which limit was met.
    pub(super) fn classify(error: &wasmtime::Error, guest: &Guest) -> Self {
        let trap = error.downcast_ref::<Trap>();
        let kind = match trap {
            Some(Trap::Interrupt) => FaultKind::Timeout,
            Some(Trap::StackOverflow) => FaultKind::Stack,
            _ if guest.budget.memory_denied => FaultKind::Memory,
            _ if guest.budget.table_denied => FaultKind::Table,
            _ if is_too_many_handles(error) => FaultKind::Handles,
            _ if error.downcast_ref::<WasmBacktrace>().is_none() && is_too_much_data(error) => FaultKind::Output,
            _ => FaultKind::Trap,
        };
        let backtrace = error.downcast_ref::<WasmBacktrace>().map(ToString::to_string).unwrap_or_default();
        let [stderr, of_this_call] = guest.output.words();
        let logged = guest.error_lines.iter().fold(String::new(), |text, line| text + line + "\n");
        let message = message(kind, error, guest);
        let message = match headline(&of_this_call).or_else(|| logged.lines().next_back().map(str::to_owned)) {
            Some(words) if kind == FaultKind::Trap => format!("{words} ({message})"),
            _ => message,
        };
        let stderr = if logged.is_empty() { stderr } else { format!("{stderr}\nlogged as errors:\n{logged}") };
        Self { kind, message, backtrace, stderr }
    }

    /// Everything that is known, for the dead letter.
    pub fn detail(&self) -> String {
        let mut text = self.to_string();
        for (title, part) in [("", &self.backtrace), ("last lines of the plugin:\n", &self.stderr)] {
            if !part.is_empty() {
                text.push('\n');
                text.push_str(title);
                text.push_str(part.trim_end());
            }
        }
        text
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.name(), self.message)
    }
}

impl std::error::Error for Fault {}

fn message(kind: FaultKind, error: &wasmtime::Error, guest: &Guest) -> String {
    match kind {
        FaultKind::Timeout => format!("a call took longer than {:?} of processor time", guest.allowance.time),
        FaultKind::Memory => format!("asked for more than {} bytes of memory", guest.budget.memory_bytes),
        FaultKind::Table => format!("asked for more than {} table elements", guest.budget.table_elements),
        FaultKind::Handles => format!("holds more than {MAX_RESOURCES} resources of the host, or {MAX_HANDLES} handles"),
        FaultKind::Output => "returned more data than the output limit allows".to_owned(),
        // The first context is the back-trace, which is kept apart.
        _ => error.root_cause().to_string(),
    }
}

/// Longest headline, bytes.
const MAX_HEADLINE_BYTES: usize = 300;

/// What a plugin says of its own end, in the ways of the languages there are: the first line that names a panic or a failed
/// assertion, else the last one, which is where others put their exception.
fn headline(words: &str) -> Option<String> {
    let lines = || words.lines().map(str::trim).filter(|line| !line.is_empty());
    let named = lines()
        .find(|line| ["panicked at ", "panic: ", "Assertion failed", "message: Some("].iter().any(|mark| line.contains(mark)));
    let line = match named {
        // Rust says where, and in the next line what.
        Some(line) if line.contains("panicked at ") && line.ends_with(':') => {
            let what = lines().skip_while(|other| *other != line).nth(1).unwrap_or_default();
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
    matches!(error.downcast_ref::<ResourceTableError>(), Some(ResourceTableError::Full))
        || error.root_cause().to_string().contains("store handle limit exceeded")
}

/// wasmtime has no type for running out of hostcall fuel.
fn is_too_much_data(error: &wasmtime::Error) -> bool {
    error.root_cause().to_string().contains("fuel allocated for hostcalls")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_detail_holds_message_trace_and_last_lines() {
        let fault =
            Fault { backtrace: "0: rule".to_owned(), stderr: "boom\n".to_owned(), ..Fault::new(FaultKind::Trap, "unreachable") };
        assert_eq!(fault.detail(), "trap: unreachable\n0: rule\nlast lines of the plugin:\nboom");
        assert_eq!(Fault::contract("stride 3").detail(), "contract: stride 3");
    }

    #[test]
    fn the_headline_is_what_each_language_says() {
        let cases = [
            (
                "\nthread '<unnamed>' (1) panicked at src/lib.rs:7:9:\nno such field\nnote: run with\n",
                "panicked at src/lib.rs:7:9: no such field",
            ),
            ("Traceback (most recent call last):\n  File \"a.py\", line 3\nKeyError: 'temp'\n", "KeyError: 'temp'"),
            ("panic: index out of range\n\ngoroutine 1 [running]:\nmain.process()\n", "panic: index out of range"),
            ("Assertion failed: n > 0 (a.c: f: 3)\n", "Assertion failed: n > 0 (a.c: f: 3)"),
            ("a line\nthe\u{1b}[31m last\n\n", "the\u{fffd}[31m last"),
        ];
        for (words, expected) in cases {
            assert_eq!(headline(words).as_deref(), Some(expected));
        }
        assert_eq!(headline("\n \n"), None);
    }
}
