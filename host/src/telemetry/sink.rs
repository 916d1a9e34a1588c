//! Standard error behind a bounded queue and a thread of its own: whoever says something never waits for whoever reads it.
//!
//! A reader that stops (a hung journal, a pager, Ctrl-S on the terminal) or a file that takes nothing costs lines, which are
//! counted and told as soon as it goes on. It holds up nobody and ends nothing.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use prometheus::IntCounter;
use rustix::event::{PollFd, PollFlags, poll};

/// Bytes of lines that may wait: some seconds of a gateway in trouble, little beside its memory.
const ROOM: usize = 256 << 10;
/// Bytes of a line: longer ones are cut before they come here, save what an operator asked for.
const LONGEST: usize = 64 << 10;

/// The process has one.
static SINK: OnceLock<Arc<Sink>> = OnceLock::new();

/// Lines on their way to standard error.
pub struct Sink {
    waiting: Mutex<WaitingLines>,
    /// Rings when a line comes, and when one has gone.
    moved: Condvar,
    dropped: IntCounter,
}

#[derive(Default)]
struct WaitingLines {
    lines: VecDeque<Box<[u8]>>,
    bytes: usize,
    /// The thread has a line in hand.
    is_writing: bool,
    /// Lines dropped since the last word about it.
    untold: u64,
}

/// What the thread is to do next.
enum NextWrite {
    Line(Box<[u8]>),
    /// So many lines were dropped, and there is room again.
    Tell(u64),
}

/// Starts the thread; lines go to it from now on. What it drops it tells by `tell`. A second call changes nothing.
///
/// # Errors
/// There is no thread or descriptor to be had: whoever has something to say goes on writing in place.
pub fn start(tell: fn(u64)) -> io::Result<Arc<Sink>> {
    if let Some(sink) = SINK.get() {
        return Ok(Arc::clone(sink));
    }
    // A descriptor of our own: a thread that waits in the standard library's holds its lock.
    let out = File::from(rustix::io::dup(io::stderr())?);
    let sink = Arc::new(Sink::new()?);
    if SINK.set(Arc::clone(&sink)).is_ok() {
        let own = Arc::clone(&sink);
        // Never joined: a reader that has stopped for good must not hold up the end.
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || crate::thread::keep("log", || own.write_to(&out, tell)))?;
    }
    Ok(sink)
}

/// Puts text on standard error: behind what is under way where there is a thread for it, else in place.
pub fn say(text: &str) {
    match SINK.get() {
        Some(sink) => sink.push(format!("{text}\n").into_bytes()),
        // A reader that has gone away is no failure.
        None => drop(writeln!(io::stderr().lock(), "{text}")),
    }
}

/// How many lines were dropped, for the metrics; `None` before logging is started.
pub fn dropped() -> Option<IntCounter> {
    SINK.get().map(|sink| sink.dropped.clone())
}

/// Waits until everything is written, for `patience` at most: whoever reads may have stopped for good.
pub fn finish(patience: Duration) {
    if let Some(sink) = SINK.get() {
        sink.drain(patience);
    }
}

impl Sink {
    fn new() -> io::Result<Self> {
        let dropped = IntCounter::new(
            "tidegate_log_lines_dropped_total",
            "Log lines that were dropped because standard error did not take them",
        );
        Ok(Self {
            waiting: Mutex::default(),
            moved: Condvar::new(),
            dropped: dropped.map_err(io::Error::other)?,
        })
    }

    /// Takes a line with its end, or counts it.
    pub fn push(&self, mut line: Vec<u8>) {
        if line.len() > LONGEST {
            line.truncate(LONGEST - 1);
            line.push(b'\n');
        }
        let mut waiting = self.lock();
        if waiting.bytes + line.len() > ROOM {
            waiting.untold += 1;
            self.dropped.inc();
            return;
        }
        waiting.bytes += line.len();
        waiting.lines.push_back(line.into());
        drop(waiting);
        self.moved.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, WaitingLines> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread's loop; it ends with the process.
    fn write_to<O: std::os::fd::AsFd>(&self, out: &O, tell: fn(u64))
    where
        for<'a> &'a O: Write,
    {
        let mut out = out;
        let mut is_torn = false;
        loop {
            match self.next() {
                NextWrite::Tell(lines) => tell(lines),
                NextWrite::Line(line) => {
                    let begun = if is_torn {
                        out.write_all(b"\n")
                    } else {
                        Ok(())
                    };
                    let written = begun.and_then(|()| write_all(out, &line));
                    is_torn = written.is_err();
                    self.is_written(written.is_ok());
                }
            }
        }
    }

    fn next(&self) -> NextWrite {
        let mut waiting = self.lock();
        loop {
            // Half of the room is free: what is told does not push out what it tells of.
            if waiting.untold > 0 && waiting.bytes <= ROOM / 2 {
                return NextWrite::Tell(std::mem::take(&mut waiting.untold));
            }
            if let Some(line) = waiting.lines.pop_front() {
                waiting.is_writing = true;
                waiting.bytes -= line.len();
                return NextWrite::Line(line);
            }
            waiting = self
                .moved
                .wait(waiting)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn is_written(&self, is_whole: bool) {
        let mut waiting = self.lock();
        waiting.is_writing = false;
        if !is_whole {
            self.dropped.inc();
        }
        drop(waiting);
        self.moved.notify_all();
    }

    fn drain(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut waiting = self.lock();
        while waiting.is_writing || !waiting.lines.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            waiting = self
                .moved
                .wait_timeout(waiting, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

/// As `write_all`, on a descriptor that somebody else who has it may have made non-blocking.
fn write_all<O: std::os::fd::AsFd>(out: &O, mut line: &[u8]) -> io::Result<()>
where
    for<'a> &'a O: Write,
{
    let mut writer = out;
    while !line.is_empty() {
        match writer.write(line) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => line = &line[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                poll(&mut [PollFd::new(out, PollFlags::OUT)], None)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn no_word(_: u64) {}

    /// A sink whose thread writes into a socket that nobody reads yet.
    fn sink() -> (Arc<Sink>, UnixStream) {
        let (out, reader) = UnixStream::pair().unwrap();
        let sink = Arc::new(Sink::new().unwrap());
        let own = Arc::clone(&sink);
        std::thread::spawn(move || own.write_to(&out, no_word));
        (sink, reader)
    }

    #[test]
    fn a_reader_that_stops_holds_up_nobody_and_what_does_not_fit_is_counted() {
        let (sink, mut reader) = sink();
        let line = || {
            vec![b'x'; 1_000]
                .into_iter()
                .chain([b'\n'])
                .collect::<Vec<_>>()
        };
        for _ in 0..2_000 {
            sink.push(line());
        }
        assert!(
            sink.dropped.get() > 0,
            "2 MB were kept for a reader that has stopped"
        );
        sink.drain(Duration::from_millis(1));
        let kept = 2_000 - sink.dropped.get();
        let mut read = vec![0; 1_001 * usize::try_from(kept).unwrap()];
        reader.read_exact(&mut read).unwrap();
        sink.drain(Duration::from_secs(60));
        sink.push(b"again\n".to_vec());
        let mut again = [0; 6];
        reader.read_exact(&mut again).unwrap();
        assert_eq!(&again, b"again\n");
    }

    #[test]
    fn a_line_that_cannot_be_written_ends_nothing() {
        let (out, reader) = UnixStream::pair().unwrap();
        drop(reader);
        let sink = Arc::new(Sink::new().unwrap());
        let own = Arc::clone(&sink);
        std::thread::spawn(move || own.write_to(&out, no_word));
        sink.push(b"nobody hears this\n".to_vec());
        sink.drain(Duration::from_secs(60));
        sink.push(b"nor this\n".to_vec());
        sink.drain(Duration::from_secs(60));
        assert_eq!(sink.dropped.get(), 2);
    }

    #[test]
    fn what_was_dropped_is_told_once_there_is_room() {
        let sink = Sink::new().unwrap();
        while sink.dropped.get() < 3 {
            sink.push(vec![b'x'; 1_000]);
        }
        let told = std::iter::repeat_with(|| sink.next()).find_map(|next| {
            if let NextWrite::Tell(lines) = next {
                Some(lines)
            } else {
                None
            }
        });
        assert_eq!((told, sink.lock().untold), (Some(3), 0));
        assert!(sink.lock().bytes <= ROOM / 2);
    }
}
