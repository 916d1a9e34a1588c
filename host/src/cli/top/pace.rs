//! What has passed between two accounts of a gateway.

use std::time::Duration;

use serde::Serialize;

use crate::gateway::api::status::{
    FlowStatus, PluginStatus, QueueStatus, SourceStatus, Status, UplinkStatus,
};

/// Rates are a second; the JSON form is a promise to scripts.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Throughput {
    pub(super) name: String,
    /// Seconds since the start of the gateway.
    pub(super) uptime_s: u64,
    /// Seconds that it is about.
    pub(super) seconds: f64,
    pub(super) sources: Vec<SourcePace>,
    pub(super) flows: Vec<FlowPace>,
    pub(super) queues: Vec<QueuePace>,
    pub(super) uplinks: Vec<UplinkPace>,
    pub(super) dead_letters: u64,
    pub(super) dead_letters_per_s: f64,
    pub(super) given_up: u64,
    pub(super) given_up_per_s: f64,
    pub(super) resident_bytes: u64,
    pub(super) memory_limit_bytes: u64,
    /// Why the store is not well.
    pub(super) store: Option<String>,
    /// What is not as it should be, in words, each with the part that it is of.
    pub(super) troubles: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct SourcePace {
    pub(super) name: String,
    pub(super) state: String,
    pub(super) in_per_s: f64,
    pub(super) unsettled: u64,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct FlowPace {
    pub(super) name: String,
    pub(super) in_per_s: f64,
    pub(super) out_per_s: f64,
    pub(super) filtered_per_s: f64,
    pub(super) rejected_per_s: f64,
    pub(super) waiting: u64,
    pub(super) plugins: Vec<PluginPace>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct PluginPace {
    pub(super) name: String,
    /// Share of one processor: 1 is all of it.
    pub(super) cpu: f64,
    pub(super) memory_bytes: u64,
    /// The limit that it came nearest to of late; empty where it was not called.
    pub(super) limit: String,
    /// How near: 1 is the limit.
    pub(super) limit_used: f64,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct QueuePace {
    pub(super) name: String,
    /// Messages, in RAM and on disk.
    pub(super) owed: u64,
    pub(super) disk_bytes: u64,
    pub(super) in_per_s: f64,
    pub(super) out_per_s: f64,
    pub(super) full_in_s: Option<u64>,
    pub(super) full: bool,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct UplinkPace {
    pub(super) name: String,
    pub(super) state: String,
    pub(super) out_per_s: f64,
    pub(super) inflight: u64,
}

/// How counters are compared.
#[derive(Clone, Copy)]
struct Between {
    seconds: f64,
    /// The process is another one, which has counted from the start.
    is_other: bool,
}

impl Between {
    fn rate(self, before: Option<u64>, now: u64) -> f64 {
        let before = before.filter(|_| !self.is_other).unwrap_or(now);
        now.saturating_sub(before) as f64 / self.seconds
    }
}

/// The entry of that name among those of the look before.
fn named<'a, T>(before: &'a [T], name: impl Fn(&T) -> &str, wanted: &str) -> Option<&'a T> {
    before.iter().find(|one| name(one) == wanted)
}

impl Throughput {
    /// From `before` to `now`, which were taken `passed` apart. What was not there before, and what another process
    /// counted, has passed at no rate.
    pub(super) fn between(before: &Status, now: &Status, passed: Duration) -> Self {
        let between = Between {
            seconds: passed.as_secs_f64().max(0.001),
            is_other: before.boot != now.boot,
        };
        let letters = |status: &Status| status.dead_letters.kept + status.dead_letters.waiting;
        let given_up = |status: &Status| status.given_up.values().sum::<u64>();
        let process = now.process.as_ref();
        Self {
            name: now.name.clone(),
            uptime_s: process.map_or(0, |process| process.uptime_s),
            seconds: between.seconds,
            sources: (now.sources.iter())
                .map(|one| {
                    source(
                        named(&before.sources, |it| &it.name, &one.name),
                        one,
                        between,
                    )
                })
                .collect(),
            flows: (now.flows.iter())
                .map(|one| flow(named(&before.flows, |it| &it.name, &one.name), one, between))
                .collect(),
            queues: (now.queues.iter())
                .map(|one| {
                    queue(
                        named(&before.queues, |it| &it.name, &one.name),
                        one,
                        between,
                    )
                })
                .collect(),
            uplinks: (now.uplinks.iter())
                .map(|one| {
                    uplink(
                        named(&before.uplinks, |it| &it.name, &one.name),
                        one,
                        between,
                    )
                })
                .collect(),
            dead_letters: letters(now),
            dead_letters_per_s: between.rate(Some(letters(before)), letters(now)),
            given_up: given_up(now),
            given_up_per_s: between.rate(Some(given_up(before)), given_up(now)),
            resident_bytes: process.map_or(0, |process| process.resident_bytes),
            memory_limit_bytes: process.map_or(0, |process| process.memory_limit_bytes),
            store: (!now.store.well).then(|| now.store.why.clone().unwrap_or_default()),
            troubles: troubles(now),
        }
    }
}

fn source(before: Option<&SourceStatus>, now: &SourceStatus, between: Between) -> SourcePace {
    SourcePace {
        name: now.name.clone(),
        state: now.state.clone(),
        in_per_s: between.rate(before.map(|before| before.received), now.received),
        unsettled: now.unsettled,
    }
}

fn flow(before: Option<&FlowStatus>, now: &FlowStatus, between: Between) -> FlowPace {
    let rate = |of: fn(&FlowStatus) -> u64| between.rate(before.map(of), of(now));
    let plugin = |one: &PluginStatus| {
        let known = before.and_then(|before| named(&before.plugins, |it| &it.name, &one.name));
        let known = known.filter(|_| !between.is_other);
        let used = known.map_or(0.0, |known| one.cpu_s - known.cpu_s);
        PluginPace {
            name: one.name.clone(),
            cpu: used.max(0.0) / between.seconds,
            memory_bytes: one.memory_bytes,
            limit: one.limit.clone(),
            limit_used: one.limit_used,
        }
    };
    FlowPace {
        name: now.name.clone(),
        in_per_s: rate(|flow| flow.messages_in),
        out_per_s: rate(|flow| flow.messages_out),
        filtered_per_s: rate(|flow| flow.filtered),
        rejected_per_s: rate(|flow| flow.rejected),
        waiting: now.waiting,
        plugins: now.plugins.iter().map(plugin).collect(),
    }
}

fn queue(before: Option<&QueueStatus>, now: &QueueStatus, between: Between) -> QueuePace {
    let rate = |of: fn(&QueueStatus) -> u64| between.rate(before.map(of), of(now));
    QueuePace {
        name: now.name.clone(),
        owed: now.in_ram + now.on_disk,
        disk_bytes: now.disk_bytes,
        in_per_s: rate(|queue| queue.appended),
        out_per_s: rate(|queue| queue.accepted),
        full_in_s: now.full_in_s,
        full: now.full,
    }
}

fn uplink(before: Option<&UplinkStatus>, now: &UplinkStatus, between: Between) -> UplinkPace {
    UplinkPace {
        name: now.name.clone(),
        state: now.state.clone(),
        out_per_s: between.rate(before.map(|before| before.forwarded), now.forwarded),
        inflight: now.inflight,
    }
}

fn troubles(now: &Status) -> Vec<String> {
    let sources = now.sources.iter().flat_map(|one| {
        let conditions = one.conditions.iter().map(|condition| &condition.words);
        let all = one.trouble.iter().map(|trouble| &trouble.cause);
        all.chain(conditions)
            .map(|words| format!("source {}: {words}", one.name))
    });
    let flows = now.flows.iter().filter_map(|one| {
        let why = one.down.as_ref()?;
        Some(format!("flow {}: down, its messages wait: {why}", one.name))
    });
    let breakers = now.flows.iter().flat_map(|flow| {
        let is_open = |plugin: &&PluginStatus| matches!(&*plugin.breaker, "open" | "half-open");
        let open = flow.plugins.iter().filter(is_open);
        open.map(|plugin| {
            format!(
                "flow {}: the breaker of {} is {}",
                flow.name, plugin.name, plugin.breaker
            )
        })
    });
    let uplinks = now.uplinks.iter().flat_map(|one| {
        let conditions = one.conditions.iter().map(|condition| &condition.words);
        let all = one.trouble.iter().map(|trouble| &trouble.cause);
        all.chain(conditions)
            .map(|words| format!("uplink {}: {words}", one.name))
    });
    sources
        .chain(flows)
        .chain(breakers)
        .chain(uplinks)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::status::tests::busy;

    #[test]
    fn rates_are_what_the_counters_gained_over_the_time_between() {
        let before = busy();
        let mut now = before.clone();
        now.sources[0].received += 500;
        now.flows[0].messages_in += 500;
        now.flows[0].messages_out += 400;
        now.flows[0].plugins[0].cpu_s += 0.05;
        now.queues[0].appended += 400;
        now.queues[0].accepted += 100;
        now.uplinks[0].forwarded += 100;
        let pace = Throughput::between(&before, &now, Duration::from_millis(500));
        assert_eq!(
            (pace.sources[0].in_per_s, pace.uplinks[0].out_per_s),
            (1_000.0, 200.0)
        );
        let flow = &pace.flows[0];
        assert_eq!((flow.in_per_s, flow.out_per_s), (1_000.0, 800.0));
        assert!(
            (flow.plugins[0].cpu - 0.1).abs() < 1e-9,
            "{}",
            flow.plugins[0].cpu
        );
        assert_eq!(
            (pace.queues[0].in_per_s, pace.queues[0].out_per_s),
            (800.0, 200.0)
        );
    }

    #[test]
    fn what_another_process_counted_has_no_rate() {
        let before = busy();
        let mut now = before.clone();
        now.boot += 1;
        now.sources[0].received = 7;
        now.queues[0].appended += 400;
        let pace = Throughput::between(&before, &now, Duration::from_secs(1));
        assert_eq!(
            (pace.sources[0].in_per_s, pace.queues[0].in_per_s),
            (0.0, 0.0)
        );
    }
}
