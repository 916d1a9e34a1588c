//! What sources and uplinks over NATS have in common: the connection to a server.

use super::super::address::{AddressError, BrokerAddress};
use super::super::fields::Fields;
use super::super::secret;
use super::Role;
use crate::config::problem::code::ProblemCode;
use crate::nats::{Config, NatsLogin, is_subject_token};

const HINT: &str = "write nats://host:4222, or nats+tls:// for TLS";

/// Reads the keys of a connection; `inbox` is what is written for that.
pub(in crate::config) fn server(
    fields: &mut Fields<'_>,
    role: Role,
    (name, url): (String, &str),
    inbox: String,
) -> Config {
    let address = address(fields, url);
    let tls = super::tls(fields, &address, "nats");
    Config {
        name,
        host: address.host,
        port: address.port,
        tls,
        login: login(fields),
        inbox,
        max_message_bytes: 64 << 10,
        deadlines: super::deadlines(fields, role),
        backoff: super::backoff(fields),
    }
}

/// The key `inbox` of the section that is the protocol's own.
pub(in crate::config) fn inbox(section: &mut Fields<'_>) -> String {
    let written = section.text("inbox").unwrap_or("_INBOX").to_owned();
    let is_one = |part: &str| !part.is_empty() && is_subject_token(part);
    if !written.split('.').all(is_one) {
        let message = format!("`{}.inbox` is no begin of a subject", section.path);
        let hint = "write \"_INBOX\", or what your user may subscribe to".to_owned();
        section.problem(ProblemCode::Choice, "inbox", message, hint);
    }
    written
}

fn address(fields: &mut Fields<'_>, url: &str) -> BrokerAddress {
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let told = match scheme {
        "nats" | "nats+tls" => BrokerAddress::parse_as(url, scheme, 4222),
        _ => Err(AddressError::UnknownScheme(crate::words::line(scheme, 16))),
    };
    let tls = scheme == "nats+tls";
    match told {
        Ok(address) => BrokerAddress { tls, ..address },
        Err(error) => {
            let hint = match &error {
                AddressError::Login => {
                    "use the keys `user` and `password`, `token` or `creds`".to_owned()
                }
                AddressError::Brackets(_) | AddressError::Port => error.hint(),
                AddressError::Host(_) if rest.contains(',') => {
                    "write one host: of a name with several addresses each is tried".to_owned()
                }
                AddressError::Host(_) => error.hint(),
                _ => HINT.to_owned(),
            };
            fields.problem(ProblemCode::Url, "url", format!("the URL {error}"), hint);
            // What follows from the scheme is not to be a second mistake.
            BrokerAddress {
                tls: fields.has("tls"),
                ..BrokerAddress::default()
            }
        }
    }
}

/// By name and password, by token, or by key: one of them.
fn login(fields: &mut Fields<'_>) -> NatsLogin {
    let user = fields.text("user").map(str::to_owned);
    let password = secret::read(fields, "password");
    let token = secret::read(fields, "token");
    let creds = secret::read(fields, "creds");
    let ways = [("user", "token"), ("user", "creds"), ("token", "creds")];
    for (one, other) in ways {
        if fields.has(one) && fields.has(other) {
            let message = format!("`{}` logs in by `{one}` and by `{other}`", fields.path);
            fields.problem(
                ProblemCode::Conflict,
                other,
                message,
                "leave one of them out".to_owned(),
            );
        }
    }
    if fields.has("password") && !fields.has("user") {
        let message = format!("`{}` has a password and no user", fields.path);
        let hint = "add: user = \"…\"".to_owned();
        fields.problem(ProblemCode::Conflict, "password", message, hint);
    }
    match (user, token, creds) {
        (Some(user), ..) => NatsLogin::User { user, password },
        (None, Some(token), _) => NatsLogin::Token(token),
        (None, None, Some(creds)) => NatsLogin::Key(creds),
        (None, None, None) => NatsLogin::Open,
    }
}
