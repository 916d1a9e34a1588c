//! A chain run off-line on what was recorded of it, as it is and with a candidate: what would have differed?
//!
//! Time is the recording's, lanes are no threads, and state begins empty, so two runs over the same recording give the
//! same bytes unless a limit of time was met, which is told. Ticks come when they were recorded; a version that asks for
//! another interval than the recorded one gets its own, counted from the first event.

pub(super) mod dry_run;
pub(super) mod hop;
mod side;

use serde::Serialize;

use super::Error;
use super::metrics::Fate;
use super::settings::Config;
use crate::chain::lane::item::NO_ORIGIN;
use crate::chain::lane::outbox::BatchEnds;
use crate::chain::lane::slot::lane_of;
use crate::chain::lane::trial::compare::{Comparison, Effect, InputOutcome};
use crate::chain::sandbox::beside::beside;
use crate::chain::sandbox::engine::Engine;
use crate::clock::Now;
use crate::message::{DeadLetter, Message, Reason};
pub use side::{Player, Ran};
use side::{ReplaySide, target_name};

/// What a replay came to.
#[derive(Clone, Debug, Serialize)]
pub struct Score {
    /// The chain as it is.
    pub old: Ran,
    /// The chain with the candidate.
    pub new: Option<Ran>,
    pub comparison: Option<Comparison>,
}

/// Runs `work` on a thread with room for a guest's stack.
///
/// # Errors
/// There is no thread to be had.
pub fn offline<R: Send>(engine: &Engine, work: impl FnOnce() -> R + Send) -> Result<R, Error> {
    beside(
        engine,
        tokio::runtime::Handle::try_current().ok().as_ref(),
        || Ok(work()),
    )
}

/// A replay under way.
pub struct Replay {
    player: Player,
    old: ReplaySide,
    new: Option<ReplaySide>,
    comparison: Comparison,
}

impl Replay {
    /// Loads and configures the chain, and that with the candidate. Run it in [`offline`].
    ///
    /// # Errors
    /// The first plugin that cannot be used.
    pub fn new(
        mut player: Player,
        old: &Config,
        new: Option<&Config>,
        engine: &Engine,
    ) -> Result<Self, Error> {
        let side = |config: &Config, lanes| {
            ReplaySide::new(
                &Config {
                    lanes,
                    ..config.clone()
                },
                &Player {
                    lanes,
                    ..player.clone()
                },
                engine,
            )
        };
        let both = |lanes| {
            Ok::<_, Error>((
                side(old, lanes)?,
                new.map(|new| side(new, lanes)).transpose()?,
            ))
        };
        let (mut old_side, mut new_side) = both(player.lanes)?;
        // Where one of the two needs a single lane, both get it: the same inputs are compared.
        if player.lanes > 1
            && (old_side.lanes() == 1 || new_side.as_ref().is_some_and(|new| new.lanes() == 1))
        {
            (old_side, new_side) = both(1)?;
            player.lanes = 1;
        }
        Ok(Self {
            player,
            old: old_side,
            new: new_side,
            comparison: Comparison::default(),
        })
    }

    /// Runs a batch.
    ///
    /// # Errors
    /// No instance of a plugin can be made any more.
    pub fn batch(&mut self, now: Now, messages: Vec<Message>) -> Result<(), Error> {
        let lanes = self.player.lanes;
        if lanes == 1 {
            return self.part(0, now, &messages);
        }
        let mut parts: Vec<Vec<Message>> = Vec::new();
        parts.resize_with(lanes, Vec::new);
        for message in messages {
            parts[lane_of(message.key(), lanes)].push(message);
        }
        let mut parts = parts
            .into_iter()
            .enumerate()
            .filter(|(_, part)| !part.is_empty());
        parts.try_for_each(|(lane, part)| self.part(lane, now, &part))
    }

    fn part(&mut self, lane: usize, now: Now, messages: &[Message]) -> Result<(), Error> {
        for side in self.sides() {
            side.catch_up(now)?;
            side.run(lane, now, messages)?;
        }
        self.compare_ticks(now);
        let bounds = self.player.bounds;
        let queues = &self.player.queues;
        let Some(new) = &self.new else { return Ok(()) };
        for (index, message) in (0..).zip(messages) {
            let old = made(&self.old.ends, index, queues);
            let new = made(&new.ends, index, queues);
            self.comparison.input(bounds, message, old, new);
        }
        Ok(())
    }

    /// Lane number `lane` of the recording told plugin number `plugin` the time.
    ///
    /// # Errors
    /// As [`Replay::batch`].
    pub fn tick(&mut self, lane: usize, plugin: usize, now: Now) -> Result<(), Error> {
        let lanes = self.player.lanes;
        let recorded = self.player.recorded_lanes;
        // A lane the recording has not gets the ticks of the first.
        let told = (0..lanes).filter(|own| *own == lane || (*own >= recorded && lane == 0));
        for own in told {
            for side in self.sides() {
                side.catch_up(now)?;
                side.tick_as_recorded(own, plugin, now)?;
            }
            self.compare_ticks(now);
        }
        Ok(())
    }

    fn compare_ticks(&mut self, now: Now) {
        let bounds = self.player.bounds;
        let queues = &self.player.queues;
        if let Some(new) = &self.new {
            let old = made(&self.old.ticked, NO_ORIGIN, queues);
            let new = made(&new.ticked, NO_ORIGIN, queues);
            self.comparison.outputs(bounds, now.wall, old, new);
        }
        self.sides()
            .for_each(|side| side.ticked = BatchEnds::default());
    }

    fn sides(&mut self) -> impl Iterator<Item = &mut ReplaySide> {
        std::iter::once(&mut self.old).chain(&mut self.new)
    }

    /// What was found so far; its samples can be taken out on the way.
    pub fn comparison(&mut self) -> &mut Comparison {
        &mut self.comparison
    }

    /// What it came to.
    pub fn finish(self) -> Score {
        let compared = self.new.is_some();
        Score {
            old: self.old.finish(),
            new: self.new.map(ReplaySide::finish),
            comparison: compared.then_some(self.comparison),
        }
    }
}

/// What became of input number `origin`.
fn made<'a>(
    ends: &'a BatchEnds,
    origin: u32,
    queues: &'a [String],
) -> impl Iterator<Item = Effect<'a>> + Clone {
    let leaving = of(&ends.leaving, origin).iter();
    let leaving = leaving.map(move |(_, leaving)| {
        Effect::sent(&leaving.message, target_name(queues, &leaving.target))
    });
    let letters = of(&ends.letters, origin)
        .iter()
        .map(|(_, letter)| letter_made(letter));
    let absorbed = ends.fates.get(origin as usize) == Some(&Fate::Absorbed);
    leaving
        .chain(letters)
        .chain(absorbed.then(|| Effect::ended(InputOutcome::Absorbed, b"")))
}

fn of<T>(list: &[(u32, T)], origin: u32) -> &[(u32, T)] {
    let start = list.partition_point(|(of, _)| *of < origin);
    let end = start + list[start..].partition_point(|(of, _)| *of == origin);
    &list[start..end]
}

fn letter_made(letter: &DeadLetter) -> Effect<'_> {
    let outcome = if letter.reason == Reason::Rejected {
        InputOutcome::Rejected
    } else {
        InputOutcome::Failed
    };
    Effect::ended(outcome, letter.detail.as_bytes())
}
