//! What each kind of source says of itself, once, for all that asks every kind.

use std::fmt;
use std::path::Path;

use crate::link::{Secret, ServerTls, Tls};
use crate::message::Pattern;

/// What is asked of a source of any kind. What a kind has nothing of it leaves out.
#[derive(Default)]
pub struct SourceFacts<'a> {
    /// The protocol, as spans name it.
    pub(super) name: &'static str,
    /// Where it is, for people.
    pub address: String,
    /// Name or address of what it dials.
    pub dials: Option<&'a str>,
    pub listens: Option<ListenPlace<'a>>,
    /// The device of a serial line.
    pub line: Option<&'a Path>,
    pub consumer: Option<ConsumerPlace<'a>>,
    /// Connections at a time, at most, with the port at which they come.
    pub connections: u64,
    /// Of what it dials.
    pub tls: Option<&'a Tls>,
    /// Of the port at which it listens.
    pub server_tls: Option<&'a ServerTls>,
    /// What its other end has to show, or what it has to show there.
    pub secret: Option<&'a Secret>,
    pub topics: SourceTopics<'a>,
}

/// Where a source listens.
#[derive(Clone, Copy, Debug)]
pub struct ListenPlace<'a> {
    pub host: &'a str,
    pub port: u16,
    /// For datagrams, beside which another one may have connections.
    pub is_datagrams: bool,
}

/// What a source pulls from, which has one that does.
#[derive(Clone, Copy, Debug)]
pub struct ConsumerPlace<'a> {
    pub host: &'a str,
    pub port: u16,
    pub stream: &'a str,
    pub consumer: &'a str,
}

/// By what a topic of a flow is compared with a source: whether anything may come, or what can.
#[derive(Default)]
pub enum SourceTopics<'a> {
    /// Whatever somebody publishes, as at a broker.
    #[default]
    Any,
    /// They are made as it is written.
    Made {
        written: &'a dyn fmt::Display,
        /// `false` where no message could ever have a topic that matches.
        reaches: Box<dyn Fn(&Pattern) -> bool + 'a>,
    },
    /// No other one ever comes, as of a clock or out of polls.
    Listed(Vec<&'a str>),
}
