//! A source over CoAP.

use std::time::Duration;

use super::super::address::{AddressError, BrokerAddress};
use super::super::connection::backoff;
use super::super::fields::Fields;
use super::shared::{path_topic, refuse_exposed, spec};
use super::spec::SourceSpec;
use crate::config::problem::code::ProblemCode;
use crate::source::SourceKind;
use crate::source::coap::Config;

/// Keys that mean nothing in every other way in.
pub(super) const OWN_KEYS: &[&str] = &["topic", "open", "settle_within", "max_exchanges"];

/// The port of CoAP without DTLS (RFC 7252, 12.6).
const PORT: u16 = 5683;

pub(super) fn read(fields: &mut Fields<'_>, name: &str) -> SourceSpec {
    let address = address(fields);
    refuse_exposed(fields, &address.host);
    let config = Config {
        topic: path_topic(fields, "coap/{path}"),
        settle_within: fields.duration(
            "settle_within",
            Duration::from_millis(100)..=Duration::from_secs(600),
        ),
        max_exchanges: fields.count("max_exchanges", 1..=10_000) as usize,
        backoff: backoff(fields),
        host: address.host,
        port: address.port,
    };
    spec(fields, name, SourceKind::Coap(Box::new(config)), u32::MAX)
}

fn address(fields: &mut Fields<'_>) -> BrokerAddress {
    let url = fields.text("url").unwrap_or_default();
    BrokerAddress::parse_as(url, "coap", PORT).unwrap_or_else(|error| {
        let (message, hint) = match &error {
            AddressError::UnknownScheme(_) => (
                "DTLS is not spoken here, so there is no coaps://".to_owned(),
                "write coap://127.0.0.1, behind something that speaks DTLS, or within a tunnel such as WireGuard".to_owned(),
            ),
            AddressError::Login => (
                format!("the URL {error}"),
                "leave it out: CoAP without DTLS knows no users".to_owned(),
            ),
            AddressError::Path => (
                format!("the URL {error}"),
                "write coap://127.0.0.1:5683, and what stands before each path in `topic`".to_owned(),
            ),
            AddressError::NoHost => (
                format!("the URL {error}"),
                "write coap://127.0.0.1:5683".to_owned(),
            ),
            error => (format!("the URL {error}"), error.hint()),
        };
        fields.problem(ProblemCode::Url, "url", message, hint);
        // What follows from the address is not to be a second mistake.
        BrokerAddress {
            host: "127.0.0.1".to_owned(),
            port: 0,
            tls: false,
            websocket: None,
        }
    })
}
