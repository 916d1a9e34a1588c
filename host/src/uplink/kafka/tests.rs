//! A way into a cluster whose only broker a script plays, byte by byte.

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::form::{put_count, put_text};
use super::requests::{ClusterView, TopicView};
use super::*;
use crate::link::{Backoff, Deadlines, Dial};
use crate::message::{Message, Qos, Seq, Stored};
use crate::uplink::carrier::Carrier;
use crate::uplink::{Compress, Template};

type ClusterDialler = <KafkaCarrier as Carrier>::Dial;

/// What is said of a batch.
const ACCEPTED: i16 = 0;
const TOO_LARGE: i16 = 10;

fn config(port: u16) -> Config {
    Config {
        id: "tidegate-barn-7-cloud".to_owned(),
        servers: vec![("127.0.0.1".to_owned(), port)],
        tls: None,
        login: None,
        topic: TopicName::parse("tele").unwrap(),
        key: Template::parse("{device}").unwrap(),
        compress: Compress::None,
        batch_messages: 100,
        batch_bytes: 1 << 20,
        deadlines: Deadlines::default(),
        backoff: Backoff::default(),
    }
}

/// One request: what is asked, and its number.
async fn request(stream: &mut TcpStream) -> (i16, i32) {
    let length = stream.read_i32().await.unwrap();
    let mut whole = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut whole).await.unwrap();
    let mut whole = &whole[..];
    let (api, _, number) = (whole.get_i16(), whole.get_i16(), whole.get_i32());
    (api, number)
}

async fn answer(stream: &mut TcpStream, number: i32, body: &[u8]) {
    let mut whole = BytesMut::new();
    put_count(4 + body.len(), &mut whole);
    whole.put_i32(number);
    whole.put_slice(body);
    stream.write_all(&whole).await.unwrap();
}

/// Produce 3 and Metadata 4, whose answers are the shortest.
fn abilities() -> BytesMut {
    let mut body = BytesMut::new();
    body.put_i16(0);
    put_count(2, &mut body);
    for (api, version) in [(0, 3), (3, 4)] {
        body.put_i16(api);
        body.put_i16(version);
        body.put_i16(version);
    }
    body
}

/// These brokers, and these topics: name, code, and the leader of each partition.
fn view(brokers: &[(i32, u16)], topics: &[(&str, i16, &[i32])]) -> BytesMut {
    let mut body = BytesMut::new();
    body.put_i32(0);
    put_count(brokers.len(), &mut body);
    for (number, port) in brokers {
        body.put_i32(*number);
        put_text("127.0.0.1", &mut body);
        body.put_i32(i32::from(*port));
        body.put_i16(-1);
    }
    body.put_i16(-1);
    body.put_i32(1);
    put_count(topics.len(), &mut body);
    for (name, code, leaders) in topics {
        body.put_i16(*code);
        put_text(name, &mut body);
        body.put_u8(0);
        put_count(leaders.len(), &mut body);
        for (partition, leader) in (0..).zip(*leaders) {
            body.put_i16(0);
            body.put_i32(partition);
            body.put_i32(*leader);
            put_count(0, &mut body);
            put_count(0, &mut body);
        }
    }
    body
}

/// What became of each of these partitions of `tele`.
fn produced(told: &[(i32, i16)]) -> BytesMut {
    let mut body = BytesMut::new();
    put_count(1, &mut body);
    put_text("tele", &mut body);
    put_count(told.len(), &mut body);
    for (partition, code) in told {
        body.put_i32(*partition);
        body.put_i16(*code);
        body.put_i64(0);
        body.put_i64(-1);
    }
    body.put_i32(0);
    body
}

/// A broker that a test plays, and a way into its cluster; `cluster` is what it says of that.
async fn pair(cluster: impl Fn(u16) -> BytesMut) -> (TcpStream, KafkaCarrier) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let dialler = ClusterDialler::new(config(port));
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (_, number) = request(&mut stream).await;
        answer(&mut stream, number, &abilities()).await;
        let (_, number) = request(&mut stream).await;
        answer(&mut stream, number, &cluster(port)).await;
        stream
    };
    let (stream, lane) = tokio::join!(server, dialler.dial(0));
    (stream, lane.unwrap())
}

fn offer(lane: &mut KafkaCarrier, token: u64, device: &str) {
    let topic = Bytes::copy_from_slice(format!("up/{device}").as_bytes());
    let message = Message {
        device: Some(device.as_bytes().into()),
        topic: topic.clone(),
        ..Message::default()
    };
    let stored = Stored {
        seq: Seq(token),
        message,
    };
    let packet = OutgoingPacket {
        topic,
        payload: Bytes::from_static(b"{}"),
        headers: Bytes::new(),
        qos: Qos::AtLeastOnce,
        retain: false,
    };
    let about = PacketOrigin {
        stored: &stored,
        prefix: "barn-7/abcdefgh/cloud/telemetry/",
        arrived: None,
        is_asked_anew: false,
        is_beside: false,
    };
    lane.offer(packet, about, token).unwrap();
}

/// Turns until the way is over or so many are answered; those that were accepted.
async fn accepted(lane: &mut KafkaCarrier, most: usize) -> (Vec<u64>, Result<(), Error>) {
    let mut answers = Vec::new();
    let mut turned = Ok(());
    while turned.is_ok() && answers.len() < most {
        turned = lane.turn(&mut answers).await;
    }
    let tokens = answers.iter().filter_map(|answer| match answer {
        Answer::Accepted { token } => Some(*token),
        Answer::Refused { .. } => None,
    });
    (tokens.collect(), turned)
}

#[tokio::test]
async fn what_a_broker_says_twice_or_of_what_it_was_not_sent_accepts_nothing() {
    for lie in [
        &[(0, ACCEPTED), (0, ACCEPTED)][..],
        &[(0, ACCEPTED), (1, ACCEPTED)],
    ] {
        let (mut stream, mut lane) = pair(|port| view(&[(1, port)], &[("tele", 0, &[1])])).await;
        (1..=4).for_each(|token| offer(&mut lane, token, "d1"));
        let server = async {
            let (_, number) = request(&mut stream).await;
            answer(&mut stream, number, &produced(&[(0, TOO_LARGE)])).await;
            // The first half of them; the other one is not sent.
            let (_, number) = request(&mut stream).await;
            answer(&mut stream, number, &produced(lie)).await;
        };
        let ((), (accepted, turned)) = tokio::join!(server, accepted(&mut lane, 4));
        assert_eq!(accepted, [0_u64; 0], "{lie:?}");
        let told = turned.unwrap_err();
        assert!(matches!(told, Error::Stranger(_)), "{told}");
    }
}

#[tokio::test]
async fn a_broker_that_is_away_keeps_nothing_from_the_others() {
    let away = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = away.local_addr().unwrap().port();
    drop(away);
    // Of four partitions "d1" and "d19" are in 1, "device-7" in 3, and "a" in 0.
    let (mut stream, mut lane) =
        pair(|port| view(&[(1, port), (2, gone)], &[("tele", 0, &[1, 2, 1, 1])])).await;
    for (token, device) in [(1, "d1"), (2, "device-7"), (3, "d19"), (4, "a")] {
        offer(&mut lane, token, device);
    }
    let server = async {
        let (api, number) = request(&mut stream).await;
        assert_eq!(api, 0);
        answer(
            &mut stream,
            number,
            &produced(&[(0, ACCEPTED), (3, ACCEPTED)]),
        )
        .await;
    };
    let ((), (mut accepted, turned)) = tokio::join!(server, accepted(&mut lane, 4));
    accepted.sort_unstable();
    assert_eq!(accepted, [2, 4]);
    let told = turned.unwrap_err();
    assert!(matches!(told, Error::Link(_)), "{told}");
    assert!(!lane.is_unproven());
}

#[test]
fn what_a_cluster_says_unasked_is_not_kept() {
    let names: Vec<String> = (0..5_000).map(|number| format!("t{number}")).collect();
    let topics: Vec<(&str, i16, &[i32])> = names
        .iter()
        .map(|name| (&**name, 0, &[1_i32][..]))
        .collect();
    let brokers: Vec<(i32, u16)> = (0..20_000).map(|number| (number, 9_092)).collect();
    let read = ClusterView::read(&view(&brokers, &topics), 4, &["t7", "t8"]).unwrap();
    assert_eq!(read.topics.len(), 2);
    assert!(read.brokers.len() < 2_000, "{}", read.brokers.len());
}

#[test]
fn what_passes_for_a_topic_is_no_reason_to_refuse_its_messages() {
    let of = |code| {
        let view = TopicView {
            code,
            ..TopicView::default()
        };
        fault("tele", &view)
    };
    for passes in [0, 5, 6, 7, 8, 9, 56] {
        assert!(matches!(of(passes), Some(Error::Busy(_))), "{passes}");
    }
    for stays in [3, 17, 29, 31] {
        assert!(matches!(of(stays), Some(Error::Held { .. })), "{stays}");
    }
}
