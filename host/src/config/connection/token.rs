//! Secrets that are made for each connection: a token signed here with a key, or fetched from who gives them out. Whatever else a
//! secret may be is read by `secret`.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::super::address::{AddressError, BrokerAddress};
use super::super::fields::Fields;
use super::super::secret;
use super::super::tree::{Node, Place};
use crate::config::problem::code::ProblemCode;
use crate::link::{Deadlines, Secret, Tls};
use crate::token::{
    EndpointLogin, JwtRecipe, RANDOM, SigningAlgorithm, TokenEndpoint, TokenRequest,
};

const MADE: [&str; 2] = ["jwt", "fetch"];
const OTHERS: [&str; 3] = ["env", "file", "credential"];
/// What each token says of its own time.
const OWN_CLAIMS: [&str; 2] = ["iat", "exp"];
/// How long a token is good where nothing is written: long enough that a connection is rarely opened anew for it, and what
/// brokers take that want one.
const LIVES: Duration = Duration::from_secs(3_600);
const LEAST_LIFE: Duration = Duration::from_secs(60);
const LONGEST_LIFE: Duration = Duration::from_secs(30 * 86_400);

/// Reads what `key` refers to, which may be made or fetched; `None` when it is not there or cannot be read. `gateway` may stand
/// in what a token says.
pub(in crate::config) fn read(
    fields: &mut Fields<'_>,
    key: &'static str,
    gateway: &str,
) -> Option<Secret> {
    read_or(fields, key, gateway, secret::read)
}

/// The same of one that stands behind `Bearer ` in a header.
pub(in crate::config) fn read_bearer(
    fields: &mut Fields<'_>,
    key: &'static str,
    gateway: &str,
) -> Option<Secret> {
    read_or(fields, key, gateway, secret::read_token)
}

/// One that is not made is read by `given`.
fn read_or(
    fields: &mut Fields<'_>,
    key: &'static str,
    gateway: &str,
    given: fn(&mut Fields<'_>, &'static str) -> Option<Secret>,
) -> Option<Secret> {
    note(fields, key);
    if is_made(fields, key) {
        made(fields.table(key)?, gateway)
    } else {
        given(fields, key)
    }
}

fn note(fields: &Fields<'_>, key: &str) {
    if fields.has(key) {
        let path = format!("{}.{key}", fields.path);
        for reference in OTHERS.into_iter().chain(MADE) {
            fields.check.note(&path, reference, |_| {});
        }
    }
}

fn is_made(fields: &Fields<'_>, key: &str) -> bool {
    let Some(Node::Table(table)) = fields.own(key).map(|item| &item.node) else {
        return false;
    };
    MADE.iter().any(|made| table.get(made).is_some())
}

fn made(mut reference: Fields<'_>, gateway: &str) -> Option<Secret> {
    let is_one = reference.has("jwt") != reference.has("fetch")
        && !OTHERS.iter().any(|other| reference.has(other));
    if !is_one {
        let message = format!("`{}` needs exactly one reference", reference.path);
        let hint = "leave one of `jwt`, `fetch`, `file`, `env` and `credential`".to_owned();
        reference.problem(ProblemCode::Conflict, "", message, hint);
        return None;
    }
    let jwt = reference.table("jwt");
    let fetch = reference.table("fetch");
    reference.done();
    match (jwt, fetch) {
        (Some(table), _) => jwt_of(table, gateway),
        (None, Some(table)) => endpoint_of(table),
        (None, None) => None,
    }
}

/// A token that is signed here.
fn jwt_of(mut table: Fields<'_>, gateway: &str) -> Option<Secret> {
    table.require("key", "{ file = \"device.pem\" }");
    let key = secret::read(&mut table, "key");
    table.require("algorithm", "\"ES256\"");
    let algorithm = table.choice("algorithm", &SigningAlgorithm::ALL);
    let key_id = table.text("key_id").map(str::to_owned);
    let lives = if table.find("lives").is_some() {
        table.duration("lives", LEAST_LIFE..=LONGEST_LIFE)
    } else {
        LIVES
    };
    let claims = claims(&mut table, gateway);
    let recipe = key
        .zip(algorithm)
        .map(|(key, algorithm)| JwtRecipe::new(key, algorithm, key_id, claims, lives));
    if let Some(recipe) = &recipe
        && table.check.sources.secrets.judges_files()
        && let Err(problem) = recipe.try_key()
    {
        let message = format!("`{}.key` signs nothing: {problem}", table.path);
        let hint = "a key and its `algorithm` belong together".to_owned();
        table.problem(ProblemCode::Certificate, "key", message, hint);
    }
    table.done();
    recipe.map(|recipe| Secret::made_by(Arc::new(recipe)))
}

/// What a token says beside its time.
fn claims(table: &mut Fields<'_>, gateway: &str) -> Map<String, Value> {
    const EXAMPLE: &str = "{ aud = \"my-project\", sub = \"{gateway}\" }";
    let mut found = Map::new();
    if !table.require("claims", EXAMPLE) {
        return found;
    }
    let Some(mut claims) = table.table("claims") else {
        return found;
    };
    let entries = claims.entries();
    for entry in entries {
        let name = format!("{}.{}", claims.path, entry.key);
        let tell = |code, place: Place, message: String, hint: &str| {
            claims.check.problem(code, place, message, hint.to_owned());
        };
        if OWN_CLAIMS.contains(&entry.key.as_str()) {
            let message = format!("`{name}` is made for each token");
            tell(
                ProblemCode::Conflict,
                entry.place,
                message,
                "leave it out; how long a token is good says `lives`",
            );
            continue;
        }
        if let Some(place) = entry.item.node.find_unfit_number(&entry.item.place) {
            let message = format!("`{name}` has a number that JSON does not have");
            tell(ProblemCode::OutOfRange, place, message, "write another one");
        }
        let mut value = entry.item.node.to_json();
        if !fill(&mut value, gateway) {
            let message = format!(
                "`{name}` has something else in braces than `{{gateway}}` and `{{random}}`"
            );
            tell(
                ProblemCode::Choice,
                entry.item.place,
                message,
                "write the name of the gateway, or 16 random letters, as these two",
            );
        }
        found.insert(entry.key.clone(), value);
    }
    if entries.is_empty() {
        let message = format!("`{}` says nothing of who connects", claims.path);
        let hint = format!("write what the other side looks for, such as {EXAMPLE}");
        table.problem(ProblemCode::Missing, "claims", message, hint);
    }
    found
}

/// Puts the gateway's name where it belongs; `false` where something else is wanted.
fn fill(value: &mut Value, gateway: &str) -> bool {
    match value {
        Value::String(text) => {
            let rest = text.replace("{gateway}", "").replace(RANDOM, "");
            *text = text.replace("{gateway}", gateway);
            !rest.contains(['{', '}'])
        }
        Value::Array(values) => values.iter_mut().all(|one| fill(one, gateway)),
        Value::Object(values) => values.values_mut().all(|one| fill(one, gateway)),
        _ => true,
    }
}

/// A token that somebody gives out.
fn endpoint_of(mut table: Fields<'_>) -> Option<Secret> {
    table.require("url", "\"https://login.example.com/oauth2/token\"");
    let place = place(&mut table);
    table.require("client", "\"barn-7\"");
    let client = table.text("client").unwrap_or_default().to_owned();
    table.require("secret", "{ file = \"client.secret\" }");
    let secret = secret::read(&mut table, "secret");
    let logins = [
        ("basic", EndpointLogin::Basic),
        ("body", EndpointLogin::Body),
    ];
    let login = table.choice("login", &logins).unwrap_or_default();
    let scope = table.text("scope").map(str::to_owned);
    let audience = table.text("audience").map(str::to_owned);
    let ca = table.text("ca").map(|written| {
        let at = table.place_of("ca");
        let check = table.check;
        check.file(ProblemCode::Certificate, at, "CA certificate", written)
    });
    table.done();
    let (address, path) = place?;
    let asked = TokenRequest {
        host: address.host,
        port: address.port,
        tls: address.tls.then(|| Tls {
            ca,
            ..Tls::default()
        }),
        path,
        client,
        secret: secret?,
        login,
        scope,
        audience,
        deadlines: Deadlines::default(),
    };
    Some(Secret::made_by(Arc::new(TokenEndpoint::new(asked))))
}

/// Where the endpoint is, and its path.
fn place(table: &mut Fields<'_>) -> Option<(BrokerAddress, String)> {
    let url = table.text("url")?;
    let (address, path) = BrokerAddress::parse_http_with_path(url)
        .map_err(|error| {
            let hint = match &error {
                AddressError::Login => "use the keys `client` and `secret`".to_owned(),
                AddressError::Brackets(_) | AddressError::Host(_) | AddressError::Port => {
                    error.hint()
                }
                _ => "write https://host/path, or http:// where nobody listens".to_owned(),
            };
            table.problem(ProblemCode::Url, "url", format!("the URL {error}"), hint);
        })
        .ok()?;
    let is_path = path
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'#');
    if !is_path {
        let message = "the URL has what no path can have";
        let hint = "leave out `#` and spaces, and write other letters as %C3%A4".to_owned();
        table.problem(ProblemCode::Url, "url", message, hint);
    }
    if table.has("ca") && !address.tls {
        let message = "`ca` is set, but the URL says http://";
        table.problem(
            ProblemCode::Conflict,
            "ca",
            message,
            "write https:// in the URL".to_owned(),
        );
    }
    let slash = if path.starts_with('/') { "" } else { "/" };
    Some((address, format!("{slash}{path}")))
}
