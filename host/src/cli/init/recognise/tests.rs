//! Topics as the documentation of each system has them.

use super::*;

fn seen(list: &[(&str, &str)]) -> Vec<Seen> {
    let one = |(topic, payload): &(&str, &str)| Seen {
        topic: (*topic).to_owned(),
        payload: payload.as_bytes().to_vec(),
    };
    list.iter().map(one).collect()
}

/// Each system, and what was seen of it.
#[expect(
    clippy::too_many_lines,
    reason = "a table, and what stands in it is short"
)]
fn recorded() -> Vec<(Ecosystem, Vec<Seen>)> {
    vec![
        (
            Ecosystem::Zigbee2Mqtt("zigbee2mqtt".to_owned()),
            seen(&[
                ("zigbee2mqtt/bridge/state", r#"{"state":"online"}"#),
                ("zigbee2mqtt/bridge/info", r#"{"version":"1.40.1"}"#),
                (
                    "zigbee2mqtt/kitchen",
                    r#"{"temperature":21.4,"linkquality":120}"#,
                ),
                ("zigbee2mqtt/kitchen/availability", r#"{"state":"online"}"#),
            ]),
        ),
        (
            Ecosystem::Tasmota,
            seen(&[
                ("tele/plug-1/LWT", "Online"),
                (
                    "tele/plug-1/STATE",
                    r#"{"Time":"2026-01-01T00:00:00","POWER":"ON"}"#,
                ),
                (
                    "tasmota/discovery/00AABBCCDDEE/config",
                    r#"{"ip":"192.168.0.7","dn":"plug"}"#,
                ),
            ]),
        ),
        (
            Ecosystem::ShellyFirst,
            seen(&[
                ("shellies/shelly1pm-AABBCC/relay/0/power", "12.5"),
                ("shellies/announce", "{}"),
            ]),
        ),
        (
            Ecosystem::Shelly,
            seen(&[
                (
                    "shellyplus1pm-a8032ab1/status/switch:0",
                    r#"{"id":0,"apower":12.5}"#,
                ),
                (
                    "shellyplus1pm-a8032ab1/events/rpc",
                    r#"{"src":"shellyplus1pm-a8032ab1","method":"NotifyStatus","params":{}}"#,
                ),
            ]),
        ),
        (
            Ecosystem::EspHome,
            seen(&[
                ("livingroom/status", "online"),
                ("livingroom/sensor/temperature/state", "21.5"),
                (
                    "livingroom/debug",
                    "[D][sensor:094]: 'temperature': Sending state 21.5",
                ),
            ]),
        ),
        (
            Ecosystem::HomeAssistant("homeassistant".to_owned()),
            seen(&[
                (
                    "homeassistant/sensor/0x00158d/temperature/config",
                    r#"{"state_topic":"zigbee2mqtt/kitchen"}"#,
                ),
                (
                    "homeassistant/switch/plug/config",
                    r#"{"~":"x","cmd_t":"~/set"}"#,
                ),
            ]),
        ),
        (
            Ecosystem::ChirpStack,
            seen(&[(
                "application/3f1c9c2e/device/0102030405060708/event/up",
                r#"{"fCnt":10,"object":{}}"#,
            )]),
        ),
        (
            Ecosystem::ThingsStack,
            seen(&[("v3/my-app@ttn/devices/eui-70b3/up", "{}")]),
        ),
        (
            Ecosystem::SparkplugB,
            seen(&[
                ("spBv1.0/plant/NBIRTH/line-1", "\x08\x01"),
                ("spBv1.0/plant/DDATA/line-1/press", "\x08\x02"),
            ]),
        ),
        (
            Ecosystem::Homie("homie".to_owned()),
            seen(&[
                ("homie/kitchen/$homie", "4.0"),
                ("homie/kitchen/thermo/temperature", "21.5"),
            ]),
        ),
    ]
}

#[test]
fn each_system_is_recognised_and_taken_for_no_other() {
    for (system, seen) in recorded() {
        assert_eq!(recognise(&seen), [system]);
    }
}

#[test]
fn all_on_one_broker_are_told_apart_and_each_is_there_once() {
    let all = recorded();
    let mixed: Vec<Seen> = all
        .iter()
        .chain(&all)
        .flat_map(|(_, seen)| seen.clone())
        .collect();
    let mut systems: Vec<Ecosystem> = all.into_iter().map(|(system, _)| system).collect();
    systems.sort();
    assert_eq!(recognise(&mixed), systems);
}

#[test]
fn what_is_nobody_s_is_recognised_as_nothing() {
    let list = seen(&[
        ("devices/d7/telemetry", r#"{"temperature":21.5}"#),
        ("a/status", "online"),
        ("b/sensor/x/state", "1"),
        ("bridge/state", "online"),
        ("home/sensor/x/config", "[]"),
        ("x/events/rpc", "{}"),
        ("application/1/device/no-eui/event/up", "{}"),
        ("v3/app/devices/x/up", "{}"),
        ("spBv1.0/a/XDATA/b", ""),
        ("$SYS/broker/version", "mosquitto"),
        ("", ""),
        ("/", ""),
    ]);
    assert_eq!(recognise(&list), []);
}

#[test]
fn a_base_that_is_no_plain_level_is_not_taken_over() {
    for base in [
        "a b",
        "x\"]\nurl = \"",
        "{device}",
        "+",
        "ä",
        "a//b",
        "",
        "a/b/c/d",
        "\u{202e}",
    ] {
        let list = seen(&[
            (&format!("{base}/bridge/state"), "online"),
            (&format!("{base}/x/$homie"), "4.0"),
        ]);
        let found = recognise(&list);
        let is_clean = |system: &Ecosystem| match system {
            Ecosystem::Zigbee2Mqtt(base) | Ecosystem::Homie(base) => {
                plain(&base.split('/').collect::<Vec<_>>()).is_some()
            }
            _ => false,
        };
        assert!(found.iter().all(is_clean), "{base:?}: {found:?}");
    }
}
