//! How much is said: as the config has it, and for a while more or less of all or of one module. What was changed ends by
//! itself, whatever becomes of the config meanwhile.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::{Registry, reload};

/// The modules whose lines can be asked for, as they are called in the `target` of a line.
pub const MODULES: [&str; 13] = [
    "admin",
    "chain",
    "config",
    "gateway",
    "link",
    "message",
    "mqtt",
    "recording",
    "source",
    "spool",
    "trust",
    "uplink",
    "versions",
];

/// Changes at a time, of different modules.
const MOST: usize = 8;
/// No change lasts longer.
pub const LONGEST: Duration = Duration::from_secs(86_400);

/// A level that holds for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
struct LevelChange {
    /// Of which module; `None`: of all.
    module: Option<String>,
    level: LevelFilter,
    until: Instant,
}

/// What is said, for whoever asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// As the config and the command line say.
    pub level: String,
    pub changes: Vec<ShownChange>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownChange {
    /// Of which module; `None`: of all.
    pub module: Option<String>,
    pub level: String,
    /// Seconds until it ends.
    pub left_s: u64,
}

/// Why a level cannot be changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no level `{0}`: error, warn, info, debug or trace")]
    Level(String),
    #[error("there is no module `{0}`: {known}", known = MODULES.join(", "))]
    Module(String),
    #[error("{MOST} modules have a level of their own already: `tidegate log config` ends them")]
    Many,
    #[error("a level is changed for a second at least, and for a day at most")]
    Time,
    #[error("this process does not log")]
    Silent,
}

/// What holds at a time. No clock.
#[derive(Debug)]
struct LogLevels {
    base: LevelFilter,
    changes: Vec<LevelChange>,
}

impl LogLevels {
    fn targets(&self) -> Targets {
        let whole = self.changes.iter().find(|change| change.module.is_none());
        let level = whole.map_or(self.base, |change| change.level);
        // What our dependencies say matters from `warn` on, unless somebody digs deep.
        let others = if level == LevelFilter::TRACE {
            LevelFilter::DEBUG
        } else {
            level.min(LevelFilter::WARN)
        };
        let own = self.changes.iter().filter_map(|change| {
            let module = change.module.as_ref()?;
            Some((format!("tidegate::{module}"), change.level))
        });
        Targets::new()
            .with_default(others)
            .with_target("tidegate", level)
            .with_targets(own)
    }

    fn put(&mut self, change: LevelChange) -> Result<(), Error> {
        self.changes.retain(|known| known.module != change.module);
        if self.changes.len() == MOST {
            return Err(Error::Many);
        }
        self.changes.push(change);
        Ok(())
    }

    /// Takes out what has ended at `now`.
    fn end(&mut self, now: Instant) -> Vec<LevelChange> {
        let (over, left) = self
            .changes
            .drain(..)
            .partition(|change| change.until <= now);
        self.changes = left;
        over
    }
}

/// The process has one log.
static LOG: OnceLock<(reload::Handle<Targets, Registry>, Mutex<LogLevels>)> = OnceLock::new();

/// The filter of a log that begins with `base`; a second one is nobody's to change.
pub(super) fn filter(base: LevelFilter) -> reload::Layer<Targets, Registry> {
    let levels = LogLevels {
        base,
        changes: Vec::new(),
    };
    let (layer, handle) = reload::Layer::new(levels.targets());
    let _ = LOG.set((handle, Mutex::new(levels)));
    layer
}

/// Changes what is said, and says so with whichever of the two says more.
fn change<T>(
    work: impl FnOnce(&mut LogLevels) -> Result<T, Error>,
    tell: impl Fn(&T),
) -> Result<T, Error> {
    let (handle, levels) = LOG.get().ok_or(Error::Silent)?;
    let mut levels = locked(levels);
    let done = work(&mut levels)?;
    let said = tracing::enabled!(tracing::Level::INFO);
    if said {
        tell(&done);
    }
    // An error means that the log has ended.
    let _ = handle.reload(levels.targets());
    drop(levels);
    if !said {
        tell(&done);
    }
    Ok(done)
}

fn locked(levels: &Mutex<LogLevels>) -> MutexGuard<'_, LogLevels> {
    levels.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on `level` holds, for `module` or for all, until [`end`] is called when that time is over. `who` wants it.
///
/// # Errors
/// There is no such level or module, too many have one of their own, or the time is no good.
pub fn put(level: &str, module: Option<&str>, time: Duration, who: &str) -> Result<(), Error> {
    if !(Duration::from_secs(1)..=LONGEST).contains(&time) {
        return Err(Error::Time);
    }
    let level = level_of(level)?;
    let module = module.map(module_of).transpose()?;
    let put = LevelChange {
        module,
        level,
        until: Instant::now() + time,
    };
    let seconds = time.as_secs();
    let tell = |(): &()| {
        let module = put.module.as_deref().unwrap_or("all");
        tracing::info!(%level, module, seconds, who, "the log's level is changed for a while");
    };
    change(|levels| levels.put(put.clone()), tell)
}

/// Ends what is over at `now`: all of it with `None`.
pub fn end(now: Option<Instant>) {
    let tell = |over: &Vec<LevelChange>| {
        for change in over {
            let module = change.module.as_deref().unwrap_or("all");
            tracing::info!(module, level = %change.level, "the log's level is the config's again");
        }
    };
    let work = |levels: &mut LogLevels| {
        Ok(match now {
            Some(now) => levels.end(now),
            None => std::mem::take(&mut levels.changes),
        })
    };
    // A process without a log has nothing to end.
    let _ = change(work, tell);
}

/// What holds now, and until when.
pub fn shown() -> Option<Shown> {
    let (_, levels) = LOG.get()?;
    let levels = locked(levels);
    let now = Instant::now();
    let changes = levels.changes.iter().map(|change| ShownChange {
        module: change.module.clone(),
        level: change.level.to_string(),
        left_s: change.until.saturating_duration_since(now).as_secs(),
    });
    Some(Shown {
        level: levels.base.to_string(),
        changes: changes.collect(),
    })
}

fn level_of(word: &str) -> Result<LevelFilter, Error> {
    let known = ["error", "warn", "info", "debug", "trace"];
    if !known.contains(&word) {
        return Err(Error::Level(crate::words::line(word, 40)));
    }
    word.parse().map_err(|_| Error::Level(word.to_owned()))
}

/// A module, or one inside: `spool`, `spool::writer`.
fn module_of(path: &str) -> Result<String, Error> {
    let first = path.split("::").next().unwrap_or_default();
    let is_name = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    if path.len() <= 100 && MODULES.contains(&first) && path.split("::").all(is_name) {
        Ok(path.to_owned())
    } else {
        Err(Error::Module(crate::words::line(path, 40)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn levels() -> LogLevels {
        LogLevels {
            base: LevelFilter::INFO,
            changes: Vec::new(),
        }
    }

    fn of(module: Option<&str>, level: LevelFilter, until: Instant) -> LevelChange {
        LevelChange {
            module: module.map(str::to_owned),
            level,
            until,
        }
    }

    fn says(levels: &LogLevels, target: &str) -> Vec<tracing::Level> {
        use tracing::Level;
        let all = [
            Level::ERROR,
            Level::WARN,
            Level::INFO,
            Level::DEBUG,
            Level::TRACE,
        ];
        let targets = levels.targets();
        all.into_iter()
            .filter(|level| targets.would_enable(target, level))
            .collect()
    }

    #[test]
    fn one_module_says_more_for_its_time_and_the_others_do_not() {
        let (now, mut levels) = (Instant::now(), levels());
        levels
            .put(of(Some("spool"), LevelFilter::DEBUG, now + SECOND))
            .unwrap();
        assert_eq!(says(&levels, "tidegate::spool::writer").len(), 4);
        assert_eq!(says(&levels, "tidegate::source").len(), 3);
        assert_eq!(says(&levels, "rustls").len(), 2);
        assert_eq!(levels.end(now), []);
        assert_eq!(levels.end(now + SECOND).len(), 1);
        assert_eq!(says(&levels, "tidegate::spool::writer").len(), 3);
    }

    #[test]
    fn all_may_say_less_or_more_and_a_later_word_counts() {
        let (now, mut levels) = (Instant::now(), levels());
        levels
            .put(of(None, LevelFilter::ERROR, now + SECOND))
            .unwrap();
        assert_eq!(
            (
                says(&levels, "tidegate::chain").len(),
                says(&levels, "rustls").len()
            ),
            (1, 1)
        );
        levels
            .put(of(None, LevelFilter::TRACE, now + 3 * SECOND))
            .unwrap();
        assert_eq!(
            (
                says(&levels, "tidegate::chain").len(),
                says(&levels, "rustls").len()
            ),
            (5, 4)
        );
        assert_eq!(levels.end(now + SECOND), []);
        assert_eq!(levels.end(now + 3 * SECOND).len(), 1);
        assert_eq!(says(&levels, "tidegate::chain").len(), 3);
    }

    #[test]
    fn changes_are_bounded_and_names_must_be_known() {
        let (now, mut levels) = (Instant::now(), levels());
        for module in &MODULES[..MOST] {
            levels
                .put(of(Some(module), LevelFilter::DEBUG, now))
                .unwrap();
        }
        assert!(matches!(
            levels.put(of(None, LevelFilter::DEBUG, now)),
            Err(Error::Many)
        ));
        assert!(
            levels
                .put(of(Some(MODULES[0]), LevelFilter::TRACE, now))
                .is_ok()
        );
        assert_eq!(module_of("spool::writer").unwrap(), "spool::writer");
        for bad in ["", "rustls", "spool::", "spool=trace", "spool,off", "Spool"] {
            assert!(module_of(bad).is_err(), "{bad}");
        }
        assert!(level_of("off").is_err() && level_of("3").is_err());
        assert_eq!(level_of("debug").unwrap(), LevelFilter::DEBUG);
    }

    #[test]
    fn every_module_that_is_named_is_there() {
        let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        for module in MODULES {
            assert!(source.join(module).is_dir(), "{module}");
        }
    }
}
