//! The one thread that changes plugins.

mod back;
mod change;
mod flows;
mod reload;

use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;

use serde_json::Value;

use super::order::{Line, Name, Outcome, Rollback, Swap};
use super::{Desk, Parts, Place};
use crate::chain::{self, Artefact, Opened, PluginConfig, Watch};
use crate::gateway::inlets::Inlets;
use crate::gateway::start::{Started, signature, written};
use crate::telemetry::with_causes;
use crate::trust;
use crate::versions::history::Who;
use crate::versions::{Entry, Spot, Start, Version};
use reload::{watch, watched};

/// What the thread is asked to do.
pub(in crate::gateway) enum Request {
    /// A watched file has new content.
    Changed { path: PathBuf, content: Vec<u8> },
    /// The config is to be read again.
    Reload { id: Option<u64>, who: Who },
    /// An operator has another version.
    Swap { id: u64, order: Swap, component: Option<Vec<u8>>, who: Who },
    /// An operator wants an earlier version.
    Rollback { id: u64, order: Rollback, who: Who },
    /// A plugin keeps failing.
    Opened { flow: usize, opened: Opened },
    /// The gateway stops.
    Stop,
}

/// What a candidate's signature has to say.
#[derive(Clone, Copy, Default)]
enum Admission {
    /// That it is not older than any version that was confirmed in its place, and has not expired.
    #[default]
    New,
    /// That it has not expired.
    Older,
    /// Only who signed it: it has run here.
    Kept,
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
    admission: Admission,
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
    inlets: Inlets,
    desk: Desk,
    /// What the config says of each plugin, as it was last seen.
    written: Vec<Vec<Version>>,
    watched: Vec<PathBuf>,
    watch: Watch,
    /// Digests of what failed and of an earlier version that did not help.
    in_vain: Vec<(String, String)>,
}

impl Driver {
    pub(super) fn new(parts: Parts, inlets: Inlets, desk: Desk) -> std::io::Result<Self> {
        let written = |flow: &Vec<Started>| flow.iter().map(|started| started.written.clone()).collect();
        let written = parts.started.iter().map(written).collect();
        let watched = watched(&parts.config, &parts.origin);
        let watch = watch(&watched, &desk)?;
        Ok(Self { parts, inlets, desk, written, watched, watch, in_vain: Vec::new() })
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
                Request::Swap { id, order, component, who } => {
                    if let Some(place) = self.still_there(id, &order.plugin) {
                        self.swap(&Turn { id, place, who: &who }, order, component);
                    }
                    self.desk.board.end(id);
                }
                Request::Rollback { id, order, who } => {
                    if let Some(place) = self.still_there(id, &order.plugin) {
                        self.roll_back(&Turn { id, place, who: &who }, order.to.as_deref());
                    }
                    self.desk.board.end(id);
                }
                Request::Opened { flow, opened } => self.fail_over(flow, &opened),
                Request::Stop => return,
            }
        }
    }

    /// Where a plugin is by now: its flow may be another one since the order came.
    fn still_there(&self, id: u64, plugin: &Name) -> Option<Place> {
        let place = self.desk.place(plugin);
        if let Err(why) = &place {
            tracing::warn!(plugin = plugin.0, "nothing is changed: {why}");
            self.desk.board.push(id, Line::Gone { plugin: plugin.0.clone() });
        }
        place.ok()
    }

    /// What was under way when the gateway ended, and files that have changed since they were read for the start.
    fn catch_up(&mut self) {
        for place in self.places() {
            if self.desk.board.is_stopping() {
                return;
            }
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

    /// A component has new content, or a signature has, which may come after its component.
    fn replace(&mut self, path: &Path, content: &[u8]) {
        for place in self.places() {
            let plugin = self.plugin(place);
            let Artefact::File(file) = &plugin.artefact else { continue };
            let component = if file == path {
                content.to_owned()
            } else if trust::signature_path(file) == path {
                // One that is not there yet is seen when it comes.
                let Ok(component) = chain::read_component(&plugin.name, &plugin.artefact) else { continue };
                component
            } else {
                continue;
            };
            let signature = signature(&plugin.artefact);
            self.written[place.flow][place.plugin].digest = trust::digest(&component);
            self.by_itself(place, &Who::File, Candidate { component: Some(component), signature, ..Candidate::default() });
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
        let mut candidate = Candidate {
            component,
            signature: order.signature,
            settings: None,
            plan: order.plan.into(),
            is_asked: true,
            admission: if order.downgrade { Admission::Older } else { Admission::New },
        };
        if order.from_config {
            let plugin = self.plugin(turn.place);
            match chain::read_component(&plugin.name, &plugin.artefact) {
                Ok(component) => candidate.component = Some(component),
                Err(error) => {
                    self.refuse(turn, with_causes(&error));
                    return;
                }
            }
            candidate.signature = signature(&plugin.artefact);
            candidate.settings = Some(plugin.settings.clone());
        }
        self.change(turn, candidate);
    }
}
