//! A TCP proxy whose connections can be cut and refused: a link that goes away while both ends live on. For
//! brokers that keep everything in memory, where stopping the broker would lose what it had accepted.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// How slow a link is, each way.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    /// What every byte takes.
    pub delay: Duration,
    /// How much more or less, at random; bytes do not overtake each other.
    pub jitter: Duration,
    /// Now and then nothing gets through for so long, on no connection.
    pub burst: Duration,
    /// How often, about.
    pub every: Duration,
}

/// When nothing gets through: the link's own time, however often somebody dials.
#[derive(Debug)]
struct Burst {
    begin: Instant,
    end: Instant,
}

impl Burst {
    /// The first one of a link that begins `now`.
    fn after(now: Instant, weather: Weather) -> Self {
        let begin = now + weather.every.mul_f64(0.5 + fastrand::f64());
        Self {
            begin,
            end: begin + weather.burst,
        }
    }

    /// When what came `now` gets through.
    fn lets_through(&mut self, now: Instant, weather: Weather) -> Instant {
        while now >= self.end {
            *self = Self::after(self.end, weather);
        }
        if now < self.begin { now } else { self.end }
    }
}

/// A running proxy; its threads end with their connections.
#[derive(Debug)]
pub struct Cuttable {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    target: SocketAddr,
    dark: AtomicBool,
    over: AtomicBool,
    /// What is sent to the target goes nowhere.
    deaf: AtomicBool,
    dials: AtomicU64,
    weather: Mutex<Weather>,
    burst: Mutex<Option<Burst>>,
    open: Mutex<Vec<TcpStream>>,
}

impl Cuttable {
    /// Listens on a free port and passes everything on to `target`.
    pub fn to(target: SocketAddr) -> Result<Self> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port for the proxy")?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            target,
            dark: AtomicBool::new(false),
            over: AtomicBool::new(false),
            deaf: AtomicBool::new(false),
            dials: AtomicU64::new(0),
            weather: Mutex::default(),
            burst: Mutex::default(),
            open: Mutex::default(),
        });
        let accepting = Arc::clone(&state);
        std::thread::spawn(move || accept(&listener, &accepting));
        Ok(Self { address, state })
    }

    /// Where to dial instead of the target.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address as an `mqtt://` URL.
    pub fn url(&self) -> String {
        format!("mqtt://{}", self.address)
    }

    /// Cuts what is open and refuses what comes.
    pub fn go_dark(&self) {
        self.state.dark.store(true, Ordering::SeqCst);
        self.cut();
    }

    /// Lets connections through again.
    pub fn back(&self) {
        self.state.dark.store(false, Ordering::SeqCst);
    }

    /// From now on what is sent to the target goes nowhere, or arrives again; what it says itself always does.
    pub fn swallow(&self, swallows: bool) {
        self.state.deaf.store(swallows, Ordering::SeqCst);
    }

    /// Cuts what is open once; whoever dials again gets through.
    pub fn cut(&self) {
        for stream in self
            .state
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain(..)
        {
            // One that has ended already is as cut as it can be.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Connections to come are as slow as that.
    pub fn turn(&self, weather: Weather) {
        *self
            .state
            .weather
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = weather;
    }

    /// How often somebody dialled, let through or not.
    pub fn dials(&self) -> u64 {
        self.state.dials.load(Ordering::SeqCst)
    }
}

impl Drop for Cuttable {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::SeqCst);
        self.go_dark();
        // Wakes the accepting thread, which then ends.
        let _ = TcpStream::connect(self.address);
    }
}

fn accept(listener: &TcpListener, state: &Arc<State>) {
    while let Ok((near, _)) = listener.accept() {
        if state.over.load(Ordering::SeqCst) {
            return;
        }
        state.dials.fetch_add(1, Ordering::SeqCst);
        if state.dark.load(Ordering::SeqCst) {
            continue;
        }
        // A target that is away shows as a connection that closes at once.
        let Ok(far) = TcpStream::connect(state.target) else {
            continue;
        };
        let _ = (near.set_nodelay(true), far.set_nodelay(true));
        let (Ok(near_copy), Ok(far_copy)) = (near.try_clone(), far.try_clone()) else {
            continue;
        };
        if let (Ok(one), Ok(other)) = (near.try_clone(), far.try_clone()) {
            state
                .open
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extend([one, other]);
        }
        let weather = *state.weather.lock().unwrap_or_else(PoisonError::into_inner);
        for (from, to, way) in [(near, far_copy, Way::There), (far, near_copy, Way::Back)] {
            let state = Arc::clone(state);
            std::thread::spawn(move || pass((from, to, way), weather, &state));
        }
        if state.dark.load(Ordering::SeqCst) {
            // It went dark between the look above and the list: nothing may slip through.
            for stream in state
                .open
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .drain(..)
            {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }
}

/// Reads at once, and writes when the time has come.
fn pass_late(mut from: TcpStream, mut to: TcpStream, weather: Weather, state: &Arc<State>) {
    let (late, due) = std::sync::mpsc::sync_channel::<(Instant, Vec<u8>)>(4_096);
    let state = Arc::clone(state);
    std::thread::spawn(move || {
        let mut last = Instant::now();
        while let Ok((came, bytes)) = due.recv() {
            let jitter = weather.jitter.mul_f64(2.0 * fastrand::f64());
            let mut at = came + (weather.delay + jitter).saturating_sub(weather.jitter);
            if !weather.burst.is_zero() {
                let mut burst = state.burst.lock().unwrap_or_else(PoisonError::into_inner);
                at = burst
                    .get_or_insert_with(|| Burst::after(at, weather))
                    .lets_through(at, weather);
            }
            last = at.max(last);
            // The time is what this is about; nothing is synchronised by it.
            std::thread::park_timeout(last.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read) = from.read(&mut buffer) {
        if read == 0
            || late
                .send((Instant::now(), buffer[..read].to_vec()))
                .is_err()
        {
            break;
        }
    }
}

/// In which direction bytes go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    There,
    Back,
}

fn pass(
    (mut from, mut to, way): (TcpStream, TcpStream, Way),
    weather: Weather,
    state: &Arc<State>,
) {
    if !(weather.delay + weather.burst).is_zero() {
        return pass_late(from, to, weather, state);
    }
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read) = from.read(&mut buffer) {
        if way == Way::There && read > 0 && state.deaf.load(Ordering::SeqCst) {
            continue;
        }
        if read == 0 || to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
