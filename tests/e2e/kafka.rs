//! An uplink into topics of Kafka: records in place of publishes, behind the same promise.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use serde_json::json;
use tidegate_tests::certificates::Authority;
use tidegate_tests::kafka::{KafkaBroker, has_kafka};
use tidegate_tests::tally::Sent;
use tidegate_tests::{
    Broker, Gateway, Load, Plan, Setup, cases, rounds, wait_until, where_possible,
};

use crate::scene::unnamed;
use crate::tools::json as told;

pub fn cases() -> Vec<Trial> {
    cases![
        |name: &str, run| where_possible(name, "Kafka, which `tests/brokers/install` fetches where Java and mvn are", has_kafka, run);
        twenty_thousand_readings_are_in_their_partitions_in_order,
        a_gateway_that_is_killed_again_and_again_loses_nothing,
        a_broker_that_is_killed_or_frozen_has_everything,
        partitions_that_move_to_another_broker_are_found_there,
        a_topic_that_is_missing_holds_and_is_not_made_by_asking,
        a_topic_of_a_message_that_is_missing_costs_that_message_only,
        a_message_too_large_for_the_topic_is_parked_alone_with_its_words,
        a_wrong_password_holds_and_a_renewed_one_is_used_over_tls,
    ]
}

/// One flow of all readings into topics.
fn gateway(field: &Broker, url: &str, keys: &str) -> Setup {
    let config = unnamed()
        .between(&field.url(), url)
        .put("uplink.cloud", keys);
    Gateway::with(config)
}

const QUICK: &str =
    "deadlines = { answer = \"2s\" }\nbackoff = { first = \"100ms\", cap = \"1s\" }\n";

fn plan(total: Option<usize>, rate: Option<u32>) -> Plan {
    Plan {
        devices: 20,
        rate,
        total,
        ..Plan::default()
    }
}

fn parked(gateway: &Gateway) -> f64 {
    gateway.metric("tidegate_messages_refused_total", &[("uplink", "cloud")])
}

/// Waits until all that was acknowledged is there, in order; how many records are there twice.
fn expect_all(sent: &Sent, broker: &KafkaBroker) -> Result<usize> {
    let all = sent.count() as u64;
    // A time-out here is not the finding: the comparison says how much is missing.
    let _ = wait_until("all has arrived", || {
        broker.count("tele") >= all
            && broker
                .tally("tele")
                .is_ok_and(|(tally, _)| tally.count() >= all)
    });
    let (tally, doubles) = broker.tally("tele")?;
    let verdict = sent.against(&tally, |_, _| true);
    ensure!(verdict.sent > 0 && verdict.is_at_least_once(), "{verdict}");
    Ok(doubles)
}

/// A load of 20,000 into four partitions, with the way tried out beside it.
/// Guarantee: all are there, once, in order per device, each in the partition that Java's producers give its device, with an id and the time;
/// `check --connect` says how many partitions there are.
fn twenty_thousand_readings_are_in_their_partitions_in_order() -> Result<()> {
    let (field, broker) = (Broker::embedded()?, KafkaBroker::start("")?);
    broker.make("tele", json!({}))?;
    let gateway = gateway(&field, &broker.url("tele"), "").start()?;
    let begun = std::time::Instant::now();
    let sent = Load::start(field.address(), plan(Some(20_000), None)).wait()?;
    let doubles = expect_all(&sent, &broker)?;
    eprintln!("20,000 records after {:.1?}", begun.elapsed());
    ensure!(doubles == 0 && broker.count("tele") == 20_000);
    ensure!(parked(&gateway) == 0.0, "{} parked", parked(&gateway));
    let mut places = BTreeMap::new();
    for record in broker.records("tele")? {
        let place = *places.entry(record.key.clone()).or_insert(record.partition);
        ensure!(place == record.partition, "{} moved", record.key);
        ensure!(record.time > 1_700_000_000_000, "{record:?}");
    }
    ensure!(places.len() == 20, "{places:?}");
    for (device, place) in &places {
        ensure!(
            *place == broker.partition_of(device)?,
            "{device} is in {place}"
        );
    }
    let said = told(gateway.folder(), &["check", "--connect"], 0)?.to_string();
    ensure!(said.contains("with partitions: 4"), "{said}");
    ensure!(gateway.stop()?.0.success(), "it did not stop well");
    Ok(())
}

/// The gateway is killed again and again under load; batches are compressed.
/// Guarantee: nothing that was acknowledged is missing, and order per device holds.
fn a_gateway_that_is_killed_again_and_again_loses_nothing() -> Result<()> {
    let (field, broker) = (Broker::embedded()?, KafkaBroker::start("")?);
    broker.make("tele", json!({}))?;
    let keys = "compress = \"zstd\"\n";
    let mut gateway = gateway(&field, &broker.url("tele"), keys).start()?;
    let load = Load::start(field.address(), plan(None, Some(2_000)));
    for _ in 0..rounds(4, 20) {
        let before = broker.count("tele");
        wait_until("traffic flows", || broker.count("tele") > before + 500)?;
        gateway = gateway.kill()?.start()?;
    }
    let sent = load.stop()?;
    let doubles = expect_all(&sent, &broker)?;
    eprintln!("{} sent, {doubles} records are there twice", sent.count());
    ensure!(parked(&gateway) == 0.0, "{} parked", parked(&gateway));
    Ok(())
}

/// The broker is killed in the middle of its work, and later stopped for longer than an answer may take.
/// Guarantee: each reading is there, in order per device, and nothing is parked; a broker that stands still is noticed by our own deadline.
fn a_broker_that_is_killed_or_frozen_has_everything() -> Result<()> {
    let (field, mut broker) = (Broker::embedded()?, KafkaBroker::start("")?);
    broker.make("tele", json!({}))?;
    let keys = format!("compress = \"gzip\"\n{QUICK}");
    let gateway = gateway(&field, &broker.url("tele"), &keys).start()?;
    let load = Load::start(field.address(), plan(None, Some(2_000)));
    for _ in 0..rounds(2, 8) {
        let before = broker.count("tele");
        wait_until("traffic flows", || broker.count("tele") > before + 500)?;
        let mark = gateway.lines().count();
        broker.kill()?;
        wait_until("that is noticed", || {
            gateway
                .lines()
                .has_since(mark, &["no way into the Kafka cluster"])
        })?;
        broker.start_again()?;
        let before = broker.count("tele");
        wait_until("traffic flows again", || {
            broker.count("tele") > before + 500
        })?;
        let mark = gateway.lines().count();
        broker.freeze()?;
        wait_until("that is noticed by our own deadline", || {
            gateway
                .lines()
                .has_since(mark, &["the Kafka broker did not answer within 2s"])
        })?;
        broker.thaw()?;
    }
    let sent = load.stop()?;
    let doubles = expect_all(&sent, &broker)?;
    eprintln!("{} sent, {doubles} records are there twice", sent.count());
    ensure!(parked(&gateway) == 0.0, "{} parked", parked(&gateway));
    Ok(())
}

/// Two brokers lead the partitions of a topic, and one of them is killed.
/// Guarantee: what was its is written to the other one, in order per device, and nothing is parked.
fn partitions_that_move_to_another_broker_are_found_there() -> Result<()> {
    let (field, broker) = (Broker::embedded()?, KafkaBroker::start("")?);
    let mut second = broker.second()?;
    wait_until("the topic is at both", || {
        broker.make_replicated("tele").is_ok()
    })?;
    wait_until("both lead partitions", || {
        broker.leaders("tele").is_ok_and(|count| count == 2)
    })?;
    let gateway = gateway(&field, &broker.url("tele"), QUICK).start()?;
    let load = Load::start(field.address(), plan(None, Some(1_000)));
    wait_until("traffic flows", || broker.count("tele") > 500)?;
    second.kill()?;
    let before = broker.count("tele");
    wait_until("traffic flows again", || {
        broker.count("tele") > before + 3_000
    })?;
    let sent = load.stop()?;
    let doubles = expect_all(&sent, &broker)?;
    eprintln!("{} sent, {doubles} records are there twice", sent.count());
    ensure!(parked(&gateway) == 0.0, "{} parked", parked(&gateway));
    Ok(())
}

/// The topic is not there, at a broker that makes topics whenever one is asked for; then it is made.
/// Guarantee: nothing is parked, and the cause and what to do are told; nobody makes the topic but us, and then all is there.
fn a_topic_that_is_missing_holds_and_is_not_made_by_asking() -> Result<()> {
    let (field, broker) = (
        Broker::embedded()?,
        KafkaBroker::start("auto.create.topics.enable=true\n")?,
    );
    let gateway = gateway(&field, &broker.url("tele"), QUICK).launch()?;
    gateway.wait_online()?;
    let sent = Load::start(field.address(), plan(Some(200), None)).wait()?;
    gateway
        .lines()
        .wait_for(&["3 UNKNOWN_TOPIC_OR_PARTITION", "make the topic"])?;
    let said = told(gateway.folder(), &["check", "--connect"], 7)?.to_string();
    ensure!(said.contains("make the topic"), "{said}");
    ensure!(broker.topics()? == json!([]), "{}", broker.topics()?);
    ensure!(parked(&gateway) == 0.0, "{} parked", parked(&gateway));
    broker.make("tele", json!({}))?;
    expect_all(&sent, &broker)?;
    ensure!(parked(&gateway) == 0.0, "{} parked", parked(&gateway));
    Ok(())
}

/// Each device has a topic of its own, and one of them is not there.
/// Guarantee: what goes there is parked with words, the others are there, and nobody makes the topic.
fn a_topic_of_a_message_that_is_missing_costs_that_message_only() -> Result<()> {
    let (field, broker) = (
        Broker::embedded()?,
        KafkaBroker::start("auto.create.topics.enable=true\n")?,
    );
    for device in ["d1", "d2"] {
        broker.make(&format!("of-{device}"), json!({}))?;
    }
    let gateway = gateway(&field, &broker.url("of-{device}"), "").start()?;
    for device in ["d1", "nobody", "d2"] {
        field.publish(&format!("devices/{device}/telemetry"), "{\"seq\":0}")?;
    }
    let mut number = 0;
    wait_until("that one is parked", || {
        number += 1;
        let payload = format!("{{\"seq\":{number}}}");
        field.publish("devices/d1/telemetry", payload).is_ok() && parked(&gateway) == 1.0
    })?;
    wait_until("the others are there", || {
        broker.count("of-d1") > number && broker.count("of-d2") == 1
    })?;
    wait_until("the letter is on disk", || {
        gateway.metric("tidegate_dead_letters_kept", &[]) == 1.0
    })?;
    let letters = told(gateway.folder(), &["parked", "list"], 0)?;
    let detail = letters["letters"][0]["detail"].to_string();
    ensure!(
        detail.contains("3 UNKNOWN_TOPIC_OR_PARTITION, of the topic `of-nobody`"),
        "{detail}"
    );
    ensure!(broker.topics()? == json!(["of-d1", "of-d2"]));
    Ok(())
}

/// Five hundred readings of which one is larger than the topic takes, all owed before the first is answered.
/// Guarantee: it alone is parked, with the broker's code and words; the others are there.
fn a_message_too_large_for_the_topic_is_parked_alone_with_its_words() -> Result<()> {
    let (field, broker) = (Broker::embedded()?, KafkaBroker::start("")?);
    broker.make("tele", json!({"max.message.bytes": "20000"}))?;
    let gateway = gateway(&field, &broker.url("tele"), "").start()?;
    gateway.wait_online()?;
    broker.freeze()?;
    for number in 0..500 {
        let filling = if number == 321 { 30_000 } else { 100 };
        let payload = format!("{{\"seq\":0,\"x\":\"{}\"}}", "x".repeat(filling));
        field.publish(&format!("devices/d{number}/telemetry"), &payload)?;
    }
    broker.thaw()?;
    wait_until("all others are there", || broker.count("tele") >= 499)?;
    wait_until("the large one is parked", || parked(&gateway) == 1.0)?;
    wait_until("the letter is on disk", || {
        gateway.metric("tidegate_dead_letters_kept", &[]) == 1.0
    })?;
    let letters = told(gateway.folder(), &["parked", "list"], 0)?;
    let details = letters["letters"].to_string();
    ensure!(details.contains("10 MESSAGE_TOO_LARGE"), "{details}");
    let (tally, _) = broker.tally("tele")?;
    ensure!(tally.count() - tally.doubled() == 499, "{tally:?}");
    Ok(())
}

/// The broker asks for a login over TLS; the password is wrong, and is put right in its file.
/// Guarantee: nothing is parked, the cause is told, and all is there once the file has the right one; no password is in the log.
fn a_wrong_password_holds_and_a_renewed_one_is_used_over_tls() -> Result<()> {
    let field = Broker::embedded()?;
    let place = tempfile::tempdir()?;
    let authority = Authority::new(place.path(), "ca")?;
    let broker = KafkaBroker::with_users(&authority.broker()?)?;
    broker.make("tele", json!({}))?;
    let keys = format!(
        "user = \"barn\"\npassword = {{ file = \"password\" }}\ntls = {{ ca = \"{}\" }}\n{QUICK}",
        authority.ca.display()
    );
    let setup = gateway(&field, &broker.url_of_users("tele"), &keys);
    let path = setup.folder().join("password");
    fs::write(&path, "guessed")?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(&path, mode)?;
    let gateway = setup.launch()?;
    gateway.wait_online()?;
    let sent = Load::start(field.address(), plan(Some(200), None)).wait()?;
    gateway.lines().wait_for(&[
        "refuses the login: 58 SASL_AUTHENTICATION_FAILED",
        "check `user`",
    ])?;
    let said = told(gateway.folder(), &["check", "--connect"], 7)?.to_string();
    ensure!(said.contains("58 SASL_AUTHENTICATION_FAILED"), "{said}");
    ensure!(parked(&gateway) == 0.0 && broker.count("tele") == 0);
    fs::write(gateway.folder().join("password"), "secret\n")?;
    expect_all(&sent, &broker)?;
    let shown = ["guessed", "secret"].map(|word| gateway.lines().has(&[word]));
    ensure!(shown == [false, false], "a password is in the log");
    ensure!(gateway.stop()?.0.success(), "it did not stop well");
    Ok(())
}
