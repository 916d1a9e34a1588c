//! The network's threads: one for all connections, and beside it one for those of flows with `priority`. An alarm waits there
//! neither for the turns of other connections nor for the pause that makes their bursts grow.

use std::io;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::config::Config;

/// What a task that will not end gets when its thread does.
const LAST: Duration = Duration::from_secs(2);

/// Where connections are served.
pub struct Threads {
    own: Handle,
    /// There are connections without priority: those with it are kept apart.
    are_parted: bool,
    priority: Option<Thread>,
}

impl Threads {
    /// Takes the runtime it is called in. The other thread starts once some connections have priority over others.
    pub fn start(config: &Config) -> Self {
        let sources = config.sources.iter().map(|source| source.priority);
        let uplinks = config.uplinks.iter().map(|uplink| uplink.priority);
        Self {
            own: Handle::current(),
            are_parted: sources.chain(uplinks).any(|priority| !priority),
            priority: None,
        }
    }

    /// The runtime of connections with `priority`, or of those without.
    ///
    /// # Errors
    /// There is no thread or runtime to be had.
    pub fn of(&mut self, priority: bool) -> io::Result<&Handle> {
        self.are_parted |= !priority;
        if !priority || !self.are_parted {
            return Ok(&self.own);
        }
        if self.priority.is_none() {
            self.priority = Some(Thread::start()?);
        }
        let thread = self.priority.as_ref();
        Ok(thread.map_or(&self.own, |thread| &thread.runtime))
    }
}

/// Ends, and its tasks with it, when this is dropped.
struct Thread {
    runtime: Handle,
    stop: Option<oneshot::Sender<()>>,
    ended: Option<JoinHandle<()>>,
}

impl Thread {
    fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (handle, (stop, stopped)) = (runtime.handle().clone(), oneshot::channel::<()>());
        let run = move || {
            // An error means that the sender was dropped, which is the word to stop.
            let _ = runtime.block_on(stopped);
            runtime.shutdown_timeout(LAST);
        };
        let ended = std::thread::Builder::new()
            .name("priority".to_owned())
            .spawn(run)?;
        Ok(Self {
            runtime: handle,
            stop: Some(stop),
            ended: Some(ended),
        })
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(ended) = self.ended.take() {
            // What panicked there has said so.
            let _ = ended.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_runs_on_the_thread_and_is_dropped_with_it() {
        let (begun, has_begun) = oneshot::channel();
        let (held, dropped) = oneshot::channel::<()>();
        let thread = Thread::start().unwrap();
        let task = thread.runtime.spawn(async move {
            begun
                .send(std::thread::current().name().map(str::to_owned))
                .unwrap();
            let _held = held;
            std::future::pending::<()>().await;
        });
        assert_eq!(has_begun.await.unwrap().as_deref(), Some("priority"));
        drop(thread);
        assert!(task.await.unwrap_err().is_cancelled());
        assert!(dropped.await.is_err());
    }
}
