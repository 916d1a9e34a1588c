//! An upstream broker with bad manners, which keeps account of what it takes: the tests' own, since a real one has none.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::fake::{CONNACK_V5, take_frame};
use crate::tally::Tally;

/// What it does with publishes.
#[derive(Clone, Copy, Debug)]
pub enum Manners {
    /// Takes one after the other, and so much time for each.
    Slow(Duration),
    /// Takes so many on each connection, and hangs up before it has acknowledged the last of them.
    HangsUpBeforeTheAck(u64),
}

#[derive(Debug)]
struct State {
    manners: Mutex<Manners>,
    tally: Mutex<Tally>,
    over: AtomicBool,
    hang_ups: AtomicU64,
}

/// A running one.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    state: Arc<State>,
}

impl Upstream {
    /// Starts it.
    pub fn start(manners: Manners) -> Result<Self> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port for the upstream")?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            manners: Mutex::new(manners),
            tally: Mutex::default(),
            over: AtomicBool::new(false),
            hang_ups: AtomicU64::new(0),
        });
        let accepting = Arc::clone(&state);
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if accepting.over.load(Ordering::SeqCst) {
                    return;
                }
                let state = Arc::clone(&accepting);
                // A connection that breaks ends its thread.
                std::thread::spawn(move || serve(stream, &state));
            }
        });
        Ok(Self { address, state })
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("mqtt://{}", self.address)
    }

    /// What it has taken.
    pub fn tally(&self) -> Tally {
        locked(&self.state.tally).clone()
    }

    /// How often it has hung up.
    pub fn hang_ups(&self) -> u64 {
        self.state.hang_ups.load(Ordering::SeqCst)
    }

    /// Other manners from the next message on.
    pub fn change(&self, manners: Manners) {
        *locked(&self.state.manners) = manners;
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, which then ends.
        let _ = TcpStream::connect(self.address);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(mut stream: TcpStream, state: &State) -> Option<()> {
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .ok()?;
    stream.set_nodelay(true).ok()?;
    let (mut input, mut buffer, mut taken) = (Vec::new(), vec![0; 64 << 10], 0);
    loop {
        while let Some(frame) = take_frame(&mut input) {
            match frame[0] >> 4 {
                1 => stream.write_all(&CONNACK_V5).ok()?,
                3 => {
                    let (id, payload) = publish(&frame)?;
                    note(&mut locked(&state.tally), payload);
                    taken += 1;
                    match *locked(&state.manners) {
                        // The time is what this is about.
                        Manners::Slow(time) => std::thread::park_timeout(time),
                        Manners::HangsUpBeforeTheAck(most) if taken >= most => {
                            state.hang_ups.fetch_add(1, Ordering::SeqCst);
                            return stream.shutdown(Shutdown::Both).ok();
                        }
                        Manners::HangsUpBeforeTheAck(_) => {}
                    }
                    stream.write_all(&[0x40, 2, id[0], id[1]]).ok()?;
                }
                12 => stream.write_all(&[0xd0, 0]).ok()?,
                14 => return Some(()),
                _ => {}
            }
        }
        let read = stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
        input.extend(&buffer[..read]);
    }
}

/// Packet id and payload of a publish of MQTT 5 with QoS 1.
fn publish(frame: &[u8]) -> Option<([u8; 2], &[u8])> {
    let body = &frame[1 + frame[1..].iter().position(|byte| byte & 0x80 == 0)? + 1..];
    let (length, rest) = body.split_first_chunk::<2>()?;
    let (id, rest) = rest
        .get(usize::from(u16::from_be_bytes(*length))..)?
        .split_first_chunk::<2>()?;
    // Properties of less than 128 bytes, as the tests have them.
    let (properties, rest) = rest.split_first()?;
    Some((*id, rest.get(usize::from(*properties)..)?))
}

fn note(tally: &mut Tally, payload: &[u8]) {
    let reading: Option<serde_json::Value> = serde_json::from_slice(payload).ok();
    let Some((device, number)) = reading
        .as_ref()
        .and_then(|it| Some((it["device"].as_str()?, it["seq"].as_u64()?)))
    else {
        return;
    };
    tally.note(device, number);
}
