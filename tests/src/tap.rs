//! A TCP proxy that notes what a broker publishes to whoever dials through it, in the order in which it does. MQTT 3.1.1.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};

use crate::fake::packet::{published, take_frame};

/// A running one; its threads end with their connections.
#[derive(Debug)]
pub struct Tap {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    target: SocketAddr,
    over: AtomicBool,
    payloads: Mutex<Vec<Vec<u8>>>,
}

impl Tap {
    /// Listens on a free port and passes everything on to `target` and back.
    pub fn on(target: SocketAddr) -> Result<Self> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port for the tap")?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            target,
            over: AtomicBool::new(false),
            payloads: Mutex::default(),
        });
        let accepting = Arc::clone(&state);
        std::thread::spawn(move || {
            while let Ok((near, _)) = listener.accept() {
                if accepting.over.load(Ordering::SeqCst) {
                    return;
                }
                // A target that is away shows as a connection that closes at once.
                let _ = join(near, &accepting);
            }
        });
        Ok(Self { address, state })
    }

    /// Its address as an `mqtt://` URL.
    pub fn url(&self) -> String {
        format!("mqtt://{}", self.address)
    }

    /// The payloads of all that was published through it, over all connections, repeats included.
    pub fn payloads(&self) -> Vec<Vec<u8>> {
        self.state
            .payloads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, which then ends.
        let _ = TcpStream::connect(self.address);
    }
}

fn join(near: TcpStream, state: &Arc<State>) -> std::io::Result<()> {
    let far = TcpStream::connect(state.target)?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let (up, down) = ((near.try_clone()?, far.try_clone()?), (far, near));
    std::thread::spawn(move || pass(up.0, up.1, |_| ()));
    let (state, mut input) = (Arc::clone(state), Vec::new());
    std::thread::spawn(move || {
        pass(down.0, down.1, |bytes| {
            input.extend_from_slice(bytes);
            while let Some(frame) = take_frame(&mut input) {
                let payload = published(&frame, false).map(|published| published.payload);
                state
                    .payloads
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .extend(payload);
            }
        });
    });
    Ok(())
}

/// Noted before it is passed on: what has arrived is in the list.
fn pass(mut from: TcpStream, mut to: TcpStream, mut note: impl FnMut(&[u8])) {
    let mut buffer = vec![0; 64 << 10];
    while let Some(read) = from.read(&mut buffer).ok().filter(|read| *read > 0) {
        note(&buffer[..read]);
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    // Both ends hear of it; one that has ended already is as good.
    let _ = to.shutdown(std::net::Shutdown::Both);
    let _ = from.shutdown(std::net::Shutdown::Both);
}
