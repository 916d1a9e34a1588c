//! Over Modbus: asks devices for their registers in turn; each reading of a group is a message.
//!
//! **In**: what devices answer, over TCP, on a serial line, or through a serial server. **Out**: as every source; the topic is the
//! group's, the payload JSON: `ts`, `values`, and where there are any `units`, `errors`, `stale`.
//!
//! **Promised**
//! - One request at a time, each with a deadline. What is no answer to it (late, short, garbled, foreign, malformed) is never taken
//!   for one: over TCP by its number, on a line since its station is not asked again before its answer is too late by a timeout.
//! - What could not be read is told: in the message, as a stale one, or in a metric with its reason. A poll that is late is left out
//!   and counted; one for which there is no room is in the ledger, too. Nothing is queued.
//! - A device that is silent, or at whose name the other end hangs up, does not take the others' time: it is asked now and then.
//! - A value that the device refuses costs itself.
//! - A reading that was taken is as safe as any message, and those of a device keep their order.
//!
//! **Not promised**: that the values of a group are of one moment, where they take several requests; a reading that was on its way
//! in when the gateway ended; writing.
//!
//! - `map`: what is where; `plan`: in which requests; `frame`: those as bytes; `decode`, `decimal`: from bytes to values; `message`:
//!   from values to JSON; `breaker`, `station`: when each is asked. All without sockets, and with the time as an argument.
//! - `line`: a line as [`crate::link`] holds it; `poll`: one poll on it; `desk`: all devices, and the taker.

mod breaker;
mod decimal;
mod decode;
mod desk;
mod frame;
mod line;
mod map;
mod message;
mod plan;
mod poll;
mod settings;
mod station;
#[cfg(test)]
mod tests;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use prometheus::IntCounter;
use tokio::sync::{Notify, watch};

pub use decimal::Decimal;
pub use frame::Framing;
pub use map::{Area, ByteOrder, Device, Point, PointGroup, ReportMode, Size, ValueFormat};
pub use settings::{Config, ModbusAddress};

use super::taker::Borders;
use crate::clock::{Now, sleep_until};
use crate::link::{Dial, Redial, Stop};
use desk::{GroupIndex, NextPoll, PollScheduler};
use frame::AnswerFault;
use line::{Line, LineDialler, LineError, Owed};
use poll::{PollFailed, Poller};

/// Asks until `stop` says otherwise.
pub(super) async fn run(
    config: &super::Config,
    own: &Config,
    borders: Borders,
    metrics: &super::Metrics,
    mut stop: watch::Receiver<Stop>,
) {
    let mut redial = Redial::new(
        LineDialler::new(own),
        "source",
        Arc::clone(&config.name),
        &metrics.link,
    );
    let answers = AnswerFault::NAMES.map(|name| metrics.requests(&config.name, name));
    let desk = PollScheduler::new(config, own, borders, metrics, Instant::now());
    let mut service = ModbusSource {
        own,
        desk,
        answers: &answers,
    };
    let mut owed = Owed::default();
    while let Some(line) = service.dial(&mut redial, &mut stop).await {
        let mut line = line.after(owed);
        let failures_before = redial.stands();
        tracing::info!(source = %config.name, address = %own.address, failures_before, "the line stands");
        service.desk.line_stands(Instant::now());
        match service.serve(&mut line, &mut redial, &mut stop).await {
            Some(error) => redial.lost(&error),
            None => break,
        }
        owed = line.leave();
    }
    service.leave(&mut stop).await;
    redial.left();
}

/// Whether there is a line, in words; nothing is asked on it. A serial one is looked at and not opened: a gateway that runs would
/// lose an answer by it.
///
/// # Errors
/// Why not, in words.
pub(super) async fn reach(config: &Config) -> Result<String, String> {
    if let ModbusAddress::Serial(serial) = &config.address {
        let found = std::fs::metadata(&serial.path);
        let found = found.map(|_| "the line is there; it was not opened".to_owned());
        return found.map_err(|cause| format!("{}: {cause}", crate::link::serial_problem(&cause)));
    }
    let dialled = LineDialler::new(config).dial(0).await;
    dialled
        .map(|_| "the line stands; no device was asked".to_owned())
        .map_err(|error| crate::link::Causes(&error).to_string())
}

/// A source that asks.
struct ModbusSource<'a> {
    own: &'a Config,
    desk: PollScheduler,
    answers: &'a [IntCounter],
}

impl ModbusSource<'_> {
    /// Waits for a line; what is due meanwhile has failed, once an attempt has. `None` when told to stop.
    async fn dial(
        &mut self,
        redial: &mut Redial<LineDialler>,
        stop: &mut watch::Receiver<Stop>,
    ) -> Option<Line> {
        let no_line = AnswerFault::Broken("there is no line".to_owned());
        let settled = self.desk.settled();
        let (is_down, failed) = (AtomicBool::new(redial.stood_before()), Notify::new());
        let mut dialled = pin!(redial.connect_or(stop, || {
            is_down.store(true, Ordering::Relaxed);
            failed.notify_one();
        }));
        loop {
            self.desk.settle(false);
            let now = Instant::now();
            let until = match self.desk.next(now, false) {
                _ if !is_down.load(Ordering::Relaxed) => None,
                NextPoll::Poll(place) => {
                    if self.desk.begin(place, now).is_some() {
                        self.desk.cut_off(place, &no_line, (now, Now::read()));
                    }
                    continue;
                }
                NextPoll::WaitUntil(until) => until,
            };
            tokio::select! {
                biased;
                line = &mut dialled => return line,
                () = failed.notified() => {}
                () = settled.changed() => {}
                () = sleep_until(until) => {}
            }
        }
    }

    /// Asks whatever is due until told to stop, or until the line is lost, and to what.
    async fn serve(
        &mut self,
        line: &mut Line,
        redial: &mut Redial<LineDialler>,
        stop: &mut watch::Receiver<Stop>,
    ) -> Option<LineError> {
        let settled = self.desk.settled();
        loop {
            if *stop.borrow_and_update() != Stop::Run {
                return None;
            }
            self.desk.settle(false);
            let now = Instant::now();
            match self.desk.next(now, true) {
                NextPoll::Poll(place) => {
                    let polled = tokio::select! {
                        biased;
                        changed = stop.changed() => match changed {
                            Ok(()) => continue,
                            Err(_) => return None,
                        },
                        polled = Box::pin(self.poll(place, line, redial.dialled())) => polled,
                    };
                    if line.has_answered() {
                        redial.worked();
                    }
                    if polled.is_some() {
                        return polled;
                    }
                }
                NextPoll::WaitUntil(until) => tokio::select! {
                    changed = stop.changed() => if changed.is_err() {
                        return None;
                    },
                    () = settled.changed() => {}
                    () = sleep_until(until) => {}
                },
            }
        }
    }

    /// One poll; if that showed that the line is lost, to what.
    async fn poll(
        &mut self,
        place: GroupIndex,
        line: &mut Line,
        dialler: &LineDialler,
    ) -> Option<LineError> {
        let (own, answers) = (self.own, self.answers);
        let round = self.desk.begin(place, Instant::now())?;
        let station = &self.desk.stations[place.0];
        let (device, is_trusted) = (&station.device, station.breaker.is_trusted());
        let mut poller = Poller {
            own,
            dialler,
            line,
            answers,
        };
        let polled = poller
            .poll(device, &device.groups[place.1], round, is_trusted)
            .await;
        let at = (Instant::now(), Now::read());
        match polled {
            Ok(round) => self.desk.answered(place, round, at),
            Err(PollFailed::Station(fault)) => self.desk.failed(place, &fault, at),
            Err(PollFailed::HungUp(fault)) => {
                self.desk.failed(place, &fault, at);
                let is_of_use = self.desk.has_working_station();
                return (!is_of_use).then(|| dialler.lost(fault));
            }
            Err(PollFailed::Line(error)) => {
                let cause = crate::link::Causes(&error).to_string();
                self.desk.cut_off(place, &AnswerFault::Broken(cause), at);
                return Some(error);
            }
        }
        None
    }

    /// Waits until all that was taken is settled, or for the end.
    async fn leave(&mut self, stop: &mut watch::Receiver<Stop>) {
        self.desk.cease();
        let settled = self.desk.settled();
        loop {
            self.desk.settle(true);
            if self.desk.is_empty() || *stop.borrow_and_update() == Stop::Now {
                return;
            }
            tokio::select! {
                changed = stop.changed() => if changed.is_err() {
                    return;
                },
                () = settled.changed() => {}
            }
        }
    }
}
