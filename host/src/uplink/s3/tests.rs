//! A way into a bucket whose server a script plays, byte by byte.

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::link::{Backoff, ConnectionLoss, Deadlines, Dial, FailureKind, Secret};
use crate::message::{Message, Qos, Seq, Stored};
use crate::uplink::carrier::{Carrier, Refusal};
use crate::uplink::web::Pause;
use crate::uplink::{Compress, LineFormat, Template};

type BucketDialler = <S3Carrier as Carrier>::Dial;

const SECOND: Duration = Duration::from_secs(1);

fn config(port: u16) -> Config {
    Config {
        id: "tidegate-barn-7-archive".to_owned(),
        host: "127.0.0.1".to_owned(),
        port,
        tls: None,
        place: BucketPlace {
            endpoint: format!("http://127.0.0.1:{port}"),
            name: "barn".to_owned(),
            region: "us-east-1".to_owned(),
            is_path_style: true,
        },
        prefix: Template::parse("history").unwrap(),
        access_key: Secret::new("AKIDEXAMPLE"),
        secret_key: Secret::new("hunter22hunter22"),
        form: LineFormat::Ndjson,
        has_envelope: false,
        compress: Compress::None,
        batch_messages: 100,
        batch_bytes: 1 << 20,
        batch_wait: 3_600 * SECOND,
        deadlines: Deadlines {
            answer: 5 * SECOND,
            ..Deadlines::default()
        },
        backoff: Backoff::default(),
        pause: Pause::default(),
    }
}

/// A server that a test plays, and a way to it.
async fn pair() -> (TcpStream, S3Carrier) {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = config(server.local_addr().unwrap().port());
    let lane = BucketDialler::new(config).dial(0).await.unwrap();
    (server.accept().await.unwrap().0, lane)
}

fn offer(lane: &mut S3Carrier, number: u64) -> Result<(), Unsendable> {
    let topic = Bytes::from_static(b"up/d1");
    let message = Message {
        device: Some(b"d1".as_slice().into()),
        topic: topic.clone(),
        ..Message::default()
    };
    let stored = Stored {
        seq: Seq(number),
        message,
    };
    let packet = OutgoingPacket {
        topic,
        payload: format!("{{\"n\":{number}}}").into(),
        headers: Bytes::new(),
        qos: Qos::AtLeastOnce,
        retain: false,
    };
    let about = PacketOrigin {
        stored: &stored,
        prefix: "barn-7/abcdefgh/archive/telemetry/",
        arrived: Some(crate::clock::WallTime(1_795_885_200_000_000)),
        is_asked_anew: false,
        is_beside: false,
    };
    lane.offer(packet, about, number)
}

/// One request: its first line, its head, and its body.
async fn request(stream: &mut TcpStream) -> (String, String, String) {
    let mut text = Vec::new();
    loop {
        let mut chunk = [0; 4_096];
        let count = stream.read(&mut chunk).await.unwrap();
        assert!(count > 0, "the way was closed");
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
            let line = head.lines().next().unwrap().to_owned();
            return (line, head.to_owned(), body.to_owned());
        }
    }
}

async fn answer(stream: &mut TcpStream, status: &str, body: &str) {
    let length = body.len();
    let text = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}");
    stream.write_all(text.as_bytes()).await.unwrap();
}

/// What is known of an object of so many bytes.
async fn there(stream: &mut TcpStream, status: &str, length: usize) {
    let text = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(text.as_bytes()).await.unwrap();
}

fn error(code: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>No, AKIDEXAMPLE</Message></Error>"
    )
}

fn name(line: &str) -> &str {
    line.split(['?', ' ']).nth(1).unwrap()
}

async fn turn(lane: &mut S3Carrier) -> (Vec<Answer>, Result<(), Error>) {
    let mut answers = Vec::new();
    let turned = lane.turn(&mut answers).await;
    (answers, turned)
}

#[tokio::test]
async fn what_gathers_goes_when_nothing_more_comes_and_what_is_there_already_is_accepted() {
    let (mut stream, mut lane) = pair().await;
    let mut names = Vec::new();
    for status in ["200 OK", "412 Precondition Failed"] {
        (1..=3).for_each(|number| offer(&mut lane, number).unwrap());
        lane.press();
        let server = async {
            let (line, head, body) = request(&mut stream).await;
            answer(&mut stream, status, "").await;
            if status.starts_with("412") {
                let (asked, ..) = request(&mut stream).await;
                assert!(asked.starts_with("HEAD ") && name(&asked) == name(&line));
                there(&mut stream, "200 OK", body.len()).await;
            }
            (line, head, body)
        };
        let ((line, head, body), (answers, turned)) = tokio::join!(server, turn(&mut lane));
        turned.unwrap();
        assert_eq!(body, "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n");
        assert!(head.contains("if-none-match: *"), "{head}");
        assert!(!head.contains("hunter"), "{head}");
        let accepted = |answer: &Answer| matches!(answer, Answer::Accepted { .. });
        assert!(
            answers.len() == 3 && answers.iter().all(accepted),
            "{answers:?}"
        );
        assert_eq!(lane.room(), 100);
        names.push(name(&line).to_owned());
    }
    assert_eq!(names[0], names[1]);
    let begins = "/barn/history/telemetry/dt%3D2026-11-28/hour%3D17/barn-7-abcdefgh-archive-0-1-3-";
    assert!(
        names[0].starts_with(begins) && names[0].ends_with(".ndjson"),
        "{names:?}"
    );
}

#[tokio::test]
async fn what_is_said_to_be_there_and_is_not_goes_under_another_name_and_then_without_a_condition()
{
    for (status, length) in [("404 Not Found", 0), ("403 Forbidden", 8), ("200 OK", 7)] {
        let (mut stream, mut lane) = pair().await;
        offer(&mut lane, 1).unwrap();
        lane.press();
        let server = async {
            let (first, ..) = request(&mut stream).await;
            answer(&mut stream, "412 Precondition Failed", "").await;
            let (asked, ..) = request(&mut stream).await;
            assert!(asked.starts_with("HEAD "), "{asked}");
            there(&mut stream, status, length).await;
            let (second, head, _) = request(&mut stream).await;
            assert!(head.contains("if-none-match: *"), "{head}");
            answer(&mut stream, "412 Precondition Failed", "").await;
            let (third, head, body) = request(&mut stream).await;
            assert!(!head.contains("if-none-match"), "{head}");
            assert_eq!(body, "{\"n\":1}\n");
            answer(&mut stream, "200 OK", "").await;
            (first, second, third)
        };
        let ((first, second, third), (answers, turned)) = tokio::join!(server, turn(&mut lane));
        turned.unwrap();
        assert!(
            matches!(answers[..], [Answer::Accepted { .. }]),
            "{answers:?}"
        );
        assert_ne!(name(&first), name(&second));
        assert_eq!(name(&second), name(&third));
        let stem = name(&first).strip_suffix(".ndjson").unwrap();
        assert!(name(&second).starts_with(stem) && name(&second).ends_with(".ndjson"));
    }
}

#[tokio::test]
async fn other_messages_in_the_same_span_are_another_object() {
    let (mut stream, mut lane) = pair().await;
    let mut names = Vec::new();
    for numbers in [&[1, 3][..], &[1, 2, 3]] {
        numbers
            .iter()
            .for_each(|number| offer(&mut lane, *number).unwrap());
        lane.press();
        let server = async {
            let (line, ..) = request(&mut stream).await;
            answer(&mut stream, "200 OK", "").await;
            line
        };
        let (line, (_, turned)) = tokio::join!(server, turn(&mut lane));
        turned.unwrap();
        names.push(name(&line).to_owned());
    }
    assert_ne!(names[0], names[1]);
}

#[tokio::test]
async fn one_that_is_too_large_is_found_and_refused_with_the_words_of_the_server() {
    let (mut stream, mut lane) = pair().await;
    (1..=8).for_each(|number| offer(&mut lane, number).unwrap());
    lane.press();
    let server = async {
        let mut requests = 0;
        loop {
            let (.., body) = request(&mut stream).await;
            requests += 1;
            if body.contains("{\"n\":6}") {
                answer(&mut stream, "400 Bad Request", &error("EntityTooLarge")).await;
            } else {
                answer(&mut stream, "200 OK", "").await;
            }
            if body.contains("{\"n\":8}") && !body.contains("{\"n\":6}") {
                return requests;
            }
        }
    };
    let client = async {
        let mut all = Vec::new();
        while all.len() < 8 {
            let (answers, turned) = turn(&mut lane).await;
            turned.unwrap();
            all.extend(answers);
        }
        all
    };
    let (requests, answers) = tokio::join!(server, client);
    assert!(requests < 12, "{requests}");
    let refused: Vec<_> = answers
        .iter()
        .filter_map(|answer| match answer {
            Answer::Refused {
                token,
                kind,
                reason,
            } => Some((*token, *kind, reason.as_str())),
            Answer::Accepted { .. } => None,
        })
        .collect();
    let words = "400 EntityTooLarge: No, ***";
    assert_eq!(refused, [(6, Refusal::Final, words)]);
}

#[tokio::test]
async fn a_wrong_key_holds_everything_and_is_not_shown() {
    let (mut stream, mut lane) = pair().await;
    offer(&mut lane, 1).unwrap();
    lane.press();
    let server = async {
        request(&mut stream).await;
        answer(&mut stream, "403 Forbidden", &error("InvalidAccessKeyId")).await;
    };
    let ((), (answers, turned)) = tokio::join!(server, turn(&mut lane));
    let told = turned.unwrap_err();
    assert!(answers.is_empty() && told.kind() == FailureKind::Refused);
    let told = told.to_string();
    assert!(
        told.contains("403 InvalidAccessKeyId: No, ***; nothing is parked, check `access_key`"),
        "{told}"
    );
    assert!(lane.is_unproven());
}

#[tokio::test]
async fn by_another_clock_it_is_signed_again_and_without_a_condition_it_is_sent_again() {
    let (mut stream, mut lane) = pair().await;
    offer(&mut lane, 1).unwrap();
    lane.press();
    let server = async {
        let (first, ..) = request(&mut stream).await;
        let body = error("RequestTimeTooSkewed");
        let skewed = "403 Forbidden\r\ndate: Mon, 28 Nov 2050 17:00:00 GMT";
        answer(&mut stream, skewed, &body).await;
        let (second, ..) = request(&mut stream).await;
        answer(&mut stream, "501 Not Implemented", &error("NotImplemented")).await;
        let (_, head, _) = request(&mut stream).await;
        answer(&mut stream, "200 OK", "").await;
        (first, second, head)
    };
    let ((first, second, head), (answers, turned)) = tokio::join!(server, turn(&mut lane));
    turned.unwrap();
    assert_eq!((answers.len(), name(&first)), (1, name(&second)));
    assert!(
        !first.contains("X-Amz-Date=2050") && second.contains("X-Amz-Date=20501128T1700"),
        "{second}"
    );
    assert!(!head.contains("if-none-match"), "{head}");
}
