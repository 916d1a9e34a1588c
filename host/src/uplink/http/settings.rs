//! What a way to a server needs to know; already checked (`config` does that).

use super::super::facts::UplinkFacts;
use super::super::form::compress::Compress;
use super::super::web::Pause;
use super::line::InfluxFormat;
use super::path::RequestPath;
use crate::link::{Backoff, Deadlines, Peer, Secret, Target, Tls};

/// Who is at the other end, in the words of errors.
const SERVER: Peer = Peer {
    noun: "server",
    plain: "http://",
    upgrade: None,
};

/// How messages stand in a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyFormat {
    #[default]
    Raw,
    JsonArray,
    Ndjson,
    /// A line each, of the numbers in their payloads.
    Influx,
}

/// How a request is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    #[default]
    Post,
    Put,
    Patch,
}

/// What a header of every request says.
#[derive(Clone, Debug)]
pub enum HeaderText {
    /// As it is written.
    Open(String),
    /// By reference; what is in a file is read at every dial.
    Secret(Secret),
    /// The same behind `Bearer`.
    Token(Secret),
}

/// One way to a server.
#[derive(Clone, Debug)]
pub struct Config {
    /// What tells it apart from others of the same uplink.
    pub id: String,
    pub host: String,
    pub port: u16,
    /// TLS where the URL says `https`.
    pub tls: Option<Tls>,
    pub path: RequestPath,
    /// `POST`, as a rule.
    pub method: Method,
    /// Headers of every request, with names in lower case.
    pub headers: Vec<(String, HeaderText)>,
    /// How messages stand in a request.
    pub pack: BodyFormat,
    /// Whether messages come as an envelope, which is JSON.
    pub has_envelope: bool,
    /// How messages become lines, where they do.
    pub line: Option<InfluxFormat>,
    pub compress: Compress,
    /// Messages of one request, at most.
    pub batch_messages: u16,
    /// Bytes of them, at most; one message may be larger.
    pub batch_bytes: usize,
    /// A deadline for each phase.
    pub deadlines: Deadlines,
    pub backoff: Backoff,
    /// How long the server asked to be left alone.
    pub pause: Pause,
}

impl Config {
    /// What its headers refer to.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        self.headers.iter().filter_map(|(_, value)| match value {
            HeaderText::Open(_) => None,
            HeaderText::Secret(secret) | HeaderText::Token(secret) => Some(secret),
        })
    }

    /// What it says of itself.
    pub(in crate::uplink) fn facts(&self) -> UplinkFacts<'_> {
        UplinkFacts {
            name: "http",
            host: &self.host,
            port: Some(self.port),
            tls: self.tls.as_ref(),
            secrets: self.secrets().collect(),
            has_login: self.secrets().next().is_some(),
            window: self.batch_messages,
            answer: self.deadlines.answer,
        }
    }

    pub(super) fn target(&self) -> Target<'_> {
        Target {
            host: &self.host,
            port: self.port,
            tls: self.tls.as_ref(),
            deadlines: self.deadlines,
            peer: &SERVER,
            carriage: None,
        }
    }

    /// As it stands in the header `Host`.
    pub(super) fn authority(&self) -> String {
        let standard = if self.tls.is_some() { 443 } else { 80 };
        let host = match self.host.split('%').next() {
            Some(address) if address.contains(':') => format!("[{address}]"),
            _ => self.host.clone(),
        };
        if self.port == standard {
            host
        } else {
            format!("{host}:{}", self.port)
        }
    }
}
