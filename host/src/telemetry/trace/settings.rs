//! Which share of the devices is traced, and where the collector is; already checked (`config` does that).

use crate::link::{Peer, Secret, Target, Tls};

/// Who is at the other end, in the words of errors.
const COLLECTOR: Peer = Peer {
    noun: "collector",
    plain: "http://",
    upgrade: None,
};

/// What is traced, and where it goes.
#[derive(Clone, Debug)]
pub struct TraceSettings {
    /// Share of the devices, 0 to 1.
    pub share: f64,
    pub collector: CollectorSettings,
}

/// Where a collector takes OTLP over HTTP.
#[derive(Clone, Debug)]
pub struct CollectorSettings {
    /// What the gateway is called there.
    pub gateway: std::sync::Arc<str>,
    pub host: String,
    pub port: u16,
    /// TLS where the URL says `https`.
    pub tls: Option<Tls>,
    /// What stands before `/v1/traces`; empty for nothing.
    pub path: String,
    /// Headers of every request.
    pub headers: Vec<CollectorHeader>,
}

/// A header of every request.
#[derive(Clone, Debug)]
pub struct CollectorHeader {
    /// Its name, in lower case.
    pub name: String,
    /// What is in a file is read for every connection.
    pub value: Secret,
    /// It stands behind `Bearer`.
    pub is_bearer: bool,
}

impl CollectorSettings {
    pub(super) fn target(&self) -> Target<'_> {
        Target {
            host: &self.host,
            port: self.port,
            tls: self.tls.as_ref(),
            deadlines: super::exchange::DEADLINES,
            peer: &COLLECTOR,
            carriage: None,
        }
    }

    /// As it stands in the header `Host`.
    pub(super) fn authority(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        let standard = if self.tls.is_some() { 443 } else { 80 };
        if self.port == standard {
            host
        } else {
            format!("{host}:{}", self.port)
        }
    }

    /// Where it is, for people.
    pub(super) fn place(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}{}", self.authority(), self.path)
    }
}
