//! The control socket of a gateway on this machine.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Type};

use super::answer_bound::{AnswerBound, is_gone};
use crate::admin::socket;

/// What is read at a time.
const READ_BYTES: usize = 64 << 10;

#[derive(Clone, Debug)]
pub(super) struct LocalSocket {
    path: PathBuf,
}

impl LocalSocket {
    /// Of this data folder.
    pub(super) fn of(data_dir: &Path) -> Self {
        Self {
            path: socket::path(data_dir),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for `patience` at most where more callers wait than the gateway takes.
    fn connect(&self, patience: Duration) -> io::Result<UnixStream> {
        let stream = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
        stream.set_write_timeout(Some(patience))?;
        socket::with_short_path(&self.path, |path| stream.connect(&SockAddr::unix(path)?))?;
        stream.set_read_timeout(Some(patience))?;
        Ok(std::os::fd::OwnedFd::from(stream).into())
    }

    /// Writes a request, and reads until the other side ends it.
    pub(super) fn exchange(&self, request: &[u8], bound: AnswerBound) -> io::Result<Vec<u8>> {
        let until = Instant::now() + bound.patience;
        let mut call = ClientCall {
            stream: self
                .connect(bound.patience)
                .map_err(|error| bound.explain(error))?,
            until,
        };
        // One that turns us away closes before it has read: its answer counts, not our failed write.
        let written = call.write_all(request);
        let mut answer = Vec::new();
        let read = call.read_answer(&mut answer, bound);
        if answer.is_empty() {
            written.map_err(|error| bound.explain(error))?;
        }
        match read {
            Err(error) if answer.is_empty() || !is_gone(&error) => Err(bound.explain(error)),
            Ok(()) if answer.is_empty() => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(answer),
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
    fn read_answer(&mut self, answer: &mut Vec<u8>, bound: AnswerBound) -> io::Result<()> {
        let mut part = vec![0; READ_BYTES];
        loop {
            self.stream.set_read_timeout(self.left()?)?;
            match self.stream.read(&mut part) {
                Ok(0) => return Ok(()),
                Ok(count) => {
                    bound.holds(answer.len() + count)?;
                    answer.extend_from_slice(&part[..count]);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let socket = LocalSocket::of(folder.path());
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
            let error = socket
                .exchange(b"GET / HTTP/1.0\r\n\r\n", bound)
                .unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
            other.join().unwrap();
        }
    }
}
