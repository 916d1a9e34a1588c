//! The line to the devices: one connection or serial port, one request at a time. Every wait has its end.
//!
//! What answers one request is never taken for the answer to another. Over TCP each has a number; behind a fault the connection is
//! dialled anew. On a line answers have none. So a station whose answer was not read in full is left alone for twice the timeout
//! from when it was asked, whatever came in place of the answer and however often the line was opened since, and the line is
//! listened to until it is silent.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use tokio::time::timeout_at;

use super::frame::{AnswerFault, Framing, ReadRequest};
use super::{Config, ModbusAddress};
use crate::link::{
    self, Backoff, ConnectionLoss, Deadlines, Dial, FailureKind, Peer, SerialFinder, SerialPort,
    Socket, Target, serial_problem,
};

const PEER: Peer = Peer {
    noun: "device",
    plain: "modbus+tcp://",
    upgrade: None,
};

/// Adapters hand on what they have got every 16 ms: a gap within a frame may look like that.
const SILENCE: Duration = Duration::from_millis(30);

/// More than any answer.
const BUFFER: usize = 512;

/// Why there is no line.
#[derive(Debug, thiserror::Error)]
pub(super) enum LineError {
    #[error(transparent)]
    Link(#[from] link::Error),
    #[error("cannot open `{path}`: {}", serial_problem(source))]
    Open { path: String, source: io::Error },
    /// It was there, and was of no use.
    #[error("`{address}`: {fault}")]
    Lost { address: String, fault: AnswerFault },
}

impl ConnectionLoss for LineError {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Link(error) => error.kind(),
            Self::Open { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                FailureKind::Refused
            }
            Self::Open { .. } | Self::Lost { .. } => FailureKind::Passing,
        }
    }
}

/// Dials one line, always the same.
#[derive(Debug)]
pub(super) struct LineDialler {
    config: Config,
    id: String,
    /// Of a serial line, its adapter.
    finder: Option<SerialFinder>,
    /// Until then answers may come on a line to whoever asked before.
    others_until: Instant,
}

impl LineDialler {
    pub(super) fn new(config: &Config) -> Self {
        let finder = match &config.address {
            ModbusAddress::Serial(serial) => Some(SerialFinder::of(&serial.path)),
            ModbusAddress::Net { .. } => None,
        };
        Self {
            id: config.address.to_string(),
            finder,
            others_until: Instant::now() + 2 * config.timeout,
            config: config.clone(),
        }
    }

    /// The line, which was lost to `fault`.
    pub(super) fn lost(&self, fault: AnswerFault) -> LineError {
        let address = self.id.clone();
        LineError::Lost { address, fault }
    }

    async fn open(&self) -> Result<(Box<dyn LineStream>, Framing), LineError> {
        match &self.config.address {
            ModbusAddress::Net {
                host,
                port,
                framing,
            } => {
                let target = Target {
                    host,
                    port: *port,
                    tls: None,
                    deadlines: Deadlines::default(),
                    peer: &PEER,
                    carriage: None,
                };
                let socket = Socket::dial(target).await?;
                Ok((Box::new(socket), *framing))
            }
            ModbusAddress::Serial(serial) => {
                let port =
                    SerialPort::open(serial, self.finder.as_ref()).map_err(|(path, source)| {
                        LineError::Open {
                            path: crate::words::line(&path.to_string_lossy(), 200),
                            source,
                        }
                    })?;
                Ok((Box::new(port), Framing::Rtu))
            }
        }
    }
}

impl Dial for LineDialler {
    type Up = Line;
    type Error = LineError;

    async fn dial(&self, _: u32) -> Result<Line, LineError> {
        let (io, framing) = self.open().await?;
        let mut line = Line::over(io, framing, self.config.pause);
        line.quiet_until = Instant::now() + self.config.connect_pause;
        if framing == Framing::Rtu {
            line.quiet_until = line.quiet_until.max(self.others_until);
        }
        Ok(line)
    }

    fn id(&self) -> &str {
        &self.id
    }

    fn backoff(&self) -> Backoff {
        self.config.backoff
    }

    fn complaint(&self) -> &'static str {
        "no device can be asked"
    }
}

/// What carries the bytes.
trait LineStream: Send + std::fmt::Debug {
    /// 0 is the end.
    fn poll_read(&mut self, cx: &mut Context<'_>, input: &mut BytesMut) -> Poll<io::Result<usize>>;

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;

    /// Whether it can be dialled anew at once: a connection ends for many reasons, a serial line for one.
    fn is_connection(&self) -> bool;
}

impl LineStream for Socket {
    fn poll_read(&mut self, cx: &mut Context<'_>, input: &mut BytesMut) -> Poll<io::Result<usize>> {
        input.reserve(BUFFER);
        Self::poll_read(self, cx, input)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Self::poll_write(self, cx, bytes)
    }

    fn is_connection(&self) -> bool {
        true
    }
}

impl LineStream for SerialPort {
    fn poll_read(&mut self, cx: &mut Context<'_>, input: &mut BytesMut) -> Poll<io::Result<usize>> {
        let mut buffer = [0; BUFFER];
        let read = ready!(Self::poll_read(self, cx, &mut buffer))?;
        input.extend_from_slice(&buffer[..read]);
        Poll::Ready(Ok(read))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Self::poll_write(self, cx, bytes)
    }

    fn is_connection(&self) -> bool {
        false
    }
}

/// What earlier requests leave to later ones, over every line that is dialled for a source.
#[derive(Debug, Default)]
pub(super) struct Owed {
    /// Of the last request over TCP.
    number: u16,
    /// Stations whose answer was not read in full, and until when it may come: one entry each.
    late: Vec<(u8, Instant)>,
}

/// A line that stands.
#[derive(Debug)]
pub(super) struct Line {
    wire: Box<dyn LineStream>,
    framing: Framing,
    input: BytesMut,
    quiet_until: Instant,
    pause: Duration,
    /// Nothing of an earlier request can come any more.
    is_clean: bool,
    has_answered: bool,
    owed: Owed,
}

impl Line {
    fn over(wire: Box<dyn LineStream>, framing: Framing, pause: Duration) -> Self {
        Self {
            wire,
            framing,
            input: BytesMut::with_capacity(BUFFER),
            quiet_until: Instant::now(),
            pause,
            is_clean: true,
            has_answered: false,
            owed: Owed::default(),
        }
    }

    /// Whether it has to be dialled anew before it is of use.
    pub(super) fn is_spent(&self) -> bool {
        !self.is_clean && self.wire.is_connection()
    }

    /// This one, dialled where one stood that left `owed`: a serial server may still hand on what that had asked for.
    pub(super) fn after(mut self, owed: Owed) -> Self {
        self.owed = owed;
        self
    }

    /// What it leaves to the next one.
    pub(super) fn leave(&mut self) -> Owed {
        std::mem::take(&mut self.owed)
    }

    /// Takes it out of use, as after a request that came to nothing.
    pub(super) fn spend(&mut self) {
        self.is_clean = false;
    }

    /// Whether a device has answered on it.
    pub(super) fn has_answered(&self) -> bool {
        self.has_answered
    }

    pub(super) fn is_connection(&self) -> bool {
        self.wire.is_connection()
    }

    /// Asks once, and waits for the answer for `timeout`.
    pub(super) async fn ask(
        &mut self,
        ask: ReadRequest,
        timeout: Duration,
    ) -> Result<Vec<u8>, AnswerFault> {
        tokio::time::sleep_until(self.quiet_until.into()).await;
        let mut late = self.owed.late.iter();
        let late = late.find(|(station, _)| *station == ask.station).copied();
        if let Some((_, until)) = late {
            tokio::time::sleep_until(until.into()).await;
        }
        if late.is_some() || !self.is_clean {
            self.fall_silent(timeout).await?;
        }
        self.discard().await?;
        self.is_clean = false;
        self.owed.number = self.owed.number.wrapping_add(1);
        let deadline = Instant::now() + timeout;
        self.owe(ask.station, deadline + timeout);
        self.write(&ask.encode(self.framing, self.owed.number), deadline)
            .await?;
        let answer = self.read(ask, timeout, deadline).await;
        self.quiet_until = Instant::now() + self.pause;
        if matches!(answer, Ok(_) | Err(AnswerFault::Refused(_))) {
            self.is_clean = true;
            self.has_answered = true;
            self.owed
                .late
                .retain(|(station, _)| *station != ask.station);
        }
        answer
    }

    /// An answer of that station may come until then.
    fn owe(&mut self, station: u8, until: Instant) {
        let late = &mut self.owed.late;
        late.retain(|(known, _)| *known != station);
        if self.framing == Framing::Rtu {
            late.push((station, until));
        }
    }

    async fn write(&mut self, mut bytes: &[u8], deadline: Instant) -> Result<(), AnswerFault> {
        while !bytes.is_empty() {
            let written = poll_fn(|cx| self.wire.poll_write(cx, bytes));
            let written = timeout_at(deadline.into(), written).await;
            let written =
                written.map_err(|_| AnswerFault::Broken("it takes nothing".to_owned()))?;
            match written.map_err(|error| broken(&error))? {
                0 => return Err(AnswerFault::Broken("it takes nothing".to_owned())),
                written => bytes = &bytes[written..],
            }
        }
        Ok(())
    }

    async fn read(
        &mut self,
        ask: ReadRequest,
        timeout: Duration,
        deadline: Instant,
    ) -> Result<Vec<u8>, AnswerFault> {
        let (mut stray, mut is_over) = (None, false);
        loop {
            let found = ask.seek(self.framing, self.owed.number, &self.input);
            let answer = found.answer.map(|data| data.map(<[u8]>::to_vec));
            stray = stray.or(found.stray);
            // What is behind the answer is nobody's, and found before the next request.
            let done = found.done;
            self.input.advance(done);
            if let Some(answer) = answer {
                return answer;
            }
            let read = poll_fn(|cx| self.wire.poll_read(cx, &mut self.input));
            match timeout_at(deadline.into(), read).await {
                // A line that never falls silent is read no longer either.
                Ok(Ok(1..)) if Instant::now() < deadline => {}
                Ok(Ok(1..)) if !is_over => is_over = true,
                Ok(Ok(1..)) | Err(_) => {
                    return Err(stray.unwrap_or_else(|| self.nothing_within(timeout)));
                }
                Ok(Err(error)) => return Err(broken(&error)),
                Ok(Ok(0)) => return Err(AnswerFault::Broken("the other end closed it".to_owned())),
            }
        }
    }

    fn nothing_within(&self, timeout: Duration) -> AnswerFault {
        match self.input.len() {
            0 => AnswerFault::Silent(timeout),
            got => AnswerFault::Short {
                got,
                within: timeout,
            },
        }
    }

    /// Throws away what nobody asked for. Over TCP there must be none: it is no noise there.
    async fn discard(&mut self) -> Result<(), AnswerFault> {
        loop {
            let read = poll_fn(|cx| Poll::Ready(self.wire.poll_read(cx, &mut self.input))).await;
            match read {
                Poll::Pending => break,
                Poll::Ready(Err(error)) => return Err(broken(&error)),
                Poll::Ready(Ok(0)) => {
                    return Err(AnswerFault::Broken("the other end closed it".to_owned()));
                }
                Poll::Ready(Ok(_)) if self.input.len() > BUFFER => break,
                Poll::Ready(Ok(_)) => {}
            }
        }
        let strays = self.input.len();
        self.input.clear();
        if strays > 0 && self.framing == Framing::Tcp {
            self.is_clean = false;
            return Err(AnswerFault::Foreign(format!(
                "{strays} bytes that nobody asked for"
            )));
        }
        Ok(())
    }

    /// Listens until nothing has come for a while; one that never falls silent is asked all the same in the end.
    async fn fall_silent(&mut self, most: Duration) -> Result<(), AnswerFault> {
        let end = Instant::now() + most;
        while Instant::now() < end {
            let until = end.min(Instant::now() + self.pause.max(SILENCE));
            let read = poll_fn(|cx| self.wire.poll_read(cx, &mut self.input));
            match timeout_at(until.into(), read).await {
                Err(_) => break,
                Ok(Err(error)) => return Err(broken(&error)),
                Ok(Ok(0)) => return Err(AnswerFault::Broken("the line is unplugged".to_owned())),
                Ok(Ok(_)) => self.input.clear(),
            }
        }
        Ok(())
    }
}

fn broken(error: &io::Error) -> AnswerFault {
    AnswerFault::Broken(error.to_string())
}

#[cfg(test)]
mod tests;
