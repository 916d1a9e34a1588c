//! What sources and uplinks have in common: the connection to a broker.

pub(super) mod nats;
pub(super) mod token;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use crate::file;
use crate::link::{Backoff, Deadlines, Tls, check_identity};
use crate::message::Qos;
use crate::mqtt::{self, Login, Protocol, Will};

use super::address::{AddressError, BrokerAddress};
use super::check::shown;
use super::fields::Fields;
use super::tree::Place;
use crate::config::problem::code::ProblemCode;

/// Which side of the gateway a connection is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Keeps its session and receives.
    Source,
    /// Starts afresh and sends.
    Uplink,
}

/// A connection, and how to speak of it.
#[derive(Debug)]
pub(super) struct ConnectionSpec {
    pub(super) mqtt: mqtt::Config,
    pub(super) path: String,
    /// Where its client id was written, else the table.
    pub(super) client_id_place: Place,
}

const HOUR: Duration = Duration::from_secs(3_600);

/// Reads the keys of a connection.
pub(super) fn read(
    fields: &mut Fields<'_>,
    role: Role,
    gateway: &str,
    name: &str,
) -> ConnectionSpec {
    let address = address(fields);
    let tls = tls(fields, &address, address.scheme());
    let client_id = client_id(fields, gateway, name);
    let mqtt = mqtt::Config {
        client_id,
        protocol: protocol(fields),
        clean_start: role == Role::Uplink,
        keep_alive: fields.duration("keep_alive", Duration::from_secs(1)..=HOUR),
        // Each side limits one direction only; the other one carries nothing but that we are there.
        receive_maximum: if role == Role::Source {
            port_sized(fields, "receive_maximum")
        } else {
            u16::MAX
        },
        inflight: if role == Role::Uplink {
            port_sized(fields, "inflight")
        } else {
            1
        },
        max_packet_bytes: u32::try_from(fields.size("max_packet", 1 << 10..=256 << 20))
            .unwrap_or(u32::MAX),
        login: login(fields, gateway),
        tls,
        will: will(fields),
        // Known once the flows are.
        priority: false,
        deadlines: deadlines(fields, role),
        backoff: backoff(fields),
        host: address.host,
        port: address.port,
        websocket: address.websocket,
    };
    ConnectionSpec {
        mqtt,
        path: fields.path.clone(),
        client_id_place: fields.place_of("client_id"),
    }
}

pub(super) fn qos(fields: &mut Fields<'_>) -> Qos {
    u8::try_from(fields.count("qos", 0..=2))
        .ok()
        .and_then(Qos::from_level)
        .unwrap_or_default()
}

/// Whether `topic` can be published to.
pub(super) fn is_topic(topic: &str) -> bool {
    !topic.is_empty() && topic.len() <= usize::from(u16::MAX) && !topic.contains(['+', '#', '\0'])
}

/// The usual port of something else than what `scheme` says, with what is at the other end: it may be meant, and mostly it cannot work.
pub(super) fn unusual_port(
    fields: &Fields<'_>,
    address: &BrokerAddress,
    (scheme, noun): (&str, &str),
) {
    if let Some((message, meant)) = address.port_of_another(scheme) {
        let hint = format!("{meant}, unless your {noun} has it so");
        fields.problem(ProblemCode::Port, "url", message, hint);
    }
}

fn address(fields: &mut Fields<'_>) -> BrokerAddress {
    let nowhere = BrokerAddress::default();
    if !fields.require("url", "\"mqtt://127.0.0.1:1883\"") {
        return nowhere;
    }
    let Some(url) = fields.text("url") else {
        return nowhere;
    };
    BrokerAddress::parse(url)
        .inspect(|address| {
            let scheme = match (address.websocket.is_some(), address.tls) {
                (true, true) => "mqtt+wss",
                (true, false) => "mqtt+ws",
                (false, true) => "mqtts",
                (false, false) => "mqtt",
            };
            unusual_port(fields, address, (scheme, "broker"));
        })
        .unwrap_or_else(|error| {
            let code = if matches!(error, AddressError::Later(_)) {
                ProblemCode::Later
            } else {
                ProblemCode::Url
            };
            let hint = match error {
                AddressError::UnknownScheme(_) => format!(
                    "{}; other schemes that a `url` may have: `tidegate check --manual`",
                    error.hint()
                ),
                _ => error.hint(),
            };
            fields.problem(code, "url", format!("the URL {error}"), hint);
            // What follows from the scheme is not to be a second mistake.
            BrokerAddress {
                tls: fields.has("tls"),
                ..nowhere
            }
        })
}

fn client_id(fields: &mut Fields<'_>, gateway: &str, name: &str) -> String {
    let Some(written) = fields.text("client_id") else {
        return format!("tidegate-{gateway}-{name}");
    };
    if written.is_empty() || written.len() > 256 || written.chars().any(char::is_control) {
        fields.problem(
            ProblemCode::OutOfRange,
            "client_id",
            "a client id has 1 to 256 bytes and no control characters",
            None,
        );
    }
    written.to_owned()
}

fn protocol(fields: &mut Fields<'_>) -> Protocol {
    let words = [
        ("auto", Protocol::Auto),
        ("5", Protocol::V5),
        ("3.1.1", Protocol::V311),
    ];
    fields.choice("protocol", &words).unwrap_or_default()
}

fn port_sized(fields: &mut Fields<'_>, key: &'static str) -> u16 {
    u16::try_from(fields.count(key, 1..=u32::from(u16::MAX))).unwrap_or(u16::MAX)
}

fn login(fields: &mut Fields<'_>, gateway: &str) -> Option<Login> {
    let user = fields.text("user");
    let password = token::read(fields, "password", gateway);
    if user.is_none() && fields.has("password") && !fields.has("user") {
        fields.problem(
            ProblemCode::Conflict,
            "password",
            format!("`{}` has a password and no user", fields.path),
            "add: user = \"…\"".to_owned(),
        );
    }
    user.map(|user| Login {
        user: user.to_owned(),
        password,
    })
}

/// How a scheme is written with TLS.
fn secure(plain: &str) -> String {
    match plain {
        "postgres" | "nats" => format!("{plain}+tls://"),
        plain => format!("{plain}s://"),
    }
}

/// Its TLS, where the URL says so; `plain` is its scheme where it does not.
pub(super) fn tls(fields: &mut Fields<'_>, address: &BrokerAddress, plain: &str) -> Option<Tls> {
    let written = fields.table("tls");
    if written.is_some() && !address.tls {
        fields.problem(
            ProblemCode::Conflict,
            "tls",
            format!("`tls` is set, but the URL says {plain}://"),
            format!("write {} in the URL", secure(plain)),
        );
    }
    let Some(mut tls) = written else {
        return address.tls.then(Tls::default);
    };
    let ca = certificates(&mut tls, "ca", "CA certificate");
    let identity = identity(&mut tls, "client certificate");
    let server_name = server_name(&mut tls);
    let alpn = alpn(&mut tls);
    tls.done();
    Some(Tls {
        ca,
        identity,
        server_name,
        alpn,
    })
}

/// A certificate, which is `what`, and its key.
pub(super) fn identity(tls: &mut Fields<'_>, what: &str) -> Option<(PathBuf, PathBuf)> {
    let certificate = certificates(tls, "cert", what);
    let key = private_key(tls);
    if certificate.is_some() != key.is_some() {
        let (given, missing) = if key.is_some() {
            ("key", "cert")
        } else {
            ("cert", "key")
        };
        let message = format!("`{given}` without `{missing}`: a {what} needs both");
        tls.problem(
            ProblemCode::Conflict,
            given,
            message,
            format!("add: {missing} = \"…\""),
        );
    }
    let identity = certificate.zip(key);
    if let Some((certificate, key)) = identity
        .as_ref()
        .filter(|(certificate, key)| file::is_file(certificate) && file::is_file(key))
        && !tls.check.has_problem_at(tls.place_of("cert"))
        && !tls.check.has_problem_at(tls.place_of("key"))
        && let Err(error) = check_identity(certificate, key)
    {
        tls.file_problem(ProblemCode::Certificate, "key", error.to_string(), None);
    }
    identity
}

fn server_name(tls: &mut Fields<'_>) -> Option<String> {
    let server_name = tls.text("server_name").map(str::to_owned);
    if let Some(name) = server_name
        .as_deref()
        .filter(|name| ServerName::try_from(*name).is_err())
    {
        let hint =
            "write the name the broker's certificate is for, such as broker.example.com".to_owned();
        tls.problem(
            ProblemCode::Certificate,
            "server_name",
            format!("`{name}` is neither a host name nor an address"),
            hint,
        );
    }
    server_name
}

/// Names of protocols offered in the handshake (RFC 7301).
fn alpn(tls: &mut Fields<'_>) -> Vec<String> {
    let alpn: Vec<String> = tls
        .texts("alpn")
        .into_iter()
        .map(|(protocol, _)| protocol.to_owned())
        .collect();
    if alpn
        .iter()
        .any(|protocol| !(1..=255).contains(&protocol.len()))
    {
        tls.problem(
            ProblemCode::OutOfRange,
            "alpn",
            "a protocol name has 1 to 255 bytes",
            None,
        );
    }
    alpn
}

pub(super) fn certificates(tls: &mut Fields<'_>, key: &'static str, what: &str) -> Option<PathBuf> {
    let written = tls.text(key)?;
    let path = tls
        .check
        .file(ProblemCode::Certificate, tls.place_of(key), what, written);
    if file::is_file(&path)
        && let Some(pem) = pem(tls, key, what, &path)
    {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        if found.map_or(true, |found| found.is_empty()) {
            not_pem(tls, key, what, written, "CERTIFICATE");
        }
    }
    Some(path)
}

pub(super) fn private_key(tls: &mut Fields<'_>) -> Option<PathBuf> {
    let written = tls.text("key")?;
    let path = tls.check.file(
        ProblemCode::Certificate,
        tls.place_of("key"),
        "private key",
        written,
    );
    if !file::is_file(&path) {
        return Some(path);
    }
    let Some(pem) = pem(tls, "key", "private key", &path) else {
        return Some(path);
    };
    if PrivateKeyDer::from_pem_slice(&pem).is_err() {
        not_pem(tls, "key", "private key", written, "PRIVATE KEY");
    } else if file::about(&path).is_ok_and(|found| found.permissions().mode() & 0o004 != 0) {
        let hint = format!("chmod 640 {}", shown(&path));
        tls.problem(
            ProblemCode::SecretExposed,
            "key",
            "everybody on this machine can read this private key",
            hint,
        );
    }
    Some(path)
}

/// What is in a file; that it cannot be read, or is longer than any such file, is told.
fn pem(tls: &Fields<'_>, key: &str, what: &str, path: &Path) -> Option<Vec<u8>> {
    let read = file::read(path, file::BY_HAND);
    let told = |error| {
        tls.file_problem(
            ProblemCode::Certificate,
            key,
            format!("the {what} `{}` cannot be read: {error}", shown(path)),
            None,
        )
    };
    read.map_err(told).ok()
}

fn not_pem(tls: &Fields<'_>, key: &str, what: &str, written: &str, label: &str) {
    let hint = format!("a PEM file has a line -----BEGIN {label}-----");
    tls.file_problem(
        ProblemCode::Certificate,
        key,
        format!("`{written}` cannot be read as a {what}"),
        hint,
    );
}

fn will(fields: &mut Fields<'_>) -> Option<Will> {
    let mut will = fields.table("will")?;
    will.require("topic", "\"gateways/barn-7/status\"");
    let topic = will.text("topic").unwrap_or_default().to_owned();
    if will.has("topic") && !is_topic(&topic) {
        will.problem(
            ProblemCode::Topic,
            "topic",
            format!("`{topic}` cannot be published to"),
            "a topic is not empty and has no `+` and `#`".to_owned(),
        );
    }
    let payload = Bytes::from(will.text("payload").unwrap_or_default().to_owned());
    let qos = if will.has("qos") {
        qos(&mut will)
    } else {
        Qos::default()
    };
    let retain = will.flag("retain");
    let online = will.text("online").map(|text| text.to_owned().into());
    will.find("qos");
    will.done();
    Some(Will {
        topic,
        payload,
        qos,
        retain,
        online,
    })
}

pub(super) fn deadlines(fields: &mut Fields<'_>, role: Role) -> Deadlines {
    let mut section = fields.section("deadlines");
    let range = || Duration::from_millis(100)..=HOUR;
    let read = Deadlines {
        dial: section.duration("dial", range()),
        handshake: section.duration("handshake", range()),
        write: section.duration("write", range()),
        answer: if role == Role::Uplink {
            section.duration("answer", range())
        } else {
            Deadlines::default().answer
        },
    };
    section.done();
    read
}

pub(super) fn backoff(fields: &mut Fields<'_>) -> Backoff {
    backoff_of(fields, "backoff")
}

/// Delays that double, under this key.
pub(super) fn backoff_of(fields: &mut Fields<'_>, key: &'static str) -> Backoff {
    let mut section = fields.section(key);
    let range = || Duration::from_millis(1)..=24 * HOUR;
    let read = Backoff {
        first: section.duration("first", range()),
        cap: section.duration("cap", range()),
        jitter: section.share("jitter", 0.0..=1.0),
    };
    if read.first > read.cap {
        section.problem(
            ProblemCode::Conflict,
            "first",
            "`first` is longer than `cap`",
            None,
        );
    }
    section.done();
    read
}
