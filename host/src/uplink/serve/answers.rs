//! What upstream's answers change.

use std::time::{Duration, Instant};

use super::Uplink;
use super::apart::COMPARISON;
use super::pull::{ReadPath, join, split};
use crate::clock::Now;
use crate::link::level;
use crate::message::Qos;
use crate::uplink::carrier::Answer;
use crate::uplink::carrier::Refusal;

/// How often a message that upstream has accepted is kept to be compared with.
const SAMPLE_EVERY: Duration = Duration::from_secs(5);

impl Uplink {
    /// Takes what upstream said; `taken` says that the socket has taken everything.
    pub(super) fn settle(&mut self, answers: &mut Vec<Answer>, taken: bool) {
        if answers.is_empty() && !self.has_sent_level_0() {
            return;
        }
        let now = Now::read();
        let instant = Instant::now();
        self.note_answer(&answers[..], instant);
        if !answers.is_empty() {
            self.answered_at = instant;
        }
        for answer in answers.drain(..) {
            match answer {
                Answer::Accepted { token: COMPARISON } => self.judge.compared(true, instant),
                Answer::Refused {
                    token: COMPARISON,
                    kind: Refusal::Quota,
                    ..
                } => self.judge.compared_too_soon(instant),
                Answer::Refused {
                    token: COMPARISON, ..
                } => self.judge.compared(false, instant),
                Answer::Accepted { token } => {
                    self.trace.accepted(token, now);
                    self.accept(token, now, instant);
                }
                Answer::Refused {
                    token,
                    kind,
                    reason,
                } => {
                    self.trace.refused(token, kind, &reason, now);
                    self.lay_aside(token, kind, reason, instant);
                }
            }
        }
        if taken {
            self.settle_level_0(now);
        }
        if let Some(due) = instant.checked_sub(self.late()) {
            self.pulls.iter_mut().for_each(|pull| pull.look(due));
        }
        self.park();
        self.forward();
        self.show();
    }

    /// The socket has taken everything: that is all there is to know of what is sent with level 0.
    fn settle_level_0(&mut self, now: Now) {
        for index in 0..self.pulls.len() {
            if self.levels[index] != Qos::AtMostOnce {
                continue;
            }
            let sent = self.pulls[index].waiting();
            if self.wanted[index] > Qos::AtMostOnce {
                self.meters.unacknowledged.inc_by(sent.end - sent.start);
            }
            for number in sent {
                self.trace.accepted(join(index, number), now);
                self.arrived(index, number, now);
            }
        }
    }

    fn accept(&mut self, token: u64, now: Now, instant: Instant) {
        let (index, number) = split(token);
        let Some(stored) = self.pulls.get(index).and_then(|pull| pull.message(number)) else {
            return;
        };
        let place = (index, stored.seq);
        if self
            .sample
            .as_ref()
            .is_none_or(|(.., at)| *at + SAMPLE_EVERY <= instant)
            && !stored.message.expires()
        {
            self.sample = Some((index, stored.clone(), instant));
        }
        self.window.accepted(self.under_way);
        self.under_way = self.under_way.saturating_sub(1);
        self.arrived(index, number, now);
        self.judge.accepted(place, instant);
    }

    fn arrived(&mut self, index: usize, number: u64, now: Now) {
        let Some(pull) = self.pulls.get_mut(index) else {
            return;
        };
        let meters = &self.meters;
        let largest = &mut self.largest;
        pull.accepted(number, |arrived, path, bytes| {
            *largest = bytes.max(*largest);
            // After a start of the machine the monotonic clock began anew: such a message says nothing.
            let Some(time) = now.uptime.checked_us_since(arrived) else {
                return;
            };
            let histogram = if path == ReadPath::Online {
                &meters.online
            } else {
                &meters.backlog
            };
            histogram.observe(Duration::from_micros(time).as_secs_f64());
        });
    }

    /// Tells the spool and the metrics what is done.
    pub(super) fn forward(&mut self) {
        let mut in_flight = 0;
        for (pull, forwarded) in self.pulls.iter_mut().zip(&self.forwarded) {
            forwarded.inc_by(pull.advance());
            in_flight += pull.in_flight();
        }
        self.meters.online.flush();
        self.meters.backlog.flush();
        self.meters.inflight.set(level(in_flight));
    }
}
