//! One upstream that is told what was given up, and how far the record on its way has got.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::clock::RunningTime;
use crate::message::Progress;
use crate::spool::ledger::store::LedgerStore;
use crate::spool::lock::locked;
use crate::spool::shared::Shared;
use crate::spool::shared::link::UplinkState;

/// One upstream that is told.
pub(super) struct LossReporter {
    pub(super) link: Arc<UplinkState>,
    /// How far the record on its way is settled.
    pub(super) sent: Option<Arc<Progress>>,
    /// The commit under way notes that it is safe.
    pub(super) is_noted: bool,
    /// When to look again, or when the next record may go.
    pub(super) next: RunningTime,
}

/// Those to be told, as the config wants it.
pub(super) fn all(shared: &Shared) -> Vec<LossReporter> {
    let links = shared.links.iter();
    links.filter_map(|link| of(shared, link)).collect()
}

/// The one at the other end of this link, if it is to be told and has a queue for that.
pub(super) fn of(shared: &Shared, link: &Arc<UplinkState>) -> Option<LossReporter> {
    shared.config.gap_topic.as_ref()?;
    let mut uplinks = shared.slots.iter().map(|slot| &slot.uplink);
    uplinks
        .any(|uplink| *uplink == link.name)
        .then(|| LossReporter {
            link: Arc::clone(link),
            sent: None,
            is_noted: false,
            next: RunningTime::START,
        })
}

impl LossReporter {
    /// When there is something to do.
    pub(super) fn due(&self, shared: &Shared) -> Option<RunningTime> {
        let has_news = || {
            self.link.up.load(Ordering::Acquire)
                && locked(&shared.ledger_store).has_unreported(&self.link.name)
        };
        (self.sent.is_some() || has_news()).then_some(self.next)
    }

    /// Whether a record is on its way.
    pub(super) fn is_waiting(&self) -> bool {
        self.sent.is_some()
    }

    /// Whether the record on its way is safe.
    pub(super) fn is_safe(&self) -> bool {
        self.sent.as_ref().is_some_and(|sent| sent.all_settled())
    }

    /// A commit is about to note that upstream was told, if the record is safe.
    pub(super) fn note(&mut self, ledger_store: &mut LedgerStore) {
        if self.is_safe() {
            ledger_store.reported(&self.link.name);
            self.is_noted = true;
        }
    }

    /// What the commit noted is on disk.
    pub(super) fn committed(&mut self) {
        if std::mem::take(&mut self.is_noted) {
            self.sent = None;
        }
    }

    pub(super) fn not_committed(&mut self) {
        self.is_noted = false;
    }
}
