//! One poll: the requests of a group, one after the other, each tried again where that may help.

use std::time::Instant;

use prometheus::IntCounter;

use super::Config;
use super::frame::{AnswerFault, Exception, Meaning, ReadRequest};
use super::line::{Line, LineDialler, LineError};
use super::map::{Device, PointGroup};
use super::plan::ReadRound;
use crate::link::Dial;

/// Why a poll came to nothing.
#[derive(Debug)]
pub(super) enum PollFailed {
    /// The station is to blame, as far as can be told.
    Station(AnswerFault),
    /// The other end hangs up whenever this station is asked, or any is.
    HungUp(AnswerFault),
    /// There is no line any more.
    Line(LineError),
}

/// What a poll is made with.
pub(super) struct Poller<'a> {
    pub(super) own: &'a Config,
    pub(super) dialler: &'a LineDialler,
    pub(super) line: &'a mut Line,
    /// For each of [`AnswerFault::NAMES`].
    pub(super) answers: &'a [IntCounter],
}

impl Poller<'_> {
    /// Asks for all of `round`. A station that is not trusted gets one try.
    pub(super) async fn poll(
        &mut self,
        device: &Device,
        group: &PointGroup,
        round: ReadRound,
        is_trusted: bool,
    ) -> Result<ReadRound, PollFailed> {
        let retries = if is_trusted { self.own.retries } else { 0 };
        let asked = self.ask_all(device, group, round, retries);
        let deadline = Instant::now() + group.within;
        match tokio::time::timeout_at(deadline.into(), Box::pin(asked)).await {
            Ok(polled) => polled,
            Err(_) => {
                let late = AnswerFault::Late(group.within);
                self.count(late.name());
                Err(PollFailed::Station(late))
            }
        }
    }

    async fn ask_all(
        &mut self,
        device: &Device,
        group: &PointGroup,
        mut round: ReadRound,
        retries: u32,
    ) -> Result<ReadRound, PollFailed> {
        let points = &group.points;
        while let Some(part) = round.next() {
            let ask = ReadRequest {
                station: device.station,
                area: part.1.area,
                address: part.1.address,
                count: part.1.count,
            };
            match self.ask(ask, retries).await? {
                Ok(data) => round.answered(points, part, &data),
                Err(exception) if exception.meaning() == Meaning::Never => {
                    round.refused(
                        points,
                        part,
                        exception.name(),
                        exception.is_of_the_function(),
                    );
                }
                Err(exception) => round.failed(&part.1, exception.name()),
            }
        }
        Ok(round)
    }

    async fn ask(
        &mut self,
        ask: ReadRequest,
        retries: u32,
    ) -> Result<Result<Vec<u8>, Exception>, PollFailed> {
        let mut left = retries;
        let mut is_anew = false;
        loop {
            if self.line.is_spent() {
                let anew = self.dialler.dial(0).await.map_err(PollFailed::Line)?;
                *self.line = anew.after(self.line.leave());
                is_anew = true;
            }
            let fault = match self.line.ask(ask, self.own.timeout).await {
                Ok(data) => {
                    self.count(AnswerFault::NAMES[0]);
                    return Ok(Ok(data));
                }
                Err(fault) => fault,
            };
            self.count(fault.name());
            match fault {
                AnswerFault::Refused(exception) if exception.meaning() != Meaning::NotThere => {
                    return Ok(Err(exception));
                }
                AnswerFault::Broken(_) if !self.line.is_connection() => {
                    return Err(PollFailed::Line(self.dialler.lost(fault)));
                }
                AnswerFault::Broken(_) => {
                    self.line.spend();
                    // Many devices end a connection that has been idle, and one that was of use is worth a second try.
                    if is_anew || !self.line.has_answered() {
                        return Err(PollFailed::HungUp(fault));
                    }
                }
                _ if left == 0 => return Err(PollFailed::Station(fault)),
                _ => left -= 1,
            }
        }
    }

    fn count(&self, name: &str) {
        let index = AnswerFault::NAMES.iter().position(|known| *known == name);
        index
            .into_iter()
            .for_each(|index| self.answers[index].inc());
    }
}
