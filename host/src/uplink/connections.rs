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
use crate::message::{BacklogLink, LinkTurn, OwedQueues};

/// The link of one of several connections: with a bell of its own, and all are down before the queues hear of it.
struct ConnectionLink {
    of_all: Arc<dyn BacklogLink>,
    bell: Arc<Notify>,
    is_up: AtomicBool,
    standing: Arc<AtomicUsize>,
}

impl BacklogLink for ConnectionLink {
    fn turn(&self, state: LinkTurn) {
        let is_up = state == LinkTurn::Up;
        if self.is_up.swap(is_up, Ordering::Relaxed) == is_up {
            return;
        }
        // All connections of an uplink live on the network's thread, so nothing comes between count and word.
        let standing = if is_up {
            self.standing.fetch_add(1, Ordering::Relaxed)
        } else {
            self.standing.fetch_sub(1, Ordering::Relaxed) - 1
        };
        if standing == 0 {
            self.of_all.turn(state);
        }
    }

    fn ready(&self) -> Arc<Notify> {
        Arc::clone(&self.bell)
    }
}

/// The lanes of one uplink.
struct Lanes<'a> {
    owed: &'a OwedQueues,
    bells: Vec<Arc<Notify>>,
    standing: Arc<AtomicUsize>,
}

impl Lanes<'_> {
    fn add(&mut self) -> OwedQueues {
        let bell = Arc::new(Notify::new());
        self.bells.push(Arc::clone(&bell));
        let link = ConnectionLink {
            of_all: Arc::clone(&self.owed.link),
            bell,
            is_up: AtomicBool::new(false),
            standing: Arc::clone(&self.standing),
        };
        OwedQueues {
            backlog: Arc::clone(&self.owed.backlog),
            link: Arc::new(link),
        }
    }
}

/// Runs `config.connections` of them, and the fallback, until all have left.
pub(super) async fn run(
    config: &Config,
    owed: &OwedQueues,
    shared: &UplinkContext,
    stop: &watch::Receiver<Stop>,
) -> Result<(), Error> {
    let mut tasks = JoinSet::new();
    let mut lanes = Lanes {
        owed,
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
    let ready = owed.link.ready();
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
