//! What brokers still hold for sources as they were: a session is a client id's, and whoever changes that, a source's name or
//! `priority` leaves one behind, with messages whose senders were told that they are safe. It is opened once more, by a source
//! that asks for nothing, until nothing comes from it; what it brings goes to the flows that ask for it elsewhere now.

use std::collections::HashMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::config::{RouteSpec, SourceSpec};
use crate::message::Pattern;
use crate::source::mqtt::{self, LeftSession, SessionMarks};
use crate::source::{self, ConditionBoard, SourceCondition, SourceKind};
use crate::words;

/// The sources that run, as the config has them, and the marks of their sessions.
#[derive(Clone, Default)]
pub(super) struct Specs {
    all: Arc<Mutex<HashMap<Arc<str>, SourceSpec>>>,
    orphans: Arc<Mutex<Vec<Orphan>>>,
    pub(super) marks: SessionMarks,
}

/// A session at a broker that no source is at any more, told as long as it is so.
struct Orphan {
    session: LeftSession,
    _told: ConditionBoard,
}

/// A source as it was, and what its session may be subscribed to.
pub(super) struct Before {
    spec: SourceSpec,
    filters: Vec<String>,
}

impl Specs {
    /// These run from now on; what they were before.
    pub(super) fn put(&self, specs: &[SourceSpec]) -> Vec<Before> {
        let mut all = self.lock();
        let put = |spec: &SourceSpec| all.insert(Arc::clone(&spec.name), spec.clone());
        let before: Vec<SourceSpec> = specs.iter().filter_map(put).collect();
        before
            .into_iter()
            .filter_map(|spec| self.before(spec))
            .collect()
    }

    /// These run no more; what they were.
    pub(super) fn remove(&self, names: &[Arc<str>]) -> Vec<Before> {
        let mut all = self.lock();
        let gone = names.iter().filter_map(|name| all.remove(name));
        let before: Vec<Before> = gone.filter_map(|spec| self.before(spec)).collect();
        names.iter().for_each(|name| self.marks.remove(name));
        before
    }

    /// `None` where no broker ever had a session for it: it was never reached, or its address was mistaken.
    fn before(&self, spec: SourceSpec) -> Option<Before> {
        if !self.marks.is_set(&spec.name) {
            return None;
        }
        let routes = spec.routes.iter().map(|route| route.pattern.filter());
        let status = spec.devices.iter().flat_map(|topics| &**topics);
        let mut filters = self.marks.filters(&spec.name);
        filters.extend(routes);
        filters.extend(status.map(Pattern::filter));
        filters.sort();
        filters.dedup();
        Some(Before { spec, filters })
    }

    /// Routes of the other sources over MQTT: where what a session of `spec` still brings goes when no route of its own takes it.
    pub(super) fn routes_beside(&self, spec: &SourceSpec) -> Vec<RouteSpec> {
        if spec.broker().is_none() {
            return Vec::new();
        }
        let all = self.lock();
        let others = all
            .values()
            .filter(|other| other.name != spec.name && other.broker().is_some());
        let mut routes: Vec<RouteSpec> = others.flat_map(|other| &other.routes).cloned().collect();
        // Flows in their order, whatever the order of sources in memory.
        routes.sort_by_key(|route| route.flow);
        routes
    }

    /// What takes from the sessions that `before` opened and nobody opens now.
    pub(super) fn left_of(&self, data_dir: &Path, before: Vec<Before>) -> Vec<SourceSpec> {
        let left = before.into_iter().filter_map(|Before { spec, filters }| {
            let session = LeftSession {
                source: spec.name.to_string(),
                owner: mqtt::owner(spec.broker()?),
                filters,
            };
            self.taker(data_dir, &session, &spec)
        });
        left.collect()
    }

    /// What takes from the sessions that earlier runs have left, over the connections of today.
    pub(super) fn left_over(&self, data_dir: &Path, metrics: &source::Metrics) -> Vec<SourceSpec> {
        let left = mqtt::sessions(data_dir).into_iter().filter_map(|session| {
            let all: Vec<SourceSpec> = self.lock().values().cloned().collect();
            let mut brokers = all.iter().filter_map(SourceSpec::broker);
            if brokers.any(|broker| is_session_of(broker, &session)) {
                return None;
            }
            match lender(&all, &session) {
                Some(lender) => self.taker(data_dir, &session, &lender),
                None => {
                    self.orphan(data_dir, session, metrics);
                    None
                }
            }
        });
        left.collect()
    }

    /// The same of those that no source was at, and one of `sources` is now, be it one that no flow takes from.
    pub(super) fn found_again(&self, data_dir: &Path, sources: &[SourceSpec]) -> Vec<SourceSpec> {
        let mut orphans = self.orphans.lock().unwrap_or_else(PoisonError::into_inner);
        let (found, left): (Vec<_>, Vec<_>) = orphans
            .drain(..)
            .partition(|orphan| lender(sources, &orphan.session).is_some());
        *orphans = left;
        let taker = |Orphan { session, .. }: Orphan| {
            let lender = lender(sources, &session)?;
            self.taker(data_dir, &session, &lender)
        };
        found.into_iter().filter_map(taker).collect()
    }

    /// Nobody takes from a session: that is told, under a name that no source has, as long as it is so.
    fn orphan(&self, data_dir: &Path, mut session: LeftSession, metrics: &source::Metrics) {
        let Some((address, client_id)) = session.owner.split_once(' ') else {
            return;
        };
        if session.filters.is_empty() {
            return;
        }
        let (broker, client_id) = (words::line(address, 200), words::line(client_id, 200));
        let name = self.free_name(data_dir, &session);
        if let Err(error) = mqtt::hand_over(data_dir, &session, &name) {
            tracing::warn!(source = %session.source, %error, "the mark of a session cannot be written: it is told of until the next start only");
        }
        session.source = name;
        let told = metrics.board(&session.source);
        let mark = mqtt::mark_file(data_dir, &session);
        let words = format!(
            "no source is at {broker} any more, which may still hold messages for the client id `{client_id}`: a source with this broker takes them; where that is not wanted, delete {}, and the next start tells of it no more",
            mark.display()
        );
        tracing::warn!(source = %session.source, broker, client_id, "{words}");
        told.show(vec![SourceCondition {
            kind: "session-left-behind",
            words,
            own: "a session of before is left at its broker",
            messages: 0,
            since: Instant::now(),
            next_try: None,
        }]);
        let mut orphans = self.orphans.lock().unwrap_or_else(PoisonError::into_inner);
        orphans.push(Orphan {
            session,
            _told: told,
        });
    }

    /// Sessions that no source of today opens are left alone for good.
    pub(super) fn disown(&self, data_dir: &Path) {
        let is_open = |session: &LeftSession| {
            let all = self.lock();
            let mut brokers = all.values().filter_map(SourceSpec::broker);
            brokers.any(|broker| mqtt::owner(broker) == session.owner)
        };
        for session in mqtt::sessions(data_dir)
            .iter()
            .filter(|session| !is_open(session))
        {
            tracing::warn!(source = %session.source, session = %session.owner,
                "the store was copied, so this session at the broker may be another gateway's by now: it is left alone; if it is not, a source with this broker and `client_id` takes what it holds");
            mqtt::forget(data_dir, session);
        }
    }

    /// What takes from `session` over the connection of `lender`; `None` where it is some source's own. A session that is
    /// subscribed to nothing may still hold what came before.
    fn taker(
        &self,
        data_dir: &Path,
        session: &LeftSession,
        lender: &SourceSpec,
    ) -> Option<SourceSpec> {
        let is_open = |spec: &SourceSpec| {
            let broker = spec.broker();
            broker.is_some_and(|broker| is_session_of(broker, session))
        };
        let all: Vec<SourceSpec> = self.lock().values().cloned().collect();
        if all.iter().any(is_open) {
            return None;
        }
        let name = self.free_name(data_dir, session);
        if let Err(error) = mqtt::hand_over(data_dir, session, &name) {
            tracing::error!(source = %session.source, %error,
                "what a session of before holds is not taken: its mark cannot be written; it is tried again at the next start");
            return None;
        }
        let mut spec = SourceSpec {
            name: name.into(),
            priority: false,
            routes: Vec::new(),
            // What it brings was sent before, perhaps long ago.
            devices: None,
            ..lender.clone()
        };
        if let SourceKind::Mqtt(own) = &mut spec.kind {
            own.connection.will = None;
            own.is_left = true;
        }
        Some(spec)
    }

    /// The name of the source it was of, or one made of it where that is another's now, or stands for another session.
    fn free_name(&self, data_dir: &Path, session: &LeftSession) -> String {
        let (all, marked) = (self.lock(), mqtt::sessions(data_dir));
        let is_of_another = |name: &str| {
            let mut others = marked.iter().filter(|other| other.owner != session.owner);
            all.contains_key(name) || others.any(|other| other.source == name)
        };
        let names = (0..).map(|times| format!("{}{}", session.source, ":left".repeat(times)));
        let mut free = names.filter(|name| !is_of_another(name));
        free.next().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, SourceSpec>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The one of `sources` at the broker of `session`, best the one that it was of, as it would open that.
fn lender(sources: &[SourceSpec], session: &LeftSession) -> Option<SourceSpec> {
    let (address, client_id) = session.owner.split_once(' ')?;
    let at_it = |spec: &&SourceSpec| {
        let broker = spec.broker();
        broker.is_some_and(|broker| format!("{}:{}", broker.host, broker.port) == address)
    };
    let base = session.source.split(':').next().unwrap_or_default();
    let best = |spec: &&SourceSpec| (*spec.name != *base, Arc::clone(&spec.name));
    let mut lender = sources.iter().filter(at_it).min_by_key(best)?.clone();
    if let SourceKind::Mqtt(own) = &mut lender.kind {
        client_id.clone_into(&mut own.connection.client_id);
    }
    Some(lender)
}

/// Whether a connection to `broker` opens that session, by whatever name the broker is called. Where a name cannot be looked up
/// it may be: the session of a source that runs must not be opened a second time. Asks the resolver.
fn is_session_of(broker: &crate::mqtt::Config, session: &LeftSession) -> bool {
    let Some((address, client_id)) = session.owner.split_once(' ') else {
        return false;
    };
    let own = format!("{}:{}", broker.host, broker.port);
    if client_id != broker.client_id {
        return false;
    }
    own == address || {
        let found = |address: &str| -> Option<Vec<SocketAddr>> {
            Some(address.to_socket_addrs().ok()?.collect())
        };
        match (found(&own), found(address)) {
            (Some(own), Some(theirs)) => own.iter().any(|one| theirs.contains(one)),
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::scripted::ScriptedBroker;

    #[tokio::test]
    async fn a_session_is_known_by_whatever_name_its_broker_is_called() {
        let broker = crate::mqtt::Config {
            client_id: "g-field".into(),
            ..ScriptedBroker::bind().await.config()
        };
        let is_own = |owner: String| {
            let session = LeftSession {
                source: "field".to_owned(),
                owner,
                filters: Vec::new(),
            };
            is_session_of(&broker, &session)
        };
        let port = broker.port;
        assert!(is_own(format!("127.0.0.1:{port} g-field")));
        assert!(is_own(format!("localhost:{port} g-field")));
        assert!(!is_own(format!("127.0.0.1:{port} another")));
        assert!(!is_own("127.0.0.1:1 g-field".to_owned()));
        assert!(
            is_own(format!("no-such-host.invalid:{port} g-field")),
            "nobody can tell"
        );
    }
}
