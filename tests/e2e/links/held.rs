//! An upstream that accepts slowly, or hangs up.

use std::time::Duration;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::cases;
use tidegate_tests::upstream::{Manners, Upstream};
use tidegate_tests::wait::wait_at_most;
use tidegate_tests::{Broker, Gateway, Load, Plan, rounds, wait_until};

use super::with_uplink;
use crate::scene::expect_at_least_once;

pub fn cases() -> Vec<Trial> {
    cases![
        an_upstream_that_accepts_slowly_holds_back_and_loses_nothing,
        an_upstream_that_hangs_up_before_its_ack_gets_no_more_than_its_window_twice,
    ]
}

/// An upstream takes one message after the other, 10 ms each, while devices send ten times as fast: with a wide margin, since
/// both are slower on a busy machine.
/// Guarantee: nothing is lost or sent twice, and devices are acknowledged meanwhile.
fn an_upstream_that_accepts_slowly_holds_back_and_loses_nothing() -> Result<()> {
    let (field, cloud) = (
        Broker::embedded()?,
        Upstream::start(Manners::Slow(Duration::from_millis(10)))?,
    );
    let config = with_uplink(&field, &cloud.url(), "inflight = 100");
    let gateway = Gateway::with(config).start()?;
    let total = rounds(3_000, 100_000);
    let sent = Load::start(
        field.address(),
        Plan {
            rate: Some(1_000),
            total: Some(total),
            ..Plan::default()
        },
    )
    .wait()?;
    let owed = gateway.metric("tidegate_spool_messages", &[]);
    ensure!(
        owed > total as f64 / 10.0,
        "upstream was not slow: {owed} messages are owed"
    );
    cloud.change(Manners::Slow(Duration::ZERO));
    wait_until("all has arrived", || {
        cloud.tally().count() == sent.count() as u64
    })?;
    let verdict = sent.against(&cloud.tally(), |_, _| true);
    eprintln!("an upstream of 100 msg/s: {verdict}, {owed} owed at the end");
    ensure!(verdict.is_exactly_once(), "{verdict}");
    Ok(())
}

/// An upstream takes 40 messages on each connection, and hangs up before it has acknowledged the last of them.
/// Guarantee: nothing is lost, order holds, nothing is parked for it, and on each connection no more comes twice than what
/// was in flight.
fn an_upstream_that_hangs_up_before_its_ack_gets_no_more_than_its_window_twice() -> Result<()> {
    let (field, cloud) = (
        Broker::embedded()?,
        Upstream::start(Manners::HangsUpBeforeTheAck(40))?,
    );
    let config = with_uplink(&field, &cloud.url(), "inflight = 20");
    let gateway = Gateway::with(config).start()?;
    let load = Load::start(
        field.address(),
        Plan {
            rate: Some(500),
            ..Plan::default()
        },
    );
    let most = rounds(8, 100) as u64;
    wait_at_most(Duration::from_secs(300), "it has hung up often", || {
        cloud.hang_ups() >= most
    })?;
    cloud.change(Manners::Slow(Duration::ZERO));
    let sent = load.stop()?;
    wait_until("all has arrived", || {
        cloud.tally().count() == sent.count() as u64
    })?;
    let verdict = sent.against(&cloud.tally(), |_, _| true);
    eprintln!("{} hang-ups: {verdict}", cloud.hang_ups());
    expect_at_least_once(&verdict)?;
    ensure!(
        verdict.doubled > 0 && verdict.doubled <= 20 * cloud.hang_ups(),
        "{verdict}"
    );
    ensure!(
        gateway.metric("tidegate_dead_letters_kept", &[]) == 0.0,
        "something was parked"
    );
    Ok(())
}
