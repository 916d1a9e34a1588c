//! The line to the devices: one connection or serial port, one request at a time. Every wait has its end, and what is left over
//! of an answer is never taken for the next one: a connection is dialled anew, a serial line is listened to until it is silent.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use tokio::time::timeout_at;

use super::frame::{Ask, Fault, Framing};
use super::serial::{self, Port, Serial};
use super::{Address, Config};
use crate::link::{
    self, Backoff, ConnectionLoss, Deadlines, Dial, FailureKind, Peer, Socket, Target,
};

const PEER: Peer = Peer {
    noun: "device",
    plain: "modbus+tcp://",
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
    #[error("cannot open `{path}`: {}", serial::problem(source))]
    Open { path: String, source: io::Error },
    /// It was there, and was of no use.
    #[error("`{address}`: {fault}")]
    Lost { address: String, fault: Fault },
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
pub(super) struct Dialler {
    config: Config,
    id: String,
}

impl Dialler {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            id: config.address.to_string(),
            config: config.clone(),
        }
    }

    /// The line, which was lost to `fault`.
    pub(super) fn lost(&self, fault: Fault) -> LineError {
        let address = self.id.clone();
        LineError::Lost { address, fault }
    }

    async fn open(&self) -> Result<(Io, Framing), LineError> {
        match &self.config.address {
            Address::Net {
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
                };
                let socket = Socket::dial(target).await?;
                Ok((Io::Socket(Box::new(socket)), *framing))
            }
            Address::Serial(serial) => {
                let port = open(serial)?;
                Ok((Io::Port(port), Framing::Rtu))
            }
        }
    }
}

fn open(serial: &Serial) -> Result<Port, LineError> {
    Port::open(serial).map_err(|source| LineError::Open {
        path: crate::words::line(&serial.path.to_string_lossy(), 200),
        source,
    })
}

impl Dial for Dialler {
    type Up = Line;
    type Error = LineError;

    async fn dial(&self, _: u32) -> Result<Line, LineError> {
        let (io, framing) = self.open().await?;
        Ok(Line {
            io,
            framing,
            input: BytesMut::with_capacity(BUFFER),
            number: 0,
            quiet_until: Instant::now() + self.config.connect_pause,
            pause: self.config.pause,
            is_clean: true,
            has_answered: false,
            late: None,
        })
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

#[derive(Debug)]
enum Io {
    Socket(Box<Socket>),
    Port(Port),
}

impl Io {
    /// 0 is the end.
    fn poll_read(&mut self, cx: &mut Context<'_>, input: &mut BytesMut) -> Poll<io::Result<usize>> {
        match self {
            Self::Socket(socket) => {
                input.reserve(BUFFER);
                socket.poll_read(cx, input)
            }
            Self::Port(port) => {
                let mut buffer = [0; BUFFER];
                let read = ready!(port.poll_read(cx, &mut buffer))?;
                input.extend_from_slice(&buffer[..read]);
                Poll::Ready(Ok(read))
            }
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Socket(socket) => socket.poll_write(cx, bytes),
            Self::Port(port) => port.poll_write(cx, bytes),
        }
    }
}

/// A line that stands.
#[derive(Debug)]
pub(super) struct Line {
    io: Io,
    framing: Framing,
    input: BytesMut,
    /// Of the last request over TCP.
    number: u16,
    quiet_until: Instant,
    pause: Duration,
    /// Nothing of an earlier request can come any more.
    is_clean: bool,
    has_answered: bool,
    /// On a line an answer has no number: until then one of this station may be that to an earlier request.
    late: Option<(u8, Instant)>,
}

impl Line {
    /// Whether it has to be dialled anew before it is of use.
    pub(super) fn is_spent(&self) -> bool {
        !self.is_clean && matches!(self.io, Io::Socket(_))
    }

    /// This one, dialled in place of `before`: a serial server may still hand on what that had asked for.
    pub(super) fn after(mut self, before: &Self) -> Self {
        self.late = before.late.filter(|_| self.framing == Framing::Rtu);
        self
    }

    /// It is over.
    pub(super) fn spend(&mut self) {
        self.is_clean = false;
    }

    /// Whether a device has answered on it.
    pub(super) fn has_answered(&self) -> bool {
        self.has_answered
    }

    /// Whether it can be dialled anew at once: a connection ends for many reasons, a serial line for one.
    pub(super) fn is_connection(&self) -> bool {
        matches!(self.io, Io::Socket(_))
    }

    /// Asks once, and waits for the answer for `timeout`.
    pub(super) async fn ask(&mut self, ask: Ask, timeout: Duration) -> Result<Vec<u8>, Fault> {
        tokio::time::sleep_until(self.quiet_until.into()).await;
        if let Some((_, until)) = self.late.take_if(|(station, _)| *station == ask.station) {
            tokio::time::sleep_until(until.into()).await;
        }
        if !self.is_clean {
            self.fall_silent(timeout).await?;
        }
        self.discard().await?;
        self.is_clean = false;
        self.number = self.number.wrapping_add(1);
        let deadline = Instant::now() + timeout;
        self.late = Some((ask.station, deadline + timeout));
        self.write(&ask.encode(self.framing, self.number), deadline)
            .await?;
        let answer = self.read(ask, timeout, deadline).await;
        self.quiet_until = Instant::now() + self.pause;
        if matches!(answer, Ok(_) | Err(Fault::Refused(_))) {
            self.is_clean = true;
            self.has_answered = true;
            self.late = None;
        } else if !matches!(answer, Err(Fault::Silent(_) | Fault::Short { .. })) {
            self.late = None;
        }
        answer
    }

    async fn write(&mut self, mut bytes: &[u8], deadline: Instant) -> Result<(), Fault> {
        while !bytes.is_empty() {
            let written = poll_fn(|cx| self.io.poll_write(cx, bytes));
            let written = timeout_at(deadline.into(), written).await;
            let written = written.map_err(|_| Fault::Broken("it takes nothing".to_owned()))?;
            match written.map_err(|error| broken(&error))? {
                0 => return Err(Fault::Broken("it takes nothing".to_owned())),
                written => bytes = &bytes[written..],
            }
        }
        Ok(())
    }

    async fn read(
        &mut self,
        ask: Ask,
        timeout: Duration,
        deadline: Instant,
    ) -> Result<Vec<u8>, Fault> {
        loop {
            let found = ask.answer(self.framing, self.number, &self.input);
            let found = found.map(|data| data.map(<[u8]>::to_vec));
            let data = match &found {
                Ok(data) => data.as_ref().map(Vec::len),
                Err(Fault::Refused(_)) => Some(0),
                Err(_) => None,
            };
            // What is behind it is nobody's, and found before the next request.
            let whole = data.map_or(0, |data| self.framing.whole(data));
            self.input.advance(whole.min(self.input.len()));
            if let Some(found) = found? {
                return Ok(found);
            }
            let read = poll_fn(|cx| self.io.poll_read(cx, &mut self.input));
            match timeout_at(deadline.into(), read).await {
                Err(_) if self.input.is_empty() => return Err(Fault::Silent(timeout)),
                Err(_) => {
                    let got = self.input.len();
                    return Err(Fault::Short {
                        got,
                        within: timeout,
                    });
                }
                Ok(Err(error)) => return Err(broken(&error)),
                Ok(Ok(0)) => return Err(Fault::Broken("the other end closed it".to_owned())),
                Ok(Ok(_)) => {}
            }
        }
    }

    /// Throws away what nobody asked for. Over TCP there must be none: it is no noise there.
    async fn discard(&mut self) -> Result<(), Fault> {
        loop {
            let read = poll_fn(|cx| Poll::Ready(self.io.poll_read(cx, &mut self.input))).await;
            match read {
                Poll::Pending => break,
                Poll::Ready(Err(error)) => return Err(broken(&error)),
                Poll::Ready(Ok(0)) => {
                    return Err(Fault::Broken("the other end closed it".to_owned()));
                }
                Poll::Ready(Ok(_)) if self.input.len() > BUFFER => break,
                Poll::Ready(Ok(_)) => {}
            }
        }
        let strays = self.input.len();
        self.input.clear();
        if strays > 0 && self.framing == Framing::Tcp {
            self.is_clean = false;
            return Err(Fault::Foreign(format!(
                "{strays} bytes that nobody asked for"
            )));
        }
        Ok(())
    }

    /// Listens until nothing has come for a while; one that never falls silent is asked all the same in the end.
    async fn fall_silent(&mut self, most: Duration) -> Result<(), Fault> {
        let end = Instant::now() + most;
        while Instant::now() < end {
            let until = end.min(Instant::now() + self.pause.max(SILENCE));
            let read = poll_fn(|cx| self.io.poll_read(cx, &mut self.input));
            match timeout_at(until.into(), read).await {
                Err(_) => break,
                Ok(Err(error)) => return Err(broken(&error)),
                Ok(Ok(0)) => return Err(Fault::Broken("the line is unplugged".to_owned())),
                Ok(Ok(_)) => self.input.clear(),
            }
        }
        Ok(())
    }
}

fn broken(error: &io::Error) -> Fault {
    Fault::Broken(error.to_string())
}
