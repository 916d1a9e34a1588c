//! What an uplink into a bucket of an object store has.

use std::net::IpAddr;
use std::time::Duration;

use super::super::address::{AddressError, BrokerAddress};
use super::super::connection::{self, Role};
use super::super::fields::Fields;
use super::super::secret;
use super::file::{columns, id};
use super::spoken::{Spoken, connections, gathered};
use crate::config::problem::code::ProblemCode;
use crate::link::Secret;
use crate::uplink::s3::{BucketPlace, Config};
use crate::uplink::web::Pause;
use crate::uplink::{Compress, IdForm, LineFormat, Template, UplinkKind};

/// Keys that mean nothing elsewhere.
pub(super) const OWN_KEYS: &[&str] = &[
    "endpoint",
    "region",
    "style",
    "access_key",
    "secret_key",
    "columns",
    "batch",
    "tls",
    "connections",
    "pack",
    "id",
    "compress",
];

/// So long a message waits for others at most: it is in no object meanwhile.
const LONGEST_WAIT: Duration = Duration::from_secs(900);
/// Bytes of a prefix: a whole name has 1,024 at most.
const PREFIX_BYTES: usize = 500;

pub(super) fn read(fields: &mut Fields<'_>, url: &str, gateway: &str, name: &str) -> Spoken {
    let (bucket, prefix) = bucket(fields, url);
    let (address, place) = place(fields, &bucket);
    let tls = connection::tls(fields, &address, "http");
    let is_csv = fields
        .choice("pack", &[("ndjson", false), ("csv", true)])
        .unwrap_or_default();
    let id = id(fields, is_csv, "columns");
    let ways = [
        ("none", Compress::None),
        ("zstd", Compress::Zstd),
        ("gzip", Compress::Gzip),
    ];
    let (batch_messages, batch_bytes, batch_wait) = gathered(fields, LONGEST_WAIT);
    let columns = columns(fields);
    let access_key = key(fields, "access_key");
    let secret_key = key(fields, "secret_key");
    let compress = fields.choice("compress", &ways).unwrap_or_default();
    let deadlines = connection::deadlines(fields, Role::Uplink);
    let backoff = connection::backoff(fields);
    let connections = connections(fields);
    let own = Config {
        id: format!("tidegate-{gateway}-{name}"),
        host: address.host,
        port: address.port,
        tls,
        place,
        prefix,
        access_key,
        secret_key,
        form: if is_csv {
            LineFormat::Csv(columns)
        } else {
            LineFormat::Ndjson
        },
        has_envelope: id == IdForm::Envelope,
        compress,
        batch_messages,
        batch_bytes,
        batch_wait,
        deadlines,
        backoff,
        pause: Pause::default(),
    };
    Spoken::answered(fields, UplinkKind::S3(own), id, connections)
}

/// One half of the login; there is no way in without.
fn key(fields: &mut Fields<'_>, key: &'static str) -> Secret {
    fields.require(key, "{ file = \"…\" }");
    secret::read(fields, key).unwrap_or_else(|| Secret::new(""))
}

/// The bucket, and what names of objects begin with.
fn bucket(fields: &mut Fields<'_>, url: &str) -> (String, Template) {
    let rest = url.strip_prefix("s3://").unwrap_or_default();
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let is_name = (3..=63).contains(&bucket.len()) && bucket.bytes().all(is_letter);
    let hint = "write s3://bucket/prefix; where the server is says `endpoint`, and who asks `access_key` and `secret_key`";
    if bucket.contains(['@', ':']) {
        let message = format!("the URL {}", AddressError::Login);
        fields.problem(ProblemCode::Url, "url", message, hint.to_owned());
    } else if !is_name || bucket.contains("..") || bucket.starts_with('.') {
        let message = "the URL names no bucket: 3 to 63 letters, digits, `-`, `_` and dots";
        fields.problem(ProblemCode::Url, "url", message, hint.to_owned());
    }
    let prefix = prefix.trim_end_matches('/');
    let template = Template::parse(prefix).unwrap_or_else(|mistake| {
        let hint = "gateway and class may stand in it, in braces".to_owned();
        fields.problem(ProblemCode::Url, "url", format!("the URL {mistake}"), hint);
        Template::default()
    });
    let is_part = |part: &str| !matches!(part, "" | "." | "..");
    let is_plain = |text: &str| {
        text.bytes()
            .all(|byte| is_letter(byte) || b"/=".contains(&byte))
    };
    let is_path = prefix.is_empty() || prefix.split('/').all(is_part);
    let is_bad = !is_path || !template.plain().all(is_plain) || template.is_of_messages();
    if is_bad || prefix.len() > PREFIX_BYTES {
        let message = "the URL has a prefix that names of objects cannot begin with";
        let hint = "letters, digits, `.`, `_`, `-`, `=` and `/`, {gateway} and {class} may stand in it, and it is the same for all messages of a class".to_owned();
        fields.problem(ProblemCode::Url, "url", message, hint);
    }
    (bucket.to_owned(), template)
}

/// Where the bucket is: at `endpoint`, else at Amazon's in its region.
fn place(fields: &mut Fields<'_>, bucket: &str) -> (BrokerAddress, BucketPlace) {
    let region = fields.text("region").unwrap_or_default();
    let is_region = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if region.is_empty() || region.len() > 64 || !region.bytes().all(is_region) {
        let message = format!("`{}.region` is no name of a region", fields.path);
        let hint = "such as us-east-1; servers of your own have one in their settings".to_owned();
        fields.problem(ProblemCode::Choice, "region", message, hint);
    }
    let own = fields.text("endpoint");
    let amazon = format!("https://s3.{region}.amazonaws.com");
    let endpoint = own.unwrap_or(&amazon);
    let styles = [("path", true), ("host", false)];
    // A certificate for *.s3.… is for no name with one more dot.
    let by_itself = own.is_some() || bucket.contains('.');
    let is_path_style = fields.choice("style", &styles).unwrap_or(by_itself);
    let Some(mut address) = server(fields, endpoint) else {
        // What follows from the scheme is not to be a second mistake.
        let nowhere = BrokerAddress {
            tls: endpoint.starts_with("https") || fields.has("tls"),
            ..BrokerAddress::default()
        };
        return (nowhere, BucketPlace::default());
    };
    if !is_path_style {
        if address.host.parse::<IpAddr>().is_ok() {
            let message = format!(
                "`{}.style` is \"host\", and the endpoint is an address",
                fields.path
            );
            let hint = "write style = \"path\", or the endpoint's name".to_owned();
            fields.problem(ProblemCode::Conflict, "style", message, hint);
        }
        address.host = format!("{bucket}.{}", address.host);
    }
    let place = BucketPlace {
        endpoint: endpoint.to_owned(),
        name: bucket.to_owned(),
        region: region.to_owned(),
        is_path_style,
    };
    let is_told = ["url", "style", "region"]
        .iter()
        .any(|key| fields.check.has_problem_at(fields.place_of(key)));
    if let Some(problem) = place.problem().filter(|_| !is_told) {
        let message = format!("`{}.endpoint` {problem}", fields.path);
        fields.problem(ProblemCode::Url, "endpoint", message, None);
    }
    (address, place)
}

/// Host and port of an endpoint.
fn server(fields: &Fields<'_>, endpoint: &str) -> Option<BrokerAddress> {
    let told = |error: AddressError| {
        let hint = match &error {
            AddressError::Login => "use the keys `access_key` and `secret_key`".to_owned(),
            AddressError::Brackets(_) | AddressError::Host(_) | AddressError::Port => error.hint(),
            _ => "write https://host, or http://host:9000; the bucket stands in `url`".to_owned(),
        };
        let message = format!("`{}.endpoint` {error}", fields.path);
        fields.problem(ProblemCode::Url, "endpoint", message, hint);
    };
    BrokerAddress::parse_http(endpoint).map_err(told).ok()
}
