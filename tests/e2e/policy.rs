//! What a class gives up while its uplink is away, and what is said about it.

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::Value;
use tidegate_tests::cut::Cuttable;
use tidegate_tests::tally::device_name;
use tidegate_tests::{Broker, Config, Gateway, Load, Plan, Watch, cases, rounds, wait_until};

use crate::scene::UP;
use crate::tools::json;

pub fn cases() -> Vec<Trial> {
    cases![the_ledger_and_the_gap_record_say_exactly_what_is_missing_upstream,]
}

const DEVICES: usize = 10;

/// Telemetry may keep little on disk; alarms have what the manual gives them.
fn with_classes() -> Config {
    let alarms =
        "from = \"field\"\ntopics = [\"devices/{device}/alarm\"]\nto = \"cloud:alarm\"\nlanes = 1";
    Config::forwarding()
        .add("class.telemetry", "max = \"256KiB\"")
        .add("flow.alarms", alarms)
}

/// Messages of a gap record, of one device or of all.
fn counted(records: &[Value], device: Option<&str>) -> u64 {
    let entries = records.iter().filter_map(Value::as_array).flatten();
    let wanted = entries.filter(|entry| device.is_none_or(|device| entry["device"] == device));
    wanted.filter_map(|entry| entry["count"].as_u64()).sum()
}

/// 20,000 readings (the long form: an hour at 2,000 a second) and 20 alarms while the link is dark, with room for a part of the readings, then the link is back.
/// Guarantee: all alarms arrive, the oldest readings are missing, and the metrics, the ledger and the record that
/// arrives upstream name exactly as many as are missing, for each device.
fn the_ledger_and_the_gap_record_say_exactly_what_is_missing_upstream() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let link = Cuttable::to(cloud.address())?;
    link.go_dark();
    let readings = Watch::start(cloud.address(), UP)?;
    let alarms = Watch::start(cloud.address(), "devices/+/alarm")?;
    let gaps = Watch::start(cloud.address(), "tidegate/+/gaps")?;
    let gateway = Gateway::with(with_classes().between(&field.url(), &link.url())).start()?;
    for number in 0..10 {
        field.publish("devices/d1/alarm", format!("early {number}"))?;
    }
    let plan = Plan {
        devices: DEVICES,
        rate: None,
        total: Some(rounds(20_000, 7_200_000)),
        ..Plan::default()
    };
    let sent = Load::start(field.address(), plan).wait()?;
    for number in 0..10 {
        field.publish("devices/d2/alarm", format!("late {number}"))?;
    }
    let in_ram = || {
        gateway.metric("tidegate_spool_messages", &[])
            - gateway.metric("tidegate_spool_disk_messages", &[])
    };
    let appended = || gateway.metric("tidegate_spool_appended_total", &[]) as usize;
    wait_until("all is owed or given up", || {
        appended() == sent.count() + 20 && in_ram() == 0.0
    })?;
    link.back();
    wait_until("nothing is owed any more", || {
        gateway.metric("tidegate_spool_messages", &[]) == 0.0
    })?;
    wait_until("the alarms have arrived", || alarms.total() == 20)?;
    let given_up = gateway.metric("tidegate_ledger_messages", &[("reason", "quota-oldest")]) as u64;
    let shown = counted(&[json(gateway.folder(), &["ledger"], 0)?], None);
    let dropped = gateway.metric(
        "tidegate_messages_dropped_total",
        &[("reason", "quota-oldest"), ("class", "telemetry")],
    ) as u64;
    wait_until("all that is left has arrived", || {
        readings.count() + given_up >= sent.count() as u64
    })?;
    let records = || {
        gaps.arrivals()
            .iter()
            .map(|arrival| arrival.json())
            .collect::<Result<Vec<_>>>()
    };
    // What is given up once the link is there is told by another record.
    wait_until("the records have arrived", || {
        records().is_ok_and(|records| counted(&records, None) >= given_up)
    })?;
    let records = records()?;
    let arrived = readings.stop()?;
    let missing = sent.count() as u64 - arrived.count();
    ensure!(
        missing > 0 && missing < sent.count() as u64,
        "{missing} of {} are missing",
        sent.count()
    );
    ensure!(
        (given_up, dropped, shown) == (missing, missing, missing),
        "missing {missing}, in the ledger {given_up}, dropped {dropped}, shown {shown}"
    );
    ensure!(
        counted(&records, None) == missing,
        "missing {missing}, told {}: {records:?}",
        counted(&records, None)
    );
    let mut oldest = Vec::new();
    for device in 0..DEVICES {
        let name = device_name(device);
        let lost = (sent.count_of(device) - arrived.count_of(&name)) as u64;
        ensure!(
            counted(&records, Some(&name)) == lost,
            "{name} misses {lost}: {records:?}"
        );
        oldest.push(lost);
    }
    let verdict = sent.against(&arrived, |device, number| number >= oldest[device]);
    ensure!(
        verdict.is_at_least_once(),
        "not the oldest are missing: {verdict}"
    );
    let last = records
        .last()
        .and_then(Value::as_array)
        .and_then(|entries| entries.first())
        .context("a record has entries")?;
    ensure!(
        last["reason"] == "quota-oldest" && last["class"] == "telemetry" && last["clock"] == "set",
        "{last}"
    );
    println!(
        "sent {}, missing upstream {missing}, ledger {given_up}, told {}",
        sent.count(),
        counted(&records, None)
    );
    Ok(())
}
