//! What a source is subscribed to: what it wants, what the broker has granted, and what is to be asked for again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::copies::Copies;
use super::grants::{asks_for, needed};
use super::mark::Grant;
use super::{Config, SessionMark, SessionMarks};
use crate::link::level as gauge_level;
use crate::message::Pattern;
use crate::message::Qos;
use crate::message::pattern::covers;
use crate::mqtt::{ConnectionEnded, Established, Protocol, Subscription};
use crate::source::metrics::SourceMeters;

/// Pause between two looks whether another source has been granted what this one is to give up.
const LOOK: Duration = Duration::from_millis(100);

/// A broker that keeps sessions on disk writes them now and then; one that is killed comes back with those of its last time, without
/// what was granted since. mosquitto writes every half hour where nothing else is set (`autosave_interval`).
const SAVED: Duration = Duration::from_secs(3_600);

/// MQTT 5's word for a session that does not end.
const FOR_EVER: Duration = Duration::from_secs(u32::MAX as u64);

/// Over all connections of a source.
pub(super) struct Subscriptions {
    name: Arc<str>,
    meters: Arc<SourceMeters>,
    mark: SessionMark,
    wanted: Vec<Subscription>,
    /// What the session may be subscribed to, and nobody wants any more.
    pub(super) obsolete: Vec<String>,
    /// Of these, what was asked to end.
    ending: Vec<String>,
    /// What was taken back over this connection.
    ended: Vec<String>,
    /// What sources beside this one ask for.
    wanted_beside: Vec<String>,
    beside: SessionMarks,
    /// When it is looked again whether they have been granted it.
    pub(super) looks_again: Option<Instant>,
    /// What the broker has granted, and with which level.
    granted: BTreeMap<String, Qos>,
    /// Of these, what a session was granted that stood before, and when.
    added: BTreeMap<String, Instant>,
    /// The session of this connection stood before.
    is_old: bool,
    protocol: Protocol,
    /// What it refuses, or serves with a lower level; asked for again at the cap of the back-off.
    refused: Vec<Subscription>,
    /// The filters of what was asked for last: an answer is about these, and says nothing of the others.
    asked: Vec<String>,
    pub(super) asks_again: Option<Instant>,
    ask_every: Duration,
}

impl Subscriptions {
    pub(super) fn new(
        config: &crate::source::Config,
        own: &Config,
        copies: &Copies,
        meters: &Arc<SourceMeters>,
    ) -> Self {
        let wanted = needed(&config.routes, config.status());
        let wanted = wanted.into_iter().map(|pattern| {
            let filter = pattern.filter();
            let id = copies.id(&filter);
            Subscription {
                filter,
                qos: own.qos,
                id,
            }
        });
        Self {
            name: Arc::clone(&config.name),
            meters: Arc::clone(meters),
            wanted: wanted.collect(),
            obsolete: obsolete(config, &own.mark),
            ending: Vec::new(),
            ended: Vec::new(),
            wanted_beside: needed(&config.late, &[])
                .into_iter()
                .map(Pattern::filter)
                .collect(),
            beside: own.beside.clone(),
            looks_again: None,
            mark: own.mark.clone(),
            granted: BTreeMap::new(),
            added: BTreeMap::new(),
            is_old: false,
            protocol: Protocol::V5,
            refused: Vec::new(),
            asked: Vec::new(),
            asks_again: None,
            ask_every: own.connection.backoff.cap,
        }
    }

    /// A connection stands; tells whether the broker has forgotten a session that it had.
    pub(super) fn begin(&mut self, established: &Established, stood_before: bool) -> bool {
        (self.asks_again, self.protocol) = (None, established.protocol);
        self.ending.clear();
        self.ended.clear();
        let is_present = established.session_present;
        let is_lost = (stood_before || self.mark.is_set()) && !is_present;
        if is_lost {
            self.meters.sessions_lost.inc();
            tracing::warn!(source = %self.name, "the broker has lost our session: what it held for us is gone, what we hold is safe");
        }
        self.granted = self.mark.granted();
        self.is_old = is_present;
        if !is_present {
            self.obsolete.clear();
            self.granted.clear();
            self.added.clear();
        }
        self.told_of_session(established);
        self.set_mark();
        is_lost
    }

    /// What is to be asked for on this connection.
    pub(super) fn asks_for(&mut self, established: &Established) -> Vec<Subscription> {
        let session = established.session_present.then_some(established.protocol);
        let mut lasting = self.granted.clone();
        lasting.retain(|filter, _| self.is_lasting(filter));
        let asked = asks_for(&self.wanted, &lasting, session);
        self.asked = asked.iter().map(|asked| asked.filter.clone()).collect();
        asked
    }

    /// What is to be asked for once more, now that its time has come.
    pub(super) fn asks_again_for(&mut self) -> &[Subscription] {
        self.asks_again = None;
        self.asked = (self.refused.iter().map(|asked| asked.filter.clone())).collect();
        &self.refused
    }

    /// Whether the broker has what it was granted of `filter`, should it be killed and start again.
    fn is_lasting(&self, filter: &str) -> bool {
        let added = self.added.get(filter);
        added.is_none_or(|since| since.elapsed() >= SAVED)
    }

    /// Says on disk what the session has.
    pub(super) fn set_mark(&self) {
        let wanted = self.wanted.iter().map(|subscription| &subscription.filter);
        let grant = |filter: &String| {
            let granted = self.granted.get(filter).map(|level| Grant {
                level: *level,
                is_lasting: self.is_lasting(filter),
            });
            (filter.clone(), granted)
        };
        self.mark
            .set(wanted.chain(&self.obsolete).map(grant).collect());
    }

    /// A session that ends while we are away takes what the broker held for us with it.
    fn told_of_session(&self, established: &Established) {
        let kept = established.session_expiry.filter(|kept| *kept < FOR_EVER);
        let seconds = kept.map_or(0, |kept| {
            i64::try_from(kept.as_secs()).unwrap_or(i64::MAX).max(1)
        });
        if seconds != self.meters.session_cut.get() && seconds > 0 {
            tracing::warn!(
                source = %self.name, seconds,
                "the broker forgets us after so long without a connection, and what it holds for us; raise its limit for sessions",
            );
        }
        self.meters.session_cut.set(seconds);
    }

    /// What is to be taken back now: all that nobody wants any more, but for what another source wants and does not have yet.
    /// A message that comes in between has no other way to us.
    pub(super) fn end_due(&mut self) -> &[String] {
        if self.ending.is_empty() {
            let is_missed = |filter: &String| {
                self.wanted_beside.iter().any(|outer| covers(outer, filter))
                    && !self.beside.is_granted_beside(&self.name, filter)
            };
            let due = self.obsolete.iter().filter(|filter| !is_missed(filter));
            self.ending = due.cloned().collect();
        }
        let waits = self.obsolete.len() > self.ending.len();
        self.looks_again = waits.then(|| Instant::now() + LOOK);
        &self.ending
    }

    /// Whether something was asked to end, and is not answered.
    pub(super) fn is_ending(&self) -> bool {
        !self.ending.is_empty()
    }

    /// What was to be taken back is.
    pub(super) fn unsubscribed(&mut self) {
        let ended = std::mem::take(&mut self.ending);
        self.obsolete.retain(|filter| !ended.contains(filter));
        self.mark.take_back(&ended);
        self.ended.extend(ended);
        self.set_mark();
    }

    /// A message came that nobody asks for: a broker that went back to an older state of itself, as after a kill, has what was taken
    /// back before. That is taken back once more, once over a connection: what was on its way comes all the same.
    pub(super) fn came_unasked(&mut self, topic: &str) {
        let is_meant = |filter: &String| {
            let pattern = Pattern::parse(filter);
            pattern.is_ok_and(|pattern| pattern.matches(topic).is_some())
                && !self.wanted.iter().any(|wanted| wanted.filter == *filter)
                && !self.obsolete.contains(filter)
                && !self.ended.contains(filter)
        };
        let again: Vec<_> = self
            .mark
            .taken_back()
            .into_iter()
            .filter(is_meant)
            .collect();
        for filter in &again {
            tracing::info!(source = %self.name, filter, "the broker has a subscription again that was taken back: it is taken back once more");
        }
        self.obsolete.extend(again);
    }

    /// What was asked for is answered. What was refused is asked for again at the cap of the back-off: somebody may put it
    /// right.
    pub(super) fn subscribed(
        &mut self,
        refused: &[(String, String)],
        lowered: &[(String, Qos)],
    ) -> Result<(), ConnectionEnded> {
        let was_refused = |filter: &str| self.refused.iter().any(|before| before.filter == filter);
        for (filter, why) in refused.iter().filter(|(filter, _)| !was_refused(filter)) {
            tracing::error!(source = %self.name, filter, why, "the broker refuses a subscription: its messages do not come");
        }
        for (filter, level) in lowered.iter().filter(|(filter, _)| !was_refused(filter)) {
            let level = *level as u8;
            tracing::warn!(
                source = %self.name, filter, level,
                "the broker serves a subscription with a lower level than was asked for: what is lost on its way is not sent again",
            );
        }
        let is_refused = |filter: &str| refused.iter().any(|(found, _)| found == filter);
        let level = |wanted: &Subscription| {
            lowered
                .iter()
                .find(|(found, _)| *found == wanted.filter)
                .map_or(wanted.qos, |low| low.1)
        };
        let is_asked = |wanted: &&Subscription| self.asked.contains(&wanted.filter);
        for wanted in self.wanted.iter().filter(is_asked) {
            if is_refused(&wanted.filter) {
                self.granted.remove(&wanted.filter);
                continue;
            }
            let before = self.granted.insert(wanted.filter.clone(), level(wanted));
            if self.is_old && before.is_none() {
                self.added.insert(wanted.filter.clone(), Instant::now());
            }
        }
        // Over 3.1.1 a level that is low comes with all retained messages again, each time.
        let is_served = |wanted: &&Subscription| {
            self.granted
                .get(&wanted.filter)
                .is_some_and(|level| *level >= wanted.qos || self.protocol == Protocol::V311)
        };
        self.refused = self
            .wanted
            .iter()
            .filter(|wanted| !is_served(wanted))
            .cloned()
            .collect();
        self.asks_again = (!self.refused.is_empty()).then(|| Instant::now() + self.ask_every);
        self.count_granted();
        self.set_mark();
        if !self.wanted.is_empty() && refused.len() >= self.wanted.len() {
            return Err(ConnectionEnded::NotAuthorised);
        }
        Ok(())
    }

    fn count_granted(&self) {
        let count = |is_it: &dyn Fn(Option<&Qos>, Qos) -> bool| {
            let wanted = self.wanted.iter();
            let counted = wanted.filter(|one| is_it(self.granted.get(&one.filter), one.qos));
            gauge_level(counted.count())
        };
        let is_lower = |granted: Option<&Qos>, wanted| granted.is_some_and(|level| *level < wanted);
        self.meters
            .refused
            .set(count(&|granted, _| granted.is_none()));
        self.meters.lowered.set(count(&is_lower));
    }
}

/// What the session may be subscribed to, by this process or earlier ones, and nobody wants any more.
fn obsolete(config: &crate::source::Config, mark: &SessionMark) -> Vec<String> {
    let wanted = needed(&config.routes, config.status()).into_iter();
    let wanted: Vec<_> = wanted.map(Pattern::filter).collect();
    mark.filters()
        .into_iter()
        .filter(|filter| !wanted.contains(filter))
        .collect()
}
