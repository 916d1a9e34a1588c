//! What a broker sends, as it is read off the wire.

use crate::mqtt::{Error, Publish};

/// First bytes of the four acknowledgements.
pub(super) const PUBACK: u8 = 0x40;
pub(super) const PUBREC: u8 = 0x50;
pub(super) const PUBREL: u8 = 0x62;
pub(super) const PUBCOMP: u8 = 0x70;

/// Which MQTT is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::mqtt) enum ProtocolVersion {
    V5,
    V311,
}

/// What came in is not MQTT; says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::mqtt) struct Malformed(pub(in crate::mqtt) &'static str);

impl From<Malformed> for Error {
    fn from(Malformed(why): Malformed) -> Self {
        Self::Malformed(why)
    }
}

/// What a broker sends that it should not, and that harms nobody: its frame is sound, and nothing depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::mqtt) enum OddPacket {
    ClientOnly,
    NotAskedFor,
    Greeting,
    Flags,
    Body,
}

impl OddPacket {
    pub(in crate::mqtt) const ALL: [Self; 5] = [
        Self::ClientOnly,
        Self::NotAskedFor,
        Self::Greeting,
        Self::Flags,
        Self::Body,
    ];

    /// It is among those of a set by this.
    pub(in crate::mqtt) fn bit(self) -> u8 {
        1 << self as u8
    }

    pub(in crate::mqtt) fn words(self) -> &'static str {
        match self {
            Self::ClientOnly => "a packet that only a client may send",
            Self::NotAskedFor => "a packet type that was not asked for",
            Self::Greeting => "a second CONNACK",
            Self::Flags => "flags that are not allowed",
            Self::Body => "a PINGRESP with something in it",
        }
    }
}

/// What a broker sends.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::mqtt) enum Packet {
    ConnAck(ConnAck),
    /// `packet_id` is 0 for QoS 0.
    Publish {
        publish: Publish,
        packet_id: u16,
    },
    /// A PUBLISH with a field that MQTT forbids; `why` names it.
    Unfit {
        publish: Publish,
        packet_id: u16,
        why: String,
    },
    /// A PUBLISH above the limit, read past; `bytes` is the size of the whole packet.
    Oversize {
        head: Publish,
        packet_id: u16,
        bytes: u64,
    },
    PubAck(AckPacket),
    PubRec(AckPacket),
    PubRel(AckPacket),
    PubComp(AckPacket),
    SubAck {
        packet_id: u16,
        codes: Vec<u8>,
    },
    /// What it says of the filters is nothing we could act on.
    UnsubAck,
    PingResp,
    Disconnect {
        code: u8,
        words: Option<String>,
    },
    /// One that is passed over.
    Odd,
}

impl Packet {
    /// The answer to a packet of ours, or to one of the broker's, as its first byte says.
    pub(super) fn acknowledgement(first: u8, answer: AckPacket) -> Self {
        match first {
            PUBACK => Self::PubAck(answer),
            PUBREC => Self::PubRec(answer),
            PUBREL => Self::PubRel(answer),
            _ => Self::PubComp(answer),
        }
    }
}

/// CONNACK. What the broker did not say is `None`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::mqtt) struct ConnAck {
    pub(in crate::mqtt) session_present: bool,
    pub(in crate::mqtt) code: u8,
    /// Two bytes long in answer to a v5 CONNECT: the server speaks 3.1.1 only.
    pub(in crate::mqtt) legacy: bool,
    pub(in crate::mqtt) words: Option<String>,
    pub(in crate::mqtt) receive_maximum: Option<u16>,
    pub(in crate::mqtt) maximum_packet_bytes: Option<u32>,
    pub(in crate::mqtt) maximum_qos: Option<u8>,
    pub(in crate::mqtt) retain_available: Option<bool>,
    pub(in crate::mqtt) keep_alive: Option<u16>,
    pub(in crate::mqtt) session_expiry: Option<u32>,
    pub(in crate::mqtt) subscription_ids: Option<bool>,
}

/// An acknowledgement: `code` is 0 in 3.1.1.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::mqtt) struct AckPacket {
    pub(in crate::mqtt) packet_id: u16,
    pub(in crate::mqtt) code: u8,
    pub(in crate::mqtt) words: Option<String>,
}
