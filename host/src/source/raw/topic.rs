//! From who sent something to its topic. No sockets.

use std::net::SocketAddr;

use bytes::Bytes;

use crate::message::{Pattern, legal};

const PEER: &str = "{peer}";
const PORT: &str = "{port}";
const FILE: &str = "{file}";

/// What is known of who sends something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownOfPeer {
    /// His address and port.
    Address,
    /// The name of a file.
    File,
    Nothing,
}

/// A topic with places for the address and the port of the other end, or the name of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerTopic(Box<str>);

impl PeerTopic {
    /// That of everybody by his address.
    pub fn any() -> Self {
        Self(PEER.into())
    }

    /// Reads one: a topic, with `{peer}` and `{port}`, or `{file}`, in it where they are `known`.
    ///
    /// # Errors
    /// It is none, in words.
    pub fn parse(text: &str, known: KnownOfPeer) -> Result<Self, String> {
        let example = match known {
            KnownOfPeer::Address => text.replace(PEER, "x").replace(PORT, "1"),
            KnownOfPeer::File => text.replace(FILE, "x"),
            KnownOfPeer::Nothing => text.to_owned(),
        };
        if example.contains(['{', '}']) {
            return Err("has something in braces that is not known here".to_owned());
        }
        legal::check_topic(example.as_bytes())
            .map_err(|problem| format!("makes no topic: it {problem}"))?;
        Ok(Self(text.into()))
    }

    /// Whether a topic that it makes may match.
    pub fn reaches(&self, pattern: &Pattern) -> bool {
        let first = [PEER, PORT, FILE]
            .iter()
            .filter_map(|name| self.0.find(name))
            .min();
        let last = self.0.rfind('}').map_or(0, |at| at + 1);
        match first {
            None => pattern.matches(&self.0).is_some(),
            Some(first) => pattern.meets(&self.0[..first], &self.0[last..]),
        }
    }

    /// The topic of what comes from there. An address has no character that a topic may not have.
    pub(super) fn of(&self, host: &str, port: u16) -> Bytes {
        let text = self.0.replace(PEER, host);
        text.replace(PORT, &port.to_string()).into()
    }

    /// The topic of what stands in a file of that name, which is a level as it is.
    pub(super) fn of_file(&self, name: &str) -> Bytes {
        self.0.replace(FILE, name).into()
    }

    /// The same by its address.
    pub(super) fn of_address(&self, address: SocketAddr) -> Bytes {
        self.of(&address.ip().to_canonical().to_string(), address.port())
    }
}

/// As it is written in the config.
impl std::fmt::Display for PeerTopic {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_reached_where_some_address_makes_a_topic_of_it() {
        let reaches = |topic: &str, pattern: &str| {
            let topic = PeerTopic::parse(topic, KnownOfPeer::Address).unwrap();
            topic.reaches(&Pattern::parse(pattern).unwrap())
        };
        assert!(reaches("line/{peer}", "line/{device}") && reaches("line/{peer}/{port}", "line/#"));
        assert!(!reaches("line/{peer}", "devices/{device}") && !reaches("a/b", "a/c"));
        assert!(reaches("a/b", "a/{device}"));
    }

    #[test]
    fn an_address_becomes_a_level() {
        let topic = |text: &str, address: &str| {
            let topic = PeerTopic::parse(text, KnownOfPeer::Address).unwrap();
            topic.of_address(address.parse().unwrap())
        };
        assert_eq!(topic("line/{peer}", "10.0.0.7:4001"), "line/10.0.0.7");
        assert_eq!(topic("{peer}/{port}", "[::ffff:10.0.0.7]:9"), "10.0.0.7/9");
        assert_eq!(topic("a/{peer}", "[fe80::7%3]:9"), "a/fe80::7");
        assert_eq!(topic("a/b", "10.0.0.7:4001"), "a/b");
    }

    #[test]
    fn what_makes_no_topic_is_told() {
        for text in ["", "a/#", "+", "{device}", "a/{peer"] {
            assert!(
                PeerTopic::parse(text, KnownOfPeer::Address).is_err(),
                "{text}"
            );
        }
        assert!(PeerTopic::parse("a/{peer}", KnownOfPeer::Nothing).is_err());
        assert!(PeerTopic::parse("a/b", KnownOfPeer::Nothing).is_ok());
    }
}
