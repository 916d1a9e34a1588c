//! A gateway of another machine, through the system's `ssh`: it runs `tidegate relay` there, which finds the gateway as every
//! command does and hands requests on to its control socket. So nothing has to be opened there, whoever logs in is who asks, and
//! files that a command reads or writes are those of this machine.
//!
//! Both ends are `tidegate`. The relay says its first line, then each request and each answer goes with its length before it.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::answer_bound::AnswerBound;
use super::local::LocalSocket;

/// Said first, so that whatever else a login says is no answer.
const FIRST_LINE: &[u8] = b"tidegate relay 1\n";
/// What may stand before it.
const MOST_BEFORE: usize = 64 << 10;
/// For the login, which may ask for a password.
const LOGIN: Duration = Duration::from_secs(120);
/// Largest request that is handed on: a component, or a page of messages that are imported, and a head.
const REQUEST_BYTES: usize = (32 << 20) + (128 << 10);

/// Who logs in where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshTarget {
    pub user: Option<String>,
    pub host: String,
    pub port: Option<u16>,
    /// Folder of the data there.
    pub data_dir: Option<String>,
}

impl fmt::Display for SshTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ssh://{}", self.login())?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl SshTarget {
    fn login(&self) -> String {
        match &self.user {
            Some(user) => format!("{user}@{}", self.host),
            None => self.host.clone(),
        }
    }

    /// What the shell there is told.
    fn order(&self) -> String {
        match &self.data_dir {
            Some(folder) => {
                let quoted = folder.replace('\'', r"'\''");
                format!("tidegate relay --data-dir '{quoted}'")
            }
            None => "tidegate relay".to_owned(),
        }
    }

    fn command(&self) -> Command {
        let mut ssh = Command::new("ssh");
        // What this machine's own settings forward is no use here, and a network that goes away is noticed.
        ssh.args(["-T", "-o", "ClearAllForwardings=yes"]);
        ssh.args(["-o", "ForwardAgent=no", "-o", "ServerAliveInterval=15"]);
        if let Some(port) = self.port {
            ssh.args(["-p", &port.to_string()]);
        }
        ssh.arg("--").arg(self.login()).arg(self.order());
        ssh
    }
}

/// The near end. Dropped, it ends the far one.
#[derive(Debug)]
pub(super) struct SshRelay {
    place: String,
    child: Child,
    to: Option<ChildStdin>,
    from: ChildStdout,
}

impl SshRelay {
    /// Logs in and waits until the relay has found its gateway.
    pub(super) fn start(target: &SshTarget) -> io::Result<Self> {
        let spawned = target
            .command()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = spawned.map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                io::Error::other("there is no `ssh` on this machine: install openssh-client")
            }
            _ => error,
        })?;
        let (Some(to), Some(from)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(ErrorKind::BrokenPipe.into());
        };
        let mut relay = Self {
            place: target.to_string(),
            child,
            to: Some(to),
            from,
        };
        relay.first_line()?;
        Ok(relay)
    }

    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// Reads past what a login says.
    fn first_line(&mut self) -> io::Result<()> {
        let bound = AnswerBound {
            patience: LOGIN,
            bytes: MOST_BEFORE,
        };
        let until = Instant::now() + LOGIN;
        let mut line = Vec::new();
        for _ in 0..MOST_BEFORE {
            let mut byte = [0];
            if let Err(error) = self.read_exact(&mut byte, until, bound) {
                return Err(self.ended(error));
            }
            line.push(byte[0]);
            if line.ends_with(b"\n") {
                if line == FIRST_LINE {
                    return Ok(());
                }
                line.clear();
            }
        }
        Err(io::Error::other(
            "whatever answered there is no tidegate of this version",
        ))
    }

    /// What its end means.
    fn ended(&mut self, error: io::Error) -> io::Error {
        if error.kind() != ErrorKind::UnexpectedEof {
            return error;
        }
        let code = self.child.wait().ok().and_then(|status| status.code());
        io::Error::other(match code {
            Some(127) => "there is no `tidegate` on the path of whoever logs in there".to_owned(),
            Some(255) => "ssh did not get there; what it said stands above".to_owned(),
            Some(code) => {
                format!("`tidegate relay` ended there with {code}; what it said stands above")
            }
            None => "ssh was ended".to_owned(),
        })
    }

    pub(super) fn exchange(&mut self, request: &[u8], bound: AnswerBound) -> io::Result<Vec<u8>> {
        let until = Instant::now() + bound.patience;
        let Some(to) = self.to.as_mut() else {
            return Err(ErrorKind::BrokenPipe.into());
        };
        write_frame(to, request)?;
        let mut kind = [0];
        if let Err(error) = self.read_exact(&mut kind, until, bound) {
            return Err(self.ended(error));
        }
        let mut length = [0; 4];
        self.read_exact(&mut length, until, bound)?;
        let length = u32::from_be_bytes(length) as usize;
        bound.holds(length)?;
        let mut answer = vec![0; length];
        self.read_exact(&mut answer, until, bound)?;
        if kind == [ANSWERED] {
            return Ok(answer);
        }
        let words = crate::words::line(&String::from_utf8_lossy(&answer), crate::words::REASON);
        Err(io::Error::other(words))
    }

    fn read_exact(
        &mut self,
        mut room: &mut [u8],
        until: Instant,
        bound: AnswerBound,
    ) -> io::Result<()> {
        while !room.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).map_err(|_| bound.late())?;
            let mut waited = [PollFd::from_borrowed_fd(self.from.as_fd(), PollFlags::IN)];
            match poll(&mut waited, Some(&left)) {
                Ok(0) => return Err(bound.late()),
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            match self.from.read(room) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => room = &mut room[count..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Drop for SshRelay {
    fn drop(&mut self) {
        // The relay ends with its input; ssh is not waited for where the network is gone.
        self.to.take();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Before an answer of the gateway, and before words of the relay.
const ANSWERED: u8 = b'a';
const FAILED: u8 = b'f';

fn write_frame(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(|_| ErrorKind::FileTooLarge)?;
    to.write_all(&length.to_be_bytes())?;
    to.write_all(bytes)?;
    to.flush()
}

/// The far end, as [`super::Client::serve_relay`] says.
pub(super) fn serve(
    socket: &LocalSocket,
    from: &mut impl Read,
    to: &mut impl Write,
) -> io::Result<()> {
    to.write_all(FIRST_LINE)?;
    to.flush()?;
    loop {
        let mut length = [0; 4];
        match from.read_exact(&mut length) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            read => read?,
        }
        let length = u32::from_be_bytes(length) as usize;
        if length > REQUEST_BYTES {
            return Err(io::Error::other("a request that is too large"));
        }
        let mut request = vec![0; length];
        from.read_exact(&mut request)?;
        let (kind, answer) = match socket.exchange(&request, AnswerBound::USUAL) {
            Ok(answer) => (ANSWERED, answer),
            Err(error) => (FAILED, error.to_string().into_bytes()),
        };
        to.write_all(&[kind])?;
        write_frame(to, &answer)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(user: Option<&str>, data_dir: Option<&str>) -> SshTarget {
        SshTarget {
            user: user.map(str::to_owned),
            host: "barn-7".to_owned(),
            port: Some(2_222),
            data_dir: data_dir.map(str::to_owned),
        }
    }

    #[test]
    fn a_folder_stays_one_word_in_the_shell_there() {
        let order = target(None, Some("/a b/it's; reboot")).order();
        assert_eq!(order, r"tidegate relay --data-dir '/a b/it'\''s; reboot'");
        assert_eq!(target(None, None).order(), "tidegate relay");
    }

    #[test]
    fn who_logs_in_is_no_option() {
        let command = target(Some("pi"), None).command();
        let words: Vec<_> = command
            .get_args()
            .map(|word| word.to_string_lossy())
            .collect();
        let end = words.iter().position(|word| word == "--").unwrap();
        assert_eq!(&words[end + 1..], ["pi@barn-7", "tidegate relay"]);
        assert!(words[..end].ends_with(&["-p".into(), "2222".into()]));
    }
}
