//! Live change: a plugin file that was replaced, or a plugin's settings in the config, is swapped in; any other
//! change of the config says that it needs a restart. One thread drives all of it, off the data path, so that no
//! two swaps meet; it touches neither sources nor uplinks, so a dark upstream cannot hold it up.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use crate::chain::{Artefact, Chain, Change, Watch};
use crate::config::{self, Config, PluginChange, Sources};

/// Changes that may wait while one is being applied.
const WAITING: usize = 64;

enum Request {
    Changed { path: PathBuf, content: Vec<u8> },
    Reload,
    Stop,
}

/// The running thread and its watch.
pub struct Live {
    requests: SyncSender<Request>,
    driver: JoinHandle<()>,
    watch: Watch,
}

impl Live {
    /// Watches the plugin files and the config file of `config`.
    pub fn start(config: Config, origin: Sources, chains: Vec<Arc<Chain>>) -> std::io::Result<Self> {
        let (requests, waiting) = sync_channel(WAITING);
        let seen = requests.clone();
        let changed = move |path: &Path, content: Vec<u8>| offer(&seen, Request::Changed { path: path.to_owned(), content });
        let watch = Watch::start(watched(&config, &origin), changed)?;
        let mut driver = Driver { config, origin, chains };
        let driver = std::thread::Builder::new().name("live".into()).spawn(move || driver.run(&waiting))?;
        Ok(Self { requests, driver, watch })
    }

    /// Reads the config again, as SIGHUP asks.
    pub fn reload(&self) {
        offer(&self.requests, Request::Reload);
    }

    /// Ends the watch and, after the swap under way, the driver.
    pub fn stop(self) {
        self.watch.stop();
        // An error means that the driver has ended already.
        let _ = self.requests.send(Request::Stop);
        if self.driver.join().is_err() {
            tracing::error!("the live thread crashed; plugins were no longer swapped");
        }
    }
}

fn offer(requests: &SyncSender<Request>, request: Request) {
    if let Err(TrySendError::Full(_)) = requests.try_send(request) {
        tracing::warn!("more changes than can wait; send SIGHUP when the last one is done");
    }
}

fn watched(config: &Config, origin: &Sources) -> Vec<PathBuf> {
    let plugins = config.flows.iter().flat_map(|flow| &flow.plugins);
    let files = plugins.filter_map(|plugin| if let Artefact::File(path) = &plugin.artefact { Some(path.clone()) } else { None });
    let mut files: Vec<_> = files.chain([origin.path.clone()]).collect();
    files.sort();
    files.dedup();
    files
}

struct Driver {
    config: Config,
    origin: Sources,
    chains: Vec<Arc<Chain>>,
}

impl Driver {
    fn run(&mut self, waiting: &Receiver<Request>) {
        while let Ok(request) = waiting.recv() {
            match request {
                Request::Changed { path, .. } if path == self.origin.path => self.reload(),
                Request::Changed { path, content } => self.replace(&path, &content),
                Request::Reload => self.reload(),
                Request::Stop => return,
            }
        }
    }

    /// The verdict is logged and counted by the chain.
    fn replace(&self, path: &Path, content: &[u8]) {
        for (flow, chain) in self.config.flows.iter().zip(&self.chains) {
            for (index, plugin) in flow.plugins.iter().enumerate() {
                if plugin.artefact == Artefact::File(path.to_owned()) {
                    let _ = chain.swap(index, Change { component: Some(content), ..Change::default() }, &|_| {});
                }
            }
        }
    }

    fn reload(&mut self) {
        let new = match config::load(&self.origin) {
            Ok(new) => new,
            Err(problems) => {
                tracing::warn!(
                    mistakes = problems.errors(),
                    "the changed config was not applied, the running one stays; `tidegate check` shows why"
                );
                return;
            }
        };
        let difference = config::difference(&self.config, &new);
        if difference.is_empty() {
            return tracing::debug!("the config is unchanged");
        }
        for change in difference.plugins {
            self.apply(change);
        }
        if !difference.other.is_empty() {
            tracing::warn!(
                tables = difference.other.join(", "),
                "these changes of the config need a restart; plugins and their settings change live"
            );
        }
    }

    fn apply(&mut self, change: PluginChange) {
        let flow = usize::from(change.flow.0);
        let running = &mut self.config.flows[flow].plugins[change.plugin];
        let component = match component(&running.artefact, &change.config.artefact) {
            Ok(component) => component,
            Err(error) => {
                return tracing::warn!(plugin = &*running.name, %error, "the plugin's component cannot be read; the running one stays");
            }
        };
        let settings = Some(&change.config.settings);
        if self.chains[flow]
            .swap(change.plugin, Change { component: component.as_deref(), settings, ..Change::default() }, &|_| {})
            .is_ok()
        {
            *running = change.config;
        }
    }
}

/// The new component's bytes, when it is another one.
fn component(old: &Artefact, new: &Artefact) -> std::io::Result<Option<Vec<u8>>> {
    if old == new {
        return Ok(None);
    }
    match new {
        Artefact::File(path) => std::fs::read(path).map(Some),
        Artefact::Builtin(name) => Ok(crate::builtin::component(name).map(<[u8]>::to_vec)),
    }
}
