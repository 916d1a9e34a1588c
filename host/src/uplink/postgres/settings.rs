//! What a way into a database needs to know; already checked (`config` does that).

use super::super::facts::UplinkFacts;
use super::super::form::column::Column;
use super::super::form::template::Template;
use crate::link::{Backoff, Deadlines, Peer, Secret, Target, Tls, Upgrade};

/// Who is at the other end, in the words of errors. It is asked for TLS by an SSLRequest.
const DATABASE: Peer = Peer {
    noun: "database",
    plain: "postgres://",
    upgrade: Some(Upgrade::Asked {
        ask: &[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f],
        yes: b'S',
    }),
};

/// One way into a table.
#[derive(Clone, Debug)]
pub struct Config {
    /// What tells it apart from others of the same uplink.
    pub id: String,
    pub host: String,
    pub port: u16,
    /// TLS where the URL says `postgres+tls`.
    pub tls: Option<Tls>,
    pub user: String,
    /// What is in a file is read at every dial.
    pub password: Option<Secret>,
    pub database: String,
    /// Its name, behind that of its schema where it has one.
    pub table: Vec<String>,
    /// It is made where it is not there.
    pub create: bool,
    /// Names of columns, and what is in them.
    pub columns: Vec<(String, Cell)>,
    /// Rows of one statement, at most.
    pub batch_messages: u16,
    /// Bytes of them, at most; one message may be larger.
    pub batch_bytes: usize,
    /// A deadline for each phase.
    pub deadlines: Deadlines,
    pub backoff: Backoff,
}

/// What is in a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    One(Column),
    /// A text with names in it.
    Text(Template),
}

impl Cell {
    /// Reads one.
    ///
    /// # Errors
    /// In words: a brace is not closed, or a name is not known.
    pub fn parse(text: &str) -> Result<Self, String> {
        let alone = text
            .strip_prefix('{')
            .and_then(|text| text.strip_suffix('}'));
        match alone.and_then(Column::named) {
            Some(column) => Ok(Self::One(column)),
            None => Template::parse(text).map(Self::Text),
        }
    }
}

impl Config {
    /// What it says of itself.
    pub(in crate::uplink) fn facts(&self) -> UplinkFacts<'_> {
        UplinkFacts {
            name: "postgresql",
            host: &self.host,
            port: Some(self.port),
            tls: self.tls.as_ref(),
            secrets: self.password.iter().collect(),
            has_login: self.password.is_some(),
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
            peer: &DATABASE,
            carriage: None,
        }
    }
}
