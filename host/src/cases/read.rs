//! From the text of a file to its cases, or to every mistake in it at once.

use std::collections::BTreeSet;
use std::fmt;

use super::line::read_message;
use super::{Act, Case, CaseSetup, KEYS, Outcome, STARTS, Step, Written};
use crate::clock;
use crate::config::read_duration;

/// Lines on which one value may stand.
const MOST_LINES: usize = 200;

/// What is wrong with a file: lines and what to do about them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadCases(pub Vec<(usize, String)>);

impl fmt::Display for BadCases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self
            .0
            .iter()
            .map(|(line, why)| format!("line {line}: {why}"))
            .collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for BadCases {}

/// Reads the text of a file.
///
/// # Errors
/// All that is wrong with it.
pub fn read(text: &str) -> Result<Vec<Case>, BadCases> {
    let mut reading = CasesReader::default();
    let lines: Vec<&str> = text.lines().collect();
    let mut next = 0;
    while let Some(line) = lines.get(next) {
        let taken = match reading.take(next + 1, line, &lines[next + 1..]) {
            Ok(more) => more,
            Err(why) => {
                reading.wrong.push((next + 1, why));
                0
            }
        };
        next += 1 + taken;
    }
    reading.finish()
}

#[derive(Default)]
struct CasesReader {
    common: CaseSetup,
    cases: Vec<Case>,
    wrong: Vec<(usize, String)>,
}

impl CasesReader {
    /// Takes a line: how many of the `rest` belong to it.
    fn take(&mut self, number: usize, line: &str, rest: &[&str]) -> Result<usize, String> {
        let text = line.trim();
        let word = text.split([' ', '=']).next().unwrap_or_default();
        match text.as_bytes().first() {
            None | Some(b'#') => Ok(None),
            // Spaces at the end of a payload are the payload's.
            Some(b'[') => self.step(
                number,
                Act::Message(read_message(line.trim_start()).map_err(|why| why.0)?),
            ),
            Some(b'>') => self.expect(Outcome::read(&line.trim_start()[1..]).map_err(|why| why.0)?),
            _ if KEYS.contains(&word) => self.set(number, word, text, rest),
            _ => self.word(number, word, text[word.len()..].trim()),
        }
        .map(|taken| taken.unwrap_or(0))
    }

    fn word(&mut self, number: usize, word: &str, rest: &str) -> Result<Option<usize>, String> {
        match word {
            "case" if rest.is_empty() => {
                Err("a case has a name: `case keeps what is warm`".to_owned())
            }
            "case" => {
                let step = Step {
                    line: number,
                    act: Act::Start,
                    expected: Vec::new(),
                };
                self.cases.push(Case {
                    name: rest.to_owned(),
                    line: number,
                    setup: self.common.clone(),
                    steps: vec![step],
                });
                Ok(None)
            }
            "advance" => {
                let by =
                    read_duration(rest).map_err(|why| format!("`{rest}` is no time: {why}"))?;
                self.step(number, Act::Advance(by))
            }
            "at" => {
                let moment = clock::moment(rest)
                    .ok_or_else(|| format!("`{rest}` is no moment: write 2026-03-29T00:59:00Z"))?;
                self.step(number, Act::At(moment))
            }
            _ => Err(format!(
                "`{word}` begins no line here: `{}`, or one of {} with ` = `",
                STARTS.join("`, `"),
                KEYS.join(", ")
            )),
        }
    }

    fn set(
        &mut self,
        number: usize,
        key: &str,
        text: &str,
        rest: &[&str],
    ) -> Result<Option<usize>, String> {
        let value = text[key.len()..].trim_start();
        let value = value
            .strip_prefix('=')
            .ok_or_else(|| format!("`{key}` wants a value as in a config: `{key} = …`"))?;
        let mut value = value.trim().to_owned();
        let mut taken = 0;
        while is_open(&value) {
            let more = rest.get(taken).filter(|_| taken < MOST_LINES);
            let more = more.ok_or_else(|| {
                format!("the value of `{key}` has no end: a bracket or quote is open")
            })?;
            value.push(' ');
            value.push_str(more.trim());
            taken += 1;
        }
        let parsed: Result<toml::Table, _> = toml::from_str(&format!("{key} = {value}"));
        if let Err(error) = parsed {
            return Err(format!(
                "the value of `{key}` is no TOML: {}",
                error.message()
            ));
        }
        let setup = match self.cases.last_mut() {
            None => &mut self.common,
            Some(case) if case.steps.len() > 1 => {
                return Err(format!(
                    "`{key}` stands before the first message of its case: a plugin is configured once"
                ));
            }
            Some(case) => &mut case.setup,
        };
        setup.insert(
            key.to_owned(),
            Written {
                line: number,
                value,
            },
        );
        Ok(Some(taken))
    }

    fn step(&mut self, line: usize, act: Act) -> Result<Option<usize>, String> {
        let case = self
            .cases
            .last_mut()
            .ok_or("this belongs to a case: put `case NAME` before it")?;
        case.steps.push(Step {
            line,
            act,
            expected: Vec::new(),
        });
        Ok(None)
    }

    fn expect(&mut self, outcome: Outcome) -> Result<Option<usize>, String> {
        let step = self.cases.last_mut().and_then(|case| case.steps.last_mut());
        let step =
            step.ok_or("this comes of a message: put `case NAME` and a message before it")?;
        let is_of_start = matches!(outcome, Outcome::Refused(_));
        match step.act {
            Act::Start if !is_of_start => {
                Err("before the first message only `> refused WORDS` can come".to_owned())
            }
            Act::Start => Ok(()),
            _ if is_of_start => {
                Err("settings are refused at the start: put it before the first message".to_owned())
            }
            Act::Advance(_) | Act::At(_) if !is_of_time(&outcome) => {
                Err("of time come messages, `nothing` and `failed WORDS`".to_owned())
            }
            _ => Ok(()),
        }?;
        step.expected.push(outcome);
        Ok(None)
    }

    fn finish(mut self) -> Result<Vec<Case>, BadCases> {
        let mut names = BTreeSet::new();
        for case in &self.cases {
            if !names.insert(&case.name) {
                self.wrong.push((
                    case.line,
                    format!(
                        "there is a case `{}` above: give each a name of its own",
                        case.name
                    ),
                ));
            }
        }
        if self.cases.is_empty() && self.wrong.is_empty() {
            self.wrong.push((
                1,
                "there is no case in it: begin one with `case NAME`".to_owned(),
            ));
        }
        self.wrong.sort();
        if self.wrong.is_empty() {
            Ok(self.cases)
        } else {
            Err(BadCases(self.wrong))
        }
    }
}

fn is_of_time(outcome: &Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Message { .. } | Outcome::Nothing | Outcome::Failed(_)
    )
}

/// Whether a bracket or a quote of a value is open.
fn is_open(value: &str) -> bool {
    let mut depth = 0_i32;
    let mut quote = None;
    let mut letters = value.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some('"'), '\\') => drop(letters.next()),
            (Some(open), letter) if letter == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(letter),
            (None, '{' | '[') => depth += 1,
            (None, '}' | ']') => depth -= 1,
            (None, _) => {}
        }
    }
    depth > 0
}
