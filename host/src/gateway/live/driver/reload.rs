//! The config is read again.

use std::sync::{Arc, Mutex};

use super::super::PluginIndex;
use super::super::order::ChangeLine;
use super::Driver;
use super::candidate::Candidate;
use super::flows::Reload;
use super::job::{After, InPlace};
use super::wanted::Wanted;
use super::watched::{watch, watched};
use crate::chain;
use crate::chain::PluginConfig;
use crate::config::{self, Config, ConfigDifference, PluginChange, Problems};
use crate::gateway::audit;
use crate::gateway::start::signature;
use crate::link::Hurry;
use crate::trust;
use crate::versions::history::{HistoryEvent, Who};

impl Driver {
    pub(super) fn reload(&mut self, id: Option<u64>, who: &Who) {
        let board = self.desk.board.clone();
        let id = id.unwrap_or_else(|| {
            board
                .open(format!("{} is read again", who.name()), None)
                .unwrap_or_default()
        });
        let reload = Arc::new(InPlace { board, id });
        let _reloading = self.parts.service.reloading();
        match config::load(&self.parts.origin) {
            Ok(new) => {
                self.take_over(&reload, who, &new);
                // Files that it names may be mended, too.
                self.parts.hurries.iter().for_each(Hurry::all);
            }
            Err(problems) => self.keep(id, who, &problems),
        }
    }

    /// The changed config is none.
    fn keep(&self, id: u64, who: &Who, problems: &Problems) {
        let mistakes = problems.errors();
        self.parts.standing.refuse(problems);
        tracing::warn!(
            mistakes,
            "the changed config was not applied, the running one stays; `tidegate check` shows why"
        );
        self.desk.board.push(
            id,
            ChangeLine::Mistakes {
                text: problems.render(false).trim_end().to_owned(),
                json: problems.to_json(),
            },
        );
        let why = Some(format!("{mistakes} mistakes"));
        self.parts.audit.note(&HistoryEvent {
            why,
            ..HistoryEvent::now(who, "", "", audit::CONFIG_REFUSED)
        });
    }

    fn take_over(&mut self, reload: &Arc<InPlace>, who: &Who, new: &Config) {
        let id = reload.id;
        self.parts.config.regain_keys(new);
        self.revive();
        self.take_back(id, new);
        let difference = config::difference(&self.parts.config, new);
        self.tell_difference(id, who, &difference);
        if difference.is_empty() {
            return tracing::debug!("the config is unchanged");
        }
        // They wait for no probation.
        let added = self.add_queues(new);
        self.put_ends(new, &difference);
        self.put_devices(id, new, &difference);
        self.put_traces(new, &difference);
        let round = Reload {
            id,
            who,
            new,
            added,
        };
        self.change_flows(&round, &difference);
        self.remove_ends(id, new, &difference);
        self.parts.current.put(self.parts.config.clone());
        for change in difference.plugins {
            if self.desk.board.is_stopping() {
                return;
            }
            self.want_setting(place_of(&change), who, change, reload);
        }
        self.aim();
        if !difference.other.is_empty() {
            // It may not even start: only what has run whole is kept.
            return tracing::warn!(
                tables = difference.other.join(", "),
                "these changes of the config need a restart; `tidegate reload` says why"
            );
        }
        if !self.parts.standing.look().unchanged.is_empty() {
            return tracing::warn!(
                "not all of this config could be put in place: a start on one with mistakes falls back on the one before"
            );
        }
        if let Err(error) = config::keep(new, &self.parts.origin) {
            tracing::warn!(%error, "this config cannot be kept: a start on one with mistakes falls back on an older one");
        }
    }

    /// Ends a change under way where the config says again what runs, and forgets those that waited behind it.
    fn take_back(&mut self, id: u64, new: &Config) {
        let mut overtaken = Vec::new();
        for (flow, busy) in &mut self.busy {
            let Some((plugin, under_way)) = &busy.adopting else {
                continue;
            };
            let spec = &self.parts.config.flows[*flow];
            let running = &spec.plugins[*plugin];
            let mut wanted = new
                .flow(&spec.name)
                .into_iter()
                .flat_map(|flow| &flow.plugins);
            let wanted = wanted.find(|wanted| wanted.name == running.name);
            let Some(wanted) = wanted.filter(|wanted| says_the_same(wanted, running)) else {
                continue;
            };
            let is_of_it = |waiting: &Wanted| matches!(waiting, Wanted::Setting { place, .. } if place.plugin == *plugin);
            busy.waiting.retain(|waiting| !is_of_it(waiting));
            if !says_the_same(wanted, under_way) {
                overtaken.push(PluginIndex {
                    flow: *flow,
                    plugin: *plugin,
                });
            }
        }
        for place in overtaken {
            let plugin = self.title(place);
            tracing::info!(
                plugin,
                "the config says again what runs: the change under way ends"
            );
            let behind = format!(
                "the change of `{plugin}` is taken back, since the config says again what runs"
            );
            self.desk.board.push(id, ChangeLine::Waits { behind });
            let is_taken_back = self.desk.cancel_at(place, "the config was changed back");
            if let Some(busy) = self.busy.get_mut(&place.flow) {
                busy.is_taken_back = is_taken_back;
            }
            // One that was over by now has been adopted: the config is read once more, and brings back what it says.
            let name = &self.parts.config.flows[place.flow].name;
            self.deferred.insert(name.to_string());
        }
    }

    /// Whoever follows it hears what changes, and so does the history.
    fn tell_difference(&self, id: u64, who: &Who, difference: &ConfigDifference) {
        let plugins = difference.plugins.iter();
        let plugins: Vec<_> = plugins.map(|change| self.title(place_of(change))).collect();
        let flows = difference.flows.iter();
        let flows: Vec<_> = flows.map(|change| change.name.clone()).collect();
        let ends = difference.ends();
        let restart = difference.other.clone();
        self.parts.standing.accept(restart.clone());
        if !difference.is_empty() {
            let why = Some(summary(&flows, &plugins, &ends, &restart));
            self.parts.audit.note(&HistoryEvent {
                why,
                ..HistoryEvent::now(who, "", "", audit::RELOADED)
            });
        }
        let line = ChangeLine::Difference {
            plugins,
            flows,
            ends,
            restart,
        };
        self.desk.board.push(id, line);
    }

    /// What the config says of a plugin now. The reload waits until it is in place, and for no other change before it.
    fn want_setting(
        &mut self,
        place: PluginIndex,
        who: &Who,
        change: PluginChange,
        reload: &Arc<InPlace>,
    ) {
        let config = Box::new(change.config);
        let Some(busy) = self.busy.get(&place.flow) else {
            return self.want(Wanted::Setting {
                place,
                who: who.clone(),
                config,
                reload: Some(Arc::clone(reload)),
            });
        };
        let is_under_way = |(plugin, under_way): &(usize, Box<PluginConfig>)| {
            *plugin == place.plugin && says_the_same(under_way, &config)
        };
        if busy.adopting.as_ref().is_some_and(is_under_way) {
            return;
        }
        let behind = format!(
            "another change of the flow `{}` is under way",
            self.parts.config.flows[place.flow].name
        );
        tracing::info!(plugin = self.title(place), "a change waits: {behind}");
        reload.board.push(reload.id, ChangeLine::Waits { behind });
        self.want(Wanted::Setting {
            place,
            who: who.clone(),
            config,
            reload: None,
        });
    }

    pub(super) fn apply(
        &mut self,
        place: PluginIndex,
        who: Who,
        config: Box<PluginConfig>,
        reload: Option<Arc<InPlace>>,
    ) {
        let before = self.plugin(place);
        let mut candidate = Candidate::default();
        if before.settings != config.settings {
            candidate.settings = Some(config.settings.clone());
        }
        if before.artefact != config.artefact {
            match chain::read_component(&config.name, &config.artefact) {
                Ok(component) => candidate.component = Some(component),
                Err(error) => {
                    let plugin = self.title(place);
                    tracing::warn!(plugin, %error, "the plugin's component cannot be read; the running one stays");
                    let why =
                        format!("its component cannot be read, and the running one stays: {error}");
                    return self.parts.standing.stays(format!("flow.{plugin}"), why);
                }
            }
            candidate.signature = signature(&config.artefact);
        }
        let written = self.written_mut(place);
        written.settings = config.settings.to_string();
        if let Some(component) = &candidate.component {
            written.digest = trust::digest(component);
        }
        let id = self.open(place, &who);
        let after = After {
            adopt: Some(config),
            ..After::default()
        };
        let job = super::Job {
            reload: Mutex::new(reload),
            ..self.job(id, (place, who), candidate, after)
        };
        self.start_job(job);
    }

    /// Watches other files when the config names others.
    fn aim(&mut self) {
        let files = watched(&self.parts.config, &self.parts.origin);
        if files == self.watched {
            return;
        }
        match watch(&files, &self.desk) {
            Ok(watch) => (self.watch, self.watched) = (watch, files),
            Err(error) => {
                tracing::error!(%error, "changed files cannot be watched: those of the config before still are")
            }
        }
        // What has changed between the two watches.
        self.places().into_iter().for_each(|place| self.look(place));
    }
}

/// How much changes, in a few words.
fn summary(flows: &[String], plugins: &[String], ends: &[String], restart: &[String]) -> String {
    let counted = |names: &[String], noun: &str| match names {
        [] => None,
        [name] => Some(format!("{noun} {name}")),
        names => Some(format!("{} {noun}s", names.len())),
    };
    let ends = (!ends.is_empty()).then(|| ends.join(", "));
    let restart = (!restart.is_empty()).then(|| format!("for a restart: {}", restart.join(", ")));
    [
        counted(flows, "flow"),
        counted(plugins, "plugin"),
        ends,
        restart,
    ]
    .into_iter()
    .flatten()
    .collect::<Vec<_>>()
    .join("; ")
}

/// Whether both run the same component with the same settings.
fn says_the_same(one: &PluginConfig, other: &PluginConfig) -> bool {
    one.settings == other.settings && one.artefact == other.artefact
}

fn place_of(change: &PluginChange) -> PluginIndex {
    PluginIndex {
        flow: change.flow.index(),
        plugin: change.plugin,
    }
}
