use proptest::prelude::*;

use super::broker::{AckKind, Announce, BrokerWire, ClientPacket, Greeting};
use super::*;
use crate::link::Secret;
use crate::message::legal::Illegal;
use crate::message::{Headers, Qos, push_header};
use crate::mqtt::settings::tests::config;
use crate::mqtt::{Login, Will};

const VERSIONS: [ProtocolVersion; 2] = [ProtocolVersion::V5, ProtocolVersion::V311];

fn publish(topic: &str, payload: &[u8], qos: Qos) -> Publish {
    Publish {
        topic: Bytes::copy_from_slice(topic.as_bytes()),
        payload: Bytes::copy_from_slice(payload),
        qos,
        ..Publish::default()
    }
}

fn one(version: ProtocolVersion, bytes: &[u8]) -> Result<Option<Packet>, Malformed> {
    Wire::new(version, 1 << 20).read(&mut BytesMut::from(bytes))
}

/// Headers in the order rumqttc writes them.
fn arbitrary_headers() -> impl Strategy<Value = Bytes> {
    let text = "[a-zß:]{0,12}";
    let user = proptest::collection::vec(("[a-z]{1,8}", text), 0..4);
    let known = proptest::option::of((
        any::<u32>(),
        "[a-z/]{1,12}",
        proptest::collection::vec(any::<u8>(), 0..20),
    ));
    (known, user, proptest::option::of(text)).prop_map(|(known, user, kind)| {
        let mut block = Vec::new();
        let mut push = |name: &str, value: &[u8]| push_header(&mut block, name, value).unwrap();
        if let Some((seconds, topic, data)) = known {
            push(":message-expiry", seconds.to_string().as_bytes());
            push(":response-topic", topic.as_bytes());
            push(":correlation-data", &data);
        }
        for (name, value) in user {
            push(&name, value.as_bytes());
        }
        if let Some(kind) = kind {
            push(":content-type", kind.as_bytes());
        }
        Bytes::from(block)
    })
}

fn arbitrary_publish() -> impl Strategy<Value = Publish> {
    let qos = prop_oneof![
        Just(Qos::AtMostOnce),
        Just(Qos::AtLeastOnce),
        Just(Qos::ExactlyOnce)
    ];
    let payload = proptest::collection::vec(any::<u8>(), 0..400);
    (
        "[a-zäß/$ ]{1,40}",
        payload,
        arbitrary_headers(),
        qos,
        any::<bool>(),
    )
        .prop_map(|(topic, payload, headers, qos, retain)| Publish {
            topic: Bytes::from(topic),
            payload: Bytes::from(payload),
            headers,
            qos,
            retain,
            ..Publish::default()
        })
}

proptest! {
    #[test]
    fn a_publish_of_ours_reads_the_same_with_rumqttc(publish in arbitrary_publish(), id in 1u16.., v5: bool) {
        let version = if v5 { ProtocolVersion::V5 } else { ProtocolVersion::V311 };
        let packet_id = if publish.qos == Qos::AtMostOnce { 0 } else { id };
        let mut bytes = BytesMut::new();
        Wire::new(version, 1 << 20).publish(&publish, packet_id, u32::MAX, &mut bytes).unwrap();
        let mut expected = publish.clone();
        if !v5 {
            expected.headers = Bytes::new();
        }
        prop_assert_eq!(BrokerWire::speaking(version).read(&mut bytes), Some(ClientPacket::Publish { publish: expected, packet_id }));
        prop_assert!(bytes.is_empty());
    }

    #[test]
    fn a_publish_of_rumqttc_reads_the_same_with_ours(mut publish in arbitrary_publish(), id in 1u16.., duplicate: bool, v5: bool, cut: prop::sample::Index) {
        let version = if v5 { ProtocolVersion::V5 } else { ProtocolVersion::V311 };
        let packet_id = if publish.qos == Qos::AtMostOnce { 0 } else { id };
        publish.duplicate = duplicate;
        let mut whole = BytesMut::new();
        BrokerWire::speaking(version).publish(&publish, packet_id, &mut whole);
        if !v5 {
            publish.headers = Bytes::new();
        }
        let mut wire = Wire::new(version, 1 << 20);
        let late = whole.split_off(cut.index(whole.len()));
        let mut input = whole;
        prop_assert_eq!(wire.read(&mut input), Ok(None));
        prop_assert!(wire.missing(&input) <= late.len());
        input.extend_from_slice(&late);
        prop_assert_eq!(wire.read(&mut input), Ok(Some(Packet::Publish { publish, packet_id })));
    }

    #[test]
    fn an_oversize_publish_leaves_its_head_and_the_stream_intact(mut publish in arbitrary_publish(), more in 5_000usize..60_000, step in 1usize..9_000, v5: bool) {
        let version = if v5 { ProtocolVersion::V5 } else { ProtocolVersion::V311 };
        publish.payload = (0..more).map(|place| place as u8).collect();
        let packet_id = if publish.qos == Qos::AtMostOnce { 0 } else { 77 };
        let broker = BrokerWire::speaking(version);
        let mut bytes = BytesMut::new();
        broker.publish(&publish, packet_id, &mut bytes);
        let size = bytes.len() as u64;
        broker.pong(&mut bytes);
        let mut wire = Wire::new(version, 1_000);
        let (mut input, mut read) = (BytesMut::new(), Vec::new());
        for part in bytes.chunks(step) {
            input.extend_from_slice(part);
            while let Some(packet) = wire.read(&mut input).unwrap() {
                read.push(packet);
            }
            prop_assert!(input.len() < 5);
        }
        publish.payload.truncate(PAYLOAD_HEAD_BYTES);
        if !v5 {
            publish.headers = Bytes::new();
        }
        prop_assert_eq!(read, vec![Packet::Oversize { head: publish, packet_id, bytes: size }, Packet::PingResp]);
    }
}

#[test]
fn properties_larger_than_the_head_are_left_out_of_it() {
    let mut headers = Vec::new();
    for _ in 0..4 {
        push_header(&mut headers, "n", &[b'x'; 60_000]).unwrap();
    }
    let publish = Publish {
        headers: Bytes::from(headers),
        ..publish("a/b", b"body", Qos::AtLeastOnce)
    };
    let mut bytes = BytesMut::new();
    BrokerWire::speaking(ProtocolVersion::V5).publish(&publish, 5, &mut bytes);
    let Ok(Some(Packet::Oversize {
        head, packet_id: 5, ..
    })) = Wire::new(ProtocolVersion::V5, 100).read(&mut bytes)
    else {
        panic!("not read past")
    };
    assert_eq!(
        (&head.topic[..], head.headers.len(), head.payload.len()),
        (&b"a/b"[..], 0, 0)
    );
}

#[test]
fn what_the_codec_cannot_read_is_read_by_hand() {
    assert_eq!(
        one(ProtocolVersion::V5, &[0xE0, 0]),
        Ok(Some(Packet::Disconnect {
            code: 0,
            words: None
        }))
    );
    assert_eq!(
        one(ProtocolVersion::V5, &[0xE0, 1, 0x8E]),
        Ok(Some(Packet::Disconnect {
            code: 0x8E,
            words: None
        }))
    );
    let Ok(Some(Packet::ConnAck(ack))) = one(ProtocolVersion::V5, &[0x20, 2, 0, 1]) else {
        panic!("no CONNACK")
    };
    assert!(ack.legacy && ack.code == 1);
    let words = [0xE0, 7, 0x8B, 5, 31, 0, 2, b'h', b'i'];
    assert_eq!(
        one(ProtocolVersion::V5, &words),
        Ok(Some(Packet::Disconnect {
            code: 0x8B,
            words: Some("hi".to_owned())
        }))
    );
}

#[test]
fn a_complete_frame_that_the_codec_calls_incomplete_is_malformed() {
    // CONNACK and SUBACK of MQTT 5 without the length of their properties.
    for bytes in [
        &[0x20, 1, 0][..],
        &[0x90, 2, 0, 1],
        &[0x40, 1, 0],
        &[0x20, 0],
        &[0x90, 0],
    ] {
        for version in VERSIONS {
            assert!(one(version, bytes).is_err(), "{version:?} {bytes:?}");
        }
    }
}

#[test]
fn an_acknowledgement_counts_whatever_stands_behind_its_code() {
    // Nothing, properties that run past their end, one that nobody has, one that is cut off.
    for behind in [
        &[][..],
        &[0x80],
        &[5, 0x1f, 0, 9, b'a', b'b'],
        &[2, 0x7f, 0],
        &[2, 0x1f, 0],
    ] {
        for (version, code) in VERSIONS.into_iter().flat_map(|one| [(one, 0), (one, 0x87)]) {
            let length = u8::try_from(3 + behind.len()).unwrap();
            let bytes = [&[0x40, length, 0, 7, code], behind].concat();
            let expected = AckPacket {
                packet_id: 7,
                code,
                words: None,
            };
            let found = one(version, &bytes);
            assert_eq!(found, Ok(Some(Packet::PubAck(expected))), "{bytes:?}");
        }
    }
    let ended = one(ProtocolVersion::V5, &[0xE0, 3, 0x97, 9, 0x1f]);
    let expected = Packet::Disconnect {
        code: 0x97,
        words: None,
    };
    assert_eq!(ended, Ok(Some(expected)));
    // What a CONNACK says before something that nobody knows holds.
    let greeted = one(
        ProtocolVersion::V5,
        &[0x20, 8, 0, 0, 5, 0x21, 0, 9, 0x7f, 1],
    );
    let Ok(Some(Packet::ConnAck(greeted))) = greeted else {
        panic!("{greeted:?}")
    };
    assert_eq!(greeted.receive_maximum, Some(9));
}

#[test]
fn what_is_malformed_is_told_so() {
    let cases: [(&str, &[u8]); 7] = [
        ("remaining length", &[0xD0, 0xFF, 0xFF, 0xFF, 0xFF]),
        ("only a client", &[0x10, 0]),
        ("only a client", &[0xC0, 0]),
        ("not asked for", &[0xF0, 0]),
        ("flags", &[0x60, 2, 0, 1]),
        ("flags", &[0xD1, 0]),
        ("type that there is not", &[0x00, 0]),
    ];
    for (expected, bytes) in cases {
        let Err(Malformed(why)) = one(ProtocolVersion::V5, bytes) else {
            panic!("{bytes:?} passed")
        };
        assert!(why.contains(expected), "{bytes:?}: {why}");
    }
    let large = [&[0x90, 0x80, 0x80, 0x10][..], &[0; 16]].concat();
    let Err(Malformed(why)) =
        Wire::new(ProtocolVersion::V5, 1_000).read(&mut BytesMut::from(&large[..]))
    else {
        panic!("taken")
    };
    assert!(why.contains("larger than the limit"));
}

/// What is wrong with a message that no answer can be given to, its bytes, and its topic and payload as near as they can be had.
const UNANSWERABLE: [(&str, &[u8], &str, &[u8]); 8] = [
    (
        "its QoS is 3: `6`",
        &[0x36, 7, 0, 1, b'a', 0, 1, 0, b'p'],
        "a",
        b"p",
    ),
    (
        "its packet id is 0",
        &[0x36, 7, 0, 1, b'a', 0, 0, 0, b'p'],
        "a",
        b"p",
    ),
    (
        "its packet id is 0",
        &[0x32, 7, 0, 1, b'a', 0, 0, 0, b'p'],
        "a",
        b"p",
    ),
    (
        "its packet id is 0",
        &[0x3D, 7, 0, 1, b'a', 0, 0, 0, b'p'],
        "a",
        b"p",
    ),
    (
        "packet id cannot be read",
        &[0x32, 4, 0, 1, b'a', 7],
        "a",
        &[7],
    ),
    (
        "topic cannot be read",
        &[0x30, 4, 0, 9, b'a', 0],
        "",
        &[b'a', 0],
    ),
    ("topic cannot be read", &[0x32, 1, 0], "", &[0]),
    ("topic cannot be read", &[0x34, 0], "", &[]),
];

#[test]
fn a_message_that_no_answer_can_be_given_to_is_one_of_qos_0_and_unfit() {
    for (reason, bytes, topic, payload) in UNANSWERABLE {
        let read = one(ProtocolVersion::V5, bytes);
        let Ok(Some(Packet::Unfit {
            publish,
            packet_id: 0,
            why,
        })) = read
        else {
            panic!("{bytes:x?}: {read:?}")
        };
        assert!(why.contains(reason), "{why} instead of {reason}");
        let found = (&publish.topic[..], &publish.payload[..], publish.qos);
        assert_eq!(
            found,
            (topic.as_bytes(), payload, Qos::AtMostOnce),
            "{reason}"
        );
        assert_eq!(publish.retain, bytes[0] & 1 == 1);
        if bytes.len() > 6 {
            let read = Wire::new(ProtocolVersion::V5, 5).read(&mut BytesMut::from(bytes));
            let Ok(Some(Packet::Oversize {
                head, packet_id: 0, ..
            })) = read
            else {
                panic!("{bytes:x?}: {read:?}")
            };
            assert_eq!(
                (&head.topic[..], head.qos),
                (topic.as_bytes(), Qos::AtMostOnce)
            );
        }
    }
}

/// A PUBLISH of QoS 1 with these bytes as its topic, in packet 9, with these properties.
fn raw(topic: &[u8], properties: &[u8]) -> Vec<u8> {
    let number = |value: usize| {
        if value < 128 {
            vec![value as u8]
        } else {
            vec![(value & 0x7f) as u8 | 0x80, (value >> 7) as u8]
        }
    };
    let topic_length = u16::try_from(topic.len()).unwrap().to_be_bytes();
    let rest = [
        &topic_length,
        topic,
        &[0, 9],
        &number(properties.len()),
        properties,
        b"body",
    ]
    .concat();
    [&[0x32], &number(rest.len())[..], &rest[..]].concat()
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn a_field_that_mqtt_forbids_costs_its_message_and_not_the_connection() {
    let cases: [(&[u8], &[u8], &str, &str); 20] = [
        (b"", b"", "topic is empty", ""),
        (
            b"d/\xff",
            b"",
            "topic is not UTF-8: `d/\\xff`",
            "d/\u{fffd}",
        ),
        (
            b"d/\0x",
            b"",
            "topic contains NUL: `d/\\x00x`",
            "d/\u{fffd}x",
        ),
        (b"d/#", b"", "topic contains a wildcard", "d/\u{fffd}"),
        (
            b"d/\n",
            b"",
            "topic contains a control character",
            "d/\u{fffd}",
        ),
        (
            b"d/\xef\xbf\xbf",
            b"",
            "topic contains a code point that is no character",
            "d/\u{fffd}",
        ),
        (
            b"d",
            b"\x26\0\x01n\0\x01\xe9",
            "user property `n` is not UTF-8: `\\xe9`",
            "d",
        ),
        (
            b"d",
            b"\x26\0\x01n\0\x01\0",
            "user property `n` contains NUL",
            "d",
        ),
        (
            b"d",
            b"\x26\0\x01n\0\x01\n",
            "user property `n` contains a control character",
            "d",
        ),
        (
            b"d",
            b"\x26\0\x01\xe9\0\x01x",
            "the name of a user property is not UTF-8",
            "d",
        ),
        (b"d", b"\x03\0\x01\xe9", ":content-type is not UTF-8", "d"),
        (
            b"d",
            b"\x08\0\x02a#",
            ":response-topic contains a wildcard",
            "d",
        ),
        (b"d", b"\x08\0\0", ":response-topic is empty", "d"),
        (b"d", b"\x01\x02", "payload format is neither 0 nor 1", "d"),
        (b"d", b"\x01\x01\x01\x01", "a property is there twice", "d"),
        (
            b"d",
            b"\x11\0\x01",
            "a property that PUBLISH does not have",
            "d",
        ),
        (b"d", b"\x03\0\x09x", "runs past the end", "d"),
        (b"", b"\x23\0\x01", "topic is empty", ""),
        (
            b"d",
            b"\x02\0\0\0\x01\x02\0\0\0\x01",
            "a property is there twice",
            "d",
        ),
        (
            b"d",
            b"\x09\0\x01a\x09\0\x01b",
            "a property is there twice",
            "d",
        ),
    ];
    for (topic, properties, reason, mended) in cases {
        let bytes = raw(topic, properties);
        let Ok(Some(Packet::Unfit {
            publish,
            packet_id: 9,
            why,
        })) = one(ProtocolVersion::V5, &bytes)
        else {
            panic!("{reason}")
        };
        assert!(why.contains(reason), "{why} instead of {reason}");
        assert_eq!(
            (&publish.topic[..], &publish.payload[..]),
            (mended.as_bytes(), &b"body"[..]),
            "{reason}"
        );
        let Ok(Some(Packet::Oversize {
            head, packet_id: 9, ..
        })) = Wire::new(ProtocolVersion::V5, 8).read(&mut BytesMut::from(&bytes[..]))
        else {
            panic!("{reason}, and too large")
        };
        assert_eq!(head.topic, mended.as_bytes(), "{reason}");
    }
}

#[test]
fn what_a_device_calls_by_a_name_of_ours_does_not_come_in() {
    let user = |name: &str, value: &str| {
        let text = |text: &str| [&[0, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
        [vec![38], text(name), text(value)].concat()
    };
    let reserved = [
        ":message-expiry",
        ":response-topic",
        ":anything",
        "tidegate-id",
        "tidegate-replayed",
        "content-encoding",
    ];
    for name in reserved {
        let properties = [vec![2, 0, 0, 0, 9], user(name, "0"), user("unit", "C")].concat();
        let Ok(Some(Packet::Publish { publish, .. })) =
            one(ProtocolVersion::V5, &raw(b"d", &properties))
        else {
            panic!("{name}")
        };
        let found: Vec<_> = Headers(&publish.headers).flatten().collect();
        assert_eq!(
            found,
            [(":message-expiry", &b"9"[..]), ("unit", b"C")],
            "{name}"
        );
    }
}

#[test]
fn the_payload_format_is_passed_on() {
    let Ok(Some(Packet::Publish { publish, .. })) =
        one(ProtocolVersion::V5, &raw(b"d", b"\x01\x01"))
    else {
        panic!("not taken")
    };
    let mut out = BytesMut::new();
    Wire::new(ProtocolVersion::V5, 1_000)
        .publish(&publish, 9, 1_000, &mut out)
        .unwrap();
    assert_eq!(out, raw(b"d", b"\x01\x01"));
}

#[test]
fn properties_may_not_run_into_the_payload() {
    let bytes = [0x30, 11, 0, 1, b'a', 3, 3, 0, 4, b't', b'e', b'x', b't'];
    let Ok(Some(Packet::Unfit { publish, why, .. })) = one(ProtocolVersion::V5, &bytes) else {
        panic!("taken")
    };
    assert!(why.contains("runs past the end") && publish.headers.is_empty());
    assert_eq!(&publish.payload[..], b"text");
}

#[test]
fn connect_carries_login_will_and_limits() {
    for (version, number) in [(ProtocolVersion::V5, 5), (ProtocolVersion::V311, 4)] {
        let mut config = config();
        config.clean_start = false;
        config.receive_maximum = 321;
        config.login = Some(Login {
            user: "me".into(),
            password: Some(Secret::new("pass")),
        });
        config.will = Some(Will {
            online: None,
            topic: "gone".into(),
            payload: Bytes::from_static(b"x"),
            qos: Qos::AtLeastOnce,
            retain: true,
        });
        let mut out = BytesMut::new();
        Wire::new(version, 100).connect(&config, &mut out).unwrap();
        let is_v5 = number == 5;
        let expected = Greeting {
            version: number,
            client_id: config.client_id.clone(),
            clean_start: false,
            keep_alive: 30,
            receive_maximum: is_v5.then_some(321),
            session_expiry: is_v5.then_some(u32::MAX),
            login: Some(("me".into(), "pass".into())),
            will: Some((
                Bytes::from_static(b"gone"),
                Bytes::from_static(b"x"),
                1,
                true,
            )),
        };
        assert_eq!(
            BrokerWire::new().read(&mut out),
            Some(ClientPacket::Connect(expected))
        );
        config.client_id = "x".repeat(65_536);
        assert!(matches!(
            Wire::new(version, 100).connect(&config, &mut out),
            Err(Error::TooLong { .. })
        ));
    }
}

/// Who only sends has no window of his own to announce.
#[test]
fn connect_leaves_out_a_receive_maximum_that_limits_nothing() {
    let config = Config {
        receive_maximum: u16::MAX,
        ..config()
    };
    let mut out = BytesMut::new();
    Wire::new(ProtocolVersion::V5, 100)
        .connect(&config, &mut out)
        .unwrap();
    let Some(ClientPacket::Connect(greeting)) = BrokerWire::new().read(&mut out) else {
        panic!("no CONNECT")
    };
    assert_eq!(greeting.receive_maximum, None);
}

#[test]
fn what_cannot_be_sent_writes_nothing() {
    let wire = Wire::new(ProtocolVersion::V5, 1_000);
    let mut out = BytesMut::new();
    let mut refused = |publish: Publish, limit| {
        let why = wire.publish(&publish, 1, limit, &mut out).unwrap_err();
        assert!(out.is_empty());
        why
    };
    let good = publish("a/b", b"0123456789", Qos::AtLeastOnce);
    assert_eq!(
        refused(good.clone(), 17),
        UnsendablePublish::TooLarge {
            bytes: 20,
            limit: 17
        }
    );
    for topic in [&b""[..], b"a/+", b"#", b"a\0", b"\xFF", &[b'a'; 70_000]] {
        assert!(matches!(
            refused(
                Publish {
                    topic: Bytes::copy_from_slice(topic),
                    ..good.clone()
                },
                100_000
            ),
            UnsendablePublish::Topic(_)
        ));
    }
    assert!(matches!(
        refused(
            Publish {
                headers: Bytes::from_static(&[9, 0, 1]),
                ..good.clone()
            },
            1_000
        ),
        UnsendablePublish::Header(Illegal::Block(_))
    ));
    for (name, value) in [
        (":message-expiry", &b"soon"[..]),
        ("n", b"\xFF"),
        (":response-topic", b"a/#"),
    ] {
        let mut block = Vec::new();
        push_header(&mut block, name, value).unwrap();
        let with = Publish {
            headers: Bytes::from(block),
            ..good.clone()
        };
        assert!(
            matches!(
                refused(with, 1_000),
                UnsendablePublish::Header(Illegal::Header { .. })
            ),
            "{name}"
        );
    }
}

#[test]
fn filters_are_checked() {
    for good in ["#", "+", "a/+/b", "a/#", "/", "$share/g/a/+", "+/+"] {
        assert_eq!(check_filter(good), Ok(()), "{good}");
    }
    for bad in ["", "a#", "#/a", "a/b+", "a/#/b", "a\0"] {
        assert!(check_filter(bad).is_err(), "{bad}");
    }
}

/// Valid packets a broker may send, one after the other.
pub(in crate::mqtt) fn valid_stream(
    version: ProtocolVersion,
    random: &mut fastrand::Rng,
) -> BytesMut {
    let broker = BrokerWire::speaking(version);
    let mut bytes = BytesMut::new();
    broker.connack(
        0,
        &Announce {
            receive_maximum: Some(9),
            ..Announce::default()
        },
        &mut bytes,
    );
    for _ in 0..random.usize(1..12) {
        let id = random.u16(1..6);
        match random.u8(0..7) {
            0 => broker.pong(&mut bytes),
            1 => broker.suback(0xF000, &[1, 0x80], &mut bytes),
            2 => broker.acknowledge(
                AckKind::Ack,
                id,
                random.choice([0, 0x87]).unwrap(),
                &mut bytes,
            ),
            3 => broker.acknowledge(
                AckKind::Rec,
                id,
                random.choice([0, 0x97]).unwrap(),
                &mut bytes,
            ),
            4 => broker.acknowledge(AckKind::Comp, id, 0, &mut bytes),
            5 => broker.acknowledge(AckKind::Rel, id, 0, &mut bytes),
            _ => {
                let mut headers = Vec::new();
                push_header(&mut headers, "name", b"value").unwrap();
                push_header(&mut headers, ":message-expiry", b"7").unwrap();
                let qos = Qos::from_level(random.u8(0..3)).unwrap();
                let with = random.bool();
                let publish = Publish {
                    headers: if with {
                        Bytes::from(headers)
                    } else {
                        Bytes::new()
                    },
                    ..publish("a/b", &vec![b'p'; random.usize(0..900)], qos)
                };
                broker.publish(
                    &publish,
                    if qos == Qos::AtMostOnce { 0 } else { id },
                    &mut bytes,
                );
            }
        }
    }
    bytes
}

/// Flips, inserts, removes and repeats bytes.
pub(in crate::mqtt) fn mutate(bytes: &mut Vec<u8>, random: &mut fastrand::Rng) {
    for _ in 0..random.usize(0..4) {
        if bytes.is_empty() {
            return;
        }
        let place = random.usize(0..bytes.len());
        match random.u8(0..5) {
            0 => bytes[place] ^= 1 << random.u8(0..8),
            1 => bytes[place] = random.choice([0, 1, 0x7F, 0x80, 0xFF]).unwrap(),
            2 => bytes.insert(place, random.u8(..)),
            3 => drop(bytes.remove(place)),
            _ => bytes.truncate(place),
        }
    }
}

#[test]
fn mutated_streams_end_without_a_panic_and_without_a_hang() {
    for seed in 0..40_000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let version = VERSIONS[usize::from(random.bool())];
        let mut bytes = valid_stream(version, &mut random).to_vec();
        mutate(&mut bytes, &mut random);
        let mut wire = Wire::new(version, 500);
        let (mut input, mut rest) = (BytesMut::new(), &bytes[..]);
        let mut packets = 0;
        'stream: while !rest.is_empty() {
            let (part, later) = rest.split_at(random.usize(1..=rest.len().min(700)));
            rest = later;
            input.extend_from_slice(part);
            loop {
                let before = input.len();
                match wire.read(&mut input) {
                    Ok(Some(_)) => packets += 1,
                    Ok(None) => break,
                    Err(_) => break 'stream,
                }
                assert!(input.len() <= before);
                assert!(
                    packets <= bytes.len() / 2,
                    "seed {seed}: packets out of nothing"
                );
            }
        }
    }
}

/// A decoder that shares nothing with ours: what MQTT 5 forbids in a PUBLISH, and what brokers may hang up on. Says what is
/// wrong.
#[expect(
    clippy::too_many_lines,
    reason = "a decoder in one piece, so that it shares nothing with ours"
)]
fn strict(packet: &[u8]) -> Result<(), String> {
    fn number(bytes: &mut &[u8]) -> Result<usize, String> {
        let mut value = 0;
        for place in 0..4 {
            let (byte, rest) = bytes.split_first().ok_or("cut off")?;
            *bytes = rest;
            value += usize::from(byte & 0x7f) << (7 * place);
            if *byte < 0x80 {
                return Ok(value);
            }
        }
        Err("a number of five bytes".to_owned())
    }
    fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = bytes.split_at_checked(count).ok_or("cut off")?;
        *bytes = rest;
        Ok(taken)
    }
    fn data<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], String> {
        let length = take(bytes, 2)?;
        take(bytes, usize::from(length[0]) << 8 | usize::from(length[1]))
    }
    fn text(bytes: &mut &[u8]) -> Result<String, String> {
        let text = String::from_utf8(data(bytes)?.to_vec()).map_err(|error| error.to_string())?;
        let forbidden = |point: u32| {
            point < 0x20
                || (0x7f..0xa0).contains(&point)
                || (0xfdd0..0xfdf0).contains(&point)
                || point % 0x10000 >= 0xfffe
        };
        if text.chars().any(|found| forbidden(found as u32)) {
            Err(format!("forbidden in {text:?}"))
        } else {
            Ok(text)
        }
    }
    fn topic(bytes: &mut &[u8]) -> Result<(), String> {
        let topic = text(bytes)?;
        if topic.is_empty() || topic.contains(['+', '#']) {
            Err(format!("{topic:?} is no topic"))
        } else {
            Ok(())
        }
    }
    let mut rest = &packet[1..];
    if number(&mut rest)? != rest.len() {
        return Err("another length than it says".to_owned());
    }
    topic(&mut rest)?;
    if packet[0] & 0x06 != 0 && take(&mut rest, 2)? == [0, 0] {
        return Err("packet id 0".to_owned());
    }
    let length = number(&mut rest)?;
    let (mut properties, mut seen) = (take(&mut rest, length)?, Vec::new());
    while let Some((id, behind)) = properties.split_first() {
        properties = behind;
        match id {
            1 if take(&mut properties, 1)?[0] < 2 => {}
            2 => drop(take(&mut properties, 4)?),
            3 => drop(text(&mut properties)?),
            8 => topic(&mut properties)?,
            9 => drop(data(&mut properties)?),
            38 => drop((text(&mut properties)?, text(&mut properties)?)),
            id => return Err(format!("property {id}")),
        }
        if *id != 38 && seen.contains(id) {
            return Err(format!("property {id} twice"));
        }
        seen.push(*id);
    }
    Ok(())
}

/// Text and bytes of every kind, so that most of what is made of them is illegal somewhere.
fn anything() -> impl Strategy<Value = Vec<u8>> {
    let odd = prop_oneof![
        Just("\0"),
        Just("\n"),
        Just("\u{85}"),
        Just("\u{ffff}"),
        Just("\u{fdd5}"),
        Just("a/+"),
        Just("#"),
        Just("")
    ];
    prop_oneof![
        6 => "[a-zß/$]{1,9}".prop_map(String::into_bytes),
        1 => odd.prop_map(|text| text.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..6),
        1 => Just(b"7".to_vec()),
    ]
}

/// A name as a plugin may use it.
fn any_name() -> impl Strategy<Value = String> {
    let known = [
        ":content-type",
        ":response-topic",
        ":correlation-data",
        ":message-expiry",
        ":payload-format",
        ":other",
    ];
    prop_oneof![
        proptest::sample::select(known.to_vec()).prop_map(str::to_owned),
        ".{0,4}",
        "[a-z]{1,3}"
    ]
}

proptest! {
    #[test]
    fn whatever_is_asked_for_nothing_leaves_that_a_strict_broker_would_not_take(
        topic in anything(), headers in proptest::collection::vec((any_name(), anything()), 0..4), payload in anything(), level in 0..3_u8,
    ) {
        let mut block = Vec::new();
        headers.iter().for_each(|(name, value)| push_header(&mut block, name, value).unwrap());
        let qos = Qos::from_level(level).unwrap();
        let publish = Publish { topic: topic.into(), payload: payload.into(), headers: block.into(), qos, ..Publish::default() };
        let mut out = BytesMut::new();
        if Wire::new(ProtocolVersion::V5, 1_000).publish(&publish, u16::from(level > 0), 10_000, &mut out).is_ok() {
            prop_assert_eq!(strict(&out), Ok(()));
        } else {
            prop_assert!(out.is_empty());
        }
    }

    #[test]
    fn whatever_comes_in_is_legal_inside_or_told_to_be_malformed(
        topic in anything(), properties in proptest::collection::vec((prop_oneof![Just(1_u8), Just(3), Just(8), Just(9), Just(38)], anything(), anything()), 0..4),
    ) {
        // What is left out is not looked at.
        prop_assume!(properties.iter().all(|(_, name, _)| !name.starts_with(b":")));
        let field = |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat();
        let mut section = Vec::new();
        for (id, one, other) in &properties {
            section.push(*id);
            match id {
                1 => section.push(one.first().copied().unwrap_or(1) & 3),
                38 => section.extend([field(one), field(other)].concat()),
                _ => section.extend(field(one)),
            }
        }
        let packet = raw(&topic, &section);
        match (one(ProtocolVersion::V5, &packet).unwrap(), strict(&packet)) {
            (Some(Packet::Publish { publish, .. }), told) => {
                prop_assert_eq!(told, Ok(()));
                // And it could leave again as it came.
                let mut out = BytesMut::new();
                prop_assert_eq!(Wire::new(ProtocolVersion::V5, 1_000).publish(&publish, 9, 10_000, &mut out), Ok(()));
            }
            (Some(Packet::Unfit { .. }), told) => prop_assert!(told.is_err(), "{:?}", packet),
            (other, _) => prop_assert!(false, "{:?}", other),
        }
    }
}
