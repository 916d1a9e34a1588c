//! A socket that is driven by whoever speaks over it: writes what is queued, reads what comes a turn at a time, and knows since when the
//! peer takes nothing and how far its TCP is with what was sent.

use std::io;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::{Error, ReadTurn, Socket, TcpProgress};

/// Size of a read buffer: messages are slices of it, so it is allocated once per so many bytes, not per message.
const CHUNK_BYTES: usize = 64 << 10;
/// Less room than this is not worth a read.
const LEAST_ROOM_BYTES: usize = 8 << 10;
/// No read buffer is larger, however large the message is that comes.
const MOST_ROOM_BYTES: usize = 256 << 10;
/// How often to look how far the peer's TCP is.
const LOOK: Duration = Duration::from_secs(1);

/// A socket with what one who waits for nothing has to know of it.
#[derive(Debug)]
pub struct DrivenSocket {
    socket: Socket,
    turn: ReadTurn,
    /// TLS may hold bytes that the socket has not taken.
    unflushed: bool,
    /// Since when the socket takes nothing.
    stalled: Option<Instant>,
    /// How far the peer's TCP is with what was sent, and when that is looked at next.
    progress: TcpProgress,
    look_at: Instant,
}

impl DrivenSocket {
    pub fn new(socket: Socket) -> Self {
        Self {
            socket,
            turn: ReadTurn::default(),
            unflushed: false,
            stalled: None,
            progress: TcpProgress::default(),
            look_at: Instant::now(),
        }
    }

    pub fn socket(&mut self) -> &mut Socket {
        &mut self.socket
    }

    /// Writes `output` until all is written or the socket takes no more; how many bytes of it were taken.
    ///
    /// # Errors
    /// The connection is over; it may still be read why.
    pub fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        output: &[u8],
        now: Instant,
    ) -> Result<usize, Error> {
        let mut taken = 0;
        let wrote = self.poll_all(cx, output, &mut taken);
        match wrote {
            Poll::Ready(Ok(())) => self.stalled = None,
            Poll::Ready(Err(error)) => {
                self.turn = ReadTurn::default();
                return Err(self.socket.explain(error));
            }
            Poll::Pending => _ = self.stalled.get_or_insert(now),
        }
        Ok(taken)
    }

    fn poll_all(
        &mut self,
        cx: &mut Context<'_>,
        output: &[u8],
        taken: &mut usize,
    ) -> Poll<io::Result<()>> {
        while *taken < output.len() {
            match ready!(self.socket.poll_write(cx, &output[*taken..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => *taken += count,
            }
            (self.unflushed, self.stalled) = (true, None);
        }
        if self.unflushed {
            ready!(self.socket.poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Since when the socket takes nothing; `None` while it has all that it was given.
    pub fn stalled(&self) -> Option<Instant> {
        self.stalled
    }

    /// The peer was seen to take something: what waits for the socket waits from now on.
    pub fn moved(&mut self, now: Instant) {
        self.stalled = self.stalled.map(|_| now);
    }

    /// One read into `input`, which gets room for `missing` bytes if that is not too many; 0 is the end. Where much came in a row
    /// others have their turn first.
    ///
    /// # Errors
    /// The connection is over.
    pub fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        input: &mut BytesMut,
        missing: usize,
    ) -> Poll<Result<usize, Error>> {
        ready!(self.turn.poll(cx));
        if input.capacity() - input.len() < LEAST_ROOM_BYTES {
            input.reserve(missing.clamp(CHUNK_BYTES, MOST_ROOM_BYTES));
        }
        let read = self.socket.poll_read(cx, input);
        match (self.socket.take_cost(), &read) {
            (0, Poll::Pending) => self.turn.found_nothing(),
            (cost, Poll::Ready(Ok(bytes))) => self.turn.read(cost + bytes),
            (cost, _) => self.turn.read(cost),
        }
        read.map_err(|error| self.socket.explain(error))
    }

    /// Whether so much came in a row that the caller should act on it before it reads on.
    pub fn has_had_its_turn(&self) -> bool {
        self.turn.is_over()
    }

    /// Leaves with `output` as the last that is said, within `at_most`; whether the peer has closed after that.
    pub async fn leave(&mut self, output: &[u8], at_most: Duration) -> bool {
        self.socket.leave(output, at_most).await
    }

    /// How many bytes were given to the socket in all.
    pub fn total(&self) -> u64 {
        self.socket.total()
    }

    /// Whether the peer's TCP has taken all before place `end`. That is looked at once a second, whoever asks how often.
    pub fn has_taken(&mut self, end: u64) -> bool {
        let now = Instant::now();
        if !self.progress.has(end) && self.look_at <= now {
            self.look_at = now + LOOK;
            self.progress.took(self.socket.taken(), now);
        }
        self.progress.has(end)
    }

    /// When it was seen to have; until then, when something was last seen to move, if ever.
    pub fn taken_at(&self, end: u64) -> Option<Instant> {
        self.progress.since(end)
    }
}
