//! What a component asks for, read from its imports, and what the config grants: an instance is given nothing else.
//!
//! Log and metrics are every plugin's. Clock and random numbers are the host's, in a form that repeats: the batch's time
//! and a seed of its own; they are granted unless the config says otherwise, and real ones never. Files, network and
//! environment of WASI are linked, since languages import them unasked, and are empty: there is nothing to be had.

use super::batch::{Action, GuestAnswer, OutputEntry};
use super::fault::Fault;
use crate::chain::Unusable;

/// What a plugin may do beside transforming messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grants {
    /// It may import clocks: the host's time.
    pub clock: bool,
    /// It may import random numbers: the host's, from a seed.
    pub random: bool,
    /// Filters of the topics it may name; empty: any.
    pub topics: Vec<String>,
}

impl Default for Grants {
    fn default() -> Self {
        Self {
            clock: true,
            random: true,
            topics: Vec::new(),
        }
    }
}

/// What an imported interface is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Capability {
    /// `log` of the contract.
    Log,
    /// `metrics` of the contract.
    Metrics,
    /// Name and topics of its flow.
    Flow,
    Clock,
    Random,
    /// Standard streams: the host keeps the last lines for dead letters.
    Streams,
    Environment,
    Files,
    Network,
    /// The contract's own types.
    Types,
    /// Nothing this gateway knows.
    Unknown,
}

impl Capability {
    /// What the interface called `import` is for.
    pub fn of(import: &str) -> Self {
        let interface = import
            .split_once('@')
            .map_or(import, |(interface, _)| interface);
        match interface.split_once('/').unwrap_or((interface, "")) {
            ("tidegate:plugin", "log") => Self::Log,
            ("tidegate:plugin", "metrics") => Self::Metrics,
            ("tidegate:plugin", "flow") => Self::Flow,
            ("tidegate:plugin", "types") => Self::Types,
            ("tidegate:plugin", "clock") | ("wasi:clocks", _) => Self::Clock,
            ("wasi:random", _) => Self::Random,
            ("wasi:io", _) | ("wasi:cli", "stdin" | "stdout" | "stderr") => Self::Streams,
            ("wasi:cli", name) if name.starts_with("terminal") => Self::Streams,
            ("wasi:cli", _) => Self::Environment,
            ("wasi:filesystem", _) => Self::Files,
            ("wasi:sockets" | "wasi:http", _) => Self::Network,
            _ => Self::Unknown,
        }
    }

    /// In plain words, with what it gets.
    pub fn words(self) -> &'static str {
        match self {
            Self::Log => "writes to the gateway's log, so many lines a second",
            Self::Metrics => "counts in metrics of its own",
            Self::Flow => "asks for the name and the topics of its flow",
            Self::Clock => "reads the clock: gets the host's time, the same in a replay",
            Self::Random => {
                "takes random numbers: gets the host's, from a seed, the same in a replay"
            }
            Self::Streams => {
                "writes to its standard streams: the last lines are kept for dead letters"
            }
            Self::Environment => "reads arguments and environment: they are empty",
            Self::Files => "asks for files: there are none to be had",
            Self::Network => "asks for the network: not to be had",
            Self::Types => "uses the contract's types",
            Self::Unknown => "asks for something this gateway does not know: refused",
        }
    }

    /// The word in `grants` that allows it, where one is needed.
    pub fn grant(self) -> Option<&'static str> {
        match self {
            Self::Clock => Some("clock"),
            Self::Random => Some("random"),
            _ => None,
        }
    }
}

impl Grants {
    /// Whether everything that `imports` names is granted.
    ///
    /// # Errors
    /// [`Unusable::NotGranted`] with the first that is not.
    pub(crate) fn allow<'i>(
        &self,
        imports: impl IntoIterator<Item = &'i str>,
    ) -> Result<(), Unusable> {
        let refused = imports
            .into_iter()
            .map(|import| (import, Capability::of(import)))
            .find(|(_, capability)| match capability {
                Capability::Clock => !self.clock,
                Capability::Random => !self.random,
                _ => false,
            });
        match refused
            .and_then(|(import, capability)| Some((import, capability, capability.grant()?)))
        {
            None => Ok(()),
            Some((import, capability, grant)) => {
                let words = capability
                    .words()
                    .split(':')
                    .next()
                    .unwrap_or_default()
                    .to_owned();
                Err(Unusable::NotGranted {
                    words,
                    import: import.to_owned(),
                    grant: grant.to_owned(),
                })
            }
        }
    }

    /// Whether every topic that the plugin names in an answer is one it may have.
    ///
    /// # Errors
    /// A fault of kind `contract`.
    pub(crate) fn check(&self, answer: &GuestAnswer, entries: &[OutputEntry]) -> Result<(), Fault> {
        if self.topics.is_empty() {
            return Ok(());
        }
        for entry in entries
            .iter()
            .filter(|entry| entry.action == Action::Emit && entry.has_topic())
        {
            let topic = entry.topic(&answer.data);
            if !self.topics.iter().any(|filter| matches(filter, &topic)) {
                let granted = self.topics.join("`, `");
                return Err(Fault::contract(format!(
                    "it may not publish to `{topic}`: its `grants` allow `{granted}`"
                )));
            }
        }
        Ok(())
    }
}

/// Whether an MQTT filter has a topic.
pub(crate) fn matches(filter: &str, topic: &str) -> bool {
    let mut levels = topic.split('/');
    for part in filter.split('/') {
        match (part, levels.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (part, Some(level)) if part == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_have_topics_as_in_mqtt() {
        for (filter, topic) in [
            ("a/b", "a/b"),
            ("a/+", "a/b"),
            ("a/#", "a/b/c"),
            ("a/#", "a"),
            ("#", "x"),
            ("+/b/#", "a/b"),
        ] {
            assert!(matches(filter, topic), "{filter} {topic}");
        }
        for (filter, topic) in [
            ("a/b", "a"),
            ("a/b", "a/b/c"),
            ("a/+", "a"),
            ("a/+", "a/b/c"),
            ("a/#", "b/c"),
            ("+", "a/b"),
        ] {
            assert!(!matches(filter, topic), "{filter} {topic}");
        }
    }

    #[test]
    fn what_an_import_is_for_is_told_by_its_name() {
        let of = Capability::of;
        assert_eq!(of("wasi:clocks/wall-clock@0.2.6"), Capability::Clock);
        assert_eq!(of("tidegate:plugin/clock@0.1.0"), Capability::Clock);
        assert_eq!(of("wasi:random/insecure-seed@0.2.0"), Capability::Random);
        assert_eq!(of("wasi:sockets/tcp@0.2.3"), Capability::Network);
        assert_eq!(of("wasi:cli/terminal-stdout@0.2.3"), Capability::Streams);
        assert_eq!(of("acme:vault/secrets@1.0.0"), Capability::Unknown);
    }

    #[test]
    fn what_is_not_granted_is_refused_with_the_word_to_write() {
        let imports = [
            "tidegate:plugin/log@0.1.0",
            "wasi:filesystem/types@0.2.3",
            "wasi:random/random@0.2.3",
        ];
        assert_eq!(Grants::default().allow(imports), Ok(()));
        let strict = Grants {
            random: false,
            ..Grants::default()
        };
        let error = strict.allow(imports).unwrap_err().to_string();
        assert!(
            error.contains("takes random numbers") && error.contains("wasi:random/random@0.2.3"),
            "{error}"
        );
        assert!(error.contains("\"random\""), "{error}");
    }
}
