//! What upstream hangs up on, and links that are cut.

use libtest_mimic::Trial;
use std::time::{Duration, Instant};
use tidegate_tests::cases;

use anyhow::{Result, ensure};
use tidegate_tests::fake::{Deed, PickyBroker, Rule, Terms, Which};
use tidegate_tests::{Broker, Config, Gateway, wait_until};

use super::{beside, send, taken};
use crate::scene::send_all;

pub fn cases() -> Vec<Trial> {
    cases![
        many_messages_at_once_that_upstream_hangs_up_on_hold_up_no_others,
        what_comes_after_a_first_message_that_upstream_hangs_up_on_arrives,
        a_message_that_upstream_hangs_up_on_seconds_later_is_parked,
        after_links_were_cut_messages_are_as_fast_as_before,
        a_message_alone_in_its_chunk_that_upstream_hangs_up_on_is_parked,
    ]
}

/// Upstreams that hang up on each message of five and of twelve devices, all of which come at once among those of others, to
/// a gateway that has sent nothing before.
/// Guarantee: the others arrive first and soon, and each of the bad ones is parked.
fn many_messages_at_once_that_upstream_hangs_up_on_hold_up_no_others() -> Result<()> {
    for count in [5, 12] {
        let (field, cloud, gateway) = beside(vec![Rule(Which::topic("bad"), Deed::HangUp)])?;
        let start = Instant::now();
        send(
            &field,
            (0..count).flat_map(|number| {
                [
                    format!("bad{number}"),
                    format!("d{number}"),
                    format!("e{number}"),
                ]
            }),
        )?;
        wait_until("the others have arrived", || {
            taken(&cloud).len() == 2 * count
        })?;
        println!(
            "those beside {count} bad ones arrived within {:?}",
            start.elapsed()
        );
        wait_until("the bad ones are parked", || {
            gateway.metric("tidegate_dead_letters_kept", &[]) == count as f64
        })?;
        println!(
            "{count} were parked within {:?}, over {} connections",
            start.elapsed(),
            cloud.connections()
        );
        ensure!(
            start.elapsed() < Duration::from_secs(60),
            "it took {:?}",
            start.elapsed()
        );
        wait_until("nothing is owed", || {
            gateway.metric("tidegate_spool_messages", &[]) == 0.0
        })?;
    }
    Ok(())
}

/// The very first message of a gateway is one that upstream hangs up on; others come when it was tried again and again.
/// Guarantee: each of the others arrives at once, and the first one is parked.
fn what_comes_after_a_first_message_that_upstream_hangs_up_on_arrives() -> Result<()> {
    let (field, cloud, gateway) = beside(vec![Rule(Which::topic("bad"), Deed::HangUp)])?;
    send(&field, ["bad".to_owned()])?;
    wait_until("it was tried alone", || cloud.hang_ups() >= 4)?;
    let start = Instant::now();
    send(&field, (0..3).map(|number| format!("d{number}")))?;
    wait_until("the others have arrived", || taken(&cloud).len() == 3)?;
    ensure!(
        start.elapsed() < Duration::from_secs(25),
        "they waited for {:?}",
        start.elapsed()
    );
    wait_until("the first one is parked", || {
        gateway.metric("tidegate_dead_letters_kept", &[]) == 1.0
    })
}

/// An upstream hangs up four seconds after one message, and takes all others meanwhile.
/// Guarantee: it is parked, and the others arrive, hardly one of them twice.
fn a_message_that_upstream_hangs_up_on_seconds_later_is_parked() -> Result<()> {
    let deed = Deed::HangUpLater(Duration::from_secs(4));
    let (field, cloud, gateway) = beside(vec![Rule(Which::topic("bad"), deed)])?;
    send(&field, ["bad".to_owned()])?;
    let plan = tidegate_tests::Plan {
        rate: Some(20),
        total: Some(300),
        ..tidegate_tests::Plan::default()
    };
    let sent = tidegate_tests::Load::start(field.address(), plan)
        .wait()?
        .count();
    wait_until("the late one is parked", || {
        gateway.metric("tidegate_dead_letters_kept", &[]) == 1.0
    })?;
    wait_until("the others have arrived", || taken(&cloud).len() == sent)?;
    let twice = cloud.taken().len() - sent;
    ensure!(twice < 100, "{twice} of {sent} arrived twice");
    Ok(())
}

/// An upstream over MQTT 5 hangs up five times in the midst of a stream, whatever it is sent.
/// Guarantee: nothing is parked, and the window is whole again: what is sent then comes over one connection, many at a time.
fn after_links_were_cut_messages_are_as_fast_as_before() -> Result<()> {
    let cuts = (1..=5)
        .map(|cut| Rule(Which::all().numbers(cut * 200..=cut * 200), Deed::HangUp))
        .collect();
    let (field, cloud, gateway) = beside(cuts)?;
    send_all(&field, 3_000)?;
    wait_until("all of it has arrived", || {
        gateway.metric("tidegate_spool_messages", &[]) == 0.0
    })?;
    ensure!(
        gateway.metric("tidegate_dead_letters_kept", &[]) == 0.0,
        "something was parked"
    );
    // From now on an answer takes a while: what is in flight is what the window allows.
    cloud.change(vec![Rule(
        Which::all(),
        Deed::Late(Duration::from_millis(300)),
    )]);
    let before = cloud.connections();
    let plan = tidegate_tests::Plan {
        rate: None,
        total: Some(3_000),
        ..tidegate_tests::Plan::default()
    };
    let load = tidegate_tests::Load::start(field.address(), plan);
    wait_until("hundreds are in flight", || {
        gateway.metric("tidegate_uplink_inflight", &[]) > 500.0
    })?;
    load.wait()?;
    wait_until("all of that has arrived too", || {
        gateway.metric("tidegate_spool_messages", &[]) == 0.0
    })?;
    ensure!(
        cloud.connections() == before,
        "{} connections, {before} before",
        cloud.connections()
    );
    Ok(())
}

/// An upstream of MQTT 3.1.1 that hangs up on packets over 50,000 bytes gets one of 70,000, which no chunk holds beside
/// others, among small ones of one device.
/// Guarantee: it is parked, and the small ones arrive.
fn a_message_alone_in_its_chunk_that_upstream_hangs_up_on_is_parked() -> Result<()> {
    let (field, cloud) = (
        Broker::embedded()?,
        PickyBroker::start(
            Terms::default(),
            vec![Rule(Which::over(50_000), Deed::HangUp)],
        )?,
    );
    let config = Config::forwarding()
        .between(&field.url(), &cloud.url())
        .set("uplink.cloud.protocol", "3.1.1");
    let gateway = Gateway::with(config).start()?;
    for number in 0..6 {
        let payload = if number == 2 {
            "x".repeat(70_000)
        } else {
            number.to_string()
        };
        field.publish("devices/d1/telemetry", payload)?;
    }
    wait_until("the small ones arrive", || taken(&cloud).len() == 5)?;
    wait_until("the large one is parked", || {
        gateway.metric("tidegate_dead_letters_kept", &[]) == 1.0
    })?;
    wait_until("nothing is owed", || {
        gateway.metric("tidegate_spool_messages", &[]) == 0.0
    })
}
