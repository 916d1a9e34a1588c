//! An upstream that does not take some messages, or any: with every code, with silence, by hanging up.

mod floods;
mod hang_ups;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::client::{Client, Introduction};
use tidegate_tests::fake::{Deed, PickyBroker, Rule, Terms, Which};
use tidegate_tests::{
    Broker, Config, Gateway, Mosquitto, Watch, cases, wait_until, with_mosquitto,
};

use crate::scene::UP;
use crate::tools::json;

pub fn cases() -> Vec<Trial> {
    let mut cases = cases![
        whatever_upstream_answers_about_one_message_others_go_on,
        whatever_upstream_hangs_up_on_others_go_on,
        where_everything_is_refused_nothing_is_parked,
        unanswered_messages_that_fill_the_window_hold_up_no_others_for_long,
    ];
    cases.extend(cases![with_mosquitto;
    a_message_over_the_limit_of_mosquitto_is_parked_and_the_rest_goes_on,
    qos_2_over_3_1_1_keeps_to_what_mosquitto_takes,
    ]);
    cases.extend(hang_ups::cases());
    cases.extend(floods::cases());
    cases
}

/// How one upstream is spoken to, and what it does about the messages of which topics.
#[derive(Clone, Copy, Debug)]
struct Manner {
    protocol: &'static str,
    qos: u8,
    deed: Deed,
    /// What is in the topics it dislikes: `bad` has two devices, `bad1` one; empty is all.
    which: &'static str,
}

/// A gateway with an uplink to each of many upstreams, all of which get the same messages.
struct Many {
    field: Broker,
    gateway: Gateway,
    upstreams: Vec<(String, Manner, PickyBroker)>,
}

/// One more uplink, to this upstream, with a flow to it.
fn led_to(config: Config, name: &str, upstream: &PickyBroker) -> Config {
    let flow = format!(
        "from = \"field\"\ntopics = [\"devices/{{device}}/telemetry\"]\nto = \"{name}:telemetry\"\nlanes = 1"
    );
    config
        .uplink(name, &upstream.url())
        .add(&format!("flow.{name}"), &flow)
}

/// Devices of good messages, and those upstreams may dislike.
const GOOD: [&str; 3] = ["d1", "d2", "d3"];
const BAD: [&str; 2] = ["bad1", "bad2"];

impl Many {
    fn start(manners: &[Manner]) -> Result<Self> {
        let field = Broker::embedded()?;
        // Each uplink has queues of its own.
        let mut config = Config::default()
            .add("gateway", "memory = \"8GiB\"")
            .source("field", &field.url());
        let mut upstreams = Vec::new();
        for (index, manner) in manners.iter().enumerate() {
            let rules = vec![Rule(Which::topic(manner.which), manner.deed)];
            let (name, upstream) = (
                format!("u{index}"),
                PickyBroker::start(Terms::default(), rules)?,
            );
            let Manner { protocol, qos, .. } = manner;
            // An answer that never comes is waited for twice.
            let settings = format!(
                "protocol = \"{protocol}\"\nqos = {qos}\ndeadlines = {{ answer = \"5s\" }}"
            );
            config = led_to(config, &name, &upstream).put(&format!("uplink.{name}"), &settings);
            upstreams.push((name, *manner, upstream));
        }
        Ok(Self {
            field,
            gateway: Gateway::with(config).start()?,
            upstreams,
        })
    }

    /// Sends messages of good devices, and among them two of each bad one, back to back. Gives topics and payloads.
    fn send(&self, round: usize) -> Result<Vec<(String, String)>> {
        let good = (0..24).map(|index| GOOD[index % GOOD.len()]);
        let bad = BAD.iter().flat_map(|device| [*device; 2]);
        let devices = good.clone().take(7).chain(bad).chain(good.skip(7));
        let sent: Vec<_> = devices
            .enumerate()
            .map(|(index, device)| {
                (
                    format!("devices/{device}/telemetry"),
                    format!("{{\"n\":{}}}", round * 100 + index),
                )
            })
            .collect();
        let mut client = Client::open(
            self.field.address(),
            &Introduction {
                id: "load".to_owned(),
                clean: true,
            },
        )?;
        for (id, (topic, payload)) in (1..).zip(&sent) {
            client.publish(topic, payload.as_bytes(), id, false);
        }
        client.flush()?;
        for _ in &sent {
            client.receive(Some(tidegate_tests::wait::PATIENCE))?;
        }
        Ok(sent)
    }

    fn metric(&self, name: &str, uplink: &str) -> f64 {
        self.gateway.metric(name, &[("uplink", uplink)])
    }
}

/// A field broker, an upstream with these rules, and a gateway between them that is online.
fn beside(rules: Vec<Rule>) -> Result<(Broker, PickyBroker, Gateway)> {
    let field = Broker::embedded()?;
    let cloud = PickyBroker::start(Terms::default(), rules)?;
    let config = Config::forwarding().between(&field.url(), &cloud.url());
    let gateway = Gateway::with(config).start()?;
    Ok((field, cloud, gateway))
}

/// Topics and payloads that an upstream has taken, each once.
fn taken(upstream: &PickyBroker) -> BTreeSet<(String, String)> {
    let pair = |noted: tidegate_tests::fake::Noted| {
        (
            noted.published.topic,
            String::from_utf8_lossy(&noted.published.payload).into_owned(),
        )
    };
    upstream.taken().into_iter().map(pair).collect()
}

/// Sends, waits until all that is not disliked has arrived everywhere, then until the rest is parked, and counts.
fn nothing_waits_for_what_is_disliked(manners: &[Manner]) -> Result<()> {
    let many = Many::start(manners)?;
    let (start, sent) = (Instant::now(), many.send(0)?);
    let good = |manner: &Manner| -> BTreeSet<_> {
        sent.iter()
            .filter(|(topic, _)| !topic.contains(manner.which))
            .cloned()
            .collect()
    };
    for (name, manner, upstream) in &many.upstreams {
        let wanted = good(manner);
        wait_until(&format!("{name} has all that it takes: {manner:?}"), || {
            taken(upstream).is_superset(&wanted)
        })?;
    }
    let late = |(name, manner, upstream): &(String, Manner, PickyBroker)| {
        let wanted = good(manner);
        let at = upstream.taken().into_iter().filter(|noted| {
            wanted
                .iter()
                .any(|(topic, _)| *topic == noted.published.topic)
        });
        (
            at.map(|noted| noted.at.saturating_duration_since(start))
                .max()
                .unwrap_or_default(),
            name.clone(),
            *manner,
        )
    };
    let latest = many
        .upstreams
        .iter()
        .map(late)
        .max_by_key(|(time, ..)| *time)
        .context("no upstream")?;
    println!("the last of the good ones arrived after {latest:?}");
    for (name, manner, upstream) in &many.upstreams {
        wait_until(&format!("{name} owes nothing: {manner:?}"), || {
            many.metric("tidegate_spool_messages", name) == 0.0
        })?;
        let (parked, taken) = (
            many.metric("tidegate_messages_refused_total", name),
            taken(upstream).len(),
        );
        ensure!(
            parked as usize + taken == sent.len(),
            "{name}: {taken} taken and {parked} parked of {} ({manner:?})",
            sent.len()
        );
    }
    Ok(())
}

/// Codes of the standard, and some it does not know.
fn codes() -> impl Iterator<Item = u8> {
    (0x80..=0xA2).chain([0xB0, 0xFE])
}

/// One device in five whose messages are refused, with each code there is, by PUBACK and PUBREC; whose PUBCOMP has a code; whose
/// acknowledgement is late, or never comes.
/// Guarantee: all others arrive, what is refused becomes a dead letter, and nothing is lost or counted twice.
fn whatever_upstream_answers_about_one_message_others_go_on() -> Result<()> {
    let mut manners = Vec::new();
    for (index, code) in codes().enumerate() {
        let which = ["bad", "bad1"][index % 2];
        manners.push(Manner {
            protocol: "5",
            qos: 1,
            deed: Deed::Answer(code, "no"),
            which,
        });
        if index % 3 == 0 {
            manners.push(Manner {
                protocol: "5",
                qos: 2,
                deed: Deed::Answer(code, ""),
                which,
            });
        }
    }
    for code in [0x01, 0x10, 0x7F, 0x92, 0xFF] {
        manners.push(Manner {
            protocol: "5",
            qos: 2,
            deed: Deed::Complete(code),
            which: "bad",
        });
    }
    for (protocol, qos) in [("5", 1), ("5", 2), ("3.1.1", 1), ("3.1.1", 2)] {
        for deed in [
            Deed::Never,
            Deed::Late(Duration::from_secs(2)),
            Deed::Answer(0x01, "thanks"),
        ] {
            manners.push(Manner {
                protocol,
                qos,
                deed,
                which: "bad",
            });
        }
    }
    nothing_waits_for_what_is_disliked(&manners)
}

/// The connection ends over some messages: without a word, after the answer, with DISCONNECT and each of its codes.
/// Guarantee: the same.
fn whatever_upstream_hangs_up_on_others_go_on() -> Result<()> {
    let mut manners = Vec::new();
    for (index, code) in codes().enumerate() {
        manners.push(Manner {
            protocol: "5",
            qos: 1,
            deed: Deed::Disconnect(code),
            which: ["bad1", "bad"][index % 2],
        });
    }
    for (protocol, qos) in [("5", 1), ("5", 2), ("3.1.1", 1), ("3.1.1", 2)] {
        for which in ["bad", "bad1"] {
            manners.push(Manner {
                protocol,
                qos,
                deed: Deed::HangUp,
                which,
            });
        }
    }
    for protocol in ["5", "3.1.1"] {
        manners.push(Manner {
            protocol,
            qos: 1,
            deed: Deed::AnswerAndHangUp,
            which: "bad",
        });
    }
    nothing_waits_for_what_is_disliked(&manners)
}

/// Sends one message of each of these devices.
fn send(field: &Broker, devices: impl IntoIterator<Item = String>) -> Result<()> {
    (0..).zip(devices).try_for_each(|(number, device)| {
        field.publish(
            &format!("devices/{device}/telemetry"),
            format!("{{\"n\":{number}}}"),
        )
    })
}

/// Upstreams that refuse, hang up on or swallow whatever comes, and are put right.
/// Guarantee: an alarm tells so, nothing is parked, and all arrives once they are right.
fn where_everything_is_refused_nothing_is_parked() -> Result<()> {
    let deeds = [
        Deed::Answer(0x87, "no"),
        Deed::Answer(0x95, ""),
        Deed::Answer(0x97, ""),
        Deed::Answer(0x80, ""),
        Deed::HangUp,
        Deed::Disconnect(0x87),
        Deed::Never,
    ];
    let manners = deeds.map(|deed| Manner {
        protocol: "5",
        qos: 1,
        deed,
        which: "",
    });
    let many = Many::start(&manners)?;
    let sent: BTreeSet<_> = many.send(0)?.into_iter().collect();
    for (name, manner, _) in &many.upstreams {
        let alarm = || many.metric("tidegate_uplink_alarm", name) > 0.0;
        wait_until(&format!("an alarm tells of {name}: {manner:?}"), alarm)?;
    }
    for (name, manner, upstream) in &many.upstreams {
        ensure!(
            many.metric("tidegate_messages_refused_total", name) == 0.0,
            "{name} has parked something: {manner:?}"
        );
        upstream.change(Vec::new());
    }
    for (name, manner, upstream) in &many.upstreams {
        wait_until(&format!("{name} has everything: {manner:?}"), || {
            taken(upstream) == sent
        })?;
        wait_until("nothing is owed", || {
            many.metric("tidegate_spool_messages", name) == 0.0
        })?;
        ensure!(
            many.metric("tidegate_messages_refused_total", name) == 0.0,
            "{name} has parked something: {manner:?}"
        );
    }
    Ok(())
}

/// Upstreams that take so few at a time swallow as many of the first messages, and answer pings.
/// Guarantee: all others arrive long before an answer is overdue.
fn unanswered_messages_that_fill_the_window_hold_up_no_others_for_long() -> Result<()> {
    let field = Broker::embedded()?;
    let mut config = Config::default().source("field", &field.url());
    let mut upstreams = Vec::new();
    for window in [1, 2, 20] {
        let bad = format!("bad{window}-");
        let upstream = PickyBroker::start(
            Terms::default(),
            vec![Rule(Which::topic(&bad), Deed::Never)],
        )?;
        config = led_to(config, &format!("u{window}"), &upstream)
            .set(&format!("uplink.u{window}.inflight"), i64::from(window));
        upstreams.push((window, bad, upstream));
    }
    let gateway = Gateway::with(config).start()?;
    gateway.wait_online()?;
    let bad = upstreams
        .iter()
        .flat_map(|(window, bad, _)| (0..*window).map(move |number| format!("{bad}{number}")));
    let devices: Vec<String> = bad
        .chain((0..40).map(|number| format!("d{}", number % 4)))
        .collect();
    let start = Instant::now();
    for (device, number) in devices.iter().zip(0..) {
        field.publish(
            &format!("devices/{device}/telemetry"),
            format!("{{\"n\":{number}}}"),
        )?;
    }
    for (window, bad, upstream) in &upstreams {
        let good = devices
            .iter()
            .filter(|device| !device.starts_with(bad))
            .count();
        wait_until(
            &format!("the others arrive through a window of {window}"),
            || taken(upstream).len() == good,
        )?;
        println!(
            "{good} others through a window of {window} within {:?}",
            start.elapsed()
        );
        ensure!(
            start.elapsed() < Duration::from_secs(25),
            "they waited for {:?}",
            start.elapsed()
        );
    }
    Ok(())
}

/// A mosquitto with a limit for messages gets one above it among small ones: its PUBACK has a code that the standard does not
/// list for it.
/// At times it hangs up upon it too.
/// Guarantee: the large one is parked with the code, and the others arrive, not again and again.
fn a_message_over_the_limit_of_mosquitto_is_parked_and_the_rest_goes_on() -> Result<()> {
    let (field, cloud) = (
        Broker::embedded()?,
        Mosquitto::new().option("message_size_limit 2048").start()?,
    );
    let watch = Watch::start(cloud.address(), UP)?;
    let gateway =
        Gateway::with(Config::forwarding().between(&field.url(), &cloud.url())).start()?;
    field.publish("devices/d1/telemetry", "{\"device\":\"d1\",\"seq\":0}")?;
    field.publish("devices/d2/telemetry", "x".repeat(3_000))?;
    (1..20).try_for_each(|seq| {
        field.publish(
            "devices/d1/telemetry",
            format!("{{\"device\":\"d1\",\"seq\":{seq}}}"),
        )
    })?;
    wait_until("the small ones arrive", || watch.total() >= 20)?;
    wait_until("the large one is parked", || {
        gateway.metric("tidegate_dead_letters_kept", &[]) == 1.0
    })?;
    let letter = json(gateway.folder(), &["parked", "list", "-n", "1"], 0)?.to_string();
    ensure!(letter.contains("0x95"), "{letter}");
    let unanswered = gateway.metric("tidegate_uplink_unanswered_messages_total", &[]) as usize;
    println!(
        "{} arrivals of 20, {unanswered} in flight at hang-ups",
        watch.total()
    );
    ensure!(
        watch.total() as usize <= 20 + unanswered,
        "{} arrived of 20, {unanswered} were in flight",
        watch.total()
    );
    Ok(())
}

/// QoS 2 over MQTT 3.1.1, with a window of 1,000 configured, to a mosquitto as it comes: it hangs up above 20 that are not
/// released, and cannot say so.
/// Guarantee: thousands of messages arrive over a handful of connections.
fn qos_2_over_3_1_1_keeps_to_what_mosquitto_takes() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Mosquitto::new().inflight(20).start()?);
    let watch = Watch::start(cloud.address(), UP)?;
    let config = Config::forwarding()
        .between(&field.url(), &cloud.url())
        .put("uplink.cloud", "protocol = \"3.1.1\"\nqos = 2");
    let gateway = Gateway::with(config).start()?;
    let sent = crate::scene::send_all(&field, 5_000)?;
    let count = sent.count() as u64;
    wait_until("all have arrived", || watch.count() >= count)?;
    let reconnects = gateway.metric("tidegate_uplink_reconnects_total", &[]);
    println!("{count} messages over {} connections", reconnects + 1.0);
    ensure!(reconnects <= 5.0, "{reconnects} reconnects");
    crate::scene::expect_at_least_once(&sent.against(&watch.stop()?, |_, _| true))
}
