//! A panic of the host's own code takes one stage: its receipts fall unsettled, so nothing acknowledged depends
//! on it, and the stage is started afresh. Three in a minute end the process, for the service manager to start
//! it afresh as a whole.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::{Duration, Instant};

use prometheus::IntCounter;
use tokio::task::JoinSet;

use crate::uplink;

/// So many crashes within [`WINDOW`] are one too many.
const LIMIT: usize = 3;
const WINDOW: Duration = Duration::from_secs(60);

/// Counts the crashes of one stage.
#[derive(Debug, Default)]
pub struct Crashes(VecDeque<Instant>);

impl Crashes {
    /// Notes a crash at `now`; whether the stage may be started again.
    pub fn another_try(&mut self, now: Instant) -> bool {
        self.0.retain(|crash| now.duration_since(*crash) < WINDOW);
        self.0.push_back(now);
        self.0.len() < LIMIT
    }
}

/// A stage that ended though nobody asked it to.
#[derive(Debug, thiserror::Error)]
pub enum StageFailed {
    /// A source; nothing but a panic ends it.
    #[error(transparent)]
    Source(#[from] StageEnded<Infallible>),
    #[error(transparent)]
    Uplink(#[from] StageEnded<uplink::Error>),
    /// There is no thread to be had for those with priority.
    #[error("no thread for connections with priority")]
    Thread(#[from] std::io::Error),
}

/// The tasks of sources or of uplinks.
pub(super) type Tasks = JoinSet<Result<(), StageFailed>>;

/// How a stage ended that will not be started again.
#[derive(Debug, thiserror::Error)]
pub enum StageEnded<E: std::error::Error + 'static> {
    /// By its own word.
    #[error("{stage} ended")]
    Failed {
        /// `source field`, `uplink cloud`.
        stage: String,
        source: E,
    },
    /// Three panics in a minute.
    #[error(
        "{stage} crashed {LIMIT} times in a minute; this is a fault in tidegate, please report the lines above"
    )]
    Crashed {
        /// `source field`, `uplink cloud`.
        stage: String,
    },
}

/// Runs a stage, and again after a panic.
pub async fn keep<E, F>(
    stage: String,
    crashes: IntCounter,
    mut start: impl FnMut() -> F,
) -> Result<(), StageEnded<E>>
where
    E: std::error::Error + Send + 'static,
    F: Future<Output = Result<(), E>> + Send + 'static,
{
    let mut history = Crashes::default();
    loop {
        match tokio::spawn(start()).await {
            Ok(result) => return result.map_err(|source| StageEnded::Failed { stage, source }),
            Err(end) if end.is_panic() => {
                crashes.inc();
                tracing::error!(
                    stage,
                    "the stage crashed; what it held unsettled will be sent again by the broker"
                );
                if !history.another_try(Instant::now()) {
                    return Err(StageEnded::Crashed { stage });
                }
            }
            Err(_) => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter() -> IntCounter {
        IntCounter::new("crashes", "for the test").unwrap()
    }

    #[test]
    fn three_crashes_in_a_minute_are_too_many_and_older_ones_are_forgotten() {
        let start = Instant::now();
        let mut crashes = Crashes::default();
        assert!(crashes.another_try(start));
        assert!(crashes.another_try(start + Duration::from_secs(30)));
        assert!(crashes.another_try(start + Duration::from_secs(65)));
        assert!(!crashes.another_try(start + Duration::from_secs(66)));
    }

    #[tokio::test]
    async fn a_crashed_stage_is_started_again_and_its_end_is_told() {
        let (crashes, mut starts) = (counter(), 0);
        let ended = keep("source field".into(), crashes.clone(), || {
            starts += 1;
            let crash = starts == 1;
            async move {
                assert!(!crash, "the stage is made to crash once");
                Err(std::io::Error::other("gone"))
            }
        });
        assert!(matches!(ended.await, Err(StageEnded::Failed { .. })));
        assert_eq!(crashes.get(), 1);
    }

    #[tokio::test]
    async fn a_stage_that_keeps_crashing_ends_the_process() {
        let crashes = counter();
        let ended = keep::<std::io::Error, _>("uplink cloud".into(), crashes.clone(), || async {
            panic!("always")
        });
        assert!(matches!(ended.await, Err(StageEnded::Crashed { .. })));
        assert_eq!(crashes.get(), 3);
    }
}
