//! The log on standard error: text for eyes and the journal, JSON for machines. Lines go through [`super::sink`], so that
//! nobody who has something to say waits for whoever reads it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing::{Event, Level as EventLevel, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::prelude::*;

use super::line::{LineStyle, LogEvent};
use super::repeats::RepeatedLines;
use super::sink::{self, Sink};
use super::{crash, levels};
use crate::clock::{Now, utc};
use crate::config::{Format, LogLevel, LogSettings};

/// Where the lines go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogOutput {
    /// Standard error is a terminal.
    pub terminal: bool,
    /// Standard error is systemd's journal, which has the time of a line already.
    pub journal: bool,
    pub colour: bool,
}

/// Starts logging for the rest of the process. `louder` moves the level by that many steps, down when negative.
///
/// A second call changes nothing: the first one counts.
pub fn start(settings: LogSettings, louder: i8, place: LogOutput) {
    let level = moved(settings.level, louder);
    let Some(sink) = queue() else { return };
    let lines = LogLayer {
        sink,
        look: look(settings.format, place),
        repeats: Mutex::default(),
    };
    if tracing_subscriber::registry()
        .with(levels::filter(level))
        .with(lines)
        .try_init()
        .is_err()
    {
        tracing::debug!("logging was started before");
        return;
    }
    std::panic::set_hook(Box::new(crash::tell));
}

/// From now on nothing that is said waits for whoever reads standard error. A second call changes nothing.
pub fn queue() -> Option<Arc<Sink>> {
    let started = sink::start(tell_dropped);
    started
        .map_err(|error| sink::say(&format!("warning: there is no log: {error}")))
        .ok()
}

/// What the sink says when its reader goes on.
fn tell_dropped(lines: u64) {
    tracing::warn!(
        lines,
        "log lines were dropped here: standard error did not take them"
    );
}

/// Renders events and hands them on.
struct LogLayer {
    sink: Arc<Sink>,
    look: LineStyle,
    repeats: Mutex<RepeatedLines>,
}

impl<S: Subscriber> Layer<S> for LogLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let level = *event.metadata().level();
        let said = LogEvent::of(event);
        let now = Now::read();
        let time = utc(now.wall.0);
        let print = |level, said: &LogEvent| self.sink.push(said.render(level, &time, self.look));
        // Whoever asks for more than `info` asks for everything.
        if level > EventLevel::INFO {
            return print(level, &said);
        }
        let uptime = Duration::from_micros(now.uptime.0);
        let due = self
            .repeats
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pass(level, said, uptime);
        due.iter().for_each(|(level, said)| print(*level, said));
    }
}

fn look(format: Format, place: LogOutput) -> LineStyle {
    match format {
        Format::Json => LineStyle::Json,
        Format::Auto if !place.terminal && !place.journal => LineStyle::Json,
        Format::Auto | Format::Text if place.journal => LineStyle::Journal,
        Format::Auto | Format::Text if place.terminal => LineStyle::Terminal {
            colour: place.colour,
        },
        Format::Auto | Format::Text => LineStyle::Text,
    }
}

fn moved(level: LogLevel, louder: i8) -> LevelFilter {
    const STEPS: [LevelFilter; 6] = [
        LevelFilter::OFF,
        LevelFilter::ERROR,
        LevelFilter::WARN,
        LevelFilter::INFO,
        LevelFilter::DEBUG,
        LevelFilter::TRACE,
    ];
    let at = match level {
        LogLevel::Error => 1,
        LogLevel::Warn => 2,
        LogLevel::Info => 3,
        LogLevel::Debug => 4,
        LogLevel::Trace => 5,
    };
    let step = (at + isize::from(louder)).clamp(0, 5).unsigned_abs();
    STEPS[step]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_is_text_for_eyes_and_json_for_machines() {
        let terminal = LogOutput {
            terminal: true,
            ..LogOutput::default()
        };
        let journal = LogOutput {
            journal: true,
            ..LogOutput::default()
        };
        assert_eq!(
            look(Format::Auto, terminal),
            LineStyle::Terminal { colour: false }
        );
        assert_eq!(look(Format::Auto, journal), LineStyle::Journal);
        assert_eq!(look(Format::Auto, LogOutput::default()), LineStyle::Json);
        assert_eq!(look(Format::Json, terminal), LineStyle::Json);
        assert_eq!(look(Format::Text, LogOutput::default()), LineStyle::Text);
    }

    #[test]
    fn verbosity_stops_at_both_ends() {
        assert_eq!(moved(LogLevel::Info, 1), LevelFilter::DEBUG);
        assert_eq!(moved(LogLevel::Info, 9), LevelFilter::TRACE);
        assert_eq!(moved(LogLevel::Info, -1), LevelFilter::WARN);
        assert_eq!(moved(LogLevel::Error, -9), LevelFilter::OFF);
    }
}
