//! What a broker tells two clients apart by.

use super::tree::Place;
use crate::{mqtt, uplink};

/// One connection's identity, for the check against twins.
pub(super) struct ClientIdentity {
    pub(super) mqtt: mqtt::Config,
    pub(super) path: String,
    pub(super) place: Place,
}

impl ClientIdentity {
    /// Of an uplink's connection, where upstream tells clients apart.
    pub(super) fn of(kind: &uplink::UplinkKind, path: String, place: Place) -> Option<Self> {
        let mqtt = kind.broker()?.clone();
        Some(Self { mqtt, path, place })
    }
}
