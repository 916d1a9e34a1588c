//! Several connections to one upstream, each with the window the broker grants: a message takes the connection of its
//! key, so keys keep their order, and what is accepted out of order is the spool's to sort. The connection to the fallback
//! is one more, which is used instead of the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use super::drain::drain;
use super::error::Error;
use super::fallback::stand_in;
use super::part::Shard;
use super::settings::Config;
use super::shared::UplinkContext;
use crate::link::Stop;
use crate::message::{Backlog, Fetch, QueueId, Seq, Stored};

/// The backlog as one of several connections sees it: with a bell of its own, and a link that is down only when all are.
struct ConnectionBacklog {
    backlog: Arc<dyn Backlog>,
    bell: Arc<Notify>,
    up: AtomicBool,
    standing: Arc<AtomicUsize>,
}

impl Backlog for ConnectionBacklog {
    fn low(&self, queue: QueueId) -> Seq {
        self.backlog.low(queue)
    }

    fn fetch(&self, queue: QueueId, from: Seq, max: usize, max_bytes: usize) -> Fetch {
        self.backlog.fetch(queue, from, max, max_bytes)
    }

    fn fetch_fresh(&self, queue: QueueId, from: Seq, max: usize, max_bytes: usize) -> Fetch {
        self.backlog.fetch_fresh(queue, from, max, max_bytes)
    }

    fn read(&self, queue: QueueId, from: Seq) -> Vec<Stored> {
        self.backlog.read(queue, from)
    }

    fn accept(&self, queue: QueueId, from: Seq, to: Seq) {
        self.backlog.accept(queue, from, to);
    }

    fn expire(&self, queue: QueueId, messages: &[Stored]) {
        self.backlog.expire(queue, messages);
    }

    fn boot(&self) -> u32 {
        self.backlog.boot()
    }

    fn origin(&self) -> String {
        self.backlog.origin()
    }

    fn has_room_for_refused(&self, letters: u64, bytes: u64) -> bool {
        self.backlog.has_room_for_refused(letters, bytes)
    }

    fn refuse(&self, queue: QueueId, stored: Stored, detail: String) {
        self.backlog.refuse(queue, stored, detail);
    }

    fn link(&self, up: bool) {
        if self.up.swap(up, Ordering::Relaxed) == up {
            return;
        }
        // All connections of an uplink live on the network's thread, so nothing comes between count and word.
        let standing = if up {
            self.standing.fetch_add(1, Ordering::Relaxed)
        } else {
            self.standing.fetch_sub(1, Ordering::Relaxed) - 1
        };
        if standing == 0 {
            self.backlog.link(up);
        }
    }

    fn ready(&self) -> Arc<Notify> {
        Arc::clone(&self.bell)
    }
}

/// The lanes of one uplink.
struct Lanes<'a> {
    backlog: &'a Arc<dyn Backlog>,
    bells: Vec<Arc<Notify>>,
    standing: Arc<AtomicUsize>,
}

impl Lanes<'_> {
    fn add(&mut self) -> Arc<ConnectionBacklog> {
        let bell = Arc::new(Notify::new());
        self.bells.push(Arc::clone(&bell));
        let backlog = Arc::clone(self.backlog);
        let standing = Arc::clone(&self.standing);
        Arc::new(ConnectionBacklog {
            backlog,
            bell,
            up: AtomicBool::new(false),
            standing,
        })
    }
}

/// Runs `config.connections` of them, and the fallback, until all have left.
pub(super) async fn run(
    config: &Config,
    backlog: &Arc<dyn Backlog>,
    shared: &UplinkContext,
    stop: &watch::Receiver<Stop>,
) -> Result<(), Error> {
    let mut tasks = JoinSet::new();
    let mut lanes = Lanes {
        backlog,
        bells: Vec::new(),
        standing: Arc::new(AtomicUsize::new(0)),
    };
    for index in 0..config.connections {
        let part = Shard {
            index: u64::from(index),
            of: u64::from(config.connections),
        };
        tasks.spawn(drain(
            config.of_connection(index),
            part,
            lanes.add(),
            shared.clone(),
            stop.clone(),
        ));
    }
    if let (Some(config), Some(duty)) = (&config.fallback, &shared.duty) {
        let own = UplinkContext::new(config.rate, shared.metrics.clone(), None);
        tasks.spawn(stand_in(
            (**config).clone(),
            lanes.add(),
            own,
            Arc::clone(duty),
            stop.clone(),
        ));
    }
    let ready = backlog.ready();
    let bells = lanes.bells;
    loop {
        tokio::select! {
            () = ready.notified() => bells.iter().for_each(|bell| bell.notify_one()),
            ended = tasks.join_next() => match ended {
                None => return Ok(()),
                Some(Ok(ended)) => ended?,
                // The stage as a whole is started again, as with one connection.
                Some(Err(panic)) => std::panic::resume_unwind(panic.into_panic()),
            },
        }
    }
}
