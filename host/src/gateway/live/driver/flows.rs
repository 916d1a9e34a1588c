//! Flows that are another one in the config, while the gateway runs.
//!
//! Each flow is taken for itself: what one of them cannot be does not hold up the others, as with plugins, and as at a
//! start, where each falls back for itself. A new chain is rehearsed beside the old one, so that what can go wrong does
//! while nothing has been touched; then the flow is paused, the old chain comes to rest, the new one goes on with its
//! state, and the flow goes on. Those that others lead to come first. When all chains stand, the sources whose routes are
//! others begin anew, and only then the flows that are gone are ended, those that lead to others first: nothing is brought
//! to a flow that is not there.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::order::{ChangeLine, FlowOutcome, FlowVerdict};
use super::{Driver, LiveParts};
use crate::chain::{self, Chain};
use crate::config::{Config, ConfigDifference, FlowChange, FlowFate, SourceSpec};
use crate::gateway::recordings;
use crate::gateway::start::{Rehearsed, Started};
use crate::message::{Loss, LossReason};
use crate::source::mqtt;
use crate::spool::NotAdded;
use crate::versions::history::{HistoryEvent, Who};
use crate::words::with_causes;

/// What a flow that is gone gets for what it still has.
const LAST_MESSAGES: Duration = Duration::from_secs(60);

/// Who reloads what, and under which number it is told.
pub(super) struct Reload<'a> {
    pub(super) id: u64,
    pub(super) who: &'a Who,
    pub(super) new: &'a Config,
    /// Whether all queues are there that flows may lead to.
    pub(super) added: Result<(), NotAdded>,
}

impl Driver {
    /// Brings the flows in `difference` to what they are in `new`, as far as that can be, and the sources with them.
    pub(super) fn change_flows(&mut self, round: &Reload<'_>, difference: &ConfigDifference) {
        let before = self.parts.config.clone();
        let mut rerouted = BTreeSet::new();
        let mut removed = Vec::new();
        let mut told = Vec::new();
        for FlowChange { name, fate } in in_order(&difference.flows, &before, round.new) {
            if self.desk.board.is_stopping() {
                break;
            }
            if self.is_deferred(round, name) {
                continue;
            }
            let is_done = match fate {
                FlowFate::Removed => self.is_left_alone(round, name),
                _ => self.leads_somewhere(round, name),
            } && match fate {
                FlowFate::Changed { chain: true, .. } => self.replace_flow(round, name),
                FlowFate::Changed { chain: false, .. } => {
                    self.reroute_flow(round, name);
                    true
                }
                FlowFate::Added => self.add_flow(round, name),
                FlowFate::Removed => {
                    removed.extend(self.parts.config.remove(name));
                    true
                }
            };
            if is_done
                && *fate
                    != (FlowFate::Changed {
                        chain: true,
                        routes: false,
                    })
            {
                rerouted.insert(name.as_str());
            }
            match fate {
                FlowFate::Changed { chain: false, .. } if is_done => {
                    told.push((name, FlowOutcome::Rerouted))
                }
                FlowFate::Added if is_done => told.push((name, FlowOutcome::Added)),
                _ => {}
            }
        }
        let renamed = self.renamed_sources(round, difference);
        self.restart_sources(
            round,
            &before,
            &rerouted,
            (&difference.sources.put, &renamed),
        );
        told.into_iter()
            .for_each(|(name, done)| self.tell_flow(round, name, done, (None, None)));
        removed
            .into_iter()
            .for_each(|flow| self.end_flow(round, flow));
    }

    /// Whether a flow waits for the change of one of its plugins; the config is read again after that.
    fn is_deferred(&mut self, round: &Reload<'_>, name: &str) -> bool {
        let flow = self
            .parts
            .config
            .flows
            .iter()
            .position(|flow| *flow.name == *name);
        if !flow.is_some_and(|flow| self.busy.contains_key(&flow)) {
            return false;
        }
        tracing::info!(
            flow = name,
            "the change of a flow waits: one of its plugins is being changed"
        );
        let behind = format!(
            "a plugin of flow `{name}` is being changed; the flow follows when that is over"
        );
        self.desk.board.push(round.id, ChangeLine::Waits { behind });
        self.deferred.insert(name.to_owned());
        true
    }

    /// Whether all queues and flows that one is to lead to are there.
    fn leads_somewhere(&self, round: &Reload<'_>, name: &str) -> bool {
        let flow = round.new.flow(name);
        let config = &self.parts.config;
        if let Err(error) = &round.added
            && flow.is_some_and(|flow| !config.knows_queues(round.new, flow))
        {
            return self.keep_flow(round, name, format!("a queue of it was not added: {error}"));
        }
        let mut others = flow.into_iter().flat_map(chain::Config::flows);
        let missing = others.find(|other| !self.parts.config.has_flow(other));
        let why = |other| format!("it leads to the flow `{other}`, which is not there");
        missing.is_none_or(|other| self.keep_flow(round, name, why(other)))
    }

    /// Whether no flow that stays leads to one that is to go.
    fn is_left_alone(&self, round: &Reload<'_>, name: &str) -> bool {
        let chains = self.parts.flow_handles.chains();
        let mut staying = chains
            .iter()
            .filter(|(_, chain)| self.parts.config.has_flow(chain.name()));
        let feeder = staying.find(|(_, chain)| chain.leads_to().any(|other| **other == *name));
        let why = |feeder: &Chain| format!("the flow `{}` still leads to it", feeder.name());
        feeder.is_none_or(|(_, feeder)| self.keep_flow(round, name, why(feeder)))
    }

    /// Its chain stays, and gets other messages.
    fn reroute_flow(&mut self, round: &Reload<'_>, name: &str) {
        let flow = self.parts.config.adopt(round.new, name);
        if let Some(chain) = self.parts.flow_handles.chain(flow) {
            chain.reroute(&self.parts.config.flows[flow]);
        }
    }

    fn replace_flow(&mut self, round: &Reload<'_>, name: &str) -> bool {
        let mut config = self.parts.config.clone();
        let flow = config.adopt(round.new, name);
        let handle = self.parts.flow_handles.of(flow);
        let Some(old) = handle.chain() else {
            let is_up = self.add_flow(round, name);
            if is_up {
                self.tell_flow(round, name, FlowOutcome::Replaced, (None, None));
            }
            return is_up;
        };
        let spec = &config.flows[flow];
        let Rehearsed { successor, picks } = match self.parts.starter.rehearse(spec, &old) {
            Ok(rehearsed) => rehearsed,
            Err(error) => return self.keep_flow(round, name, with_causes(&error)),
        };
        handle.pause();
        let begun = Instant::now();
        let board = &self.desk.board;
        match successor
            .follow(&old, &|| !board.is_stopping())
            .map(Arc::new)
        {
            Ok(chain) => {
                self.desk.hear(flow, &chain);
                handle.resume(Some(Arc::clone(&chain)));
                let pause = begun.elapsed();
                self.record_anew(&config, flow, &chain);
                let started = self.parts.starter.note_all(spec, &chain, picks);
                self.parts.config = config;
                self.note_started(flow, started);
                self.tell_flow(round, name, FlowOutcome::Replaced, (None, Some(pause)));
                true
            }
            Err(error) => {
                handle.resume(None);
                self.keep_flow(round, name, with_causes(&error))
            }
        }
    }

    fn add_flow(&mut self, round: &Reload<'_>, name: &str) -> bool {
        let mut config = self.parts.config.clone();
        let flow = config.adopt(round.new, name);
        match self.parts.starter.flow(&config.flows[flow]) {
            Ok((chain, started)) => {
                self.desk.hear(flow, &chain);
                self.parts.spool.learn_flow(chain.name());
                let handle = self.parts.flow_handles.put(flow, Arc::clone(&chain));
                recordings::begin(&config, flow, (&handle, &chain), &self.parts.recordings);
                self.parts.config = config;
                self.note_started(flow, started);
                true
            }
            Err(error) => self.keep_flow(round, name, with_causes(&error)),
        }
    }

    /// Flows that could not be started are tried again: something has changed.
    pub(super) fn revive(&mut self) {
        let LiveParts {
            flow_handles,
            starter,
            config,
            recordings,
            ..
        } = &self.parts;
        let mut revived = Vec::new();
        for (flow, _) in flow_handles.down() {
            let Some(spec) = config.flows.get(flow) else {
                continue;
            };
            match starter.flow(spec) {
                Ok((chain, started)) => {
                    self.desk.hear(flow, &chain);
                    let handle = flow_handles.put(flow, Arc::clone(&chain));
                    recordings::begin(config, flow, (&handle, &chain), recordings);
                    tracing::info!(
                        flow = &*spec.name,
                        "the flow that was down runs, and what waited goes through it"
                    );
                    revived.push((flow, started));
                }
                Err(error) => {
                    let why = with_causes(&error);
                    tracing::error!(flow = &*spec.name, "the flow stays down: {why}");
                    flow_handles.of(flow).stay_down(why);
                }
            }
        }
        for (flow, started) in revived {
            self.note_started(flow, started);
        }
    }

    /// Nothing is brought to it any more.
    fn end_flow(&mut self, round: &Reload<'_>, flow: usize) {
        let handle = self.parts.flow_handles.of(flow);
        let recorder = handle.recorder();
        let name = Arc::clone(&self.parts.config.flows[flow].name);
        // Of one that was down there is none.
        let left = handle
            .retire()
            .map_or_else(Vec::new, |chain| chain.end(LAST_MESSAGES));
        let count = left.len();
        if count > 0 {
            tracing::warn!(
                flow = &*name,
                count,
                "given up with a flow that is gone: what it leads to had no room for them; the ledger has them"
            );
            let given_up = left
                .into_iter()
                .map(|left| Loss::of(left, LossReason::ByHand));
            self.parts.spool.outlet().lose(given_up.collect());
        }
        if let Some(recorder) = recorder {
            recorder.stop();
            self.parts.recordings.forget(&name);
        }
        self.parts.starter.forget(&name);
        self.note_started(flow, Vec::new());
        let why = (count > 0).then(|| format!("{count} messages that waited in it for {LAST_MESSAGES:?} are given up, and in the ledger"));
        self.tell_flow(round, &name, FlowOutcome::Removed, (why, None));
    }

    /// A recording is of one chain: it begins anew. Messages do not wait for it.
    fn record_anew(&self, config: &Config, flow: usize, chain: &Arc<Chain>) {
        let handle = self.parts.flow_handles.of(flow);
        if let Some(recorder) = handle.recorder() {
            recorder.clear();
            recorder.stop();
            handle.record(None);
            self.parts.recordings.forget(chain.name());
        }
        recordings::begin(config, flow, (&handle, chain), &self.parts.recordings);
    }

    /// Sources that go, and whose sessions others have from now on: no flow takes from them any more.
    fn renamed_sources(
        &mut self,
        round: &Reload<'_>,
        difference: &ConfigDifference,
    ) -> Vec<Arc<str>> {
        let owner = |config: &Config, name: &str| {
            let spec = config.sources.iter().find(|spec| *spec.name == *name);
            spec.and_then(SourceSpec::broker).map(mqtt::owner)
        };
        let coming: Vec<_> = difference
            .sources
            .put
            .iter()
            .filter_map(|name| owner(round.new, name))
            .collect();
        let config = &mut self.parts.config;
        let mut renamed = Vec::new();
        for name in &difference.sources.gone {
            let is_taken = owner(config, name).is_some_and(|owner| coming.contains(&owner));
            if is_taken && config.remove_source(round.new, name).is_ok() {
                tracing::info!(
                    source = &**name,
                    "the source has another name now: its session goes on under that"
                );
                renamed.push(Arc::clone(name));
            }
        }
        renamed
    }

    /// Begins those anew that `changed` names, and those whose routes are others.
    /// One that is new waits for a flow to take from it: it may take over another one's session, and would acknowledge what
    /// nobody takes.
    fn restart_sources(
        &self,
        round: &Reload<'_>,
        before: &Config,
        rerouted: &BTreeSet<&str>,
        (changed, renamed): (&[Arc<str>], &[Arc<str>]),
    ) {
        let is_touched = |config: &Config, source: &str| {
            let specs = config.sources.iter().filter(|spec| *spec.name == *source);
            let mut routes = specs.flat_map(|spec| &spec.routes);
            routes.any(|route| rerouted.contains(&*route.name))
        };
        let now = &self.parts.config;
        let mut put = Vec::new();
        for spec in &now.sources {
            let name = &*spec.name;
            if spec.routes.is_empty() && !self.ends.has_source(name) {
                let why = "not begun, since no flow takes from it yet; it begins when one does";
                self.stays(round.id, format!("source.{name}"), why.to_owned());
                continue;
            }
            if changed.contains(&spec.name) {
                tracing::info!(
                    source = name,
                    "the source begins anew as the config says now"
                );
            } else if is_touched(before, name) || is_touched(now, name) {
                tracing::info!(source = name, "the source begins anew with other routes");
            } else {
                continue;
            }
            put.push(spec.clone());
        }
        self.ends.put_sources(renamed, put, &now.sources);
    }

    fn note_started(&mut self, flow: usize, started: Vec<Started>) {
        match self.parts.started.get_mut(flow) {
            Some(known) => *known = started,
            None => self.parts.started.push(started),
        }
    }

    fn keep_flow(&self, round: &Reload<'_>, name: &str, why: String) -> bool {
        self.tell_flow(round, name, FlowOutcome::Refused, (Some(why), None));
        false
    }

    fn tell_flow(
        &self,
        round: &Reload<'_>,
        flow: &str,
        done: FlowOutcome,
        (why, pause): (Option<String>, Option<Duration>),
    ) {
        let pause_us = pause.map(|pause| u64::try_from(pause.as_micros()).unwrap_or(u64::MAX));
        match &why {
            Some(why) if done == FlowOutcome::Refused => {
                tracing::warn!(flow, "a flow stays as it was: {why}");
                let what = format!("flow.{flow}");
                self.parts.standing.stays(what, why.clone());
            }
            _ => tracing::info!(
                flow,
                what = done.name(),
                pause_us,
                "a flow is as the config says now"
            ),
        }
        let what = format!("flow-{}", done.name());
        self.parts.audit.note(&HistoryEvent {
            why: why.clone(),
            ..HistoryEvent::now(round.who, flow, "", &what)
        });
        let verdict = FlowVerdict {
            flow: flow.to_owned(),
            verdict: done,
            why,
            pause_us,
        };
        self.desk.board.push(round.id, ChangeLine::Flow(verdict));
    }
}

/// Those that others lead to first; those that go last, and of them those that lead to others first.
fn in_order<'c>(changes: &'c [FlowChange], old: &Config, new: &Config) -> Vec<&'c FlowChange> {
    let place = |change: &&FlowChange| match change.fate {
        FlowFate::Removed => (true, usize::MAX - old.depth(&change.name)),
        _ => (false, new.depth(&change.name)),
    };
    let mut changes: Vec<_> = changes.iter().collect();
    changes.sort_by_key(place);
    changes
}
