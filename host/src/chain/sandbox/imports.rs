//! The host interfaces a plugin may import: log, metrics, clock, flow, and the clocks of WASI in terms of ours.

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, HasSelf, Lift, Linker, Resource};
use wasmtime_wasi::p2::bindings::clocks::{monotonic_clock, wall_clock};
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};

use super::guest::Guest;
use crate::words;

/// Characters of one log line that are kept.
const MAX_LOG_CHARACTERS: usize = 1 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[expect(
    dead_code,
    reason = "made of the guest's number by `Lift`, never by name"
)]
enum GuestLogLevel {
    #[component(name = "error")]
    Error,
    #[component(name = "warn")]
    Warn,
    #[component(name = "info")]
    Info,
    #[component(name = "debug")]
    Debug,
}

/// Adds the host interfaces, and puts our clocks in the place of WASI's.
pub(super) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.instance("tidegate:plugin/log@0.1.0")?.func_wrap(
        "log",
        |mut store: StoreContextMut<'_, Guest>, (level, message): (GuestLogLevel, String)| {
            store.data_mut().write_log(level, &message);
            Ok(())
        },
    )?;
    let mut metrics = linker.instance("tidegate:plugin/metrics@0.1.0")?;
    metrics.func_wrap(
        "counter",
        |mut store: StoreContextMut<'_, Guest>, (name, add): (String, u64)| {
            store.data_mut().count(name, add);
            Ok(())
        },
    )?;
    metrics.func_wrap(
        "gauge",
        |mut store: StoreContextMut<'_, Guest>, (name, value): (String, f64)| {
            store.data_mut().set_gauge(name, value);
            Ok(())
        },
    )?;
    let mut clock = linker.instance("tidegate:plugin/clock@0.1.0")?;
    clock.func_wrap("now-us", |store: StoreContextMut<'_, Guest>, (): ()| {
        Ok((store.data().now.0,))
    })?;
    clock.func_wrap("running-us", |store: StoreContextMut<'_, Guest>, (): ()| {
        Ok((store.data().running.0,))
    })?;

    let mut flow = linker.instance("tidegate:plugin/flow@0.1.0")?;
    flow.func_wrap("name", |store: StoreContextMut<'_, Guest>, (): ()| {
        Ok((store.data().metrics.flow.to_string(),))
    })?;
    flow.func_wrap("topics", |store: StoreContextMut<'_, Guest>, (): ()| {
        Ok((store.data().topics.patterns.clone(),))
    })?;
    flow.func_wrap("key", |store: StoreContextMut<'_, Guest>, (): ()| {
        Ok((store.data().topics.key.clone(),))
    })?;

    linker.allow_shadowing(true);
    wall_clock::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)?;
    monotonic_clock::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)?;
    linker.allow_shadowing(false);
    Ok(())
}

impl Guest {
    fn write_log(&mut self, level: GuestLogLevel, message: &str) {
        // A line feed in a plugin's message must not look like a line of ours.
        let text = words::line(message, MAX_LOG_CHARACTERS);
        if level == GuestLogLevel::Error {
            self.keep_error_line(&text);
        }
        if self.muted {
            return;
        }
        if !self
            .metrics
            .ration
            .allows_line(self.log_lines_per_second, self.now)
        {
            self.metrics.tally.log_lines_dropped.inc();
            return;
        }
        let flow = &*self.metrics.flow;
        let plugin = &*self.metrics.plugin;
        let lane = self.lane;
        match level {
            GuestLogLevel::Error => tracing::error!(flow, plugin, lane, "{text}"),
            GuestLogLevel::Warn => tracing::warn!(flow, plugin, lane, "{text}"),
            GuestLogLevel::Info => tracing::info!(flow, plugin, lane, "{text}"),
            GuestLogLevel::Debug => tracing::debug!(flow, plugin, lane, "{text}"),
        }
    }

    fn count(&mut self, name: String, add: u64) {
        if self.muted {
            return;
        }
        if let Some(counter) = self.counters.get(&name) {
            counter.inc_by(add);
        } else if self.metrics.ration.allows_counter(&name) {
            let counter = self.metrics.own_counter(&name);
            counter.inc_by(add);
            self.counters.insert(name, counter);
        } else {
            self.metrics.tally.names_refused.inc();
        }
    }

    fn set_gauge(&mut self, name: String, value: f64) {
        if self.muted {
            return;
        }
        if let Some(gauge) = self.gauges.get(&name) {
            gauge.set(value);
        } else if self.metrics.ration.allows_gauge(&name) {
            let gauge = self.metrics.own_gauge(&name, self.lane);
            gauge.set(value);
            self.gauges.insert(name, gauge);
        } else {
            self.metrics.tally.names_refused.inc();
        }
    }
}

impl wall_clock::Host for Guest {
    fn now(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        let nanoseconds = u32::try_from(self.now.0 % 1_000_000 * 1_000).unwrap_or_default();
        Ok(wall_clock::Datetime {
            seconds: self.now.0 / 1_000_000,
            nanoseconds,
        })
    }

    fn resolution(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        Ok(wall_clock::Datetime {
            seconds: 0,
            nanoseconds: 1_000,
        })
    }
}

/// A pollable for a moment that has come.
struct ElapsedPollable;

#[wasmtime_wasi::async_trait]
impl Pollable for ElapsedPollable {
    async fn ready(&mut self) {}
}

impl Guest {
    /// Waiting would hold up the lane, and the epoch cannot end a call that is inside the host.
    fn wait_until(&mut self, moment_ns: u64) -> wasmtime::Result<Resource<DynPollable>> {
        if moment_ns > self.running.0.saturating_mul(1_000) {
            wasmtime::bail!("a plugin may not sleep or wait: ask for a tick instead");
        }
        let past = self.table().push(ElapsedPollable)?;
        subscribe(self.table(), past)
    }
}

impl monotonic_clock::Host for Guest {
    fn now(&mut self) -> wasmtime::Result<monotonic_clock::Instant> {
        Ok(self.running.0.saturating_mul(1_000))
    }

    fn resolution(&mut self) -> wasmtime::Result<monotonic_clock::Duration> {
        Ok(1_000)
    }

    fn subscribe_instant(
        &mut self,
        when: monotonic_clock::Instant,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        self.wait_until(when)
    }

    fn subscribe_duration(
        &mut self,
        when: monotonic_clock::Duration,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        self.wait_until(self.running.0.saturating_mul(1_000).saturating_add(when))
    }
}
