//! Who of two upstreams drains the queues, and when they change hands.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// How long the first may be without a connection, or silent with messages under way.
const PATIENCE: Duration = Duration::from_secs(3);

/// Failed attempts in a row that are as good as that.
const PROBES: u32 = 2;

#[derive(Clone, Copy, Debug)]
struct DutyState {
    /// Connections of the first that stand.
    standing: usize,
    /// Since when there is none.
    since: Instant,
    /// Attempts that have failed since then.
    failed: u32,
    /// The stand-in has the queues.
    is_lent: bool,
}

impl DutyState {
    /// When the stand-in may take over; `None` while the first has a connection.
    fn due(self) -> Option<Instant> {
        (self.standing == 0).then(|| {
            if self.failed >= PROBES {
                self.since
            } else {
                self.since + PATIENCE
            }
        })
    }
}

/// Who has the queues.
#[derive(Debug)]
pub(super) struct Duty(watch::Sender<DutyState>);

impl Duty {
    /// The first has them, and no connection yet.
    pub(super) fn new(now: Instant) -> Self {
        Self(watch::Sender::new(DutyState {
            standing: 0,
            since: now,
            failed: 0,
            is_lent: false,
        }))
    }

    /// A connection of the first stands: waits until the stand-in has given back.
    pub(super) async fn claim(&self) {
        self.0.send_modify(|state| state.standing += 1);
        // An error means that there is no sender, and that is ours.
        let _ = self.0.subscribe().wait_for(|state| !state.is_lent).await;
    }

    /// That connection is gone.
    pub(super) fn lost(&self, now: Instant) {
        self.0.send_modify(|state| {
            *state = DutyState {
                standing: state.standing.saturating_sub(1),
                since: now,
                failed: 0,
                ..*state
            }
        });
    }

    /// That connection stands and is silent: as good as gone, at once.
    fn faltered(&self, now: Instant) {
        self.0.send_modify(|state| {
            *state = DutyState {
                standing: state.standing.saturating_sub(1),
                since: now,
                failed: PROBES,
                ..*state
            };
        });
    }

    /// An attempt of the first has failed.
    pub(super) fn failed(&self) {
        self.0
            .send_modify(|state| state.failed += u32::from(state.standing == 0));
    }

    /// Lends the queues, if the first is away for long enough.
    pub(super) fn lend(&self, now: Instant) -> bool {
        self.0.send_if_modified(|state| {
            let may = state.due().is_some_and(|due| due <= now);
            state.is_lent |= may;
            may
        })
    }

    pub(super) fn give_back(&self) {
        self.0.send_modify(|state| state.is_lent = false);
    }

    /// Waits until the stand-in may take over.
    pub(super) async fn away(&self) {
        let mut state = self.0.subscribe();
        loop {
            let due = state.borrow_and_update().due();
            if due.is_some_and(|due| due <= Instant::now()) {
                return;
            }
            tokio::select! {
                _ = state.changed() => {}
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now).into()), if due.is_some() => {}
            }
        }
    }

    /// Waits until the first has a connection.
    pub(super) async fn back(&self) {
        let _ = self
            .0
            .subscribe()
            .wait_for(|state| state.standing > 0)
            .await;
    }
}

/// One connection's part in the duty; nothing where there is no stand-in.
#[derive(Debug)]
pub(super) struct Post {
    duty: Option<Arc<Duty>>,
    /// It counts as standing.
    stands: bool,
    /// Since when upstream owes an answer.
    owed_since: Option<Instant>,
}

impl Post {
    pub(super) fn new(duty: Option<Arc<Duty>>) -> Self {
        Self {
            duty,
            stands: false,
            owed_since: None,
        }
    }

    /// Whether somebody stands in.
    pub(super) fn has_stand_in(&self) -> bool {
        self.duty.is_some()
    }

    /// The connection stands: waits until the stand-in has given back.
    pub(super) async fn take(&mut self) {
        let Some(duty) = &self.duty else { return };
        self.stands = true;
        self.owed_since = None;
        duty.claim().await;
    }

    /// The connection is gone.
    pub(super) fn leave(&mut self, now: Instant) {
        if let Some(duty) = self.duty.as_ref().filter(|_| self.stands) {
            duty.lost(now);
        }
        self.stands = false;
    }

    /// The connection has fallen silent: the stand-in gets the queues.
    pub(super) fn falter(&mut self, now: Instant) {
        if let Some(duty) = self.duty.as_ref().filter(|_| self.stands) {
            duty.faltered(now);
        }
        self.stands = false;
    }

    /// When the connection counts as silent, if nothing comes until then; `heard` is when something last came. Nothing is
    /// cut early where nobody stands in: links pause.
    pub(super) fn silent_at(
        &mut self,
        has_unanswered: bool,
        heard: Instant,
        now: Instant,
    ) -> Option<Instant> {
        if self.duty.is_none() || !has_unanswered {
            self.owed_since = None;
            return None;
        }
        Some(heard.max(*self.owed_since.get_or_insert(now)) + PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_queues_are_lent_after_three_seconds_or_two_failed_attempts() {
        let start = Instant::now();
        let duty = Duty::new(start);
        assert!(!duty.lend(start) && !duty.lend(start + PATIENCE / 2));
        duty.failed();
        assert!(!duty.lend(start));
        duty.failed();
        assert!(duty.lend(start));
        duty.give_back();
        duty.claim().await;
        assert!(!duty.lend(start + PATIENCE * 9));
        duty.lost(start);
        assert!(!duty.lend(start) && duty.lend(start + PATIENCE));
    }

    #[tokio::test]
    async fn silence_with_messages_under_way_lends_the_queues_at_once_and_only_where_somebody_stands_in()
     {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        assert_eq!(Post::new(None).silent_at(true, start, start), None);
        let duty = Arc::new(Duty::new(start));
        let mut post = Post::new(Some(Arc::clone(&duty)));
        post.take().await;
        assert_eq!(post.silent_at(false, start, start + 60 * second), None);
        // Counted from when something was asked, or heard.
        assert_eq!(
            post.silent_at(true, start, start + 60 * second),
            Some(start + 63 * second)
        );
        assert_eq!(
            post.silent_at(true, start + 62 * second, start + 62 * second),
            Some(start + 65 * second)
        );
        assert!(!duty.lend(start + 65 * second));
        post.falter(start + 65 * second);
        assert!(duty.lend(start + 65 * second));
        duty.give_back();
        post.take().await;
        assert!(!duty.lend(start + 99 * second));
        post.falter(start + 99 * second);
        post.leave(start + 99 * second);
        assert!(duty.lend(start + 99 * second));
    }

    #[tokio::test]
    async fn of_several_connections_the_last_one_lost_counts() {
        let start = Instant::now();
        let duty = Duty::new(start);
        duty.claim().await;
        duty.claim().await;
        duty.lost(start);
        duty.failed();
        duty.failed();
        assert!(!duty.lend(start + PATIENCE));
        duty.lost(start + PATIENCE);
        assert!(!duty.lend(start + PATIENCE) && duty.lend(start + PATIENCE * 2));
    }

    #[tokio::test]
    async fn the_first_waits_until_the_stand_in_has_given_back() {
        let start = Instant::now();
        let duty = Arc::new(Duty::new(start));
        assert!(duty.lend(start + PATIENCE));
        let claiming = tokio::spawn({
            let duty = Arc::clone(&duty);
            async move { duty.claim().await }
        });
        duty.back().await;
        tokio::task::yield_now().await;
        assert!(!claiming.is_finished());
        duty.give_back();
        claiming.await.unwrap();
    }
}
