//! The uplinks, as the spool sees them: whether they are up, and whether they wait for something to send.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

use crate::spool::settings::Config;

/// One uplink, as the spool sees it.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) name: Arc<str>,
    pub(crate) up: AtomicBool,
    /// A fetch found nothing: the next append wakes.
    pub(crate) waiting: AtomicBool,
    pub(crate) ready: Arc<Notify>,
}

impl Link {
    pub(crate) fn new(name: Arc<str>) -> Self {
        Self {
            name,
            up: AtomicBool::new(false),
            waiting: AtomicBool::new(false),
            ready: Arc::default(),
        }
    }

    pub(crate) fn wake(&self) {
        if self.waiting.load(Ordering::Acquire) && self.waiting.swap(false, Ordering::AcqRel) {
            self.ready.notify_one();
        }
    }
}

/// One for each link that drains a queue.
pub(crate) fn links(config: &Config) -> Vec<Arc<Link>> {
    let mut links: Vec<Arc<Link>> = Vec::new();
    for queue in &config.queues {
        if !links.iter().any(|link| link.name == queue.link) {
            links.push(Arc::new(Link::new(Arc::clone(&queue.link))));
        }
    }
    links
}
