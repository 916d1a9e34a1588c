//! The other end: one request, one answer, both JSON; over the control socket, over the network to an admin port, or through
//! ssh. Blocks; for the command line.

mod answer_bound;
mod local;
mod network;
mod ssh;

use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use self::answer_bound::{AnswerBound, is_gone};
use self::local::LocalSocket;
pub use self::network::NetworkGateway;
use self::ssh::SshRelay;
pub use self::ssh::SshTarget;
use super::answer::RefusalBody;

/// Longest wait for any answer at all, before something is asked that takes time.
const GREETING: Duration = Duration::from_secs(5);
/// So often a socket may end without an answer before it counts as broken.
const MOST_ENDS: usize = 10;
/// Nor is one to the first question.
const GREETING_BYTES: usize = 64 << 10;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The file's rights, or the gateway, say no.
    #[error("`{}` may be used by the user the gateway runs as and by its group: try sudo, or join the group", path.display())]
    Denied { path: PathBuf },
    /// The gateway wants a token, or another one.
    #[error("{place} does not let this in: {words}; {hint}")]
    Stranger {
        place: String,
        /// What the gateway says.
        words: String,
        hint: &'static str,
    },
    /// The connection broke, or nothing came in time.
    #[error("the gateway behind {place} does not answer")]
    Silent {
        place: String,
        /// What the system says.
        source: io::Error,
    },
    /// The answer makes no sense: a gateway of another version.
    #[error("the gateway behind {place} answered in a form this version does not know")]
    Form {
        place: String,
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
    way: Way,
}

/// How it is reached.
#[derive(Clone, Debug)]
enum Way {
    Local(LocalSocket),
    Network(Arc<NetworkGateway>),
    Ssh(Arc<Mutex<SshRelay>>),
}

impl Client {
    /// The gateway of this data folder; `None` when there is none that answers. That a socket takes connections says little:
    /// that of a gateway which was killed while it started a compiler is open until that child has become the compiler.
    pub fn reach(data_dir: &Path) -> Result<Option<Self>, ClientError> {
        let client = Self {
            way: Way::Local(LocalSocket::of(data_dir)),
        };
        let mut ends = 0;
        loop {
            match client.greet() {
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

    /// The gateway behind a URL.
    ///
    /// # Errors
    /// It does not answer, or wants another token.
    pub fn dial(gateway: NetworkGateway) -> Result<Self, ClientError> {
        let client = Self {
            way: Way::Network(Arc::new(gateway)),
        };
        let greeted = client.greet().map_err(|error| client.failed(error))?;
        let (status, body) = parse(&greeted).map_err(|error| client.odd(error))?;
        client.let_in(status, body)?;
        Ok(client)
    }

    /// The gateway of another machine, through ssh and the `tidegate` there.
    ///
    /// # Errors
    /// There is no ssh here, it does not get there, or there is no gateway.
    pub fn through_ssh(target: &SshTarget) -> Result<Self, ClientError> {
        let silent = |source| ClientError::Silent {
            place: target.to_string(),
            source,
        };
        let relay = SshRelay::start(target).map_err(silent)?;
        Ok(Self {
            way: Way::Ssh(Arc::new(Mutex::new(relay))),
        })
    }

    /// The far end of a relay: hands requests from `from` on to the gateway of this machine, and its answers to `to`, until `from` ends.
    ///
    /// # Errors
    /// The near end is gone, or is no `tidegate`; the gateway is none of this machine.
    pub fn serve_relay(&self, from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
        let Way::Local(socket) = &self.way else {
            return Err(io::Error::other(
                "a relay is for a gateway of its own machine",
            ));
        };
        ssh::serve(socket, from, to)
    }

    /// Whether what it names are files of this machine.
    pub fn is_of_this_machine(&self) -> bool {
        matches!(self.way, Way::Local(_))
    }

    /// There is nothing at that path, which costs nobody anything.
    fn greet(&self) -> io::Result<Vec<u8>> {
        let bound = AnswerBound {
            patience: GREETING,
            bytes: GREETING_BYTES,
        };
        self.exchange("GET /v1", &[], bound)
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
            .exchange(what, body, AnswerBound::USUAL)
            .map_err(|error| self.failed(error))?;
        let (status, body) = parse(&answer).map_err(|error| self.odd(error))?;
        self.let_in(status, body)?;
        if status == 200 {
            return serde_json::from_slice(body).map_err(|error| self.odd(error));
        }
        match serde_json::from_slice::<RefusalBody>(body) {
            Ok(refusal) => Err(ClientError::Refused(refusal.error)),
            Err(_) => {
                let words = crate::words::line(&String::from_utf8_lossy(body), 200);
                Err(self.odd(format!("status {status}: {words}")))
            }
        }
    }

    /// Whether the gateway takes us for somebody who may ask.
    fn let_in(&self, status: u16, body: &[u8]) -> Result<(), ClientError> {
        if let (403, Way::Local(socket)) = (status, &self.way) {
            let path = socket.path().to_owned();
            return Err(ClientError::Denied { path });
        }
        let hint = match status {
            400 | 421 => "`hosts` in its [admin] says under which names it is asked",
            401 => "give --token-file a file with a token of its [admin.access]",
            403 => "give --token-file a file with a token of a larger scope",
            429 => "try again later",
            _ => return Ok(()),
        };
        Err(ClientError::Stranger {
            place: self.place(),
            words: crate::words::line(String::from_utf8_lossy(body).trim_end(), 200),
            hint,
        })
    }

    fn exchange(&self, what: &str, body: &[u8], bound: AnswerBound) -> io::Result<Vec<u8>> {
        let extra = match &self.way {
            Way::Network(gateway) => gateway.headers()?,
            Way::Local(_) | Way::Ssh(_) => "host: tidegate\r\n".to_owned(),
        };
        // HTTP/1.0, so that the answer ends where the connection does.
        let mut request = format!(
            "{what} HTTP/1.0\r\n{extra}content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        match &self.way {
            Way::Local(socket) => socket.exchange(&request, bound),
            Way::Network(gateway) => gateway.exchange(&request, bound),
            Way::Ssh(relay) => {
                let mut relay = relay.lock().unwrap_or_else(PoisonError::into_inner);
                relay.exchange(&request, bound)
            }
        }
    }

    fn place(&self) -> String {
        match &self.way {
            Way::Local(socket) => format!("`{}`", socket.path().display()),
            Way::Network(gateway) => gateway.to_string(),
            Way::Ssh(relay) => {
                let relay = relay.lock().unwrap_or_else(PoisonError::into_inner);
                relay.place().to_owned()
            }
        }
    }

    fn failed(&self, source: io::Error) -> ClientError {
        match &self.way {
            Way::Local(socket) if source.kind() == ErrorKind::PermissionDenied => {
                ClientError::Denied {
                    path: socket.path().to_owned(),
                }
            }
            _ => ClientError::Silent {
                place: self.place(),
                source,
            },
        }
    }

    fn odd(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ClientError {
        ClientError::Form {
            place: self.place(),
            source: source.into(),
        }
    }
}

/// Whether the other end has ended without an answer.
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
    use std::io::Read;

    use super::super::socket;
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
    fn an_answer_is_split_into_status_and_body() {
        assert_eq!(
            parse(b"HTTP/1.0 409 Conflict\r\na: b\r\n\r\n{}\r\n"),
            Ok((409, &b"{}\r\n"[..]))
        );
        assert!(parse(b"HTTP/1.0 200 OK\r\n").is_err() && parse(b"\r\n\r\n").is_err());
    }
}
