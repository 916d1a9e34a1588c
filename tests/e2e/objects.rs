//! An uplink that is a bucket: objects in place of publishes, behind the same promise.

use std::fs;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::objects::{
    ACCESS_KEY, ObjectStore, SECRET_KEY, has_object_store, looks_at_signatures,
};
use tidegate_tests::tally::Sent;
use tidegate_tests::{
    Broker, Gateway, Load, Plan, Setup, cases, needs, rounds, wait_until, where_possible,
};

use crate::scene::unnamed;
use crate::tools::json;

pub fn cases() -> Vec<Trial> {
    let mut cases = cases![
        |name: &str, run| needs(name, "moto", has_object_store(), run);
        everything_is_in_a_few_objects_in_order,
        a_gateway_that_is_killed_again_and_again_loses_nothing,
        a_store_that_is_frozen_has_everything_and_parks_nothing,
        a_message_that_is_too_large_is_parked_alone_with_words,
    ];
    let strict = |name: &str, run| where_possible(name, "versitygw", looks_at_signatures, run);
    cases.extend(cases![
        strict;
        a_store_that_is_killed_has_everything_and_parks_nothing,
        a_wrong_secret_and_a_bucket_that_is_missing_hold_until_they_are_right,
    ]);
    cases
}

/// One flow of all readings into a bucket; the keys lie beside the config.
fn gateway(field: &Broker, store: &ObjectStore, url: &str, keys: &str) -> Result<Setup> {
    let own = format!(
        "endpoint = \"{}\"\naccess_key = {{ file = \"access\" }}\nsecret_key = {{ file = \"secret\" }}\n",
        store.endpoint()
    );
    let config = unnamed()
        .between(&field.url(), url)
        .put("uplink.cloud", &own)
        .put("uplink.cloud", keys);
    let setup = Gateway::with(config);
    set(&setup, "access", ACCESS_KEY)?;
    set(&setup, "secret", SECRET_KEY)?;
    Ok(setup)
}

fn set(setup: &Setup, name: &str, secret: &str) -> Result<()> {
    let path = setup.folder().join(name);
    fs::write(&path, secret)?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    Ok(fs::set_permissions(path, mode)?)
}

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

fn count(store: &ObjectStore) -> u64 {
    store.tally().map_or(0, |tally| tally.count())
}

/// Waits until all that was acknowledged is there, in order; how many came twice.
fn expect_all(sent: &Sent, store: &ObjectStore) -> Result<u64> {
    // A time-out here is not the finding: the comparison says how much is missing.
    let all = sent.count() as u64;
    let _ = wait_until("all has arrived", || count(store) >= all);
    let tally = store.tally()?;
    let verdict = sent.against(&tally, |_, _| true);
    ensure!(verdict.sent > 0 && verdict.is_at_least_once(), "{verdict}");
    Ok(tally.doubled())
}

/// What waits, does so for a moment: a case has no minute.
const SOON: &str = "batch = { messages = 500, wait = \"200ms\" }\nbackoff = { first = \"50ms\", cap = \"400ms\", jitter = 0.2 }\n";

/// A load of 5,000, compressed, with the way tried out before it, and a stop while a last message waits for others.
/// Guarantee: all is there, once, in order per device, in a few objects whose names say what is in them; trying leaves nothing there; at a
/// stop nothing waits; no secret is in the log.
fn everything_is_in_a_few_objects_in_order() -> Result<()> {
    let (field, store) = (Broker::embedded()?, ObjectStore::start()?);
    let keys = "batch = { messages = 1000, wait = \"10m\" }";
    let gateway = gateway(&field, &store, &store.url("history/{gateway}"), keys)?.start()?;
    let said = json(gateway.folder(), &["check", "--connect"], 0)?.to_string();
    ensure!(said.contains("the bucket `farm` is there"), "{said}");
    ensure!(store.objects()?.is_empty(), "trying left something there");
    let sent = Load::start(field.address(), plan(Some(5_000), None)).wait()?;
    let doubled = expect_all(&sent, &store)?;
    field.publish("devices/d1/telemetry", "{\"seq\":250}")?;
    wait_until("the last one gathers", || {
        gateway.metric("tidegate_uplink_inflight", &[("uplink", "cloud")]) == 1.0
    })?;
    let lines = gateway.lines().clone();
    ensure!(parked(&gateway) == 0.0 && doubled == 0, "{doubled} twice");
    ensure!(gateway.stop()?.0.success(), "it did not stop well");
    ensure!(count(&store) == 5_001, "{} are there", count(&store));
    let objects = store.objects()?;
    ensure!(objects.len() <= 20, "{} objects", objects.len());
    for object in &objects {
        let is_named = object.name.starts_with("history/")
            && object.name.contains("/telemetry/dt=20")
            && object.name.ends_with(".ndjson.zst");
        ensure!(is_named, "{}", object.name);
    }
    ensure!(!lines.has(&[SECRET_KEY]), "the secret is in the log");
    ensure!(
        !lines.has(&["X-Amz-Signature"]),
        "a signature is in the log"
    );
    Ok(())
}

/// The gateway is killed again and again under load.
/// Guarantee: nothing that was acknowledged is missing, and order holds; objects may overlap.
fn a_gateway_that_is_killed_again_and_again_loses_nothing() -> Result<()> {
    let (field, store) = (Broker::embedded()?, ObjectStore::start()?);
    let mut gateway = gateway(&field, &store, &store.url("history"), SOON)?.start()?;
    let load = Load::start(field.address(), plan(None, Some(1_000)));
    for _ in 0..rounds(4, 20) {
        let before = count(&store);
        wait_until("traffic flows", || count(&store) > before + 300)?;
        gateway = gateway.kill()?.start()?;
    }
    let sent = load.stop()?;
    let doubled = expect_all(&sent, &store)?;
    eprintln!("{} sent, {doubled} twice", sent.count());
    ensure!(parked(&gateway) == 0.0);
    Ok(())
}

/// The store stands still for longer than an answer may take.
/// Guarantee: it is noticed by our own deadline; nothing is parked, and all is there in the end, in order.
fn a_store_that_is_frozen_has_everything_and_parks_nothing() -> Result<()> {
    let (field, store) = (Broker::embedded()?, ObjectStore::start()?);
    let keys = format!("{SOON}deadlines = {{ answer = \"1s\" }}\n");
    let gateway = gateway(&field, &store, &store.url("history"), &keys)?.start()?;
    let load = Load::start(field.address(), plan(None, Some(1_000)));
    wait_until("traffic flows", || count(&store) > 500)?;
    let mark = gateway.lines().count();
    store.freeze()?;
    wait_until("that is noticed", || {
        gateway.lines().has_since(mark, &["did not answer within"])
    })?;
    store.thaw()?;
    let sent = load.stop()?;
    expect_all(&sent, &store)?;
    ensure!(parked(&gateway) == 0.0, "{} parked", parked(&gateway));
    Ok(())
}

/// One message among many is over what may be sent.
/// Guarantee: it alone is parked, with words that say how large it was; the others are there.
fn a_message_that_is_too_large_is_parked_alone_with_words() -> Result<()> {
    let (field, store) = (Broker::embedded()?, ObjectStore::start()?);
    let keys = format!("{SOON}max_packet = \"2KiB\"\n");
    let gateway = gateway(&field, &store, &store.url("history"), &keys)?.start()?;
    for number in 0..100 {
        let filler = "x".repeat(if number == 50 { 4_000 } else { 10 });
        let payload = format!("{{\"seq\":0,\"filler\":\"{filler}\"}}");
        field.publish(&format!("devices/d{number}/telemetry"), &payload)?;
    }
    wait_until("the others are there", || count(&store) == 99)?;
    wait_until("that one is a letter", || {
        gateway.metric("tidegate_dead_letters_kept", &[]) == 1.0
    })?;
    let told = json(gateway.folder(), &["parked", "list"], 0)?;
    let detail = told["letters"][0]["detail"].as_str().unwrap_or_default();
    ensure!(detail.contains("over the limit of 2048"), "{told}");
    Ok(())
}

/// The store is killed in the middle of its work, and started again.
/// Guarantee: nothing is parked, and all is there in the end, in order, and what was sent again under its own name is there once.
fn a_store_that_is_killed_has_everything_and_parks_nothing() -> Result<()> {
    let (field, mut store) = (Broker::embedded()?, ObjectStore::start()?);
    let gateway = gateway(&field, &store, &store.url("history"), SOON)?.start()?;
    let load = Load::start(field.address(), plan(None, Some(1_000)));
    for _ in 0..rounds(2, 8) {
        let before = count(&store);
        wait_until("traffic flows", || count(&store) > before + 300)?;
        let mark = gateway.lines().count();
        store.kill()?;
        wait_until("that is noticed", || {
            gateway.lines().has_since(mark, &["no way into the bucket"])
        })?;
        store.start_again()?;
    }
    let sent = load.stop()?;
    expect_all(&sent, &store)?;
    ensure!(parked(&gateway) == 0.0, "{} parked", parked(&gateway));
    Ok(())
}

/// The secret is wrong, and is put right in its file; then the bucket is missing, and is made.
/// Guarantee: nothing is parked, each cause is told with what to do, and all is there once it is mended; nobody restarts anything.
fn a_wrong_secret_and_a_bucket_that_is_missing_hold_until_they_are_right() -> Result<()> {
    let (field, store) = (Broker::embedded()?, ObjectStore::start()?);
    let setup = gateway(&field, &store, "s3://later/history", SOON)?;
    set(&setup, "secret", "guessed-wrongly")?;
    let gateway = setup.launch()?;
    gateway.wait_online()?;
    let sent = Load::start(field.address(), plan(Some(200), None)).wait()?;
    let lines = gateway.lines();
    lines.wait_for(&[
        "403 SignatureDoesNotMatch",
        "nothing is parked",
        "`secret_key`",
    ])?;
    let said = json(gateway.folder(), &["check", "--connect"], 7)?.to_string();
    ensure!(said.contains("SignatureDoesNotMatch"), "{said}");
    fs::write(gateway.folder().join("secret"), format!("{SECRET_KEY}\n"))?;
    lines.wait_for(&["404 NoSuchBucket", "check the bucket in `url`"])?;
    ensure!(parked(&gateway) == 0.0);
    ensure!(!lines.has(&["guessed-wrongly"]) && !lines.has(&[SECRET_KEY]));
    store.make("later")?;
    wait_until("all is there", || {
        let objects = store.objects_of("later").unwrap_or_default();
        let lines: usize = objects
            .iter()
            .map(|object| object.text.lines().count())
            .sum();
        lines >= sent.count()
    })?;
    ensure!(parked(&gateway) == 0.0, "{} parked", parked(&gateway));
    let objects = store.objects_of("later")?;
    objects.first().context("no object")?;
    Ok(())
}
