use super::*;
use tidegate_sdk::serde_json::{Value, json};
use tidegate_sdk::test::{Input, Plugin, settings_shown};

fn told_with(settings: Value, topic: &str, payload: &str) -> String {
    let outcome = Plugin::<Unify>::new(settings).feed(Input::new("d7", payload).topic(topic));
    match outcome.rejected() {
        Some(reason) => format!("rejected: {reason}"),
        None if outcome.filtered() => "filtered".to_owned(),
        None => outcome.emitted().text().to_owned(),
    }
}

fn told(topic: &str, payload: &str) -> String {
    told_with(json!({}), topic, payload)
}

#[test]
fn what_the_page_shows_works() {
    let shown = settings_shown(include_str!("lib.rs"));
    for settings in shown {
        assert_eq!(
            told_with(settings, "tele/d7/STATE", r#"{"POWER":"ON"}"#),
            r#"{"on":true}"#
        );
    }
}

#[test]
fn zigbee2mqtt() {
    for (payload, wanted) in [
        (
            r#"{"battery":87,"humidity":41.30,"linkquality":120,"pressure":1002.1,"temperature":21.57,"voltage":2985,"update":{"state":"idle"}}"#,
            r#"{"battery":87,"humidity":41.30,"link_quality":120,"pressure":1002.1,"temperature":21.57,"battery_voltage":2.985}"#,
        ),
        (
            r#"{"contact":false,"battery":100,"tamper":false}"#,
            r#"{"contact":false,"battery":100}"#,
        ),
        (
            r#"{"state":"ON","power":12.3,"energy":5.71,"voltage":231,"current":0.05}"#,
            r#"{"on":true,"power":12.3,"energy":5.71,"voltage":231,"current":0.05}"#,
        ),
        (r#"{"voltage":3000}"#, r#"{"battery_voltage":3}"#),
        (
            r#"{"state_left":"OFF","state_right":"ON"}"#,
            r#"{"on":false,"on_2":true}"#,
        ),
        (
            r#"{"occupancy":true,"illuminance":5000,"illuminance_lux":12}"#,
            r#"{"occupancy":true,"illuminance":12}"#,
        ),
        (
            r#"{"water_leak":true,"smoke":false,"temperature":null}"#,
            r#"{"leak":true,"smoke":false}"#,
        ),
        (r#"{"state":"online"}"#, "filtered"),
    ] {
        assert_eq!(told("zigbee2mqtt/d7", payload), wanted);
    }
    assert_eq!(
        told("zigbee2mqtt/d7", "online"),
        "rejected: payload is not a JSON object, at byte 0"
    );
    assert_eq!(
        told("zigbee2mqtt/d7", r#"{"temperature":"NaN"}"#),
        "rejected: `temperature` is no number: `\"NaN\"`"
    );
    assert_eq!(
        told("zigbee2mqtt/d7", r#"{"contact":1}"#),
        "rejected: `contact` is neither true nor false: `1`"
    );
}

#[test]
fn tasmota() {
    for (topic, payload, wanted) in [
        (
            "tele/d7/SENSOR",
            r#"{"Time":"2026-11-29T12:00:00","AM2301":{"Temperature":21.4,"Humidity":55.2,"DewPoint":12.0},"BME280":{"Temperature":21.9,"Pressure":1001.2},"PressureUnit":"hPa","TempUnit":"C"}"#,
            r#"{"temperature":21.4,"humidity":55.2,"temperature_2":21.9,"pressure":1001.2}"#,
        ),
        (
            "tele/d7/SENSOR",
            r#"{"ENERGY":{"TotalStartTime":"x","Total":3.185,"Yesterday":0.1,"Power":12,"ApparentPower":20,"Voltage":230,"Current":0.087}}"#,
            r#"{"energy":3.185,"power":12,"voltage":230,"current":0.087}"#,
        ),
        (
            "tele/d7/SENSOR",
            r#"{"ENERGY":{"Power":[5,7]}}"#,
            r#"{"power":5,"power_2":7}"#,
        ),
        (
            "tele/d7/SENSOR",
            r#"{"DS18B20":{"Id":"01","Temperature":70.7},"TempUnit":"F"}"#,
            r#"{"temperature":21.5}"#,
        ),
        (
            "tele/d7/SENSOR",
            r#"{"BMP280":{"Temperature":null,"Pressure":750},"PressureUnit":"mmHg"}"#,
            r#"{"pressure":999.9179056125}"#,
        ),
        (
            "tele/d7/SENSOR",
            r#"{"BMP280":{"Pressure":30},"PressureUnit":"inHg"}"#,
            r#"{"pressure":1015.916600001}"#,
        ),
        (
            "tele/d7/STATE",
            r#"{"Uptime":"1T","POWER1":"ON","POWER2":"OFF","Wifi":{"RSSI":80,"Signal":-60}}"#,
            r#"{"on":true,"on_2":false,"rssi":-60}"#,
        ),
        (
            "stat/d7/STATUS8",
            r#"{"StatusSNS":{"SHT3X":{"Temperature":20.1}}}"#,
            r#"{"temperature":20.1}"#,
        ),
        ("stat/d7/POWER2", "OFF", r#"{"on_2":false}"#),
        ("d7/tele/LWT", "Online", "filtered"),
        ("tele/d7/INFO1", r#"{"Info1":{"Module":"x"}}"#, "filtered"),
    ] {
        assert_eq!(told(topic, payload), wanted, "{topic}");
    }
    assert_eq!(
        told("tele/d7/SENSOR", r#"{"X":{"Temperature":"hot"}}"#),
        "rejected: `temperature` is no number: `\"hot\"`"
    );
}

#[test]
fn shelly_of_the_first_generation() {
    for (topic, payload, wanted) in [
        (
            "shellies/d7/sensor/temperature",
            "21.5",
            r#"{"temperature":21.5}"#,
        ),
        ("shellies/d7/sensor/state", "open", r#"{"contact":false}"#),
        ("shellies/d7/relay/0", "on", r#"{"on":true}"#),
        ("shellies/d7/relay/1/power", "12.30", r#"{"power_2":12.30}"#),
        ("shellies/d7/relay/0/energy", "90000", r#"{"energy":1.5}"#),
        (
            "shellies/d7/emeter/2/total",
            "1234.5",
            r#"{"energy_3":1.2345}"#,
        ),
        ("shellies/d7/announce", "{}", "filtered"),
    ] {
        assert_eq!(told(topic, payload), wanted, "{topic}");
    }
}

#[test]
fn shelly_of_the_second_generation() {
    for (topic, payload, wanted) in [
        (
            "d7/status/switch:0",
            r#"{"id":0,"source":"x","output":true,"apower":8.9,"voltage":237.5,"current":0.04,"aenergy":{"total":6532.11,"by_minute":[1]},"temperature":{"tC":53.3,"tF":127.9}}"#,
            r#"{"on":true,"power":8.9,"voltage":237.5,"current":0.04,"energy":6.53211,"device_temperature":53.3}"#,
        ),
        (
            "a/b/d7/status/temperature:1",
            r#"{"id":1,"tC":22.2,"tF":71.9}"#,
            r#"{"temperature_2":22.2}"#,
        ),
        (
            "d7/status/humidity:0",
            r#"{"id":0,"rh":45.2}"#,
            r#"{"humidity":45.2}"#,
        ),
        (
            "d7/status/devicepower:0",
            r#"{"id":0,"battery":{"V":5.9,"percent":90},"external":{"present":false}}"#,
            r#"{"battery":90,"battery_voltage":5.9}"#,
        ),
        (
            "d7/events/rpc",
            r#"{"src":"shellyplus","dst":"d7/events","method":"NotifyStatus","params":{"ts":1.7e9,"switch:1":{"id":1,"output":false},"em:0":{"total_act_power":410.2},"emdata:0":{"total_act":120500}}}"#,
            r#"{"on_2":false,"power":410.2,"energy":120.5}"#,
        ),
        (
            "d7/events/rpc",
            r#"{"method":"NotifyEvent","params":{"ts":1,"events":[]}}"#,
            "filtered",
        ),
    ] {
        assert_eq!(told(topic, payload), wanted, "{topic}");
    }
    assert_eq!(
        told("shellies/d7/sensor/temperature", "999 hot"),
        "rejected: `temperature` is no number: `999 hot`"
    );
    assert_eq!(
        told("shellies/d7/relay/x", "on"),
        "rejected: `x` is no number of a channel"
    );
    assert_eq!(
        told("shellies/d7/relay/4294967295", "on"),
        r#"{"on_4294967295":true}"#
    );
}

#[test]
fn other_fields_stay_where_that_is_asked_for() {
    let keep = json!({ "other": "keep", "from": "zigbee2mqtt" });
    assert_eq!(
        told_with(
            keep.clone(),
            "x",
            r#"{"action":"single","on":1,"state":"ON"}"#
        ),
        r#"{"action":"single","on":1,"on_2":true}"#
    );
    assert_eq!(told_with(keep, "x", r#"{"action":"single"}"#), "filtered");
}

#[test]
fn hostile_payloads_are_bounded() {
    let many: String = (0..5_000)
        .map(|number| format!("\"S{number}\":{{\"Temperature\":1}},"))
        .collect();
    assert_eq!(
        told("tele/d7/SENSOR", &format!("{{{many}\"x\":1}}")),
        "rejected: payload has more than 200 readings"
    );
    let long = "9".repeat(300);
    assert!(
        told("shellies/d7/relay/0/energy", &long)
            .starts_with("rejected: `energy` is too large to be converted")
    );
    assert!(
        Plugin::<Unify>::new(json!({}))
            .feed(Input::new("d7", "").retained())
            .passed()
    );
    let refused = Plugin::<Unify>::try_new(json!({ "from": "homematic" })).unwrap_err();
    assert_eq!(
        refused,
        "`from` cannot be `homematic`; it may be: `auto`, `zigbee2mqtt`, `tasmota`, `shelly`"
    );
}
