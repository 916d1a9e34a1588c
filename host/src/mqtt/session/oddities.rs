//! What a broker sends that it should not, and that is no reason to part from it.

use super::Session;

/// What the broker said that it should not have, and that harms nobody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::mqtt) struct Oddities {
    /// Answers to nothing: they change nothing.
    pub(in crate::mqtt) strays: u64,
    /// The first of them: packet and id.
    pub(in crate::mqtt) first: Option<(&'static str, u16)>,
    /// It sent PUBACK for a message of QoS 2, which counts as its acceptance.
    pub(in crate::mqtt) is_early: bool,
    /// Packets that were passed over, a bit for each [`crate::mqtt::wire::OddPacket`].
    pub(in crate::mqtt) packets: u8,
}

impl Session {
    /// An answer to nothing. It says nothing about what is under way, so it is no reason to part.
    pub(super) fn stray(&mut self, packet: &'static str, packet_id: u16) {
        self.odd.strays += 1;
        self.odd.first.get_or_insert((packet, packet_id));
    }

    /// What the broker said since the last call that it should not have.
    pub(in crate::mqtt) fn take_odd(&mut self) -> Option<Oddities> {
        let mut odd = std::mem::take(&mut self.odd);
        odd.packets |= self.wire.take_odd();
        (odd != Oddities::default()).then_some(odd)
    }
}
