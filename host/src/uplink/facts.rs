//! What each kind of upstream says of itself, once, for all that asks every kind.

use std::time::Duration;

use crate::link::{Secret, Tls};

/// What is asked of an upstream of any kind.
#[derive(Debug)]
pub struct UplinkFacts<'a> {
    /// The protocol, as spans name it.
    pub(super) name: &'static str,
    /// Name or address of upstream, or a folder.
    pub host: &'a str,
    /// `None` where no network leads there.
    pub port: Option<u16>,
    pub tls: Option<&'a Tls>,
    /// What it logs in with.
    pub secrets: Vec<&'a Secret>,
    /// Whether it says who we are, beside a certificate.
    pub has_login: bool,
    /// Packets without an answer, at most.
    pub(super) window: u16,
    /// How long an answer may take.
    pub(super) answer: Duration,
}
