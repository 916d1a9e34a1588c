//! Signs of devices: what a source tells of every message that a device sent, where somebody keeps a register of them.

use crate::clock::Now;

/// A message of a device, as its source took it.
#[derive(Clone, Copy, Debug)]
pub struct DeviceSign<'a> {
    /// The message's key; never empty.
    pub device: &'a [u8],
    /// Bytes of topic, headers and payload.
    pub bytes: usize,
    /// When its source took it.
    pub at: Now,
    /// The device sent it just now, as far as can be told: it is none that a broker had kept or sends again.
    pub is_live: bool,
}

/// Who is told of devices. Memory work only, and each source has one of its own: nobody waits for another.
pub trait DeviceBook: Send + Sync {
    /// A message of the device itself.
    fn heard(&self, sign: DeviceSign<'_>);

    /// Somebody says whether the device is there: the broker by its will, the device at its start, a bridge for it.
    fn told(&self, sign: DeviceSign<'_>, payload: &[u8]);
}
