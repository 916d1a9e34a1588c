//! What the end-to-end tests and the benchmarks are written in: a running system in five verbs.
//!
//! `Gateway::with(config).start()`, `broker.publish`, `broker.go_dark` and `back`, `gateway.kill` and `stop`,
//! `wait_until`. Waits are on a state, never on a duration. What checks the gateway shares no code with it: the
//! client here is the tests' own.

pub mod binary;
pub mod broker;
pub mod browser;
pub mod case;
pub mod certificates;
pub mod change;
pub mod client;
pub mod collector;
pub mod config;
pub mod convert;
pub mod cut;
pub mod disk;
pub mod fake;
pub mod foreign;
pub mod gateway;
pub mod guests;
pub mod kafka;
pub mod load;
pub mod many;
pub mod mosquitto;
pub mod nats;
pub mod objects;
pub mod port;
pub mod postgres;
pub mod process;
pub mod relay;
pub mod sample;
pub mod source_text;
pub mod structure;
pub mod tally;
pub mod tap;
pub mod thin;
pub mod timeseries;
pub mod upstream;
pub mod usage;
pub mod wait;
pub mod watch;
pub mod web;

pub use broker::{Broker, Mosquitto};
pub use case::{case, case_name, needs, rounds, soak_time, where_possible, with_mosquitto};
pub use config::Config;
pub use gateway::{Gateway, Setup};
pub use load::{Load, Plan};
pub use wait::wait_until;
pub use watch::Watch;
pub use web::WebServer;
