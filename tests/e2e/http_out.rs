//! An uplink that is a server: requests in place of publishes, behind the same promise.

mod odd;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::certificates::Authority;
use tidegate_tests::tally::{Sent, Verdict};
use tidegate_tests::{Broker, Config, Gateway, Load, Plan, WebServer, cases, wait_until};

use crate::scene::{send_all, unnamed};
use crate::tools::json;

pub fn cases() -> Vec<Trial> {
    let mut cases = cases![
        everything_arrives_in_batches_and_in_order,
        a_bad_reading_in_a_batch_is_parked_alone_with_the_words_of_the_server,
        where_everything_is_refused_nothing_is_parked,
        where_rights_are_missing_nothing_is_parked_and_all_goes_on_once_they_are_there,
        a_server_that_asks_for_a_pause_gets_it_and_then_everything,
        a_server_that_is_killed_or_frozen_and_comes_back_has_everything_in_order,
        a_reading_that_kills_the_request_is_parked_and_the_rest_goes_on,
        a_gateway_that_is_killed_again_and_again_loses_nothing,
        tls_with_a_ca_of_ones_own,
        a_server_that_closes_after_each_answer_is_no_failure,
        a_broker_stands_in_for_a_server_that_takes_nothing,
    ];
    cases.extend(odd::cases());
    cases
}

const KEYS: &str = "pack = \"json-array\"\nid = \"envelope\"\n";

/// A broker with devices, a server upstream, and the gateway between them.
struct Scene {
    field: Broker,
    server: WebServer,
    gateway: Gateway,
}

impl Scene {
    fn with(server: WebServer, keys: &str) -> Result<Self> {
        let field = Broker::embedded()?;
        let gateway = Gateway::with(config(&field, &server, keys)).start()?;
        Ok(Self {
            field,
            server,
            gateway,
        })
    }

    fn send(&self, total: usize) -> Result<Sent> {
        send_all(&self.field, total)
    }

    /// Publishes a reading by hand.
    fn reading(&self, device: &str, seq: u64) -> Result<()> {
        let payload = format!("{{\"device\":\"{device}\",\"seq\":{seq}}}");
        self.field
            .publish(&format!("devices/{device}/telemetry"), &payload)
    }

    fn letters(&self) -> Result<Vec<serde_json::Value>> {
        // They are counted when they are refused, and listed once they are on disk.
        wait_until("the letters are on disk", || {
            self.gateway.metric("tidegate_dead_letters_kept", &[]) >= self.parked()
        })?;
        let letters = json(self.gateway.folder(), &["parked", "list"], 0)?;
        let list = letters.as_array().or_else(|| letters["letters"].as_array());
        Ok(list.cloned().unwrap_or_default())
    }

    fn parked(&self) -> f64 {
        self.gateway
            .metric("tidegate_messages_refused_total", &[("uplink", "cloud")])
    }
}

/// One flow of all readings to a server.
fn config(field: &Broker, server: &WebServer, keys: &str) -> Config {
    unnamed()
        .between(&field.url(), &server.url())
        .put("uplink.cloud", keys)
}

/// Waits until as many have arrived as were acknowledged; what never comes shows as lost.
fn compare(sent: &Sent, server: &WebServer) -> Verdict {
    let all = sent.count() as u64;
    // A time-out here is not the finding: the comparison says how much is missing.
    let _ = wait_until("all has arrived", || server.tally().count() >= all);
    sent.against(&server.tally(), |_, _| true)
}

fn expect_at_least_once(sent: &Sent, server: &WebServer) -> Result<()> {
    let verdict = compare(sent, server);
    ensure!(verdict.is_at_least_once(), "{verdict}");
    Ok(())
}

/// A load through two connections with headers and a token.
/// Guarantee: all arrives once, in order per device, in few requests, each with its key; ids have no gap; the token is no
/// text of the log.
fn everything_arrives_in_batches_and_in_order() -> Result<()> {
    let token =
        "headers = { X-Site = \"barn-7\" }\ntoken = { env = \"CLOUD_TOKEN\" }\nconnections = 2\n";
    let (field, server) = (Broker::embedded()?, WebServer::start()?);
    let setup = Gateway::with(config(&field, &server, &format!("{KEYS}{token}")))
        .env("CLOUD_TOKEN", "open-sesame");
    let scene = Scene {
        field,
        server,
        gateway: setup.start()?,
    };
    let sent = scene.send(5_000)?;
    let verdict = compare(&sent, &scene.server);
    ensure!(
        verdict.is_at_least_once() && verdict.doubled == 0,
        "{verdict}"
    );
    let requests = scene.server.requests();
    let is_whole = |line: &String| {
        line.starts_with("POST /in 200 ")
            && line.contains("Authorization=Bearer open-sesame")
            && line.contains("X-Site=barn-7")
            && line.contains("Idempotency-Key=")
            && line.contains("Content-Type=application/json")
    };
    ensure!(requests.iter().all(is_whole), "{:?}", requests.first());
    ensure!(requests.len() < 2_500, "{} requests", requests.len());
    let mut numbers: Vec<u64> = scene
        .server
        .ids()
        .iter()
        .filter_map(|id| id.rsplit('/').next()?.parse().ok())
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    let gaps = numbers
        .windows(2)
        .filter(|pair| pair[1] != pair[0] + 1)
        .count();
    ensure!(
        numbers.len() == 5_000 && gaps == 0,
        "{gaps} gaps in {} ids",
        numbers.len()
    );
    ensure!(
        !scene.gateway.lines().has(&["open-sesame"]),
        "the token is in the log"
    );
    ensure!(
        scene.gateway.stop()?.0.success(),
        "the gateway did not stop well"
    );
    Ok(())
}

/// One reading among many is answered with 400.
/// Guarantee: it alone becomes a dead letter, with the status and the server's words, cleaned; all others arrive in order.
fn a_bad_reading_in_a_batch_is_parked_alone_with_the_words_of_the_server() -> Result<()> {
    let server = WebServer::start()?;
    server.rule(r#"{"bad": "\"seq\":777", "words": "seq 777 is\u001b[31m not a reading"}"#)?;
    // All of it is owed before the first request, so that batches are full.
    server.freeze()?;
    let scene = Scene::with(server, KEYS)?;
    let sent = Load::start(
        scene.field.address(),
        Plan {
            total: Some(900),
            devices: 1,
            rate: None,
            ..Plan::default()
        },
    )
    .wait()?;
    scene.server.thaw()?;
    wait_until("all others have arrived", || {
        scene.server.tally().count() == 899
    })?;
    wait_until("the bad one is parked", || scene.parked() == 1.0)?;
    let verdict = sent.against(&scene.server.tally(), |_, number| number != 777);
    ensure!(verdict.is_at_least_once(), "{verdict}");
    let letters = scene.letters()?;
    let told = serde_json::to_string(&letters)?;
    ensure!(letters.len() == 1, "{told}");
    ensure!(
        told.contains("400 Bad Request: seq 777 is") && !told.contains("\\u001b"),
        "{told}"
    );
    ensure!(
        scene.server.requests().len() < 100,
        "{:?}",
        scene.server.requests().len()
    );
    Ok(())
}

/// 400 for all; later the server is mended.
/// Guarantee: nothing is parked, few requests are made, and all arrives in order once the server takes it.
fn where_everything_is_refused_nothing_is_parked() -> Result<()> {
    let server = WebServer::start()?;
    server.rule(r#"{"status": 400, "words": "no such table"}"#)?;
    let scene = Scene::with(server, KEYS)?;
    let sent = scene.send(1_000)?;
    scene.gateway.lines().wait_for(&[
        "upstream refuses everything",
        "400 Bad Request: no such table",
    ])?;
    // Not until each device's first message was refused three times: then the next one of its device may be tried before it.
    wait_until("it goes on to be tried", || scene.server.answered(400) > 40)?;
    ensure!(
        scene.parked() == 0.0 && scene.letters()?.is_empty(),
        "letters were written"
    );
    ensure!(
        scene.server.answered(400) < 500,
        "{} requests",
        scene.server.answered(400)
    );
    scene.server.rule("{}")?;
    expect_at_least_once(&sent, &scene.server)?;
    ensure!(scene.parked() == 0.0, "letters were written");
    Ok(())
}

/// 401 for all; later the right is there.
/// Guarantee: nothing is parked, `tidegate health` and the alarm say why; it goes on by itself, whole and in order.
fn where_rights_are_missing_nothing_is_parked_and_all_goes_on_once_they_are_there() -> Result<()> {
    let server = WebServer::start()?;
    server.rule(r#"{"status": 401, "words": "who are you?"}"#)?;
    let scene = Scene::with(server, KEYS)?;
    let sent = scene.send(300)?;
    wait_until("it was tried more than once", || {
        scene.server.answered(401) > 2
    })?;
    wait_until("the reason is told", || {
        scene
            .gateway
            .health()
            .is_ok_and(|(_, body)| body.contains("401 Unauthorized: who are you?"))
    })?;
    let alarm = || {
        scene
            .gateway
            .metric("tidegate_uplink_alarm", &[("uplink", "cloud")])
    };
    wait_until("the alarm is on", || alarm() > 0.0)?;
    ensure!(
        scene.parked() == 0.0 && scene.letters()?.is_empty(),
        "letters were written"
    );
    ensure!(scene.server.tally().count() == 0, "something was taken");
    scene.server.rule("{}")?;
    expect_at_least_once(&sent, &scene.server)?;
    wait_until("the alarm is off", || alarm() == 0.0)?;
    ensure!(scene.parked() == 0.0, "letters were written");
    Ok(())
}

/// 503 with `Retry-After`, and 429 without.
/// Guarantee: nothing is parked, the pause is kept, and everything arrives.
fn a_server_that_asks_for_a_pause_gets_it_and_then_everything() -> Result<()> {
    let server = WebServer::start()?;
    server.rule(r#"{"status": 503, "words": "maintenance", "headers": {"Retry-After": "2"}}"#)?;
    let scene = Scene::with(server, KEYS)?;
    let sent = scene.send(300)?;
    wait_until("the server was asked", || scene.server.answered(503) > 0)?;
    wait_until("the reason is told", || {
        scene
            .gateway
            .health()
            .is_ok_and(|(_, body)| body.contains("503 Service Unavailable: maintenance"))
    })?;
    let (asked, begun) = (scene.server.answered(503), std::time::Instant::now());
    wait_until("it was asked again", || {
        scene.server.answered(503) >= asked + 2
    })?;
    // Back-offs of this config are 400 ms at most.
    ensure!(
        begun.elapsed() >= Duration::from_secs(2),
        "the pause was not kept"
    );
    scene.server.rule(r#"{"status": 429, "times": 3}"#)?;
    expect_at_least_once(&sent, &scene.server)?;
    ensure!(scene.parked() == 0.0, "letters were written");
    Ok(())
}

/// The server is killed under load and comes back, twice, and stands still for longer than an answer may take.
/// Guarantee: nothing is lost or parked, first occurrences are in order.
fn a_server_that_is_killed_or_frozen_and_comes_back_has_everything_in_order() -> Result<()> {
    let keys = format!("{KEYS}deadlines = {{ answer = \"1s\" }}\n");
    let mut scene = Scene::with(WebServer::start()?, &keys)?;
    let load = Load::start(scene.field.address(), Plan::default());
    for round in 1..=2 {
        let seen = scene.server.tally().count();
        wait_until("readings arrive", || {
            scene.server.tally().count() > seen + 200
        })?;
        scene.server.kill()?;
        let failures = || scene.gateway.metric("tidegate_uplink_failures_total", &[]);
        let before = failures();
        wait_until("its end is seen", || failures() > before)?;
        scene
            .server
            .back()
            .with_context(|| format!("round {round}"))?;
    }
    let seen = scene.server.tally().count();
    wait_until("readings arrive", || {
        scene.server.tally().count() > seen + 200
    })?;
    scene.server.freeze()?;
    scene.gateway.lines().wait_for(&["did not answer within"])?;
    scene.server.thaw()?;
    let sent = load.stop()?;
    expect_at_least_once(&sent, &scene.server)?;
    ensure!(
        scene.parked() == 0.0 && scene.letters()?.is_empty(),
        "letters were written"
    );
    Ok(())
}

/// A reading over which the server hangs up each time.
/// Guarantee: it is found and parked, and all others arrive.
fn a_reading_that_kills_the_request_is_parked_and_the_rest_goes_on() -> Result<()> {
    let server = WebServer::start()?;
    server.rule(r#"{"crash": "\"device\":\"poison\""}"#)?;
    let scene = Scene::with(server, KEYS)?;
    let first = scene.send(200)?;
    scene.reading("poison", 1)?;
    let load = Load::start(
        scene.field.address(),
        Plan {
            topic: ("devices/later-", "/telemetry"),
            ..Plan::default()
        },
    );
    wait_until("it is parked", || scene.parked() == 1.0)?;
    let later = load.stop()?;
    let verdict = compare(&first, &scene.server);
    ensure!(verdict.lost == 0 && verdict.sent > 0, "{verdict}");
    let letters = scene.letters()?;
    let told = serde_json::to_string(&letters)?;
    ensure!(letters.len() == 1 && told.contains("poison"), "{told}");
    ensure!(later.count() > 0, "nothing was sent meanwhile");
    Ok(())
}

/// `kill -9` of the gateway under load, again and again.
/// Guarantee: what the field broker acknowledged arrives, in order per device.
fn a_gateway_that_is_killed_again_and_again_loses_nothing() -> Result<()> {
    let (field, server) = (Broker::embedded()?, WebServer::start()?);
    let mut setup = Gateway::with(config(&field, &server, KEYS))
        .start()?
        .kill()?;
    let load = Load::start(field.address(), Plan::default());
    for _ in 0..5 {
        let gateway = setup.launch()?;
        let seen = server.tally().count();
        wait_until("readings arrive", || server.tally().count() > seen)?;
        std::thread::park_timeout(Duration::from_millis(fastrand::u64(0..300)));
        setup = gateway.kill()?;
    }
    let sent = load.stop()?;
    let _gateway = setup.start()?;
    expect_at_least_once(&sent, &server)
}

/// TLS, first without the server's authority.
/// Guarantee: nothing goes to a server whose certificate is not trusted, in words; with its `ca` all arrives.
fn tls_with_a_ca_of_ones_own() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let authority = Authority::new(folder.path(), "authority")?;
    let other = Authority::new(folder.path(), "other")?;
    let server = WebServer::start_tls(&authority.broker()?)?;
    let keys = |ca: &std::path::Path| format!("{KEYS}tls = {{ ca = \"{}\" }}\n", ca.display());
    let field = Broker::embedded()?;
    let gateway = Gateway::with(config(&field, &server, &keys(&other.ca))).start()?;
    gateway.lines().wait_for(&["TLS with `127.0.0.1` failed"])?;
    ensure!(server.requests().is_empty(), "it was spoken to");
    let setup = gateway.kill()?;
    setup.rewrite(config(&field, &server, &keys(&authority.ca)))?;
    let scene = Scene {
        gateway: setup.start()?,
        field,
        server,
    };
    let sent = scene.send(500)?;
    expect_at_least_once(&sent, &scene.server)
}

/// A server of HTTP/1.0, one request a connection, that gets lines.
/// Guarantee: all arrives, and the uplink counts as up all the time.
fn a_server_that_closes_after_each_answer_is_no_failure() -> Result<()> {
    let scene = Scene::with(
        WebServer::start_old()?,
        "pack = \"ndjson\"\nmethod = \"PUT\"\n",
    )?;
    let sent = scene.send(2_000)?;
    let verdict = compare(&sent, &scene.server);
    ensure!(
        verdict.is_at_least_once() && verdict.doubled == 0,
        "{verdict}"
    );
    let requests = scene.server.requests();
    ensure!(
        requests.len() > 1 && requests.iter().all(|line| line.starts_with("PUT /in 200 ")),
        "{requests:?}"
    );
    let failures = scene.gateway.metric("tidegate_uplink_failures_total", &[]);
    ensure!(failures == 0.0, "{failures} failures");
    Ok(())
}

/// A server that answers 503 for a while, with a broker as its fallback.
/// Guarantee: the broker has what is owed meanwhile; the server is used again when it takes messages, and nothing is lost.
fn a_broker_stands_in_for_a_server_that_takes_nothing() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let watch = tidegate_tests::Watch::start(cloud.address(), "devices/#")?;
    let server = WebServer::start()?;
    server.rule(r#"{"status": 503}"#)?;
    let keys = format!("{KEYS}fallback = \"backup\"\n");
    let config = config(&field, &server, &keys).uplink("backup", &cloud.url());
    let gateway = Gateway::with(config).start()?;
    let scene = Scene {
        field,
        server,
        gateway,
    };
    let first = scene.send(500)?;
    wait_until("the stand-in has it all", || {
        watch.count() >= first.count() as u64
    })?;
    ensure!(
        scene.server.tally().count() == 0,
        "the server took something"
    );
    scene.server.rule("{}")?;
    scene
        .gateway
        .lines()
        .wait_for(&["the fallback has given back"])?;
    let mark = watch.count();
    scene.reading("late", 1)?;
    wait_until("the server has it again", || {
        scene.server.tally().count_of("late") == 1
    })?;
    ensure!(watch.count() == mark, "the stand-in went on");
    Ok(())
}
