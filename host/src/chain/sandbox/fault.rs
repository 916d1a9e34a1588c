//! What a plugin can do wrong, as a value. After any fault the instance is dropped and replaced.

use std::fmt;

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
        Self {
            kind,
            message: message.into(),
            backtrace: String::new(),
            stderr: String::new(),
        }
    }

    /// An output that breaks the contract.
    pub(crate) fn contract(message: impl Into<String>) -> Self {
        Self::new(FaultKind::Contract, message)
    }

    /// Everything that is known, for the dead letter.
    pub fn detail(&self) -> String {
        let mut text = self.to_string();
        for (title, part) in [
            ("", &self.backtrace),
            ("last lines of the plugin:\n", &self.stderr),
        ] {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_detail_holds_message_trace_and_last_lines() {
        let fault = Fault {
            backtrace: "0: rule".to_owned(),
            stderr: "boom\n".to_owned(),
            ..Fault::new(FaultKind::Trap, "unreachable")
        };
        assert_eq!(
            fault.detail(),
            "trap: unreachable\n0: rule\nlast lines of the plugin:\nboom"
        );
        assert_eq!(Fault::contract("stride 3").detail(), "contract: stride 3");
    }
}
