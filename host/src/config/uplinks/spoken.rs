//! What a protocol makes of an uplink's keys.

use std::time::Duration;

use crate::config::fields::Fields;
use crate::message::Qos;
use crate::uplink::{IdForm, PublishFormat, ReplayMark, UplinkKind};

/// What a protocol makes of the keys of an uplink.
pub(super) struct Spoken {
    pub(super) kind: UplinkKind,
    pub(super) qos: Qos,
    pub(super) allows_level_0: bool,
    pub(super) format: PublishFormat,
    pub(super) max_packet_bytes: u32,
    pub(super) connections: u16,
}

impl Spoken {
    /// Of a protocol that answers each message, knows no levels and keeps nothing for latecomers.
    pub(super) fn answered(
        fields: &mut Fields<'_>,
        kind: UplinkKind,
        id: IdForm,
        connections: u16,
    ) -> Self {
        Self {
            kind,
            qos: Qos::AtLeastOnce,
            allows_level_0: false,
            format: PublishFormat {
                id,
                replay: ReplayMark::None,
                deletes_retained: false,
                ..PublishFormat::default()
            },
            max_packet_bytes: u32::try_from(fields.size("max_packet", 1 << 10..=256 << 20))
                .unwrap_or(u32::MAX),
            connections,
        }
    }
}

/// Messages and bytes of what is sent at once.
pub(super) fn batch(fields: &mut Fields<'_>) -> (u16, usize) {
    let mut batch = fields.section("batch");
    let messages = batch.count("messages", 1..=10_000);
    let bytes = batch.size("bytes", 1 << 10..=64 << 20);
    batch.done();
    (
        u16::try_from(messages).unwrap_or(u16::MAX),
        usize::try_from(bytes).unwrap_or(usize::MAX),
    )
}

/// The same of what gathers for as long as `longest` at most.
pub(super) fn gathered(fields: &mut Fields<'_>, longest: Duration) -> (u16, usize, Duration) {
    let mut batch = fields.section("batch");
    let messages = batch.count("messages", 1..=50_000);
    let bytes = batch.size("bytes", 1 << 10..=64 << 20);
    let wait = batch.duration("wait", Duration::ZERO..=longest);
    batch.done();
    (
        u16::try_from(messages).unwrap_or(u16::MAX),
        usize::try_from(bytes).unwrap_or(usize::MAX),
        wait,
    )
}

/// How many connections there are to a broker or a server.
pub(super) fn connections(fields: &mut Fields<'_>) -> u16 {
    u16::try_from(fields.count("connections", 1..=64)).unwrap_or(1)
}
