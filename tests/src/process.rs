//! A child process whose lines are kept, and which does not outlive its owner.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::wait::{PATIENCE, wait_until};

/// What a process wrote, standard output and standard error together, in order of arrival.
#[derive(Clone, Debug, Default)]
pub struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All lines so far.
    pub fn all(&self) -> Vec<String> {
        self.lock().clone()
    }

    /// Number of lines so far; a mark for [`Lines::has_since`].
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// Whether one line has all of `parts`.
    pub fn has(&self, parts: &[&str]) -> bool {
        self.has_since(0, parts)
    }

    /// Whether one line from number `mark` on has all of `parts`.
    pub fn has_since(&self, mark: usize, parts: &[&str]) -> bool {
        self.lock()
            .iter()
            .skip(mark)
            .any(|line| parts.iter().all(|part| line.contains(part)))
    }

    /// Waits until one line has all of `parts`: what a process says reaches us a moment after what it does.
    #[track_caller]
    pub fn wait_for(&self, parts: &[&str]) -> Result<()> {
        wait_until(&format!("a line has {parts:?}"), || self.has(parts))
    }

    /// The first result of `find` over the lines.
    pub fn find<T>(&self, find: impl FnMut(&String) -> Option<T>) -> Option<T> {
        self.lock().iter().find_map(find)
    }

    fn push(&self, line: String) {
        self.lock().push(line);
    }

    fn tail(&self, count: usize) -> String {
        let lines = self.lock();
        lines[lines.len().saturating_sub(count)..].join("\n")
    }
}

thread_local! {
    /// What the processes of the running case said, shown when it fails.
    static WITNESSES: RefCell<Vec<(String, Lines)>> = const { RefCell::new(Vec::new()) };
}

/// Forgets the processes of an earlier case on this thread.
pub fn forget_witnesses() {
    WITNESSES.with_borrow_mut(Vec::clear);
}

/// The last lines of every process this case started.
pub fn testimony() -> String {
    WITNESSES.with_borrow(|witnesses| {
        let said = witnesses
            .iter()
            .map(|(name, lines)| format!("--- last lines of {name}\n{}\n", lines.tail(60)));
        said.collect()
    })
}

/// A running child.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    readers: Vec<JoinHandle<()>>,
    lines: Lines,
}

impl Process {
    /// Starts `command`; its lines are collected from now on.
    pub fn start(name: &str, command: &mut Command) -> Result<Self> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let lines = Lines::default();
        WITNESSES.with_borrow_mut(|witnesses| witnesses.push((name.to_owned(), lines.clone())));
        let mut readers = Vec::new();
        readers.extend(child.stdout.take().map(|pipe| collect(pipe, lines.clone())));
        readers.extend(child.stderr.take().map(|pipe| collect(pipe, lines.clone())));
        Ok(Self {
            name: name.to_owned(),
            child,
            readers,
            lines,
        })
    }

    /// What it wrote.
    pub fn lines(&self) -> &Lines {
        &self.lines
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let id = i32::try_from(self.child.id()).context("process ids fit")?;
        let pid = Pid::from_raw(id).context("a child's id is not 0")?;
        kill_process(pid, signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// Waits for its end, and that all of its lines are in.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        self.wait_at_most(PATIENCE)
    }

    /// As [`Process::wait`], with a deadline of its own.
    pub fn wait_at_most(&mut self, patience: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait()? {
                for reader in self.readers.drain(..) {
                    reader
                        .join()
                        .map_err(|_| anyhow::anyhow!("the reader of {} panicked", self.name))?;
                }
                return Ok(status);
            }
            if Instant::now() >= deadline {
                bail!("{} did not end within {} s", self.name, patience.as_secs());
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// SIGKILL, and waits.
    pub fn kill(&mut self) -> Result<()> {
        self.signal(Signal::KILL)?;
        self.wait().map(drop)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing can be done about a failure here; a child that has ended already is no failure.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(pipe: impl Read + Send + 'static, lines: Lines) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while matches!(pipe.read_until(b'\n', &mut line), Ok(read) if read > 0) {
            lines.push(String::from_utf8_lossy(&line).trim_end().to_owned());
            line.clear();
        }
    })
}
