//! The spool is started: the folder is locked, the store opened, and everything but the threads made.

use std::sync::{Arc, Mutex};

use crate::clock::RunningClock;
use crate::spool::disk::chunk::flows::FlowNames;
use crate::spool::disk::folder::DataFolder;
use crate::spool::disk::sealing::keys;
use crate::spool::disk::store::Store;
use crate::spool::error::Error;
use crate::spool::memory::ram::Ram;
use crate::spool::metrics::Metrics;
use crate::spool::settings::Config;
use crate::spool::shared::end::Shutdown;
use crate::spool::shared::health::StoreHealth;
use crate::spool::shared::noting::Noting;
use crate::spool::shared::open_store::OpenStore;
use crate::spool::shared::slot::slots;
use crate::spool::shared::{Discovered, Letters, Shared};
use crate::spool::space::free_space::FreeSpace;
use crate::spool::space::wear::Wear;
use crate::spool::wake_up::WakeUp;
use crate::spool::writer::{Writer, begin};

/// What a store is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OpenPurpose {
    /// To take and give messages.
    Run,
    /// To be looked at: nothing is written or moved aside, no new boot begins, and no thread runs.
    Look,
}

impl Shared {
    /// Everything but the thread.
    pub(super) fn open(config: Config, metrics: Metrics) -> Result<(Arc<Self>, Writer), Error> {
        Self::open_to(OpenPurpose::Run, config, metrics)
    }

    pub(super) fn open_to(
        purpose: OpenPurpose,
        config: Config,
        metrics: Metrics,
    ) -> Result<(Arc<Self>, Writer), Error> {
        Self::open_in(DataFolder::lock(&config.path)?, purpose, config, metrics)
    }

    pub(super) fn open_in(
        mut folder: DataFolder,
        purpose: OpenPurpose,
        config: Config,
        metrics: Metrics,
    ) -> Result<(Arc<Self>, Writer), Error> {
        keys::check(folder.path(), &config.sealer).map_err(|key| config.no_key(key))?;
        let mut free_space = FreeSpace::new(&folder, config.reserve_bytes);
        let begin = match purpose {
            OpenPurpose::Run => begin::begin(&config, &mut folder, &mut free_space)?,
            OpenPurpose::Look => begin::look(&config, &mut folder)?,
        };
        let boot = begin.boot;
        metrics.faults.inc_by(u64::from(begin.went_back));
        let clock = begin.queues.iter().map(|(mark, _)| mark.clock).max();
        let ram = Arc::new(Ram::new(config.memory_bytes));
        let (slots, links) = slots(&config, &metrics, (boot, &ram), begin.queues);
        let (store, low_marks) = begin.store.unzip();
        let witness = store.as_ref().map(Store::witness).unwrap_or_default();
        let clock = RunningClock::going_on_from(clock.unwrap_or_default());
        let found = Discovered {
            set_aside: Mutex::new(begin.set_aside),
            ..Discovered::default()
        };
        let shared = Arc::new(Self {
            boot,
            flows: FlowNames::new(&config.flows),
            slots,
            links,
            wishes: Mutex::default(),
            snapshot: Mutex::default(),
            letters: Letters::new(boot, &ram, begin.kept),
            ram,
            checkpoints: Mutex::default(),
            ledger_store: Mutex::new(begin.ledger_store),
            pending: Mutex::default(),
            nobody: Arc::default(),
            open_store: OpenStore::new(store),
            found,
            health: StoreHealth::new(config.path.clone()),
            end: Shutdown::default(),
            wear: Mutex::new(Wear::new(clock.now())),
            clock,
            wake_up: WakeUp::default(),
            noting: Noting::new(low_marks, witness),
            name: begin.name,
            metrics,
            config,
        });
        shared.give_account();
        shared.know_strangers(begin.strangers);
        begin.lost.iter().for_each(|lost| shared.know_lost(lost));
        if let Some(error) = begin.failure {
            shared.report_trouble(&error);
        }
        let writer = Writer::new(Arc::clone(&shared), folder, free_space);
        Ok((shared, writer))
    }

    /// Has the metrics ask for the numbers of the spool, for as long as there is one.
    fn give_account(self: &Arc<Self>) {
        let watched = Arc::downgrade(self);
        self.metrics
            .watch(move || watched.upgrade().map(|shared| shared.account()));
    }
}
