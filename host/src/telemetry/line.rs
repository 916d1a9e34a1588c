//! A log event as a line: text for eyes and the journal, JSON for machines.
//!
//! Every value is cleaned and cut here, whoever it comes from, so that no plugin, device or broker can write a line of ours,
//! speak to the terminal, or fill the log with one event.

use std::error::Error;
use std::fmt::{self, Debug, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Level};

use crate::words;
use crate::words::with_causes;

/// Characters of a message.
const MESSAGE: usize = 1_000;
/// Characters of a value.
const VALUE: usize = 500;

/// The look of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineStyle {
    /// For eyes: what has gaps stands on a line of its own.
    Terminal {
        colour: bool,
    },
    /// For a file: one event, one line.
    Text,
    /// For the journal, which has the time already, and takes the priority from the start of a line.
    Journal,
    Json,
}

/// What an event says, ready to be shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct LogEvent {
    message: String,
    target: String,
    values: Vec<(&'static str, serde_json::Value)>,
}

impl LogEvent {
    /// Everything of it, cleaned and cut.
    pub(super) fn of(event: &Event<'_>) -> Self {
        let mut said = Self {
            target: event.metadata().target().to_owned(),
            ..Self::default()
        };
        event.record(&mut said);
        said
    }

    #[cfg(test)]
    pub(super) fn saying(self, message: &str) -> Self {
        Self {
            message: message.to_owned(),
            ..self
        }
    }

    /// With one more value.
    pub(super) fn with(mut self, name: &'static str, value: u64) -> Self {
        self.values.push((name, value.into()));
        self
    }

    /// Whether another says the same, save for its numbers.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let same = |((name, value), (other_name, other)): (
            &(&str, serde_json::Value),
            &(&str, serde_json::Value),
        )| {
            name == other_name
                && (value == other
                    || (value.is_number() && other.is_number())
                    || is_same_sentence(value, other))
        };
        self.message == other.message
            && self.target == other.target
            && self.values.len() == other.values.len()
            && self.values.iter().zip(&other.values).all(same)
    }

    /// The line, with its end.
    pub(super) fn render(&self, level: Level, time: &str, look: LineStyle) -> Vec<u8> {
        let mut line = String::with_capacity(256);
        // Nothing fails that writes into memory.
        let _ = match look {
            LineStyle::Json => self.json(&mut line, level, time),
            LineStyle::Journal => {
                write!(line, "<{}>", priority(level)).and_then(|()| self.text(&mut line))
            }
            LineStyle::Text => {
                write!(line, "{time} {level:>5} ").and_then(|()| self.text(&mut line))
            }
            LineStyle::Terminal { colour: false } => {
                write!(line, "{time} {level:>5} ").and_then(|()| self.folded(&mut line, ["", ""]))
            }
            LineStyle::Terminal { colour: true } => {
                let code = code(level);
                write!(line, "\x1b[2m{time}\x1b[0m \x1b[{code}m{level:>5}\x1b[0m ")
                    .and_then(|()| self.folded(&mut line, ["\x1b[2m", "\x1b[0m"]))
            }
        };
        line.push('\n');
        line.into_bytes()
    }

    fn text(&self, line: &mut String) -> fmt::Result {
        line.push_str(&self.message);
        for (name, value) in &self.values {
            match word(value) {
                Some(word) => write!(line, " {name}={word}")?,
                None => write!(line, " {name}={value}")?,
            }
        }
        Ok(())
    }

    /// The words beside the message, and what has gaps below it. `dim` begins and ends what is less bright.
    fn folded(&self, line: &mut String, [dim, plain]: [&str; 2]) -> fmt::Result {
        line.push_str(&self.message);
        for (name, value) in &self.values {
            match value {
                serde_json::Value::String(_) => {
                    if let Some(word) = word(value) {
                        write!(line, " {dim}{name}={plain}{word}")?;
                    }
                }
                value => write!(line, " {dim}{name}={plain}{value}")?,
            }
        }
        for (name, value) in &self.values {
            if let serde_json::Value::String(text) = value
                && word(value).is_none()
            {
                write!(line, "\n    {dim}{name}:{plain} {text}")?;
            }
        }
        Ok(())
    }

    fn json(&self, line: &mut String, level: Level, time: &str) -> fmt::Result {
        let text = |text: &str| serde_json::Value::from(text);
        write!(
            line,
            "{{\"timestamp\":{},\"level\":\"{level}\",\"message\":{}",
            text(time),
            text(&self.message)
        )?;
        for (name, value) in &self.values {
            write!(line, ",{}:{value}", text(name))?;
        }
        write!(line, ",\"target\":{}}}", text(&self.target))
    }

    fn put(&mut self, field: &Field, value: serde_json::Value) {
        self.values.push((field.name(), value));
    }

    fn put_text(&mut self, field: &Field, text: &str) {
        match field.name() {
            "message" => self.message = words::line(text, MESSAGE),
            // What came by the `log` crate has its own place in its values.
            "log.target" => self.target = words::line(text, VALUE),
            name if name.starts_with("log.") => {}
            // Of a panic; it comes seldom, and is of no use when it is cut.
            "stack" => self.put(field, words::line(text, 4 * MESSAGE).into()),
            _ => self.put(field, words::line(text, VALUE).into()),
        }
    }
}

/// A text that stands as it is: quotes are for what has gaps.
fn word(value: &serde_json::Value) -> Option<&str> {
    value
        .as_str()
        .filter(|text| !text.is_empty() && !text.contains([' ', '"', '=']))
}

impl Visit for LogEvent {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        if !field.name().starts_with("log.") {
            self.put(field, value.into());
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if !field.name().starts_with("log.") {
            self.put(field, value.into());
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put_text(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.put_text(field, &with_causes(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = Bounded {
            text: String::new(),
            room: 4 * MESSAGE,
        };
        // It fails where the room ends.
        let _ = write!(text, "{value:?}");
        self.put_text(field, &text.text);
    }
}

/// Sentences hold figures, names have no gaps.
fn is_same_sentence(one: &serde_json::Value, other: &serde_json::Value) -> bool {
    let without_figures = |text: &'_ str| {
        text.chars()
            .filter(|letter| !letter.is_ascii_digit())
            .collect::<String>()
    };
    match (one.as_str(), other.as_str()) {
        (Some(one), Some(other)) => {
            one.contains(' ') && without_figures(one) == without_figures(other)
        }
        _ => false,
    }
}

/// Takes no more of a text than is looked at.
struct Bounded {
    text: String,
    room: usize,
}

impl Write for Bounded {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        if part.len() <= self.room {
            self.room -= part.len();
            self.text.push_str(part);
            return Ok(());
        }
        self.text
            .push_str(&part[..part.floor_char_boundary(self.room)]);
        self.room = 0;
        Err(fmt::Error)
    }
}

/// As syslog numbers them.
pub(super) fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

/// The colour of a level.
fn code(level: Level) -> u8 {
    match level {
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 32,
        Level::DEBUG => 34,
        _ => 35,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(message: &str, values: &[(&'static str, serde_json::Value)]) -> LogEvent {
        LogEvent {
            message: message.to_owned(),
            target: "tidegate::uplink".to_owned(),
            values: values.to_vec(),
        }
    }

    fn shown(said: &LogEvent, level: Level, look: LineStyle) -> String {
        String::from_utf8(said.render(level, "2026-11-22T01:02:03.004Z", look)).unwrap()
    }

    #[test]
    fn figures_make_no_other_line_and_names_do() {
        let full = |kib: u64| {
            said(
                "full",
                &[
                    ("why", format!("{kib} KiB free").into()),
                    ("free", kib.into()),
                ],
            )
        };
        assert!(full(17).is_like(&full(2_304)));
        let online = |name: &str| said("online", &[("uplink", name.into())]);
        assert!(!online("u1").is_like(&online("u2")));
    }

    #[test]
    fn a_line_says_the_same_to_everybody() {
        let said = said(
            "online",
            &[
                ("uplink", "cloud".into()),
                ("after", "no connection".into()),
                ("dials", 3.into()),
            ],
        );
        let text = "online uplink=cloud after=\"no connection\" dials=3\n";
        let look = LineStyle::Text;
        assert_eq!(
            shown(&said, Level::INFO, look),
            format!("2026-11-22T01:02:03.004Z  INFO {text}")
        );
        let folded = "online uplink=cloud dials=3\n    after: no connection\n";
        assert_eq!(
            shown(&said, Level::INFO, LineStyle::Terminal { colour: false }),
            format!("2026-11-22T01:02:03.004Z  INFO {folded}")
        );
        assert_eq!(
            shown(&said, Level::ERROR, LineStyle::Journal),
            format!("<3>{text}")
        );
        assert_eq!(
            shown(&said, Level::WARN, LineStyle::Journal),
            format!("<4>{text}")
        );
        let json: serde_json::Value =
            serde_json::from_str(&shown(&said, Level::INFO, LineStyle::Json)).unwrap();
        let expected = serde_json::json!({
            "timestamp": "2026-11-22T01:02:03.004Z", "level": "INFO", "message": "online", "target": "tidegate::uplink",
            "uplink": "cloud", "after": "no connection", "dials": 3,
        });
        assert_eq!(json, expected);
    }
}
