//! Files with new content that wait until the window for changes opens.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::clock::{ChangeWindow, Now, WindowState};
use crate::gateway::standing::{HeldChanges, SharedStanding};

/// Which files wait; what is in them is read when their time has come. There are no more of them than are watched.
pub(super) struct HeldFiles {
    window: Option<ChangeWindow>,
    waiting: BTreeSet<PathBuf>,
    standing: SharedStanding,
}

impl HeldFiles {
    pub(super) fn new(window: Option<ChangeWindow>, standing: SharedStanding) -> Self {
        Self {
            window,
            waiting: BTreeSet::new(),
            standing,
        }
    }

    /// Whether a file that has changed is to wait, which it does from now on.
    pub(super) fn hold(&mut self, path: &Path, now: Now) -> bool {
        let Some(window) = &self.window else {
            return false;
        };
        let until = match window.at(now) {
            WindowState::Open => return false,
            state => HeldChanges::until(window, state),
        };
        if self.waiting.insert(path.to_owned()) {
            tracing::info!(path = %path.display(), "a file has changed and waits: {}", until.words());
        }
        self.show(now);
        true
    }

    /// The files whose time has come.
    pub(super) fn due(&mut self, now: Now) -> Vec<PathBuf> {
        let is_open = |window: &ChangeWindow| window.at(now) == WindowState::Open;
        if self.waiting.is_empty() {
            return Vec::new();
        }
        if self.window.as_ref().is_none_or(is_open) {
            return self.take();
        }
        // The clock may have been set meanwhile.
        self.show(now);
        Vec::new()
    }

    /// All that wait, since somebody wants them now.
    pub(super) fn take(&mut self) -> Vec<PathBuf> {
        self.standing.holds(None);
        std::mem::take(&mut self.waiting).into_iter().collect()
    }

    fn show(&self, now: Now) {
        let Some(window) = &self.window else { return };
        let files = self.waiting.iter().cloned().collect();
        let held = HeldChanges {
            files,
            ..HeldChanges::until(window, window.at(now))
        };
        self.standing.holds(Some(held));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Uptime, WallTime, moment};

    fn at(text: &str) -> Now {
        Now {
            wall: WallTime(moment(text).unwrap()),
            uptime: Uptime(0),
        }
    }

    fn held(window: Option<&str>) -> (HeldFiles, SharedStanding) {
        let standing = SharedStanding::default();
        let window = window.map(|window| ChangeWindow::parse(window).unwrap());
        (HeldFiles::new(window, standing.clone()), standing)
    }

    #[test]
    fn what_changes_outside_the_window_waits_for_it_and_is_said_to() {
        let (mut files, standing) = held(Some("02:00-04:00"));
        let path = Path::new("/etc/tidegate/rule.wasm");
        assert!(!files.hold(path, at("2026-11-30T02:30:00Z")), "it is open");
        assert!(files.hold(path, at("2026-11-30T12:00:00Z")));
        assert!(
            files.hold(path, at("2026-11-30T13:00:00Z")),
            "the same again"
        );
        let said = &standing.look().words()[0];
        assert!(
            said.1.contains("rule.wasm")
                && said.1.contains("2026-12-01 02:00")
                && said.1.contains("UTC"),
            "{said:?}"
        );
        assert!(!said.0.contains("rule.wasm"), "{said:?}");
        assert!(files.due(at("2026-12-01T01:59:59Z")).is_empty());
        assert_eq!(files.due(at("2026-12-01T02:00:00Z")), [path]);
        assert!(files.due(at("2026-12-01T02:00:01Z")).is_empty());
        assert!(standing.look().words().is_empty());
    }

    #[test]
    fn without_a_clock_all_waits_for_it() {
        let (mut files, standing) = held(Some("00:00-24:00"));
        let path = Path::new("rule.wasm");
        assert!(files.hold(path, Now::default()));
        assert!(
            standing.look().words()[0]
                .1
                .contains("the clock is not set")
        );
        assert!(files.due(Now::default()).is_empty());
        assert_eq!(files.due(at("2026-11-30T12:00:00Z")), [path]);
    }

    #[test]
    fn whoever_wants_it_now_has_it_now_and_without_a_window_nothing_waits() {
        let (mut files, standing) = held(Some("02:00-04:00"));
        let path = Path::new("rule.wasm");
        assert!(files.hold(path, at("2026-11-30T12:00:00Z")));
        assert_eq!(files.take(), [path]);
        assert!(standing.look().words().is_empty());
        let (mut files, _) = held(None);
        assert!(!files.hold(path, Now::default()));
    }
}
