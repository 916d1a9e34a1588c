//! The measuring: batches of each size through an instance of its own, warm, in rounds; of two plugins in turn.
//!
//! Times are of the processor, as the limit of a call is: what others do on the machine does not count.

use std::time::Duration;

use super::figures::RoundSpread;
use crate::chain::{Config, Engine, Fault, Hop, HopAnswers};
use crate::cli::plugin::rig::{RigError, refusal};
use crate::clock::thread_cpu;
use crate::message::{Message, MessageId};

/// Messages in a batch: one that comes by itself, a burst, and a lane that has fallen behind.
pub(super) const SIZES: [usize; 3] = [1, 16, 256];

/// Before it counts: code, caches and the plugin's own tables are warm then.
const WARM_UP: Duration = Duration::from_millis(200);

/// A round takes so long: the ends of it are nothing beside that.
const ROUND: Duration = Duration::from_millis(40);

/// What batches of one size cost.
#[derive(Clone, Debug)]
pub(super) struct SizeFigures {
    /// Nanoseconds of the processor that a message took, of each round.
    pub(super) rounds: Vec<f64>,
    /// Their median, and what the middle half of them lies between.
    pub(super) ns_per_message: RoundSpread,
    /// The longest batch of the warm-up, in which each is timed, the first one included.
    pub(super) longest: Duration,
    /// The most linear memory that was seen, bytes.
    pub(super) memory_bytes: usize,
    /// What it did with each message of the sample once.
    pub(super) answers: HopAnswers,
}

/// Figures, or why there are none, in the plugin's words or the sandbox's.
pub(super) type Measured = Result<SizeFigures, String>;

/// Measures `plugins` with batches of `size`, a round of each in turn.
pub(super) fn measure(
    plugins: &[&Config],
    engine: &Engine,
    sample: &[Message],
    (size, rounds): (usize, usize),
) -> Result<Vec<Measured>, RigError> {
    let around = around(sample);
    let mut runners = Vec::new();
    for config in plugins {
        runners.push(Runner::start(config, engine, (sample, &around), size)?);
    }
    for round in 0..rounds {
        // Who comes second finds the machine as the first one left it.
        let order: Vec<usize> = if round % 2 == 0 {
            (0..runners.len()).collect()
        } else {
            (0..runners.len()).rev().collect()
        };
        for index in order {
            runners[index] = std::mem::replace(&mut runners[index], Err(String::new()))
                .and_then(|runner| runner.round(&around).map_err(|fault| failed(&fault)));
        }
    }
    Ok(runners
        .into_iter()
        .map(|runner| runner.and_then(Runner::finish))
        .collect())
}

/// The sample again and again, as long as makes whole batches of each size.
fn around(sample: &[Message]) -> Vec<Message> {
    let largest = SIZES[SIZES.len() - 1];
    let length = sample
        .len()
        .max(super::messages::MOST)
        .next_multiple_of(largest);
    sample.iter().cycle().take(length).cloned().collect()
}

/// A plugin at work on batches of one size.
struct Runner {
    hop: Hop,
    size: usize,
    /// Where in the messages the next batch begins.
    next: usize,
    batches: usize,
    answers: HopAnswers,
    longest: Duration,
    memory_bytes: usize,
    rounds: Vec<f64>,
}

impl Runner {
    /// A warm one. The inner error is the plugin's.
    fn start(
        config: &Config,
        engine: &Engine,
        (sample, around): (&[Message], &[Message]),
        size: usize,
    ) -> Result<Result<Self, String>, RigError> {
        let hop = match Hop::routed(config, engine) {
            Ok(hop) => hop,
            Err(error) => return refusal(error).map(|outcome| Err(outcome.show())),
        };
        let mut runner = Self {
            hop,
            size,
            next: 0,
            batches: 0,
            answers: HopAnswers::default(),
            longest: Duration::ZERO,
            memory_bytes: 0,
            rounds: Vec::new(),
        };
        let warmed = runner
            .look(sample)
            .and_then(|()| runner.warm_up(around))
            .map_err(|fault| failed(&fault));
        Ok(warmed.map(|()| runner))
    }

    /// Each message once: what it does with them.
    fn look(&mut self, sample: &[Message]) -> Result<(), Fault> {
        for batch in sample.chunks(self.size) {
            let begun = thread_cpu();
            let answers = self.hop.look(batch)?;
            self.note(begun);
            self.answers.outputs += answers.outputs;
            self.answers.absorbed += answers.absorbed;
            self.answers.rejected += answers.rejected;
            if self.answers.reason.is_none() {
                self.answers.reason = answers.reason;
            }
        }
        Ok(())
    }

    fn warm_up(&mut self, around: &[Message]) -> Result<(), Fault> {
        let begun = thread_cpu();
        let mut batches: u32 = 0;
        let mut taken = Duration::ZERO;
        while taken < WARM_UP {
            let at = thread_cpu();
            self.batch(around)?;
            self.note(at);
            batches = batches.saturating_add(1);
            taken = thread_cpu().saturating_sub(begun);
        }
        let each = taken / batches.max(1);
        self.batches = (ROUND.as_nanos() / each.as_nanos().max(1)).clamp(1, 1 << 24) as usize;
        Ok(())
    }

    /// A batch that began at `begun` has ended.
    fn note(&mut self, begun: Duration) {
        self.longest = self.longest.max(thread_cpu().saturating_sub(begun));
        self.memory_bytes = self.memory_bytes.max(self.hop.memory_bytes());
    }

    fn batch(&mut self, around: &[Message]) -> Result<(), Fault> {
        self.hop.run(&around[self.next..self.next + self.size])?;
        self.next = (self.next + self.size) % around.len();
        Ok(())
    }

    fn round(mut self, around: &[Message]) -> Result<Self, Fault> {
        self.hop.look_at_the_clock();
        let begun = thread_cpu();
        for _ in 0..self.batches {
            self.batch(around)?;
        }
        let taken = thread_cpu().saturating_sub(begun);
        self.memory_bytes = self.memory_bytes.max(self.hop.memory_bytes());
        self.rounds
            .push(taken.as_nanos() as f64 / (self.batches * self.size) as f64);
        Ok(self)
    }

    fn finish(self) -> Measured {
        let HopAnswers {
            outputs, absorbed, ..
        } = self.answers;
        // What it does not take is no work of it.
        if let (Some(reason), 0, 0) = (&self.answers.reason, outputs, absorbed) {
            return Err(format!("rejected {reason}"));
        }
        let ns_per_message =
            RoundSpread::of(self.rounds.clone()).ok_or_else(|| "no round was run".to_owned())?;
        Ok(SizeFigures {
            rounds: self.rounds,
            ns_per_message,
            longest: self.longest,
            memory_bytes: self.memory_bytes,
            answers: self.answers,
        })
    }
}

fn failed(fault: &Fault) -> String {
    format!("failed {}", fault.detail())
}

/// Messages as they are when they have come in just now.
pub(super) fn arrived(messages: Vec<Message>, engine: &Engine) -> Vec<Message> {
    let now = engine.clock().now();
    (1..)
        .zip(messages)
        .map(|(seq, message)| Message {
            id: MessageId { boot: 1, seq },
            received: now.wall,
            uptime: now.uptime,
            ..message
        })
        .collect()
}
