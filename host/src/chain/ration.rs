//! What a plugin may say and name in the life of the process: log lines a second, and names of metrics, each of which is a
//! time series. It is the plugin's, whatever number of lanes, instances and versions it has meanwhile.

use crate::clock::WallTime;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

/// Names of counters, and of gauges, that one plugin may have.
const MAX_METRIC_NAMES: usize = 32;

/// Of one plugin of a flow.
#[derive(Debug, Default)]
pub(super) struct Ration(Mutex<Used>);

#[derive(Debug, Default)]
struct Used {
    /// The second of the host's time that is counted, and the lines in it.
    second: u64,
    lines: u32,
    counters: HashSet<String>,
    gauges: HashSet<String>,
}

impl Ration {
    /// Whether one more line may be written, of so many a second.
    pub(super) fn allows_line(&self, per_second: u32, now: WallTime) -> bool {
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let second = now.0 / 1_000_000;
        // Lanes are in different batches around the turn of a second; only a clock that is set goes back further.
        if second > used.second || second + 1 < used.second {
            (used.second, used.lines) = (second, 0);
        }
        used.lines = used.lines.saturating_add(1);
        used.lines <= per_second
    }

    /// Whether it may have a counter of that name.
    pub(super) fn allows_counter(&self, name: &str) -> bool {
        allows(
            &mut self
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .counters,
            name,
        )
    }

    /// Whether it may have a gauge of that name, one in each lane.
    pub(super) fn allows_gauge(&self, name: &str) -> bool {
        allows(
            &mut self.0.lock().unwrap_or_else(PoisonError::into_inner).gauges,
            name,
        )
    }
}

fn allows(names: &mut HashSet<String>, name: &str) -> bool {
    names.contains(name)
        || names.len() < MAX_METRIC_NAMES && is_metric_name(name) && names.insert(name.to_owned())
}

/// A name that can be a label value everywhere: letters, digits and underscores, at most 64.
fn is_metric_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

type ByPlugin = HashMap<[Arc<str>; 2], Arc<Ration>>;

/// Of all plugins, by flow and name. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Rations(Arc<Mutex<ByPlugin>>);

impl Rations {
    pub(super) fn of(&self, flow: &Arc<str>, plugin: &Arc<str>) -> Arc<Ration> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(
            all.entry([Arc::clone(flow), Arc::clone(plugin)])
                .or_default(),
        )
    }

    /// Forgets those of plugins that are gone.
    pub(super) fn retain(&self, is_there: impl Fn(&str, &str) -> bool) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|[flow, plugin], _| is_there(flow, plugin));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metric_names_are_plain_words() {
        assert!(is_metric_name("windows_open") && is_metric_name("A9"));
        for bad in ["", "a b", "a{b}", "ä", "x\n", &"n".repeat(65)] {
            assert!(!is_metric_name(bad), "{bad}");
        }
    }

    #[test]
    fn log_lines_are_let_through_by_the_second_whichever_lane_they_come_from() {
        let ration = Ration::default();
        let allowed = |now| (0..5).filter(|_| ration.allows_line(2, now)).count();
        assert_eq!(allowed(WallTime(5_000_000)), 2);
        assert_eq!(allowed(WallTime(5_999_999)), 0);
        assert_eq!(allowed(WallTime(6_000_000)), 2);
        assert_eq!(
            allowed(WallTime(5_999_999)),
            0,
            "a lane that is a batch behind"
        );
        assert_eq!(allowed(WallTime(6_000_001)), 0);
        assert_eq!(allowed(WallTime(1_000_000)), 2, "the clock was set back");
    }

    #[test]
    fn names_are_the_plugins_for_its_life() {
        let all = Rations::default();
        let (flow, plugin, other): (Arc<str>, Arc<str>, Arc<str>) =
            ("f".into(), "p".into(), "q".into());
        for instance in 0..100 {
            let names = (0..32).map(|name| format!("m_{instance}_{name}"));
            let ration = all.of(&flow, &plugin);
            let allowed = names.filter(|name| ration.allows_counter(name)).count();
            assert_eq!(allowed, if instance == 0 { 32 } else { 0 });
        }
        assert!(
            all.of(&flow, &plugin).allows_counter("m_0_7")
                && all.of(&flow, &other).allows_counter("m_1_7")
        );
        all.retain(|_, name| name != "p");
        assert!(all.of(&flow, &plugin).allows_counter("m_1_7"));
    }
}
