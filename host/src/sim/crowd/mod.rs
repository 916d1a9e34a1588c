//! All connections of a simulation: made one after the other or many at once, then sending together.

pub(super) mod descriptors;
pub(super) mod gathering;
pub(super) mod portion;
pub(super) mod wills;

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use self::portion::SimPortion;
use crate::sim::books::Books;
use crate::sim::error::{Error, place};
use crate::sim::pace::SteadyRate;
use crate::sim::publisher::{Publisher, SendingSummary, SimPhase};
use crate::sim::settings::SimConfig;

/// Attempts at the same time: more only wait in the broker's own backlog.
const AT_ONCE: u32 = 256;

#[derive(Debug)]
pub(super) struct Crowd {
    config: Arc<SimConfig>,
    books: Arc<Books>,
    phase: watch::Sender<SimPhase>,
    first: Publisher,
}

impl Crowd {
    /// Makes the first connection: what is wrong with the address or the login shows at once.
    pub(super) async fn open(
        config: SimConfig,
        books: Arc<Books>,
        phase: watch::Sender<SimPhase>,
    ) -> Result<Self, Error> {
        let config = Arc::new(config);
        let portion = SimPortion {
            index: 0,
            of: config.connections.count,
        };
        let mut first = Publisher::new(&config, portion, &books, phase.subscribe());
        let began = Instant::now();
        let opened = first.open().await;
        books.gathering().book(began, &opened);
        opened.map_err(|source| Error::Devices {
            broker: place(&config.broker),
            source,
        })?;
        Ok(Self {
            config,
            books,
            phase,
            first,
        })
    }

    /// Makes the others, lets all send until the config or the caller says stop, and waits for the last answers.
    pub(super) async fn run(self) -> SendingSummary {
        let Self {
            config,
            books,
            phase,
            first,
        } = self;
        let mut running = JoinSet::new();
        running.spawn(first.run());
        gather(&config, &books, &phase, &mut running).await;
        phase.send_if_modified(|phase| {
            let gathers = *phase == SimPhase::Gather;
            if gathers {
                *phase = SimPhase::Send(Instant::now());
            }
            gathers
        });
        let mut all = SendingSummary::default();
        while let Some(joined) = running.join_next().await {
            match joined {
                Ok(one) => all.add(one),
                Err(error) => tracing::error!(%error, "a connection's task failed"),
            }
        }
        all
    }
}

/// Makes all connections but the first, at most [`AT_ONCE`] at a time and no faster than the ramp; returns when each has had
/// its first answer, or when no more are wanted.
async fn gather(
    config: &Arc<SimConfig>,
    books: &Arc<Books>,
    phase: &watch::Sender<SimPhase>,
    running: &mut JoinSet<SendingSummary>,
) {
    let of = config.connections.count;
    let attempts = Arc::new(Semaphore::new(AT_ONCE as usize));
    let mut ramp = SteadyRate::new(config.connections.ramp);
    let began = Instant::now();
    for index in 1..of {
        let due = tokio::time::Instant::from_std(began + ramp.next_at());
        tokio::time::sleep_until(due).await;
        ramp.made();
        let Ok(attempt) = Arc::clone(&attempts).acquire_owned().await else {
            break;
        };
        if *phase.borrow() == SimPhase::Stop {
            break;
        }
        let portion = SimPortion { index, of };
        let mut one = Publisher::new(config, portion, books, phase.subscribe());
        let books = Arc::clone(books);
        running.spawn(async move {
            let began = Instant::now();
            let opened = one.open().await;
            books.gathering().book(began, &opened);
            drop(attempt);
            one.run().await
        });
    }
    // All attempts are free again once the last one has its answer.
    drop(attempts.acquire_many(AT_ONCE).await);
}
