//! One queue, with what belongs to it.

use std::sync::{Arc, Mutex};

use prometheus::IntCounter;

use crate::spool::disk::chunk::Extent;
use crate::spool::disk::mark::Mark;
use crate::spool::drop_policy::Policy;
use crate::spool::lock::locked;
use crate::spool::memory::queue::Queue;
use crate::spool::memory::ram::Ram;
use crate::spool::metrics::Metrics;
use crate::spool::reading::sick::Sick;
use crate::spool::settings::Config;
use crate::spool::shared::link::Link;

/// One queue, with what belongs to it.
pub(crate) struct Slot {
    pub(crate) queue: Mutex<Queue>,
    pub(crate) name: String,
    pub(crate) link: Arc<Link>,
    policy: Mutex<Policy>,
    pub(crate) appended: IntCounter,
    pub(crate) accepted: IntCounter,
    pub(crate) damaged: IntCounter,
    /// What it owes cannot be read for now.
    pub(crate) sick: Mutex<Option<Sick>>,
}

impl Slot {
    /// What is given up of it, as the config says now.
    pub(crate) fn policy(&self) -> Policy {
        *locked(&self.policy)
    }

    /// That is what is given up of it from now on.
    pub(crate) fn set_policy(&self, policy: Policy) {
        *locked(&self.policy) = policy;
    }
}

/// The queues of the config with what the store holds of them.
pub(crate) fn slots(
    config: &Config,
    links: &[Arc<Link>],
    metrics: &Metrics,
    (boot, ram): (u32, &Arc<Ram>),
    found: Vec<(Mark, Option<Extent>)>,
) -> Vec<Slot> {
    let known = config
        .queues
        .iter()
        .zip(found)
        .filter_map(|(queue, (mark, first))| {
            let labels = [&*queue.uplink, &*queue.class];
            Some(Slot {
                queue: Mutex::new(
                    Queue::new(boot, mark, first)
                        .with_fresh_first(queue.is_fresh_first)
                        .with_ram(ram),
                ),
                name: queue.name(),
                link: Arc::clone(links.iter().find(|link| link.name == queue.link)?),
                policy: Mutex::new(queue.policy),
                appended: metrics.appended.with_label_values(&labels),
                accepted: metrics.accepted.with_label_values(&labels),
                damaged: metrics.damaged.with_label_values(&labels),
                sick: Mutex::default(),
            })
        });
    known.collect()
}
