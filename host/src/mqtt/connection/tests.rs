use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::interval;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::link::{ConnectionLoss, FailureKind, Secret, Tls};
use crate::message::Qos;
use crate::mqtt::settings::tests::config;
use crate::mqtt::wire::ProtocolVersion;
use crate::mqtt::wire::broker::{AckKind, Announce, BrokerWire, ClientPacket};
use crate::mqtt::{Config, Established, Login, Protocol};

/// A broker that sends every message back to the one who published it.
async fn echo<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) {
    let (mut wire, mut input, mut out) = (BrokerWire::new(), BytesMut::new(), BytesMut::new());
    let mut id = 0;
    loop {
        while let Some(request) = wire.read(&mut input) {
            match request {
                ClientPacket::Connect(_) => wire.connack(0, &Announce::default(), &mut out),
                ClientPacket::Subscribe { packet_id, filters } => {
                    wire.suback(packet_id, &vec![1; filters.len()], &mut out)
                }
                ClientPacket::Publish { publish, packet_id } => {
                    match publish.qos {
                        Qos::AtMostOnce => {}
                        Qos::AtLeastOnce => wire.acknowledge(AckKind::Ack, packet_id, 0, &mut out),
                        Qos::ExactlyOnce => wire.acknowledge(AckKind::Rec, packet_id, 0, &mut out),
                    }
                    id = id % 60_000 + 1;
                    wire.publish(
                        &publish,
                        if publish.qos == Qos::AtMostOnce {
                            0
                        } else {
                            id
                        },
                        &mut out,
                    );
                }
                ClientPacket::PubRel(id) => wire.acknowledge(AckKind::Comp, id, 0, &mut out),
                ClientPacket::PubRec(id) => wire.acknowledge(AckKind::Rel, id, 0, &mut out),
                ClientPacket::PubAck(_) | ClientPacket::PubComp(_) => {}
                ClientPacket::Ping => wire.pong(&mut out),
                ClientPacket::Disconnect | ClientPacket::Unsubscribe { .. } => return,
            }
        }
        if stream.write_all_buf(&mut out).await.is_err()
            || !matches!(stream.read_buf(&mut input).await, Ok(1..))
        {
            return;
        }
    }
}

/// A listener on a free port and a config that leads there.
async fn listen() -> (TcpListener, Config) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = config();
    config.port = listener.local_addr().unwrap().port();
    (listener, config)
}

/// Takes a connection and CONNECT, and answers with `bytes`.
async fn answer_connect(listener: &TcpListener, bytes: &[u8]) -> (TcpStream, BrokerWire) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let (mut wire, mut input) = (BrokerWire::new(), BytesMut::new());
    while wire.read(&mut input).is_none() {
        assert!(stream.read_buf(&mut input).await.unwrap() > 0);
    }
    stream.write_all(bytes).await.unwrap();
    (stream, wire)
}

fn message(number: usize, qos: Qos) -> Publish {
    let payload = vec![number as u8; 3 + number * 37 % 4_000];
    Publish {
        topic: Bytes::from(format!("devices/{number}")),
        payload: Bytes::from(payload),
        qos,
        ..Publish::default()
    }
}

/// Publishes messages of every level and takes them back.
async fn round_trip(config: &Config) -> Established {
    const MESSAGES: usize = 600;
    let (mut connection, established) = Connection::open(config).await.unwrap();
    connection.subscribe(&[Subscription {
        filter: "#".to_owned(),
        qos: Qos::ExactlyOnce,
        id: None,
    }]);
    let level = |number: usize| Qos::from_level((number % 3) as u8).unwrap();
    let (mut next, mut accepted, mut back, mut subscribed) = (0, 0, Vec::new(), false);
    let mut events = Vec::new();
    while accepted < MESSAGES * 2 / 3 || back.len() < MESSAGES || !subscribed {
        while next < MESSAGES && connection.room() > 0 {
            connection
                .publish(&message(next, level(next)), next as u64)
                .unwrap();
            next += 1;
        }
        // Dropping a turn at any moment must lose nothing.
        tokio::select! {
            biased;
            () = tokio::task::yield_now() => {}
            turned = connection.turn(&mut events) => turned.unwrap(),
        }
        for event in events.drain(..) {
            match event {
                Event::Publish { publish, token } => {
                    token
                        .into_iter()
                        .for_each(|token| connection.acknowledge(token));
                    back.push(publish);
                }
                Event::Accepted { .. } => accepted += 1,
                Event::Subscribed { refused, .. } => subscribed = refused.is_empty(),
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(
        back,
        (0..MESSAGES)
            .map(|number| message(number, level(number)))
            .collect::<Vec<_>>()
    );
    connection.close().await;
    established
}

#[tokio::test]
async fn messages_of_every_level_go_there_and_back() {
    for protocol in [Protocol::V5, Protocol::V311, Protocol::Auto] {
        let (listener, mut config) = listen().await;
        let broker = tokio::spawn(async move { echo(listener.accept().await.unwrap().0).await });
        config.protocol = protocol;
        let established = round_trip(&config).await;
        assert_eq!(
            established.protocol,
            if protocol == Protocol::V311 {
                Protocol::V311
            } else {
                Protocol::V5
            }
        );
        broker.await.unwrap();
    }
}

#[tokio::test]
async fn where_5_is_refused_3_1_1_is_tried_on_a_fresh_dial() {
    // The last two are no CONNACK of MQTT 5: a code of 3.1.1, and one without properties.
    let refusals: [&[u8]; 5] = [
        &[0x20, 2, 0, 1],
        &[0x20, 3, 0, 0x84, 0],
        &[0x20, 2, 0, 0],
        &[0x20, 3, 0, 1, 0],
        &[0x20, 4, 0, 0, 9, 9],
    ];
    for refusal in refusals {
        let (listener, config) = listen().await;
        let broker = tokio::spawn(async move {
            drop(answer_connect(&listener, refusal).await);
            echo(listener.accept().await.unwrap().0).await;
        });
        assert_eq!(round_trip(&config).await.protocol, Protocol::V311);
        broker.await.unwrap();
    }
}

#[tokio::test]
async fn a_broker_that_closes_is_asked_for_5_once_more_before_3_1_1_is_kept() {
    for knows_5 in [false, true] {
        let (listener, config) = listen().await;
        let broker = tokio::spawn(async move {
            // In the middle of its start, or older than MQTT 5.
            drop(answer_connect(&listener, &[]).await);
            echo(listener.accept().await.unwrap().0).await;
            if !knows_5 {
                drop(answer_connect(&listener, &[]).await);
            }
            echo(listener.accept().await.unwrap().0).await;
        });
        assert_eq!(
            round_trip(&config).await.protocol,
            if knows_5 {
                Protocol::V5
            } else {
                Protocol::V311
            }
        );
        broker.await.unwrap();
    }
}

#[tokio::test]
async fn a_broker_that_is_silent_on_5_is_asked_for_3_1_1() {
    let (listener, mut config) = listen().await;
    config.deadlines.handshake = Duration::from_secs(2);
    let broker = tokio::spawn(async move {
        let silent = answer_connect(&listener, &[]).await;
        echo(listener.accept().await.unwrap().0).await;
        drop(silent);
    });
    assert_eq!(round_trip(&config).await.protocol, Protocol::V311);
    broker.await.unwrap();
}

#[tokio::test]
async fn a_password_in_a_file_is_read_at_every_dial() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "first").unwrap();
    let (listener, mut config) = listen().await;
    config.protocol = Protocol::V5;
    config.login = Some(Login {
        user: "me".to_owned(),
        password: Some(Secret::read(&path).unwrap()),
    });
    for token in ["first", "renewed"] {
        std::fs::write(&path, format!("{token}\n")).unwrap();
        let (opened, said) = tokio::join!(Connection::open(&config), async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (mut wire, mut input) = (BrokerWire::new(), BytesMut::new());
            loop {
                if let Some(ClientPacket::Connect(said)) = wire.read(&mut input) {
                    stream.write_all(&[0x20, 3, 0, 0, 0]).await.unwrap();
                    return said.login;
                }
                assert!(stream.read_buf(&mut input).await.unwrap() > 0);
            }
        });
        opened.unwrap();
        assert_eq!(said, Some(("me".to_owned(), token.to_owned())));
    }
    std::fs::remove_file(&path).unwrap();
    let error = Connection::open(&config).await.unwrap_err();
    assert!(
        error.kind() == FailureKind::Passing && error.to_string().contains("token"),
        "{error}"
    );
}

#[tokio::test]
async fn who_speaks_something_else_is_told_in_words() {
    let (listener, mut config) = listen().await;
    config.protocol = Protocol::V5;
    let broker =
        tokio::spawn(async move { answer_connect(&listener, &[0x15, 3, 1, 0, 2, 2, 70]).await });
    let error = Connection::open(&config).await.unwrap_err();
    assert!(error.to_string().contains("mqtts://"), "{error}");
    broker.await.unwrap();
    let (listener, mut config) = listen().await;
    let broker = tokio::spawn(async move { drop(listener.accept().await.unwrap()) });
    config.tls = Some(Tls::default());
    let error = Connection::open(&config).await.unwrap_err();
    assert!(error.to_string().contains("mqtt://"), "{error}");
    broker.await.unwrap();
}

#[tokio::test]
async fn a_link_that_carries_something_lives_whatever_a_ping_waits_for() {
    let (listener, mut config) = listen().await;
    (config.keep_alive, config.deadlines.handshake) =
        (Duration::from_secs(2), Duration::from_secs(2));
    let thin = TcpListener::bind("127.0.0.1:0").await.unwrap();
    // Or else its own kernel would take megabytes at once, and nothing would move for seconds.
    socket2::SockRef::from(&thin)
        .set_recv_buffer_size(64 << 10)
        .unwrap();
    let (near, far) = (thin.local_addr().unwrap().port(), config.port);
    config.port = near;
    let broker = tokio::spawn(async move { echo(listener.accept().await.unwrap().0).await });
    // What comes is taken slowly, so that the sender's kernel has to keep it.
    let link = tokio::spawn(async move {
        let (near, _) = thin.accept().await.unwrap();
        let far = TcpStream::connect(("127.0.0.1", far)).await.unwrap();
        let (mut from, mut answers) = near.into_split();
        let (mut back, mut to) = far.into_split();
        tokio::spawn(async move { tokio::io::copy(&mut back, &mut answers).await });
        let (mut bytes, mut slot) = (vec![0; 128 << 10], interval(Duration::from_millis(200)));
        while let Ok(read @ 1..) = from.read(&mut bytes).await {
            if to.write_all(&bytes[..read]).await.is_err() {
                return;
            }
            if read > 1_000 {
                slot.reset();
                slot.tick().await;
            }
        }
    });
    let (mut connection, _) = Connection::open(&config).await.unwrap();
    let large = Publish {
        payload: Bytes::from(vec![7; 3 << 20]),
        ..message(0, Qos::AtLeastOnce)
    };
    connection.publish(&large, 9).unwrap();
    let (mut events, begun) = (Vec::new(), Instant::now());
    while events.is_empty() {
        connection.turn(&mut events).await.unwrap();
    }
    assert_eq!(events, [Event::Accepted { token: 9 }]);
    assert!(
        begun.elapsed() > Duration::from_secs(4),
        "the link was not thin: {:?}",
        begun.elapsed()
    );
    drop(connection);
    link.await.unwrap();
    broker.await.unwrap();
}

#[tokio::test]
async fn a_broker_that_has_frozen_is_noticed_although_its_kernel_takes_what_comes() {
    let (listener, mut config) = listen().await;
    // Pings follow each other sooner than patience ends.
    (config.keep_alive, config.deadlines.handshake) =
        (Duration::from_secs(2), Duration::from_secs(3));
    let broker = tokio::spawn(async move { answer_connect(&listener, &[0x20, 3, 0, 0, 0]).await });
    let (mut connection, _) = Connection::open(&config).await.unwrap();
    let _frozen = broker.await.unwrap();
    connection
        .publish(&message(1, Qos::AtLeastOnce), 1)
        .unwrap();
    let ended = timeout(Duration::from_secs(60), async {
        loop {
            if let Err(error) = connection.turn(&mut Vec::new()).await {
                return error;
            }
        }
    });
    assert!(matches!(
        ended.await.unwrap(),
        Error::Silent {
            unanswered: true,
            ..
        }
    ));
}

#[tokio::test]
async fn bad_credentials_are_not_tried_again_with_3_1_1() {
    let (listener, config) = listen().await;
    let broker =
        tokio::spawn(async move { answer_connect(&listener, &[0x20, 3, 0, 0x86, 0]).await });
    let error = Connection::open(&config).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Refused);
    assert!(
        error
            .to_string()
            .contains("bad user name or password (0x86)"),
        "{error}"
    );
    broker.await.unwrap();
}

#[tokio::test]
async fn messages_right_behind_connack_are_not_lost() {
    let (listener, config) = listen().await;
    let mut bytes = BytesMut::from(&[0x20, 3, 1, 0, 0][..]);
    BrokerWire::speaking(ProtocolVersion::V5).publish(&message(1, Qos::AtLeastOnce), 9, &mut bytes);
    let broker = tokio::spawn(async move { answer_connect(&listener, &bytes).await });
    let (mut connection, established) = Connection::open(&config).await.unwrap();
    assert!(established.session_present);
    let mut events = Vec::new();
    connection.turn(&mut events).await.unwrap();
    assert!(
        matches!(&events[..], [Event::Publish { publish, .. }] if publish.topic == "devices/1")
    );
    broker.await.unwrap();
}

#[tokio::test]
async fn a_broker_that_reads_nothing_is_still_read_and_then_given_up() {
    let (listener, mut config) = listen().await;
    // Longer than a busy machine keeps us from reading meanwhile.
    config.deadlines.write = Duration::from_secs(2);
    let broker = tokio::spawn(async move { answer_connect(&listener, &[0x20, 3, 0, 0, 0]).await });
    let (mut connection, _) = Connection::open(&config).await.unwrap();
    let (mut stream, wire) = broker.await.unwrap();
    let large = Publish {
        payload: Bytes::from(vec![0; 1 << 20]),
        ..message(0, Qos::AtMostOnce)
    };
    for _ in 0..32 {
        connection.publish(&large, 0).unwrap();
    }
    let mut bytes = BytesMut::new();
    wire.publish(&message(7, Qos::AtLeastOnce), 1, &mut bytes);
    stream.write_all(&bytes).await.unwrap();
    let mut events = Vec::new();
    while events.is_empty() {
        connection.turn(&mut events).await.unwrap();
    }
    assert!(connection.unsent() > 0);
    let error = loop {
        if let Err(error) = connection.turn(&mut events).await {
            break error;
        }
    };
    assert!(
        matches!(
            &error,
            Error::Link(link::Error::Deadline { phase, .. }) if phase == "writing to the broker"
        ),
        "{error}"
    );
    drop(stream);
}

#[tokio::test]
async fn while_reading_is_paused_nothing_comes_and_then_all() {
    let (listener, config) = listen().await;
    let broker = tokio::spawn(async move { echo(listener.accept().await.unwrap().0).await });
    let (mut connection, _) = Connection::open(&config).await.unwrap();
    connection.pause_reading(true);
    connection
        .publish(&message(1, Qos::AtLeastOnce), 1)
        .unwrap();
    let mut events = Vec::new();
    connection.turn(&mut events).await.unwrap();
    assert!(
        timeout(Duration::from_millis(50), connection.turn(&mut events))
            .await
            .is_err()
    );
    assert!(events.is_empty() && connection.unsent() == 0);
    connection.pause_reading(false);
    while events.len() < 2 {
        connection.turn(&mut events).await.unwrap();
    }
    connection.close().await;
    broker.await.unwrap();
}

#[tokio::test]
async fn the_broker_s_last_words_are_told() {
    let (listener, config) = listen().await;
    let broker =
        tokio::spawn(
            async move { answer_connect(&listener, &[0x20, 3, 0, 0, 0, 0xE0, 1, 0x8E]).await },
        );
    let (mut connection, _) = Connection::open(&config).await.unwrap();
    drop(broker.await.unwrap());
    // The write may fail before the words are read.
    connection
        .publish(&message(1, Qos::AtLeastOnce), 1)
        .unwrap();
    let error = connection.turn(&mut Vec::new()).await.unwrap_err();
    assert!(
        matches!(error, Error::Disconnected { code: 0x8E, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_broker_that_closes_or_stays_silent_is_told_apart() {
    let (listener, mut config) = listen().await;
    config.protocol = Protocol::V5;
    let broker = tokio::spawn(async move { drop(answer_connect(&listener, &[]).await) });
    let error = Connection::open(&config).await.unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("the broker closed the connection instead of answering CONNECT"),
        "{error}"
    );
    broker.await.unwrap();
    // Bound and not listening, so that nobody else gets the port.
    let deaf = tokio::net::TcpSocket::new_v4().unwrap();
    deaf.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    config.port = deaf.local_addr().unwrap().port();
    let error = Connection::open(&config).await.unwrap_err();
    assert!(
        matches!(error, Error::Link(link::Error::Dial { .. })),
        "{error}"
    );
    let (listener, mut config) = listen().await;
    config.deadlines.handshake = Duration::from_millis(50);
    let error = Connection::open(&config).await.unwrap_err();
    assert!(
        matches!(
            &error,
            Error::Link(link::Error::Deadline { phase, .. }) if phase == "the broker's answer to CONNECT"
        ),
        "{error}"
    );
    drop(listener);
}

/// A CA, a certificate for 127.0.0.1 and one for a client, as files.
struct Papers {
    folder: tempfile::TempDir,
    ca: Issuer<'static, KeyPair>,
    roots: Arc<RootCertStore>,
}

impl Papers {
    fn new() -> Self {
        Self::of("Test CA")
    }

    fn of(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(folder.path().join("ca.pem"), certificate.pem()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        Self {
            folder,
            ca: Issuer::new(params, key),
            roots: Arc::new(roots),
        }
    }

    /// Writes certificate and key, and says where.
    fn issue(&self, name: &str, edit: impl FnOnce(&mut CertificateParams)) -> (PathBuf, PathBuf) {
        let mut params =
            CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        edit(&mut params);
        let key = KeyPair::generate().unwrap();
        let paths = (
            self.path(&format!("{name}.pem")),
            self.path(&format!("{name}.key")),
        );
        std::fs::write(&paths.0, params.signed_by(&key, &self.ca).unwrap().pem()).unwrap();
        std::fs::write(&paths.1, key.serialize_pem()).unwrap();
        paths
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// An echo broker that asks for a client certificate of this CA.
    async fn broker(&self, edit: impl FnOnce(&mut CertificateParams)) -> Config {
        let (chain, key) = self.issue("broker", edit);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let clients =
            WebPkiClientVerifier::builder_with_provider(self.roots.clone(), provider.clone())
                .build()
                .unwrap();
        let mut settings = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(clients)
            .with_single_cert(
                vec![CertificateDer::from_pem_file(chain).unwrap()],
                PrivateKeyDer::from_pem_file(key).unwrap(),
            )
            .unwrap();
        settings.alpn_protocols = vec![b"mqtt".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(settings));
        let (listener, mut config) = listen().await;
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(stream) = acceptor.accept(stream).await {
                    echo(stream).await;
                }
            }
        });
        config.tls = Some(Tls {
            ca: Some(self.path("ca.pem")),
            ..Tls::default()
        });
        config.protocol = Protocol::V5;
        config
    }
}

fn with_identity(config: &Config, identity: (PathBuf, PathBuf)) -> Config {
    let tls = config.tls.clone().map(|tls| Tls {
        identity: Some(identity),
        ..tls
    });
    Config {
        tls,
        ..config.clone()
    }
}

async fn refusal(config: &Config, failure: FailureKind, words: &[&str]) {
    let error = match Connection::open(config).await {
        // With TLS 1.3 a refused client certificate may show only after the handshake.
        Ok((mut connection, _)) => connection.turn(&mut Vec::new()).await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(error.kind(), failure, "{error}");
    for word in words {
        assert!(
            error.to_string().contains(word),
            "`{word}` is not in: {error}"
        );
    }
}

#[tokio::test]
async fn with_certificates_on_both_sides_messages_go_there_and_back() {
    let papers = Papers::new();
    let config = papers.broker(|_| {}).await;
    round_trip(&with_identity(&config, papers.issue("client", |_| {}))).await;
}

/// A broker on a port that others share takes who asks for MQTT, or for nothing.
#[tokio::test]
async fn the_protocol_is_named_in_the_handshake_where_the_config_names_it() {
    let papers = Papers::new();
    let config = with_identity(&papers.broker(|_| {}).await, papers.issue("client", |_| {}));
    let asking = |alpn: &[&str]| {
        let alpn = alpn.iter().map(|name| (*name).to_owned()).collect();
        Config {
            tls: config.tls.clone().map(|tls| Tls { alpn, ..tls }),
            ..config.clone()
        }
    };
    round_trip(&asking(&["x-other", "mqtt"])).await;
    let error = Connection::open(&asking(&["x-other"]))
        .await
        .map(drop)
        .unwrap_err();
    assert!(
        matches!(error, Error::Link(link::Error::Tls { .. })),
        "{error}"
    );
}

#[tokio::test]
async fn a_broker_that_cannot_be_trusted_is_refused_in_words() {
    let papers = Papers::new();
    let config = papers.broker(|_| {}).await;
    for (other, words) in [
        ("Other CA", "a CA that is not trusted here"),
        ("Test CA", "another key"),
    ] {
        let other = Papers::of(other);
        let stranger = Config {
            tls: Some(Tls {
                ca: Some(other.path("ca.pem")),
                ..Tls::default()
            }),
            ..config.clone()
        };
        refusal(
            &stranger,
            FailureKind::Refused,
            &["127.0.0.1", words, "`ca`"],
        )
        .await;
    }
    let renamed = Config {
        tls: config.tls.clone().map(|tls| Tls {
            server_name: Some("elsewhere.example".to_owned()),
            ..tls
        }),
        ..config
    };
    refusal(
        &renamed,
        FailureKind::Refused,
        &["for another name", "`server_name`"],
    )
    .await;
    let expired = papers
        .broker(|params| params.not_after = rcgen::date_time_ymd(2020, 1, 1))
        .await;
    refusal(&expired, FailureKind::Refused, &["has expired"]).await;
    let early = papers
        .broker(|params| params.not_before = rcgen::date_time_ymd(2090, 1, 1))
        .await;
    refusal(&early, FailureKind::Refused, &["not yet valid", "clock"]).await;
}

#[tokio::test]
async fn a_client_that_the_broker_does_not_trust_is_told_why() {
    let (papers, others) = (Papers::new(), Papers::new());
    let config = papers.broker(|_| {}).await;
    refusal(
        &config,
        FailureKind::Refused,
        &["asks for a client certificate"],
    )
    .await;
    let stranger = with_identity(&config, others.issue("client", |_| {}));
    refusal(
        &stranger,
        FailureKind::Refused,
        &["does not accept our client certificate"],
    )
    .await;
}

#[tokio::test]
async fn files_that_do_not_work_are_named() {
    let papers = Papers::new();
    let config = papers.broker(|_| {}).await;
    let (chain, key) = papers.issue("client", |_| {});
    let (_, foreign) = papers.issue("foreign", |_| {});
    let empty = papers.path("empty.pem");
    std::fs::write(&empty, "nothing here").unwrap();
    let with_ca = |ca: &Path| {
        let tls = Some(Tls {
            ca: Some(ca.to_owned()),
            ..Tls::default()
        });
        Config {
            tls,
            ..config.clone()
        }
    };
    refusal(
        &with_ca(&papers.path("missing.pem")),
        FailureKind::Unread,
        &["missing.pem", "check the path"],
    )
    .await;
    refusal(
        &with_ca(&empty),
        FailureKind::Unread,
        &["empty.pem", "there is no certificate in it"],
    )
    .await;
    let cases = [
        (
            (empty.clone(), key.clone()),
            ["empty.pem", "there is no certificate in it"],
        ),
        (
            (chain.clone(), empty.clone()),
            ["empty.pem", "there is no private key in it"],
        ),
        (
            (chain, foreign),
            ["foreign.key", "does not belong to the certificate"],
        ),
    ];
    for (identity, words) in cases {
        refusal(
            &with_identity(&config, identity),
            FailureKind::Unread,
            &words,
        )
        .await;
    }
}

#[tokio::test]
async fn a_port_without_tls_is_told_so() {
    let (listener, mut config) = listen().await;
    let broker = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"this is not a handshake").await.unwrap();
        let _: std::io::Result<usize> = stream.read(&mut [0; 4_096]).await;
    });
    let papers = Papers::new();
    config.tls = Some(Tls {
        ca: Some(papers.path("ca.pem")),
        ..Tls::default()
    });
    refusal(&config, FailureKind::Passing, &["does not speak TLS"]).await;
    broker.await.unwrap();
}
