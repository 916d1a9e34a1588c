use std::time::Duration;

use super::*;
use tidegate_sdk::serde_json::{self, Value, json};
use tidegate_sdk::test::{Input, Outcome, Plugin, hostile_names, hostile_payloads, settings_shown};

// By pysparkplug 0.6.1: a node and a device are born, send by aliases, and the node dies, in its own session and in one before.
const NODE_BIRTH: &str = "0880d0eab6b73312120a0562645365711880d0eab6b7332008580312210a144e6f646520436f6e74726f6c2f526562697274681880d0eab6b733200b7000121a0a02557010011880d0eab6b733200458fbffffffffffffffff01121b0a034d617810021880d0eab6b733200858ffffffffffffffffff011800";
const DEVICE_BIRTH: &str = "0881d0eab6b733121d0a0b54656d7065726174757265100a1880d0eab6b733200965cdccac4112120a026938100b1880d0eab6b733200150ff0112140a03693136100c1880d0eab6b733200250d4fd0312160a03693332100d1880d0eab6b73320035090ddfbff0f12160a03753332100e1880d0eab6b733200750ffffffff0f12170a0164100f1880d0eab6b733200a699a9999999999b93f12110a026f6e10101880d0eab6b733200b700112120a017310111880d0eab6b733200c7a02c3a412130a046e6f6e6510121880d0eab6b7332003380112150a0372617710131880d0eab6b733201182010200ff1801";
const DEVICE_DATA: &str = "0882d0eab6b733120e100a1880d0eab6b733659a99ad41120c100b1880d0eab6b73350fe011214100d1880d0eab6b73358fbffffffffffffffff011802";
const NODE_DATA: &str =
    "0882d0eab6b733121410011880d0eab6b73358faffffffffffffffff01120b10631880d0eab6b73358011803";
const NODE_DEATH: &str = "0883d0eab6b73312120a0562645365711880d0eab6b73320085803";
const LATE_DEATH: &str = "0883d0eab6b73312120a0562645365711880d0eab6b73320085802";

fn bytes(hex: &str) -> Vec<u8> {
    Bytes::Hex.read(hex).unwrap()
}

fn plugin() -> Plugin<Sparkplug> {
    Plugin::new(json!({}))
}

fn feed(plugin: &mut Plugin<Sparkplug>, topic: &str, hex: &str) -> Outcome {
    plugin.feed(Input::new("d7", bytes(hex)).topic(&format!("spBv1.0/plant/{topic}")))
}

fn told(outcome: &Outcome) -> String {
    match outcome.rejected() {
        Some(reason) => format!("rejected: {reason}"),
        None => outcome
            .on("out")
            .first()
            .map_or_else(String::new, |message| message.text().to_owned()),
    }
}

fn born() -> Plugin<Sparkplug> {
    let mut plugin = plugin();
    assert!(
        feed(&mut plugin, "NBIRTH/n1", NODE_BIRTH)
            .on("rebirth")
            .is_empty()
    );
    assert!(
        feed(&mut plugin, "DBIRTH/n1/d1", DEVICE_BIRTH)
            .on("rebirth")
            .is_empty()
    );
    plugin
}

#[test]
fn what_another_implementation_sends_is_read() {
    let mut plugin = Plugin::<Sparkplug>::new(settings_shown(include_str!("lib.rs"))[0].clone());
    assert_eq!(
        told(&feed(&mut plugin, "NBIRTH/n1", NODE_BIRTH)),
        r#"{"group":"plant","node":"n1","type":"NBIRTH","time":1767225600000,"metrics":{"bdSeq":3,"Node Control/Rebirth":false,"Up":-5,"Max":18446744073709551615}}"#
    );
    assert_eq!(
        told(&feed(&mut plugin, "DBIRTH/n1/d1", DEVICE_BIRTH)),
        concat!(
            r#"{"group":"plant","node":"n1","device":"d1","type":"DBIRTH","time":1767225600001,"metrics":{"Temperature":21.6,"i8":-1,"i16":-300,"#,
            r#""i32":-70000,"u32":4294967295,"d":0.1,"on":true,"s":"ä","none":null,"raw":"AP8="}}"#
        )
    );
    let outcome = feed(&mut plugin, "DDATA/n1/d1", DEVICE_DATA);
    assert_eq!(
        told(&outcome),
        r#"{"group":"plant","node":"n1","device":"d1","type":"DDATA","time":1767225600002,"metrics":{"Temperature":21.7,"i8":-2,"i32":-5}}"#
    );
    assert!(outcome.on("rebirth").is_empty());
}

#[test]
fn what_is_not_known_is_asked_for_once_a_minute() {
    let mut plugin = born().swapped(json!({}));
    feed(&mut plugin, "DDATA/n1/d1", DEVICE_DATA);
    let outcome = feed(&mut plugin, "NDATA/n1", NODE_DATA);
    assert_eq!(
        told(&outcome),
        r#"{"group":"plant","node":"n1","type":"NDATA","time":1767225600002,"metrics":{"Up":-6}}"#
    );
    let asked = outcome.on("rebirth");
    assert_eq!(asked[0].topic, "spBv1.0/plant/NCMD/n1");
    let command = payload::read(&asked[0].payload).unwrap();
    assert_eq!(
        command.metrics[0].name.as_deref(),
        Some("Node Control/Rebirth")
    );
    assert_eq!(
        command.metrics[0].value,
        Some(payload::Value::Boolean(true))
    );
    assert!(
        feed(&mut plugin, "NDATA/n1", NODE_DATA)
            .on("rebirth")
            .is_empty()
    );
    plugin.advance(Duration::from_secs(60));
    assert_eq!(
        feed(&mut plugin, "NDATA/n1", NODE_DATA).on("rebirth").len(),
        1
    );
    assert_eq!(plugin.counters()["aliases_unknown"], 3);
    assert_eq!(plugin.counters()["rebirths_asked"], 2);
    // Another node, of which nothing is known, and one whose count has a gap.
    let outcome = feed(&mut plugin, "DDATA/n2/d1", DEVICE_DATA);
    assert_eq!(
        (told(&outcome), outcome.on("rebirth").len()),
        (String::new(), 1)
    );
    let mut gap = born();
    assert_eq!(
        feed(&mut gap, "NDATA/n1", "0882d0eab6b7331807")
            .on("rebirth")
            .len(),
        1
    );
    let mut silent = Plugin::<Sparkplug>::new(json!({ "rebirth": false }));
    assert!(silent.plugin().ports().is_empty());
    let outcome = feed(&mut silent, "DDATA/n2/d1", DEVICE_DATA);
    assert!(told(&outcome).starts_with("rejected: none of its metrics is known"));
}

/// A birth of so many metrics, each with an alias and a name of 100 letters.
fn large_birth(metrics: u64) -> Vec<u8> {
    let mut birth = Vec::new();
    for alias in 0..metrics {
        let name = format!("{alias:0100}");
        let mut metric = vec![0x0a, 100];
        metric.extend_from_slice(name.as_bytes());
        metric.extend([
            0x10,
            0x80 | (alias & 0x7f) as u8,
            (alias >> 7) as u8,
            0x20,
            0x0b,
            0x70,
            0x01,
        ]);
        birth.extend([0x12, metric.len() as u8]);
        birth.extend(metric);
    }
    birth.extend([0x18, 0x00]);
    birth
}

#[test]
fn a_node_with_many_names_takes_no_room_of_others() {
    let mut plugin = born();
    let bear = |plugin: &mut Plugin<Sparkplug>, device: &str| {
        let birth = Input::new("d7", large_birth(1_500));
        let outcome = plugin.feed(birth.topic(&format!("spBv1.0/plant/DBIRTH/evil/{device}")));
        assert!(told(&outcome).contains("\"DBIRTH\""));
    };
    bear(&mut plugin, "d0");
    assert!(!plugin.counters().contains_key("births_left_out"));
    for device in 1..20 {
        bear(&mut plugin, &format!("d{device}"));
    }
    assert_eq!(plugin.counters()["births_left_out"], 19);
    let outcome = feed(&mut plugin, "DDATA/n1/d1", DEVICE_DATA);
    assert!(told(&outcome).contains("21.7"), "{}", told(&outcome));
}

#[test]
fn deaths_end_what_was_born_and_late_ones_do_not() {
    let mut plugin = born();
    assert!(feed(&mut plugin, "NDEATH/n1", LATE_DEATH).filtered());
    assert!(
        feed(&mut plugin, "DDATA/n1/d1", DEVICE_DATA)
            .on("rebirth")
            .is_empty()
    );
    assert_eq!(
        told(&feed(&mut plugin, "NDEATH/n1", NODE_DEATH)),
        r#"{"group":"plant","node":"n1","type":"NDEATH","time":1767225600003,"metrics":{}}"#
    );
    assert_eq!(
        feed(&mut plugin, "DDATA/n1/d1", DEVICE_DATA)
            .on("rebirth")
            .len(),
        1
    );
    let mut plugin = born();
    assert!(told(&feed(&mut plugin, "DDEATH/n1/d1", "0882d0eab6b7331802")).contains("DDEATH"));
    let outcome = feed(
        &mut plugin,
        "DDATA/n1/d1",
        "0882d0eab6b733120e100a1880d0eab6b733659a99ad411803",
    );
    assert_eq!(
        (told(&outcome), outcome.on("rebirth").len()),
        (String::new(), 1)
    );
}

#[test]
fn what_is_none_of_sparkplug_is_rejected_in_words() {
    let mut plugin = plugin();
    for topic in [
        "a/b/NDATA/n",
        "spBv1.0/g/NDATA/n/d",
        "spBv1.0/g/DDATA/n",
        "spBv1.0/g/DDATA/n/d/e",
        "spBv1.0/g/X/n",
        "spBv1.0/g",
    ] {
        let outcome = plugin.feed(Input::new("d7", "").topic(topic));
        assert!(
            told(&outcome).contains("is none of Sparkplug B's"),
            "{topic}"
        );
    }
    for topic in [
        "spBv1.0/g/NCMD/n",
        "spBv1.0/g/DCMD/n/d",
        "spBv1.0/STATE/host",
    ] {
        assert!(
            plugin.feed(Input::new("d7", "x").topic(topic)).passed(),
            "{topic}"
        );
    }
    for (hex, words) in [
        ("12ff", "payload is no Sparkplug payload"),
        ("1205 08", "a metric ends too early"),
        ("1203 0a01ff", "payload is no Sparkplug payload"),
        ("07", "payload is no Sparkplug payload"),
    ] {
        assert!(
            told(&feed(&mut plugin, "NBIRTH/n1", &hex.replace(' ', ""))).contains(words),
            "{hex}"
        );
    }
    let twice = "1207 0a0161 20035001 1207 0a0161 20035002".replace(' ', "");
    assert_eq!(
        told(&feed(&mut plugin, "NBIRTH/n1", &twice)),
        "rejected: payload has field \"a\" twice"
    );
    assert_eq!(
        told(&feed(&mut plugin, "NBIRTH/n1", &"1200".repeat(10_001))),
        "rejected: payload has more than 10000 metrics"
    );
}

#[test]
fn whatever_comes_nothing_panics_and_state_is_bounded() {
    let mut plugin = Plugin::<Sparkplug>::new(json!({ "max_nodes": 10 }));
    for payload in hostile_payloads("t") {
        assert!(
            !plugin
                .feed(Input::new("d7", payload).topic("spBv1.0/g/NBIRTH/n"))
                .0
                .is_empty()
        );
    }
    let whole = bytes(DEVICE_BIRTH);
    for place in 0..whole.len() {
        for byte in [0x00, 0x0a, 0x12, 0x7f, 0xff] {
            let mut payload = whole.clone();
            payload[place] = byte;
            let outcome = plugin.feed(Input::new("d7", payload).topic("spBv1.0/g/DBIRTH/n/d"));
            for message in outcome.on("out") {
                serde_json::from_slice::<Value>(&message.payload).unwrap();
            }
        }
    }
    for name in hostile_names(100) {
        plugin.feed(Input::new("d7", bytes(NODE_BIRTH)).topic(&format!("spBv1.0/g/NBIRTH/{name}")));
    }
    assert_eq!(plugin.plugin().state().len(), 10);
    let saved: usize = plugin.save(false).iter().map(|page| page.data.len()).sum();
    let weight = plugin
        .plugin()
        .state()
        .iter()
        .map(|(_, node)| node.weight())
        .sum::<usize>();
    assert!(saved <= weight + 10 * 210, "{saved} {weight}");
    assert!(Plugin::<Sparkplug>::try_new(json!({ "max_nodes": 0 })).is_err());
}
