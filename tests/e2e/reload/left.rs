//! Sessions that are left behind by changes that follow each other, and those that never were.

use std::fs;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::cut::Cuttable;
use tidegate_tests::{
    Broker, Config, Gateway, Load, Plan, Watch, cases, wait_until, with_mosquitto,
};

use crate::scene::UP;
use crate::tools::told;

pub fn cases() -> Vec<Trial> {
    cases![with_mosquitto;
        what_is_held_for_the_first_of_three_names_arrives,
        a_session_goes_on_under_another_name_of_its_source_or_its_broker,
        a_broker_that_was_never_reached_leaves_nothing_to_be_emptied,
    ]
}

/// One flow of all readings from the broker at this URL.
fn text(url: &str, cloud: &Broker) -> Config {
    Config::forwarding().between(url, &cloud.url())
}

/// While the broker is out of reach the source gets one client id and then another.
/// Guarantee: what the broker holds for the first one arrives, too, once it is in reach, and nothing is given up.
fn what_is_held_for_the_first_of_three_names_arrives() -> Result<()> {
    let (field, cloud) = (Broker::mosquitto()?, Broker::embedded()?);
    let link = Cuttable::to(field.address())?;
    let watch = Watch::start(cloud.address(), UP)?;
    let named = |id: &str| text(&link.url(), &cloud).set("source.field.client_id", id);
    let gateway = Gateway::with(named("one")).start()?;
    let folder = gateway.folder().to_owned();
    gateway.wait_online()?;
    link.go_dark();
    field.publish("devices/d1/telemetry", "held for one")?;
    for id in ["two", "three"] {
        gateway.rewrite_for(named(id), || told(&folder, &["reload"], 0))??;
    }
    link.back();
    wait_until("it arrives", || watch.total() >= 1)?;
    let (ledger, _) = told(&folder, &["ledger"], 0)?;
    ensure!(ledger.contains("nothing was given up"), "{ledger}");
    Ok(())
}

/// Under load a source gets another name and keeps its client id, then its broker is called by another name, and back.
/// Guarantee: no message is lost: the session that goes on is not taken for one that is left.
fn a_session_goes_on_under_another_name_of_its_source_or_its_broker() -> Result<()> {
    let (field, cloud) = (Broker::mosquitto()?, Broker::embedded()?);
    let watch = Watch::start(cloud.address(), UP)?;
    let named = |name: &str, host: &str| {
        let url = format!("mqtt://{host}:{}", field.address().port());
        text(&url, &cloud)
            .set("source.field.client_id", "barn-7")
            .rename("source.field", name)
            .set("flow.all.from", name)
    };
    let gateway = Gateway::with(named("field", "127.0.0.1")).start()?;
    gateway.wait_online()?;
    let load = Load::start(field.address(), Plan::default());
    let folder = gateway.folder().to_owned();
    for (name, host) in [
        ("yard", "127.0.0.1"),
        ("yard", "localhost"),
        ("field", "localhost"),
        ("field", "127.0.0.1"),
    ] {
        let before = watch.count();
        gateway.rewrite_for(named(name, host), || told(&folder, &["reload"], 0))??;
        wait_until("traffic flows", || watch.count() > before + 300)?;
    }
    let sent = load.stop()?;
    wait_until("all has arrived", || watch.count() as usize >= sent.count())?;
    let verdict = sent.against(&watch.stop()?, |_, _| true);
    ensure!(verdict.lost == 0, "{verdict}");
    Ok(())
}

/// The address of a source is mistaken, and mended while the gateway runs.
/// Guarantee: there is one source afterwards, and nothing that dials the mistaken address.
fn a_broker_that_was_never_reached_leaves_nothing_to_be_emptied() -> Result<()> {
    let (field, cloud) = (Broker::mosquitto()?, Broker::embedded()?);
    let link = Cuttable::to(field.address())?;
    link.go_dark();
    let gateway = Gateway::with(text(&link.url(), &cloud)).launch()?;
    let folder = gateway.folder().to_owned();
    wait_until("it dials", || link.dials() > 0)?;
    let right = text(&field.url(), &cloud);
    gateway.rewrite_for(right, || told(&folder, &["reload"], 0))??;
    gateway.wait_online()?;
    let before = link.dials();
    field.publish("devices/d1/telemetry", "{}")?;
    let watch = gateway.metric("tidegate_messages_received_total", &[("source", "field")]);
    ensure!(watch <= 1.0, "{watch} came");
    // A mark is written beside itself and renamed once it is on disk.
    wait_until("there is the mark of one session", || {
        let marks = fs::read_dir(folder.join("data/sessions"));
        let names = marks.into_iter().flatten();
        let names = names.filter_map(|mark| Some(mark.ok()?.file_name()));
        names.collect::<Vec<_>>() == ["field"]
    })?;
    link.back();
    ensure!(
        !gateway.lines().has(&["field:left"]) && link.dials() == before,
        "the mistaken address is dialled"
    );
    Ok(())
}
