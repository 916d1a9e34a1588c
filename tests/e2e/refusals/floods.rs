//! Upstreams that take only so much, one device of which thousands are not taken, and links that are cut all the time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::cut::Cuttable;
use tidegate_tests::fake::{Deed, Noted, PickyBroker, Rule, Terms, Which};
use tidegate_tests::thin::{Profile, ThinLink};
use tidegate_tests::wait::wait_at_most;
use tidegate_tests::{Broker, Config, Gateway, Load, Plan, Watch, cases, wait_until};

use super::{beside, send, taken};
use crate::scene::{UP, compare, expect_at_least_once};

pub fn cases() -> Vec<Trial> {
    cases![
        an_upstream_that_takes_so_many_a_second_gets_them_all,
        an_upstream_that_ends_connections_over_a_rate_gets_them_all,
        thousands_of_one_device_that_are_not_taken_hold_up_no_other,
        what_is_never_sent_is_parked_while_everything_is_refused,
        each_connection_of_an_upstream_ends_after_so_many_messages,
        a_slow_link_that_is_cut_again_and_again_parks_nothing,
    ]
}

fn parked(gateway: &Gateway) -> f64 {
    gateway.metric("tidegate_dead_letters_kept", &[])
}

/// An upstream takes a hundred messages a second and answers the others with 0x97; a thousand of twenty devices come at once.
/// Guarantee: all arrive, each device's in order, nothing is parked, and few are refused for each that is taken.
fn an_upstream_that_takes_so_many_a_second_gets_them_all() -> Result<()> {
    const COUNT: usize = 1_000;
    let limit = vec![Rule(Which::all(), Deed::AtMost(100))];
    let (field, cloud, gateway) = beside(limit)?;
    let start = Instant::now();
    send(&field, (0..COUNT).map(|number| format!("d{}", number % 20)))?;
    wait_at_most(Duration::from_secs(120), "all of it has arrived", || {
        taken(&cloud).len() == COUNT
    })?;
    let (taken, seen) = (cloud.taken().len(), cloud.seen().len());
    println!(
        "{COUNT} at 100 a second: {:?}, {seen} were sent",
        start.elapsed()
    );
    ensure!(taken == COUNT, "{} came twice", taken - COUNT);
    ensure!(seen < 2 * COUNT, "{seen} were sent");
    ensure!(parked(&gateway) == 0.0, "something was parked");
    // What was under way when the first was refused may have been taken before it.
    let late = cloud.taken();
    expect_order(&late[late.len() / 4..])
}

/// First occurrences of each device are in order.
fn expect_order(taken: &[Noted]) -> Result<()> {
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let is_first = |noted: &&Noted| seen.insert(noted.published.payload.clone());
    for noted in taken.iter().filter(is_first) {
        let number: serde_json::Value = serde_json::from_slice(&noted.published.payload)?;
        let number = number["n"].as_u64().unwrap_or_default();
        let before = last.insert(noted.published.topic.clone(), number);
        ensure!(
            before.is_none_or(|before| before < number),
            "{number} of {} came behind {before:?}",
            noted.published.topic
        );
    }
    Ok(())
}

/// An upstream takes a hundred messages a second, and over one more it ends the connection and says that the rate is too high;
/// a thousand of twenty devices come at once.
/// Guarantee: all arrive, each device's in order, nothing is parked, few connections end, and it is told.
fn an_upstream_that_ends_connections_over_a_rate_gets_them_all() -> Result<()> {
    const COUNT: usize = 1_000;
    let limit = vec![Rule(Which::all(), Deed::AtMostOrEnd(100, 0x96))];
    let (field, cloud, gateway) = beside(limit)?;
    let start = Instant::now();
    send(&field, (0..COUNT).map(|number| format!("d{}", number % 20)))?;
    wait_at_most(Duration::from_secs(120), "all of it has arrived", || {
        taken(&cloud).len() == COUNT
    })?;
    let ends = cloud.hang_ups();
    println!(
        "{COUNT} at 100 a second: {:?}, over {} connections",
        start.elapsed(),
        cloud.connections()
    );
    ensure!(ends > 0, "it ended no connection");
    ensure!(ends < 60, "it ended {ends} connections");
    ensure!(parked(&gateway) == 0.0, "something was parked");
    expect_order(&cloud.taken())?;
    wait_until("it is told that the rate is limited", || {
        gateway.metric("tidegate_uplink_condition", &[("condition", "limits-rate")]) == 1.0
    })
}

/// Two thousand messages of one device are owed, each of which upstream hangs up on, or does not answer, or refuses as too
/// much; then others come.
/// Guarantee: the others arrive, none of them is parked.
fn thousands_of_one_device_that_are_not_taken_hold_up_no_other() -> Result<()> {
    let deeds = [
        Deed::HangUp,
        Deed::Never,
        Deed::Answer(0x97, "too many messages"),
        Deed::Answer(0x83, "not now"),
    ];
    for deed in deeds {
        let (field, cloud, _gateway) = beside(vec![Rule(Which::topic("bad"), deed)])?;
        let bad = std::iter::repeat_n("bad".to_owned(), 2_000);
        send(
            &field,
            bad.chain((0..100).map(|number| format!("d{}", number % 5))),
        )?;
        let start = Instant::now();
        wait_at_most(Duration::from_secs(60), "the others have arrived", || {
            taken(&cloud).len() == 100
        })?;
        println!(
            "beside thousands with {deed:?} the others took {:?}",
            start.elapsed()
        );
    }
    Ok(())
}

/// Upstream refuses whatever it is sent, while one device has a name that no topic may begin with.
/// Guarantee: what cannot be sent at all is parked with our own words; the rest waits, and arrives once it is taken.
fn what_is_never_sent_is_parked_while_everything_is_refused() -> Result<()> {
    let field = Broker::embedded()?;
    let refusal = Deed::Answer(0x87, "not authorised");
    let cloud = PickyBroker::start(Terms::default(), vec![Rule(Which::all(), refusal)])?;
    let config = Config::forwarding()
        .between(&field.url(), &cloud.url())
        .change("flow.all.topic", "{device}/up");
    let gateway = Gateway::with(config).start()?;
    send(&field, (0..40).map(|number| format!("d{number}")))?;
    wait_until("it is told that nothing is taken", || {
        gateway.metric(
            "tidegate_uplink_condition",
            &[("condition", "refuses-everything")],
        ) == 1.0
    })?;
    send(&field, (0..20).map(|_| "$bad".to_owned()))?;
    wait_until("what cannot be sent is parked", || parked(&gateway) == 20.0)?;
    cloud.change(Vec::new());
    wait_until("the rest has arrived", || taken(&cloud).len() == 40)?;
    ensure!(parked(&gateway) == 20.0, "{} are parked", parked(&gateway));
    let seen = cloud.seen();
    let is_bad = |topic: &str| topic.starts_with('$');
    ensure!(
        seen.iter().all(|noted| !is_bad(&noted.published.topic)),
        "one was sent"
    );
    Ok(())
}

/// An upstream takes forty messages over each connection, whatever they are, and hangs up on the next one.
/// Guarantee: nothing is parked for it, and all arrive.
fn each_connection_of_an_upstream_ends_after_so_many_messages() -> Result<()> {
    let ends = (1..=12)
        .map(|time| {
            Rule(
                Which::all().numbers(time * 41 - 1..=time * 41 - 1),
                Deed::HangUp,
            )
        })
        .collect();
    let (field, cloud, gateway) = beside(ends)?;
    let load = Load::start(
        field.address(),
        Plan {
            rate: Some(400),
            ..Plan::default()
        },
    );
    wait_at_most(Duration::from_secs(120), "it has hung up often", || {
        cloud.hang_ups() >= 12
    })?;
    let sent = load.stop()?.count();
    wait_until("all of it has arrived", || taken(&cloud).len() == sent)?;
    ensure!(parked(&gateway) == 0.0, "something was parked");
    Ok(())
}

/// A link with half a second of round trip is cut every two seconds, twelve times.
/// Guarantee: all arrive in order per device, and nothing is parked.
fn a_slow_link_that_is_cut_again_and_again_parks_nothing() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let watch = Watch::start(cloud.address(), UP)?;
    let slow = ThinLink::to(
        cloud.address(),
        Profile::of(1 << 20, Duration::from_millis(500)),
    )?;
    let cuts = Cuttable::to(slow.address())?;
    let gateway = Gateway::with(Config::forwarding().between(&field.url(), &cuts.url())).start()?;
    let load = Load::start(
        field.address(),
        Plan {
            rate: Some(10),
            ..Plan::default()
        },
    );
    for _ in 0..12 {
        // The time until the cut is the experiment; nothing is synchronised by it.
        std::thread::park_timeout(Duration::from_secs(2));
        cuts.cut();
    }
    let sent = load.stop()?;
    let verdict = compare(&sent, watch)?;
    println!("twelve cuts of a slow link: {verdict}");
    expect_at_least_once(&verdict)?;
    ensure!(parked(&gateway) == 0.0, "something was parked");
    Ok(())
}
