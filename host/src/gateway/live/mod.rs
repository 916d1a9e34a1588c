//! Live change: what the files say, what the config says and what an operator asks for, while the gateway runs.
//!
//! One thread takes all orders, off the data path, and makes the changes of flows; each change of a plugin has a thread of its
//! own, one at a time in each flow. None of them touches sources or uplinks, so a dark upstream cannot hold them up. Flows and their plugins change live; any other change of the config says that it
//! needs a restart. Whoever asks is answered at once with a number, under which the [`ChangeTracker`] tells how it goes on.

mod board;
mod desk;
mod driver;
mod held;
mod order;
mod parts;
mod request;
mod watch;

use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use board::{ChangeTracker, PluginIndex};
pub use order::{
    ChangeLine, ChangeOutcome, ChangeProgress, ChangeReceipt, FlowOutcome, FlowVerdict, PluginName,
    PluginVerdict, Rollback, SwapOrder, SwapPlan,
};

pub(super) use desk::Orders;
pub(super) use parts::LiveParts;

use self::driver::Driver;
use self::request::{DriverRequest, WAITING};
use super::ends::Endpoints;
use crate::chain::Engine;
use crate::versions::history::Who;

/// Pause between two looks whether the change under way has ended, once it was told to.
const STOPPING: Duration = Duration::from_millis(20);

pub(super) struct LiveChange {
    desk: Orders,
    engine: Engine,
    driver: JoinHandle<()>,
}

impl LiveChange {
    /// Watches the plugin files and the config file.
    pub(super) fn start(parts: LiveParts, ends: Endpoints) -> std::io::Result<Self> {
        let (requests, waiting) = sync_channel(WAITING);
        let board = ChangeTracker::default();
        let desk = Orders {
            requests,
            board,
            flow_handles: parts.flow_handles.clone(),
        };
        desk.flow_handles
            .chains()
            .iter()
            .for_each(|(flow, chain)| desk.hear(*flow, chain));
        let engine = parts.starter.engine().clone();
        let mut driver = Driver::new(parts, ends, desk.clone())?;
        let driver = std::thread::Builder::new()
            .name("live".into())
            .spawn(move || crate::thread::keep("live", || driver.run(&waiting)))?;
        Ok(Self {
            desk,
            engine,
            driver,
        })
    }

    /// Where orders are taken.
    pub(super) fn desk(&self) -> Orders {
        self.desk.clone()
    }

    /// Reads the config again, as SIGHUP asks.
    pub(super) fn reload(&self) {
        self.desk.offer(DriverRequest::Reload {
            id: None,
            who: Who::Config,
        });
    }

    /// Ends the change under way, whose version before runs on, and the driver; at `deadline` the process ends without.
    pub(super) fn stop(self, deadline: Instant) {
        self.desk.board.stop();
        self.desk.offer(DriverRequest::Stop);
        self.engine.give_up_compiling();
        while !self.driver.is_finished() {
            if Instant::now() >= deadline {
                return tracing::warn!(
                    "a change is left in its middle; the next start runs what it would run after a kill"
                );
            }
            for PluginIndex { flow, plugin } in self.desk.board.under_way() {
                self.desk
                    .cancel_at(PluginIndex { flow, plugin }, "the gateway stops");
            }
            std::thread::park_timeout(STOPPING);
        }
        if self.driver.join().is_err() {
            tracing::error!("the live thread crashed; plugins were no longer swapped");
        }
    }
}
