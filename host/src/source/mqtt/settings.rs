//! What is asked of a broker.

use super::mark::{SessionMark, SessionMarks};
use crate::message::Qos;
use crate::mqtt;
use crate::source::facts::SourceFacts;

/// What a source over MQTT needs beside what every source needs.
#[derive(Clone, Debug)]
pub struct Config {
    pub connection: mqtt::Config,
    /// Level asked for in SUBSCRIBE.
    pub qos: Qos,
    /// What session the broker has had of ours before this start.
    pub mark: SessionMark,
    /// What sources beside this one have been granted: a subscription that one of them wants is kept until it has that.
    pub beside: SessionMarks,
    /// The session is one of before, under a client id that is no source's any more: what the broker holds in it is taken, and
    /// its subscriptions are ended.
    pub is_left: bool,
}

impl Config {
    /// What it says of itself.
    pub(in crate::source) fn facts(&self) -> SourceFacts<'_> {
        let mqtt::Config { host, port, .. } = &self.connection;
        let login = self.connection.login.as_ref();
        SourceFacts {
            name: "mqtt",
            address: format!("{host}:{port}"),
            dials: Some(host),
            connections: 1,
            tls: self.connection.tls.as_ref(),
            secret: login.and_then(|login| login.password.as_ref()),
            ..SourceFacts::default()
        }
    }
}
