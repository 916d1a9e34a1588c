//! `kill -9` at random moments.

use std::time::Duration;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::cut::Cuttable;
use tidegate_tests::{
    Broker, Config, Gateway, Load, Plan, Watch, case, cases, rounds, wait_until, with_mosquitto,
};

use crate::scene::{UP, compare, send_all};

pub fn cases() -> Vec<Trial> {
    let mut cases = vec![
        case("crash::killed_between_embedded_brokers", || {
            killed(&Broker::embedded()?, &Broker::embedded()?, rounds(6, 20))
        }),
        with_mosquitto("crash::killed_between_mosquittos", || {
            killed(
                &Broker::mosquitto()?,
                &Broker::mosquitto()?,
                rounds(200, 1_000),
            )
        }),
    ];
    cases.extend(cases![the_checker_sees_what_early_acknowledgements_lose,]);
    cases
}

/// What the uplink's link does while the gateway runs towards its end.
#[derive(Clone, Copy, Debug)]
enum Weather {
    Up,
    Flapping,
    Down,
}

/// How long a gateway lives: long enough to forward in most of its lives, short enough to be killed while it starts.
const LIFE_MS: std::ops::Range<u64> = 30..400;
/// The gateway is killed at random moments 30 to 400 ms after its start, again and again under 1,000 msg/s, with the
/// upstream up, flapping and down in turns.
/// Guarantee: every message that the field broker acknowledged to its sender arrives upstream at least once, first
/// occurrences in order per device; every start succeeds without help; what was noted as accepted is not sent again after a stop.
/// How much comes twice is printed: it is what was in flight, and what was accepted while the notes were behind, which depends on
/// what else the machine does.
fn killed(field: &Broker, cloud: &Broker, kills: usize) -> Result<()> {
    let link = Cuttable::to(cloud.address())?;
    let watch = Watch::start(cloud.address(), UP)?;
    let mut setup = Gateway::with(Config::forwarding().between(&field.url(), &link.url()));
    // Once online, so that the field broker has a session that keeps messages while the gateway is away.
    setup = setup.start()?.kill()?;
    let load = Load::start(field.address(), Plan::default());
    let (mut doubled, mut most) = (0, 0);
    for kill in 0..kills {
        let weather = [Weather::Up, Weather::Flapping, Weather::Down][kill % 3];
        if matches!(weather, Weather::Down) {
            link.go_dark()
        } else {
            link.back()
        }
        let gateway = setup.launch()?;
        live(
            weather,
            &link,
            Duration::from_millis(fastrand::u64(LIFE_MS)),
        );
        setup = gateway.kill()?;
        let so_far = watch.tally().doubled();
        (most, doubled) = (most.max(so_far - doubled), so_far);
    }
    link.back();
    let sent = load.stop()?;
    let gateway = setup.start()?;
    let verdict = compare(&sent, watch)?;
    ensure!(verdict.is_at_least_once(), "after {kills} kills: {verdict}");
    ensure!(
        sent.count() > 50 * kills,
        "too little was sent to show anything: {verdict}"
    );
    let mean = verdict.doubled / kills as u64;
    wait_until("all is acknowledged", || {
        gateway.metric("tidegate_source_unsettled_messages", &[]) == 0.0
    })?;
    let (status, setup) = gateway.stop()?;
    ensure!(status.success(), "the last gateway ended with {status}");
    let watch = Watch::start(cloud.address(), UP)?;
    let _gateway = setup.start()?;
    field.publish("devices/marker/telemetry", r#"{"device":"marker","seq":0}"#)?;
    wait_until("what is sent after the stop arrives", || {
        watch.tally().count_of("marker") == 1
    })?;
    let again = watch.arrivals().len();
    ensure!(again == 1, "{} were sent again after a stop", again - 1);
    eprintln!(
        "{kills} kills: {verdict}; doubles between two kills: {most} at the most, {mean} on average"
    );
    Ok(())
}

/// The same with acknowledgements at once and nothing written before the kill: what `ack = "safe"` is there to prevent.
/// Guarantee: these tests can fail: the loss is seen and told.
fn the_checker_sees_what_early_acknowledgements_lose() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let link = Cuttable::to(cloud.address())?;
    link.go_dark();
    let watch = Watch::start(cloud.address(), UP)?;
    let config = Config::forwarding()
        .between(&field.url(), &link.url())
        .set("flow.all.ack", "received")
        .add("spool", "spill_after = \"1h\"\ncommit_every = \"1h\"");
    let gateway = Gateway::with(config).start()?;
    let sent = send_all(&field, 500)?;
    wait_until("all is in the gateway", || {
        gateway.metric("tidegate_spool_messages", &[]) == 500.0
    })?;
    // Acknowledgements leave in slices; what has none at the kill comes again.
    wait_until("all is acknowledged", || {
        gateway.metric("tidegate_source_unsettled_messages", &[]) == 0.0
    })?;
    let setup = gateway.kill()?;
    link.back();
    let gateway = setup.start()?;
    field.publish("devices/marker/telemetry", r#"{"device":"marker","seq":0}"#)?;
    wait_until("what is sent after the kill arrives", || {
        watch.tally().count_of("marker") == 1
    })?;
    let verdict = sent.against(&watch.stop()?, |_, _| true);
    drop(gateway);
    ensure!(
        verdict.lost == 500,
        "the checker missed the loss: {verdict}"
    );
    Ok(())
}

/// The time until the kill; it is the experiment, nothing is synchronised by it.
fn live(weather: Weather, link: &Cuttable, time: Duration) {
    let slices = 5;
    for _ in 0..slices {
        std::thread::park_timeout(time / slices);
        if matches!(weather, Weather::Flapping) {
            link.cut();
        }
    }
}
