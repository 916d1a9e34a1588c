//! Questions on a terminal, for what was not said on the command line.

use std::io::{BufRead, IsTerminal};

use clap::ValueEnum;

use super::InitFailure;
use super::write::Want;
use crate::cli::say;

/// Bytes of an answer.
const MOST: u64 = 4 << 10;

/// What was given, or else what somebody answers; an empty answer is `usual`.
pub(super) fn text(
    given: Option<&str>,
    flag: &str,
    question: &str,
    usual: &str,
) -> Result<String, InitFailure> {
    if let Some(given) = given {
        return Ok(given.to_owned());
    }
    let hint = if usual.is_empty() {
        String::new()
    } else {
        format!(" [{usual}]")
    };
    let answer = answer(flag, &format!("{question}{hint}:"))?;
    match (answer.is_empty(), usual.is_empty()) {
        (false, _) => Ok(answer),
        (true, false) => Ok(usual.to_owned()),
        (true, true) => Err(InitFailure::Usage(format!("{flag} is needed"))),
    }
}

/// What is wanted of the messages.
pub(super) fn want() -> Result<Want, InitFailure> {
    let question = "What is wanted: forward (all, as they come), changes (only what has changed), silence (all, and an alarm after an hour without) [forward]:";
    match answer("--want", question)?.as_str() {
        "" => Ok(Want::Forward),
        word => Want::from_str(word, true)
            .map_err(|_| InitFailure::Usage("say forward, changes or silence".to_owned())),
    }
}

fn answer(flag: &str, question: &str) -> Result<String, InitFailure> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Err(InitFailure::Usage(format!(
            "{flag} is needed where nobody can be asked"
        )));
    }
    say(question);
    let mut line = String::new();
    let read = std::io::Read::take(input.lock(), MOST).read_line(&mut line);
    read.map_err(|error| InitFailure::Usage(format!("no answer: {error}")))?;
    Ok(line.trim().to_owned())
}
