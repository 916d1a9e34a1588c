//! A TCP proxy that is a thin link: so many bytes a second, a delay, and moments of silence, towards its target. Its buffers
//! are small, so what has not got through lies with the sender, as on a link of a modem.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::net::sockopt::set_socket_recv_buffer_size;

/// How thin.
#[derive(Clone, Copy, Debug)]
pub struct Profile {
    /// Bytes a second towards the target; the way back is free.
    pub rate: usize,
    /// What every byte takes, each way.
    pub delay: Duration,
    /// Now and then nothing moves for so long.
    pub silence: Duration,
    /// How often; the first time after half of it.
    pub every: Duration,
    /// What the near end takes before it has passed it on; the system doubles it.
    pub buffer: usize,
}

impl Profile {
    /// `rate` bytes a second and a round trip, without silence.
    pub fn of(rate: usize, round_trip: Duration) -> Self {
        Self {
            rate,
            delay: round_trip / 2,
            silence: Duration::ZERO,
            every: Duration::MAX,
            buffer: 4 << 10,
        }
    }
}

/// A running one; its threads end with their connections.
#[derive(Debug)]
pub struct ThinLink {
    address: SocketAddr,
    over: Arc<AtomicBool>,
}

impl ThinLink {
    /// Listens on a free port and passes everything on to `target`.
    pub fn to(target: SocketAddr, profile: Profile) -> Result<Self> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port for the link")?;
        // Connections have what their listener has.
        set_socket_recv_buffer_size(&listener, profile.buffer)?;
        let (address, over) = (listener.local_addr()?, Arc::new(AtomicBool::new(false)));
        let ends = Arc::clone(&over);
        std::thread::spawn(move || {
            let begun = Instant::now();
            while let Ok((near, _)) = listener.accept() {
                if ends.load(Ordering::SeqCst) {
                    return;
                }
                // A target that is away shows as a connection that closes at once.
                let Ok(far) = TcpStream::connect(target) else {
                    continue;
                };
                let _ = (near.set_nodelay(true), far.set_nodelay(true));
                let (Ok(near_copy), Ok(far_copy)) = (near.try_clone(), far.try_clone()) else {
                    continue;
                };
                std::thread::spawn(move || pass(near, far_copy, profile, begun));
                std::thread::spawn(move || {
                    pass(
                        far,
                        near_copy,
                        Profile {
                            rate: usize::MAX,
                            ..profile
                        },
                        begun,
                    )
                });
            }
        });
        Ok(Self { address, over })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address as an `mqtt://` URL.
    pub fn url(&self) -> String {
        format!("mqtt://{}", self.address)
    }
}

impl Drop for ThinLink {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, which then ends.
        let _ = TcpStream::connect(self.address);
    }
}

/// Takes bytes at the rate of the link, and hands them on after its delay.
fn pass(mut from: TcpStream, to: TcpStream, profile: Profile, begun: Instant) {
    let late = deliver(to);
    let mut buffer = vec![0; (profile.rate / 10).clamp(64, 64 << 10)];
    let mut free_at = Instant::now();
    while let Ok(read) = from.read(&mut buffer) {
        if read == 0 {
            break;
        }
        let taken = Duration::from_secs_f64(read as f64 / profile.rate as f64);
        free_at = through_silence(free_at.max(Instant::now()) + taken, profile, begun);
        if late
            .send((free_at + profile.delay, buffer[..read].to_vec()))
            .is_err()
        {
            break;
        }
        wait_for(free_at);
    }
}

/// Writes what it is given at its time.
fn deliver(mut to: TcpStream) -> SyncSender<(Instant, Vec<u8>)> {
    let (late, due) = sync_channel::<(Instant, Vec<u8>)>(4_096);
    std::thread::spawn(move || {
        while let Ok((at, bytes)) = due.recv() {
            wait_for(at);
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
    late
}

/// When what would get through `at` does.
fn through_silence(at: Instant, profile: Profile, begun: Instant) -> Instant {
    if profile.silence.is_zero() {
        return at;
    }
    let into = (at - begun + profile.every / 2).as_secs_f64() % profile.every.as_secs_f64();
    let left = profile.silence.as_secs_f64() - into;
    // The silence stands at the beginning of each round.
    if left > 0.0 {
        at + Duration::from_secs_f64(left)
    } else {
        at
    }
}

/// The time is what this is about; nothing is synchronised by it.
fn wait_for(at: Instant) {
    while let Some(left) = at
        .checked_duration_since(Instant::now())
        .filter(|left| !left.is_zero())
    {
        std::thread::park_timeout(left);
    }
}
