//! What the service manager and the operator say: stop, leave now, reload.
//!
//! The main thread hears it and does nothing else, so that it is heard whatever the gateway waits for: a stop ends with the
//! grace and a second one at once, even where a disk, a plugin or a fault of ours holds the gateway's own threads.

use std::future::pending;
use std::io;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

/// What an orderly end may take beyond the grace: last acknowledgements, and threads that are joined.
const BEYOND: Duration = Duration::from_secs(5);
/// What the gateway gets to end by itself when somebody wants it gone.
const AT_ONCE: Duration = Duration::from_secs(1);
/// Room of the gateway's thread: what starts on it was made for a main thread's.
const STACK_BYTES: usize = 8 << 20;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instruction {
    /// SIGTERM or SIGINT: drain, then end.
    Stop,
    /// SIGHUP: read the config again.
    Reload,
}

/// What the gateway hears of the signals.
#[derive(Debug)]
pub struct Signals(mpsc::Receiver<Instruction>);

impl Signals {
    /// The next one. Cancel safe.
    pub async fn next(&mut self) -> Instruction {
        match self.0.recv().await {
            Some(wish) => wish,
            // Whoever hears them lives as long as we do.
            None => pending().await,
        }
    }
}

/// How what was attended ended.
#[derive(Debug, PartialEq, Eq)]
pub enum AttendOutcome<T> {
    Done(T),
    /// Somebody wanted it gone at once, and it did not end.
    Left,
    /// The grace was over, and it did not end.
    Late,
    Crashed,
}

/// Runs `work` on a thread of its own and hands it the signals; comes back when it ends, or when there is no more patience.
///
/// # Errors
/// There is no thread, runtime or handler to be had.
pub fn attend<T: Send + 'static>(
    grace: Duration,
    work: impl FnOnce(Signals) -> T + Send + 'static,
) -> io::Result<AttendOutcome<T>> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    // First of all: a SIGHUP that comes earlier ends the process.
    let handlers = runtime.block_on(async { Handlers::install() })?;
    let (say, hear) = mpsc::channel(8);
    let (done, over) = oneshot::channel();
    // Nobody waits for what comes too late.
    let run = move || drop(done.send(work(Signals(hear))));
    let thread = std::thread::Builder::new()
        .name("network".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(run)?;
    let ended = runtime.block_on(listen(handlers, &say, over, grace));
    if matches!(ended, AttendOutcome::Done(_) | AttendOutcome::Crashed) {
        // A panic has said so.
        let _ = thread.join();
    }
    Ok(ended)
}

async fn listen<T>(
    mut handlers: Handlers,
    say: &mpsc::Sender<Instruction>,
    mut over: oneshot::Receiver<T>,
    grace: Duration,
) -> AttendOutcome<T> {
    let mut stops = 0;
    let mut until = None;
    loop {
        tokio::select! {
            ended = &mut over => return ended.map_or(AttendOutcome::Crashed, AttendOutcome::Done),
            wish = handlers.next() => {
                if wish == Instruction::Stop {
                    stops += 1;
                    let patience = if stops == 1 { grace + BEYOND } else { AT_ONCE };
                    until = Some(until.unwrap_or(Instant::now() + patience).min(Instant::now() + patience));
                }
                // Whoever has not heard so many yet need not hear more.
                let _ = say.try_send(wish);
            }
            () = async { sleep_until(until.unwrap_or_else(Instant::now)).await }, if until.is_some() => {
                return if stops > 1 { AttendOutcome::Left } else { AttendOutcome::Late };
            }
        }
    }
}

struct Handlers {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    /// Heard, and that is all.
    _others: Vec<Signal>,
}

/// What would end a process that does not ask for it, without a drain: a file that may not grow further is an error of its
/// write, and the others mean nothing here.
fn others() -> [SignalKind; 5] {
    let file_limit = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
    [
        SignalKind::user_defined1(),
        SignalKind::user_defined2(),
        SignalKind::alarm(),
        SignalKind::io(),
        file_limit,
    ]
}

impl Handlers {
    fn install() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            _others: others().into_iter().map(signal).collect::<Result<_, _>>()?,
        })
    }

    async fn next(&mut self) -> Instruction {
        tokio::select! {
            _ = self.terminate.recv() => Instruction::Stop,
            _ = self.interrupt.recv() => Instruction::Stop,
            _ = self.hangup.recv() => Instruction::Reload,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_that_asks_for_nothing_ends_nothing() {
        let sent = attend(Duration::ZERO, |_| {
            for kind in others() {
                let signal = rustix::process::Signal::from_named_raw(kind.as_raw_value()).unwrap();
                rustix::process::kill_process(rustix::process::getpid(), signal).unwrap();
            }
        });
        assert_eq!(sent.unwrap(), AttendOutcome::Done(()));
    }

    #[test]
    fn what_ends_by_itself_is_waited_for_and_a_panic_is_told() {
        assert_eq!(
            attend(Duration::ZERO, |_| 7).unwrap(),
            AttendOutcome::Done(7)
        );
        assert_eq!(
            attend(Duration::ZERO, |_| -> () { panic!("for the test") }).unwrap(),
            AttendOutcome::Crashed
        );
    }
}
