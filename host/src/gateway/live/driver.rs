//! The one thread that changes plugins.

use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;

use serde_json::Value;

use super::order::{Line, Outcome, Swap, Verdict};
use super::{Desk, Parts, Place};
use crate::builtin;
use crate::chain::{self, Artefact, Change, PluginConfig, Refused, State, Step, Swapped, Verify, Watch};
use crate::clock::{Now, utc};
use crate::config::{self, Config, PluginChange, Problems, Sources};
use crate::gateway::start::{Started, signature, written};
use crate::gateway::words;
use crate::message::short_digest;
use crate::trust::{Claim, Downgrade};
use crate::versions::history::{Event, Who};
use crate::versions::{Code, Entry, Refusal, Spot, Start, Version, digest_of};

/// What the thread is asked to do.
pub(in crate::gateway) enum Request {
    /// A watched file has new content.
    Changed { path: PathBuf, content: Vec<u8> },
    /// The config is to be read again.
    Reload { id: Option<u64>, who: Who },
    /// An operator has another version.
    Swap { id: u64, place: Place, order: Swap, component: Option<Vec<u8>>, who: Who },
    /// An operator wants an earlier version.
    Rollback { id: u64, place: Place, to: Option<String>, who: Who },
    /// The gateway stops.
    Stop,
}

/// What is to be different in a plugin; what is left out stays.
#[derive(Default)]
struct Candidate {
    component: Option<Vec<u8>>,
    signature: Option<String>,
    settings: Option<Value>,
    plan: chain::Plan,
    /// An operator asks, so that what was rolled back before is tried.
    is_asked: bool,
}

/// A change that has its turn.
struct Turn<'a> {
    id: u64,
    place: Place,
    who: &'a Who,
}

/// What is known of a plugin when its turn begins.
struct About {
    flow: String,
    plugin: String,
    running: Version,
    new: Version,
    written: Version,
}

impl About {
    fn spot(&self) -> Spot<'_> {
        Spot { flow: &self.flow, plugin: &self.plugin, written: &self.written }
    }
}

pub(super) struct Driver {
    parts: Parts,
    desk: Desk,
    /// What the config says of each plugin, as it was last seen.
    written: Vec<Vec<Version>>,
    watched: Vec<PathBuf>,
    watch: Watch,
}

impl Driver {
    pub(super) fn new(parts: Parts, desk: Desk) -> std::io::Result<Self> {
        let written = |flow: &Vec<Started>| flow.iter().map(|started| started.written.clone()).collect();
        let written = parts.started.iter().map(written).collect();
        let watched = watched(&parts.config, &parts.origin);
        let watch = watch(&watched, &desk)?;
        Ok(Self { parts, desk, written, watched, watch })
    }

    pub(super) fn run(&mut self, waiting: &Receiver<Request>) {
        self.catch_up();
        while let Ok(request) = waiting.recv() {
            if self.desk.board.is_stopping() {
                return;
            }
            match request {
                Request::Changed { path, .. } if path == self.parts.origin.path => self.reload(None, &Who::Config),
                Request::Changed { path, content } => self.replace(&path, &content),
                Request::Reload { id, who } => self.reload(id, &who),
                Request::Swap { id, place, order, component, who } => self.swap(&Turn { id, place, who: &who }, order, component),
                Request::Rollback { id, place, to, who } => self.roll_back(&Turn { id, place, who: &who }, to.as_deref()),
                Request::Stop => return,
            }
        }
    }

    /// What was under way when the gateway ended, and files that have changed since they were read for the start.
    fn catch_up(&mut self) {
        for place in self.places() {
            let started = &self.parts.started[place.flow][place.plugin];
            if started.start == Start::TryAgain {
                self.try_again(place);
            } else {
                self.look(place);
            }
        }
    }

    fn places(&self) -> Vec<Place> {
        let flows = self.parts.config.flows.iter().enumerate();
        flows.flat_map(|(flow, spec)| (0..spec.plugins.len()).map(move |plugin| Place { flow, plugin })).collect()
    }

    fn plugin(&self, place: Place) -> &PluginConfig {
        &self.parts.config.flows[place.flow].plugins[place.plugin]
    }

    fn entry(&self, place: Place) -> Option<Entry> {
        self.parts.versions.entry(&self.parts.config.flows[place.flow].name, &self.plugin(place).name)
    }

    fn try_again(&mut self, place: Place) {
        let Some(entry) = self.entry(place) else { return };
        let Some(attempt) = entry.trying else { return };
        let plugin = self.plugin(place);
        let mut candidate = Candidate { settings: serde_json::from_str(&attempt.version.settings).ok(), ..Candidate::default() };
        if attempt.version.digest != entry.confirmed.digest {
            candidate.component = chain::read_component(&plugin.name, &plugin.artefact).ok();
            candidate.signature = signature(&plugin.artefact);
        }
        self.by_itself(place, &Who::Start, candidate);
    }

    /// Whether the config's file is what it was.
    fn look(&mut self, place: Place) {
        let plugin = self.plugin(place);
        let Artefact::File(path) = plugin.artefact.clone() else { return };
        let now = written(plugin);
        if now.digest != self.written[place.flow][place.plugin].digest && !now.digest.is_empty() {
            let content = chain::read_component(&plugin.name, &plugin.artefact);
            if let Ok(content) = content {
                self.replace(&path, &content);
            }
        }
    }

    fn replace(&mut self, path: &Path, content: &[u8]) {
        for place in self.places() {
            let artefact = &self.plugin(place).artefact;
            if *artefact != Artefact::File(path.to_owned()) {
                continue;
            }
            let candidate =
                Candidate { component: Some(content.to_owned()), signature: signature(artefact), ..Candidate::default() };
            self.written[place.flow][place.plugin].digest = digest_of(content);
            self.by_itself(place, &Who::File, candidate);
        }
    }

    /// A change that no operator waits for.
    fn by_itself(&mut self, place: Place, who: &Who, candidate: Candidate) -> Outcome {
        let title = format!("{} changes {}", who.name(), self.title(place));
        let board = self.desk.board.clone();
        // One that an operator has put up for the same plugin comes after it.
        let opened = board.open(title.clone(), Some(place)).or_else(|_| board.open(title, None));
        let id = opened.unwrap_or_default();
        let outcome = self.change(&Turn { id, place, who }, candidate);
        board.end(id);
        outcome
    }

    fn swap(&mut self, turn: &Turn<'_>, order: Swap, component: Option<Vec<u8>>) {
        let mut candidate =
            Candidate { component, signature: order.signature, settings: None, plan: order.plan.into(), is_asked: true };
        if order.from_config {
            let plugin = self.plugin(turn.place);
            match chain::read_component(&plugin.name, &plugin.artefact) {
                Ok(component) => candidate.component = Some(component),
                Err(error) => return self.fail(turn, Outcome::Refused, words(&error)),
            }
            candidate.signature = signature(&plugin.artefact);
            candidate.settings = Some(plugin.settings.clone());
        }
        self.change(turn, candidate);
        self.desk.board.end(turn.id);
    }

    fn roll_back(&mut self, turn: &Turn<'_>, to: Option<&str>) {
        let target = match self.entry(turn.place).ok_or("nothing is known of it").and_then(|entry| target(&entry, to)) {
            Ok(target) => target,
            Err(why) => return self.fail(turn, Outcome::Refused, why.to_owned()),
        };
        let running = self.about(turn.place, &Candidate::default());
        let mut candidate =
            Candidate { settings: serde_json::from_str(&target.settings).ok(), is_asked: true, ..Candidate::default() };
        if target.digest != running.running.digest {
            let Some((path, component)) = self.parts.versions.component(&target.digest) else {
                let why = format!("the component {} is not kept whole any more", target.label());
                return self.fail(turn, Outcome::Refused, why);
            };
            candidate.signature = signature(&Artefact::Kept(path));
            candidate.component = Some(component);
        }
        if self.change(turn, candidate) == Outcome::Confirmed {
            // Else the config's file would bring it in again.
            let refusal = Refusal::now(running.running.clone(), format!("{} rolled it back", turn.who.name()), true);
            self.parts.versions.refused(running.spot(), refusal);
        }
        self.desk.board.end(turn.id);
    }

    /// An order that is not even tried.
    fn fail(&self, turn: &Turn<'_>, outcome: Outcome, why: String) {
        let about = self.about(turn.place, &Candidate::default());
        tracing::warn!(flow = about.flow, plugin = about.plugin, "nothing is changed: {why}");
        self.verdict(turn, &about, outcome, Some(why));
        self.desk.board.end(turn.id);
    }

    fn about(&self, place: Place, candidate: &Candidate) -> About {
        let (flow, plugin) = (&self.parts.config.flows[place.flow].name, &self.plugin(place).name);
        let written = self.written[place.flow][place.plugin].clone();
        let running = self.parts.versions.entry(flow, plugin).map_or_else(|| written.clone(), |entry| entry.confirmed);
        let digest = candidate.component.as_deref().map_or_else(|| running.digest.clone(), digest_of);
        let settings = candidate.settings.as_ref().map_or_else(|| running.settings.clone(), Value::to_string);
        About { flow: flow.to_string(), plugin: plugin.to_string(), running, new: Version { digest, settings }, written }
    }

    /// Makes a change and waits for its end.
    fn change(&self, turn: &Turn<'_>, candidate: Candidate) -> Outcome {
        let Place { flow, plugin } = turn.place;
        self.desk.board.begin(turn.id, turn.place);
        let about = self.about(turn.place, &candidate);
        let versions = &self.parts.versions;
        if let Some(why) = self.reason_not_to(turn.place, &about, candidate.is_asked) {
            tracing::warn!(flow = about.flow, plugin = about.plugin, candidate = about.new.label(), "not tried: {why}");
            // That the config says so is known from now on.
            versions.confirmed(about.spot(), &about.running, None);
            return self.verdict(turn, &about, Outcome::NotTried, Some(why));
        }
        if about.new != about.running {
            self.note(turn, &about, "begun", (None, None));
            versions.begin(about.spot(), &about.new, candidate.is_asked);
        }
        let spec = self.plugin(turn.place);
        let signature = candidate.signature.as_deref();
        let verify = |component: &[u8]| {
            let now = Now::read();
            let claim = Claim { name: &spec.signed_as, highest: None, downgrade: Downgrade::Refuse, now };
            spec.trust.verify(component, signature, claim).map(drop).map_err(|denied| words(&denied))
        };
        let change = Change {
            component: candidate.component.as_deref(),
            settings: candidate.settings.as_ref(),
            plan: candidate.plan,
            verify: (!is_builtin(candidate.component.as_deref())).then_some(Verify(&verify)),
        };
        let result = self.parts.chains[flow].swap(plugin, change, &|event| self.tell(turn, event));
        let code = candidate.component.as_deref().map(|component| Code { component, signature });
        self.conclude(turn, &about, code, result)
    }

    fn reason_not_to(&self, place: Place, about: &About, is_asked: bool) -> Option<String> {
        let entry = self.entry(place).filter(|_| !is_asked && about.new != about.running)?;
        let refusal = entry.refusal(&about.new).filter(|refusal| refusal.rolled_back)?;
        let name = self.title(place);
        Some(format!("it was rolled back at {}: {}; `tidegate swap {name}` tries it all the same", refusal.at, refusal.why))
    }

    fn conclude(&self, turn: &Turn<'_>, about: &About, code: Option<Code<'_>>, result: Result<Swapped, Refused>) -> Outcome {
        let (new, spot) = (&about.new, about.spot());
        let versions = &self.parts.versions;
        match result {
            Ok(_) if about.new == about.running => {
                versions.confirmed(spot, new, None);
                self.verdict(turn, about, Outcome::Unchanged, None)
            }
            Ok(swapped) => {
                versions.confirmed(spot, new, code);
                self.note(turn, about, State::Confirmed.name(), (None, to_json(swapped.figures.as_ref())));
                self.verdict(turn, about, Outcome::Confirmed, None)
            }
            Err(refused) if refused.step == Step::Cancel && self.desk.board.is_stopping() => {
                versions.suspended(spot);
                self.note(turn, about, Outcome::Suspended.name(), (Some(refused.why.clone()), None));
                self.verdict(turn, about, Outcome::Suspended, Some(refused.why))
            }
            Err(refused) => {
                let rolled_back = refused.state == State::RolledBack;
                let why = format!("{}: {}", refused.step.name(), refused.why);
                // One that an operator has ended is not to come back by itself either.
                let is_final = rolled_back || refused.step == Step::Cancel;
                versions.refused(spot, Refusal::now(new.clone(), why.clone(), is_final));
                let outcome = if rolled_back { Outcome::RolledBack } else { Outcome::Refused };
                self.note(turn, about, outcome.name(), (Some(why.clone()), to_json(refused.figures.as_deref())));
                self.verdict(turn, about, outcome, Some(why))
            }
        }
    }

    /// A transition, for whoever follows.
    fn tell(&self, turn: &Turn<'_>, event: &chain::Event) {
        let event = Event {
            at: utc(event.at),
            old: event.old.to_string(),
            new: event.new.to_string(),
            why: event.why.clone(),
            figures: to_json(event.figures.as_ref()),
            ..Event::now(turn.who, &event.flow, &event.plugin, event.state.name())
        };
        self.desk.board.push(turn.id, Line::Event(event));
    }

    fn note(&self, turn: &Turn<'_>, about: &About, what: &str, (why, figures): (Option<String>, Option<Value>)) {
        let (old, new) = (about.running.digest.clone(), about.new.digest.clone());
        let event = Event::now(turn.who, &about.flow, &about.plugin, what);
        self.parts.audit.note(&Event { old, new, why, figures, ..event });
    }

    fn verdict(&self, turn: &Turn<'_>, about: &About, outcome: Outcome, why: Option<String>) -> Outcome {
        let name = self.title(turn.place);
        let undo = (outcome == Outcome::Confirmed).then(|| {
            // With the same component only the settings differ, and the version before is meant.
            let is_other = about.running.digest != about.new.digest;
            let to = if is_other { format!(" --to {}", short_digest(&about.running.digest)) } else { String::new() };
            format!("tidegate rollback {name}{to}")
        });
        let runs = if outcome == Outcome::Confirmed { &about.new } else { &about.running };
        let verdict = Verdict {
            flow: about.flow.clone(),
            plugin: about.plugin.clone(),
            verdict: outcome,
            running: runs.digest.clone(),
            why,
            undo,
        };
        self.desk.board.push(turn.id, Line::Verdict(verdict));
        outcome
    }

    fn title(&self, place: Place) -> String {
        format!("{}/{}", self.parts.config.flows[place.flow].name, self.plugin(place).name)
    }

    fn reload(&mut self, id: Option<u64>, who: &Who) {
        let board = self.desk.board.clone();
        let id = id.unwrap_or_else(|| board.open(format!("{} is read again", who.name()), None).unwrap_or_default());
        match config::load(&self.parts.origin) {
            Ok(new) => self.take_over(id, who, &new),
            Err(problems) => self.keep(id, who, &problems),
        }
        board.end(id);
    }

    /// The changed config is none.
    fn keep(&self, id: u64, who: &Who, problems: &Problems) {
        let mistakes = problems.errors();
        tracing::warn!(mistakes, "the changed config was not applied, the running one stays; `tidegate check` shows why");
        self.desk.board.push(id, Line::Mistakes { text: problems.render(false).trim_end().to_owned(), json: problems.to_json() });
        let why = Some(format!("{mistakes} mistakes"));
        self.parts.audit.note(&Event { why, ..Event::now(who, "", "", "config-refused") });
    }

    fn take_over(&mut self, id: u64, who: &Who, new: &Config) {
        let difference = config::difference(&self.parts.config, new);
        let place = |change: &PluginChange| Place { flow: usize::from(change.flow.0), plugin: change.plugin };
        let plugins = difference.plugins.iter().map(|change| self.title(place(change))).collect();
        self.desk.board.push(id, Line::Difference { plugins, restart: difference.other.clone() });
        if difference.is_empty() {
            return tracing::debug!("the config is unchanged");
        }
        let why = Some(format!("{} plugins; restart: [{}]", difference.plugins.len(), difference.other.join(", ")));
        self.parts.audit.note(&Event { why, ..Event::now(who, "", "", "reloaded") });
        for change in difference.plugins {
            self.apply(&Turn { id, place: place(&change), who }, change);
        }
        self.aim();
        if !difference.other.is_empty() {
            tracing::warn!(
                tables = difference.other.join(", "),
                "these changes of the config need a restart; plugins and their settings change live"
            );
        }
    }

    fn apply(&mut self, turn: &Turn<'_>, change: PluginChange) {
        let Place { flow, plugin } = turn.place;
        let before = self.plugin(turn.place);
        let mut candidate = Candidate::default();
        if before.settings != change.config.settings {
            candidate.settings = Some(change.config.settings.clone());
        }
        if before.artefact != change.config.artefact {
            match chain::read_component(&change.config.name, &change.config.artefact) {
                Ok(component) => candidate.component = Some(component),
                Err(error) => {
                    let name = &*change.config.name;
                    return tracing::warn!(plugin = name, %error, "the plugin's component cannot be read; the running one stays");
                }
            }
            candidate.signature = signature(&change.config.artefact);
        }
        let written = &mut self.written[flow][plugin];
        written.settings = change.config.settings.to_string();
        if let Some(component) = &candidate.component {
            written.digest = digest_of(component);
        }
        // What was only refused is tried again when the config is read again.
        if self.change(turn, candidate) != Outcome::Refused {
            self.parts.config.flows[flow].plugins[plugin] = change.config;
        }
    }

    /// Watches other files when the config names others.
    fn aim(&mut self) {
        let files = watched(&self.parts.config, &self.parts.origin);
        if files == self.watched {
            return;
        }
        match watch(&files, &self.desk) {
            Ok(watch) => (self.watch, self.watched) = (watch, files),
            Err(error) => tracing::error!(%error, "changed files cannot be watched: those of the config before still are"),
        }
        // What has changed between the two watches.
        self.places().into_iter().for_each(|place| self.look(place));
    }
}

fn watch(files: &[PathBuf], desk: &Desk) -> std::io::Result<Watch> {
    let desk = desk.clone();
    Watch::start(files.to_owned(), move |path, content| {
        desk.offer(Request::Changed { path: path.to_owned(), content });
    })
}

fn watched(config: &Config, origin: &Sources) -> Vec<PathBuf> {
    let plugins = config.flows.iter().flat_map(|flow| &flow.plugins);
    let files = plugins.filter_map(|plugin| if let Artefact::File(path) = &plugin.artefact { Some(path.clone()) } else { None });
    let mut files: Vec<_> = files.chain([origin.path.clone()]).collect();
    files.sort();
    files.dedup();
    files
}

/// The version to go back to: the newest good one, or the newest whose digest begins so.
fn target(entry: &Entry, to: Option<&str>) -> Result<Version, &'static str> {
    let found = match to {
        Some(prefix) => entry.before.iter().map(|earlier| &earlier.version).find(|version| version.digest.starts_with(prefix)),
        None => entry.good_before(),
    };
    found.cloned().ok_or(match to {
        Some(_) => "no kept version has such a digest; `tidegate plugins` shows those that are kept",
        None => "no version before is kept; `tidegate plugins` shows those that are",
    })
}

/// What came with this binary needs no signature, whatever way it came here.
fn is_builtin(component: Option<&[u8]>) -> bool {
    component.is_some_and(|component| builtin::NAMES.iter().any(|name| builtin::component(name) == Some(component)))
}

fn to_json(figures: Option<&chain::Report>) -> Option<Value> {
    figures.and_then(|figures| serde_json::to_value(figures).ok())
}
