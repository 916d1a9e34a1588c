use std::task::Waker;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, yield_now};

use super::*;
use crate::link::{Backoff, Deadlines};
use crate::nats::NatsLogin;

/// A server that takes any login, and whatever it then says.
async fn opened<F: Future<Output = ()> + Send + 'static>(
    says: impl FnOnce(TcpStream) -> F + Send + 'static,
) -> (NatsConnection, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = Config {
        name: "us".to_owned(),
        host: "127.0.0.1".to_owned(),
        port: listener.local_addr().unwrap().port(),
        tls: None,
        login: NatsLogin::Open,
        inbox: "_INBOX".to_owned(),
        max_message_bytes: 1 << 20,
        deadlines: Deadlines::default(),
        backoff: Backoff::default(),
    };
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let info = "INFO {\"version\":\"2.11.0\",\"max_payload\":1048576,\"headers\":true}\r\n";
        stream.write_all(info.as_bytes()).await.unwrap();
        let mut said = Vec::new();
        while !said.ends_with(b"PING\r\n") {
            stream.read_buf(&mut said).await.unwrap();
        }
        stream.write_all(b"PONG\r\n").await.unwrap();
        says(stream).await;
    });
    (NatsConnection::open(&config).await.unwrap(), server)
}

#[tokio::test]
async fn others_get_their_turn_while_a_server_says_much() {
    const ROW: usize = 256 << 10;
    let message = format!("MSG a 1 1000\r\n{}\r\n", "x".repeat(1_000));
    let bytes = message.len();
    let (mut connection, _server) = opened(move |mut stream: TcpStream| async move {
        let many = message.repeat(64);
        while stream.write_all(many.as_bytes()).await.is_ok() {}
    })
    .await;
    let mut row = 0;
    // A turn that always finds something still waits now and then.
    while row <= 8 * ROW {
        let mut events = Vec::new();
        let mut cx = Context::from_waker(Waker::noop());
        if connection.poll_turn(&mut cx, &mut events).is_ready() {
            row += events.len() * bytes;
        } else if row > 0 {
            break;
        }
        yield_now().await;
    }
    // Twice where a timer is due just then.
    assert!(row <= 2 * ROW + (128 << 10), "{row}");
}

#[tokio::test]
async fn a_server_that_asks_and_asks_is_owed_one_answer() {
    const PINGS: u64 = 200_000;
    let (mut connection, server) = opened(move |mut stream: TcpStream| async move {
        let pings = "PING\r\n".repeat(1_000);
        for _ in 0..PINGS / 1_000 {
            stream.write_all(pings.as_bytes()).await.unwrap();
        }
        stream.write_all(b"MSG a 1 0\r\n\r\n").await.unwrap();
        // The first answer is for the first ping, or a later one.
        let mut answer = [0; 6];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"PONG\r\n");
        while matches!(stream.read(&mut [0; 64]).await, Ok(1..)) {}
    })
    .await;
    let before = connection.end();
    let (mut events, mut turns) = (Vec::new(), 0);
    while events.is_empty() {
        connection.turn(&mut events).await.unwrap();
        turns += 1;
    }
    let said = (connection.end() - before) / 6;
    assert!(
        said >= 1 && said <= turns && said < PINGS / 100,
        "{said} answers in {turns} turns"
    );
    connection.close().await;
    server.await.unwrap();
}

#[test]
fn what_a_server_says_is_told_by_what_has_to_be_done() {
    for (said, is) in [
        ("Authorization Violation", "Login"),
        ("User Authentication Expired", "Login"),
        (
            "Permissions Violation for Subscription to \"_INBOX.x.*\"",
            "Forbidden",
        ),
        ("Maximum Payload Violation", "Offended"),
        ("Unknown Protocol Operation", "Offended"),
        ("Stale Connection", "Told"),
        ("maximum connections exceeded", "Told"),
    ] {
        assert!(format!("{:?}", ended(said)).starts_with(is), "{said}");
    }
    assert_eq!(
        forbidden("Permissions Violation for Publish to \"a.b\""),
        Some("a.b")
    );
    assert_eq!(forbidden("Stale Connection"), None);
}
