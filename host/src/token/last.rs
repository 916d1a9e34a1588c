//! The last token that was made: it is used while it is good, where no new one is to be had. No files, no clock.

use std::time::{Duration, Instant};

use crate::link::{Causes, FreshToken, SecretError};

/// A token with less left than this is not shown any more.
const LEAST_LEFT: Duration = Duration::from_secs(5);
/// When a new one is tried again at first, and at last: a key file that is being replaced is whole in a moment, and each try is a
/// connection that is opened anew.
const AGAIN: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));

#[derive(Debug, Default)]
pub(super) struct LastToken {
    last: Option<FreshToken>,
    /// Times in a row that no new one was to be had, and what was said of it.
    failed: u32,
    said: String,
}

impl LastToken {
    /// The one that was made; where none was, the last one as long as it is good. It is told once, with its cause.
    pub(super) fn or_last(
        &mut self,
        made: Result<FreshToken, SecretError>,
        now: Instant,
    ) -> Result<FreshToken, SecretError> {
        let error = match made {
            Ok(token) => {
                if self.failed > 0 {
                    tracing::info!("a new token could be made again");
                }
                *self = Self {
                    last: Some(token.clone()),
                    ..Self::default()
                };
                return Ok(token);
            }
            Err(error) => error,
        };
        let left = |last: &FreshToken| last.life.ends_at.saturating_duration_since(now);
        let Some(last) = self.last.as_mut().filter(|last| left(last) >= LEAST_LEFT) else {
            *self = Self::default();
            return Err(error);
        };
        let left = left(last);
        let cause = Causes(&error).to_string();
        if self.said != cause {
            let good_for = format!("{left:.0?}");
            tracing::warn!(
                cause,
                good_for,
                "no new token can be made: the last one is used while it is good, and it is tried again soon"
            );
            self.said = cause;
        }
        let times = 1_u32.checked_shl(self.failed).unwrap_or(u32::MAX);
        self.failed = self.failed.saturating_add(1);
        let pause = AGAIN.0.saturating_mul(times).min(AGAIN.1);
        last.life.renews_at = now + pause.min(left / 2);
        Ok(last.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::{FailureKind, TokenLife};

    #[test]
    fn the_last_one_is_used_while_it_is_good_and_a_new_one_is_tried_soon_and_ever_more_seldom() {
        let now = Instant::now();
        let hour = Duration::from_secs(3_600);
        let none = || Err(SecretError::token("half a key", FailureKind::Unread));
        let mut kept = LastToken::default();
        assert!(kept.or_last(none(), now).is_err(), "there was none");
        let token = FreshToken {
            text: "first".into(),
            life: TokenLife::of(hour, now, 0.0),
        };
        kept.or_last(Ok(token), now).unwrap();
        let renewed = now + Duration::from_secs(2_700);
        for seconds in [5, 10, 20, 40] {
            let given = kept.or_last(none(), renewed).unwrap();
            assert_eq!(&*given.text, "first");
            assert_eq!(given.life.ends_at, now + hour);
            assert_eq!(given.life.renews_at, renewed + Duration::from_secs(seconds));
        }
        let late = now + hour - Duration::from_secs(8);
        let given = kept.or_last(none(), late).unwrap();
        assert_eq!(given.life.renews_at, late + Duration::from_secs(4));
        assert!(kept.or_last(none(), late + LEAST_LEFT).is_err());
        assert!(
            kept.or_last(none(), now).is_err(),
            "it is not kept any more"
        );
    }
}
