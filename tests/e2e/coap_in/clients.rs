//! Clients that others wrote: what each is answered, and what a 2.04 promised it over kills.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use rustix::process::Signal;
use tidegate_tests::cut::Cuttable;
use tidegate_tests::process::Process;
use tidegate_tests::tally::{Sent, device_name};
use tidegate_tests::{
    Broker, Gateway, Watch, cases, needs, port, rounds, wait_until, where_possible,
};

use super::{answered, motes, reading_of};
use crate::scene::{UP, compare, kill_at_random};

pub fn cases() -> Vec<Trial> {
    let with_client = |name: &str, run| needs(name, "aiocoap", python().is_some(), run);
    let with_other = |name: &str, run| where_possible(name, "libcoap", || libcoap().is_some(), run);
    let mut cases = cases![with_client;
        a_client_of_others_is_answered_alone_unconfirmed_and_in_blocks,
        what_got_its_2_04_is_there_after_fifty_kills,
    ];
    cases.extend(cases![with_other; another_client_of_others_gets_through_with_blocks_and_losses]);
    cases
}

/// Where `tests/brokers/install` brings things to.
fn installed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/brokers")
}

/// The interpreter that it has brought aiocoap to.
fn python() -> Option<PathBuf> {
    let folder = installed().join("python");
    let packages = std::fs::read_dir(folder.join("lib")).ok()?;
    let has = packages
        .flatten()
        .any(|version| version.path().join("site-packages/aiocoap").exists());
    has.then(|| folder.join("bin/python"))
}

/// The client of libcoap; its library lies beside it.
fn libcoap() -> Option<PathBuf> {
    Some(installed().join("coap-client-notls")).filter(|path| path.exists())
}

fn client(port: u16, what: &str) -> Result<Process> {
    let mut command = Command::new(python().context("no aiocoap")?);
    command
        .args(["-u", "-c", include_str!("clients.py")])
        .args([&port.to_string(), what]);
    Process::start("the client", &mut command)
}

/// aiocoap posts one reading that is to be acknowledged, one that is not, and one of 20 KB in blocks; and what cannot be taken.
/// Guarantee: each arrives whole, once, and each has its code.
fn a_client_of_others_is_answered_alone_unconfirmed_and_in_blocks() -> Result<()> {
    let (cloud, port) = (Broker::embedded()?, port::free()?);
    let watch = Watch::start(cloud.address(), UP)?;
    let gateway = Gateway::with(motes(port, &cloud.url(), "")).start()?;
    let mut client = client(port, "each")?;
    let status = client.wait()?;
    ensure!(status.success(), "{:?}", client.lines().all());
    let expected = [
        "confirmable 2.04",
        "unconfirmed 2.04",
        "blocks 2.04",
        "nowhere 4.04",
        "fetched 4.05",
        "endless 4.13",
    ];
    for line in expected {
        ensure!(
            client.lines().has(&[line]),
            "{line}: {:?}",
            client.lines().all()
        );
    }
    wait_until("all three have arrived", || watch.count() == 3)?;
    let arrivals = watch.arrivals();
    let whole = arrivals
        .iter()
        .find(|arrival| arrival.topic == "up/devices/d2/telemetry");
    let whole = whole.context("what came in blocks is not there")?.json()?;
    ensure!(
        whole["padding"].as_str().map(str::len) == Some(20_000),
        "it is not whole"
    );
    ensure!(watch.total() == 3, "{} arrived", watch.total());
    ensure!(answered(&gateway, "2.31") >= 19.0, "it came in no blocks");
    Ok(())
}

/// libcoap's client posts a body of 5,000 bytes in blocks of 64, and leaves out every tenth datagram or so.
/// Guarantee: it gets its 2.04, and the body arrives once, whole.
fn another_client_of_others_gets_through_with_blocks_and_losses() -> Result<()> {
    let (cloud, port) = (Broker::embedded()?, port::free()?);
    let watch = Watch::start(cloud.address(), UP)?;
    let _gateway = Gateway::with(motes(port, &cloud.url(), "")).start()?;
    let body = reading_of("d1", 0, &"x".repeat(5_000));
    let url = format!("coap://127.0.0.1:{port}/devices/d1/telemetry");
    let client = libcoap().context("no libcoap")?;
    let output = Command::new(&client)
        .env("LD_LIBRARY_PATH", installed())
        .args(["-m", "post", "-b", "64", "-l", "3,7,20-21", "-B", "60"])
        .args(["-v", "7", "-e", &body, &url])
        .output()?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    ensure!(said.contains("c:2.04"), "{said}");
    wait_until("it has arrived", || watch.count() == 1)?;
    let arrivals = watch.arrivals();
    let first = arrivals.first().context("nothing arrived")?.json()?;
    ensure!(
        first["padding"].as_str().map(str::len) == Some(5_000),
        "it is not whole"
    );
    ensure!(watch.total() == 1, "{} arrived", watch.total());
    Ok(())
}

/// What the client got a 2.04 for.
fn accepted(mut client: Process, devices: usize) -> Result<Sent> {
    client.signal(Signal::TERM)?;
    client.wait()?;
    let count = |device: usize| {
        let name = device_name(device);
        let line = client.lines().find(|line| {
            let rest = line.strip_prefix("accepted ")?.strip_prefix(&*name)?;
            rest.trim().parse::<usize>().ok()
        });
        line.with_context(|| format!("the client says nothing of {name}"))
    };
    let counts = (0..devices).map(count).collect::<Result<Vec<_>>>()?;
    Ok(Sent::first_of_each(&counts))
}

/// Killed at random moments while aiocoap posts, with upstream there and away in turns.
/// Guarantee: every message that got its 2.04 arrives, first occurrences in order per device.
fn what_got_its_2_04_is_there_after_fifty_kills() -> Result<()> {
    const DEVICES: usize = 4;
    let (cloud, port) = (Broker::embedded()?, port::free()?);
    let link = Cuttable::to(cloud.address())?;
    let watch = Watch::start(cloud.address(), UP)?;
    let setup = Gateway::with(motes(port, &link.url(), ""));
    let client = client(port, &DEVICES.to_string())?;
    let kills = rounds(50, 200);
    let gateway = kill_at_random(setup, Some(&link), kills, 800)?.start()?;
    let sent = accepted(client, DEVICES)?;
    let verdict = compare(&sent, watch)?;
    ensure!(verdict.is_at_least_once(), "after {kills} kills: {verdict}");
    ensure!(sent.count() > kills, "only {} were accepted", sent.count());
    drop(gateway);
    eprintln!("{kills} kills: {verdict}");
    Ok(())
}
