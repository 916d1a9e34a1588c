//! What a column of a table says of each message, whatever the table is.

use bytes::Bytes;

use super::template::Filling;
use crate::clock::WallTime;
use crate::message::Stored;

/// A message on its way into a row.
#[derive(Clone, Copy, Debug)]
pub(in crate::uplink) struct LineInput<'a> {
    pub(in crate::uplink) stored: &'a Stored,
    pub(in crate::uplink) filling: Filling<'a>,
    /// Its payload as the uplink sends it.
    pub(in crate::uplink) payload: &'a Bytes,
    /// When it came, where that is known.
    pub(in crate::uplink) arrived: Option<WallTime>,
}

impl LineInput<'_> {
    /// Unlike any other message's.
    pub(in crate::uplink) fn id(&self) -> String {
        let (prefix, seq) = (self.filling.prefix, self.stored.seq);
        format!("{prefix}{}/{}", seq.boot(), seq.number())
    }
}

/// What a column says of each message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Column {
    Id,
    /// Of its arrival, as in RFC 3339; none where the clock was not set then, nor later in that run before the row was made.
    Time,
    Gateway,
    Class,
    Topic,
    Device,
    Payload,
    /// A member of its payload, of members of members as `outer_inner`.
    Member(String),
}

/// What begins the name of a column that is a member of the payload.
const MEMBER: &str = "payload.";

const COLUMNS: [(&str, Column); 7] = [
    ("id", Column::Id),
    ("time", Column::Time),
    ("gateway", Column::Gateway),
    ("class", Column::Class),
    ("topic", Column::Topic),
    ("device", Column::Device),
    ("payload", Column::Payload),
];

impl Column {
    /// The column of this name, if there is one.
    pub fn named(name: &str) -> Option<Self> {
        if let Some(member) = name
            .strip_prefix(MEMBER)
            .filter(|member| !member.is_empty())
        {
            return Some(Self::Member(member.to_owned()));
        }
        let known = COLUMNS.iter().find(|(known, _)| *known == name);
        known.map(|(_, column)| column.clone())
    }

    pub(in crate::uplink) fn name(&self) -> &str {
        match self {
            Self::Member(member) => member,
            column => COLUMNS
                .iter()
                .find(|(_, known)| known == column)
                .map_or("", |(name, _)| name),
        }
    }
}
