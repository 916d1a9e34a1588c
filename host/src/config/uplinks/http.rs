//! What an uplink to a server has that takes requests.

use super::super::address::{AddressError, BrokerAddress};
use super::super::check::Check;
use super::super::connection::{self, Role, token};
use super::super::fields::Fields;
use super::super::secret;
use super::super::tree::{Node, TomlEntry};
use super::spoken::{Spoken, batch, connections};
use crate::config::problem::code::ProblemCode;
use crate::link::{Secret, Tls};
use crate::message::legal;
use crate::telemetry::trace::CollectorHeader;
use crate::uplink::http::{
    BodyFormat, Config, DEVICE, HeaderText, InfluxFormat, Method, RequestPath, Tag,
};
use crate::uplink::web::Pause;
use crate::uplink::{Compress, IdForm, Template, UplinkKind};

/// Keys that mean nothing elsewhere.
pub(super) const OWN_KEYS: &[&str] = &[
    "batch",
    "method",
    "headers",
    "token",
    "influx",
    "tls",
    "connections",
    "pack",
    "id",
    "compress",
];

/// Headers that are made for each request.
const MADE: [&str; 8] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "idempotency-key",
    "te",
    "transfer-encoding",
];

/// Headers that are said between two ends about their connection: what they promise or ask for is not kept here.
const OF_CONNECTION: [&str; 5] = [
    "expect",
    "keep-alive",
    "proxy-connection",
    "trailer",
    "upgrade",
];

const PACKS: [(&str, BodyFormat); 4] = [
    ("raw", BodyFormat::Raw),
    ("json-array", BodyFormat::JsonArray),
    ("ndjson", BodyFormat::Ndjson),
    ("influx", BodyFormat::Influx),
];

pub(super) fn read(fields: &mut Fields<'_>, url: &str, gateway: &str, name: &str) -> Spoken {
    let (address, path) = place(fields, url);
    let tls = tls(fields, &address);
    let id = id(fields);
    let (batch_messages, batch_bytes) = batch(fields);
    let methods = [
        ("POST", Method::Post),
        ("PUT", Method::Put),
        ("PATCH", Method::Patch),
    ];
    let pack = fields.choice("pack", &PACKS).unwrap_or_default();
    let line = line(fields, pack, id);
    let ways = [
        ("none", Compress::None),
        ("zstd", Compress::Zstd),
        ("gzip", Compress::Gzip),
    ];
    let server = Config {
        id: format!("tidegate-{gateway}-{name}"),
        host: address.host,
        port: address.port,
        tls,
        path,
        method: fields.choice("method", &methods).unwrap_or_default(),
        headers: headers(fields, gateway),
        pack,
        line,
        has_envelope: id == IdForm::Envelope,
        compress: fields.choice("compress", &ways).unwrap_or_default(),
        batch_messages,
        batch_bytes,
        deadlines: connection::deadlines(fields, Role::Uplink),
        backoff: connection::backoff(fields),
        pause: Pause::default(),
    };
    let connections = connections(fields);
    Spoken::answered(fields, UplinkKind::Http(server), id, connections)
}

/// How messages become lines of `pack = "influx"`.
fn line(fields: &mut Fields<'_>, pack: BodyFormat, id: IdForm) -> Option<InfluxFormat> {
    let is_written = fields.has("influx");
    let mut table = fields.section("influx");
    let written = table.text("measurement").unwrap_or("{class}");
    let measurement = Template::parse(written).unwrap_or_else(|mistake| {
        let hint = "gateway, class, topic and device may stand in it, in braces".to_owned();
        let message = format!("`{}.measurement` {mistake}", table.path);
        table.problem(ProblemCode::Choice, "measurement", message, hint);
        Template::default()
    });
    if written.is_empty() {
        let hint = "leave it out for {class}, or give it a name".to_owned();
        let message = format!("`{}.measurement` is empty", table.path);
        table.problem(ProblemCode::OutOfRange, "measurement", message, hint);
    }
    let tags = tags(&mut table);
    let texts = table.flag("texts");
    table.done();
    if pack != BodyFormat::Influx {
        if is_written {
            let hint = "write pack = \"influx\", or leave it out".to_owned();
            fields.problem(
                ProblemCode::Conflict,
                "influx",
                "`influx` says how lines are made, and none are",
                hint,
            );
        }
        return None;
    }
    if id == IdForm::Envelope {
        let hint = "leave it out: a line that comes twice is one".to_owned();
        fields.problem(
            ProblemCode::Conflict,
            "id",
            "an envelope makes no line",
            hint,
        );
    }
    Some(InfluxFormat {
        measurement,
        tags,
        texts,
    })
}

/// Members that are tags. One that stood in a line twice would have the server refuse it.
fn tags(table: &mut Fields<'_>) -> Vec<Tag> {
    let mut tags: Vec<Tag> = Vec::new();
    for (text, place) in table.texts("tags") {
        let tag = Tag::of(text);
        let mistake = match tag.name() {
            "" => "is no name",
            DEVICE => "is there already: every line has it, with the device of the topic",
            name if tags.iter().any(|known| known.name() == name) => "is there twice",
            _ => {
                tags.push(tag);
                continue;
            }
        };
        let message = format!(
            "`{}.tags`: `{}` {mistake}",
            table.path,
            crate::words::line(text, 40)
        );
        let hint = "leave it out".to_owned();
        table
            .check
            .problem(ProblemCode::Conflict, place, message, hint);
    }
    tags
}

fn tls(fields: &mut Fields<'_>, address: &BrokerAddress) -> Option<Tls> {
    let tls = connection::tls(fields, address, "http");
    if tls.as_ref().is_some_and(|tls| !tls.alpn.is_empty()) {
        let hint = "requests go out as HTTP/1.1, which needs none: leave it out".to_owned();
        fields.problem(
            ProblemCode::Conflict,
            "tls",
            "`tls.alpn` means nothing to https://",
            hint,
        );
    }
    tls
}

/// Where it is: the host, and the path behind it.
fn place(fields: &mut Fields<'_>, url: &str) -> (BrokerAddress, RequestPath) {
    let start = url.find("://").map_or(0, |at| at + "://".len());
    let end = url[start..]
        .find(['/', '?', '#'])
        .map_or(url.len(), |at| start + at);
    let (server, path) = url.split_at(end);
    let parsed = BrokerAddress::parse_http(server);
    if let Ok(address) = &parsed {
        let scheme = if address.tls { "https" } else { "http" };
        connection::unusual_port(fields, address, (scheme, "server"));
    }
    let address = parsed.unwrap_or_else(|error| {
        let hint = match &error {
            AddressError::Login => "use the keys `token` and `headers`".to_owned(),
            AddressError::Brackets(_) | AddressError::Host(_) | AddressError::Port => error.hint(),
            _ => "write http://host:port/path, or https:// for TLS".to_owned(),
        };
        fields.problem(ProblemCode::Url, "url", format!("the URL {error}"), hint);
        BrokerAddress {
            host: String::new(),
            port: 0,
            tls: url.starts_with("https"),
            websocket: None,
        }
    });
    let path = RequestPath::parse(path).unwrap_or_else(|mistake| {
        let hint = "gateway, class, topic and device may stand in it, in braces".to_owned();
        fields.problem(ProblemCode::Url, "url", format!("the URL {mistake}"), hint);
        RequestPath::root()
    });
    (address, path)
}

/// The id of a request goes into `Idempotency-Key` in any case.
fn id(fields: &mut Fields<'_>) -> IdForm {
    let forms = [("none", IdForm::None), ("envelope", IdForm::Envelope)];
    fields.choice("id", &forms).unwrap_or_default()
}

/// What every request has beside what is made for it, by lower-case name.
fn headers(fields: &mut Fields<'_>, gateway: &str) -> Vec<(String, HeaderText)> {
    let mut headers = Vec::new();
    if let Some(token) = token::read_bearer(fields, "token", gateway) {
        headers.push(("authorization".to_owned(), HeaderText::Token(token)));
    }
    let Some(mut table) = fields.table("headers") else {
        return headers;
    };
    for entry in table.entries() {
        let name = entry.key.to_ascii_lowercase();
        if let Some(mistake) = mistake(&name, &headers) {
            let hint = "leave it out".to_owned();
            let message = format!("`{}.{}` {mistake}", table.path, entry.key);
            table.check.hide(&entry.item);
            table
                .check
                .problem(ProblemCode::Conflict, entry.place, message, hint);
            continue;
        }
        if let Some(value) = value(&table, entry, &name) {
            headers.push((name, value));
        }
    }
    headers
}

/// The same for a collector.
pub(in crate::config) fn collector_headers(
    fields: &mut Fields<'_>,
    gateway: &str,
) -> Vec<CollectorHeader> {
    let shown = |(name, text)| {
        let (value, is_bearer) = match text {
            HeaderText::Open(text) => (Secret::new(text), false),
            HeaderText::Secret(secret) => (secret, false),
            HeaderText::Token(secret) => (secret, true),
        };
        CollectorHeader {
            name,
            value,
            is_bearer,
        }
    };
    headers(fields, gateway).into_iter().map(shown).collect()
}

/// Why a header cannot be set.
fn mistake(name: &str, before: &[(String, HeaderText)]) -> Option<&'static str> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_name) {
        return Some("is no name of a header");
    }
    if MADE.contains(&name) {
        return Some("is made for each request");
    }
    if OF_CONNECTION.contains(&name) {
        return Some("is about the connection, and nothing here does what it says");
    }
    let is_twice = before.iter().any(|(known, _)| known == name);
    is_twice.then_some("is there already: names have no case, and `token` is `Authorization`")
}

fn value<'a>(table: &Fields<'a>, entry: &'a TomlEntry, name: &str) -> Option<HeaderText> {
    if let Some(reference) = table.below(entry) {
        let secret = secret::follow(reference)?;
        let judges = table.check.sources.secrets.judges_files();
        if judges && legal::check_text(secret.reveal().as_bytes()).is_err() {
            let message = format!(
                "`{}.{}` holds what no header can have",
                table.path, entry.key
            );
            let hint = "the value of a header is one line of text".to_owned();
            table
                .check
                .problem(ProblemCode::OutOfRange, entry.place, message, hint);
        }
        return Some(HeaderText::Secret(secret));
    }
    // What opens a door is never written in the open.
    let is_key = [
        "authorization",
        "cookie",
        "key",
        "token",
        "secret",
        "password",
    ]
    .iter()
    .any(|word| name.contains(word));
    if is_key {
        table.check.hide(&entry.item);
        let message = format!("`{}.{}` stands in the open", table.path, entry.key);
        open_secret(table.check, entry, message);
        return None;
    }
    let Node::Text(text) = &entry.item.node else {
        table.wrong_type(
            &format!("{}.{}", table.path, entry.key),
            "text",
            &entry.item,
        );
        return None;
    };
    if !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        let message = format!("`{}.{}` has more than plain text", table.path, entry.key);
        let hint = "the value of a header has the characters of ASCII, and is one line".to_owned();
        table
            .check
            .problem(ProblemCode::OutOfRange, entry.place, message, hint);
    }
    Some(HeaderText::Open(text.clone()))
}

fn open_secret(check: &Check<'_>, entry: &TomlEntry, message: String) {
    check.problem(
        ProblemCode::OpenSecret,
        entry.place,
        message,
        secret::HOW.to_owned(),
    );
}
