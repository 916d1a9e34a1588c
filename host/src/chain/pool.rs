//! The threads that do the lanes' work: few, whatever the number of lanes.
//!
//! A lane sits on a [`Seat`]. Called, it is queued; a worker gives it turns until it rests, or until its slice is over and
//! others wait. It is never with two workers at once. A worker that one turn holds for long, since a plugin computes, is
//! made up for by a spare, up to a bound, so that nobody waits behind it for more than a moment. Workers yield the
//! processor to the threads of network and store.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Workers and spares at most: so many plugins that compute at once hold up others.
const MOST_WORKERS: usize = 32;

/// A lane that has worked for so long goes behind those that wait.
const SLICE: Duration = Duration::from_millis(2);

/// Looks of [`Pool::look`] that a turn may see before its worker counts as held.
const HELD_LOOKS: u64 = 2;

/// A spare that has had nothing to do for so long ends.
const IDLE: Duration = Duration::from_secs(10);

/// What sits on a seat.
pub(super) trait Task: Send {
    /// One bounded piece of work.
    fn turn(&mut self) -> AfterTurn;
}

/// What a task wants after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AfterTurn {
    Again,
    /// To be left alone until it is called, or this moment has come.
    Rest(Option<Instant>),
    /// Nothing ever again: it is dropped.
    Done,
}

/// Where a seat is.
const RESTING: u8 = 0;
const QUEUED: u8 = 1;
const WORKING: u8 = 2;
/// It was called while it worked.
const CALLED: u8 = 3;

/// The place of one task. Its task is dropped when it is done.
pub(super) struct Seat {
    number: u64,
    pool: Arc<SharedPool>,
    state: AtomicU8,
    sitting: Mutex<Sitting>,
}

#[derive(Default)]
struct Sitting {
    task: Option<Box<dyn Task>>,
    /// Where it stands among the timers.
    alarm: Option<Instant>,
}

impl Seat {
    /// `task` works from now on.
    pub(super) fn take(self: &Arc<Self>, task: Box<dyn Task>) {
        locked(&self.sitting).task = Some(task);
        self.call();
    }

    /// Has the task work, as soon as there is a worker.
    pub(super) fn call(self: &Arc<Self>) {
        if self.is_called() {
            self.pool.push(Arc::clone(self));
        }
    }

    /// Notes that it is called; `true` when it is to be queued now.
    fn is_called(&self) -> bool {
        let next = |state| match state {
            RESTING => Some(QUEUED),
            WORKING => Some(CALLED),
            _ => None,
        };
        self.state
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, next)
            == Ok(RESTING)
    }

    /// Gives the task turns. The answer is the moment at which it wants the next one; it is queued again where it wants
    /// that sooner.
    fn work(self: &Arc<Self>, worker: &Worker) {
        let mut sitting = locked(&self.sitting);
        let begun = Instant::now();
        let next = loop {
            worker
                .begun
                .store(self.pool.looks.load(Ordering::Relaxed), Ordering::Relaxed);
            let Some(task) = &mut sitting.task else {
                break AfterTurn::Done;
            };
            match catch_unwind(AssertUnwindSafe(|| task.turn())) {
                Ok(AfterTurn::Again)
                    if self.pool.waiting.load(Ordering::Relaxed) == 0
                        || begun.elapsed() < SLICE => {}
                Ok(next) => break next,
                Err(_) => {
                    tracing::error!("a lane ended by a panic outside of its turns");
                    break AfterTurn::Done;
                }
            }
        };
        worker.begun.store(NOT_AT_WORK, Ordering::Relaxed);
        if next == AfterTurn::Done {
            // Whoever waits for its end goes on at this moment.
            drop(sitting.task.take());
        }
        let alarm = if let AfterTurn::Rest(alarm) = next {
            alarm
        } else {
            None
        };
        // One that was there before the turns and is still to come has not rung.
        if sitting.alarm != alarm || alarm.is_some_and(|moment| moment <= begun) {
            self.pool.set_alarm(self, sitting.alarm, alarm);
            sitting.alarm = alarm;
        }
        drop(sitting);
        let rests = |state| {
            if state == WORKING && next != AfterTurn::Again {
                Some(RESTING)
            } else {
                Some(QUEUED)
            }
        };
        let before = self
            .state
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, rests);
        if next == AfterTurn::Again || before == Ok(CALLED) {
            self.pool.push(Arc::clone(self));
        }
    }
}

/// In the place of the look at which a turn began.
const NOT_AT_WORK: u64 = u64::MAX;

struct Worker {
    /// The look at which its present turn began.
    begun: AtomicU64,
}

impl Worker {
    fn is_held(&self, looks: u64) -> bool {
        looks.saturating_sub(self.begun.load(Ordering::Relaxed)) >= HELD_LOOKS
    }
}

#[derive(Default)]
struct RunQueue {
    ready: VecDeque<Arc<Seat>>,
    timers: BTreeMap<(Instant, u64), Arc<Seat>>,
    workers: Vec<Arc<Worker>>,
    threads: Vec<JoinHandle<()>>,
    /// Workers that wait for something to do.
    idle: usize,
    /// One of them looks at the timers.
    has_lookout: bool,
    is_stopping: bool,
}

struct SharedPool {
    queue: Mutex<RunQueue>,
    bell: Condvar,
    /// For the one of them that looks at the timers. It is called for a seat only where no other one is free: each seat that it
    /// took would have another one woken to look in its place.
    watch: Condvar,
    waiting: AtomicUsize,
    looks: AtomicU64,
    seats: AtomicU64,
    /// Workers that are not held.
    wanted: usize,
    stack_bytes: usize,
    /// Told when something waits and no worker is free.
    overseer: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

/// See the module. Dropped, it ends its threads and leaves what is queued.
pub(crate) struct Pool {
    shared: Arc<SharedPool>,
}

impl Pool {
    /// One with `wanted` workers, 1 at least, that begin with the first seat; each has so much stack.
    pub(super) fn new(wanted: usize, stack_bytes: usize) -> Self {
        let shared = SharedPool {
            queue: Mutex::default(),
            bell: Condvar::new(),
            watch: Condvar::new(),
            waiting: AtomicUsize::new(0),
            looks: AtomicU64::new(0),
            seats: AtomicU64::new(0),
            wanted: wanted.clamp(1, MOST_WORKERS),
            stack_bytes,
            overseer: OnceLock::new(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// `overseer` is to call [`Pool::look`] from now and then, until that answers that nobody waits.
    pub(super) fn oversee(&self, overseer: impl Fn() + Send + Sync + 'static) {
        // There is one engine, and so one overseer.
        let _ = self.shared.overseer.set(Box::new(overseer));
    }

    /// What [`Pool::look`] is called on.
    pub(super) fn view(&self) -> PoolView {
        PoolView(Arc::clone(&self.shared))
    }

    /// A free seat.
    ///
    /// # Errors
    /// There are no threads to be had.
    pub(super) fn seat(&self) -> std::io::Result<Arc<Seat>> {
        let mut queue = self.shared.lock();
        while queue.workers.len() < self.shared.wanted {
            self.shared.add_worker(&mut queue)?;
        }
        drop(queue);
        let number = self.shared.seats.fetch_add(1, Ordering::Relaxed);
        let pool = Arc::clone(&self.shared);
        let state = AtomicU8::new(RESTING);
        Ok(Arc::new(Seat {
            number,
            pool,
            state,
            sitting: Mutex::default(),
        }))
    }

    /// Has a worker do `work`, behind the lanes that wait.
    ///
    /// # Errors
    /// There are no threads to be had.
    pub(super) fn once(&self, work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        self.seat()?.take(Box::new(Once(Some(work))));
        Ok(())
    }
}

/// Work of one turn.
struct Once<F>(Option<F>);

impl<F: FnOnce() + Send> Task for Once<F> {
    fn turn(&mut self) -> AfterTurn {
        if let Some(work) = self.0.take() {
            work();
        }
        AfterTurn::Done
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let threads = {
            let mut queue = self.shared.lock();
            queue.is_stopping = true;
            queue.ready.clear();
            queue.timers.clear();
            std::mem::take(&mut queue.threads)
        };
        self.shared.bell.notify_all();
        self.shared.watch.notify_all();
        let own = std::thread::current().id();
        for thread in threads
            .into_iter()
            .filter(|thread| thread.thread().id() != own)
        {
            // What panicked there has said so.
            let _ = thread.join();
        }
    }
}

pub(super) struct PoolView(Arc<SharedPool>);

impl PoolView {
    /// Adds a spare where somebody waits and too many workers are held; whether anybody waits.
    pub(super) fn look(&self) -> bool {
        let looks = self.0.looks.fetch_add(1, Ordering::Relaxed) + 1;
        let mut queue = self.0.lock();
        if queue.idle == 0 {
            self.0.call_due(&mut queue, Instant::now());
        }
        if queue.ready.is_empty() {
            return false;
        }
        let held = queue
            .workers
            .iter()
            .filter(|worker| worker.is_held(looks))
            .count();
        let is_short = queue.idle == 0 && queue.workers.len() - held < self.0.wanted;
        if is_short
            && queue.workers.len() < MOST_WORKERS
            && let Err(error) = self.0.add_worker(&mut queue)
        {
            tracing::warn!(%error, held, "no thread for a spare worker: lanes wait for plugins that compute");
        }
        true
    }

    /// Whether anybody waits for a worker.
    pub(super) fn is_pressed(&self) -> bool {
        self.0.waiting.load(Ordering::SeqCst) > 0
    }
}

impl SharedPool {
    fn lock(&self) -> MutexGuard<'_, RunQueue> {
        locked(&self.queue)
    }

    fn push(&self, seat: Arc<Seat>) {
        let mut queue = self.lock();
        if queue.is_stopping {
            return;
        }
        queue.ready.push_back(seat);
        self.waiting.store(queue.ready.len(), Ordering::SeqCst);
        self.tell(queue);
    }

    /// There is something to do: for an idle worker, and where there is none the overseer has an eye on those that work.
    fn tell(&self, queue: MutexGuard<'_, RunQueue>) {
        let free = queue.idle;
        let lookouts = usize::from(queue.has_lookout);
        drop(queue);
        if free > lookouts {
            self.bell.notify_one();
        } else if free > 0 {
            self.watch.notify_one();
        } else if let Some(overseer) = self.overseer.get() {
            overseer();
        }
    }

    fn set_alarm(&self, seat: &Arc<Seat>, old: Option<Instant>, new: Option<Instant>) {
        let mut queue = self.lock();
        if let Some(old) = old {
            queue.timers.remove(&(old, seat.number));
        }
        let Some(new) = new.filter(|_| !queue.is_stopping) else {
            return;
        };
        queue.timers.insert((new, seat.number), Arc::clone(seat));
        // Whoever looks at the timers waits for another one.
        let is_first = queue
            .timers
            .first_key_value()
            .is_some_and(|((_, number), _)| *number == seat.number);
        let is_watched = is_first && queue.has_lookout;
        drop(queue);
        if is_watched {
            self.watch.notify_one();
        }
    }

    fn add_worker(self: &Arc<Self>, queue: &mut RunQueue) -> std::io::Result<()> {
        let worker = Arc::new(Worker {
            begun: AtomicU64::new(NOT_AT_WORK),
        });
        let shared = Arc::clone(self);
        let own = Arc::clone(&worker);
        let run = move || {
            // Where that is not allowed they are as good as any other thread.
            let _ = crate::thread::step_back();
            crate::thread::keep("worker", || {
                while let Some(seat) = shared.next(&own) {
                    seat.work(&own);
                }
            });
        };
        let thread = std::thread::Builder::new()
            .name("worker".to_owned())
            .stack_size(self.stack_bytes)
            .spawn(run)?;
        queue.workers.push(worker);
        queue.threads.retain(|thread| !thread.is_finished());
        queue.threads.push(thread);
        Ok(())
    }

    /// The seat that waits longest; `None` when this worker is to end.
    fn next(&self, own: &Arc<Worker>) -> Option<Arc<Seat>> {
        let mut queue = self.lock();
        let mut idle_since = None;
        loop {
            let now = Instant::now();
            self.call_due(&mut queue, now);
            if let Some(seat) = queue.ready.pop_front() {
                self.waiting.store(queue.ready.len(), Ordering::SeqCst);
                // Somebody has to go on looking, and to take what else is due.
                let has_more =
                    !queue.ready.is_empty() || (!queue.has_lookout && !queue.timers.is_empty());
                seat.state.store(WORKING, Ordering::Release);
                if has_more {
                    self.tell(queue);
                }
                return Some(seat);
            }
            let since = *idle_since.get_or_insert(now);
            let is_surplus = queue.workers.len() > self.wanted;
            if queue.is_stopping || (is_surplus && now - since >= IDLE) {
                queue.workers.retain(|worker| !Arc::ptr_eq(worker, own));
                return None;
            }
            queue = self.sleep(queue, (now, is_surplus.then(|| since + IDLE)));
        }
    }

    /// Until the bell rings, this worker's end has come or, for the one that looks at them, the first timer.
    fn sleep<'a>(
        &self,
        mut queue: MutexGuard<'a, RunQueue>,
        (now, end): (Instant, Option<Instant>),
    ) -> MutexGuard<'a, RunQueue> {
        let is_lookout = !queue.has_lookout && !queue.timers.is_empty();
        let alarm = queue
            .timers
            .first_key_value()
            .filter(|_| is_lookout)
            .map(|((moment, _), _)| *moment);
        queue.has_lookout |= is_lookout;
        queue.idle += 1;
        let bell = if is_lookout { &self.watch } else { &self.bell };
        let mut queue = match [alarm, end].into_iter().flatten().min() {
            Some(moment) => {
                let left = moment.saturating_duration_since(now);
                bell.wait_timeout(queue, left)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            }
            None => bell.wait(queue).unwrap_or_else(PoisonError::into_inner),
        };
        queue.idle -= 1;
        if is_lookout {
            queue.has_lookout = false;
        }
        queue
    }

    /// Queues those whose moment has come.
    fn call_due(&self, queue: &mut RunQueue, now: Instant) {
        while let Some(entry) = queue
            .timers
            .first_entry()
            .filter(|entry| entry.key().0 <= now)
        {
            let seat = entry.remove();
            if seat.is_called() {
                queue.ready.push_back(seat);
            }
        }
        self.waiting.store(queue.ready.len(), Ordering::SeqCst);
    }
}

fn locked<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
