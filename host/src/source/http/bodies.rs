//! How much of bodies that are on their way in is kept, together: what has come, not what is announced. Where that is too
//! much, the slowest gives way. No sockets; time is an argument.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// A body that is younger does not give way: how fast it is cannot be told.
const YOUNG: Duration = Duration::from_secs(2);

pub(super) struct Bodies {
    most: usize,
    under_way: Mutex<BodiesUnderWay>,
}

#[derive(Default)]
struct BodiesUnderWay {
    bytes: usize,
    next: u64,
    bodies: BTreeMap<u64, BodyUnderWay>,
}

struct BodyUnderWay {
    began: Instant,
    bytes: usize,
    gives_way: Arc<Notify>,
}

impl BodyUnderWay {
    fn bytes_a_second(&self, now: Instant) -> u128 {
        let millis = now.saturating_duration_since(self.began).as_millis();
        self.bytes as u128 * 1_000 / millis.max(1)
    }
}

/// What one body holds; dropped, it is free again.
pub(super) struct BodyShare<'a> {
    bodies: &'a Bodies,
    number: u64,
    gives_way: Arc<Notify>,
}

impl Bodies {
    /// So many bytes in all.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            under_way: Mutex::default(),
        }
    }

    fn under_way(&self) -> MutexGuard<'_, BodiesUnderWay> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// One more begins, of which nothing has come.
    pub(super) fn enter(&self, now: Instant) -> BodyShare<'_> {
        let mut under_way = self.under_way();
        let number = under_way.next;
        under_way.next += 1;
        let gives_way = Arc::new(Notify::new());
        let body = BodyUnderWay {
            began: now,
            bytes: 0,
            gives_way: Arc::clone(&gives_way),
        };
        under_way.bodies.insert(number, body);
        BodyShare {
            bodies: self,
            number,
            gives_way,
        }
    }
}

impl BodiesUnderWay {
    /// The slowest of those that are old enough; it counts no more.
    fn shed(&mut self, now: Instant) -> Option<u64> {
        let is_old = |body: &BodyUnderWay| now.saturating_duration_since(body.began) >= YOUNG;
        let (number, _) = self
            .bodies
            .iter()
            .filter(|(_, body)| is_old(body) && body.bytes > 0)
            .min_by_key(|(_, body)| body.bytes_a_second(now))?;
        let number = *number;
        let slowest = self.bodies.remove(&number)?;
        self.bytes -= slowest.bytes;
        slowest.gives_way.notify_one();
        Some(number)
    }
}

impl BodyShare<'_> {
    /// Keeps `bytes` of it from now on, if there is room, or some is made.
    pub(super) fn grow(&self, bytes: usize, now: Instant) -> bool {
        let under_way = &mut *self.bodies.under_way();
        loop {
            let Some(own) = under_way.bodies.get_mut(&self.number) else {
                return false;
            };
            let others = under_way.bytes - own.bytes;
            if others + bytes <= self.bodies.most {
                (own.bytes, under_way.bytes) = (bytes, others + bytes);
                return true;
            }
            if under_way.shed(now).is_none() {
                return false;
            }
        }
    }

    /// Waits until it has to give way. Cancel safe.
    pub(super) async fn gives_way(&self) {
        self.gives_way.notified().await;
    }
}

impl Drop for BodyShare<'_> {
    fn drop(&mut self) {
        let under_way = &mut *self.bodies.under_way();
        if let Some(body) = under_way.bodies.remove(&self.number) {
            under_way.bytes -= body.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_announced_takes_no_room_and_the_slowest_makes_some() {
        let begin = Instant::now();
        let bodies = Bodies::new(1_000);
        let slow: Vec<_> = (0..100).map(|_| bodies.enter(begin)).collect();
        assert!(slow.iter().all(|share| share.grow(1, begin)));
        let large = bodies.enter(begin);
        assert!(large.grow(890, begin) && !large.grow(901, begin));
        // Nobody is old enough to give way.
        let good = bodies.enter(begin);
        assert!(!good.grow(100, begin));
        let later = begin + YOUNG;
        let good = bodies.enter(later);
        assert!(good.grow(100, later));
        // Ninety of the slow ones were enough, and are told.
        let told = slow.iter().filter(|share| is_told(share)).count();
        assert_eq!(told, 90);
        assert!(slow.iter().filter(|share| share.grow(1, later)).count() == 10);
        drop((slow, large, good));
        assert_eq!(bodies.under_way().bytes, 0);
    }

    fn is_told(share: &BodyShare<'_>) -> bool {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let waiting = std::pin::pin!(share.gives_way());
        waiting.poll(&mut context).is_ready()
    }

    proptest! {
        #[test]
        fn never_more_is_kept_than_may_be(steps in proptest::collection::vec((0_usize..8, 0_usize..600, 0_u64..4), 1..100)) {
            let bodies = Bodies::new(1_000);
            let mut now = Instant::now();
            let mut shares: Vec<_> = (0..8).map(|_| bodies.enter(now)).collect();
            for (index, bytes, seconds) in steps {
                now += Duration::from_secs(seconds);
                if bytes < 50 {
                    shares[index] = bodies.enter(now);
                } else {
                    shares[index].grow(bytes, now);
                }
                let under_way = bodies.under_way();
                let sum: usize = under_way.bodies.values().map(|body| body.bytes).sum();
                prop_assert!(sum == under_way.bytes && sum <= 1_000);
            }
        }
    }
}
