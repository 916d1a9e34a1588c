//! Bodies that nobody wants, and bodies that do not come.

use std::io::Write;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::{Broker, Gateway, Watch, cases, port, wait_until};

use super::{ask, dial, post, reading, web};
use crate::scene::UP;

pub fn cases() -> Vec<Trial> {
    cases![
        what_no_flow_takes_is_told_and_nothing_of_it_is_taken,
        bodies_that_dawdle_take_no_room_from_others,
        clients_who_dawdle_hold_up_nobody_else,
    ]
}

/// Bodies of several messages for topics that no flow takes; one that a flow takes until a reload removes that flow.
/// Guarantee: 404, with what flows take in words; nothing of the body is taken, and nothing is counted as if it had been.
fn what_no_flow_takes_is_told_and_nothing_of_it_is_taken() -> Result<()> {
    let (cloud, port) = (Broker::embedded()?, port::free()?);
    let watch = Watch::start(cloud.address(), UP)?;
    let config = web(port, &cloud.url(), "split = \"ndjson\"\n");
    let other = config
        .clone()
        .rename("flow.all", "other")
        .put("flow.other", "topics = [\"other/{device}\"]");
    let gateway = Gateway::with(config).start()?;
    let body = format!("{}\n{}\n", reading(0), reading(1));
    let path = "/devices/d1/telemetry";
    let (status, ..) = ask(port, &post(path, "", &body))?;
    ensure!(status == 202, "{status}");
    for path in ["/device/d1/telemetry", "/devices/d1/telemetry/", "/$SYS/x"] {
        let (status, _, words) = ask(port, &post(path, "", &body))?;
        ensure!(
            status == 404 && words.contains("flows take `devices/{device}/telemetry`"),
            "{status}: {words}"
        );
    }
    let folder = gateway.folder().to_path_buf();
    let reload = || crate::tools::told(&folder, &["reload"], 0);
    gateway.rewrite_for(&other, reload)??;
    wait_until("the flow is gone", || {
        ask(port, &post(path, "", &body)).is_ok_and(|(status, _, words)| {
            status == 404 && words.contains("flows take `other/{device}`")
        })
    })?;
    wait_until("what was taken has arrived", || watch.count() == 2)?;
    let counted = |name| gateway.metric(name, &[]);
    ensure!(counted("tidegate_source_unrouted_messages_total") == 0.0);
    ensure!(watch.total() == 2, "{} have arrived", watch.total());
    Ok(())
}

/// More bodies than there is room for announce 256 KiB each, and bring a byte.
/// Guarantee: others are taken meanwhile.
fn bodies_that_dawdle_take_no_room_from_others() -> Result<()> {
    let (cloud, port) = (Broker::embedded()?, port::free()?);
    let gateway = Gateway::with(web(port, &cloud.url(), "")).start()?;
    let mut slow = Vec::new();
    for _ in 0..60 {
        let mut stream = dial(port)?;
        let head = "POST /devices/slow/telemetry HTTP/1.1\r\nHost: gateway\r\nContent-Length: 262144\r\n\r\nx";
        stream.write_all(head.as_bytes())?;
        slow.push(stream);
    }
    for seq in 0..20 {
        let (status, _, words) = ask(port, &post("/devices/d1/telemetry", "", &reading(seq)))?;
        ensure!(status == 202, "{status}: {words}");
    }
    let turned_away = gateway.metric("tidegate_source_requests_total", &[("status", "503")]);
    ensure!(turned_away == 0.0, "{turned_away} were turned away");
    Ok(())
}

/// All connections that there are taken by clients who send half a head, others who send a body without an end, and one who
/// leaves before its answer; an MQTT source beside them.
/// Guarantee: the other source goes on meanwhile, and the port is free again once their time is over.
fn clients_who_dawdle_hold_up_nobody_else() -> Result<()> {
    let (field, cloud, port) = (Broker::embedded()?, Broker::embedded()?, port::free()?);
    let watch = Watch::start(cloud.address(), UP)?;
    let config = web(port, &cloud.url(), "max_connections = 8\n")
        .source("mqtt", &field.url())
        .put("flow.all", "from = [\"field\", \"mqtt\"]");
    let _gateway = Gateway::with(config).start()?;
    let mut gone = dial(port)?;
    gone.write_all(
        post(
            "/devices/gone/telemetry",
            "",
            r#"{"device":"gone","seq":0,"temperature":1}"#,
        )
        .as_bytes(),
    )?;
    drop(gone);
    let mut slow = Vec::new();
    for number in 0..20 {
        let mut stream = dial(port)?;
        let head = "POST /devices/d1/telemetry HTTP/1.1\r\nHost: gateway\r\n";
        stream.write_all(head.as_bytes())?;
        if number % 2 == 0 {
            stream.write_all(b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")?;
        }
        slow.push(stream);
    }
    field.publish(
        "devices/d2/telemetry",
        r#"{"device":"d2","seq":0,"temperature":1}"#,
    )?;
    wait_until("the other source goes on", || {
        watch.tally().count_of("d2") == 1
    })?;
    let (status, ..) = ask(port, &post("/devices/d1/telemetry", "", &reading(0)))?;
    ensure!(status == 202, "{status}");
    let mut endless = dial(port)?;
    endless.write_all(b"POST /devices/d1/telemetry HTTP/1.1\r\nHost: gateway\r\nTransfer-Encoding: chunked\r\n\r\n")?;
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(4_096));
    while endless.write_all(chunk.as_bytes()).is_ok() {}
    wait_until("what was posted has arrived", || {
        watch.tally().count_of("d1") == 1
    })?;
    Ok(())
}
