//! The main job on embedded defaults, in under a minute: devices, a gateway, an upstream, a link that is cut.
//!
//! Everything is real: two brokers and the gateway are processes of their own, the gateway runs `tidegate run` on a
//! config file in the demo's folder, and what is shown of it comes from its metrics port. The closing tally is
//! made of what the devices were acknowledged, what a subscriber upstream saw, and what the gateway counts; that
//! every reading above 20 °C arrived is checked without the gateway's word.

pub mod broker;
mod layout;
mod link;
mod process;
mod scene;
mod scrape;
mod tally;
mod view;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use tally::{Closing, ClosingTally};
pub use view::{Style, View};

use crate::sim;
use scene::Scene;

#[derive(Clone, Debug)]
pub struct Config {
    /// This program: brokers and gateway are started from it.
    pub program: PathBuf,
    /// Folder to be made for config, plugins, data and logs, and removed at the end.
    pub folder: PathBuf,
    pub devices: u32,
    /// Messages a second over all of them.
    pub rate: u32,
    /// How long they send.
    pub sending: Duration,
    /// Whether brokers and gateway stay after the tally, until a signal.
    pub keep: bool,
}

/// Why there is no tally.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A broker or the gateway.
    #[error(transparent)]
    Process(#[from] process::Error),
    /// The devices or the watcher.
    #[error("the simulated devices failed")]
    Sim(#[from] sim::Error),
    /// The demo's own files.
    #[error("cannot prepare the demo in `{folder}`")]
    Folder { folder: PathBuf, source: io::Error },
    /// The link, the view, a signal handler.
    #[error("cannot set up the demo: {what}")]
    Setup {
        what: &'static str,
        source: io::Error,
    },
    /// The gateway's metrics port does not answer.
    #[error("the gateway's metrics at `{address}` cannot be read")]
    Metrics {
        address: SocketAddr,
        source: io::Error,
    },
    /// A change was made and nothing happened.
    #[error("{what} was not swapped in within {} s; see `{log}`", limit.as_secs())]
    NotSwapped {
        what: &'static str,
        /// How long was waited.
        limit: Duration,
        log: String,
    },
}

#[derive(Clone, Copy, Debug)]
pub enum DemoOutcome {
    Played(Closing),
    /// By a signal before there was one.
    Interrupted,
}

impl Error {
    fn setup(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Setup { what, source }
    }
}

/// Plays the demo; `told` is called with the tally as soon as it is known, which with `keep` is long before the end.
/// Whatever happens, no child is left and the folder is gone, unless something failed: then its logs stay.
pub async fn run<W: Write>(
    config: Config,
    mut view: View<W>,
    told: impl FnOnce(&Closing),
) -> Result<DemoOutcome, Error> {
    let mut signals = StopSignals::install().map_err(Error::setup("signals"))?;
    let mut scene = None;
    let played = tokio::select! {
        played = play(&config, &mut view, &mut scene) => played.map(Some),
        () = signals.next() => Ok(None),
    };
    if let Ok(Some(closing)) = &played {
        told(closing);
        if config.keep
            && let Some(scene) = &scene
        {
            view.print(&scene.invitation())
                .map_err(Error::setup("output"))?;
            signals.next().await;
        }
    }
    if let Some(scene) = scene {
        scene.end().await;
    }
    if played.is_ok() {
        // What cannot be removed is in the system's temporary folder and harms nobody.
        let _ = std::fs::remove_dir_all(&config.folder);
    }
    Ok(played?.map_or(DemoOutcome::Interrupted, DemoOutcome::Played))
}

/// Leaves the scene in `stage` from the moment it stands, so that it can be taken down whatever happens.
async fn play<W: Write>(
    config: &Config,
    view: &mut View<W>,
    stage: &mut Option<Scene>,
) -> Result<Closing, Error> {
    let scene = stage.insert(Scene::set(config, view).await?);
    scene.play(config, view).await
}

/// What ends the demo early: Ctrl-C and SIGTERM.
struct StopSignals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl StopSignals {
    fn install() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
