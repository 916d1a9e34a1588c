//! One connection to a broker, used by source and uplink; knows neither.
//!
//! - `wire`: rumqttc's v4 and v5 packets to ours and back; the only file that names rumqttc.
//! - `session`: a state machine without sockets, clocks or tasks: packet ids, windows, QoS, acknowledgements,
//!   keep-alive. Time is an argument, bytes go into a buffer.
//! - `link`: dials TCP or TLS with deadlines; one read brings what is there, one write takes all that is ready.
//! - `connection`: session and link together, for those who have a socket.

mod settings;

pub use settings::{Backoff, Config, Deadlines, Login, Protocol, Secret, Tls, Will};
