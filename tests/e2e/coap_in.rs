//! Messages that come in over CoAP: what a 2.04 promises, to two clients that others wrote and to one that behaves badly.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;
use rustix::process::Signal;
use tidegate_tests::cut::Cuttable;
use tidegate_tests::disk::{Disk, can_mount};
use tidegate_tests::process::Process;
use tidegate_tests::tally::{Sent, device_name};
use tidegate_tests::wait::PATIENCE;
use tidegate_tests::{
    Broker, Config, Gateway, Watch, cases, needs, port, rounds, wait_until, where_possible,
};

use crate::scene::{UP, compare, kill_at_random};

pub fn cases() -> Vec<Trial> {
    let with_client = |name: &str, run| needs(name, "aiocoap", python().is_some(), run);
    let with_other = |name: &str, run| where_possible(name, "libcoap", || libcoap().is_some(), run);
    let tmpfs = |name: &str, run| needs(name, "mount(8) for root", can_mount(), run);
    let mut cases = cases![
        a_repeat_is_no_message_and_gets_the_answer_of_the_first_one,
        a_flood_of_what_is_no_request_leaves_others_alone,
        a_stop_answers_what_is_under_way_within_its_grace,
        a_port_that_is_taken_is_told_and_had_once_it_is_free,
    ];
    cases.extend(cases![tmpfs; while_nothing_can_be_safe_nothing_is_confirmed]);
    cases.extend(cases![with_client;
        a_client_of_others_is_answered_alone_unconfirmed_and_in_blocks,
        what_got_its_2_04_is_there_after_fifty_kills,
    ]);
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
        .args(["-u", "-c", include_str!("coap_in.py")])
        .args([&port.to_string(), what]);
    Process::start("the client", &mut command)
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
    format!(r#"{{"device":"d1","seq":{seq},"temperature":21.5}}"#)
}

fn answered(gateway: &Gateway, status: &str) -> f64 {
    gateway.metric("tidegate_source_requests_total", &[("status", status)])
}

/// Whether what is sent wants an acknowledgement.
#[derive(Clone, Copy, PartialEq)]
enum Wants {
    Acknowledgement,
    Nothing,
}

/// A post, as a device writes it, with a token of two bytes.
fn post(id: u16, wants: Wants, payload: &str) -> Vec<u8> {
    let kind = if wants == Wants::Nothing { 0x52 } else { 0x42 };
    let [high, low] = id.to_be_bytes();
    let mut datagram = vec![kind, 2, high, low, high, low];
    // The first option of a path has the number 11, the next ones are no further.
    for (delta, level) in [(0xB0, "devices"), (0, "d1"), (0, "telemetry")] {
        datagram.push(delta | u8::try_from(level.len()).unwrap_or_default());
        datagram.extend_from_slice(level.as_bytes());
    }
    datagram.push(0xFF);
    datagram.extend_from_slice(payload.as_bytes());
    datagram
}

/// What a device was answered.
#[derive(Clone, Debug, PartialEq)]
struct Answer {
    /// 0: wants an acknowledgement, 1: does not, 2: is one, 3: is a reset.
    kind: u8,
    code: String,
    id: u16,
    datagram: Vec<u8>,
}

impl Answer {
    /// The number of the request, which is its token here.
    fn of(&self) -> Option<u16> {
        let token = self.datagram.get(4..6)?;
        Some(u16::from_be_bytes([token[0], token[1]]))
    }
}

/// A device waits so long for an answer before it sends again.
const SEND_AGAIN: Duration = Duration::from_millis(500);

/// A device with a socket.
struct Mote(UdpSocket);

impl Mote {
    fn at(port: u16) -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect((Ipv4Addr::LOCALHOST, port))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(socket))
    }

    fn send(&self, datagram: &[u8]) -> Result<()> {
        self.0.send(datagram)?;
        Ok(())
    }

    /// The next answer; one that wants an acknowledgement gets it.
    fn receive(&self) -> Result<Answer> {
        let mut room = [0; 2_000];
        let length = self.0.recv(&mut room).context("no answer")?;
        let datagram = room[..length].to_vec();
        ensure!(length >= 4, "{datagram:x?} is no answer");
        let answer = Answer {
            kind: datagram[0] >> 4 & 3,
            code: format!("{}.{:02}", datagram[1] >> 5, datagram[1] & 0x1F),
            id: u16::from_be_bytes([datagram[2], datagram[3]]),
            datagram,
        };
        if answer.kind == 0 {
            self.send(&[0x60, 0, answer.datagram[2], answer.datagram[3]])?;
        }
        Ok(answer)
    }

    /// The next one that is no empty acknowledgement.
    fn answer(&self) -> Result<Answer> {
        loop {
            let answer = self.receive()?;
            if answer.code != "0.00" || answer.kind == 3 {
                return Ok(answer);
            }
        }
    }

    /// Sends a reading until there is an answer, as devices do: the system may have dropped it.
    fn ask(&self, id: u16, payload: &str) -> Result<String> {
        let begun = Instant::now();
        self.0.set_read_timeout(Some(SEND_AGAIN))?;
        while begun.elapsed() < PATIENCE {
            self.send(&post(id, Wants::Acknowledgement, payload))?;
            while let Ok(answer) = self.answer() {
                if answer.of() == Some(id) {
                    self.0.set_read_timeout(Some(PATIENCE))?;
                    return Ok(answer.code);
                }
            }
        }
        bail!("no answer to {id}")
    }
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
    let body = reading(0).replace('}', &format!(r#","padding":"{}"}}"#, "x".repeat(5_000)));
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
                field.publish("devices/d2/telemetry", payload.replace("d1", "d2"))?;
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
    let setup = Gateway::with(motes(port, &link.url(), keys));
    let disk = Disk::tmpfs(&setup.data(), 24)?;
    let gateway = setup.start()?;
    let mote = Mote::at(port)?;
    link.go_dark();
    let first = mote.ask(0, &reading(0))?;
    ensure!(first == "2.04" || first == "5.03", "{first}");
    disk.fill()?;
    wait_until("it is told that the disk is full", || {
        gateway
            .get("/readyz")
            .is_ok_and(|(_, text)| text.contains("disk-full"))
    })?;
    let before = answered(&gateway, "2.04");
    for id in 1..=1_000 {
        let payload = reading(1_000 + u64::from(id));
        mote.send(&post(id, Wants::Nothing, &payload))?;
        // It has to have been read before the next ones fill the socket.
        if id % 100 == 0 {
            wait_until("they are under way or turned away", || {
                let under_way = gateway.metric("tidegate_source_unsettled_messages", &[]);
                under_way + answered(&gateway, "5.03") >= f64::from(id)
            })?;
        }
    }
    wait_until("all are answered", || answered(&gateway, "5.03") >= 1_000.0)?;
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
    let code = mote.ask(2_000, &reading(1))?;
    ensure!(code == "2.04", "{code}");
    let wanted = if first == "2.04" { vec![0, 1] } else { vec![1] };
    wait_until("what was confirmed is there", || {
        let arrived = watch.arrivals();
        wanted.iter().all(|seq| {
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
