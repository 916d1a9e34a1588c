//! What a plugin that spins or talks costs the flow of another source.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::cases;
use tidegate_tests::usage::percentile_ms;
use tidegate_tests::{Broker, Gateway, Load, Plan, Watch, rounds, wait_until};

use super::{GUESTS, install};
use crate::hostile::guarded::guarded;

pub fn cases() -> Vec<Trial> {
    cases![the_neighbours_figures,]
}

/// A well-behaved flow at 2,000 messages a second, then as fast as it goes, alone and beside each hostile guest, which is
/// set off twenty times a second; the noisy one with 1,000 lines each time, too. Those that take all of their time hold up
/// the acknowledgements behind theirs, which leave in order: they are seen once more with a source of their own.
/// Guarantee: it loses, doubles and reorders nothing. Its throughput and delays are printed, and depend on the machine.
fn the_neighbours_figures() -> Result<()> {
    let (paced, burst) = (rounds(1_500, 10_000), rounds(6_000, 100_000));
    println!("    beside            faults | messages/s  of alone |  p50 ms   p99 ms  of alone");
    let mut alone = None;
    let shared = [""]
        .into_iter()
        .chain(GUESTS.map(|(guest, _)| guest))
        .chain(["noisy-little", "noisy"]);
    for (guest, is_apart) in shared
        .map(|guest| (guest, false))
        .chain([("spin", true), ("noisy", true)])
    {
        let mut neighbour = Neighbour::of(guest, is_apart)?;
        let (mut delays, _) = neighbour.carry(Some(2_000), paced)?;
        let (_, took) = neighbour.carry(None, burst)?;
        delays.sort_unstable();
        let (p50, p99, rate) = (
            percentile_ms(&delays, 0.5),
            percentile_ms(&delays, 0.99),
            burst as f64 / took.as_secs_f64(),
        );
        let faults = neighbour
            .gateway
            .metric("tidegate_plugin_errors_total", &[("flow", "bad")]);
        let (best, least) = *alone.get_or_insert((rate, p99));
        let (slower, later) = (rate / best, p99 / least);
        let name = if guest.is_empty() { "nothing" } else { guest };
        let name = if is_apart {
            format!("{name}, own source")
        } else {
            name.to_owned()
        };
        println!(
            "    {name:<17} {faults:>6} | {rate:>10.0} {slower:>9.2} | {p50:>7.2} {p99:>8.2} {later:>9.2}"
        );
    }
    Ok(())
}

/// A well-behaved flow beside that of a guest.
pub(super) struct Neighbour {
    guest: &'static str,
    field: Broker,
    cloud: Broker,
    gateway: Gateway,
    round: usize,
    next: Instant,
}

/// Between two messages that set a guest off.
pub(super) const SET_OFF: Duration = Duration::from_millis(50);

impl Neighbour {
    /// Without a name it is a guest that gets nothing. One that is apart has a connection to the field of its own.
    fn of(guest: &'static str, is_apart: bool) -> Result<Self> {
        let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
        let name = if guest.is_empty() {
            "trap"
        } else {
            guest.trim_end_matches("-little")
        };
        // A breaker that closes soon, so that the guest is at it to the end.
        let mut config = guarded(name, "breaker = { retry = \"200ms\", close_after = 1 }")
            .between(&field.url(), &cloud.url());
        if is_apart {
            config = config
                .source("apart", &field.url())
                .change("flow.bad.from", "apart");
        }
        let setup = Gateway::with(config);
        install(name, &setup)?;
        Ok(Self {
            guest,
            field,
            cloud,
            gateway: setup.start()?,
            round: 0,
            next: Instant::now(),
        })
    }

    /// Sends so much through the good flow while the guest is set off; delays in microseconds, and how long it took.
    fn carry(&mut self, rate: Option<u32>, total: usize) -> Result<(Vec<u32>, Duration)> {
        let watch = Watch::start(self.cloud.address(), "devices/#")?;
        let load = Load::start(
            self.field.address(),
            Plan {
                rate,
                total: Some(total),
                ..Plan::default()
            },
        );
        let begun = Instant::now();
        // A time-out is not the finding: the comparison says how much is missing.
        let _ = wait_until("all has arrived", || {
            self.set_off().is_ok() && watch.count() as usize >= total
        });
        let (took, delays) = (begun.elapsed(), watch.take_delays_us());
        let verdict = load.wait()?.against(&watch.stop()?, |_, _| true);
        ensure!(
            verdict.is_exactly_once(),
            "beside `{}`: {verdict}",
            self.guest
        );
        Ok((delays, took))
    }

    /// A message that makes the guest misbehave and a good one behind it, by which its breaker closes.
    fn set_off(&mut self) -> Result<()> {
        if self.guest.is_empty() || Instant::now() < self.next {
            return Ok(());
        }
        self.round += 1;
        self.next = Instant::now() + SET_OFF;
        let topic = format!("bad/d{}", self.round);
        self.field
            .publish(&topic, self.guest)
            .and_then(|()| self.field.publish(&topic, "harmless"))
    }
}
