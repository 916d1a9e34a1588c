//! Payloads of Sparkplug B: Protocol Buffers, those fields of them that become readings.

use prost::Message as _;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use tidegate_sdk::prelude::*;

/// Metrics of a payload at most: a metric of two bytes takes a hundred in memory.
const MOST_METRICS: usize = 10_000;

/// Numbers of types.
const INT8: u32 = 1;
const INT16: u32 = 2;
const INT32: u32 = 3;
const INT64: u32 = 4;
const BOOLEAN: u32 = 11;
pub const BYTES: u32 = 17;
pub const FILE: u32 = 18;

/// A payload.
#[derive(Debug, Default)]
pub struct Payload {
    /// Milliseconds since 1970.
    pub time: Option<u64>,
    pub seq: Option<u64>,
    pub metrics: Vec<Metric>,
}

/// A metric; what it has beside these is not read.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Metric {
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    #[prost(uint64, optional, tag = "2")]
    pub alias: Option<u64>,
    #[prost(uint32, optional, tag = "4")]
    pub datatype: Option<u32>,
    #[prost(bool, optional, tag = "7")]
    pub is_null: Option<bool>,
    #[prost(oneof = "Value", tags = "10, 11, 12, 13, 14, 15, 16")]
    pub value: Option<Value>,
}

/// A value of a kind that JSON has.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Value {
    #[prost(uint32, tag = "10")]
    Int(u32),
    #[prost(uint64, tag = "11")]
    Long(u64),
    #[prost(float, tag = "12")]
    Float(f32),
    #[prost(double, tag = "13")]
    Double(f64),
    #[prost(bool, tag = "14")]
    Boolean(bool),
    #[prost(string, tag = "15")]
    String(String),
    #[prost(bytes = "vec", tag = "16")]
    Bytes(Vec<u8>),
}

/// What has the time, the number and the metrics of a command.
#[derive(Clone, PartialEq, prost::Message)]
struct Command {
    #[prost(uint64, optional, tag = "1")]
    time: Option<u64>,
    #[prost(message, repeated, tag = "2")]
    metrics: Vec<Metric>,
}

/// Reads a payload, one metric after the other, so that many small ones do not fill the memory before they are counted.
pub fn read(bytes: &[u8]) -> Result<Payload> {
    let none = |error: prost::DecodeError| format!("payload is no Sparkplug payload: {error}");
    let (mut payload, mut rest) = (Payload::default(), bytes);
    while !rest.is_empty() {
        let (tag, wire) = decode_key(&mut rest).map_err(none)?;
        match (tag, wire) {
            (1, WireType::Varint) => payload.time = Some(decode_varint(&mut rest).map_err(none)?),
            (3, WireType::Varint) => payload.seq = Some(decode_varint(&mut rest).map_err(none)?),
            (2, WireType::LengthDelimited) => {
                let length = decode_varint(&mut rest).map_err(none)?;
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                let (metric, behind) = rest
                    .split_at_checked(length)
                    .ok_or("payload is no Sparkplug payload: a metric ends too early")?;
                if payload.metrics.len() == MOST_METRICS {
                    return Err(format!("payload has more than {MOST_METRICS} metrics").into());
                }
                payload.metrics.push(Metric::decode(metric).map_err(none)?);
                rest = behind;
            }
            _ => skip_field(wire, tag, &mut rest, DecodeContext::default()).map_err(none)?,
        }
    }
    Ok(payload)
}

/// The command by which a node is to be born again.
pub fn rebirth(time: u64) -> Vec<u8> {
    let metric = Metric {
        name: Some("Node Control/Rebirth".to_owned()),
        datatype: Some(BOOLEAN),
        value: Some(Value::Boolean(true)),
        ..Metric::default()
    };
    let command = Command {
        time: Some(time),
        metrics: vec![metric],
    };
    command.encode_to_vec()
}

/// A number of 32 bits or fewer by its type: senders fill up negative ones in different ways.
pub fn signed(number: u32, kind: u32) -> i128 {
    match kind {
        INT8 => i128::from(number as u8 as i8),
        INT16 => i128::from(number as u16 as i16),
        INT32 => i128::from(number as i32),
        INT64 => i128::from(number as i32),
        _ => i128::from(number),
    }
}

/// Whether numbers of a type may be below zero.
pub fn is_signed(kind: u32) -> bool {
    matches!(kind, INT8..=INT64)
}
