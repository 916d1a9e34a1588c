//! An uplink into streams of a NATS server: messages with ids in place of publishes, behind the same promise.

use std::fs;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tidegate_tests::certificates::Authority;
use tidegate_tests::nats::{NatsServer, has_nats};
use tidegate_tests::tally::Sent;
use tidegate_tests::{Broker, Gateway, Load, Plan, Setup, cases, needs, rounds, wait_until};

use crate::scene::unnamed;
use crate::tools::json as told;

pub fn cases() -> Vec<Trial> {
    cases![
        |name: &str, run| needs(name, "nats-server", has_nats(), run);
        twenty_thousand_readings_are_in_a_stream_in_order,
        a_gateway_that_is_killed_again_and_again_leaves_nothing_out_and_nothing_twice,
        a_server_that_is_killed_or_frozen_has_everything_once,
        a_message_too_large_for_the_stream_is_parked_alone_with_its_words,
        what_no_stream_takes_counts_as_nothing_until_one_does,
        a_stream_that_is_full_holds_until_there_is_room,
        a_wrong_password_holds_and_a_renewed_one_is_used,
        a_subject_that_is_forbidden_costs_its_device_only,
        nothing_that_a_device_is_called_parts_its_subject,
        a_user_is_known_by_his_key_over_tls,
    ]
}

/// Who may what: the tests' own client may all.
const USERS: &str = "authorization { users: [ { user: admin, password: admin }, \
     { user: barn, password: secret, permissions: { publish: { allow: [\">\"], deny: [\"devices.d666.>\"] }, subscribe: [\"_INBOX.>\"] } } ] }";

/// One flow of all readings into streams.
fn gateway(field: &Broker, url: &str, nats: &str, keys: &str) -> Setup {
    let config = unnamed()
        .between(&field.url(), url)
        .put("uplink.cloud", &format!("nats = {{ {nats} }}"))
        .put("uplink.cloud", keys);
    Gateway::with(config)
}

/// The same as a user whose password lies beside the config.
fn gateway_of_user(field: &Broker, url: &str, password: &str) -> Result<Setup> {
    let keys = "user = \"barn\"\npassword = { file = \"password\" }\nbackoff = { first = \"100ms\", cap = \"1s\" }\n";
    let setup = gateway(field, url, "", keys);
    keep_secret(&setup, "password", password)?;
    Ok(setup)
}

fn keep_secret(setup: &Setup, name: &str, text: &str) -> Result<()> {
    let path = setup.folder().join(name);
    fs::write(&path, text)?;
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

fn condition(gateway: &Gateway, kind: &str) -> bool {
    gateway.metric("tidegate_uplink_condition", &[("condition", kind)]) >= 1.0
}

/// Waits until all that was acknowledged is there, in order; no id is there twice. How many were taken from the field broker twice.
fn expect_all(sent: &Sent, server: &NatsServer) -> Result<u64> {
    let all = sent.count() as u64;
    // A time-out here is not the finding: the comparison says how much is missing.
    let _ = wait_until("all has arrived", || {
        server.count("TELE") >= all
            && server
                .tally("TELE")
                .is_ok_and(|(tally, _)| tally.count() >= all)
    });
    let (tally, doubles) = server.tally("TELE")?;
    let verdict = sent.against(&tally, |_, _| true);
    ensure!(verdict.sent > 0 && verdict.is_at_least_once(), "{verdict}");
    ensure!(doubles == 0, "{doubles} ids are there twice");
    Ok(tally.doubled())
}

/// A load of 20,000, with the way tried out beside it.
/// Guarantee: all are in the stream, once, in order per device; `check --connect` says which stream it is and how long it knows repeats.
fn twenty_thousand_readings_are_in_a_stream_in_order() -> Result<()> {
    let (field, server) = (Broker::embedded()?, NatsServer::start("")?);
    server.make("TELE", "devices.>", Value::Null)?;
    let gateway = gateway(&field, &server.url(), "", "").start()?;
    let begun = std::time::Instant::now();
    let sent = Load::start(field.address(), plan(Some(20_000), None)).wait()?;
    let doubled = expect_all(&sent, &server)?;
    eprintln!("20,000 messages after {:.1?}", begun.elapsed());
    ensure!(doubled == 0 && server.count("TELE") == 20_000);
    ensure!(parked(&gateway) == 0.0, "{} parked", parked(&gateway));
    let first = server.messages("TELE")?.swap_remove(0);
    let id = first.header("Nats-Msg-Id");
    ensure!(
        id.ends_with("/cloud/telemetry/1/0") || id.contains("/cloud/"),
        "{id}"
    );
    let said = told(gateway.folder(), &["check", "--connect"], 0)?.to_string();
    ensure!(
        said.contains("is taken by `TELE`") && said.contains("120 s"),
        "{said}"
    );
    ensure!(gateway.stop()?.0.success(), "it did not stop well");
    Ok(())
}

/// The gateway is killed again and again under load.
/// Guarantee: nothing that was acknowledged is missing, order holds, and no id is in the stream twice.
fn a_gateway_that_is_killed_again_and_again_leaves_nothing_out_and_nothing_twice() -> Result<()> {
    let (field, server) = (Broker::embedded()?, NatsServer::start("")?);
    server.make("TELE", "devices.>", Value::Null)?;
    let mut gateway = gateway(&field, &server.url(), "", "").start()?;
    let load = Load::start(field.address(), plan(None, Some(2_000)));
    for _ in 0..rounds(5, 20) {
        let before = server.count("TELE");
        wait_until("traffic flows", || server.count("TELE") > before + 500)?;
        gateway = gateway.kill()?.start()?;
    }
    let sent = load.stop()?;
    let doubled = expect_all(&sent, &server)?;
    // What the field broker gives out a second time, as its acknowledgement died with us, is another message with another id.
    eprintln!(
        "{} sent, {doubled} taken from the field broker twice",
        sent.count()
    );
    ensure!(parked(&gateway) == 0.0, "{} parked", parked(&gateway));
    Ok(())
}

/// The server is killed in the middle of its work, and later stopped for longer than an answer may take.
/// Guarantee: each reading is there once, in order per device, and nothing is parked.
fn a_server_that_is_killed_or_frozen_has_everything_once() -> Result<()> {
    let (field, mut server) = (Broker::embedded()?, NatsServer::start("")?);
    server.make("TELE", "devices.>", Value::Null)?;
    let keys = "deadlines = { answer = \"2s\" }\nbackoff = { first = \"100ms\", cap = \"1s\" }\n";
    let gateway = gateway(&field, &server.url(), "", keys).start()?;
    let load = Load::start(field.address(), plan(None, Some(2_000)));
    for _ in 0..rounds(2, 8) {
        let before = server.count("TELE");
        wait_until("traffic flows", || server.count("TELE") > before + 500)?;
        let mark = gateway.lines().count();
        server.kill()?;
        wait_until("that is noticed", || {
            gateway
                .lines()
                .has_since(mark, &["no connection to the NATS server"])
        })?;
        server.start_again()?;
        let before = server.count("TELE");
        wait_until("traffic flows", || server.count("TELE") > before + 500)?;
        let mark = gateway.lines().count();
        server.freeze()?;
        wait_until("that is noticed by our own deadline", || {
            gateway.lines().has_since(mark, &["did not acknowledge"])
        })?;
        server.thaw()?;
    }
    let sent = load.stop()?;
    let doubled = expect_all(&sent, &server)?;
    ensure!(doubled == 0, "{doubled} came twice");
    ensure!(parked(&gateway) == 0.0, "{} parked", parked(&gateway));
    Ok(())
}

/// Five hundred readings of which one is larger than the stream takes, all owed before the first is answered.
/// Guarantee: it alone is parked, with the server's number and words; the others are there.
fn a_message_too_large_for_the_stream_is_parked_alone_with_its_words() -> Result<()> {
    let (field, server) = (Broker::embedded()?, NatsServer::start("max_payload: 8192")?);
    server.make("TELE", "devices.>", json!({"max_msg_size": 1024}))?;
    let gateway = gateway(&field, &server.url(), "", "").start()?;
    gateway.wait_online()?;
    server.freeze()?;
    for number in 0..500 {
        let filling = if number == 321 { 2_000 } else { 10 };
        let payload = format!("{{\"seq\":0,\"x\":\"{}\"}}", "x".repeat(filling));
        field.publish(&format!("devices/d{number}/telemetry"), &payload)?;
    }
    server.thaw()?;
    wait_until("all others are there", || server.count("TELE") == 499)?;
    wait_until("the large one is parked", || parked(&gateway) == 1.0)?;
    // Over what the server takes at all: it is not even sent.
    field.publish(
        "devices/d1/telemetry",
        format!("{{\"x\":\"{}\"}}", "x".repeat(9_000)),
    )?;
    field.publish("devices/d2/telemetry", "{\"seq\":1}")?;
    wait_until("that one is parked, too", || parked(&gateway) == 2.0)?;
    wait_until("the letters are on disk", || {
        gateway.metric("tidegate_dead_letters_kept", &[]) == 2.0
    })?;
    let letters = told(gateway.folder(), &["parked", "list"], 0)?;
    let details = letters["letters"].to_string();
    ensure!(
        details.contains("400/10054 message size exceeds maximum allowed")
            && details.contains("8192 bytes that the NATS server takes"),
        "{details}"
    );
    ensure!(server.count("TELE") == 500);
    Ok(())
}

/// Somebody listens to the subjects, and answers, but no stream takes them; then one does.
/// Guarantee: what was published counts as nothing meanwhile, nothing is parked, and /readyz says why; then all is there.
fn what_no_stream_takes_counts_as_nothing_until_one_does() -> Result<()> {
    let (field, server) = (Broker::embedded()?, NatsServer::start("")?);
    let setup = gateway(
        &field,
        &server.url(),
        "",
        "deadlines = { answer = \"2s\" }\n",
    );
    let gateway = setup.start()?;
    let said = told(gateway.folder(), &["check", "--connect"], 7)?.to_string();
    ensure!(said.contains("no stream takes `>`"), "{said}");
    let sent = Load::start(field.address(), plan(Some(200), None)).wait()?;
    wait_until("that is told", || condition(&gateway, "refuses-everything"))?;
    let (code, text) = gateway.get("/readyz?verbose")?;
    ensure!(
        code == 200 && text.contains("refuses everything"),
        "{code} {text}"
    );
    let status = told(gateway.folder(), &["status"], 7)?.to_string();
    ensure!(status.contains("503 no stream takes"), "{status}");
    // Whoever takes what is published is no stream.
    server.with(|client| client.listen("devices.>"))?;
    wait_until("it is tried with somebody there", || {
        server
            .with(|client| client.read())
            .is_ok_and(|message| message.subject.starts_with("devices."))
    })?;
    ensure!(parked(&gateway) == 0.0, "{} parked", parked(&gateway));
    server.make("TELE", "devices.>", Value::Null)?;
    // One that had no answer may come behind others of its device.
    let all = sent.count() as u64;
    wait_until("all is there", || server.count("TELE") >= all)?;
    let (tally, doubles) = server.tally("TELE")?;
    ensure!(tally.count() == all && doubles == 0, "{doubles} doubles");
    ensure!(parked(&gateway) == 0.0, "{} parked", parked(&gateway));
    Ok(())
}

/// The stream takes a hundred messages and turns further ones away; later it takes more.
/// Guarantee: meanwhile nothing is parked, and then all is there, in order.
fn a_stream_that_is_full_holds_until_there_is_room() -> Result<()> {
    let (field, server) = (Broker::embedded()?, NatsServer::start("")?);
    server.make("TELE", "devices.>", json!({"max_msgs": 100}))?;
    let gateway = gateway(&field, &server.url(), "", "").start()?;
    let sent = Load::start(field.address(), plan(Some(400), None)).wait()?;
    wait_until("that is told", || condition(&gateway, "refuses-everything"))?;
    let status = told(gateway.folder(), &["status"], 7)?.to_string();
    ensure!(
        status.contains("10077 maximum messages exceeded"),
        "{status}"
    );
    let mut info = server.ask("STREAM.INFO.TELE", &Value::Null)?["config"].take();
    info["max_msgs"] = json!(-1);
    server.ask("STREAM.UPDATE.TELE", &info)?;
    wait_until("all is there", || server.count("TELE") >= 400)?;
    let (tally, _) = server.tally("TELE")?;
    let verdict = sent.against(&tally, |_, _| true);
    ensure!(verdict.is_at_least_once(), "{verdict}");
    ensure!(parked(&gateway) == 0.0, "{} parked", parked(&gateway));
    Ok(())
}

/// The password is wrong, and is put right in its file.
/// Guarantee: nothing is parked, the cause is told, and all is there once the file has the right one; nobody restarts anything.
fn a_wrong_password_holds_and_a_renewed_one_is_used() -> Result<()> {
    let (field, server) = (Broker::embedded()?, NatsServer::start(USERS)?);
    server.make("TELE", "devices.>", Value::Null)?;
    let gateway = gateway_of_user(&field, &server.url(), "guessed")?.launch()?;
    gateway.wait_online()?;
    let sent = Load::start(field.address(), plan(Some(200), None)).wait()?;
    gateway
        .lines()
        .wait_for(&["refuses the login: Authorization Violation", "check `user`"])?;
    let said = told(gateway.folder(), &["check", "--connect"], 7)?.to_string();
    ensure!(said.contains("Authorization Violation"), "{said}");
    ensure!(parked(&gateway) == 0.0 && server.count("TELE") == 0);
    fs::write(gateway.folder().join("password"), "secret\n")?;
    expect_all(&sent, &server)?;
    ensure!(
        !gateway.lines().has(&["guessed"]),
        "the password is in the log"
    );
    Ok(())
}

/// The user may publish for every device but one, and to nothing at all for a while.
/// Guarantee: that device's messages are parked with the server's words, and the others are there; where nothing may be published,
/// nothing is parked.
fn a_subject_that_is_forbidden_costs_its_device_only() -> Result<()> {
    let (field, server) = (Broker::embedded()?, NatsServer::start(USERS)?);
    server.make("TELE", "devices.>", Value::Null)?;
    let gateway = gateway_of_user(&field, &server.url(), "secret")?.start()?;
    gateway.wait_online()?;
    for device in ["d1", "d666", "d2"] {
        field.publish(&format!("devices/{device}/telemetry"), "{\"seq\":0}")?;
    }
    let mut number = 2;
    wait_until("that one is parked", || {
        number += 1;
        let topic = format!("devices/d{number}/telemetry");
        field.publish(&topic, "{\"seq\":0}").is_ok() && parked(&gateway) == 1.0
    })?;
    let all = number;
    wait_until("the others are there", || server.count("TELE") == all)?;
    server.reconfigure("allow: [\">\"]", "allow: [\"nothing\"]")?;
    field.publish("devices/d1/telemetry", "{\"seq\":1}")?;
    wait_until("that is told", || condition(&gateway, "refuses-everything"))?;
    ensure!(parked(&gateway) == 1.0, "{} parked", parked(&gateway));
    server.reconfigure("allow: [\"nothing\"]", "allow: [\">\"]")?;
    wait_until("it is there", || server.count("TELE") > all)?;
    ensure!(parked(&gateway) == 1.0, "{} parked", parked(&gateway));
    Ok(())
}

/// Devices with names that would part a subject or match others.
/// Guarantee: each is one part of its subject, and nothing else is published.
fn nothing_that_a_device_is_called_parts_its_subject() -> Result<()> {
    let (field, server) = (Broker::embedded()?, NatsServer::start("")?);
    server.make("TELE", "tele.*.x", Value::Null)?;
    server.make("ALL", "other.>", Value::Null)?;
    let subject = "subject = \"tele.{device}.x\"";
    let gateway = gateway(&field, &server.url(), subject, "id = \"envelope\"\n").start()?;
    let names = ["a.b", "a b", ">", "d*", "x.y 2", "$JS.API", "ü", "%2E"];
    // `>` is no wildcard to MQTT.
    for name in names {
        field
            .publish(&format!("devices/{name}/telemetry"), "{\"seq\":0}")
            .with_context(|| name.to_owned())?;
    }
    wait_until("all are there", || {
        server.count("TELE") + parked(&gateway) as u64 >= names.len() as u64
    })?;
    let messages = server.messages("TELE")?;
    let subjects: Vec<&str> = messages
        .iter()
        .map(|message| message.subject.as_str())
        .collect();
    ensure!(
        subjects.contains(&"tele.a%2Eb.x")
            && subjects.contains(&"tele.%3E.x")
            && subjects.contains(&"tele.%C3%BC.x"),
        "{subjects:?}"
    );
    ensure!(server.count("ALL") == 0);
    let envelope: Value = serde_json::from_str(&messages[0].payload)?;
    ensure!(
        envelope["id"] == messages[0].header("Nats-Msg-Id"),
        "{envelope}"
    );
    Ok(())
}

/// A server that wants TLS, and knows one user by the key that everybody may know.
/// Guarantee: the certificate is looked at, the user signs in by a seed that is in no log, and all is there.
fn a_user_is_known_by_his_key_over_tls() -> Result<()> {
    const SEED: &str = "SUABBYYVAO33LTBZBHAODBZARH4EGPPGCG4WP72TDGHFHETR7AQN7JIFOM";
    let field = Broker::embedded()?;
    let place = tempfile::tempdir()?;
    let authority = Authority::new(place.path(), "ca")?;
    let own = authority.broker()?;
    let users = "authorization { users: [ { user: admin, password: admin }, { nkey: UC3YYVJYSPUAPT7XS3MVXL2GMHDYCNISNDW3TWPBHI2CU3F7RK5E4EAK } ] }";
    let config = format!(
        "{users}\nallow_non_tls: true\ntls {{ cert_file: {:?}, key_file: {:?} }}",
        own.certificate, own.key
    );
    let server = NatsServer::start(&config)?;
    server.make("TELE", "devices.>", Value::Null)?;
    let url = server.url();
    let place = url.strip_prefix("nats").context("another protocol")?;
    let url = format!("nats+tls{place}");
    let keys = format!(
        "creds = {{ file = \"seed\" }}\ntls = {{ ca = \"{}\" }}\n",
        authority.ca.display()
    );
    let setup = gateway(&field, &url, "", &keys);
    keep_secret(&setup, "seed", SEED)?;
    let gateway = setup.start()?;
    let sent = Load::start(field.address(), plan(Some(200), None)).wait()?;
    expect_all(&sent, &server)?;
    let known = server.with(|client| client.request("$SYS.REQ.USER.INFO", ""))?;
    ensure!(!known.payload.is_empty());
    ensure!(!gateway.lines().has(&[SEED]), "the seed is in the log");
    ensure!(gateway.stop()?.0.success(), "it did not stop well");
    Ok(())
}
