//! The config is read again.

use std::path::PathBuf;

use super::super::order::{Line, Outcome};
use super::super::{Desk, Place};
use super::{Candidate, Driver, Request, Turn};
use crate::chain::{self, Artefact, Watch};
use crate::config::{self, Config, PluginChange, Problems, Sources};
use crate::gateway::start::signature;
use crate::trust::{self, signature_path};
use crate::versions::history::{Event, Who};

impl Driver {
    pub(super) fn reload(&mut self, id: Option<u64>, who: &Who) {
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
        self.parts.standing.refuse(problems);
        tracing::warn!(mistakes, "the changed config was not applied, the running one stays; `tidegate check` shows why");
        self.desk.board.push(id, Line::Mistakes { text: problems.render(false).trim_end().to_owned(), json: problems.to_json() });
        let why = Some(format!("{mistakes} mistakes"));
        self.parts.audit.note(&Event { why, ..Event::now(who, "", "", "config-refused") });
    }

    fn take_over(&mut self, id: u64, who: &Who, new: &Config) {
        let difference = config::difference(&self.parts.config, new);
        let place = |change: &PluginChange| Place { flow: usize::from(change.flow.0), plugin: change.plugin };
        let plugins = difference.plugins.iter().map(|change| self.title(place(change))).collect();
        let flows = difference.flows.iter().map(|change| change.name.clone()).collect();
        self.parts.standing.accept(difference.other.clone());
        self.desk.board.push(id, Line::Difference { plugins, flows, restart: difference.other.clone() });
        if difference.is_empty() {
            return tracing::debug!("the config is unchanged");
        }
        let (plugins, flows, restart) = (difference.plugins.len(), difference.flows.len(), difference.other.join(", "));
        let why = Some(format!("{flows} flows, {plugins} plugins; restart: [{restart}]"));
        self.parts.audit.note(&Event { why, ..Event::now(who, "", "", "reloaded") });
        // They wait for no probation.
        self.change_flows(id, who, new, &difference.flows);
        for change in difference.plugins {
            if self.desk.board.is_stopping() {
                return;
            }
            self.apply(&Turn { id, place: place(&change), who }, change);
        }
        self.aim();
        if !difference.other.is_empty() {
            // It may not even start: only what has run whole is kept.
            return tracing::warn!(
                tables = difference.other.join(", "),
                "these changes of the config need a restart; flows and their plugins change live"
            );
        }
        if let Err(error) = config::keep(new, &self.parts.origin) {
            tracing::warn!(%error, "this config cannot be kept: a start on one with mistakes falls back on an older one");
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
            written.digest = trust::digest(component);
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

pub(super) fn watch(files: &[PathBuf], desk: &Desk) -> std::io::Result<Watch> {
    let desk = desk.clone();
    Watch::start(files.to_owned(), move |path, content| {
        desk.offer(Request::Changed { path: path.to_owned(), content });
    })
}

pub(super) fn watched(config: &Config, origin: &Sources) -> Vec<PathBuf> {
    let mut files = vec![origin.path.clone()];
    for plugin in config.flows.iter().flat_map(|flow| &flow.plugins) {
        let Artefact::File(path) = &plugin.artefact else { continue };
        files.push(path.clone());
        if !plugin.trust.keys.is_empty() {
            files.push(signature_path(path));
        }
    }
    files.sort();
    files.dedup();
    files
}
