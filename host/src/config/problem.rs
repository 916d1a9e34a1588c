//! Problems of a config, shown as compilers show them: code, file, line, caret, hint.

pub(super) mod code;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Level, Origin, Renderer, Snippet};
use serde_json::{Value, json};

use self::code::ProblemCode;
use super::tree::Place;
use crate::words;

/// Problems that are shown: whoever has more of them mends these first.
const MOST_SHOWN: usize = 20;

/// Bytes of lines that are shown as they stand.
const LONGEST_EXCERPT: usize = 4 << 10;
/// Characters of a text's name.
const LONGEST_NAME: usize = 400;

/// Something the config was read from: a file, a variable, an argument.
#[derive(Clone, Debug)]
pub(super) struct ConfigText {
    /// The path, or `environment variable X`, or `argument --set`.
    pub(super) name: String,
    /// What stands there; secrets are masked before anybody gets to see it.
    pub(super) content: String,
}

impl ConfigText {
    /// Overwrites the bytes of these spans (whole characters) with asterisks. Lines keep their number and length.
    pub(super) fn mask_all(&mut self, spans: &[Range<usize>]) {
        let is_whole = |span: &&Range<usize>| self.content.get((*span).clone()).is_some();
        let whole: Vec<Range<usize>> = spans.iter().filter(is_whole).cloned().collect();
        let mut bytes = std::mem::take(&mut self.content).into_bytes();
        for span in whole {
            bytes[span]
                .iter_mut()
                .filter(|byte| **byte != b'\n')
                .for_each(|byte| *byte = b'*');
        }
        // Whole characters were replaced by whole characters.
        self.content = String::from_utf8(bytes).unwrap_or_default();
    }

    /// Line of a byte, from 0 on.
    pub(super) fn line(&self, byte: usize) -> usize {
        self.content.as_bytes()[..byte.min(self.content.len())]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
    }

    /// Bytes of the lines that `start..end` stands in.
    fn lines_of(&self, start: usize, end: usize) -> usize {
        let bytes = self.content.as_bytes();
        let start = start.min(bytes.len());
        let end = end.min(bytes.len());
        let begins = bytes[..start]
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        let ends = bytes[end..]
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(bytes.len(), |at| end + at);
        ends.saturating_sub(begins)
    }

    /// Line and column of a byte, from 1 on; the column counts characters.
    fn position(&self, byte: usize) -> (usize, usize) {
        let before = self.content.get(..byte).unwrap_or(&self.content);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        (line, before[start..].chars().count() + 1)
    }
}

#[derive(Clone, Debug)]
pub struct Problem {
    pub code: ProblemCode,
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    pub(super) place: Place,
}

/// Mistakes together with the texts they stand in. As an error its text is all of them, without colour.
#[derive(Clone, Debug)]
pub struct Problems {
    texts: Arc<[ConfigText]>,
    list: Vec<Problem>,
    /// Mistakes beyond the list.
    more: usize,
}

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(false).trim_end())
    }
}

impl Problems {
    pub(super) fn new(texts: Arc<[ConfigText]>, mut list: Vec<Problem>) -> Self {
        for problem in &mut list {
            // Names that somebody else chose stand in them.
            problem.message = words::lines(&problem.message, words::REASON);
            problem.hint = problem
                .hint
                .as_deref()
                .map(|hint| words::lines(hint, words::REASON));
        }
        list.sort_by_key(|problem| problem.place);
        Self {
            texts,
            list,
            more: 0,
        }
    }

    /// These, and so many mistakes that were only counted.
    #[must_use]
    pub(super) fn with_more(self, more: usize) -> Self {
        Self { more, ..self }
    }

    /// Those that are shown: errors before warnings where not all are.
    fn shown(&self) -> Vec<&Problem> {
        let mut shown: Vec<&Problem> = self.list.iter().collect();
        if shown.len() > MOST_SHOWN {
            shown.sort_by_key(|problem| problem.code.is_warning());
            shown.truncate(MOST_SHOWN);
        }
        shown
    }

    /// Whether all mistakes are files of plugins, or of their keys, that are not there or damaged.
    pub fn are_files_of_plugins(&self) -> bool {
        let mut mistakes = self.list.iter().filter(|one| !one.code.is_warning());
        self.more == 0 && mistakes.all(|one| one.code.is_of_plugins())
    }

    /// These and `other`, which are of the same config.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        self.list.extend(other.list.iter().cloned());
        Self::new(self.texts, self.list).with_more(self.more + other.more)
    }

    /// How many keep the gateway from starting.
    pub fn errors(&self) -> usize {
        self.list
            .iter()
            .filter(|problem| !problem.code.is_warning())
            .count()
            + self.more
    }

    /// How many do not.
    pub fn warnings(&self) -> usize {
        self.list.len() + self.more - self.errors()
    }

    /// Whether there is none of either kind.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The problems, in the order of the texts.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.list.iter()
    }

    /// The first of them, each with its line, caret and hint, and a last line that counts them.
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        let mut all = String::new();
        let shown = self.shown();
        for problem in &shown {
            all.push_str(&self.render_one(&renderer, problem));
            all.push_str("\n\n");
        }
        if !self.is_empty() {
            let hidden = self.list.len() + self.more - shown.len();
            if hidden > 0 {
                all.push_str(&format!(
                    "{hidden} more are not shown: mend these first\n\n"
                ));
            }
            all.push_str(&self.summary());
            all.push('\n');
        }
        all
    }

    /// `2 errors, 1 warning`.
    pub fn summary(&self) -> String {
        let count = |number: usize, noun: &str| match number {
            0 => None,
            1 => Some(format!("1 {noun}")),
            _ => Some(format!("{number} {noun}s")),
        };
        [
            count(self.errors(), "error"),
            count(self.warnings(), "warning"),
        ]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(", ")
    }

    /// `{"problems": [{code, severity, message, file, line, column, why, hint}], "errors": 2, "warnings": 0}`; line and column are null where the
    /// whole text is meant.
    pub fn to_json(&self) -> Value {
        let shown = self.shown();
        let problems: Vec<_> = shown
            .iter()
            .map(|problem| self.one_to_json(problem))
            .collect();
        json!({ "problems": problems, "errors": self.errors(), "warnings": self.warnings() })
    }

    fn one_to_json(&self, problem: &Problem) -> Value {
        let text = &self.texts[problem.place.text];
        let position = problem.place.span.map(|(start, _)| text.position(start));
        json!({
            "code": problem.code.name(),
            "severity": if problem.code.is_warning() { "warning" } else { "error" },
            "message": problem.message,
            "file": shown(&text.name),
            "line": position.map(|(line, _)| line),
            "column": position.map(|(_, column)| column),
            "why": problem.code.why(),
            "hint": problem.hint,
        })
    }

    fn render_one(&self, renderer: &Renderer, problem: &Problem) -> String {
        let text = &self.texts[problem.place.text];
        let level = if problem.code.is_warning() {
            Level::WARNING
        } else {
            Level::ERROR
        };
        let title = level
            .primary_title(problem.message.as_str())
            .id(problem.code.name());
        let name = shown(&text.name);
        let why = problem.code.why().map(|why| Level::NOTE.message(why));
        let span = problem.place.span;
        let excerpt = span.filter(|(start, end)| text.lines_of(*start, *end) <= LONGEST_EXCERPT);
        let Some((start, end)) = excerpt else {
            let origin = span.map(|(start, _)| text.position(start));
            let path = Origin::path(name);
            let group = title.element(match origin {
                Some((line, column)) => path.line(line).char_column(column),
                None => path,
            });
            let hint = problem
                .hint
                .as_deref()
                .map(|hint| Level::HELP.message(hint));
            return renderer.render(&[group.elements(hint).elements(why)]);
        };
        let annotation = AnnotationKind::Primary
            .span(start..end)
            .label(problem.hint.as_deref());
        let snippet = Snippet::source(text.content.as_str())
            .path(name)
            .annotation(annotation);
        renderer.render(&[title.element(snippet).elements(why)])
    }
}

/// The name of a text, as it is shown.
fn shown(name: &str) -> String {
    words::line(name, LONGEST_NAME)
}

#[cfg(test)]
mod tests;
