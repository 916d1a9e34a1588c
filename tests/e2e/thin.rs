//! Thin links: what fits a cable and takes its time on a modem.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::thin::{Profile, ThinLink};
use tidegate_tests::wait::wait_at_most;
use tidegate_tests::{Broker, Config, Gateway, Watch, cases, rounds, wait_until, with_mosquitto};

use crate::links::ALARMS;
use crate::scene::UP;

pub fn cases() -> Vec<Trial> {
    let mut cases = cases![an_alarm_is_soon_there_however_much_is_owed,];
    cases.extend(cases![with_mosquitto;
        a_large_message_gets_through_whatever_a_ping_waits_for,
    ]);
    cases
}

const ROUND_TRIPS: [Duration; 2] = [Duration::from_millis(120), Duration::from_millis(850)];

/// 2,000 readings of 2 KB are owed over a link of 20 KB/s, and an alarm is raised. In the long form over links of 4 KB/s and
/// 600 B/s too, with both round trips, and with silences of 6 s.
/// Guarantee: what is in flight is no more than the link carries in a few seconds, so the alarm is there before a hundredth
/// part of the readings would be at full window.
fn an_alarm_is_soon_there_however_much_is_owed() -> Result<()> {
    alarm_over(Profile::of(20_000, ROUND_TRIPS[0]), 100)?;
    for rate in [20_000, 4_000, 600].into_iter().take(rounds(0, 3)) {
        for round_trip in ROUND_TRIPS {
            alarm_over(Profile::of(rate, round_trip), 100)?;
        }
        let silent = Profile {
            silence: Duration::from_secs(6),
            every: Duration::from_secs(40),
            ..Profile::of(rate, ROUND_TRIPS[0])
        };
        alarm_over(silent, 200)?;
    }
    Ok(())
}

fn alarm_over(profile: Profile, most: u64) -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let link = ThinLink::to(cloud.address(), profile)?;
    let (watch, alarms) = (
        Watch::start(cloud.address(), UP)?,
        Watch::start(cloud.address(), "alarms/#")?,
    );
    let config = Config::forwarding()
        .between(&field.url(), &link.url())
        .add("flow.alarms", ALARMS);
    let gateway = Gateway::with(config).start()?;
    let reading = format!("{{\"x\":\"{}\"}}", "x".repeat(2_000));
    for number in 0..2_000 {
        field.publish(&format!("devices/d{}/telemetry", number % 9), &reading)?;
    }
    let owed = || gateway.metric("tidegate_spool_messages", &[("uplink", "cloud")]);
    wait_until("most is owed", || owed() > 1_500.0)?;
    let before = watch.total();
    wait_at_most(Duration::from_secs(300), "it drains", || {
        watch.total() > before + 3
    })?;
    let (raised, before) = (Instant::now(), watch.total());
    field.publish("devices/d1/alarm", "fire")?;
    wait_at_most(Duration::from_secs(300), "the alarm is there", || {
        alarms.total() == 1
    })?;
    let ahead = watch.total() - before;
    println!(
        "{profile:?}: the alarm took {:?}, {ahead} readings arrived meanwhile",
        raised.elapsed()
    );
    ensure!(ahead < most, "{ahead} readings went ahead of the alarm");
    ensure!(
        gateway.metric("tidegate_uplink_failures_total", &[("uplink", "cloud")]) == 0.0,
        "the link was cut"
    );
    Ok(())
}

/// A message takes three times as long as the answer to a ping may, or twice as long as its own; small ones are behind it.
/// Guarantee: it is sent once, since a link that carries something lives and an answer is waited for from the last byte on;
/// the others follow, and nothing is parked. In the long form 200 KB at
/// 4 KB/s and 25 KB at 600 B/s with the usual deadlines, over links whose buffers hide what moves, too.
fn a_large_message_gets_through_whatever_a_ping_waits_for() -> Result<()> {
    let short = "keep_alive = \"2s\"\ndeadlines = { handshake = \"2s\", write = \"2s\" }\n";
    large_over(Profile::of(10_000, ROUND_TRIPS[0]), 60_000, short, 0.0)?;
    // It is on its way for twice as long as its answer may take.
    large_over(
        Profile::of(4_000, ROUND_TRIPS[1]),
        40_000,
        "deadlines = { answer = \"5s\" }\n",
        0.0,
    )?;
    let thinnest = Profile {
        buffer: 1 << 10,
        ..Profile::of(600, ROUND_TRIPS[1])
    };
    large_over(thinnest, 10_000, "deadlines = { answer = \"8s\" }\n", 0.0)?;
    if rounds(0, 1) > 0 {
        large_over(Profile::of(4_000, ROUND_TRIPS[1]), 200_000, "", 0.0)?;
        large_over(Profile::of(600, ROUND_TRIPS[0]), 25_000, "", 0.0)?;
        let silent = Profile {
            silence: Duration::from_secs(6),
            every: Duration::from_secs(20),
            ..Profile::of(4_000, ROUND_TRIPS[0])
        };
        large_over(silent, 100_000, "", 0.0)?;
        large_over(
            Profile {
                buffer: 1 << 20,
                ..Profile::of(10_000, ROUND_TRIPS[0])
            },
            150_000,
            short,
            6.0,
        )?;
    }
    Ok(())
}

fn large_over(profile: Profile, bytes: usize, settings: &str, most_cuts: f64) -> Result<()> {
    // Unlike the embedded one, mosquitto does not count the keep-alive while a large message is coming in.
    let (field, cloud) = (Broker::embedded()?, Broker::mosquitto()?);
    let link = ThinLink::to(cloud.address(), profile)?;
    let watch = Watch::start(cloud.address(), UP)?;
    let config = Config::forwarding()
        .between(&field.url(), &link.url())
        .put("uplink.cloud", settings);
    let gateway = Gateway::with(config).start()?;
    wait_until("the uplink is up", || {
        gateway.metric("tidegate_uplink_up", &[("uplink", "cloud")]) == 1.0
    })?;
    let begun = Instant::now();
    field.publish("devices/d1/telemetry", vec![b'x'; bytes])?;
    for _ in 0..20 {
        field.publish("devices/d2/telemetry", "small")?;
    }
    let failures = || gateway.metric("tidegate_uplink_failures_total", &[("uplink", "cloud")]);
    wait_at_most(Duration::from_secs(600), "all has arrived", || {
        watch.total() >= 21
    })?;
    println!(
        "{profile:?}: {bytes} bytes and 20 small ones took {:?}, {} cuts",
        begun.elapsed(),
        failures()
    );
    ensure!(
        failures() <= most_cuts,
        "the connection was cut {} times",
        failures()
    );
    ensure!(
        gateway.metric("tidegate_dead_letters_total", &[]) == 0.0,
        "something was parked"
    );
    Ok(())
}
