//! `[telemetry]`: which devices are traced, and the collector that is told.

use std::sync::Arc;

use crate::config::address::{AddressError, BrokerAddress};
use crate::config::fields::Fields;
use crate::config::problem::code::ProblemCode;
use crate::config::uplinks::collector_headers;
use crate::link::Tls;
use crate::telemetry::trace::{CollectorSettings, TraceSettings};

/// Where traces go, and of which devices; `None` where there is no collector.
pub(in crate::config) fn read(root: &mut Fields<'_>, gateway: &Arc<str>) -> Option<TraceSettings> {
    let mut fields = root.section("telemetry");
    let settings = settings(&mut fields, gateway);
    fields.done();
    settings
}

fn settings(fields: &mut Fields<'_>, gateway: &Arc<str>) -> Option<TraceSettings> {
    let share = fields.share("traces", 0.0..=1.0);
    let url = fields.text("collector").unwrap_or_default();
    let place = if url.is_empty() {
        None
    } else {
        place(fields, url)
    };
    let ca = ca(fields, url);
    let headers = collector_headers(fields, gateway);
    if url.is_empty() {
        let idle = ["token", "headers"].into_iter().find(|key| fields.has(key));
        let (key, message) = match idle {
            _ if share > 0.0 => ("traces", "messages are traced, and nobody is told"),
            Some(key) => (key, "there is no collector that it could be shown to"),
            None => return None,
        };
        let hint = "write collector = \"http://127.0.0.1:4318\", for example".to_owned();
        fields.problem(ProblemCode::Conflict, key, message, hint);
        return None;
    }
    let (address, path) = place?;
    Some(TraceSettings {
        share,
        collector: CollectorSettings {
            gateway: Arc::clone(gateway),
            host: address.host,
            port: address.port,
            tls: address.tls.then(|| Tls {
                ca,
                ..Tls::default()
            }),
            path,
            headers,
        },
    })
}

fn ca(fields: &mut Fields<'_>, url: &str) -> Option<std::path::PathBuf> {
    let written = fields.text("ca")?;
    let at = fields.place_of("ca");
    if !url.starts_with("https://") {
        let hint = "write https:// in the URL of the collector".to_owned();
        let message = "`ca` is set, and the collector is spoken with without TLS";
        fields.problem(ProblemCode::Conflict, "ca", message, hint);
    }
    let check = fields.check;
    Some(check.file(ProblemCode::Certificate, at, "CA certificate", written))
}

/// Where the collector is, and what stands before the paths of OTLP.
fn place(fields: &mut Fields<'_>, url: &str) -> Option<(BrokerAddress, String)> {
    let (address, path) = BrokerAddress::parse_http_with_path(url)
        .map_err(|error| {
            let hint = match &error {
                AddressError::Login => "use the keys `token` and `headers`".to_owned(),
                AddressError::Brackets(_) | AddressError::Host(_) | AddressError::Port => {
                    error.hint()
                }
                _ => "write http://host:4318, or https:// for TLS".to_owned(),
            };
            let message = format!("the URL {error}");
            fields.problem(ProblemCode::Url, "collector", message, hint);
        })
        .ok()?;
    let path = path.trim_end_matches('/');
    let is_path = |byte: u8| byte.is_ascii_graphic() && !b"?#\"<>\\^`{|}".contains(&byte);
    if !path.bytes().all(is_path) {
        let message = "the URL has what no path can have";
        let hint = "/v1/traces is put behind it: leave out `?`, `#` and spaces".to_owned();
        fields.problem(ProblemCode::Url, "collector", message, hint);
    }
    Some((address, path.to_owned()))
}
