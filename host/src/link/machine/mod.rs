//! What is this machine's own: its network interfaces, its serial lines, and its ports.

pub(super) mod interface;
mod port;
mod serial;

pub use port::{HandedOver, Port, PortKeeper, close_unclaimed, hand_over, keep_by, leave_to_next};
pub use serial::{Parity, Serial, SerialBrake, SerialFinder, SerialPort, serial_problem};
