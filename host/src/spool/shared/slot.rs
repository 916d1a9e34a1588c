//! One queue, with what belongs to it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use prometheus::IntCounter;

use crate::spool::disk::chunk::Extent;
use crate::spool::disk::mark::QueueMark;
use crate::spool::drop_policy::Policy;
use crate::spool::growing::Growing;
use crate::spool::lock::locked;
use crate::spool::memory::queue::Queue;
use crate::spool::memory::ram::Ram;
use crate::spool::metrics::Metrics;
use crate::spool::reading::sick::Sick;
use crate::spool::settings::{Config, QueueConfig};
use crate::spool::shared::link::{UplinkState, link_of};

/// One queue, with what belongs to it.
pub(crate) struct Slot {
    pub(crate) queue: Mutex<Queue>,
    pub(crate) name: String,
    pub(crate) uplink: Arc<str>,
    pub(crate) class: Arc<str>,
    pub(crate) link: Arc<UplinkState>,
    policy: Mutex<Policy>,
    /// No uplink drains it any more: what it owes is kept, as that of a queue which the config does not have.
    is_left: AtomicBool,
    pub(crate) appended: IntCounter,
    pub(crate) accepted: IntCounter,
    pub(crate) damaged: IntCounter,
    /// What it owes cannot be read for now.
    pub(crate) sick: Mutex<Option<Sick>>,
}

impl Slot {
    /// A queue of this start, with what the store holds of it.
    pub(crate) fn new(
        config: &QueueConfig,
        link: Arc<UplinkState>,
        metrics: &Metrics,
        (boot, ram): (u32, &Arc<Ram>),
        (mark, first): (QueueMark, Option<Extent>),
    ) -> Self {
        let labels = [&*config.uplink, &*config.class];
        Self {
            queue: Mutex::new(
                Queue::new(boot, mark, first)
                    .with_fresh_first(config.is_fresh_first)
                    .with_ram(ram),
            ),
            name: config.name(),
            uplink: Arc::clone(&config.uplink),
            class: Arc::clone(&config.class),
            link,
            policy: Mutex::new(config.policy),
            is_left: AtomicBool::new(false),
            appended: metrics.appended.with_label_values(&labels),
            accepted: metrics.accepted.with_label_values(&labels),
            damaged: metrics.damaged.with_label_values(&labels),
            sick: Mutex::default(),
        }
    }

    /// As it is now.
    pub(crate) fn config(&self) -> QueueConfig {
        QueueConfig {
            uplink: Arc::clone(&self.uplink),
            class: Arc::clone(&self.class),
            policy: self.policy(),
            is_fresh_first: locked(&self.queue).is_fresh_first(),
            link: Arc::clone(&self.link.name),
        }
    }

    /// What is given up of it, as the config says now.
    pub(crate) fn policy(&self) -> Policy {
        *locked(&self.policy)
    }

    /// That is what is given up of it from now on.
    pub(crate) fn set_policy(&self, policy: Policy) {
        *locked(&self.policy) = policy;
    }

    /// Whether an uplink drains it.
    pub(crate) fn is_drained(&self) -> bool {
        !self.is_left.load(Ordering::Acquire)
    }

    /// An uplink drains it from now on, or none any more. Answers whether that is news.
    pub(crate) fn set_drained(&self, is_drained: bool) -> bool {
        self.is_left.swap(!is_drained, Ordering::AcqRel) == is_drained
    }
}

/// The queues of the config with what the store holds of them, and the links that drain them.
pub(crate) fn slots(
    config: &Config,
    metrics: &Metrics,
    (boot, ram): (u32, &Arc<Ram>),
    found: Vec<(QueueMark, Option<Extent>)>,
) -> (Growing<Slot>, Growing<Arc<UplinkState>>) {
    let links = Growing::default();
    let slot = |(queue, found): (&QueueConfig, (QueueMark, Option<Extent>))| {
        let link = link_of(&links, &queue.link);
        Slot::new(queue, link, metrics, (boot, ram), found)
    };
    let slots = config.queues.iter().zip(found).map(slot).collect();
    (slots, links)
}
