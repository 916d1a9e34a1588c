//! How requests were answered: counted by their code, and each kind of answer that is no good one said now and then.

use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::IntCounter;

use super::outcome::{CODES, CoapOutcome, written};
use crate::source::Metrics;

/// A kind of answer is said again so often.
const SAY_AGAIN: Duration = Duration::from_secs(600);

pub(super) struct CoapTally {
    name: Arc<str>,
    /// For each of [`CODES`].
    counters: Vec<IntCounter>,
    said: [Option<Instant>; CODES.len()],
    reset: IntCounter,
    ignored: IntCounter,
    unheard: IntCounter,
    socket_full: IntCounter,
    said_full: Option<Instant>,
}

impl CoapTally {
    pub(super) fn new(name: &Arc<str>, metrics: &Metrics) -> Self {
        let counter = |status: &str| metrics.requests(name, status);
        Self {
            name: Arc::clone(name),
            counters: CODES.iter().map(|code| counter(&written(*code))).collect(),
            said: [None; CODES.len()],
            reset: counter("reset"),
            ignored: counter("ignored"),
            unheard: counter("unheard"),
            socket_full: counter("socket-full"),
            said_full: None,
        }
    }

    /// A request came to that.
    pub(super) fn count(&mut self, outcome: &CoapOutcome, now: Instant) {
        let code = outcome.code();
        let Some(index) = CODES.iter().position(|known| *known == code) else {
            return;
        };
        self.counters[index].inc();
        if !outcome.is_good() && is_news(&mut self.said[index], now) {
            let (code, why) = (written(code), crate::words::line(&outcome.words(), 200));
            tracing::warn!(source = %self.name, code, why, "a request is turned away (the next ones like it are only counted)");
        }
    }

    /// Something that is no request was rejected.
    pub(super) fn count_reset(&self) {
        self.reset.inc();
    }

    /// Something that is no request was left alone.
    pub(super) fn count_ignored(&self) {
        self.ignored.inc();
    }

    /// So many answers were sent again and again, and nobody said that he has them.
    pub(super) fn count_unheard(&self, answers: u64) {
        self.unheard.inc_by(answers);
    }

    /// For so many datagrams the system had no room.
    pub(super) fn count_dropped(&mut self, datagrams: u64, now: Instant) {
        self.socket_full.inc_by(datagrams);
        if datagrams > 0 && is_news(&mut self.said_full, now) {
            tracing::warn!(source = %self.name, datagrams, "more requests come than can be read: the system dropped some, unanswered (the next ones are only counted)");
        }
    }
}

fn is_news(said: &mut Option<Instant>, now: Instant) -> bool {
    let is_news = said.is_none_or(|at| now.saturating_duration_since(at) >= SAY_AGAIN);
    if is_news {
        *said = Some(now);
    }
    is_news
}
