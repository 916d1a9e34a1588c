//! The store of a gateway that does not run, opened to be looked at.

use std::path::Path;

use crate::spool::account::Account;
use crate::spool::disk::snapshot::{SnapshotFile, take};
use crate::spool::drop_policy::Policy;
use crate::spool::error::Error;
use crate::spool::lock::locked;
use crate::spool::metrics::Metrics;
use crate::spool::settings::{Config, QueueConfig};
use crate::spool::shared::Shared;
use crate::spool::shared::snapshots::SnapshotError;
use crate::spool::start::OpenPurpose;
use crate::spool::tools::Tools;
use crate::spool::writer::Writer;

/// The lock is held as long as this lives. Nothing is written or moved aside: the index is looked at in a copy.
pub struct Stopped {
    tools: Tools,
    /// Holds the lock; never run.
    _writer: Writer,
}

impl Stopped {
    /// Opens it, with every queue it owes something to, whether the config still has it or not.
    pub fn open(config: Config, metrics: Metrics) -> Result<Self, Error> {
        let (shared, writer) = Shared::open_to(OpenPurpose::Look, config, metrics.clone())?;
        if locked(&shared.found.strangers).is_empty() {
            return Ok(Self {
                tools: Tools::new(&shared),
                _writer: writer,
            });
        }
        let config = with_strangers(&shared);
        shared.open_store.close();
        drop((shared, writer));
        let (shared, writer) = Shared::open_to(OpenPurpose::Look, config, metrics)?;
        Ok(Self {
            tools: Tools::new(&shared),
            _writer: writer,
        })
    }

    /// What can be done with it.
    pub fn tools(&self) -> &Tools {
        &self.tools
    }

    pub fn account(&self) -> Account {
        self.tools.shared.account()
    }

    /// Puts the files as they are into the new folder `into`; nothing writes to them while this lives.
    pub fn snapshot(&self, into: &Path) -> Result<Vec<SnapshotFile>, SnapshotError> {
        let spool = &self.config().path;
        take(spool, &spool.join("store"), into).map_err(SnapshotError::Files)
    }

    /// The config with which all of its queues are known.
    pub fn config(&self) -> &Config {
        &self.tools.shared.config
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        self.tools.shared.open_store.close();
    }
}

fn with_strangers(shared: &Shared) -> Config {
    let mut config = shared.config.clone();
    let strangers = locked(&shared.found.strangers);
    let names = strangers
        .iter()
        .filter_map(|(name, _)| name.split_once(':'));
    config.queues.extend(
        names.map(|(uplink, class)| QueueConfig::new(uplink, class.into(), Policy::default())),
    );
    config
}
