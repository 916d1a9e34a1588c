use bytes::{Bytes, BytesMut};

use super::*;
use crate::link::{ConnectionLoss, FailureKind};
use crate::mqtt::settings::tests::config;
use crate::mqtt::wire::OddPacket;
use crate::mqtt::wire::broker::{AckKind, Announce, BrokerWire, ClientPacket};
use crate::mqtt::wire::tests::{mutate, valid_stream};
use crate::mqtt::{BrokerRefusal, Subscription};

const SECOND: Duration = Duration::from_secs(1);

/// A session, the broker's wire, and what the client sent after CONNECT.
struct Pair {
    session: Session,
    broker: BrokerWire,
    now: Instant,
}

fn greeted(version: ProtocolVersion, announce: &Announce) -> (Pair, Established) {
    let now = Instant::now();
    let mut pair = Pair {
        session: Session::new(&config(), version, now).unwrap(),
        broker: BrokerWire::new(),
        now,
    };
    assert!(matches!(pair.sent()[..], [ClientPacket::Connect(_)]));
    let mut input = BytesMut::new();
    pair.broker.connack(0, announce, &mut input);
    let established = pair.session.greet(&mut input, now).unwrap().unwrap();
    (pair, established)
}

impl Pair {
    fn sent(&mut self) -> Vec<ClientPacket> {
        let mut bytes = BytesMut::from(self.session.output());
        self.session.sent(bytes.len(), self.now);
        let mut requests = Vec::new();
        while let Some(request) = self.broker.read(&mut bytes) {
            requests.push(request);
        }
        assert!(bytes.is_empty());
        requests
    }

    fn receive(
        &mut self,
        put: impl FnOnce(&BrokerWire, &mut BytesMut),
    ) -> Result<Vec<Event>, Error> {
        let (mut input, mut events) = (BytesMut::new(), Vec::new());
        put(&self.broker, &mut input);
        self.session
            .receive(&mut input, self.now, &mut events)
            .map(|()| events)
    }
}

fn publish(qos: Qos) -> Publish {
    Publish {
        topic: Bytes::from_static(b"t"),
        payload: Bytes::from_static(b"p"),
        qos,
        ..Publish::default()
    }
}

fn connack(version: ProtocolVersion, bytes: &[u8]) -> Error {
    let now = Instant::now();
    Session::new(&config(), version, now)
        .unwrap()
        .greet(&mut BytesMut::from(bytes), now)
        .unwrap_err()
}

#[test]
fn what_the_broker_announces_holds() {
    let announce = Announce {
        session_present: true,
        receive_maximum: Some(2),
        maximum_packet_bytes: Some(40),
        maximum_qos: Some(1),
        retain_available: Some(0),
        keep_alive: Some(8),
    };
    let (mut pair, established) = greeted(ProtocolVersion::V5, &announce);
    let expected = Established {
        session_present: true,
        protocol: Protocol::V5,
        receive_maximum: 2,
        maximum_packet_bytes: 40,
        retain_available: false,
        maximum_qos: Qos::AtLeastOnce,
        session_expiry: None,
        subscription_ids: true,
        keep_alive: 8 * SECOND,
    };
    assert_eq!(established, expected);
    assert_eq!(pair.session.due(), Some(pair.now + 7 * SECOND));
    let retained = Publish {
        retain: true,
        ..publish(Qos::AtLeastOnce)
    };
    assert_eq!(
        pair.session.publish(&retained, 1),
        Err(UnsendablePublish::RetainNotAvailable)
    );
    let twice = pair.session.publish(&publish(Qos::ExactlyOnce), 1);
    assert_eq!(
        twice,
        Err(UnsendablePublish::QosNotAvailable {
            maximum: Qos::AtLeastOnce
        })
    );
    let large = Publish {
        payload: Bytes::from(vec![0; 100]),
        ..publish(Qos::AtLeastOnce)
    };
    assert_eq!(
        pair.session.publish(&large, 1),
        Err(UnsendablePublish::TooLarge {
            bytes: 108,
            limit: 40
        })
    );
    for token in 0..2 {
        pair.session
            .publish(&publish(Qos::AtLeastOnce), token)
            .unwrap();
    }
    assert_eq!(
        pair.session.publish(&publish(Qos::AtLeastOnce), 2),
        Err(UnsendablePublish::WindowFull)
    );
    assert_eq!(pair.session.publish(&publish(Qos::AtMostOnce), 2), Ok(()));
    assert_eq!(pair.sent().len(), 3);
}

#[test]
fn without_announcements_the_protocol_s_own_limits_hold() {
    let (pair, established) = greeted(ProtocolVersion::V311, &Announce::default());
    assert_eq!(
        (established.receive_maximum, established.protocol),
        (65_535, Protocol::V311)
    );
    assert_eq!(
        (established.keep_alive, pair.session.room()),
        (30 * SECOND, 20)
    );
}

#[test]
fn a_refused_connect_says_why_and_how_to_meet_it() {
    let error = connack(ProtocolVersion::V5, &[0x20, 3, 0, 0x87, 0]);
    assert_eq!(error.kind(), FailureKind::Refused);
    assert!(
        error.to_string().contains("not authorized (0x87)"),
        "{error}"
    );
    let error = connack(ProtocolVersion::V311, &[0x20, 2, 0, 4]);
    assert_eq!(error.kind(), FailureKind::Refused);
    assert!(
        error.to_string().contains("check user name and password"),
        "{error}"
    );
    assert_eq!(
        connack(ProtocolVersion::V311, &[0x20, 2, 0, 3]).kind(),
        FailureKind::Passing
    );
    assert!(matches!(
        connack(ProtocolVersion::V5, &[0x20, 3, 0, 0x84, 0]),
        Error::VersionRefused
    ));
    assert!(matches!(
        connack(ProtocolVersion::V5, &[0x20, 2, 0, 1]),
        Error::VersionRefused
    ));
    assert!(matches!(
        connack(ProtocolVersion::V5, &[0x20, 3, 0, 1, 0]),
        Error::VersionRefused
    ));
    // A code that no table lists, and the broker's words.
    let error = connack(
        ProtocolVersion::V5,
        &[0x20, 8, 0, 0xB7, 5, 31, 0, 2, b'n', b'o'],
    );
    assert!(
        error.to_string().contains("(0xB7)") && error.to_string().ends_with("the broker says: no"),
        "{error}"
    );
    assert!(
        connack(ProtocolVersion::V311, &[0x20, 2, 0, 0x77])
            .to_string()
            .contains("(0x77)")
    );
    assert!(matches!(
        connack(ProtocolVersion::V5, &[0xD0, 0]),
        Error::Protocol(_)
    ));
}

#[test]
fn the_server_that_is_to_be_used_instead_is_told() {
    let moved = connack(
        ProtocolVersion::V5,
        &[0x20, 7, 0, 0x9D, 4, 0x1C, 0, 1, b'b'],
    );
    assert!(
        moved.to_string().contains("server moved (0x9D)") && moved.to_string().ends_with("use `b`"),
        "{moved}"
    );
    let (mut pair, _) = greeted(ProtocolVersion::V5, &Announce::default());
    let put = |_: &BrokerWire, out: &mut BytesMut| {
        out.extend_from_slice(&[0xE0, 10, 0x9C, 8, 0x1F, 0, 1, b'w', 0x1C, 0, 1, b'b']);
    };
    let ended = pair.receive(put).unwrap_err();
    assert!(
        ended.to_string().ends_with("the broker says: w; use `b`"),
        "{ended}"
    );
}

#[test]
fn a_refused_message_is_told_with_its_token() {
    let (mut pair, _) = greeted(ProtocolVersion::V5, &Announce::default());
    pair.session
        .publish(&publish(Qos::AtLeastOnce), 41)
        .unwrap();
    pair.session
        .publish(&publish(Qos::ExactlyOnce), 42)
        .unwrap();
    let events = pair.receive(|broker, out| {
        broker.acknowledge(AckKind::Ack, 1, 0x87, out);
        broker.acknowledge(AckKind::Rec, 2, 0x97, out);
    });
    let told: Vec<_> = events
        .unwrap()
        .into_iter()
        .map(|event| match event {
            Event::Refused {
                token,
                code,
                reason,
                kind,
            } => {
                assert!(reason.ends_with("the broker says: no"), "{reason}");
                (token, code, kind)
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        told,
        [
            (41, 0x87, BrokerRefusal::Final),
            (42, 0x97, BrokerRefusal::Quota)
        ]
    );
    assert_eq!(pair.session.room(), 20);
}

#[test]
fn a_code_that_no_table_lists_is_success_below_0x80_and_a_refusal_from_there_on() {
    let (mut pair, _) = greeted(ProtocolVersion::V5, &Announce::default());
    for (id, qos) in [
        (1, Qos::AtLeastOnce),
        (2, Qos::ExactlyOnce),
        (3, Qos::AtLeastOnce),
        (4, Qos::ExactlyOnce),
    ] {
        pair.session.publish(&publish(qos), id).unwrap();
    }
    let events = pair.receive(|broker, out| {
        broker.acknowledge(AckKind::Ack, 1, 0x01, out);
        broker.acknowledge(AckKind::Rec, 2, 0x11, out);
        broker.acknowledge(AckKind::Comp, 2, 0x92, out);
        broker.acknowledge(AckKind::Ack, 3, 0x95, out);
        broker.acknowledge(AckKind::Rec, 4, 0xC3, out);
    });
    let refused = |token, code, kind| Event::Refused {
        token,
        code,
        reason: reason::describe_v5(code, Some("no")),
        kind,
    };
    let accepted = |token| Event::Accepted { token };
    assert_eq!(
        events.unwrap(),
        [
            accepted(1),
            accepted(2),
            refused(3, 0x95, BrokerRefusal::Final),
            refused(4, 0xC3, BrokerRefusal::Busy)
        ]
    );
    let ended = pair
        .receive(|_, out| out.extend_from_slice(&[0xE0, 7, 0xB1, 5, 31, 0, 2, b'n', b'o']))
        .unwrap_err();
    assert!(
        matches!(&ended, Error::Disconnected { code: 0xB1, reason, .. } if reason.ends_with("no")),
        "{ended}"
    );
}

#[test]
fn a_subscribe_tells_which_filters_were_refused() {
    let (mut pair, _) = greeted(ProtocolVersion::V5, &Announce::default());
    let wanted = ["a/+", "b#", "c"].map(|filter| Subscription {
        filter: filter.to_owned(),
        qos: Qos::AtLeastOnce,
        id: None,
    });
    pair.session.subscribe(&wanted);
    let filters = vec![
        ("a/+".to_owned(), Qos::AtLeastOnce),
        ("c".to_owned(), Qos::AtLeastOnce),
    ];
    assert_eq!(
        pair.sent(),
        [ClientPacket::Subscribe {
            packet_id: 0xF000,
            filters
        }]
    );
    let events = pair
        .receive(|broker, out| broker.suback(0xF000, &[1, 0x87], out))
        .unwrap();
    let [Event::Subscribed { refused, .. }] = &events[..] else {
        panic!("{events:?}")
    };
    let names: Vec<_> = refused.iter().map(|(filter, _)| filter.as_str()).collect();
    assert_eq!(names, ["b#", "c"]);
    assert!(refused[1].1.contains("not authorized (0x87)"));
}

#[test]
fn a_suback_with_a_code_that_no_standard_knows_says_so() {
    for version in [ProtocolVersion::V5, ProtocolVersion::V311] {
        let (mut pair, _) = greeted(version, &Announce::default());
        pair.session.subscribe(&[Subscription {
            filter: "a".to_owned(),
            qos: Qos::AtLeastOnce,
            id: None,
        }]);
        let events = pair
            .receive(|broker, out| broker.suback(0xF000, &[3], out))
            .unwrap();
        let [Event::Subscribed { refused, .. }] = &events[..] else {
            panic!("{events:?}")
        };
        assert!(
            refused[0].1.contains("0x03") && refused[0].1.contains("no standard"),
            "{refused:?}"
        );
    }
}

#[test]
fn many_filters_go_in_packets_of_eight_and_are_answered_as_one() {
    let (mut pair, _) = greeted(ProtocolVersion::V311, &Announce::default());
    let wanted: Vec<_> = (0..17)
        .map(|number| Subscription {
            filter: format!("f/{number}"),
            qos: Qos::AtLeastOnce,
            id: Some(7),
        })
        .collect();
    pair.session.subscribe(&wanted);
    let sizes: Vec<_> = pair
        .sent()
        .into_iter()
        .map(|request| {
            if let ClientPacket::Subscribe { packet_id, filters } = request {
                (packet_id, filters.len())
            } else {
                (0, 0)
            }
        })
        .collect();
    assert_eq!(sizes, [(0xF000, 8), (0xF001, 8), (0xF002, 1)]);
    assert_eq!(
        pair.receive(|broker, out| broker.suback(0xF001, &[1; 8], out))
            .unwrap(),
        []
    );
    assert_eq!(
        pair.receive(|broker, out| broker.suback(0xF002, &[0x80], out))
            .unwrap(),
        []
    );
    let events = pair
        .receive(|broker, out| broker.suback(0xF000, &[0, 1, 1, 1, 1, 1, 1, 1], out))
        .unwrap();
    let [Event::Subscribed { refused, lowered }] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!((refused.len(), &*refused[0].0), (1, "f/16"));
    assert_eq!(lowered[..], [("f/0".to_owned(), Qos::AtMostOnce)]);
}

#[test]
fn a_subscription_with_an_identifier_goes_alone_and_the_copies_for_it_say_so() {
    let (mut pair, _) = greeted(ProtocolVersion::V5, &Announce::default());
    let wanted = |filter: &str, id| Subscription {
        filter: filter.to_owned(),
        qos: Qos::AtLeastOnce,
        id,
    };
    pair.session
        .subscribe(&[wanted("a/+", Some(300)), wanted("b", None)]);
    let out = pair.session.output().to_vec();
    assert_eq!(
        out,
        [
            &b"\x82\x07\xf0\x00\x00\x00\x01b\x19"[..],
            b"\x82\x0c\xf0\x01\x03\x0b\xac\x02\x00\x03a/+\x19"
        ]
        .concat()
    );
    let events = pair
        .receive(|_, out| out.extend_from_slice(b"\x30\x07\x00\x01a\x03\x0b\xac\x02"))
        .unwrap();
    let [Event::Publish { publish, .. }] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(publish.subscription, crate::mqtt::Subscribed::One(300));
}

#[test]
fn a_subscribe_with_nothing_to_send_is_answered_all_the_same() {
    let (mut pair, _) = greeted(
        ProtocolVersion::V5,
        &Announce {
            maximum_packet_bytes: Some(20),
            ..Announce::default()
        },
    );
    pair.session.subscribe(&[Subscription {
        filter: "#/a".to_owned(),
        qos: Qos::AtLeastOnce,
        id: None,
    }]);
    pair.session.subscribe(&[Subscription {
        filter: "much-longer-than-that".to_owned(),
        qos: Qos::AtLeastOnce,
        id: None,
    }]);
    assert_eq!(pair.sent(), []);
    let mut events = Vec::new();
    pair.session.take_ready(&mut events);
    assert!(
        matches!(&events[..], [Event::Subscribed { refused: a, .. }, Event::Subscribed { refused: b, .. }] if a.len() == 1 && b.len() == 1)
    );
}

#[test]
fn what_is_taken_back_goes_in_packets_of_eight_and_is_answered_as_one() {
    let (mut pair, _) = greeted(ProtocolVersion::V311, &Announce::default());
    let filters: Vec<_> = (0..17).map(|number| format!("f/{number}")).collect();
    pair.session.unsubscribe(&filters);
    let sent = pair.sent();
    let asked = sent.iter().map(|packet| match packet {
        ClientPacket::Unsubscribe { packet_id, filters } => (*packet_id, filters.len()),
        _ => (0, 0),
    });
    let asked: Vec<_> = asked.collect();
    assert_eq!(asked, [(0xF000, 8), (0xF001, 8), (0xF002, 1)]);
    let mut answer = |low| {
        let answered = pair.receive(|_, out| out.extend_from_slice(&[0xB0, 2, 0xF0, low]));
        answered.unwrap()
    };
    assert_eq!((answer(1), answer(0)), (vec![], vec![]));
    assert_eq!(answer(2), [Event::Unsubscribed]);
}

#[test]
fn a_suback_counts_as_far_as_it_goes() {
    for (codes, granted) in [(&[1, 1, 1][..], &["a", "b"][..]), (&[1], &["a"])] {
        let (mut pair, _) = greeted(ProtocolVersion::V311, &Announce::default());
        pair.session
            .subscribe(&["a", "b"].map(|filter| Subscription {
                filter: filter.to_owned(),
                qos: Qos::AtLeastOnce,
                id: None,
            }));
        pair.sent();
        let events = pair.receive(|broker, out| broker.suback(0xF000, codes, out));
        let [Event::Subscribed { refused, lowered }] = &events.unwrap()[..] else {
            panic!("{codes:?}")
        };
        let missing: Vec<_> = refused.iter().map(|(filter, _)| &**filter).collect();
        assert_eq!(missing, ["a", "b"][granted.len()..]);
        assert!(lowered.is_empty());
    }
}

#[test]
fn a_release_of_an_unknown_id_is_completed() {
    for version in [ProtocolVersion::V5, ProtocolVersion::V311] {
        let (mut pair, _) = greeted(version, &Announce::default());
        assert_eq!(
            pair.receive(|broker, out| broker.acknowledge(AckKind::Rel, 600, 0, out))
                .unwrap(),
            []
        );
        assert_eq!(pair.sent(), [ClientPacket::PubComp(600)]);
    }
}

#[test]
fn pubrec_waits_for_the_caller_and_a_repeated_message_is_given_out_once() {
    let (mut pair, _) = greeted(ProtocolVersion::V5, &Announce::default());
    let inbound = publish(Qos::ExactlyOnce);
    let events = pair
        .receive(|broker, out| broker.publish(&inbound, 3, out))
        .unwrap();
    let [
        Event::Publish {
            token: Some(token), ..
        },
    ] = events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!(pair.sent(), []);
    assert_eq!(
        pair.receive(|broker, out| broker.publish(&inbound, 3, out))
            .unwrap(),
        []
    );
    pair.session.acknowledge(token);
    assert_eq!(pair.sent(), [ClientPacket::PubRec(3)]);
    assert_eq!(
        pair.receive(|broker, out| broker.publish(&inbound, 3, out))
            .unwrap(),
        []
    );
    assert_eq!(pair.sent(), [ClientPacket::PubRec(3)]);
    pair.receive(|broker, out| broker.acknowledge(AckKind::Rel, 3, 0, out))
        .unwrap();
    assert_eq!(pair.sent(), [ClientPacket::PubComp(3)]);
    assert_eq!(
        pair.receive(|broker, out| broker.publish(&inbound, 3, out))
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn what_a_lost_session_remembered_is_forgotten() {
    let (mut pair, _) = greeted(ProtocolVersion::V5, &Announce::default());
    pair.receive(|broker, out| broker.publish(&publish(Qos::ExactlyOnce), 3, out))
        .unwrap();
    for (session_present, given) in [(true, 0), (false, 1)] {
        let (mut next, _) = greeted(
            ProtocolVersion::V5,
            &Announce {
                session_present,
                ..Announce::default()
            },
        );
        next.session.recall(pair.session.unreleased());
        let again = Publish {
            duplicate: true,
            ..publish(Qos::ExactlyOnce)
        };
        let events = next
            .receive(|broker, out| broker.publish(&again, 3, out))
            .unwrap();
        assert_eq!(events.len(), given, "session present: {session_present}");
    }
}

#[test]
fn a_disconnect_says_who_took_the_session() {
    let (mut pair, _) = greeted(ProtocolVersion::V5, &Announce::default());
    let error = pair
        .receive(|broker, out| broker.disconnect(0x8E, out))
        .unwrap_err();
    assert_eq!(error.kind(), FailureKind::Passing);
    assert!(
        error
            .to_string()
            .contains("another client connected with the same client id"),
        "{error}"
    );
}

#[test]
fn an_answer_with_packet_id_0_is_one_to_nothing() {
    for version in [ProtocolVersion::V5, ProtocolVersion::V311] {
        let (mut pair, _) = greeted(version, &Announce::default());
        pair.session.publish(&publish(Qos::AtLeastOnce), 7).unwrap();
        let strays = pair.receive(|broker, out| {
            [AckKind::Ack, AckKind::Rec, AckKind::Rel, AckKind::Comp]
                .into_iter()
                .for_each(|ack| broker.acknowledge(ack, 0, 0, out));
        });
        assert_eq!(strays.unwrap(), []);
        assert_eq!(
            pair.session.take_odd(),
            Some(Oddities {
                strays: 4,
                first: Some(("PUBACK", 0)),
                ..Oddities::default()
            })
        );
        // Nothing but the message goes out, and its answer counts.
        assert_eq!(pair.sent().len(), 1);
        let answered = pair.receive(|broker, out| broker.acknowledge(AckKind::Ack, 1, 0, out));
        assert_eq!(answered.unwrap(), [Event::Accepted { token: 7 }]);
    }
}

#[test]
fn an_answer_to_nothing_changes_nothing_and_is_counted() {
    for version in [ProtocolVersion::V5, ProtocolVersion::V311] {
        let (mut pair, _) = greeted(version, &Announce::default());
        pair.session.publish(&publish(Qos::AtLeastOnce), 7).unwrap();
        let strays = pair.receive(|broker, out| {
            [AckKind::Ack, AckKind::Rec, AckKind::Comp]
                .into_iter()
                .for_each(|ack| broker.acknowledge(ack, 2, 0, out));
            broker.suback(9, &[1], out);
            broker.acknowledge(AckKind::Rec, 1, 0, out);
        });
        assert_eq!(strays.unwrap(), []);
        assert_eq!(
            pair.session.take_odd(),
            Some(Oddities {
                strays: 5,
                first: Some(("PUBACK", 2)),
                ..Oddities::default()
            })
        );
        let twice = pair.receive(|broker, out| {
            (0..2).for_each(|_| broker.acknowledge(AckKind::Ack, 1, 0, out))
        });
        assert_eq!(twice.unwrap(), [Event::Accepted { token: 7 }]);
        assert_eq!(
            pair.session.take_odd(),
            Some(Oddities {
                strays: 1,
                first: Some(("PUBACK", 1)),
                ..Oddities::default()
            })
        );
        assert_eq!((pair.session.take_odd(), pair.sent().len()), (None, 1));
    }
}

/// Odd packets whose frame is sound, and which kind each is.
const ODD_PACKETS: [(&[u8], OddPacket); 13] = [
    (&[0x20, 3, 0, 0, 0], OddPacket::Greeting),
    (&[0x20, 2, 1, 0], OddPacket::Greeting),
    (&[0x20, 3, 0, 0x87, 0], OddPacket::Greeting),
    (&[0x20, 0], OddPacket::Greeting),
    (&[0xF0, 0], OddPacket::NotAskedFor),
    (
        &[0xF0, 6, 0x18, 4, 0x15, 0, 1, b'x'],
        OddPacket::NotAskedFor,
    ),
    (&[0xFF, 1, 9], OddPacket::NotAskedFor),
    (&[0xC0, 0], OddPacket::ClientOnly),
    (&[0x82, 6, 0, 1, 0, 1, b'a', 0], OddPacket::ClientOnly),
    (&[0x10, 2, 0, 0], OddPacket::ClientOnly),
    (&[0xD0, 2, 7, 7], OddPacket::Body),
    (&[0xD3, 0], OddPacket::Flags),
    (&[0x4A, 2, 0, 9], OddPacket::Flags),
];

#[test]
fn a_packet_that_is_odd_is_passed_over_and_told() {
    for version in [ProtocolVersion::V5, ProtocolVersion::V311] {
        for (bytes, kind) in ODD_PACKETS {
            let (mut pair, _) = greeted(version, &Announce::default());
            pair.session.publish(&publish(Qos::AtLeastOnce), 7).unwrap();
            pair.sent();
            let events = pair.receive(|broker, out| {
                (0..2).for_each(|_| out.extend_from_slice(bytes));
                broker.acknowledge(AckKind::Ack, 1, 0, out);
            });
            let events = events.unwrap_or_else(|error| panic!("{bytes:x?}: {error}"));
            assert_eq!(events, [Event::Accepted { token: 7 }], "{bytes:x?}");
            let odd = pair.session.take_odd().unwrap();
            assert_eq!(
                (odd.packets, pair.sent()),
                (kind.bit(), vec![]),
                "{bytes:x?}"
            );
        }
    }
}

#[test]
fn an_answer_with_wrong_flags_and_a_pingresp_with_a_body_are_answers() {
    let (mut pair, _) = greeted(ProtocolVersion::V5, &Announce::default());
    pair.session.ask();
    pair.receive(|_, out| out.extend_from_slice(&[0xD0, 1, 0]))
        .unwrap();
    assert!(pair.session.answered().is_some());
    pair.sent();
    // As MQTT 3.1 had it, and as a broker sends it again.
    for first in [0x60, 0x6A] {
        pair.receive(|_, out| out.extend_from_slice(&[first, 2, 0, 3]))
            .unwrap();
        assert_eq!(pair.sent(), [ClientPacket::PubComp(3)]);
    }
}

#[test]
fn a_message_that_cannot_be_answered_comes_without_a_claim_and_those_behind_it_come() {
    for version in [ProtocolVersion::V5, ProtocolVersion::V311] {
        for first in [0x32, 0x34, 0x36, 0x3B] {
            let (mut pair, _) = greeted(version, &Announce::default());
            let events = pair.receive(|broker, out| {
                let id = u8::from(first & 6 == 6);
                out.extend_from_slice(&[first, 6, 0, 1, b'a', 0, id, 0]);
                broker.publish(&publish(Qos::AtLeastOnce), 4, out);
            });
            let events = events.unwrap();
            let [
                Event::Unfit {
                    token: None,
                    publish: odd,
                    ..
                },
                Event::Publish { token: Some(_), .. },
            ] = &events[..]
            else {
                panic!("{first:x} {events:?}")
            };
            assert_eq!((&*odd.topic, odd.qos), (&b"a"[..], Qos::AtMostOnce));
            assert_eq!(pair.sent(), []);
        }
    }
}

#[test]
fn what_has_lost_its_frame_costs_the_connection() {
    for version in [ProtocolVersion::V5, ProtocolVersion::V311] {
        for bytes in [
            &[0xD0, 0xFF, 0xFF, 0xFF, 0xFF][..],
            &[0x00, 0],
            &[0x05, 1, 1],
        ] {
            let (mut pair, _) = greeted(version, &Announce::default());
            let ended = pair.receive(|_, out| out.extend_from_slice(bytes));
            assert!(matches!(ended, Err(Error::Malformed(_))), "{bytes:x?}");
        }
    }
}

#[test]
fn level_2_is_accepted_in_whatever_way_the_broker_says_so() {
    use AckKind::{Ack, Comp, Rec};
    for answers in [
        &[Rec, Comp][..],
        &[Rec, Rec, Comp, Comp],
        &[Comp, Rec],
        &[Ack],
        &[Ack, Rec, Comp],
        &[Rec, Ack, Comp],
    ] {
        let (mut pair, _) = greeted(ProtocolVersion::V5, &Announce::default());
        pair.session.publish(&publish(Qos::ExactlyOnce), 7).unwrap();
        let events = pair.receive(|broker, out| {
            answers
                .iter()
                .for_each(|answer| broker.acknowledge(*answer, 1, 0, out))
        });
        assert_eq!(
            events.unwrap(),
            [Event::Accepted { token: 7 }],
            "{answers:?}"
        );
        assert!(!pair.session.has_unanswered());
    }
}

#[test]
fn the_shorter_keep_alive_holds_and_none_means_our_own() {
    for (told, seconds) in [(None, 30), (Some(0), 30), (Some(8), 8), (Some(65_535), 30)] {
        let (pair, established) = greeted(
            ProtocolVersion::V5,
            &Announce {
                keep_alive: told,
                ..Announce::default()
            },
        );
        assert_eq!(established.keep_alive, seconds * SECOND, "{told:?}");
        assert!(pair.session.due().unwrap() < pair.now + 30 * SECOND);
    }
}

#[test]
fn what_is_in_flight_is_bounded_in_bytes_too_but_one_message_always_goes() {
    let (mut pair, _) = greeted(ProtocolVersion::V5, &Announce::default());
    let large = Publish {
        payload: Bytes::from(vec![0; 60_000]),
        ..publish(Qos::AtLeastOnce)
    };
    pair.session.publish(&large, 1).unwrap();
    assert_eq!(
        pair.session.publish(&publish(Qos::AtLeastOnce), 2),
        Err(UnsendablePublish::WindowFull)
    );
    assert!(pair.session.wants_to_measure());
    pair.session.measure(pair.now);
    pair.now += SECOND / 10;
    pair.receive(|broker, out| broker.acknowledge(AckKind::Ack, 1, 0, out))
        .unwrap();
    pair.session.publish(&large, 2).unwrap();
    pair.session.publish(&publish(Qos::AtLeastOnce), 3).unwrap();
}

#[test]
fn a_silent_broker_is_pinged_and_given_up() {
    let (mut pair, _) = greeted(
        ProtocolVersion::V5,
        &Announce {
            keep_alive: Some(8),
            ..Announce::default()
        },
    );
    let start = pair.now;
    pair.session.tick(start + 6 * SECOND).unwrap();
    assert_eq!(pair.sent(), []);
    pair.now = start + 7 * SECOND;
    pair.session.tick(pair.now).unwrap();
    assert_eq!(pair.sent(), [ClientPacket::Ping]);
    assert_eq!(pair.receive(|broker, out| broker.pong(out)).unwrap(), []);
    pair.session.tick(start + 14 * SECOND).unwrap();
    assert!(matches!(
        pair.session.tick(start + 22 * SECOND),
        Err(Error::Silent {
            unanswered: false,
            ..
        })
    ));
}

#[test]
fn a_peer_that_only_sends_what_we_must_answer_is_cut_off() {
    let (mut pair, _) = greeted(ProtocolVersion::V5, &Announce::default());
    let flood = |broker: &BrokerWire, out: &mut BytesMut| {
        for id in 1..=u16::MAX {
            broker.acknowledge(AckKind::Rel, id, 0, out);
        }
    };
    let outcome = (0..8).try_for_each(|_| pair.receive(flood).map(drop));
    assert!(matches!(outcome, Err(Error::Protocol(_))));
    assert!(pair.session.output().len() < 2 * MAX_ECHO_BYTES);
}

#[test]
fn mutated_streams_cost_the_connection_at_most() {
    for seed in 0..20_000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let version = [ProtocolVersion::V5, ProtocolVersion::V311][usize::from(random.bool())];
        let (mut pair, _) = greeted(
            version,
            &Announce {
                session_present: true,
                ..Announce::default()
            },
        );
        for token in 0..4 {
            pair.session
                .publish(
                    &publish([Qos::AtLeastOnce, Qos::ExactlyOnce][token as usize % 2]),
                    token,
                )
                .unwrap();
        }
        pair.session
            .subscribe(&["a", "b"].map(|filter| Subscription {
                filter: filter.to_owned(),
                qos: Qos::AtLeastOnce,
                id: None,
            }));
        let mut bytes = valid_stream(version, &mut random).to_vec();
        // The stream starts with a CONNACK, which has had its turn.
        bytes.drain(..usize::from(bytes[1]) + 2);
        mutate(&mut bytes, &mut random);
        let (mut input, mut events, mut rest) = (BytesMut::new(), Vec::new(), &bytes[..]);
        while !rest.is_empty() {
            let (part, later) = rest.split_at(random.usize(1..=rest.len().min(700)));
            rest = later;
            input.extend_from_slice(part);
            if pair
                .session
                .receive(&mut input, pair.now, &mut events)
                .is_err()
            {
                break;
            }
            for event in events.drain(..) {
                if let Event::Publish {
                    token: Some(token), ..
                }
                | Event::Oversize {
                    token: Some(token), ..
                } = event
                {
                    pair.session.acknowledge(token);
                }
            }
        }
        assert!(
            pair.session.output().len() <= 4_000 + 2 * bytes.len(),
            "seed {seed}"
        );
    }
}
