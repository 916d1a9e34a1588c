//! Brokers that a real one would never be, or not when a test needs it.
//!
//! - [`FakeBroker`] plays the same [`Step`]s with whoever dials: for what comes before the first message.
//! - [`FieldBroker`] sends, with a window of its own, and what no broker should: for the device side.
//! - [`PickyBroker`] meets each publish by [`Rule`], and keeps account: for an upstream.

mod field;
pub mod packet;
mod picky;
mod which;

pub use field::FieldBroker;
pub use packet::{CONNACK_V5, CONNACK_V311, take_frame};
pub use picky::{Deed, Noted, PickyBroker, Rule, Terms};
pub use which::Which;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};

/// What is done with every connection, in order; then the connection stays open until the peer closes it.
#[derive(Clone, Debug)]
pub enum Step {
    /// Reads until a packet of this type (high four bits of the first byte) has come.
    Await(u8),
    /// Sends these bytes.
    Send(Vec<u8>),
    /// Closes the connection.
    Close,
}

/// A running fake broker.
#[derive(Debug)]
pub struct FakeBroker {
    address: SocketAddr,
    over: Arc<AtomicBool>,
    connections: Arc<AtomicU64>,
}

impl FakeBroker {
    /// Plays `script` with whoever dials.
    pub fn start(script: Vec<Step>) -> Result<Self> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port for the fake broker")?;
        let address = listener.local_addr()?;
        let (over, connections) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let (ends, counts) = (Arc::clone(&over), Arc::clone(&connections));
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if ends.load(Ordering::SeqCst) {
                    return;
                }
                counts.fetch_add(1, Ordering::SeqCst);
                let script = script.clone();
                std::thread::spawn(move || play(stream, &script));
            }
        });
        Ok(Self {
            address,
            over,
            connections,
        })
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("mqtt://{}", self.address)
    }

    /// How many connections were made.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for FakeBroker {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, which then ends.
        let _ = TcpStream::connect(self.address);
    }
}

fn play(mut stream: TcpStream, script: &[Step]) {
    // A peer that says nothing for a minute ends the script; the test has its own deadline.
    let _ = stream.set_read_timeout(Some(Duration::from_secs(60)));
    let mut input = Vec::new();
    for step in script {
        match step {
            Step::Await(kind) => {
                if !await_packet(&mut stream, &mut input, *kind) {
                    return;
                }
            }
            Step::Send(bytes) => {
                if stream.write_all(bytes).is_err() {
                    return;
                }
            }
            Step::Close => {
                let _ = stream.shutdown(Shutdown::Both);
                return;
            }
        }
    }
    while matches!(stream.read(&mut [0; 4096]), Ok(read) if read > 0) {}
}

fn await_packet(stream: &mut TcpStream, input: &mut Vec<u8>, kind: u8) -> bool {
    let mut buffer = [0; 4096];
    loop {
        while let Some(frame) = take_frame(input) {
            if frame[0] >> 4 == kind {
                return true;
            }
        }
        match stream.read(&mut buffer) {
            Ok(read) if read > 0 => input.extend(&buffer[..read]),
            _ => return false,
        }
    }
}
