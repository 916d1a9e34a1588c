//! Messages that come in over HTTP: what a 202 promises, and what becomes of clients who behave badly.

mod bodies;
mod sockets;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use rustix::process::Signal;
use tidegate_tests::certificates::Authority;
use tidegate_tests::cut::Cuttable;
use tidegate_tests::process::Process;
use tidegate_tests::tally::{Sent, device_name};
use tidegate_tests::wait::PATIENCE;
use tidegate_tests::{
    Broker, Config, Gateway, Setup, Watch, WebServer, cases, needs, port, rounds, wait_until,
};

use crate::scene::{UP, compare, kill_at_random};

pub fn cases() -> Vec<Trial> {
    let has_python = Command::new("python3").arg("--version").output().is_ok();
    let with_python = |name: &str, run| needs(name, "python3", has_python, run);
    let mut cases = cases![
        a_message_that_is_posted_goes_through_a_plugin_upstream,
        a_request_that_is_no_good_is_told_so,
        a_batch_that_is_not_safe_in_time_tells_which,
        a_stop_answers_what_is_under_way_within_its_grace,
        a_port_that_is_taken_is_told_and_had_once_it_is_free,
    ];
    cases.extend(bodies::cases());
    cases.extend(sockets::cases());
    cases.extend(cases![with_python;
        what_got_its_202_is_there_after_fifty_kills,
        from_request_to_request_nothing_is_lost_over_fifty_kills,
        over_tls_the_certificate_is_the_one_of_the_config,
    ]);
    cases
}

/// A plugin that lets every reading through.
const PLUGIN: &str = "plugin = \"builtin:filter\"\nsettings = { where = [{ field = \"temperature\", op = \">\", value = 0 }] }\n";

fn web(port: u16, cloud: &str, keys: &str) -> Config {
    Config::forwarding()
        .between(&format!("http://127.0.0.1:{port}"), cloud)
        .put("source.field", keys)
        .step("all", PLUGIN)
}

/// What is taken stays in memory for an hour, unless somebody accepts it.
fn unwritten(config: Config) -> Config {
    config.add("spool", "spill_after = \"1h\"\ncommit_every = \"1h\"")
}

fn reading(seq: u64) -> String {
    format!(r#"{{"device":"d1","seq":{seq},"temperature":21.5}}"#)
}

pub(crate) fn post(path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    )
}

fn dial(port: u16) -> Result<TcpStream> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Status, head and body of the answer.
pub(crate) fn answer(mut stream: TcpStream) -> Result<(u16, String, String)> {
    let mut text = Vec::new();
    // It may be reset behind the answer, where a body was not read.
    let read = stream.read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text).into_owned();
    let (head, body) = text
        .split_once("\r\n\r\n")
        .with_context(|| format!("no answer ({read:?}): {text}"))?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((
        status.context("no status")?,
        head.to_ascii_lowercase(),
        body.to_owned(),
    ))
}

pub(crate) fn ask(port: u16, request: &str) -> Result<(u16, String, String)> {
    let mut stream = dial(port)?;
    // It may be answered, and closed, before all of it is written.
    let _ = stream.write_all(request.as_bytes());
    answer(stream)
}

/// POST -> filter -> MQTT upstream, with a key that is sent twice.
/// Guarantee: the path is the topic, chosen headers are properties, `dedup` knows a repeat by its Idempotency-Key.
fn a_message_that_is_posted_goes_through_a_plugin_upstream() -> Result<()> {
    let (cloud, port) = (Broker::embedded()?, port::free()?);
    let watch = Watch::start(cloud.address(), UP)?;
    let config = web(port, &cloud.url(), "").set("flow.all.dedup", "idempotency-key");
    let gateway = Gateway::with(config).start()?;
    for (seq, key) in [(0, "a"), (1, "b"), (1, "b")] {
        let headers = format!("Content-Type: application/json\r\nIdempotency-Key: {key}\r\n");
        let (status, _, body) = ask(
            port,
            &post("/devices/d1/telemetry", &headers, &reading(seq)),
        )?;
        ensure!(status == 202 && body.is_empty(), "{status}: {body}");
    }
    wait_until("both have arrived", || watch.count() == 2)?;
    let first = watch
        .arrivals()
        .first()
        .cloned()
        .context("nothing arrived")?;
    ensure!(
        first.topic == "up/devices/d1/telemetry" && first.payload == reading(0).as_bytes(),
        "{first:?}"
    );
    ensure!(watch.total() == 2, "a repeat went through");
    let repeated = gateway.metric("tidegate_source_repeated_messages_total", &[]);
    let accepted = gateway.metric("tidegate_source_requests_total", &[("status", "202")]);
    ensure!(
        (repeated, accepted) == (1.0, 3.0),
        "{repeated} repeats, {accepted} accepted"
    );
    Ok(())
}

/// Each wrong request once.
/// Guarantee: every one has its status, is counted under it, and leaves the port as it was.
fn a_request_that_is_no_good_is_told_so() -> Result<()> {
    let (cloud, port) = (Broker::embedded()?, port::free()?);
    let watch = Watch::start(cloud.address(), UP)?;
    let keys = "token = { file = \"token\" }\nmax_payload = \"1KiB\"\n";
    let setup = Gateway::with(web(port, &cloud.url(), keys));
    write_secret(&setup)?;
    let gateway = setup.start()?;
    let token = "Authorization: Bearer hunter2\r\n";
    let path = "/devices/d1/telemetry";
    let good = post(path, token, &reading(0));
    let long = "x".repeat(2_000);
    let many = (0..10_000)
        .map(|number| format!("X-{number}: y\r\n"))
        .collect::<String>();
    let wrong = [
        (401, post(path, "", &reading(0))),
        (
            401,
            post(path, "Authorization: Bearer hunter3\r\n", &reading(0)),
        ),
        (405, good.replacen("POST", "GET", 1)),
        (405, good.replacen("POST", "DELETE", 1)),
        (400, post("/devices/../../etc/passwd", token, "x")),
        (400, post("/devices/%2e%2e/telemetry", token, "x")),
        (400, post("/devices/%23", token, "x")),
        (400, post("/", token, "x")),
        (413, post(path, token, &long)),
        (
            413,
            post(
                path,
                &format!("{token}Transfer-Encoding: chunked\r\n"),
                &format!("7d0\r\n{long}\r\n0\r\n\r\n"),
            )
            .replacen("Content-Length: 2012\r\n", "", 1),
        ),
        (414, post(&format!("/{long}"), token, "x")),
        (
            415,
            post(path, &format!("{token}Content-Encoding: gzip\r\n"), "x"),
        ),
        (431, post(path, &format!("{token}{many}"), "x")),
        (404, post("/Devices/d1/telemetry", token, &reading(0))),
        (404, post("/devices/a%2Fb/telemetry", token, &reading(0))),
        (
            501,
            post(
                path,
                &format!("{token}Transfer-Encoding: gzip, chunked\r\n"),
                "1\r\nx\r\n0\r\n\r\n",
            )
            .replacen("Content-Length: 11\r\n", "", 1),
        ),
        (400, "no HTTP at all\r\n\r\n".to_owned()),
    ];
    for (expected, request) in &wrong {
        let begin: String = request.chars().take(60).collect();
        let (status, ..) = ask(port, request).with_context(|| begin.clone())?;
        ensure!(
            status == *expected,
            "{status} instead of {expected}: {begin}"
        );
    }
    let (_, head, _) = ask(port, &wrong[0].1)?;
    ensure!(head.contains("www-authenticate: bearer"), "{head}");
    let (_, head, _) = ask(port, &wrong[2].1)?;
    ensure!(head.contains("allow: post, put"), "{head}");
    ensure!(ask(port, &good)?.0 == 202, "a good one is refused");
    wait_until("the good one has arrived", || watch.count() == 1)?;
    ensure!(watch.total() == 1, "a wrong one came through");
    let counted = |status| gateway.metric("tidegate_source_requests_total", &[("status", status)]);
    ensure!(
        counted("401") == 3.0 && counted("405") == 3.0 && counted("413") == 2.0,
        "{:?}",
        gateway.get("/metrics")
    );
    Ok(())
}

fn write_secret(setup: &Setup) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let path = setup.folder().join("token");
    std::fs::write(&path, "hunter2\n")?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(())
}

/// Two requests of which one holds a message that the spool takes for a class that nobody drains in time.
/// Guarantee: 503 comes when the time is over, with Retry-After, and says which messages are not safe.
fn a_batch_that_is_not_safe_in_time_tells_which() -> Result<()> {
    let (cloud, port) = (Broker::embedded()?, port::free()?);
    let link = Cuttable::to(cloud.address())?;
    let watch = Watch::start(cloud.address(), UP)?;
    let keys = "split = \"ndjson\"\nsettle_within = \"1s\"\n";
    let _gateway = Gateway::with(unwritten(web(port, &link.url(), keys))).start()?;
    let batch = format!("{}\n{}\n", reading(0), reading(1));
    let (status, ..) = ask(port, &post("/devices/d1/telemetry", "", &batch))?;
    ensure!(status == 202, "{status}");
    link.go_dark();
    // The second message is not routed to anywhere, and settled at once.
    let batch = format!("{}\n{}\n", reading(2), reading(3).replace("21.5", "-1"));
    let (status, head, body) = ask(port, &post("/devices/d1/telemetry", "", &batch))?;
    ensure!(
        status == 503 && head.contains("retry-after: 5"),
        "{status} {head}"
    );
    ensure!(body == r#"{"messages":2,"unsettled":[0]}"#, "{body}");
    let (status, _, body) = ask(
        port,
        &post("/devices/d1/telemetry", "", "{\"a\":1}\nno json\n"),
    )?;
    ensure!(status == 400 && body.contains("line 2"), "{status}: {body}");
    link.back();
    wait_until("what was taken arrives all the same", || {
        watch.tally().count_of("d1") == 3
    })?;
    Ok(())
}

/// SIGTERM while a request waits for an upstream that is away, and half a request is on another connection.
/// Guarantee: what is under way is written, and answered, before the end; the half one holds up nothing.
fn a_stop_answers_what_is_under_way_within_its_grace() -> Result<()> {
    let (cloud, port) = (Broker::embedded()?, port::free()?);
    let link = Cuttable::to(cloud.address())?;
    let gateway = Gateway::with(unwritten(web(port, &link.url(), ""))).start()?;
    link.go_dark();
    let mut waiting = dial(port)?;
    waiting.write_all(post("/devices/d1/telemetry", "", &reading(0)).as_bytes())?;
    let mut half = dial(port)?;
    half.write_all(
        b"POST /devices/d1/telemetry HTTP/1.1\r\nHost: gateway\r\nContent-Length: 10\r\n\r\nx",
    )?;
    wait_until("the request is under way", || {
        gateway.metric("tidegate_source_unsettled_messages", &[]) == 1.0
    })?;
    gateway.terminate()?;
    let (status, ..) = answer(waiting)?;
    ensure!(status == 202, "{status}");
    let (ended, _) = gateway.end()?;
    ensure!(ended.success(), "the gateway ended with {ended}");
    drop(half);
    Ok(())
}

/// Another program has the port at the start, and lets go of it.
/// Guarantee: `tidegate health` and the log say so, the other parts run, and the port is had without a restart.
fn a_port_that_is_taken_is_told_and_had_once_it_is_free() -> Result<()> {
    let cloud = Broker::embedded()?;
    let taken = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = taken.local_addr()?.port();
    let gateway = Gateway::with(web(port, &cloud.url(), "")).launch()?;
    wait_until("health says who has it", || {
        let told = gateway.health();
        told.is_ok_and(|(_, text)| text.contains("another program has the port"))
    })?;
    ensure!(
        gateway
            .lines()
            .has(&["cannot listen on", "another program has the port"]),
        "the log does not say it"
    );
    drop(taken);
    gateway.wait_online()?;
    let (status, ..) = ask(port, &post("/devices/d1/telemetry", "", &reading(0)))?;
    ensure!(status == 202, "{status}");
    Ok(())
}

fn poster(url: &str, devices: usize, ca: Option<&std::path::Path>) -> Result<Process> {
    let mut command = Command::new("python3");
    command
        .args(["-c", include_str!("http_in.py"), url])
        .arg(devices.to_string());
    Process::start("the poster", command.args(ca))
}

/// What the poster got a 202 for.
fn accepted(mut poster: Process, devices: usize) -> Result<Sent> {
    poster.signal(Signal::TERM)?;
    poster.wait()?;
    let count = |device: usize| {
        let name = device_name(device);
        let line = poster.lines().find(|line| {
            let rest = line.strip_prefix("accepted ")?.strip_prefix(&*name)?;
            rest.trim().parse::<usize>().ok()
        });
        line.with_context(|| format!("the poster says nothing of {name}"))
    };
    let counts = (0..devices).map(count).collect::<Result<Vec<_>>>()?;
    Ok(Sent::first_of_each(&counts))
}

/// Killed at random moments while an independent client posts, with upstream there and away in turns.
/// Guarantee: every message that got its 202 arrives, first occurrences in order per device.
fn what_got_its_202_is_there_after_fifty_kills() -> Result<()> {
    const DEVICES: usize = 4;
    let (cloud, port) = (Broker::embedded()?, port::free()?);
    let link = Cuttable::to(cloud.address())?;
    let watch = Watch::start(cloud.address(), UP)?;
    let setup = Gateway::with(web(port, &link.url(), ""));
    let poster = poster(&format!("http://127.0.0.1:{port}"), DEVICES, None)?;
    let kills = rounds(50, 200);
    let gateway = kill_at_random(setup, Some(&link), kills, 800)?.start()?;
    let sent = accepted(poster, DEVICES)?;
    let verdict = compare(&sent, watch)?;
    ensure!(verdict.is_at_least_once(), "after {kills} kills: {verdict}");
    ensure!(sent.count() > kills, "only {} were accepted", sent.count());
    drop(gateway);
    eprintln!("{kills} kills: {verdict}");
    Ok(())
}

/// The same with a server upstream that nobody of the gateway wrote, which gets batches.
/// Guarantee: between two sides that speak HTTP the promise is the same.
fn from_request_to_request_nothing_is_lost_over_fifty_kills() -> Result<()> {
    const DEVICES: usize = 4;
    let (server, port) = (WebServer::start()?, port::free()?);
    let config = web(port, &server.url(), "")
        .put("uplink.cloud", "pack = \"json-array\"\nid = \"envelope\"");
    let setup = Gateway::with(config);
    let poster = poster(&format!("http://127.0.0.1:{port}"), DEVICES, None)?;
    let kills = rounds(50, 200);
    let _gateway = kill_at_random(setup, None, kills, 600)?.start()?;
    let sent = accepted(poster, DEVICES)?;
    // A time-out here is not the finding: the comparison says how much is missing.
    let _ = wait_until("all has arrived", || {
        server.tally().count() >= sent.count() as u64
    });
    let verdict = sent.against(&server.tally(), |_, _| true);
    ensure!(verdict.is_at_least_once(), "after {kills} kills: {verdict}");
    ensure!(sent.count() > kills, "only {} were accepted", sent.count());
    eprintln!("{kills} kills: {verdict}");
    Ok(())
}

/// A client that trusts one CA only.
/// Guarantee: https is what the config says, and plain HTTP at that port gets nowhere.
fn over_tls_the_certificate_is_the_one_of_the_config() -> Result<()> {
    let (cloud, port) = (Broker::embedded()?, port::free()?);
    let watch = Watch::start(cloud.address(), UP)?;
    let folder = tempfile::tempdir()?;
    let authority = Authority::new(folder.path(), "field")?;
    let identity = authority.broker()?;
    let keys = format!(
        "tls = {{ cert = {:?}, key = {:?} }}\n",
        identity.certificate, identity.key
    );
    let config = web(port, &cloud.url(), &keys)
        .change("source.field.url", format!("https://127.0.0.1:{port}"));
    let _gateway = Gateway::with(config).start()?;
    let poster = poster(&format!("https://127.0.0.1:{port}"), 1, Some(&authority.ca))?;
    wait_until("readings arrive", || watch.count() > 3)?;
    let sent = accepted(poster, 1)?;
    let verdict = compare(&sent, watch)?;
    ensure!(verdict.is_at_least_once(), "{verdict}");
    ensure!(
        ask(port, &post("/devices/d1/telemetry", "", "x")).is_err(),
        "plain HTTP is answered"
    );
    Ok(())
}
