//! The other end of the control socket: one request, one answer, both JSON. Blocks; for the command line.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;
use socket2::{Domain, SockAddr, Type};

use super::answer::RefusalBody;
use super::socket;

/// Longest wait for an answer: a retry waits for a commit, and a tired card takes many seconds for one.
const PATIENCE: Duration = Duration::from_secs(120);
/// Longest wait for any answer at all, before something is asked that takes time.
const GREETING: Duration = Duration::from_secs(5);
/// So often a socket may end without an answer before it counts as broken.
const MOST_ENDS: usize = 10;
/// No answer is longer; the gateway cuts lists into pages far below.
const ANSWER_BYTES: usize = 64 << 20;
/// Nor is one to the first question.
const GREETING_BYTES: usize = 64 << 10;
/// What is read at a time.
const READ_BYTES: usize = 64 << 10;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The file's rights, or the gateway, say no.
    #[error("`{}` may be used by the user the gateway runs as and by its group: try sudo, or join the group", path.display())]
    Denied { path: PathBuf },
    /// The connection broke, or nothing came in time.
    #[error("the gateway behind `{}` does not answer", path.display())]
    Silent {
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The answer makes no sense: a gateway of another version.
    #[error("the gateway behind `{}` answered in a form this version does not know", path.display())]
    Form {
        path: PathBuf,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The gateway's own words.
    #[error("{0}")]
    Refused(String),
}

/// A gateway that listens.
#[derive(Clone, Debug)]
pub struct Client {
    path: PathBuf,
}

impl Client {
    /// The gateway of this data folder; `None` when there is none that answers. That a socket takes connections says little:
    /// that of a gateway which was killed while it started a compiler is open until that child has become the compiler.
    pub fn reach(data_dir: &Path) -> Result<Option<Self>, ClientError> {
        let client = Self {
            path: socket::path(data_dir),
        };
        // There is nothing at that path, which costs nobody anything.
        let mut ends = 0;
        loop {
            match client.exchange(
                "GET /v1",
                &[],
                AnswerBound {
                    patience: GREETING,
                    bytes: GREETING_BYTES,
                },
            ) {
                Ok(_) => return Ok(Some(client)),
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::NotFound | ErrorKind::ConnectionRefused
                    ) =>
                {
                    return Ok(None);
                }
                // Whoever had it open is gone: the next one is refused, or there is a new gateway.
                Err(error) if is_gone(&error) && ends < MOST_ENDS => ends += 1,
                Err(error) => return Err(client.failed(error)),
            }
        }
    }

    /// Asks for what `path` shows.
    pub fn get<A: DeserializeOwned>(&self, path: &str) -> Result<A, ClientError> {
        self.ask(&format!("GET {path}"), &[])
    }

    /// Asks `path` to do something.
    pub fn post<A: DeserializeOwned>(
        &self,
        path: &str,
        request: &impl Serialize,
    ) -> Result<A, ClientError> {
        let body = serde_json::to_vec(request).map_err(|error| self.odd(error))?;
        self.ask(&format!("POST {path}"), &body)
    }

    /// The same with bytes that go with the request: they follow its JSON after a line end.
    pub fn post_with<A: DeserializeOwned>(
        &self,
        path: &str,
        request: &impl Serialize,
        bytes: &[u8],
    ) -> Result<A, ClientError> {
        let mut body = serde_json::to_vec(request).map_err(|error| self.odd(error))?;
        body.push(b'\n');
        body.extend_from_slice(bytes);
        self.ask(&format!("POST {path}"), &body)
    }

    fn ask<A: DeserializeOwned>(&self, what: &str, body: &[u8]) -> Result<A, ClientError> {
        let answer = self
            .exchange(
                what,
                body,
                AnswerBound {
                    patience: PATIENCE,
                    bytes: ANSWER_BYTES,
                },
            )
            .map_err(|error| self.failed(error))?;
        let (status, body) = parse(&answer).map_err(|error| self.odd(error))?;
        match status {
            200 => serde_json::from_slice(body).map_err(|error| self.odd(error)),
            403 => Err(ClientError::Denied {
                path: self.path.clone(),
            }),
            _ => match serde_json::from_slice::<RefusalBody>(body) {
                Ok(refusal) => Err(ClientError::Refused(refusal.error)),
                Err(_) => Err(self.odd(format!(
                    "status {status}: {}",
                    String::from_utf8_lossy(body)
                ))),
            },
        }
    }

    /// Waits for `patience` at most where more callers wait than the gateway takes.
    fn connect(&self, patience: Duration) -> io::Result<UnixStream> {
        let stream = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
        stream.set_write_timeout(Some(patience))?;
        socket::with_short_path(&self.path, |path| stream.connect(&SockAddr::unix(path)?))?;
        stream.set_read_timeout(Some(patience))?;
        Ok(std::os::fd::OwnedFd::from(stream).into())
    }

    /// HTTP/1.0, so that the answer ends where the connection does.
    fn exchange(&self, what: &str, body: &[u8], bound: AnswerBound) -> io::Result<Vec<u8>> {
        let until = Instant::now() + bound.patience;
        let mut call = ClientCall {
            stream: self
                .connect(bound.patience)
                .map_err(|error| bound.explain(error))?,
            until,
        };
        let head = format!(
            "{what} HTTP/1.0\r\nhost: tidegate\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        // One that turns us away closes before it has read: its answer counts, not our failed write.
        let written = call
            .write_all(head.as_bytes())
            .and_then(|()| call.write_all(body));
        let mut answer = Vec::new();
        let read = call.read_answer(&mut answer, bound.bytes);
        if answer.is_empty() {
            written.map_err(|error| bound.explain(error))?;
        }
        match read {
            Err(error) if answer.is_empty() || !is_gone(&error) => Err(bound.explain(error)),
            Ok(()) if answer.is_empty() => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(answer),
        }
    }

    fn failed(&self, source: io::Error) -> ClientError {
        let path = self.path.clone();
        if source.kind() == ErrorKind::PermissionDenied {
            ClientError::Denied { path }
        } else {
            ClientError::Silent { path, source }
        }
    }

    fn odd(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ClientError {
        ClientError::Form {
            path: self.path.clone(),
            source: source.into(),
        }
    }
}

/// How long one answer may take, and how long it may be, in all.
#[derive(Clone, Copy)]
struct AnswerBound {
    patience: Duration,
    bytes: usize,
}

impl AnswerBound {
    /// The system's words for a time that is over are none.
    fn explain(self, error: io::Error) -> io::Error {
        let late = || {
            format!(
                "its answer was not complete within {:?}: it hangs, or is stopped",
                self.patience
            )
        };
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                io::Error::new(ErrorKind::TimedOut, late())
            }
            _ => error,
        }
    }
}

/// One question and its answer, until a moment that is the same for every part of it.
struct ClientCall {
    stream: UnixStream,
    until: Instant,
}

impl ClientCall {
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            Err(ErrorKind::TimedOut.into())
        } else {
            Ok(Some(left))
        }
    }

    fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.stream.set_write_timeout(self.left()?)?;
            match self.stream.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Until the other side ends it.
    fn read_answer(&mut self, answer: &mut Vec<u8>, most: usize) -> io::Result<()> {
        let mut part = vec![0; READ_BYTES];
        loop {
            self.stream.set_read_timeout(self.left()?)?;
            match self.stream.read(&mut part) {
                Ok(0) => return Ok(()),
                Ok(count) if answer.len() + count > most => {
                    return Err(io::Error::new(
                        ErrorKind::FileTooLarge,
                        format!("its answer has more than {most} bytes"),
                    ));
                }
                Ok(count) => answer.extend_from_slice(&part[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Whether the other end has ended without an answer.
fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof
    )
}

/// Status and body of an HTTP answer.
fn parse(answer: &[u8]) -> Result<(u16, &[u8]), String> {
    let end = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .ok_or("an answer without a head")?;
    let head = String::from_utf8_lossy(&answer[..end]);
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .ok_or("an answer without a status")?;
    Ok((status, &answer[end + 4..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_at_the_socket_is_no_failure() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Client::reach(folder.path()).unwrap().is_none());
        drop(std::os::unix::net::UnixListener::bind(socket::path(folder.path())).unwrap());
        assert!(Client::reach(folder.path()).unwrap().is_none());
    }

    #[test]
    fn a_socket_that_ends_without_an_answer_is_nobody() {
        for (takes, reads) in [(false, false), (true, false), (true, true)] {
            let folder = tempfile::tempdir().unwrap();
            let listener =
                std::os::unix::net::UnixListener::bind(socket::path(folder.path())).unwrap();
            let dying = std::thread::spawn(move || {
                // As a killed one leaves it: a caller waits to be taken, or was, before its question was read or after.
                let waits = rustix::event::poll(
                    &mut [rustix::event::PollFd::new(
                        &listener,
                        rustix::event::PollFlags::IN,
                    )],
                    None,
                );
                let mut stream = takes.then(|| listener.accept().unwrap().0);
                let read = stream
                    .as_mut()
                    .filter(|_| reads)
                    .map(|stream| stream.read(&mut [0; 4_096]).unwrap());
                drop(listener);
                (waits, read)
            });
            assert!(Client::reach(folder.path()).unwrap().is_none());
            dying.join().unwrap().0.unwrap();
        }
    }

    #[test]
    fn one_deadline_and_one_bound_hold_for_a_whole_answer() {
        // Whoever drips is no answer in time, and whoever pours is cut.
        let drip = Some(Duration::from_millis(20));
        for (part, pause, expected) in [
            (1, drip, "within 300ms: it hangs"),
            (8_192, None, "more than 100000 bytes"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let listener =
                std::os::unix::net::UnixListener::bind(socket::path(folder.path())).unwrap();
            let client = Client {
                path: socket::path(folder.path()),
            };
            let other = std::thread::spawn(move || {
                let mut stream = listener.accept().unwrap().0;
                stream.set_read_timeout(pause).unwrap();
                while stream.write_all(&vec![b'x'; part]).is_ok() {
                    // Nothing more is asked: this ends with the pause, or with the connection.
                    let _ = pause.map(|_| stream.read(&mut [0; 512]));
                }
            });
            let bound = AnswerBound {
                patience: Duration::from_millis(300),
                bytes: 100_000,
            };
            let error = client.exchange("GET /", &[], bound).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
            other.join().unwrap();
        }
    }

    #[test]
    fn an_answer_is_split_into_status_and_body() {
        assert_eq!(
            parse(b"HTTP/1.0 409 Conflict\r\na: b\r\n\r\n{}\r\n"),
            Ok((409, &b"{}\r\n"[..]))
        );
        assert!(parse(b"HTTP/1.0 200 OK\r\n").is_err() && parse(b"\r\n\r\n").is_err());
    }
}
