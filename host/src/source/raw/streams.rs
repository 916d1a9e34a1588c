//! Connections and serial lines: each a task, all of them one taker.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::connection::{RawConnection, WireEnd, WireOrder, WirePieces, patience};
use super::dialler::{self, Opened, RawDialler};
use super::frame::Framer;
use super::program::{ProgramEnd, ProgramRounds, RawProgram};
use super::wire::{Error, LAST, RawWire};
use super::wires::OpenWires;
use super::{Config, RawAddress};
use crate::clock::sleep_until;
use crate::link::{Port, Redial, Stop};
use crate::source::taker::Borders;

/// Pause after a failed accept: the usual reason is that all descriptors are in use.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// What connections get at the end for what they have read, before nothing more is taken of them.
const LAST_PIECES: Duration = Duration::from_millis(200);

/// Reads that wait to be taken, over all connections.
const READS: usize = 4;

pub(super) struct StreamSource<'a> {
    config: &'a crate::source::Config,
    own: &'a Config,
    wires: OpenWires,
    hand_on: mpsc::Sender<WirePieces>,
    frames: mpsc::Receiver<WirePieces>,
    tasks: JoinSet<(u64, WireEnd)>,
    /// When each was heard last.
    heard: BTreeMap<u64, Arc<AtomicU64>>,
    /// The one that was told to give way to a new one.
    yielding: Option<u64>,
    began: Instant,
    is_leaving: bool,
}

impl<'a> StreamSource<'a> {
    pub(super) fn new(
        config: &'a crate::source::Config,
        own: &'a Config,
        borders: Borders,
        metrics: &crate::source::Metrics,
    ) -> Self {
        let (hand_on, frames) = mpsc::channel(READS);
        Self {
            config,
            own,
            wires: OpenWires::new(config, own, borders, metrics),
            hand_on,
            frames,
            tasks: JoinSet::new(),
            heard: BTreeMap::new(),
            yielding: None,
            began: Instant::now(),
            is_leaving: false,
        }
    }

    /// Takes until `stop` says otherwise.
    pub(super) async fn run(
        &mut self,
        redial: &mut Redial<RawDialler>,
        stop: &mut watch::Receiver<Stop>,
    ) {
        while let Some(opened) = self.dial(redial, stop).await {
            let failures_before = redial.stands();
            let address = &self.own.address;
            tracing::info!(source = %self.config.name, %address, failures_before, "it stands");
            let ended = match opened {
                Opened::Wire(wire) => {
                    let (ended, has_worked) = self.serve(wire, stop).await;
                    if has_worked {
                        redial.worked();
                    }
                    ended
                }
                Opened::Listener(listener) => self.listen(listener, stop).await,
                Opened::Rounds(program, rounds) => self.go_round(&program, rounds, stop).await,
                // These have a source of their own.
                Opened::Datagrams(_) | Opened::Files => None,
            };
            match ended {
                Some(error) => redial.lost(&error),
                None => break,
            }
        }
        self.leave(stop).await;
    }

    /// Waits for what is to be taken from; what was taken before settles meanwhile.
    async fn dial(
        &mut self,
        redial: &mut Redial<RawDialler>,
        stop: &mut watch::Receiver<Stop>,
    ) -> Option<Opened> {
        let mut dialled = pin!(redial.connect(stop));
        loop {
            tokio::select! {
                biased;
                opened = &mut dialled => return opened,
                _ = self.turn() => {}
            }
        }
    }

    /// One step: something came, settled, or is late; or a connection ended, and why. Cancel safe.
    async fn turn(&mut self) -> Option<WireEnd> {
        let settled = self.wires.settled();
        tokio::select! {
            Some(came) = self.frames.recv(), if self.is_leaving || !self.wires.is_full() => {
                self.wires.take(came, Instant::now());
                None
            }
            Some(left) = self.tasks.join_next(), if !self.tasks.is_empty() => {
                // A panic is one of the whole source, which then begins anew.
                let (number, why) =
                    left.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
                self.wires.left(number);
                self.heard.remove(&number);
                self.yielding.take_if(|yielding| *yielding == number);
                Some(why)
            }
            () = settled.changed() => self.settle(),
            () = sleep_until(self.wires.due()) => self.settle(),
        }
    }

    fn settle(&mut self) -> Option<WireEnd> {
        self.wires.settle(Instant::now(), self.is_leaving);
        None
    }

    /// Begins with a connection; when it is heard.
    fn admit(&mut self, wire: RawWire, topic: Bytes) -> Arc<AtomicU64> {
        let (number, orders) = self.wires.enter(wire.is_serial());
        let heard = Arc::new(AtomicU64::new(self.passed()));
        self.heard.insert(number, Arc::clone(&heard));
        let connection = RawConnection {
            patience: patience(&self.own.framing, &wire),
            wire,
            number,
            topic,
            framer: Framer::new(&self.own.framing, self.config.max_payload_bytes),
            reply: self.own.reply.clone(),
            frames: self.hand_on.clone(),
            orders,
            heard: Arc::clone(&heard),
            began: self.began,
        };
        self.tasks
            .spawn(async move { (number, connection.run().await) });
        heard
    }

    /// Milliseconds since the source began.
    fn passed(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Takes from one connection or line until it ends, and why; and whether anything came.
    async fn serve(
        &mut self,
        wire: RawWire,
        stop: &mut watch::Receiver<Stop>,
    ) -> (Option<Error>, bool) {
        let topic = match &self.own.address {
            RawAddress::Dial { host, port } => self.own.topic.of(host, *port),
            _ => self.own.topic.of("", 0),
        };
        let heard = self.admit(wire, topic);
        let before = heard.load(Ordering::Relaxed);
        loop {
            if *stop.borrow_and_update() != Stop::Run {
                return (None, false);
            }
            tokio::select! {
                changed = stop.changed() => if changed.is_err() {
                    return (None, false);
                },
                ended = self.turn() => if let Some(end) = ended {
                    let (address, why) = (self.own.address.to_string(), end.words());
                    let has_worked = heard.load(Ordering::Relaxed) > before;
                    return (Some(Error::Ended { address, why }), has_worked);
                },
            }
        }
    }

    /// Runs a program at its times, until told to stop. Times that pass while it runs are left out.
    async fn go_round(
        &mut self,
        program: &RawProgram,
        rounds: ProgramRounds,
        stop: &mut watch::Receiver<Stop>,
    ) -> Option<Error> {
        let mut next = Instant::now();
        let topic = self.own.topic.of("", 0);
        loop {
            if *stop.borrow_and_update() != Stop::Run {
                return None;
            }
            let at = self.tasks.is_empty().then_some(next);
            tokio::select! {
                changed = stop.changed() => if changed.is_err() {
                    return None;
                },
                ended = self.turn() => if let Some(end) = ended {
                    let is_good = end.program == Some(ProgramEnd::Good);
                    self.wires.came_round((!is_good).then(|| end.words()), next);
                },
                () = sleep_until(at) => {
                    while next <= Instant::now() {
                        next += rounds.every;
                    }
                    match dialler::start(program) {
                        Ok(wire) => drop(self.admit(wire, topic.clone())),
                        Err(error) => return Some(error),
                    }
                }
            }
        }
    }

    /// Takes from whoever dials, until told to stop.
    async fn listen(
        &mut self,
        listener: Port<TcpListener>,
        stop: &mut watch::Receiver<Stop>,
    ) -> Option<Error> {
        let mut pause_until = None;
        loop {
            if *stop.borrow_and_update() != Stop::Run {
                return None;
            }
            let (admits, look_at) = self.room();
            tokio::select! {
                changed = stop.changed() => if changed.is_err() {
                    return None;
                },
                accepted = listener.accept(), if admits && pause_until.is_none() => match accepted {
                    Ok((stream, address)) => self.welcome(stream, address),
                    Err(error) => {
                        tracing::warn!(source = %self.config.name, %error, "a connection cannot be taken");
                        pause_until = Some(Instant::now() + ACCEPT_PAUSE);
                    }
                },
                ended = self.turn() => if let Some(end) = ended {
                    let why = crate::words::line(&end.words(), 200);
                    tracing::debug!(source = %self.config.name, why, "a connection ended");
                },
                () = sleep_until(pause_until) => pause_until = None,
                () = sleep_until(look_at) => {}
            }
        }
    }

    fn welcome(&mut self, stream: TcpStream, address: SocketAddr) {
        // Who dials and is gone before he is taken is no trouble of ours.
        let Ok(stream) = crate::link::prepare(stream) else {
            return;
        };
        if let Some((number, _)) = self.silent_longest().filter(|_| self.is_full()) {
            tracing::info!(source = %self.config.name, "all connections are in use: the one that has been silent longest gives way to a new one");
            self.wires.order(Some(number), WireOrder::Leave);
            self.yielding = Some(number);
        }
        let topic = self.own.topic.of_address(address);
        self.admit(RawWire::Taken(stream), topic);
    }

    fn is_full(&self) -> bool {
        matches!(self.own.address, RawAddress::Listen { most, .. } if self.tasks.len() >= most)
    }

    /// Which has been silent longest, and since when, milliseconds since the source began.
    fn silent_longest(&self) -> Option<(u64, u64)> {
        let heard = self.heard.iter();
        let heard = heard.map(|(number, heard)| (heard.load(Ordering::Relaxed), *number));
        heard.min().map(|(heard, number)| (number, heard))
    }

    /// Whether a new connection may come; if not, when to look again.
    fn room(&self) -> (bool, Option<Instant>) {
        let RawAddress::Listen { yields_after, .. } = self.own.address else {
            return (false, None);
        };
        if !self.is_full() {
            return (true, None);
        }
        let silent = self.silent_longest().filter(|_| self.yielding.is_none());
        let Some((_, heard)) = silent else {
            return (false, None);
        };
        let yields_at = self.began + Duration::from_millis(heard) + yields_after;
        match yields_at <= Instant::now() {
            true => (true, None),
            false => (false, Some(yields_at)),
        }
    }

    /// Waits until all that was taken is settled and answered, or for the end.
    async fn leave(&mut self, stop: &mut watch::Receiver<Stop>) {
        self.is_leaving = true;
        self.wires.order(None, WireOrder::Stop);
        let ceases_at = Instant::now() + LAST_PIECES;
        let mut last = None;
        loop {
            let has_ceased = self.tasks.is_empty() || ceases_at <= Instant::now();
            while let Ok(came) = self.frames.try_recv() {
                self.wires.take(came, Instant::now());
            }
            if has_ceased {
                self.wires.cease();
            }
            self.wires.settle(Instant::now(), true);
            if *stop.borrow_and_update() == Stop::Now {
                return;
            }
            if self.wires.is_empty() {
                self.wires.order(None, WireOrder::Leave);
                let last = *last.get_or_insert_with(|| Instant::now() + LAST);
                if self.tasks.is_empty() || last <= Instant::now() {
                    return;
                }
            }
            tokio::select! {
                changed = stop.changed() => if changed.is_err() {
                    return;
                },
                _ = self.turn() => {}
                () = sleep_until(last) => {}
                () = sleep_until((!has_ceased).then_some(ceases_at)) => {}
            }
        }
    }
}
