//! Log lines on standard error: text for eyes and the journal, JSON for machines.

use std::io;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt;
use tracing_subscriber::prelude::*;

use crate::config::{Format, Level, Log};

/// Where the lines go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Standard error is a terminal.
    pub terminal: bool,
    /// Standard error is systemd's journal, which has the time of a line already.
    pub journal: bool,
    /// Colours are wanted.
    pub colour: bool,
}

/// The look of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Text,
    TextWithoutTime,
    Json,
}

/// Starts logging for the rest of the process. `louder` moves the level by that many steps, down when negative.
///
/// A second call changes nothing: the first one counts.
pub fn start(settings: Log, louder: i8, place: Place) {
    let level = moved(settings.level, louder);
    // What our dependencies say matters from `warn` on, unless somebody digs deep.
    let others = if level == LevelFilter::TRACE { LevelFilter::DEBUG } else { level.min(LevelFilter::WARN) };
    let filter = Targets::new().with_default(others).with_target("tidegate", level);
    let registry = tracing_subscriber::registry().with(filter);
    // A line that cannot be written is lost, and ends nothing: saying so would go the same way.
    let lines = fmt::layer().with_writer(io::stderr).with_ansi(place.colour).log_internal_errors(false);
    let started = match look(settings.format, place) {
        Look::Text => registry.with(lines.with_target(false)).try_init(),
        Look::TextWithoutTime => registry.with(lines.with_target(false).without_time()).try_init(),
        Look::Json => registry.with(lines.with_ansi(false).json().flatten_event(true)).try_init(),
    };
    if started.is_err() {
        tracing::debug!("logging was started before");
    }
}

fn look(format: Format, place: Place) -> Look {
    match format {
        Format::Json => Look::Json,
        Format::Auto if !place.terminal && !place.journal => Look::Json,
        Format::Auto | Format::Text if place.journal => Look::TextWithoutTime,
        Format::Auto | Format::Text => Look::Text,
    }
}

fn moved(level: Level, louder: i8) -> LevelFilter {
    const STEPS: [LevelFilter; 6] =
        [LevelFilter::OFF, LevelFilter::ERROR, LevelFilter::WARN, LevelFilter::INFO, LevelFilter::DEBUG, LevelFilter::TRACE];
    let at = match level {
        Level::Error => 1,
        Level::Warn => 2,
        Level::Info => 3,
        Level::Debug => 4,
        Level::Trace => 5,
    };
    let step = (at + isize::from(louder)).clamp(0, 5).unsigned_abs();
    STEPS[step]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_is_text_for_eyes_and_json_for_machines() {
        let terminal = Place { terminal: true, ..Place::default() };
        let journal = Place { journal: true, ..Place::default() };
        assert_eq!(look(Format::Auto, terminal), Look::Text);
        assert_eq!(look(Format::Auto, journal), Look::TextWithoutTime);
        assert_eq!(look(Format::Auto, Place::default()), Look::Json);
        assert_eq!(look(Format::Json, terminal), Look::Json);
        assert_eq!(look(Format::Text, Place::default()), Look::Text);
    }

    #[test]
    fn verbosity_stops_at_both_ends() {
        assert_eq!(moved(Level::Info, 1), LevelFilter::DEBUG);
        assert_eq!(moved(Level::Info, 9), LevelFilter::TRACE);
        assert_eq!(moved(Level::Info, -1), LevelFilter::WARN);
        assert_eq!(moved(Level::Error, -9), LevelFilter::OFF);
    }
}
