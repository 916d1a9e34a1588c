//! `tidegate check --connect`: what it finds, and that it leaves nothing behind.

use std::fs;
use std::net::TcpListener;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::Value;
use tidegate_tests::fake::{FakeBroker, Step, packet};
use tidegate_tests::web::WebServer;
use tidegate_tests::{Broker, Config, Gateway, cases, port, wait_until};

use crate::tools::{json, told};

pub fn cases() -> Vec<Trial> {
    cases![
        ends_that_work_are_told_and_a_gateway_that_runs_is_not_disturbed,
        ends_that_do_not_work_are_told_with_the_cause,
    ]
}

fn end<'a>(document: &'a Value, name: &str) -> Result<&'a Value> {
    let ends = document["ends"].as_array().context("no ends")?;
    ends.iter()
        .find(|end| end["end"] == name)
        .with_context(|| format!("{name} is not in {document}"))
}

/// A gateway runs between brokers, a port of its own, a server and a folder, and its config is tried meanwhile. Then with another port,
/// which somebody else has.
/// Guarantee: each end is told to work, the port as its own, nobody is sent anything, and no connection of the gateway ends for it.
/// A port that is somebody else's is told as that.
fn ends_that_work_are_told_and_a_gateway_that_runs_is_not_disturbed() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let server = WebServer::start()?;
    let posted = format!("http://127.0.0.1:{}", port::free()?);
    let setup = Gateway::within(|folder| {
        let disk = format!("file://{}", folder.join("history").display());
        Config::forwarding()
            .between(&field.url(), &cloud.url())
            .source("posted", &posted)
            .uplink("server", &server.url())
            .set("uplink.server.pack", "ndjson")
            .uplink("disk", &disk)
            .put(
                "flow.all",
                "to = [\"cloud:telemetry\", \"server:telemetry\", \"disk:telemetry\"]",
            )
    });
    let folder = setup.folder().join("history");
    fs::create_dir(&folder)?;
    let gateway = setup.start()?;
    wait_until("all are in use", || {
        gateway.metric("tidegate_uplink_up", &[]) == 3.0
            && gateway.metric("tidegate_source_up", &[]) == 2.0
    })?;
    let document = json(gateway.folder(), &["check", "--connect"], 0)?;
    for (name, words) in [
        ("source.field", "1 of 1 topics granted"),
        (
            "source.posted",
            "the gateway that runs on this config has it in use",
        ),
        ("uplink.cloud", "MQTT 5"),
        ("uplink.server", "a connection stands, without TLS"),
        ("uplink.disk", "takes files"),
    ] {
        let end = end(&document, name)?;
        ensure!(
            end["is_good"] == true && end["words"].to_string().contains(words),
            "{end}"
        );
    }
    let (_, text) = told(gateway.folder(), &["check", "--connect"], 0)?;
    ensure!(
        text.contains("uplink.cloud (") && text.contains(") works: "),
        "{text}"
    );
    ensure!(server.requests().is_empty(), "something was sent");
    ensure!(
        fs::read_dir(&folder)?.next().is_none(),
        "something stayed in the folder"
    );
    for gone in [
        "tidegate_uplink_reconnects_total",
        "tidegate_source_reconnects_total",
    ] {
        ensure!(gateway.metric(gone, &[]) == 0.0, "{gone}");
    }
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let url = format!(
        "source.posted.url=\"http://127.0.0.1:{}\"",
        taken.local_addr()?.port()
    );
    let document = json(gateway.folder(), &["check", "--connect", "--set", &url], 7)?;
    let posted = end(&document, "source.posted")?;
    ensure!(
        posted["is_good"] == false && posted["words"].to_string().contains("cannot be had"),
        "{posted}"
    );
    Ok(())
}

/// A broker that refuses the login, one that nobody listens for, one that never speaks, and a folder that is not there.
/// Guarantee: each is told with its cause within its deadlines, and the exit code says that something does not work.
fn ends_that_do_not_work_are_told_with_the_cause() -> Result<()> {
    let field = FakeBroker::start(vec![Step::Await(1), Step::Send(packet::connack(0x86, &[]))])?;
    let (free, mute) = (
        TcpListener::bind("127.0.0.1:0")?,
        TcpListener::bind("127.0.0.1:0")?,
    );
    let nobody = format!("mqtt://{}", free.local_addr()?);
    drop(free);
    let config = Config::forwarding()
        .between(&field.url(), &nobody)
        .uplink("mute", &format!("mqtt://{}", mute.local_addr()?))
        .put("uplink.mute", "deadlines = { handshake = \"300ms\" }")
        .uplink("disk", "file:///nobody/made/this")
        .put(
            "flow.all",
            "to = [\"cloud:telemetry\", \"mute:telemetry\", \"disk:telemetry\"]",
        );
    let setup = Gateway::with(config);
    let document = json(setup.folder(), &["check", "--connect"], 7)?;
    for (name, words) in [
        ("source.field", "user"),
        ("uplink.cloud", "refused"),
        ("uplink.mute", "300ms"),
        ("uplink.disk", "mount the disk"),
    ] {
        let end = end(&document, name)?;
        ensure!(
            end["is_good"] == false && end["words"].to_string().contains(words),
            "{end}"
        );
    }
    let (_, text) = told(setup.folder(), &["check", "--connect"], 7)?;
    ensure!(text.contains(") does not work: "), "{text}");
    Ok(())
}
