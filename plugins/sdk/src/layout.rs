//! The word layout of the contract's batches (`wit/tidegate.wit`), as code. The host has its own copy; a test
//! holds the two together.

/// Words of one message on its way in.
pub const STRIDE_IN: usize = 10;
/// Topic length.
pub const IN_TOPIC: usize = 0;
/// Headers length.
pub const IN_HEADERS: usize = 1;
/// Payload length.
pub const IN_PAYLOAD: usize = 2;
/// Key span in the topic: offset (low 16 bits), length (high 16).
pub const IN_KEY: usize = 3;
/// Received-at, microseconds since 1970, low 32 bits.
pub const IN_RECEIVED_LOW: usize = 4;
/// The same, high 32 bits.
pub const IN_RECEIVED_HIGH: usize = 5;
/// Marks.
pub const IN_MARKS: usize = 6;
/// Arrived at, by the running clock, microseconds, low 32 bits.
pub const IN_RUNNING_LOW: usize = 7;
/// The same, high 32 bits.
pub const IN_RUNNING_HIGH: usize = 8;
/// Length of a key that the topic does not hold; such keys lie behind the last message.
pub const IN_OWN_KEY: usize = 9;

/// Words of one entry on its way out.
pub const STRIDE_OUT: usize = 8;
/// Index of the input it came from.
pub const OUT_INPUT: usize = 0;
/// Action (low 16 bits) and port (high 16).
pub const OUT_ACTION: usize = 1;
/// Topic length; 0 keeps the input's topic and key.
pub const OUT_TOPIC: usize = 2;
/// Headers length.
pub const OUT_HEADERS: usize = 3;
/// Payload length.
pub const OUT_PAYLOAD: usize = 4;
/// Key span in the topic: offset (low 16 bits), length (high 16).
pub const OUT_KEY: usize = 5;
/// Marks.
pub const OUT_MARKS: usize = 6;
/// Length of a key that the topic does not hold; it lies behind the payload.
pub const OUT_OWN_KEY: usize = 7;

/// The message goes on unchanged.
pub const PASS: u32 = 0;
/// A new message.
pub const EMIT: u32 = 1;
/// The message went into state.
pub const ABSORB: u32 = 2;
/// The message is refused; the payload is the reason.
pub const REJECT: u32 = 3;
/// Input index of a timer's outputs.
pub const NO_INPUT: u32 = u32::MAX;
/// Value length of a state entry that says that its key is gone.
pub const GONE: u32 = u32::MAX;

/// Mark: retained.
pub const RETAIN: u32 = 1;
/// Mark: the broker sent it before.
pub const DUPLICATE: u32 = 1 << 1;
/// Mark: it comes from the backlog while newer data went ahead.
pub const REPLAYED: u32 = 1 << 2;
/// Mark: the wall clock had not been set when it arrived.
pub const CLOCK_UNSET: u32 = 1 << 3;
/// Mark of a rejection: the payload lacks a value, which is no sign of a device gone mad.
pub const EXCUSED: u32 = 1 << 6;
/// Bit of `state-version`: the state is not by the messages' key, so that the flow runs on one lane.
pub const ONE_LANE: u32 = 1 << 31;
/// First bit of the QoS level.
pub const QOS_SHIFT: u32 = 4;
/// Bits of the QoS level.
pub const QOS_MASK: u32 = 0b11 << QOS_SHIFT;

/// A span as one word.
pub const fn span(offset: u16, len: u16) -> u32 {
    offset as u32 | (len as u32) << 16
}
