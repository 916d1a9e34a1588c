//! A program whose output is taken: how it is started, read, ended, and what it ended with.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

/// What is kept of what it says on its standard error: the last of it.
const WORDS_BYTES: usize = 1 << 10;
/// What a pipe holds of a program that has ended, at most: what comes behind that is another's, which has its output still.
/// Source: pipe(7).
const PIPE_BYTES: usize = 64 << 10;
/// So long it may take to end once it is asked to.
const END_WITHIN: Duration = Duration::from_millis(400);
/// All that it finds of the gateway's environment: names of places, never what else stands there.
const ENVIRONMENT: [(&str, &str); 2] = [
    (
        "PATH",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ),
    ("LANG", "C.UTF-8"),
];

/// A program, and when it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawProgram {
    /// Whole path of it; no shell looks for it.
    pub path: PathBuf,
    pub arguments: Vec<String>,
    /// How often it is run, and how long a run may take; without, it runs on, and is started anew when it ends.
    pub rounds: Option<ProgramRounds>,
}

/// When a program is run that ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramRounds {
    /// From one start to the next.
    pub every: Duration,
    /// What still runs then is ended.
    pub within: Duration,
}

impl RawProgram {
    /// Whether it is there to be run, in words; it is not run.
    ///
    /// # Errors
    /// Why not, in words.
    pub(super) fn reach(&self) -> Result<String, String> {
        let found = std::fs::metadata(&self.path).map_err(|cause| cause.to_string())?;
        let is_program = found.is_file() && found.permissions().mode() & 0o111 != 0;
        match is_program {
            true => Ok("the program is there; it was not run".to_owned()),
            false => Err("it is no program: no file that may be executed".to_owned()),
        }
    }
}

/// One run. The program, and what it has started and is still in its process group, ends with it.
#[derive(Debug)]
pub(super) struct ProgramRun {
    child: Child,
    group: Option<Pid>,
    output: ChildStdout,
    words: Arc<Mutex<Vec<u8>>>,
    listening: JoinHandle<()>,
    deadline: Option<Pin<Box<Sleep>>>,
    /// Once the program is gone: bytes of its output that are read yet, at most.
    rest: Option<usize>,
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ProgramEnd {
    Good,
    /// Why not, in words; what it said last among them.
    Bad(String),
}

impl ProgramRun {
    /// Starts it, by way of this very program, which sees to it that it does not outlive the gateway.
    ///
    /// # Errors
    /// No process is to be had. That the program is not there shows in how it ends.
    pub(super) fn start(program: &RawProgram) -> io::Result<Self> {
        let mut child = Command::new("/proc/self/exe")
            .arg0("tidegate")
            // Whatever its arguments look like, they are none of ours.
            .args(["run-program", "--"])
            .arg(&program.path)
            .args(&program.arguments)
            .env_clear()
            .envs(ENVIRONMENT)
            .current_dir("/")
            .process_group(0)
            .kill_on_drop(true)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (Some(output), Some(errors)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(io::Error::other("its output is not to be had"));
        };
        let words = Arc::default();
        let group = child.id().and_then(|id| i32::try_from(id).ok());
        let ends_at = |rounds: ProgramRounds| Box::pin(sleep_until(Instant::now() + rounds.within));
        Ok(Self {
            group: group.and_then(Pid::from_raw),
            child,
            output,
            listening: tokio::spawn(listen(errors, Arc::clone(&words))),
            words,
            deadline: program.rounds.map(ends_at),
            rest: None,
        })
    }

    /// What it says; what it has said counts although its time is over. Nothing more comes of it once it is gone, although
    /// something that it has started may hold its output open.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.rest.is_none() && pin!(self.child.wait()).poll(cx).is_ready() {
            self.rest = Some(PIPE_BYTES);
        }
        if let Some(rest) = self.rest {
            return Poll::Ready(self.read_rest(rest, room));
        }
        let read = Pin::new(&mut self.output).poll_read(cx, room);
        let is_late = |deadline: &mut Pin<Box<Sleep>>| deadline.as_mut().poll(cx).is_ready();
        if read.is_pending() && self.deadline.as_mut().is_some_and(is_late) {
            let late = "it has not ended in time (`within`)";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, late)));
        }
        read
    }

    /// What it had said stands in the pipe. The runtime need not have heard of it yet, so the pipe itself is asked.
    fn read_rest(&mut self, rest: usize, room: &mut ReadBuf<'_>) -> io::Result<()> {
        let most = rest.min(room.remaining());
        let read = rustix::io::read(&self.output, &mut room.initialize_unfilled()[..most]);
        let count = match read {
            Err(Errno::AGAIN) => 0,
            read => read?,
        };
        room.advance(count);
        self.rest = Some(rest - count);
        Ok(())
    }

    /// Waits for its end, or brings it about: what has closed its output ends by itself within moments, or not at all.
    pub(super) async fn end(&mut self) -> ProgramEnd {
        let mut ended = timeout(END_WITHIN, self.child.wait()).await;
        if ended.is_err() {
            self.signal(Signal::TERM);
            ended = timeout(END_WITHIN, self.child.wait()).await;
        }
        // What it has started goes with it. Its number is another's from now on.
        self.signal(Signal::KILL);
        self.group = None;
        let _ = timeout(END_WITHIN, &mut self.listening).await;
        let how = match ended {
            Ok(Ok(status)) if status.success() => return ProgramEnd::Good,
            Ok(Ok(status)) => match (status.code(), status.signal()) {
                (Some(code), _) => format!("it ended with exit code {code}"),
                (None, Some(signal)) => format!("it was ended by signal {signal}"),
                (None, None) => "it ended".to_owned(),
            },
            Ok(Err(error)) => format!("how it ended is not known: {error}"),
            Err(_) => "it did not end, and was ended".to_owned(),
        };
        let said = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        let said = String::from_utf8_lossy(&said);
        let last = said.lines().rev().find(|line| !line.trim().is_empty());
        ProgramEnd::Bad(match last {
            Some(line) => format!("{how}: {}", crate::words::line(line.trim(), 200)),
            None => how,
        })
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // An error means that nobody is left.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for ProgramRun {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        self.listening.abort();
    }
}

/// Keeps the last of what comes, until nothing more does.
async fn listen(mut errors: ChildStderr, words: Arc<Mutex<Vec<u8>>>) {
    let mut read = [0; 512];
    while let Ok(bytes @ 1..) = errors.read(&mut read).await {
        let mut words = words.lock().unwrap_or_else(PoisonError::into_inner);
        words.extend_from_slice(&read[..bytes]);
        let over = words.len().saturating_sub(WORDS_BYTES);
        words.drain(..over);
    }
}
