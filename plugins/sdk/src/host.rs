//! What the host offers: a log, counters and gauges, the time. Natively (in tests) all of it is recorded instead:
//! see [`test::Plugin`](crate::test::Plugin).

use std::cell::{Cell, RefCell};

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Data is lost, or the operator must act.
    Error,
    /// Odd, but dealt with.
    Warn,
    /// An event in the plugin's life.
    Info,
    /// For diagnosis.
    Debug,
}

/// Writes a line to the gateway's log. The host drops lines above a rate, so never one per message.
pub fn log(level: Level, line: &str) {
    outside::log(level, line);
}

/// [`log`] at the level error.
pub fn error(line: &str) {
    log(Level::Error, line);
}

/// [`log`] at the level warn.
pub fn warn(line: &str) {
    log(Level::Warn, line);
}

/// [`log`] at the level info.
pub fn info(line: &str) {
    log(Level::Info, line);
}

/// [`log`] at the level debug.
pub fn debug(line: &str) {
    log(Level::Debug, line);
}

thread_local! {
    static NOW_US: Cell<u64> = const { Cell::new(0) };
    static COUNTERS: RefCell<Vec<(String, u64)>> = const { RefCell::new(Vec::new()) };
}

/// Adds to a counter of this plugin. Cheap per message: the host hears of it once per batch.
pub fn counter(name: &str, add: u64) {
    COUNTERS.with_borrow_mut(|counters| {
        match counters.iter_mut().find(|(known, _)| known == name) {
            Some((_, count)) => *count += add,
            None => counters.push((name.to_owned(), add)),
        }
    });
}

/// Sets a gauge of this plugin; a call to the host each time.
pub fn gauge(name: &str, value: f64) {
    outside::gauge(name, value);
}

/// The time, microseconds since 1970: the batch's or the tick's, so that runs can be repeated.
pub fn now_us() -> u64 {
    match NOW_US.get() {
        // Before the first batch: in `new`.
        0 => outside::now_us(),
        now_us => now_us,
    }
}

/// The running clock, microseconds: the time the gateway has run, over restarts. It stands still while the gateway is off,
/// and never jumps as the time of day does on a machine without a battery clock; within a call it stands still. Durations
/// are told by it: how long a value has held, a rate, a window. See [`elapsed`] for moments out of a state.
pub fn running_us() -> u64 {
    outside::running_us()
}

/// Time from `since_us` to `now_us`, both of the running clock. A moment that lies ahead is one of a store that was lost:
/// no time has gone by since.
pub fn elapsed(since_us: u64, now_us: u64) -> std::time::Duration {
    std::time::Duration::from_micros(now_us.saturating_sub(since_us))
}

/// What the host tells of the flow.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flow {
    pub name: String,
    /// As the config has them.
    pub topics: Vec<String>,
    /// The name among them that the config makes the key.
    pub key: Option<String>,
}

pub(crate) fn flow() -> Flow {
    outside::flow()
}

pub(crate) fn set_now(now_us: u64) {
    NOW_US.set(now_us);
}

/// Tells the host what was counted in this batch.
pub(crate) fn flush() {
    COUNTERS.with_borrow_mut(|counters| {
        for (name, count) in counters.iter_mut().filter(|(_, count)| *count > 0) {
            outside::counter(name, std::mem::take(count));
        }
    });
}

#[cfg(target_arch = "wasm32")]
mod outside {
    use super::Level;
    use crate::bindings::transformer::tidegate::plugin::{
        clock, flow as host_flow, log as host_log, metrics,
    };

    pub fn now_us() -> u64 {
        clock::now_us()
    }

    pub fn running_us() -> u64 {
        clock::running_us()
    }

    pub fn flow() -> super::Flow {
        super::Flow {
            name: host_flow::name(),
            topics: host_flow::topics(),
            key: host_flow::key(),
        }
    }

    pub fn log(level: Level, line: &str) {
        let level = match level {
            Level::Error => host_log::Level::Error,
            Level::Warn => host_log::Level::Warn,
            Level::Info => host_log::Level::Info,
            Level::Debug => host_log::Level::Debug,
        };
        host_log::log(level, line);
    }

    pub fn counter(name: &str, add: u64) {
        metrics::counter(name, add);
    }

    pub fn gauge(name: &str, value: f64) {
        metrics::gauge(name, value);
    }
}

#[cfg(not(target_arch = "wasm32"))]
pub(crate) mod outside {
    use std::cell::{Cell, RefCell};
    use std::collections::BTreeMap;

    use super::Level;

    /// What a test may look at. Bounded, since benchmarks run here too.
    #[derive(Debug, Default)]
    pub struct Recorded {
        pub lines: Vec<(Level, String)>,
        pub counters: BTreeMap<String, u64>,
        pub gauges: BTreeMap<String, f64>,
    }

    const MAX_LINES: usize = 1_000;

    thread_local! {
        pub static RECORDED: RefCell<Recorded> = RefCell::default();
        /// What a test says that its flow is.
        pub static FLOW: RefCell<Option<super::Flow>> = const { RefCell::new(None) };
        /// What a test says that the running clock shows.
        pub static RUNNING_US: Cell<u64> = const { Cell::new(0) };
    }

    pub fn now_us() -> u64 {
        0
    }

    pub fn running_us() -> u64 {
        RUNNING_US.get()
    }

    pub fn flow() -> super::Flow {
        FLOW.with_borrow(Option::clone)
            .unwrap_or_else(|| super::Flow {
                name: "flow".to_owned(),
                topics: vec!["devices/{device}/telemetry".to_owned()],
                key: None,
            })
    }

    pub fn log(level: Level, line: &str) {
        RECORDED.with_borrow_mut(|recorded| {
            if recorded.lines.len() < MAX_LINES {
                recorded.lines.push((level, line.to_owned()));
            }
        });
    }

    pub fn counter(name: &str, add: u64) {
        RECORDED.with_borrow_mut(|recorded| {
            *recorded.counters.entry(name.to_owned()).or_default() += add
        });
    }

    pub fn gauge(name: &str, value: f64) {
        RECORDED.with_borrow_mut(|recorded| recorded.gauges.insert(name.to_owned(), value));
    }
}
