//! What keeps connections from being in use: the cause, since when, and when they are tried next, for those who ask; and
//! which causes are worth a line in the log.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::reconnect::STABLE;

/// A cause that lasts is said again so often.
const REPEAT: Duration = Duration::from_secs(3_600);

/// Causes that take turns are each said so often: a link that fails now so and now so must not fill the log.
const TURN: Duration = Duration::from_secs(600);

/// A cause that has returned is said when it alone has lasted so long, so that the last line is true; twice as long each time, up
/// to [`TURN`].
const RETURN: Duration = Duration::from_secs(1);

/// Causes that are remembered.
const CAUSES: usize = 8;

/// Why a connection is not in use, or was not until a moment ago.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// In words, on one line.
    pub cause: String,
    /// Since when the connection has not been in use for long.
    pub since: Instant,
    /// When it is tried next; `None` while it is being tried, or stands again.
    pub next_try: Option<Instant>,
    /// Since when it stands again; it is told for a while longer, since it may not last.
    pub online: Option<Instant>,
}

impl Trouble {
    /// A failure by `cause`; a new attempt is made at `next_try`.
    pub(super) fn new(cause: String, since: Instant, next_try: Instant) -> Self {
        Self {
            cause,
            since,
            next_try: Some(next_try),
            online: None,
        }
    }
}

/// The name of a source or uplink, and the client id of its connection.
pub(super) type ConnectionKey = (Arc<str>, String);

/// The troubles of all connections of one kind, each in the name of its source or uplink.
#[derive(Clone, Debug, Default)]
pub(super) struct Troubles(Arc<Mutex<BTreeMap<ConnectionKey, Trouble>>>);

impl Troubles {
    /// The longest trouble among the connections of `name`.
    pub(super) fn of(&self, name: &str, now: Instant) -> Option<Trouble> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |trouble: &Trouble| {
            trouble
                .online
                .is_some_and(|since| now.saturating_duration_since(since) >= STABLE)
        };
        let of_name = all
            .iter()
            .filter(|((known, _), trouble)| &**known == name && !is_over(trouble));
        of_name
            .map(|(_, trouble)| trouble)
            .min_by_key(|trouble| trouble.since)
            .cloned()
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<ConnectionKey, Trouble>)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Where one connection tells its trouble; taken back at the end.
#[derive(Debug)]
pub(super) struct TroubleNotice {
    board: Troubles,
    key: ConnectionKey,
}

impl TroubleNotice {
    /// Of the connection `client_id` of `name`.
    pub(super) fn on(board: &Troubles, name: Arc<str>, client_id: String) -> Self {
        Self {
            board: board.clone(),
            key: (name, client_id),
        }
    }

    pub(super) fn post(&self, trouble: Trouble) {
        self.board.change(|all| {
            all.insert(self.key.clone(), trouble);
        });
    }

    /// It is tried now.
    pub(super) fn trying(&self) {
        self.board.change(|all| {
            all.get_mut(&self.key)
                .into_iter()
                .for_each(|trouble| trouble.next_try = None)
        });
    }

    /// It stands. What ended the last one is forgotten when this one has lasted.
    pub(super) fn online(&self, now: Instant) {
        self.board.change(|all| {
            all.get_mut(&self.key)
                .into_iter()
                .for_each(|trouble| trouble.online = Some(now))
        });
    }

    /// Nothing is wrong, or nobody tries any more.
    pub(super) fn clear(&self) {
        self.board.change(|all| {
            all.remove(&self.key);
        });
    }
}

impl Drop for TroubleNotice {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Which causes were said, and when.
#[derive(Debug, Default)]
pub(super) struct LoggedCauses {
    causes: Vec<(String, Instant)>,
    /// What was seen last, and since when nothing else.
    current: Option<(String, Instant)>,
    /// Of the causes that have returned within [`TURN`], how many were said.
    returns: u32,
}

impl LoggedCauses {
    /// Whether `cause`, which is seen now, is news: not what was said last, or that is long ago. Numbers in it do not make it
    /// another one: a clock may stand in it.
    pub(super) fn is_news(&mut self, cause: &str, now: Instant) -> bool {
        let cause = plain(cause);
        let lasts = match &self.current {
            Some((current, since)) if *current == cause => now.saturating_duration_since(*since),
            _ => {
                self.current = Some((cause.clone(), now));
                Duration::ZERO
            }
        };
        let age = |at: &Instant| now.saturating_duration_since(*at);
        let last = self.causes.last();
        if last.is_none_or(|(_, at)| age(at) >= TURN) {
            self.returns = 0;
        }
        let is_last = last.is_some_and(|(last, _)| *last == cause);
        match self.causes.iter().find(|(known, _)| *known == cause) {
            None => true,
            Some((_, at)) if is_last => age(at) >= REPEAT,
            Some((_, at)) if age(at) >= TURN => true,
            Some(_) if lasts >= (RETURN * 2_u32.saturating_pow(self.returns)).min(TURN) => {
                self.returns = (self.returns + 1).min(10);
                true
            }
            Some(_) => false,
        }
    }

    pub(super) fn note(&mut self, cause: &str, now: Instant) {
        let cause = plain(cause);
        self.causes.retain(|(known, _)| *known != cause);
        if self.causes.len() >= CAUSES {
            self.causes.remove(0);
        }
        self.causes.push((cause, now));
    }
}

fn plain(cause: &str) -> String {
    cause.chars().filter(|c| !c.is_ascii_digit()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn every_change_of_cause_is_news_and_one_that_lasts_again_after_an_hour() {
        let (mut said, start) = (LoggedCauses::default(), Instant::now());
        let mut says = |cause: &str, at: Duration| {
            let is_news = said.is_news(cause, start + at);
            if is_news {
                said.note(cause, start + at);
            }
            is_news
        };
        assert!(says("connection refused", Duration::ZERO));
        assert!(!says("connection refused", 30 * SECOND));
        assert!(says("bad user name", 60 * SECOND));
        assert!(!says("bad user name", 3_659 * SECOND));
        assert!(says("bad user name", 3_660 * SECOND));
        assert!(says("connection refused", 3_661 * SECOND));
        assert!(
            says("expired: it is 12:00", 3_662 * SECOND)
                && !says("expired: it is 12:01", 3_663 * SECOND)
        );
    }

    #[test]
    fn causes_that_take_turns_do_not_fill_the_log() {
        let (mut said, start) = (LoggedCauses::default(), Instant::now());
        let lines = (0..3_600).filter(|second| {
            let (cause, now) = (
                ["refused", "hung up"][second % 2],
                start + SECOND * u32::try_from(*second).unwrap(),
            );
            let is_news = said.is_news(cause, now);
            if is_news {
                said.note(cause, now);
            }
            is_news
        });
        assert!(lines.count() <= 12);
        (0..100).for_each(|number: u8| said.note(&"x".repeat(usize::from(number)), start));
        assert_eq!(said.causes.len(), CAUSES);
    }

    #[test]
    fn a_cause_that_has_returned_is_said_once_it_lasts_and_the_lines_are_bounded() {
        let (mut said, start) = (LoggedCauses::default(), Instant::now());
        let mut lines = Vec::new();
        // Four times a second, in turns of ten seconds and then for ever.
        for attempt in 0..14_400_u32 {
            let cause = if attempt >= 2_400 || attempt / 40 % 2 == 0 {
                "hung up"
            } else {
                "refused"
            };
            let now = start + SECOND / 4 * attempt;
            if said.is_news(cause, now) {
                said.note(cause, now);
                lines.push(cause);
            }
        }
        assert_eq!(lines[..4], ["hung up", "refused", "hung up", "refused"]);
        assert!(
            lines.len() <= 20 && lines.last() == Some(&"hung up"),
            "{lines:?}"
        );
    }

    #[test]
    fn of_several_connections_the_longest_trouble_is_told_until_it_has_lasted_well() {
        let (board, start) = (Troubles::default(), Instant::now());
        let notice = |client: &str| TroubleNotice::on(&board, "cloud".into(), client.to_owned());
        let (first, second) = (notice("a"), notice("b"));
        first.post(Trouble::new("one".to_owned(), start, start + SECOND));
        second.post(Trouble::new(
            "two".to_owned(),
            start + SECOND,
            start + 9 * SECOND,
        ));
        let told = board.of("cloud", start).unwrap();
        assert_eq!((&*told.cause, told.next_try), ("one", Some(start + SECOND)));
        first.trying();
        assert_eq!(board.of("cloud", start).unwrap().next_try, None);
        first.online(start + 2 * SECOND);
        let over = board.of("cloud", start + 3 * SECOND).unwrap();
        assert_eq!(
            (&*over.cause, over.online),
            ("one", Some(start + 2 * SECOND))
        );
        assert_eq!(
            board
                .of("cloud", start + 2 * SECOND + STABLE)
                .unwrap()
                .cause,
            "two"
        );
        drop(second);
        assert_eq!(board.of("cloud", start + 2 * SECOND + STABLE), None);
        assert_eq!(board.of("field", start), None);
    }
}
