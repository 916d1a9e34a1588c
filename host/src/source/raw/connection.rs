//! One connection or line, a task of its own: reads, cuts into frames, hands them on as far as there is room, and writes what its
//! messages are answered with.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use super::frame::{BytesEnd, FramePiece, Framer, RawFraming};
use super::program::ProgramEnd;
use super::wire::{RawWire, WireEvent};
use crate::clock::sleep_until;

/// Bytes that are read at once.
const READ_BYTES: usize = 16 << 10;
/// Bytes of replies that are written at once.
const WRITE_BYTES: usize = 1 << 10;
/// So long the other end may take nothing of its replies.
const WRITE_WITHIN: Duration = Duration::from_secs(10);
/// A frame in which a serial line falls silent for so long has lost a byte: the next one begins a new frame.
const SILENT_AFTER: Duration = Duration::from_secs(1);

const HUNG_UP: &str = "the other end hung up";

/// What came together on one connection.
pub(super) struct WirePieces {
    pub(super) wire: u64,
    pub(super) topic: Bytes,
    pub(super) pieces: Vec<FramePiece>,
    /// Nothing more will come, and whoever sent it waits for the rest of the replies.
    pub(super) is_last: bool,
}

/// What a connection is to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum WireOrder {
    #[default]
    Take,
    /// To read nothing more.
    Stop,
    /// The same, and end once what is due is written.
    Leave,
}

/// That, and how many replies are due since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct WireOrders {
    pub(super) order: WireOrder,
    pub(super) replies: u64,
}

/// Why a connection ended.
pub(super) struct WireEnd {
    why: String,
    /// Of a program, what it came to.
    pub(super) program: Option<ProgramEnd>,
}

impl WireEnd {
    fn of(why: &str) -> Self {
        Self {
            why: why.to_owned(),
            program: None,
        }
    }

    /// For people; of a program how it ended, and what it said last.
    pub(super) fn words(&self) -> String {
        match &self.program {
            Some(ProgramEnd::Bad(why)) if self.why == HUNG_UP => why.clone(),
            Some(ProgramEnd::Bad(why)) => format!("{}; {why}", self.why),
            Some(ProgramEnd::Good) => "it ended by itself".to_owned(),
            None => self.why.clone(),
        }
    }
}

pub(super) struct RawConnection {
    pub(super) wire: RawWire,
    pub(super) number: u64,
    pub(super) topic: Bytes,
    pub(super) framer: Framer,
    /// After how long a silence what was begun ends.
    pub(super) patience: Option<Duration>,
    pub(super) reply: Option<Bytes>,
    pub(super) frames: mpsc::Sender<WirePieces>,
    pub(super) orders: watch::Receiver<WireOrders>,
    /// When something came last, milliseconds since `began`.
    pub(super) heard: Arc<AtomicU64>,
    pub(super) began: Instant,
}

/// How long a silence ends what was begun on such a wire.
pub(super) fn patience(framing: &RawFraming, wire: &RawWire) -> Option<Duration> {
    match framing {
        RawFraming::Idle(silence) => Some(*silence),
        RawFraming::Length(..) | RawFraming::Fixed { .. } if wire.is_serial() => Some(SILENT_AFTER),
        _ => None,
    }
}

/// What of a connection changes while it runs.
struct WireState {
    pieces: Vec<FramePiece>,
    /// Replies given to `output` since the beginning.
    replied: u64,
    output: Vec<u8>,
    /// Of it, how much is written, and until when more is to be.
    written: usize,
    write_by: Instant,
    /// When something came last.
    heard: Instant,
    /// Why nothing more comes, in words; `None` while something may.
    end: Option<String>,
    /// The end was handed on.
    is_told: bool,
}

impl WireState {
    fn new(now: Instant) -> Self {
        Self {
            pieces: Vec::new(),
            replied: 0,
            output: Vec::new(),
            written: 0,
            write_by: now + WRITE_WITHIN,
            heard: now,
            end: None,
            is_told: false,
        }
    }

    fn hands_on(&self) -> bool {
        !self.pieces.is_empty() || (self.end.is_some() && !self.is_told)
    }

    fn is_writing(&self) -> bool {
        self.written < self.output.len()
    }
}

impl RawConnection {
    /// Serves until the other end hangs up, or it is ordered to leave.
    pub(super) async fn run(mut self) -> WireEnd {
        let mut input = vec![0; READ_BYTES];
        let mut state = WireState::new(Instant::now());
        let hand_on = self.frames.clone();
        loop {
            let WireOrders { order, replies } = *self.orders.borrow_and_update();
            self.prepare(&mut state, order, replies);
            if self.is_over(&state, order) {
                return WireEnd {
                    program: self.wire.leave(state.replied > 0).await,
                    why: state.end.unwrap_or_default(),
                };
            }
            let (is_writing, hands_on) = (state.is_writing(), state.hands_on());
            let is_reading = state.end.is_none() && !hands_on && order == WireOrder::Take;
            let patience = self.patience.filter(|_| self.framer.is_half());
            let silent_at = patience.map(|patience| state.heard + patience);
            let mut room = is_reading.then_some(&mut *input);
            let wire = &mut self.wire;
            let output = &state.output[state.written..];
            tokio::select! {
                biased;
                event = poll_fn(|cx| wire.poll(cx, output, room.as_deref_mut())), if is_reading || is_writing => {
                    self.met(event, &input, &mut state);
                }
                permit = hand_on.reserve(), if hands_on => match permit {
                    Ok(permit) => permit.send(self.pieces(&mut state)),
                    Err(_) => return WireEnd::of("the source ends"),
                },
                changed = self.orders.changed() => if changed.is_err() {
                    return WireEnd::of("the source ends");
                },
                () = sleep_until(silent_at), if is_reading => self.framer.silent(&mut state.pieces),
                () = sleep_until(Some(state.write_by)), if is_writing => {
                    return WireEnd::of("the other end takes no replies");
                }
            }
        }
    }

    /// Obeys, and has what is due written next.
    fn prepare(&mut self, state: &mut WireState, order: WireOrder, due: u64) {
        if order == WireOrder::Leave {
            self.ended(BytesEnd::Broken, "it was told to end".to_owned(), state);
        }
        if !state.is_writing() {
            self.fill(state, due);
            state.write_by = Instant::now() + WRITE_WITHIN;
        }
    }

    /// Whether nothing is left to do.
    fn is_over(&self, state: &WireState, order: WireOrder) -> bool {
        let is_done = !state.hands_on() && !state.is_writing();
        let waits_for_nothing = state.end.is_some() && self.reply.is_none();
        is_done && (order == WireOrder::Leave || waits_for_nothing)
    }

    /// What came of the wire.
    fn met(&mut self, event: WireEvent, input: &[u8], state: &mut WireState) {
        match event {
            WireEvent::Written(bytes) => {
                state.written += bytes;
                state.write_by = Instant::now() + WRITE_WITHIN;
            }
            WireEvent::Read(0) if self.wire.is_serial() => {
                self.ended(BytesEnd::Broken, "it was pulled".to_owned(), state);
                self.is_gone(state);
            }
            WireEvent::Read(0) => {
                self.ended(BytesEnd::Orderly, HUNG_UP.to_owned(), state);
            }
            WireEvent::Read(bytes) => {
                state.heard = Instant::now();
                self.read(&input[..bytes], state.heard, state);
            }
            WireEvent::Broken(error) => {
                self.ended(BytesEnd::Broken, error.to_string(), state);
                self.is_gone(state);
            }
        }
    }

    /// What is handed on now.
    fn pieces(&self, state: &mut WireState) -> WirePieces {
        state.is_told = state.end.is_some();
        WirePieces {
            wire: self.number,
            topic: self.topic.clone(),
            pieces: std::mem::take(&mut state.pieces),
            is_last: state.is_told,
        }
    }

    fn read(&mut self, bytes: &[u8], now: Instant, state: &mut WireState) {
        let since = now.saturating_duration_since(self.began).as_millis();
        let since = u64::try_from(since).unwrap_or(u64::MAX);
        // Later than when it began, even if no millisecond has passed.
        self.heard.store(since.saturating_add(1), Ordering::Relaxed);
        self.framer.push(bytes, &mut state.pieces);
        // Over a connection nothing is lost in between, so it is not mended by waiting.
        if self.framer.is_lost() && self.patience.is_none() {
            self.reply = None;
            state.end = Some("what comes is out of step (`framing`)".to_owned());
        }
    }

    fn ended(&mut self, end: BytesEnd, why: String, state: &mut WireState) {
        if state.end.is_none() {
            self.framer.end(end, &mut state.pieces);
            state.end = Some(why);
        }
    }

    /// Nobody is there to be told of the rest.
    fn is_gone(&mut self, state: &mut WireState) {
        self.reply = None;
        state.output.clear();
        state.written = 0;
    }

    /// Takes the next replies that are due.
    fn fill(&self, state: &mut WireState, due: u64) {
        state.output.clear();
        state.written = 0;
        let Some(reply) = &self.reply else {
            return;
        };
        let most = (WRITE_BYTES / reply.len().max(1)).max(1);
        let count = due.saturating_sub(state.replied).min(most as u64);
        for _ in 0..count {
            state.output.extend_from_slice(reply);
        }
        state.replied += count;
    }
}
