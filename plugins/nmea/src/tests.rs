use super::*;
use tidegate_sdk::serde_json::{self, Value, json};
use tidegate_sdk::test::{Input, Plugin, hostile_payloads, settings_shown};

/// Made by pynmea2 (`vectors.py`): a sentence, and what that says of it.
const VECTORS: &str = include_str!("tests/vectors.txt");

fn told(settings: Value, payload: impl Into<Vec<u8>>) -> Vec<String> {
    let outcome = Plugin::<Nmea>::new(settings).feed(Input::new("d7", payload));
    match outcome.rejected() {
        Some(reason) => vec![format!("rejected: {reason}")],
        None => outcome
            .on("out")
            .iter()
            .map(|message| message.text().to_owned())
            .collect(),
    }
}

/// A sentence with its checksum.
fn sealed(inside: &str) -> String {
    let sum = inside.bytes().fold(0, |sum, byte| sum ^ byte);
    format!("${inside}*{sum:02X}\r\n")
}

fn one(inside: &str) -> String {
    told(json!({}), sealed(inside)).concat()
}

#[test]
fn what_another_implementation_reads_is_read_the_same() {
    let mut seen = 0;
    for line in VECTORS.lines().filter(|line| !line.starts_with('#')) {
        let (sentence, wanted) = line.split_once(' ').unwrap();
        let told = told(json!({}), sentence).concat();
        let found: Value = serde_json::from_str(&told).unwrap_or_else(|_| panic!("{told}"));
        let wanted: BTreeMap<String, Value> = serde_json::from_str(wanted).unwrap();
        for (name, wanted) in &wanted {
            let is_near = |wanted: f64| (found[name].as_f64().unwrap() - wanted).abs() < 2e-8;
            assert!(
                found[name] == *wanted || wanted.as_f64().is_some_and(is_near),
                "{line}: {name} is {}",
                found[name]
            );
        }
        seen += 1;
    }
    assert!(seen >= 70, "{seen}");
}

#[test]
fn what_the_page_shows_works() {
    let shown = settings_shown(include_str!("lib.rs"));
    assert_eq!(
        told(shown[0].clone(), "$GPHDT,274.07,T*03"),
        [r#"{"sentence":"HDT","talker":"GP","heading_true":274.07}"#]
    );
    let several = [
        sealed("GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,"),
        sealed("GPVTG,054.7,T,034.4,M,005.5,N,010.2,K"),
        sealed("GPRMC,225446,A,4916.45,N,12311.12,W,000.5,054.7,191194,020.3,E"),
    ]
    .concat();
    let wanted = [
        r#"{"sentence":"GGA","talker":"GP","time":"12:35:19","latitude":48.1173,"longitude":11.51666667,"quality":1,"satellites":8,"hdop":0.9,"altitude":545.4,"geoid_separation":46.9}"#,
        r#"{"sentence":"RMC","talker":"GP","time":"22:54:46","valid":true,"latitude":49.27416667,"longitude":-123.18533333,"speed_knots":0.5,"course":54.7,"date":"1994-11-19","magnetic_variation":20.3,"timestamp":785285686}"#,
    ];
    assert_eq!(told(shown[1].clone(), several), wanted);
    let bare = "$GPGSV,1,1,01,05,40,083,46\n\n$GPXXX,1\r\n$GPHDT,1.0,T";
    assert_eq!(
        told(shown[2].clone(), bare),
        [
            r#"{"GSV":{"sentence":"GSV","talker":"GP","of":1,"number":1,"in_view":1,"satellites":[{"satellite":5,"elevation":40,"azimuth":83,"snr":46}]},"HDT":{"sentence":"HDT","talker":"GP","heading_true":1.0}}"#
        ]
    );
}

#[test]
fn lists_words_and_units_are_told() {
    for (sentence, wanted) in [
        (
            "GNGSA,A,3,04,05,,09,12,,,24,,,,,2.5,1.3,2.1,1",
            r#"{"sentence":"GSA","talker":"GN","selection":"A","fix":3,"satellites":[4,5,9,12,24],"pdop":2.5,"hdop":1.3,"vdop":2.1,"system":"1"}"#,
        ),
        (
            "GLGSV,3,1,09,65,64,037,41,66,53,269,,67,09,,29,,,,,1",
            r#"{"sentence":"GSV","talker":"GL","of":3,"number":1,"in_view":9,"satellites":[{"satellite":65,"elevation":64,"azimuth":37,"snr":41},{"satellite":66,"elevation":53,"azimuth":269},{"satellite":67,"elevation":9,"snr":29}]}"#,
        ),
        (
            "WIMWV,214.8,T,0.1,K,A",
            r#"{"sentence":"MWV","talker":"WI","wind_angle":214.8,"reference":"true","wind_speed_kmh":0.1,"valid":true}"#,
        ),
        (
            "WIMWV,,R,,,V",
            r#"{"sentence":"MWV","talker":"WI","reference":"relative","valid":false}"#,
        ),
        (
            "IIVWR,045.0,L,12.6,N,6.5,M,23.3,K",
            r#"{"sentence":"VWR","talker":"II","wind_angle":-45.0,"wind_speed_knots":12.6,"wind_speed_ms":6.5,"wind_speed_kmh":23.3}"#,
        ),
        (
            "HCHDG,98.3,0.0,E,12.6,W",
            r#"{"sentence":"HDG","talker":"HC","heading_magnetic":98.3,"magnetic_deviation":0.0,"magnetic_variation":-12.6}"#,
        ),
        (
            "IIXDR,C,19.52,C,TempAir,P,1.02481,B,Barometer",
            r#"{"sentence":"XDR","talker":"II","transducers":[{"name":"TempAir","type":"C","unit":"C","value":19.52},{"name":"Barometer","type":"P","unit":"B","value":1.02481}]}"#,
        ),
        (
            "GPXTE,A,A,0.67,L,N",
            r#"{"sentence":"XTE","talker":"GP","valid":true,"cross_track":-0.67,"unit":"nm"}"#,
        ),
        (
            "GPRMB,A,0.66,L,003,004,4917.24,N,12309.57,W,001.3,052.5,000.5,V",
            r#"{"sentence":"RMB","talker":"GP","valid":true,"cross_track_nm":-0.66,"origin":"003","destination":"004","destination_latitude":49.28733333,"destination_longitude":-123.1595,"range_nm":1.3,"bearing":52.5,"closing_speed_knots":0.5,"arrived":false}"#,
        ),
        // Without a fix; the last second of a year that had one more.
        (
            "GPGGA,,,,,,0,00,,,M,,M,,",
            r#"{"sentence":"GGA","talker":"GP","quality":0,"satellites":0}"#,
        ),
        (
            "GPZDA,235960.00,31,12,2016,00,00",
            r#"{"sentence":"ZDA","talker":"GP","time":"23:59:60.00","date":"2016-12-31","zone_hours":0,"zone_minutes":0,"timestamp":1483228800}"#,
        ),
        (
            "PGRME,15.0,M,\"x\\\"",
            r#"{"sentence":"GRME","talker":"P","fields":["15.0","M","\"x\\\""]}"#,
        ),
    ] {
        assert_eq!(one(sentence), wanted);
    }
}

#[test]
fn tags_are_left_out_and_ships_are_not_known() {
    let tagged = format!("\\s:r003669961,c:1120959341*51\\{}", sealed("GPHDT,1.0,T"));
    assert!(told(json!({}), tagged)[0].contains("\"heading_true\":1.0"));
    let ships = "!AIVDM,1,1,,A,14eG;o@034o8sd<L9i:a;WF>062D,0*7D";
    assert!(
        told(json!({}), ships)[0]
            .starts_with(r#"{"sentence":"VDM","talker":"AI","fields":["1","1","","A","14eG"#)
    );
}

#[test]
fn sentences_of_one_name_are_numbered_and_unwanted_ones_are_left_out() {
    let many = sealed("GPHDT,1.0,T") + &sealed("GPHDT,2.0,T") + &sealed("GPMTW,3.0,C");
    assert_eq!(
        told(json!({ "sentences": "together" }), many.clone()),
        [
            r#"{"HDT_1":{"sentence":"HDT","talker":"GP","heading_true":1.0},"HDT_2":{"sentence":"HDT","talker":"GP","heading_true":2.0},"MTW":{"sentence":"MTW","talker":"GP","water_temperature":3.0}}"#
        ]
    );
    for sentences in ["messages", "together"] {
        let settings = json!({ "only": ["GGA"], "sentences": sentences });
        let mut plugin = Plugin::<Nmea>::new(settings);
        assert!(plugin.feed(Input::new("d7", many.clone())).filtered());
    }
    assert_eq!(
        told(json!({ "unknown": "reject" }), many + &sealed("GPXXX,1")),
        ["rejected: sentence 4: a sentence that is not known: `XXX`"]
    );
    let full = sealed("GPHDT,1.0,T").repeat(1_001);
    assert_eq!(
        told(json!({}), full),
        ["rejected: payload has more than 1000 sentences"]
    );
}

#[test]
fn what_cannot_be_read_is_rejected_in_words() {
    for (payload, words) in [
        ("", "payload has no sentence"),
        ("\r\n\r\n", "payload has no sentence"),
        (
            "{\"t\":1}",
            "not NMEA 0183: it does not begin with `$` or `!`: `{\"t\":1}`",
        ),
        (
            "$GPHDT,274.07,T",
            "a sentence without a checksum: `checksum` may be \"optional\"",
        ),
        ("$GPHDT,274.07,T*04", "a wrong checksum: `04` is not 03"),
        ("$GPHDT,274.07,T*3", "a wrong checksum: `3` is not 03"),
        ("$GPHDT,274.07,T*+3", "a wrong checksum: `+3` is not 03"),
        ("$GPHDT,274.07,T*", "a wrong checksum: `` is not 03"),
        (
            "$\u{fc}*00",
            "not NMEA 0183: it has bytes that are no printable ASCII",
        ),
        (
            "$*00",
            "not NMEA 0183: it has no talker and name, as in `GPGGA`",
        ),
        ("\\s:x$", "not NMEA 0183: a block of tags has no end"),
    ] {
        assert_eq!(told(json!({}), payload), [format!("rejected: {words}")]);
    }
    let second = sealed("GPHDT,1.0,T") + "$GPHDT,1.0,T*00";
    assert_eq!(
        told(json!({}), second),
        ["rejected: sentence 2: a wrong checksum: `00` is not 34"]
    );
    let refused = Plugin::<Nmea>::try_new(json!({ "only": ["GPGGA"] }));
    assert!(
        refused
            .map(drop)
            .unwrap_err()
            .starts_with("`only`: `GPGGA` is no name")
    );
}

#[test]
fn what_a_field_cannot_have_is_rejected_with_its_number() {
    for (sentence, words) in [
        ("GPHDT,x,T", "HDT: field 1 is no number: `x`"),
        ("GPHDT,1.0,M", "HDT: field 2 is no `T`: `M`"),
        ("GPGGA,240000", "GGA: field 1 is no time of day: `240000`"),
        (
            "GPGGA,,9000.1,N",
            "GGA: field 2 is no degrees and minutes: `9000.1`",
        ),
        (
            "GPGGA,,4860.0,N",
            "GGA: field 2 is no degrees and minutes: `4860.0`",
        ),
        (
            "GPGGA,,-4807.0,N",
            "GGA: field 2 is no degrees and minutes: `-4807.0`",
        ),
        ("GPGGA,,4807.038,", "GGA: field 3 is no `N` or `S`: ``"),
        ("GPGGA,,4807.038,E", "GGA: field 3 is no `N` or `S`: `E`"),
        ("GPRMC,,X", "RMC: field 2 is no `A` or `V`: `X`"),
        ("GPRMC,,,,,,,,,310226", "RMC: field 9 is no date: `310226`"),
        (
            "GPRMC,,,,,,,,,2302\u{7e}6",
            "RMC: field 9 is no date: `2302~6`",
        ),
        ("GPZDA,,31,02,2026", "ZDA: field 4 is no date: `2026`"),
        ("WIMWV,1,Q", "MWV: field 2 is no letter of it: `Q`"),
        ("WIMWV,1,R,1,X", "MWV: field 4 is no unit of a speed: `X`"),
        ("WIMWV,1,R,1", "MWV: field 4 is no unit of a speed: ``"),
    ] {
        assert_eq!(one(sentence), format!("rejected: {words}"), "{sentence}");
    }
}

#[test]
fn whatever_comes_nothing_panics() {
    let mut plugin = Plugin::<Nmea>::new(json!({ "checksum": "optional" }));
    assert!(plugin.feed(Input::new("d7", "").retained()).passed());
    for payload in hostile_payloads("t") {
        assert_eq!(plugin.feed(Input::new("d7", payload)).0.len(), 1);
    }
    let good: Vec<&str> = VECTORS
        .lines()
        .filter_map(|line| line.split_once('*').map(|(sentence, _)| sentence))
        .collect();
    let strange = b",,,.*\\$+-~0AE";
    let mut draws = 0x2611_u32;
    for sentence in good.iter().cycle().take(6_000) {
        let mut sentence = sentence.as_bytes().to_vec();
        for _ in 0..2 {
            draws = draws.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let place = (draws >> 8) as usize % sentence.len();
            sentence[place] = strange[(draws >> 4) as usize % strange.len()];
        }
        let outcome = plugin.feed(Input::new("d7", sentence));
        for message in outcome.on("out") {
            serde_json::from_slice::<Value>(&message.payload).unwrap();
        }
    }
}
