//! Messages that come in over CoAP: what a 2.04 promises, to two clients that others wrote and to one that behaves badly.

mod clients;
mod mote;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::cut::Cuttable;
use tidegate_tests::disk::{Disk, can_mount};
use tidegate_tests::{Broker, Config, Gateway, Watch, cases, needs, port, wait_until};

use self::mote::{Answer, Mote, Wants, post};
use crate::scene::UP;

pub fn cases() -> Vec<Trial> {
    let tmpfs = |name: &str, run| needs(name, "mount(8) for root", can_mount(), run);
    let mut cases = cases![
        a_repeat_is_no_message_and_gets_the_answer_of_the_first_one,
        a_flood_of_what_is_no_request_leaves_others_alone,
        a_stop_answers_what_is_under_way_within_its_grace,
        a_port_that_is_taken_is_told_and_had_once_it_is_free,
    ];
    cases.extend(cases![tmpfs; while_nothing_can_be_safe_nothing_is_confirmed]);
    cases.extend(clients::cases());
    cases
}

/// A plugin that lets every reading through.
const PLUGIN: &str = "plugin = \"builtin:filter\"\nsettings = { where = [{ field = \"temperature\", op = \">\", value = 0 }] }\n";

fn motes(port: u16, cloud: &str, keys: &str) -> Config {
    Config::forwarding()
        .between(&format!("coap://127.0.0.1:{port}"), cloud)
        .put("source.field", keys)
        .step("all", PLUGIN)
}

fn reading(seq: u64) -> String {
    reading_of("d1", seq, "")
}

fn reading_of(device: &str, seq: u64, padding: &str) -> String {
    format!(r#"{{"device":"{device}","seq":{seq},"temperature":21.5,"padding":"{padding}"}}"#)
}

fn answered(gateway: &Gateway, status: &str) -> f64 {
    gateway.metric("tidegate_source_requests_total", &[("status", status)])
}

/// Fifty readings, each three times at once and once more behind all others, as a network may bring them.
/// Guarantee: each is one message, and every copy of one gets the same answer, byte for byte.
fn a_repeat_is_no_message_and_gets_the_answer_of_the_first_one() -> Result<()> {
    const READINGS: u16 = 50;
    let (cloud, port) = (Broker::embedded()?, port::free()?);
    let watch = Watch::start(cloud.address(), UP)?;
    let gateway = Gateway::with(motes(port, &cloud.url(), "")).start()?;
    let mote = Mote::at(port)?;
    let datagram = |id: u16| {
        let wants = if id.is_multiple_of(2) {
            Wants::Acknowledgement
        } else {
            Wants::Nothing
        };
        post(id, wants, &reading(id.into()))
    };
    let mut answers = BTreeMap::<u16, Answer>::new();
    let mut note = |answer: Answer| {
        let of = answer.of().context("an answer without its token")?;
        let first = answers.entry(of).or_insert_with(|| answer.clone());
        ensure!(
            *first == answer && answer.code == "2.04",
            "{first:?} and {answer:?}"
        );
        Ok(answers.len())
    };
    for id in 0..READINGS {
        (0..3).try_for_each(|_| mote.send(&datagram(id)))?;
    }
    while note(mote.answer()?)? < usize::from(READINGS) {}
    for id in 0..READINGS {
        mote.send(&datagram(id))?;
    }
    // What came of the copies before is among these.
    let repeated = || gateway.metric("tidegate_source_repeated_messages_total", &[]);
    wait_until("every copy was seen", || repeated() == 150.0)?;
    for _ in 0..READINGS {
        note(mote.answer()?)?;
    }
    wait_until("all have arrived", || watch.count() == u64::from(READINGS))?;
    ensure!(
        watch.total() == u64::from(READINGS),
        "{} arrived",
        watch.total()
    );
    let accepted = answered(&gateway, "2.04");
    ensure!(accepted == f64::from(READINGS), "{accepted} accepted");
    Ok(())
}

/// Datagrams of all sorts as fast as they go, and readings of a device between them; a second flow takes from a broker.
/// Guarantee: the readings of both arrive, what is no request is counted, and the process lives.
fn a_flood_of_what_is_no_request_leaves_others_alone() -> Result<()> {
    let (field, cloud, port) = (Broker::embedded()?, Broker::embedded()?, port::free()?);
    let watch = Watch::start(cloud.address(), UP)?;
    let other = "from = \"other\"\ntopics = [\"devices/{device}/telemetry\"]\nto = \"cloud:telemetry\"\ntopic = \"up/{topic}\"";
    let config = motes(port, &cloud.url(), "")
        .source("other", &field.url())
        .add("flow.other", other);
    let mut gateway = Gateway::with(config).start()?;
    let (flood, mote) = (Mote::at(port)?, Mote::at(port)?);
    let enough = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let flooding = scope.spawn(|| {
            // A token of fifteen bytes, which there is not.
            let mut wrong = post(7, Wants::Acknowledgement, "x");
            wrong[0] = 0x4F;
            let mut sent = 0_u64;
            while !enough.load(Ordering::Relaxed) {
                let datagram: Vec<u8> = match fastrand::u8(..3) {
                    0 => wrong.clone(),
                    _ => std::iter::repeat_with(|| fastrand::u8(..))
                        .take(fastrand::usize(..1_500))
                        .collect(),
                };
                // What the system has no room for is lost.
                let _ = flood.send(&datagram);
                sent += 1;
            }
            sent
        });
        let both = || {
            for seq in 0..50 {
                let payload = reading(seq);
                field.publish("devices/d2/telemetry", reading_of("d2", seq, ""))?;
                let id = u16::try_from(seq)?;
                let code = mote.ask(id, &payload)?;
                ensure!(code == "2.04", "{code}");
            }
            wait_until("the readings of both have arrived", || {
                let tally = watch.tally();
                tally.count_of("d1") == 50 && tally.count_of("d2") == 50
            })
        };
        let outcome = both();
        enough.store(true, Ordering::Relaxed);
        let sent = flooding.join();
        ensure!(sent.is_ok_and(|sent| sent > 1_000), "there was no flood");
        outcome
    })?;
    ensure!(gateway.is_running(), "the gateway ended");
    ensure!(answered(&gateway, "reset") > 100.0, "nothing was counted");
    Ok(())
}

/// The uplink is dark and the disk full, so that nothing can become safe; then the gateway is killed, and all is well again.
/// Guarantee: nothing is confirmed meanwhile, also when no more has room (5.03, at once), and what was confirmed before arrives.
fn while_nothing_can_be_safe_nothing_is_confirmed() -> Result<()> {
    let (cloud, port) = (Broker::embedded()?, port::free()?);
    let link = Cuttable::to(cloud.address())?;
    let watch = Watch::start(cloud.address(), UP)?;
    let keys = "settle_within = \"1s\"\nmax_unsettled = \"64KiB\"\n";
    let config = motes(port, &link.url(), keys)
        .add("spool", "spill_after = \"100ms\"\ncommit_every = \"100ms\"");
    let setup = Gateway::with(config);
    let disk = Disk::tmpfs(&setup.data(), 24)?;
    let gateway = setup.start()?;
    let mote = Mote::at(port)?;
    link.go_dark();
    // A commit of a busy machine may take longer than is waited for.
    let mut confirmed = 0;
    while mote.ask(u16::try_from(confirmed)?, &reading(confirmed))? != "2.04" {
        confirmed += 1;
        ensure!(confirmed < 100, "nothing gets onto the disk");
    }
    disk.fill()?;
    wait_until("it is told that the disk is full", || {
        gateway
            .get("/readyz")
            .is_ok_and(|(_, text)| text.contains("disk-full"))
    })?;
    let before = answered(&gateway, "2.04");
    let refused = answered(&gateway, "5.03");
    for id in 1_001..=2_000 {
        let payload = reading(id.into());
        mote.send(&post(id, Wants::Nothing, &payload))?;
        // It has to have been read before the next ones fill the socket.
        if id % 100 == 0 {
            wait_until("they are under way or turned away", || {
                let under_way = gateway.metric("tidegate_source_unsettled_messages", &[]);
                under_way + answered(&gateway, "5.03") - refused >= f64::from(id - 1_000)
            })?;
        }
    }
    wait_until("all are answered", || {
        answered(&gateway, "5.03") - refused >= 1_000.0
    })?;
    ensure!(
        gateway.lines().has(&["as much is under way as may be"]),
        "there was room for all of them"
    );
    ensure!(answered(&gateway, "2.04") == before, "some are confirmed");
    let setup = gateway.kill()?;
    disk.free()?;
    link.back();
    let _gateway = setup.start()?;
    let mote = Mote::at(port)?;
    let code = mote.ask(3_000, &reading(3_000))?;
    ensure!(code == "2.04", "{code}");
    wait_until("what was confirmed is there", || {
        let arrived = watch.arrivals();
        [confirmed, 3_000].iter().all(|seq| {
            let payload = reading(*seq);
            arrived
                .iter()
                .any(|arrival| arrival.payload == payload.as_bytes())
        })
    })
}

/// SIGTERM while a request waits for an upstream that is away.
/// Guarantee: what is under way is written, and answered, before the end.
fn a_stop_answers_what_is_under_way_within_its_grace() -> Result<()> {
    let (cloud, port) = (Broker::embedded()?, port::free()?);
    let link = Cuttable::to(cloud.address())?;
    let config =
        motes(port, &link.url(), "").add("spool", "spill_after = \"1h\"\ncommit_every = \"1h\"");
    let gateway = Gateway::with(config).start()?;
    link.go_dark();
    let mote = Mote::at(port)?;
    mote.send(&post(7, Wants::Acknowledgement, &reading(0)))?;
    // Nothing becomes safe, so that it is told that it is here.
    let told = mote.receive()?;
    ensure!(
        (told.kind, &*told.code, told.id) == (2, "0.00", 7),
        "{told:?}"
    );
    gateway.terminate()?;
    let answer = mote.answer()?;
    ensure!(
        (answer.kind, &*answer.code, answer.of()) == (0, "2.04", Some(7)),
        "{answer:?}"
    );
    let (ended, _) = gateway.end()?;
    ensure!(ended.success(), "the gateway ended with {ended}");
    Ok(())
}

/// Another program has the port at the start, and lets go of it.
/// Guarantee: `tidegate health` and the log say so, the other parts run, and the port is had without a restart.
fn a_port_that_is_taken_is_told_and_had_once_it_is_free() -> Result<()> {
    let cloud = Broker::embedded()?;
    let taken = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = taken.local_addr()?.port();
    let gateway = Gateway::with(motes(port, &cloud.url(), "")).launch()?;
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
    let code = Mote::at(port)?.ask(1, &reading(0))?;
    ensure!(code == "2.04", "{code}");
    Ok(())
}
