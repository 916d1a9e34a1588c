//! A clock as a source.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::{Broker, Config, Gateway, Watch, cases, wait_until};

use crate::scene::UP;
use crate::tools::json;

pub fn cases() -> Vec<Trial> {
    cases![
        a_clock_ticks_at_its_times,
        what_was_missed_is_one_tick_that_says_so,
    ]
}

/// A flow of the ticks of a clock with these keys.
fn ticking(cloud: &str, keys: &str) -> Config {
    Config::forwarding()
        .between("clock://Europe/Berlin", cloud)
        .without("source.field.backoff")
        .put("source.field", keys)
        .set("source.field.topic", "devices/clock/telemetry")
}

/// A clock that ticks every 50 ms, tried out before.
/// Guarantee: each tick is a message with its time there, they are numbered without a gap, and each stands at a multiple of the period.
fn a_clock_ticks_at_its_times() -> Result<()> {
    let cloud = Broker::embedded()?;
    let watch = Watch::start(cloud.address(), UP)?;
    let config = ticking(&cloud.url(), "every = \"50ms\"\n");
    let gateway = Gateway::with(config).start()?;
    wait_until("there are ticks", || watch.arrivals().len() >= 20)?;
    for (arrival, number) in watch.arrivals().iter().zip(1_u64..) {
        let told = arrival.json()?;
        let at = |key: &str| told[key].as_u64().unwrap_or_default();
        ensure!(
            at("count") == number && at("due") % 50 == 0 && at("ts") >= at("due"),
            "{told}"
        );
        let time = told["time"].as_str().unwrap_or_default();
        ensure!(
            time.ends_with("+01:00") || time.ends_with("+02:00"),
            "{told}"
        );
    }
    let said = json(gateway.folder(), &["check", "--connect"], 0)?.to_string();
    ensure!(said.contains("the next tick is due in"), "{said}");
    ensure!(gateway.stop()?.0.success(), "it did not stop well");
    Ok(())
}

/// A gateway that stands still for a while.
/// Guarantee: what it has missed is no burst but one tick, which says how many it stands for, and on it goes.
fn what_was_missed_is_one_tick_that_says_so() -> Result<()> {
    let cloud = Broker::embedded()?;
    let watch = Watch::start(cloud.address(), UP)?;
    let gateway = Gateway::with(ticking(&cloud.url(), "every = \"50ms\"\n")).start()?;
    wait_until("it ticks", || watch.arrivals().len() >= 2)?;
    let frozen = Instant::now();
    gateway.freeze()?;
    wait_until("ticks are missed", || {
        frozen.elapsed() > Duration::from_secs(1)
    })?;
    gateway.thaw()?;
    let missed = || -> Result<Vec<(u64, u64)>> {
        let of = |told: serde_json::Value| {
            let at = |key: &str| told[key].as_u64().unwrap_or_default();
            (at("due"), at("missed"))
        };
        let arrivals = watch.arrivals();
        arrivals.iter().map(|one| one.json().map(of)).collect()
    };
    wait_until("it says so and ticks on", || {
        missed().is_ok_and(|told| {
            let late = told.iter().position(|(_, missed)| *missed >= 15);
            late.is_some_and(|late| late + 1 < told.len())
        })
    })?;
    for pair in missed()?.windows(2) {
        let [(before, _), (due, missed)] = pair else {
            continue;
        };
        ensure!(due - before == 50 * (missed + 1), "{pair:?}");
    }
    Ok(())
}
