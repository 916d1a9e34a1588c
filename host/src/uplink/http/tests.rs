//! A way to a server that a script plays, byte by byte.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::link::{Backoff, ConnectionLoss, Deadlines, Dial};
use crate::message::{Message, Qos, Seq, Stored};
use crate::uplink::Compress;
use crate::uplink::carrier::{Carrier, CarrierFault, Manner};
use crate::uplink::web::{self, Pause};

type ServerDialler = <HttpCarrier as Carrier>::Dial;

const SECOND: Duration = Duration::from_secs(1);

fn config(port: u16) -> Config {
    Config {
        id: "tidegate-barn-7-cloud".to_owned(),
        host: "127.0.0.1".to_owned(),
        port,
        tls: None,
        path: RequestPath::parse("/in/{device}").unwrap(),
        method: Method::Post,
        headers: vec![("x-site".to_owned(), HeaderText::Open("barn".to_owned()))],
        pack: BodyFormat::Ndjson,
        has_envelope: false,
        line: None,
        compress: Compress::None,
        batch_messages: 10,
        batch_bytes: 1 << 20,
        deadlines: Deadlines {
            answer: SECOND,
            ..Deadlines::default()
        },
        backoff: Backoff::default(),
        pause: Pause::default(),
    }
}

async fn dial(config: Config) -> HttpCarrier {
    ServerDialler::new(config).dial(0).await.unwrap()
}

/// A server that a test plays, and a way to it.
async fn pair(change: impl FnOnce(&mut Config)) -> (TcpListener, HttpCarrier) {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = config(server.local_addr().unwrap().port());
    change(&mut config);
    (server, dial(config).await)
}

fn offer(lane: &mut HttpCarrier, device: &str, number: u64) -> Result<(), Unsendable> {
    let topic = Bytes::from(format!("up/{device}"));
    let message = Message {
        device: Some(device.as_bytes().into()),
        topic: topic.clone(),
        ..Message::default()
    };
    let stored = Stored {
        seq: Seq(number),
        message,
    };
    let packet = OutgoingPacket {
        topic,
        payload: format!("{{\n\"n\": {number}}}").into(),
        headers: Bytes::new(),
        qos: Qos::AtLeastOnce,
        retain: false,
    };
    let about = PacketOrigin {
        stored: &stored,
        prefix: "barn-7/abcdefgh/cloud/telemetry/",
        arrived: Some(stored.message.received),
        is_asked_anew: false,
        is_beside: false,
    };
    lane.offer(packet, about, number)
}

/// One request, head and body.
async fn request(stream: &mut TcpStream) -> (String, String) {
    let mut text = Vec::new();
    loop {
        let mut chunk = [0; 4_096];
        let count = stream.read(&mut chunk).await.unwrap();
        assert!(
            count > 0,
            "the way was closed: {}",
            String::from_utf8_lossy(&text)
        );
        text.extend_from_slice(&chunk[..count]);
        let whole = String::from_utf8_lossy(&text).into_owned();
        let Some((head, body)) = whole.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse().unwrap());
        if body.len() >= length {
            return (head.to_owned(), body.to_owned());
        }
    }
}

async fn answer(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
}

/// Turns until something is answered, or it is over.
async fn answers(lane: &mut HttpCarrier) -> Result<Vec<Answer>, Error> {
    let mut answers = Vec::new();
    lane.turn(&mut answers).await?;
    Ok(answers)
}

#[tokio::test]
async fn a_request_says_what_is_in_it_and_neighbours_of_one_path_share_it() {
    let (server, mut lane) = pair(|_| ()).await;
    offer(&mut lane, "a/b", 1).unwrap();
    offer(&mut lane, "a/b", 2).unwrap();
    assert!(matches!(offer(&mut lane, "c", 3), Err(Unsendable::Full)));
    assert!(matches!(
        offer(&mut lane, "..", 4),
        Err(Unsendable::Full | Unsendable::Never(_))
    ));
    let serve = async {
        let (mut stream, _) = server.accept().await.unwrap();
        let (head, body) = request(&mut stream).await;
        answer(&mut stream, "HTTP/1.1 204 No Content\r\n\r\n").await;
        (head, body, stream)
    };
    let ((head, body, _stream), said) = tokio::join!(serve, answers(&mut lane));
    assert!(head.starts_with("POST /in/a%2Fb HTTP/1.1\r\n"), "{head}");
    for line in [
        "content-type: application/x-ndjson",
        "x-site: barn",
        "accept-encoding: identity",
        "idempotency-key: barn-7/abcdefgh/cloud/telemetry/0/1+1-",
    ] {
        assert!(head.contains(line), "{head}");
    }
    assert_eq!(body, "{ \"n\": 1}\n{ \"n\": 2}\n");
    let said = said.unwrap();
    assert!(matches!(
        said[..],
        [Answer::Accepted { token: 1 }, Answer::Accepted { token: 2 }]
    ));
    assert!(matches!(
        offer(&mut lane, "..", 4),
        Err(Unsendable::Never(_))
    ));
    assert!(offer(&mut lane, "c", 3).is_ok());
}

#[tokio::test]
async fn a_connection_that_was_closed_between_two_requests_is_made_anew_and_one_in_the_middle_is_not()
 {
    let (server, mut lane) = pair(|_| ()).await;
    let (mut first, _) = server.accept().await.unwrap();
    offer(&mut lane, "d", 1).unwrap();
    let serve = async {
        request(&mut first).await;
        answer(&mut first, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    };
    let ((), said) = tokio::join!(serve, answers(&mut lane));
    assert_eq!(said.unwrap().len(), 1);
    drop(first);
    offer(&mut lane, "d", 2).unwrap();
    let serve = async {
        let (mut second, _) = server.accept().await.unwrap();
        request(&mut second).await;
        // Instead of an answer.
    };
    let ((), said) = tokio::join!(serve, answers(&mut lane));
    let error = said.unwrap_err();
    assert_eq!(error.manner(), Manner::HungUp, "{error}");
}

#[tokio::test]
async fn an_answer_that_does_not_come_or_does_not_end_is_none() {
    for begun in ["", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome"] {
        let (server, mut lane) = pair(|_| ()).await;
        offer(&mut lane, "d", 1).unwrap();
        let serve = async {
            let (mut stream, _) = server.accept().await.unwrap();
            request(&mut stream).await;
            answer(&mut stream, begun).await;
            stream
        };
        let (_stream, said) = tokio::join!(serve, answers(&mut lane));
        let error = said.unwrap_err();
        assert!(matches!(error, Error::Wire(web::Error::Late(_))), "{error}");
        assert_eq!(error.manner(), Manner::StoodStill);
    }
}

#[tokio::test]
async fn an_answer_of_any_length_is_read_no_further_than_a_mebibyte() {
    let (server, mut lane) = pair(|_| ()).await;
    offer(&mut lane, "d", 1).unwrap();
    let serve = async {
        let (mut stream, _) = server.accept().await.unwrap();
        request(&mut stream).await;
        answer(
            &mut stream,
            "HTTP/1.1 400 Bad Request\r\n\r\n\u{1b}[2Jno\r\n",
        )
        .await;
        let mut sent = 0_usize;
        while stream.write_all(&[b'x'; 64 << 10]).await.is_ok() && sent < 64 << 20 {
            sent += 64 << 10;
        }
        sent
    };
    let (said, sent) = tokio::join!(
        async {
            let said = answers(&mut lane).await;
            drop(lane);
            said
        },
        serve
    );
    let said = said.unwrap();
    let [
        Answer::Refused {
            kind: super::super::carrier::Refusal::Final,
            reason,
            ..
        },
    ] = &said[..]
    else {
        panic!("{said:?}");
    };
    assert!(
        reason.starts_with("400 Bad Request: ") && !reason.contains('\u{1b}'),
        "{reason}"
    );
    assert!(reason.chars().count() < 250 && sent < 64 << 20, "{reason}");
}

#[tokio::test]
async fn what_means_no_message_ends_the_way_and_the_pause_holds_for_all() {
    let pause = Pause::default();
    for (answered, is_held) in [
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", true),
        (
            "HTTP/1.1 301 Moved\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n",
            true,
        ),
        (
            "HTTP/1.1 503 Busy\r\nRetry-After: 60\r\nContent-Length: 0\r\n\r\n",
            false,
        ),
    ] {
        let (server, mut lane) = pair(|config| {
            config.path = RequestPath::parse("/in").unwrap();
            config.pause = pause.clone();
        })
        .await;
        offer(&mut lane, "d", 1).unwrap();
        let serve = async {
            let (mut stream, _) = server.accept().await.unwrap();
            request(&mut stream).await;
            answer(&mut stream, answered).await;
            stream
        };
        let (_stream, said) = tokio::join!(serve, answers(&mut lane));
        let error = said.unwrap_err();
        assert_eq!(error.manner(), Manner::Elsewhere, "{error}");
        assert_eq!(matches!(error, Error::Held { .. }), is_held, "{error}");
        assert_eq!(error.pause(), (!is_held).then_some(60 * SECOND));
        assert!(lane.is_unproven());
    }
    let others = ServerDialler::new(Config { pause, ..config(1) });
    let error = others.dial(0).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, Error::Asked(_)), "{error}");
    assert!(error.pause().is_some_and(|left| left > 30 * SECOND));
}

#[tokio::test]
async fn what_is_no_http_is_said_so() {
    let (server, mut lane) = pair(|_| ()).await;
    offer(&mut lane, "d", 1).unwrap();
    let serve = async {
        let (mut stream, _) = server.accept().await.unwrap();
        request(&mut stream).await;
        answer(&mut stream, "220 mail.example.com ESMTP\r\n\r\n").await;
        stream
    };
    let (_stream, said) = tokio::join!(serve, answers(&mut lane));
    let error = said.unwrap_err();
    assert!(
        matches!(error, Error::Wire(web::Error::Stranger(_))),
        "{error}"
    );
    assert_eq!(error.manner(), Manner::HungUp);
}

/// A server that reads one request, answers it so, and what comes of it.
async fn answered(
    lane: &mut HttpCarrier,
    server: &TcpListener,
    text: &[u8],
) -> Result<Vec<Answer>, Error> {
    let serve = async {
        let (mut stream, _) = server.accept().await.unwrap();
        request(&mut stream).await;
        stream.write_all(text).await.unwrap();
        stream
    };
    let (_stream, said) = tokio::join!(serve, answers(lane));
    said
}

#[tokio::test]
async fn what_is_said_of_a_path_that_a_message_makes_may_be_about_that_message() {
    for status in [
        301, 401, 403, 404, 405, 410, 414, 415, 409, 418, 431, 451, 101, 999,
    ] {
        let head = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
        let (server, mut lane) = pair(|_| ()).await;
        offer(&mut lane, "d", 1).unwrap();
        let error = answered(&mut lane, &server, head.as_bytes())
            .await
            .unwrap_err();
        assert_eq!(error.manner(), Manner::HungUp, "{error}");
        assert!(error.to_string().contains(&status.to_string()), "{error}");
        assert!(!lane.is_unproven() && error.kind() == crate::link::FailureKind::Passing);
    }
}

#[tokio::test]
async fn an_answer_that_nobody_asked_for_is_not_taken_for_the_next_one() {
    let (server, mut lane) = pair(|_| ()).await;
    let twice = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".repeat(2);
    offer(&mut lane, "d", 1).unwrap();
    let serve = async {
        let (mut first, _) = server.accept().await.unwrap();
        request(&mut first).await;
        answer(&mut first, &twice).await;
        first
    };
    let (_first, said) = tokio::join!(serve, answers(&mut lane));
    assert_eq!(said.unwrap().len(), 1);
    offer(&mut lane, "d", 2).unwrap();
    let refused = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
    let said = answered(&mut lane, &server, refused).await.unwrap();
    assert!(
        matches!(said[..], [Answer::Refused { token: 2, .. }]),
        "{said:?}"
    );
}

#[tokio::test]
async fn over_a_topic_without_an_answer_messages_go_alone_until_there_is_one() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = Config {
        path: RequestPath::parse("/in").unwrap(),
        ..config(server.local_addr().unwrap().port())
    };
    let dialler = ServerDialler::new(config);
    let mut lane = dialler.dial(0).await.unwrap();
    offer(&mut lane, "a", 1).unwrap();
    offer(&mut lane, "b", 2).unwrap();
    let error = answered(&mut lane, &server, b"").await.unwrap_err();
    assert!(matches!(error, Error::Wire(web::Error::Late(_))), "{error}");
    let mut lane = dialler.dial(0).await.unwrap();
    offer(&mut lane, "c", 3).unwrap();
    assert!(matches!(offer(&mut lane, "b", 2), Err(Unsendable::Full)));
    let mut lane = dialler.dial(0).await.unwrap();
    let _passed_over = server.accept().await.unwrap();
    offer(&mut lane, "b", 2).unwrap();
    assert!(matches!(offer(&mut lane, "c", 3), Err(Unsendable::Full)));
    let good = b"HTTP/1.1 204 No Content\r\n\r\n";
    answered(&mut lane, &server, good).await.unwrap();
    offer(&mut lane, "b", 2).unwrap();
    offer(&mut lane, "c", 3).unwrap();
    let mut lane = dialler.dial(0).await.unwrap();
    offer(&mut lane, "a", 1).unwrap();
    let error = answered(&mut lane, &server, b"").await.unwrap_err();
    assert!(matches!(error, Error::Wire(web::Error::Late(_))), "{error}");
    assert_eq!(error.manner(), Manner::StoodStill);
}

#[tokio::test]
async fn words_that_are_packed_are_not_shown() {
    let (server, mut lane) = pair(|_| ()).await;
    offer(&mut lane, "d", 1).unwrap();
    let packed = b"HTTP/1.1 400 Bad Request\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00";
    let said = answered(&mut lane, &server, packed).await.unwrap();
    let [Answer::Refused { reason, .. }] = &said[..] else {
        panic!("{said:?}");
    };
    assert_eq!(reason, "400 Bad Request: (its words are packed: gzip)");
}

#[tokio::test]
async fn a_token_that_the_server_says_again_is_starred() {
    let token = HeaderText::Token(crate::link::Secret::new("open-sesame"));
    let header = ("authorization".to_owned(), token);
    let (server, mut lane) = pair(|config| config.headers = vec![header]).await;
    offer(&mut lane, "d", 1).unwrap();
    let said = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 36\r\n\r\n{\"you_said\": \"Bearer open-sesame\"}  ";
    let said = answered(&mut lane, &server, said).await.unwrap();
    let [Answer::Refused { reason, .. }] = &said[..] else {
        panic!("{said:?}");
    };
    assert_eq!(reason, "400 Bad Request: {\"you_said\": \"Bearer ***\"}");
}

#[test]
fn a_secret_shows_nowhere() {
    let token = crate::link::Secret::new("open-sesame");
    let config = Config {
        headers: vec![("authorization".to_owned(), HeaderText::Token(token))],
        ..config(1)
    };
    assert!(!format!("{:?}", Arc::new(config)).contains("sesame"));
}
