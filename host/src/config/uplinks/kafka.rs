//! What an uplink into topics of a Kafka cluster has.

use super::super::address::{AddressError, BrokerAddress};
use super::super::connection::{self, Role};
use super::super::fields::Fields;
use super::super::secret;
use super::spoken::{Spoken, batch, connections};
use crate::config::problem::code::ProblemCode;
use crate::link::Secret;
use crate::uplink::kafka::{Config, KafkaLogin, SaslWay, TopicName};
use crate::uplink::{Compress, IdForm, Template, UplinkKind};

/// Keys that mean nothing elsewhere.
pub(super) const OWN_KEYS: &[&str] = &[
    "kafka",
    "batch",
    "user",
    "password",
    "tls",
    "connections",
    "id",
    "compress",
];

/// Brokers that stand in a URL, at most: one is enough where it is there.
const MOST_SERVERS: usize = 16;
const PORT: u16 = 9092;
const HINT: &str = "write kafka://host:9092,other:9092/topic, or kafkas:// for TLS";

pub(super) fn read(fields: &mut Fields<'_>, url: &str, gateway: &str, name: &str) -> Spoken {
    let (servers, is_secure, topic) = place(fields, url);
    let (host, port) = servers.first().cloned().unwrap_or_default();
    let address = BrokerAddress {
        host,
        port,
        tls: is_secure,
        websocket: None,
    };
    let tls = connection::tls(fields, &address, "kafka");
    let forms = [
        ("none", IdForm::None),
        ("property", IdForm::Property),
        ("envelope", IdForm::Envelope),
    ];
    let ways = [
        ("none", Compress::None),
        ("zstd", Compress::Zstd),
        ("gzip", Compress::Gzip),
    ];
    let id = fields.choice("id", &forms).unwrap_or_default();
    let mut section = fields.section("kafka");
    let key = partition_by(&mut section);
    let sasl = sasl(&mut section);
    section.done();
    let login = login(fields, sasl);
    let (batch_messages, batch_bytes) = batch(fields);
    let own = Config {
        id: format!("tidegate-{gateway}-{name}"),
        servers,
        tls,
        login,
        topic,
        key,
        compress: fields.choice("compress", &ways).unwrap_or_default(),
        batch_messages,
        batch_bytes,
        deadlines: connection::deadlines(fields, Role::Uplink),
        backoff: connection::backoff(fields),
    };
    let connections = connections(fields);
    Spoken::answered(fields, UplinkKind::Kafka(own), id, connections)
}

/// Which brokers are asked first, whether over TLS, and the topic.
fn place(fields: &mut Fields<'_>, url: &str) -> (Vec<(String, u16)>, bool, TopicName) {
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let (hosts, topic) = rest.split_once('/').unwrap_or((rest, ""));
    let is_secure = scheme == "kafkas";
    let parsed = if matches!(scheme, "kafka" | "kafkas") {
        servers(hosts, scheme)
    } else {
        Err(AddressError::UnknownScheme(crate::words::line(scheme, 16)))
    };
    let servers = parsed.unwrap_or_else(|error| {
        let hint = match &error {
            AddressError::Brackets(_) | AddressError::Host(_) | AddressError::Port => error.hint(),
            AddressError::Login => "use the keys `user` and `password`".to_owned(),
            _ => HINT.to_owned(),
        };
        fields.problem(ProblemCode::Url, "url", format!("the URL {error}"), hint);
        Vec::new()
    });
    for (host, port) in &servers {
        let address = BrokerAddress {
            host: host.clone(),
            port: *port,
            ..BrokerAddress::default()
        };
        connection::unusual_port(fields, &address, (scheme, "broker"));
    }
    if servers.len() > MOST_SERVERS {
        let message = format!("the URL names more than {MOST_SERVERS} brokers");
        let hint = "two or three are enough: they say where the others are".to_owned();
        fields.problem(ProblemCode::Url, "url", message, hint);
    }
    // What follows from the scheme is not to be a second mistake.
    let is_secure = is_secure || (servers.is_empty() && fields.has("tls"));
    (servers, is_secure, topic_name(fields, topic))
}

fn servers(hosts: &str, scheme: &str) -> Result<Vec<(String, u16)>, AddressError> {
    let each = hosts.split(',').map(|host| {
        let address = BrokerAddress::parse_as(&format!("{scheme}://{host}"), scheme, PORT)?;
        Ok((address.host, address.port))
    });
    each.collect()
}

fn topic_name(fields: &Fields<'_>, written: &str) -> TopicName {
    TopicName::parse(written).unwrap_or_else(|mistake| {
        let (message, hint) = if written.is_empty() {
            ("the URL names no topic".to_owned(), HINT)
        } else {
            (
                format!("the topic in the URL {mistake}"),
                "letters, digits, `.`, `_` and `-`, up to 249; {gateway}, {class}, {topic} and {device} may stand in it",
            )
        };
        fields.problem(ProblemCode::Url, "url", message, hint.to_owned());
        TopicName::default()
    })
}

/// What decides about the partition.
fn partition_by(section: &mut Fields<'_>) -> Template {
    let written = section.text("partition_by").unwrap_or("{device}");
    Template::parse(written).unwrap_or_else(|mistake| {
        let message = format!("`{}.partition_by` {mistake}", section.path);
        let hint =
            "write \"{device}\": gateway, class, topic and device may stand in it, in braces"
                .to_owned();
        section.problem(ProblemCode::Choice, "partition_by", message, hint);
        Template::default()
    })
}

fn sasl(section: &mut Fields<'_>) -> SaslWay {
    let ways = [
        ("scram-sha-512", SaslWay::ScramSha512),
        ("scram-sha-256", SaslWay::ScramSha256),
        ("plain", SaslWay::Plain),
    ];
    section.choice("sasl", &ways).unwrap_or_default()
}

/// By name and password, or not at all.
fn login(fields: &mut Fields<'_>, sasl: SaslWay) -> Option<KafkaLogin> {
    let user = fields.text("user").map(str::to_owned);
    let password = secret::read(fields, "password");
    let missing = match (fields.has("user"), fields.has("password")) {
        (true, false) => Some((
            "user",
            "a user and no password",
            "add: password = { file = \"…\" }",
        )),
        (false, true) => Some(("password", "a password and no user", "add: user = \"…\"")),
        _ => None,
    };
    if let Some((key, what, hint)) = missing {
        let message = format!("`{}` has {what}", fields.path);
        fields.problem(ProblemCode::Conflict, key, message, hint.to_owned());
    }
    Some(KafkaLogin {
        user: user?,
        password: password.unwrap_or_else(|| Secret::new("")),
        sasl,
    })
}
