//! Which of the gateway's loops go on. A source or uplink beats in its own task, the lanes' workers are given something to do
//! when somebody asks, and the writer says when it last looked. Nothing of it is done for a message.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

use super::running::RunningGateway;
use crate::chain::Engine;

/// How often a task that has nothing else to do beats.
const BEAT: Duration = Duration::from_secs(5);
/// A loop that has not turned for so long stands still: twice as long as anything that it may wait for.
pub(super) const STILL: Duration = Duration::from_secs(30);
/// What a process that was stopped as a whole gets until its loops have caught up, and workers until they answer.
const CATCH_UP: Duration = Duration::from_secs(1);

/// The loops of sources and uplinks, by name. Cheap to clone; all clones show the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Pulses(Arc<Mutex<BTreeMap<String, Instant>>>);

impl Pulses {
    /// Does `work`, and beats beside it, in the same task.
    pub(super) async fn beside<T>(self, name: String, work: impl Future<Output = T>) -> T {
        let own = Pulse { all: self, name };
        let mut work = pin!(work);
        let beating = async || -> Infallible {
            let mut beat = interval(BEAT);
            beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                beat.tick().await;
                own.beat(Instant::now());
            }
        };
        tokio::select! {
            biased;
            done = &mut work => done,
            never = beating() => match never {},
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn since(&self, now: Instant) -> Vec<(String, Duration)> {
        let beats = self.lock();
        let since =
            |(name, at): (&String, &Instant)| (name.clone(), now.saturating_duration_since(*at));
        beats.iter().map(since).collect()
    }
}

/// Of one loop; it is gone from the list when this is dropped.
struct Pulse {
    all: Pulses,
    name: String,
}

impl Pulse {
    fn beat(&self, now: Instant) {
        self.all.lock().insert(self.name.clone(), now);
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.all.lock().remove(&self.name);
    }
}

/// Whether the lanes' workers do what is there to do.
pub(super) struct Workers {
    engine: Engine,
    asked: Mutex<Option<(Instant, Arc<AtomicBool>)>>,
}

impl Workers {
    pub(super) fn new(engine: Engine) -> Self {
        let asked = Mutex::default();
        Self { engine, asked }
    }

    /// Since when they have not done what they were given; nothing where they have. Gives them something where they have
    /// nothing of ours.
    fn behind(&self, now: Instant) -> Duration {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, answered)) = &*asked
            && !answered.load(Ordering::Acquire)
        {
            return now.saturating_duration_since(*at);
        }
        let answered = Arc::<AtomicBool>::default();
        let answer = Arc::clone(&answered);
        // Without a thread to be had there is no answer, which shows.
        let _ = self
            .engine
            .once(move || answer.store(true, Ordering::Release));
        *asked = Some((now, answered));
        Duration::ZERO
    }
}

/// One loop, and for how long it has not turned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Loop {
    pub(super) name: String,
    pub(super) idle: Duration,
    /// Why it may stand.
    pub(super) excuse: Option<&'static str>,
}

impl Loop {
    pub(super) fn stands_still(&self) -> bool {
        self.idle > STILL && self.excuse.is_none()
    }
}

/// All loops that must turn. The network's own turns, or this would not be asked.
pub(super) async fn loops(running: &RunningGateway) -> Vec<Loop> {
    let found = look(running);
    if !found.iter().any(Loop::stands_still) {
        return found;
    }
    // Whoever was stopped as a whole, by a signal or a debugger, has had no chance to turn.
    tokio::time::sleep(CATCH_UP).await;
    look(running)
}

fn look(running: &RunningGateway) -> Vec<Loop> {
    let now = Instant::now();
    let turning = running.spool.account().writer;
    let one = |(name, idle)| Loop {
        name,
        idle,
        excuse: None,
    };
    let writer = Loop {
        name: "spool writer".to_owned(),
        idle: turning.idle,
        excuse: turning.is_at_disk.then_some("it waits for the disk"),
    };
    let network = ("network and admin".to_owned(), Duration::ZERO);
    let lanes = ("lanes".to_owned(), running.workers.behind(now));
    [network, lanes]
        .into_iter()
        .chain(running.pulses.since(now))
        .map(one)
        .chain([writer])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_beats_and_one_that_ends_is_forgotten() {
        let pulses = Pulses::default();
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let task = tokio::spawn(pulses.clone().beside("source field".to_owned(), async {
            ended.await.unwrap();
        }));
        while pulses.since(Instant::now()).is_empty() {
            tokio::task::yield_now().await;
        }
        let since = pulses.since(Instant::now() + Duration::from_secs(40));
        assert_eq!(since[0].0, "source field");
        assert!(since[0].1 >= Duration::from_secs(35));
        end.send(()).unwrap();
        task.await.unwrap();
        assert_eq!(pulses.since(Instant::now()), []);
    }

    #[test]
    fn who_has_turned_of_late_or_waits_for_the_disk_does_not_stand_still() {
        let of = |seconds, excuse| Loop {
            name: "spool writer".to_owned(),
            idle: Duration::from_secs(seconds),
            excuse,
        };
        assert!(!of(29, None).stands_still());
        assert!(of(31, None).stands_still());
        assert!(!of(31, Some("it waits for the disk")).stands_still());
    }
}
