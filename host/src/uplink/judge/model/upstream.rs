//! An upstream that does as it is told.

use super::super::*;
use super::uplink::{COPY, ModelUplink};
use crate::message::Seq;

/// What upstream does about one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nature {
    Good,
    Final,
    /// Refused for now, so many times.
    Busy(u32),
    /// Always refused as too much.
    TooMuch,
    /// Over a limit that upstream announced, or over our own: it is not sent.
    Limit,
    Unfit,
    /// Refused for good, and the connection ends.
    FinalAndHangUp,
    HangUp,
    /// The connection ends, so long after the message came.
    LateHangUp(Duration),
    Silent,
}

/// How many upstream takes in a time; the others are refused as too much.
#[derive(Clone, Copy, Debug)]
pub(super) enum Grant {
    All,
    /// So many in each second, the first ones.
    OfEachSecond(u32),
    /// From a bucket of this depth, which fills at so many a second.
    Bucket(f64, f64),
}

impl ModelUplink {
    /// Whether upstream takes one more now.
    fn is_granted(&mut self) -> bool {
        let time = self.now - self.start;
        if time < self.starves_until {
            return false;
        }
        let (most, filled) = match self.grant {
            Grant::All => return true,
            Grant::OfEachSecond(most) => {
                let is_next = time.as_secs() > (self.filled - self.start).as_secs();
                let most = f64::from(most);
                (most, if is_next { most } else { 0.0 })
            }
            Grant::Bucket(depth, rate) => (depth, rate * (self.now - self.filled).as_secs_f64()),
        };
        self.tokens = (self.tokens + filled).min(most);
        self.filled = self.now;
        let is_granted = self.tokens >= 1.0;
        self.tokens -= if is_granted { 1.0 } else { 0.0 };
        is_granted
    }

    /// What upstream says; where it ends the connection, the first message then without an answer.
    pub(super) fn answer(&mut self, index: usize) -> Result<(), Option<usize>> {
        if self.now - self.start < self.refuses_all_until {
            match index {
                COPY => self.judge.compared(false, self.now),
                _ => self.refuse(index, Refusal::Final),
            }
            return Ok(());
        }
        let nature = self.messages.get(index).map(|message| message.1);
        let is_taken = matches!(nature, None | Some(Nature::Good | Nature::Busy(_)));
        if is_taken && !self.is_granted() {
            if self.ends_over_grant {
                self.is_too_much = true;
                return Err((index != COPY).then_some(index));
            }
            match index {
                COPY => self.judge.compared_too_soon(self.now),
                _ => self.refuse(index, Refusal::Quota),
            }
            return Ok(());
        }
        if index == COPY {
            self.judge.compared(true, self.now);
            return Ok(());
        }
        let (_, nature, refused) = &mut self.messages[index];
        match nature {
            Nature::Busy(times) if *refused < *times => {
                *refused += 1;
                self.refuse(index, Refusal::Busy);
            }
            Nature::Good | Nature::Busy(_) => {
                self.open = self.open.saturating_add(1);
                self.delivered.entry(index).or_insert(self.now - self.start);
                self.order.push(index);
                self.judge.accepted((0, Seq(index as u64)), self.now);
            }
            Nature::Final | Nature::Limit | Nature::Unfit => self.refuse(index, Refusal::Final),
            Nature::TooMuch => self.refuse(index, Refusal::Quota),
            Nature::FinalAndHangUp => {
                self.refuse(index, Refusal::Final);
                return Err(self.under_way.front().map(|(index, _)| *index));
            }
            Nature::HangUp | Nature::LateHangUp(_) | Nature::Silent => {
                self.is_too_much = self.ends_over_grant;
                return Err(Some(index));
            }
        }
        Ok(())
    }

    /// How long upstream takes for an answer, if there is one.
    pub(super) fn takes(&self, index: usize) -> Option<Duration> {
        match self.messages.get(index).map(|message| message.1) {
            Some(Nature::Silent) => None,
            Some(Nature::LateHangUp(time)) => Some(time),
            _ => Some(self.round_trip),
        }
    }
}
