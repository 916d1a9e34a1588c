//! A source over HTTP.

use std::sync::Arc;
use std::time::Duration;

use super::super::address::{AddressError, BrokerAddress};
use super::super::connection::{backoff, certificates, identity};
use super::super::fields::Fields;
use super::super::secret;
use super::shared::{is_loopback, path_topic, spec};
use super::spec::SourceSpec;
use crate::config::problem::code::ProblemCode;
use crate::link::ServerTls;
use crate::message::legal;
use crate::source::SourceKind;
use crate::source::http::{BodySplit, Config};

/// Keys that only HTTP has.
pub(super) const OWN_KEYS: &[&str] = &[
    "topic",
    "split",
    "headers",
    "token",
    "open",
    "settle_within",
    "max_connections",
    "keep_alive",
    "origins",
];

/// Headers that may become properties at most.
const MOST_HEADERS: usize = 16;

pub(super) fn read(fields: &mut Fields<'_>, name: &str) -> SourceSpec {
    let address = address(fields);
    let tls = tls(fields, address.tls);
    let token = secret::read_token(fields, "token");
    let is_open = fields.flag("open");
    if !is_open && token.is_none() && !fields.has("token") && !is_guarded(&address, tls.as_ref()) {
        fields.problem(
            ProblemCode::Exposed,
            "url",
            format!(
                "whoever reaches `{}` could post messages here",
                address.host
            ),
            "set `token`, or `client_ca` in `tls`; or say `open = true`, or listen on 127.0.0.1"
                .to_owned(),
        );
    }
    let max_packet =
        u32::try_from(fields.size("max_packet", 1 << 10..=256 << 20)).unwrap_or(u32::MAX);
    let config = Config {
        topic: path_topic(fields, "http/{path}"),
        split: split(fields),
        headers: headers(fields),
        max_body_bytes: max_packet as usize,
        max_frame_bytes: max_packet as usize,
        keep_alive: fields.duration(
            "keep_alive",
            Duration::from_secs(1)..=Duration::from_secs(3_600),
        ),
        origins: origins(fields),
        settle_within: fields.duration(
            "settle_within",
            Duration::from_millis(100)..=Duration::from_secs(600),
        ),
        max_connections: fields.count("max_connections", 1..=10_000) as usize,
        backoff: backoff(fields),
        host: address.host,
        port: address.port,
        tls,
        token,
    };
    let is_split = config.split != BodySplit::None;
    let spec = spec(fields, name, SourceKind::Http(Box::new(config)), max_packet);
    narrowed(spec, is_split)
}

/// A body that is one message is no longer than a payload may be.
fn narrowed(mut spec: SourceSpec, is_split: bool) -> SourceSpec {
    if let SourceKind::Http(own) = &mut spec.kind
        && !is_split
    {
        own.max_body_bytes = own.max_body_bytes.min(spec.max_payload_bytes);
    }
    spec
}

fn address(fields: &mut Fields<'_>) -> BrokerAddress {
    let url = fields.text("url").unwrap_or_default();
    BrokerAddress::parse_http(url).unwrap_or_else(|error| {
        let hint = match &error {
            AddressError::Login => "use the key `token`".to_owned(),
            AddressError::Path => {
                "write http://127.0.0.1:8080, and what stands before each path in `topic`"
                    .to_owned()
            }
            AddressError::NoHost => "write http://127.0.0.1:8080".to_owned(),
            error => error.hint(),
        };
        fields.problem(ProblemCode::Url, "url", format!("the URL {error}"), hint);
        // What follows from the address is not to be a second mistake.
        BrokerAddress {
            host: "127.0.0.1".to_owned(),
            port: 0,
            tls: url.starts_with("https"),
            websocket: None,
        }
    })
}

fn tls(fields: &mut Fields<'_>, is_wanted: bool) -> Option<ServerTls> {
    let written = fields.table("tls");
    match (&written, is_wanted) {
        (Some(_), false) => fields.problem(
            ProblemCode::Conflict,
            "tls",
            "`tls` is set, but the URL says http://",
            "write https:// in the URL".to_owned(),
        ),
        (None, true) => fields.problem(
            ProblemCode::Missing,
            "url",
            "https:// needs a certificate",
            "add: tls = { cert = \"gateway.pem\", key = \"gateway.key\" }".to_owned(),
        ),
        _ => {}
    }
    written.map(server_tls)
}

/// The table `tls` of a port that others dial.
pub(in crate::config) fn server_tls(mut tls: Fields<'_>) -> ServerTls {
    tls.require("cert", "\"gateway.pem\"");
    tls.require("key", "\"gateway.key\"");
    let found = ServerTls {
        identity: identity(&mut tls, "server certificate").unwrap_or_default(),
        client_ca: certificates(&mut tls, "client_ca", "CA certificate"),
    };
    tls.done();
    found
}

/// Whether strangers are kept out without a token.
fn is_guarded(address: &BrokerAddress, tls: Option<&ServerTls>) -> bool {
    is_loopback(&address.host) || tls.is_some_and(|tls| tls.client_ca.is_some())
}

/// The pages that may open WebSockets: what browsers call their origin.
fn origins(fields: &mut Fields<'_>) -> Vec<Arc<str>> {
    let written = fields.texts("origins");
    // A browser leaves out the port that its scheme has anyway.
    let has_usual_port = |origin: &str, tls| origin.ends_with(if tls { ":443" } else { ":80" });
    let is_origin = |origin: &str| {
        let address = BrokerAddress::parse_http(origin);
        address.is_ok_and(|address| !has_usual_port(origin, address.tls)) && !origin.ends_with('/')
    };
    if let Some((origin, _)) = written.iter().find(|(origin, _)| !is_origin(origin)) {
        let message = format!("`{origin}` is no origin of a page");
        let hint = "write scheme, host and, where it is another than usual, port: https://panel.example.com";
        fields.problem(ProblemCode::OutOfRange, "origins", message, hint.to_owned());
    }
    written.iter().map(|(origin, _)| (*origin).into()).collect()
}

fn split(fields: &mut Fields<'_>) -> BodySplit {
    let words = [
        ("none", BodySplit::None),
        ("json-array", BodySplit::JsonArray),
        ("ndjson", BodySplit::Ndjson),
    ];
    fields.choice("split", &words).unwrap_or_default()
}

fn headers(fields: &mut Fields<'_>) -> Vec<Arc<str>> {
    let written = fields.texts("headers");
    let is_token = |name: &str| {
        let mut bytes = name.bytes();
        !name.is_empty() && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    let refused = written
        .iter()
        .map(|(name, _)| name.to_ascii_lowercase())
        .find(|name| !is_token(name) || legal::is_reserved(name) || name == "authorization");
    if let Some(name) = refused {
        fields.problem(
            ProblemCode::OutOfRange,
            "headers",
            format!("`{name}` cannot become a property"),
            "names of headers, but for authorization, content-encoding and tidegate-…".to_owned(),
        );
    }
    if written.len() > MOST_HEADERS {
        fields.problem(
            ProblemCode::OutOfRange,
            "headers",
            format!("at most {MOST_HEADERS} headers become properties"),
            None,
        );
    }
    let name = |(name, _): &(&str, _)| name.to_ascii_lowercase().into();
    written.iter().map(name).collect()
}
