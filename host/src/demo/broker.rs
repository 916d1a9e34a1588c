//! The embedded broker of demo and tests, a process of its own; the only file that names mqtt5.
//!
//! Takes anybody on loopback and nobody else, keeps sessions and their queues in RAM, and is set up to drop
//! nothing of QoS 1 and 2 that a test can bring about.
//!
//! What mqtt5 0.49 does, read in its source, that these settings answer:
//! - without its "persistence" it grants every session an expiry of 0 s, so a kept session is gone with its
//!   connection: persistence is on, with the backend in memory;
//! - a session's queue drops its *oldest* message above 10,000 messages or 64 MiB, with no more than a log line;
//! - it hands a client at most 64 unacknowledged messages, whatever Receive Maximum the client gave;
//! - it forgets a client that fails to log in five times; there is no login here, so that is off;
//! - it adds a user property `x-mqtt-client-id` (the sender's) to every message, replacing one of that name.

use std::io::Write;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use mqtt5::broker::config::{RateLimitConfig, StorageBackend, StorageConfig};
use mqtt5::broker::{BrokerConfig, MqttBroker};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};

/// Messages a session may have waiting: ten minutes of absence at the 1,000 msg/s the tests send.
const QUEUED_MESSAGES: usize = 1_000_000;
/// The same in bytes.
const QUEUED_BYTES: usize = 1 << 30;
/// Room for what tests call over-long, and far below mqtt5's 256 MiB a packet.
const PACKET_BYTES: usize = 8 << 20;

/// What the first line on standard output begins with; the address follows.
pub const READY: &str = "broker mqtt://";

/// Why the broker does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It has no passwords, so it stays on this machine.
    #[error("the embedded broker listens on loopback only, not on `{0}`")]
    NotLoopback(SocketAddr),
    /// Signals or standard input.
    #[error("cannot set up the broker's process")]
    Process(#[source] std::io::Error),
    /// mqtt5's own words; its error borrows nothing, so the text is kept.
    #[error("the embedded broker failed on `{address}`: {text}")]
    Broker {
        /// Where it should listen.
        address: SocketAddr,
        text: String,
    },
}

/// Runs until SIGTERM or SIGINT, or until standard input, if it is a pipe, is closed by whoever started this.
/// Port 0 takes a free one. Once it accepts connections it prints `broker mqtt://ADDRESS:PORT`.
pub async fn run(listen: SocketAddr) -> Result<(), Error> {
    if !listen.ip().is_loopback() {
        return Err(Error::NotLoopback(listen));
    }
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Process)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Process)?;
    let failed = |error: mqtt5::MqttError| Error::Broker {
        address: listen,
        text: error.to_string(),
    };
    let mut broker = MqttBroker::with_config(settings(listen))
        .await
        .map_err(failed)?;
    let address = broker.local_addr().unwrap_or(listen);
    let mut ready = broker.ready_receiver();
    let shutdown = broker.shutdown_handle();
    let announce_and_wait = async {
        if ready.wait_for(|ready| *ready).await.is_ok() {
            announce(address).map_err(Error::Process)?;
        }
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = parent_gone() => {}
        }
        shutdown.shutdown();
        Ok(())
    };
    let (served, stopped) = tokio::join!(broker.run(), announce_and_wait);
    served.map_err(failed)?;
    stopped
}

fn settings(listen: SocketAddr) -> BrokerConfig {
    let storage = StorageConfig::new()
        .with_backend(StorageBackend::Memory)
        .with_persistence(true)
        .with_max_queued_messages_per_client(QUEUED_MESSAGES)
        .with_max_queued_bytes_per_client(QUEUED_BYTES);
    let mut config = BrokerConfig::new()
        .with_bind_address(listen)
        .with_max_packet_size(PACKET_BYTES)
        .with_max_outbound_inflight(u16::MAX)
        .with_server_receive_maximum(u16::MAX)
        .with_session_expiry(Duration::from_secs(u64::from(u32::MAX)))
        .with_sys_topics_enabled(false)
        .with_storage(storage);
    config.auth_config.allow_anonymous = true;
    config.auth_config.rate_limit = RateLimitConfig {
        enabled: false,
        ..RateLimitConfig::default()
    };
    config
}

fn announce(address: SocketAddr) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{READY}{address}")?;
    out.flush()
}

/// Returns when standard input is a pipe whose other end was closed; for anything else never, since `/dev/null`
/// and a terminal say nothing about the parent.
async fn parent_gone() {
    let pipe = std::io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .and_then(pipe::Receiver::from_owned_fd);
    let Ok(mut pipe) = pipe else {
        return std::future::pending().await;
    };
    let mut ignored = [0_u8; 64];
    while matches!(pipe.read(&mut ignored).await, Ok(read) if read > 0) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_stays_on_loopback() {
        let outside: SocketAddr = "0.0.0.0:0".parse().unwrap();
        assert!(
            matches!(run(outside).await, Err(Error::NotLoopback(address)) if address == outside)
        );
    }

    #[test]
    fn the_settings_are_ones_mqtt5_accepts() {
        settings("127.0.0.1:0".parse().unwrap()).validate().unwrap();
    }
}
