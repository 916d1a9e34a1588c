//! A gateway's admin port, over TCP or TLS.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, ErrorKind};

use bytes::BytesMut;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::answer_bound::{AnswerBound, is_gone};
use crate::link::{Deadlines, Peer, Secret, Socket, Target, Tls};

const GATEWAY: Peer = Peer {
    noun: "gateway",
    plain: "http://",
    upgrade: None,
};
/// What is read at a time.
const READ_BYTES: usize = 64 << 10;

/// Where it is, and what it is shown.
#[derive(Clone, Debug)]
pub struct NetworkGateway {
    pub host: String,
    pub port: u16,
    /// `None`: in the clear.
    pub tls: Option<Tls>,
    pub token: Option<Secret>,
}

impl fmt::Display for NetworkGateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority())
    }
}

impl NetworkGateway {
    fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// What goes with each request.
    ///
    /// # Errors
    /// A token that no header can hold.
    pub(super) fn headers(&self) -> io::Result<String> {
        let host = format!("host: {}\r\n", self.authority());
        let Some(token) = &self.token else {
            return Ok(host);
        };
        let token = token.reveal();
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            let words = "the token is not letters and digits of one line";
            return Err(io::Error::new(ErrorKind::InvalidData, words));
        }
        Ok(format!("{host}authorization: Bearer {token}\r\n"))
    }

    /// Dials, writes a request, and reads until the other side ends it.
    pub(super) fn exchange(&self, request: &[u8], bound: AnswerBound) -> io::Result<Vec<u8>> {
        let runtime: Runtime = Builder::new_current_thread().enable_all().build()?;
        let exchanged = runtime.block_on(async {
            match timeout(bound.patience, self.exchange_now(request, bound)).await {
                Ok(answer) => answer,
                Err(_) => Err(bound.late()),
            }
        });
        // A name look-up that hangs holds up nobody.
        runtime.shutdown_background();
        exchanged
    }

    async fn exchange_now(&self, request: &[u8], bound: AnswerBound) -> io::Result<Vec<u8>> {
        let target = Target {
            host: &self.host,
            port: self.port,
            tls: self.tls.as_ref(),
            carriage: None,
            deadlines: Deadlines::default(),
            peer: &GATEWAY,
        };
        let mut socket = Socket::dial(target).await.map_err(io::Error::other)?;
        // One that turns us away closes before it has read: its answer counts, not our failed write.
        let written = write(&mut socket, request).await;
        let mut answer = BytesMut::new();
        let read = read(&mut socket, &mut answer, bound).await;
        let in_words = |error: io::Error| io::Error::other(socket.explain(error));
        if answer.is_empty() {
            written.map_err(in_words)?;
        }
        match read {
            Err(error) if error.kind() == ErrorKind::FileTooLarge => Err(error),
            Err(error) if answer.is_empty() || !is_gone(&error) => Err(in_words(error)),
            Ok(()) if answer.is_empty() => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(answer.to_vec()),
        }
    }
}

async fn write(socket: &mut Socket, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match poll_fn(|cx| socket.poll_write(cx, bytes)).await? {
            0 => return Err(ErrorKind::WriteZero.into()),
            count => bytes = &bytes[count..],
        }
    }
    poll_fn(|cx| socket.poll_flush(cx)).await
}

async fn read(socket: &mut Socket, answer: &mut BytesMut, bound: AnswerBound) -> io::Result<()> {
    loop {
        answer.reserve(READ_BYTES);
        if poll_fn(|cx| socket.poll_read(cx, answer)).await? == 0 {
            return Ok(());
        }
        bound.holds(answer.len())?;
    }
}
