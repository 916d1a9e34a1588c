//! SUBSCRIBE of both versions.

use bytes::{BufMut, BytesMut};

use super::ProtocolVersion;
use super::publish::{put_field, put_variable, variable_len};
use crate::mqtt::Subscription;

const SUBSCRIBE: u8 = 0x82;
const SUBSCRIPTION_IDENTIFIER: u8 = 11;
/// MQTT 5: retained messages keep their flag, and come only for a new subscription. 3.1.1 repeats them on every subscribe.
const RETAIN_OPTIONS: u8 = 0x08 | 0x10;

/// Appends SUBSCRIBE. `id` is what the broker is to say of each copy it sends for these filters; MQTT 5 only.
pub(super) fn encode(
    version: ProtocolVersion,
    packet_id: u16,
    wanted: &[&Subscription],
    id: Option<u32>,
    out: &mut BytesMut,
) {
    let id = id.and_then(|id| usize::try_from(id).ok());
    let properties = id.map_or(0, |id| 1 + variable_len(id));
    let section = if version == ProtocolVersion::V5 {
        variable_len(properties) + properties
    } else {
        0
    };
    let filters: usize = wanted.iter().map(|wanted| 3 + wanted.filter.len()).sum();
    out.put_u8(SUBSCRIBE);
    put_variable(out, 2 + section + filters);
    out.put_u16(packet_id);
    if version == ProtocolVersion::V5 {
        put_variable(out, properties);
        if let Some(id) = id {
            out.put_u8(SUBSCRIPTION_IDENTIFIER);
            put_variable(out, id);
        }
    }
    let options = if version == ProtocolVersion::V5 {
        RETAIN_OPTIONS
    } else {
        0
    };
    for wanted in wanted {
        put_field(out, wanted.filter.as_bytes());
        out.put_u8(wanted.qos as u8 | options);
    }
}
