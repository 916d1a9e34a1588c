//! The uplinks, as the spool sees them: whether they are up, and whether they wait for something to send.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

use crate::spool::growing::Growing;

/// One uplink, as the spool sees it.
#[derive(Debug)]
pub(crate) struct UplinkState {
    pub(crate) name: Arc<str>,
    pub(crate) up: AtomicBool,
    /// A fetch found nothing: the next append wakes.
    pub(crate) waiting: AtomicBool,
    pub(crate) ready: Arc<Notify>,
}

impl UplinkState {
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

/// The link of this name; one that is not there is made.
pub(crate) fn link_of(links: &Growing<Arc<UplinkState>>, name: &Arc<str>) -> Arc<UplinkState> {
    let known = links.iter().find(|link| link.name == *name).cloned();
    known.unwrap_or_else(|| {
        let link = Arc::new(UplinkState::new(Arc::clone(name)));
        // There are no more links than queues, which are bounded alike.
        let _ = links.push(Arc::clone(&link));
        link
    })
}
