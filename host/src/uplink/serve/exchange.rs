//! The turns of one carrier: pull, send, take answers, wait.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinError;

use super::pull::Pull;
use super::send::Stand;
use super::{Parting, Uplink};
use crate::clock::sleep_until;
use crate::link::Stop;
use crate::uplink::Error;
use crate::uplink::carrier::{Carrier, CarrierEnded, FaultOf};

/// Pause before the disk is asked again for what it did not have.
const DISK_RETRY: Duration = Duration::from_secs(1);

impl Uplink {
    /// Turns until something ends it; [`Stop::Drain`] when all that lay in RAM is accepted.
    pub(super) async fn exchange<C: Carrier>(
        &mut self,
        carrier: &mut C,
        stop: &mut watch::Receiver<Stop>,
    ) -> Result<Stop, Parting<FaultOf<C>>> {
        let ready = Arc::clone(&self.ready);
        let mut answers = Vec::new();
        let mut retry_at = None;
        loop {
            let mode = *stop.borrow_and_update();
            if mode == Stop::Now {
                return Ok(mode);
            }
            self.retry_disk(&mut retry_at);
            // Before the fetch: what is appended after it rings.
            let rung = ready.notified();
            self.park();
            let (mut stand, renews_at) = self.fill_while_it_counts(carrier, mode)?;
            // What could not be sent is parked at once, and those behind it have their turn.
            if self.park() {
                stand = Stand::Until(Instant::now());
            }
            self.press(carrier, stand, mode);
            self.forward();
            self.show();
            if mode == Stop::Drain && self.pulls.iter().all(Pull::is_drained) {
                return Ok(mode);
            }
            let [overdue, stalled_at] = self.answer_deadlines(carrier, stand, mode)?;
            let silent_at = self.silent_at(carrier).filter(|_| mode == Stop::Run);
            if silent_at.is_some_and(|at| at <= Instant::now()) {
                self.stand_by(carrier, stop).await?;
                continue;
            }
            let (open, due) = match stand {
                Stand::Dry(at) => (self.has_room(carrier), at),
                Stand::Full => (false, None),
                Stand::Until(at) | Stand::Slowed(at) => (false, Some(at)),
            };
            let wake_at = [retry_at, due, overdue, stalled_at, silent_at, renews_at]
                .into_iter()
                .flatten()
                .min();
            tokio::select! {
                biased;
                read = any_read(&mut self.pulls) => {
                    read.map_err(|cause| Parting::Broken(Error::Read { uplink: Arc::clone(&self.name), cause }))?;
                }
                turned = carrier.turn(&mut answers) => {
                    self.settle(&mut answers, carrier.unsent() == 0);
                    turned.map_err(CarrierEnded::from)?;
                }
                () = rung, if open => {}
                changed = stop.changed() => if changed.is_err() {
                    return Ok(Stop::Now);
                },
                () = sleep_until(wake_at) => {}
            }
        }
    }

    /// Sends what fits, unless the token that the carrier came to stand with ends soon; and when that changes. Once nothing is under
    /// way then, or when the token has ended, so has the carrier.
    fn fill_while_it_counts<C: Carrier>(
        &mut self,
        carrier: &mut C,
        mode: Stop,
    ) -> Result<(Stand, Option<Instant>), CarrierEnded<FaultOf<C>>> {
        let Some(life) = carrier.life().filter(|_| mode == Stop::Run) else {
            return Ok((self.fill(carrier, mode), None));
        };
        let now = Instant::now();
        if now < life.renews_at {
            Ok((self.fill(carrier, mode), Some(life.renews_at)))
        } else if self.in_flight() > 0 && now < life.ends_at {
            Ok((Stand::Full, Some(life.ends_at)))
        } else {
            Err(CarrierEnded::Renewal)
        }
    }

    /// Where no more comes before something is answered, nothing is to wait for it.
    fn press(&self, carrier: &mut impl Carrier, stand: Stand, mode: Stop) {
        let is_waited_for = matches!(stand, Stand::Full | Stand::Until(_));
        if is_waited_for || mode == Stop::Drain || self.judge.is_watchful() {
            carrier.press();
        }
    }

    /// When an answer is overdue, and when the connection counts as stalled; lost is one for which such a time has come.
    fn answer_deadlines<C: Carrier>(
        &mut self,
        carrier: &mut C,
        stand: Stand,
        mode: Stop,
    ) -> Result<[Option<Instant>; 2], CarrierEnded<FaultOf<C>>> {
        let overdue = self.overdue_at(carrier);
        if overdue.is_some_and(|at| at <= Instant::now()) {
            let due = Instant::now().checked_sub(self.patience());
            return Err(self.unanswered(carrier, due.unwrap_or(self.answered_at)));
        }
        let stalled_at = self
            .stalled_at(carrier, stand == Stand::Full)
            .filter(|_| mode == Stop::Run);
        if stalled_at.is_some_and(|at| at <= Instant::now()) {
            self.judge.stalled(Instant::now());
            self.scheduler.pass();
            return Err(self.unanswered(carrier, Instant::now()));
        }
        Ok([overdue, stalled_at])
    }

    /// Asks the disk again, some time after it did not have what it should have had.
    fn retry_disk(&mut self, at: &mut Option<Instant>) {
        if !self.pulls.iter().any(Pull::is_stuck) {
            *at = None;
            return;
        }
        let now = Instant::now();
        if *at.get_or_insert(now + DISK_RETRY) <= now {
            self.pulls.iter_mut().for_each(Pull::retry);
            *at = None;
        }
    }
}

pub(super) async fn any_read(pulls: &mut [Pull]) -> Result<(), JoinError> {
    poll_fn(|cx| {
        match pulls
            .iter_mut()
            .find_map(|pull| Some(pull.poll_read(cx)).filter(Poll::is_ready))
        {
            Some(read) => read,
            None => Poll::Pending,
        }
    })
    .await
}
