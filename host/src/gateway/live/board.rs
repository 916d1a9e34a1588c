//! What changes are under way and what has come of the last ones, for anybody to follow. Memory only.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::order::{ChangeLine, ChangeProgress};

/// Changes that are remembered after their end.
const REMEMBERED: usize = 32;
/// Lines of one change; a reload of many plugins has a dozen for each.
const LINES: usize = 4_096;

/// Place of a plugin: its flow and its place there, from 0 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PluginIndex {
    pub flow: usize,
    pub plugin: usize,
}

/// The board. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ChangeTracker {
    state: Arc<Mutex<TrackedChanges>>,
    /// Counts what is put up.
    bell: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct TrackedChanges {
    last: u64,
    changes: VecDeque<TrackedChange>,
    /// The gateway stops, so that what ends now is not to blame.
    is_stopping: bool,
}

#[derive(Debug)]
struct TrackedChange {
    id: u64,
    /// In words: who changes what.
    title: String,
    /// What it works on now, or is to work on.
    place: Option<PluginIndex>,
    lines: Vec<ChangeLine>,
    has_begun: bool,
    has_ended: bool,
}

impl Default for ChangeTracker {
    fn default() -> Self {
        Self {
            state: Arc::default(),
            bell: watch::Sender::new(0),
        }
    }
}

impl ChangeTracker {
    /// Puts up a change that waits for its turn.
    ///
    /// # Errors
    /// In words: another one of the same plugin waits or is under way.
    pub fn open(&self, title: String, place: Option<PluginIndex>) -> Result<u64, String> {
        let mut state = self.lock();
        let mut current = state.changes.iter().filter(|change| !change.has_ended);
        if let Some(other) =
            place.and_then(|place| current.clone().find(|change| change.place == Some(place)))
        {
            return Err(other.title.clone());
        }
        // Other flows' changes hold nothing up.
        let first = place.and_then(|wanted| {
            current.find(|change| change.place.is_some_and(|place| place.flow == wanted.flow))
        });
        let lines = first
            .map(|first| ChangeLine::Waits {
                behind: first.title.clone(),
            })
            .into_iter()
            .collect();
        state.last += 1;
        let id = state.last;
        state.changes.push_back(TrackedChange {
            id,
            title,
            place,
            lines,
            has_begun: false,
            has_ended: false,
        });
        if state.changes.len() > REMEMBERED
            && let Some(index) = state.changes.iter().position(|change| change.has_ended)
        {
            state.changes.remove(index);
        }
        Ok(id)
    }

    /// Its turn has come for this plugin.
    pub fn begin(&self, id: u64, place: PluginIndex) {
        self.update(id, |change| {
            (change.place, change.has_begun) = (Some(place), true)
        });
    }

    pub fn push(&self, id: u64, line: ChangeLine) {
        self.update(id, |change| {
            if change.lines.len() < LINES {
                change.lines.push(line);
            }
        });
    }

    /// Nothing will happen any more.
    pub fn end(&self, id: u64) {
        self.update(id, |change| change.has_ended = true);
    }

    /// What has come of a change from line `from` on; `None` when it is not known (any more).
    pub fn page(&self, id: u64, from: usize) -> Option<ChangeProgress> {
        let state = self.lock();
        let change = state.changes.iter().find(|change| change.id == id)?;
        Some(ChangeProgress {
            lines: change.lines.get(from..).unwrap_or_default().to_vec(),
            has_ended: change.has_ended,
        })
    }

    /// The change of a plugin that waits or is under way.
    pub fn of(&self, place: PluginIndex) -> Option<u64> {
        self.lock()
            .changes
            .iter()
            .find(|change| !change.has_ended && change.place == Some(place))
            .map(|change| change.id)
    }

    /// Plugins that are being changed.
    pub fn under_way(&self) -> Vec<PluginIndex> {
        let state = self.lock();
        state
            .changes
            .iter()
            .filter(|change| change.has_begun && !change.has_ended)
            .filter_map(|change| change.place)
            .collect()
    }

    /// Rings with everything that is put up.
    pub fn bell(&self) -> watch::Receiver<u64> {
        self.bell.subscribe()
    }

    pub fn stop(&self) {
        self.lock().is_stopping = true;
    }

    /// Whether the gateway stops.
    pub fn is_stopping(&self) -> bool {
        self.lock().is_stopping
    }

    fn update(&self, id: u64, update: impl FnOnce(&mut TrackedChange)) {
        if let Some(change) = self
            .lock()
            .changes
            .iter_mut()
            .find(|change| change.id == id)
        {
            update(change);
        }
        self.bell.send_modify(|count| *count += 1);
    }

    fn lock(&self) -> MutexGuard<'_, TrackedChanges> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Does the work of one order. What crashes costs that order, whoever follows it hears that it is over, and the next one is
/// taken.
pub(super) fn guarded(board: &ChangeTracker, id: Option<u64>, work: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(work)).is_err() {
        tracing::error!(
            "an order for a change crashed and is dropped, the next ones are taken; a fault in tidegate: please report it"
        );
        id.into_iter().for_each(|id| board.end(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: PluginIndex = PluginIndex { flow: 0, plugin: 1 };

    fn line(text: &str) -> ChangeLine {
        ChangeLine::Waits {
            behind: text.to_owned(),
        }
    }

    #[test]
    fn one_change_of_a_plugin_at_a_time_and_others_wait() {
        let board = ChangeTracker::default();
        let first = board.open("the first".to_owned(), Some(RULE)).unwrap();
        assert_eq!(
            board.open("the second".to_owned(), Some(RULE)),
            Err("the first".to_owned())
        );
        let other = board
            .open(
                "another plugin".to_owned(),
                Some(PluginIndex { flow: 0, plugin: 0 }),
            )
            .unwrap();
        assert_eq!(board.page(other, 0).unwrap().lines, [line("the first")]);
        let elsewhere = board
            .open(
                "another flow".to_owned(),
                Some(PluginIndex { flow: 1, plugin: 1 }),
            )
            .unwrap();
        assert_eq!(board.page(elsewhere, 0).unwrap().lines, []);
        assert_eq!((board.of(RULE), board.under_way()), (Some(first), vec![]));
        board.begin(first, RULE);
        assert_eq!(board.under_way(), [RULE]);
        board.end(first);
        assert_eq!((board.of(RULE), board.under_way()), (None, vec![]));
        assert!(board.open("the second".to_owned(), Some(RULE)).is_ok());
    }

    #[test]
    fn what_has_happened_is_read_from_where_one_was_and_the_oldest_ended_ones_go() {
        let board = ChangeTracker::default();
        let id = board.open(String::new(), None).unwrap();
        let bell = board.bell();
        board.push(id, line("a"));
        board.push(id, line("b"));
        assert!(bell.has_changed().unwrap());
        assert_eq!(
            board.page(id, 1),
            Some(ChangeProgress {
                lines: vec![line("b")],
                has_ended: false
            })
        );
        for _ in 0..2 * REMEMBERED {
            let other = board.open(String::new(), None).unwrap();
            board.end(other);
        }
        assert_eq!(
            board.page(id, 9),
            Some(ChangeProgress::default()),
            "one that goes on is not forgotten"
        );
        board.end(id);
        (0..REMEMBERED).for_each(|_| board.end(board.open(String::new(), None).unwrap()));
        assert_eq!(board.page(id, 0), None);
    }
}
