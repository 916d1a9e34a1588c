//! What a plugin is measured on: messages out of files, in the form of cases or a line each, or some of our own.

use std::path::{Path, PathBuf};

use super::error::BenchError;
use crate::cases::{self, Act, Case, CaseSetup, Outcome, Step, WrittenMessage, read_loose};
use crate::file;

/// Bytes of a file of messages.
const LARGEST_FILE: u64 = 16 << 20;

/// Messages that are gone round in: so many that the caches of a processor do not learn them by heart.
pub(super) const MOST: usize = 4_096;

/// Devices of our own messages.
const DEVICES: usize = 16;

/// What a plugin is measured on.
pub(super) struct Sample {
    /// What it has beside its code.
    pub(super) setup: CaseSetup,
    pub(super) messages: Vec<WrittenMessage>,
    /// Where they come from, for people.
    pub(super) from: String,
    /// Messages of the files that are not among them: of cases with another setup, those that are not to be taken, and
    /// what is beyond [`MOST`].
    pub(super) left_out: usize,
}

impl Sample {
    /// Of these files, or of our own messages where there are none. What is in `given` counts before what the files say.
    pub(super) fn read(paths: &[PathBuf], given: &CaseSetup) -> Result<Self, BenchError> {
        if paths.is_empty() {
            return Ok(Self::own(given));
        }
        let mut reading = SampleReading {
            given,
            setup: None,
            messages: Vec::new(),
            left_out: 0,
        };
        for path in paths {
            let text = file::read_text(path, LARGEST_FILE).map_err(|error| BenchError::File {
                path: path.clone(),
                why: error.to_string(),
            })?;
            reading.take(path, &text)?;
        }
        let SampleReading {
            setup,
            messages,
            left_out,
            ..
        } = reading;
        if messages.is_empty() {
            return Err(BenchError::NoMessage(shown(paths)));
        }
        Ok(Self {
            setup: setup.unwrap_or_else(|| given.clone()),
            messages,
            from: shown(paths),
            left_out,
        })
    }

    fn own(given: &CaseSetup) -> Self {
        let message = |number: usize| WrittenMessage {
            topic: format!("devices/d{number}/telemetry"),
            payload: format!(
                "{{\"temperature\": {}.5, \"humidity\": {}, \"battery\": 3.1}}",
                18 + number % 9,
                40 + number
            )
            .into_bytes(),
            ..WrittenMessage::default()
        };
        Self {
            setup: given.clone(),
            messages: (1..=DEVICES).map(message).collect(),
            from: "none given: readings of our own".to_owned(),
            left_out: 0,
        }
    }
}

fn shown(paths: &[PathBuf]) -> String {
    let shown: Vec<_> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    shown.join(", ")
}

/// Files as they are read, one after the other, and what of them counts.
struct SampleReading<'a> {
    given: &'a CaseSetup,
    /// Set by the first case that has a message to measure with.
    setup: Option<CaseSetup>,
    messages: Vec<WrittenMessage>,
    left_out: usize,
}

impl SampleReading<'_> {
    fn take(&mut self, path: &Path, text: &str) -> Result<(), BenchError> {
        let wrong = |why: String| BenchError::File {
            path: path.to_owned(),
            why,
        };
        if text.lines().any(|line| line.trim().starts_with("case ")) {
            let cases = cases::read(text).map_err(|bad| wrong(bad.to_string()))?;
            cases.into_iter().for_each(|case| self.case(case));
            return Ok(());
        }
        for (number, line) in (1..).zip(text.lines()) {
            let read =
                read_loose(line).map_err(|why| wrong(format!("line {number}: {}", why.0)))?;
            if let Some(message) = read {
                self.push(message);
            }
        }
        Ok(())
    }

    /// A plugin is configured once, so cases that want it otherwise than the first one are left out.
    fn case(&mut self, case: Case) {
        let setup = with(&case.setup, self.given);
        let is_refused = case.steps.iter().any(|step| {
            step.expected
                .iter()
                .any(|outcome| matches!(outcome, Outcome::Refused(_)))
        });
        let is_other = self
            .setup
            .as_ref()
            .is_some_and(|first| !is_same(first, &setup));
        for step in case.steps {
            let is_taken = is_taken(&step);
            let Act::Message(message) = step.act else {
                continue;
            };
            if is_refused || is_other || !is_taken {
                self.left_out += 1;
                continue;
            }
            self.setup.get_or_insert_with(|| setup.clone());
            self.push(message);
        }
    }

    fn push(&mut self, message: WrittenMessage) {
        if self.messages.len() < MOST {
            self.messages.push(message);
        } else {
            self.left_out += 1;
        }
    }
}

/// Whether a plugin is to take the message of this step. One that it is to trap on would end each batch that it is in.
fn is_taken(step: &Step) -> bool {
    !step.expected.iter().any(|outcome| {
        matches!(
            outcome,
            Outcome::Rejected(_) | Outcome::Failed(_) | Outcome::Dropped
        )
    })
}

fn with(setup: &CaseSetup, given: &CaseSetup) -> CaseSetup {
    let mut setup = setup.clone();
    let given = given
        .iter()
        .map(|(key, written)| (key.clone(), written.clone()));
    setup.extend(given);
    setup
}

fn is_same(one: &CaseSetup, other: &CaseSetup) -> bool {
    let values = |setup: &CaseSetup| -> Vec<(String, String)> {
        let value = setup
            .iter()
            .map(|(key, written)| (key.clone(), written.value.clone()));
        value.collect()
    };
    values(one) == values(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::Written;

    const CASES: &str = "\
settings = { limit = 20 }
case one
[devices/d1/t] 1
> pass
[devices/d1/t] bad
> rejected bad
advance 1m
[devices/d1/t] 2

case other
settings = { limit = 30 }
[devices/d1/t] 3

case wrong
settings = { limit = 20 }
[devices/d1/t] 4
case refused
settings = { limit = 1 }
> refused limit
";

    fn read(text: &str, given: &CaseSetup) -> Sample {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.cases");
        std::fs::write(&path, text).unwrap();
        Sample::read(&[path], given).unwrap()
    }

    fn payloads(sample: &Sample) -> Vec<&str> {
        sample
            .messages
            .iter()
            .map(|message| std::str::from_utf8(&message.payload).unwrap())
            .collect()
    }

    #[test]
    fn of_cases_those_are_kept_that_the_first_setup_is_to_take() {
        let sample = read(CASES, &CaseSetup::new());
        assert_eq!(payloads(&sample), ["1", "2", "4"]);
        assert_eq!(sample.left_out, 2);
        assert_eq!(sample.setup["settings"].value, "{ limit = 20 }");
    }

    #[test]
    fn settings_that_are_given_count_for_all_cases() {
        let value = "{ limit = 5 }".to_owned();
        let given = CaseSetup::from([("settings".to_owned(), Written { line: 0, value })]);
        let sample = read(CASES, &given);
        assert_eq!(payloads(&sample), ["1", "2", "3", "4"]);
        assert_eq!(sample.setup["settings"].value, "{ limit = 5 }");
    }

    #[test]
    fn lines_are_messages_and_there_is_a_bound() {
        let line = "devices/d1/t 7\n# a comment\n\n";
        let sample = read(&line.repeat(MOST + 3), &CaseSetup::new());
        assert_eq!((sample.messages.len(), sample.left_out), (MOST, 3));
        let own = Sample::read(&[], &CaseSetup::new()).unwrap();
        assert_eq!((own.messages.len(), own.left_out), (DEVICES, 0));
    }

    #[test]
    fn a_file_without_a_message_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("none");
        std::fs::write(&path, "# nothing\n").unwrap();
        let told = Sample::read(&[path], &CaseSetup::new()).err().unwrap();
        assert!(matches!(told, BenchError::NoMessage(_)), "{told}");
    }
}
