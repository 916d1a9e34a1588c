//! What stands still, in words, out of what the judge and the connection know.

use std::time::Instant;

use super::Uplink;
use crate::uplink::condition::{ConditionKind, UplinkCondition};
use crate::uplink::judge::{Apart, Obstacles};
use crate::words;

/// Characters of what upstream says.
const WORDS: usize = 300;
/// Characters of a topic.
const TOPIC: usize = 120;
/// Topics of our own that are named.
const TOPICS: usize = 8;

/// What a connection knows beside the judge.
#[derive(Debug, Default)]
pub(super) struct Beside {
    /// What the first message that waits apart is published under.
    pub(super) topic: Option<String>,
    /// Topics of our own that are not tried any more.
    pub(super) barred: Vec<String>,
    /// How the last connection ended that a message may have ended.
    pub(super) ended_with: String,
    pub(super) is_narrow: bool,
    /// A message that was convicted has no room.
    pub(super) lacks_room: bool,
}

/// What may be said of upstream as a whole, and whether it is.
fn of_all(account: &Obstacles, beside: &Beside) -> [(ConditionKind, bool); 6] {
    [
        (ConditionKind::AcknowledgesNothing, account.is_mute),
        (ConditionKind::EndsConnections, account.is_fruitless),
        (
            ConditionKind::DeadLettersFull,
            account.is_crowded || beside.lacks_room,
        ),
        (ConditionKind::RefusesMany, account.refuses_many),
        (ConditionKind::LimitsRate, account.is_paced),
        (ConditionKind::LimitLowered, beside.is_narrow),
    ]
}

/// The conditions that follow, what weighs most first.
fn conditions(account: Obstacles, beside: Beside, now: Instant) -> Vec<UplinkCondition> {
    let mut found = Vec::new();
    if let Some((since, why)) = &account.hold {
        found.push(UplinkCondition {
            since: *since,
            messages: account.apart.held,
            next_try: account.next_try,
            why: words::line(why, WORDS),
            ..UplinkCondition::new(ConditionKind::RefusesEverything, now)
        });
    }
    let there = of_all(&account, &beside)
        .into_iter()
        .filter(|(_, is_there)| *is_there);
    let mut ended_with = beside.ended_with;
    found.extend(there.map(|(kind, _)| UplinkCondition {
        why: match kind {
            ConditionKind::EndsConnections => std::mem::take(&mut ended_with),
            _ => String::new(),
        },
        ..UplinkCondition::new(kind, now)
    }));
    if !beside.barred.is_empty() {
        found.push(UplinkCondition {
            why: beside.barred.join(", "),
            ..UplinkCondition::new(ConditionKind::TopicBarred, now)
        });
    }
    let Apart {
        refused,
        busy,
        suspects,
        mute,
        behind,
        held: _,
    } = account.apart;
    let mut topic = beside.topic.map(|topic| format!("`{topic}`"));
    let mut refusal = account.refusal.map(|words| words::line(&words, WORDS));
    let waiting = [
        (ConditionKind::Refused, refused),
        (ConditionKind::Busy, busy),
        (ConditionKind::Suspect, suspects),
        (ConditionKind::Unanswered, mute),
        (ConditionKind::Behind, behind),
    ];
    for (kind, messages) in waiting.into_iter().filter(|(_, messages)| *messages > 0) {
        let refusal = refusal.take_if(|_| kind == ConditionKind::Refused);
        let why: Vec<String> = topic.take().into_iter().chain(refusal).collect();
        let is_tried = matches!(kind, ConditionKind::Busy | ConditionKind::Suspect);
        found.push(UplinkCondition {
            messages,
            next_try: account.next_try.filter(|_| is_tried),
            why: why.join(": "),
            ..UplinkCondition::new(kind, now)
        });
    }
    found
}

impl Uplink {
    /// Tells what stands still, and why.
    pub(super) fn tell(&mut self) {
        let account = self.judge.account();
        if let Some((place, load)) = self.unparked {
            let is_owed = self
                .pulls
                .get(place.0)
                .is_some_and(|pull| place.1 >= pull.low());
            if !is_owed || self.backlog.has_room_for_refused(load.0, load.1) {
                self.unparked = None;
            }
        }
        let first = account.first.and_then(|(index, seq)| {
            let pull = self.pulls.get(index)?;
            pull.message(pull.number(seq)?)
        });
        let beside = Beside {
            topic: first.map(|stored| words::line_of_bytes(&stored.message.topic, TOPIC)),
            barred: self.barred.clone(),
            ended_with: words::line(&self.ended_with, WORDS),
            is_narrow: self.said.is_narrow,
            lacks_room: self.unparked.is_some(),
        };
        self.notice
            .tell(conditions(account, beside, Instant::now()));
    }

    /// Notes that messages of this topic, which tidegate makes itself, are not tried any more.
    pub(super) fn bar(&mut self, topic: &[u8]) {
        let topic = format!("`{}`", words::line_of_bytes(topic, TOPIC));
        if self.barred.len() < TOPICS && !self.barred.contains(&topic) {
            self.barred.push(topic);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus::{Registry, TextEncoder};

    use super::super::notice::ConditionNotice;
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn held(now: Instant, why: &str) -> Obstacles {
        Obstacles {
            hold: Some((now, why.to_owned())),
            apart: Apart {
                held: 3,
                ..Apart::default()
            },
            next_try: Some(now + SECOND),
            ..Obstacles::default()
        }
    }

    #[test]
    fn a_hold_is_told_with_upstreams_words_cleaned_and_cut() {
        let now = Instant::now();
        let rude = format!("not authorized (0x87): \x1b[2J{}", "x".repeat(9_000));
        let found = conditions(held(now, &rude), Beside::default(), now + SECOND);
        assert_eq!(found.len(), 1);
        let words = found[0].words();
        assert!(
            words.starts_with("3 messages: upstream refuses everything")
                && words.contains("not authorized (0x87)")
                && !words.contains('\x1b')
                && words.len() < 600,
            "{words}"
        );
        assert_eq!(
            (found[0].since, found[0].next_try),
            (now, Some(now + SECOND))
        );
    }

    #[test]
    fn each_reason_to_wait_is_a_condition_with_its_number() {
        let now = Instant::now();
        let account = Obstacles {
            is_fruitless: true,
            is_crowded: true,
            apart: Apart {
                refused: 2,
                busy: 0,
                suspects: 1,
                mute: 4,
                behind: 5,
                held: 0,
            },
            refusal: Some("no".to_owned()),
            ..Obstacles::default()
        };
        let beside = Beside {
            topic: Some("devices/d1".to_owned()),
            barred: vec!["`gaps`".to_owned()],
            ended_with: "the server says 500".to_owned(),
            ..Beside::default()
        };
        let found = conditions(account, beside, now);
        let told: Vec<_> = found
            .iter()
            .map(|condition| (condition.kind.name(), condition.messages))
            .collect();
        assert_eq!(
            told,
            [
                ("ends-connections", 0),
                ("dead-letters-full", 0),
                ("topic-barred", 0),
                ("refused", 2),
                ("suspect", 1),
                ("unanswered", 4),
                ("behind", 5)
            ]
        );
        assert!(found[0].words().ends_with(": the server says 500"));
        assert!(found[2].words().ends_with(": `gaps`"));
        assert!(found[3].words().ends_with(": `devices/d1`: no"));
        assert!(conditions(Obstacles::default(), Beside::default(), now).is_empty());
    }

    #[test]
    fn connections_of_one_uplink_are_told_together_with_the_first_beginning_and_no_longer_than_they_last()
     {
        let registry = Registry::new();
        let metrics = crate::uplink::Metrics::new(&registry).unwrap();
        let now = Instant::now();
        let mut notices = [0, 1].map(|index| ConditionNotice::on(&metrics, &"cloud".into(), index));
        for notice in &mut notices {
            notice.tell(conditions(held(now, "no"), Beside::default(), now));
            // It goes on.
            let later = conditions(held(now + SECOND, "still no"), Beside::default(), now);
            notice.tell(later);
        }
        let told = metrics.conditions.of("cloud");
        assert_eq!((told.len(), told[0].messages, told[0].since), (1, 6, now));
        assert_eq!(told[0].next_try, Some(now + SECOND * 2));
        assert!(metrics.conditions.of("other").is_empty());
        let text = || {
            TextEncoder::new()
                .encode_to_string(&registry.gather())
                .unwrap()
        };
        let label = "{condition=\"refuses-everything\",uplink=\"cloud\"}";
        assert!(text().contains(&format!("tidegate_uplink_condition{label} 2")));
        assert!(text().contains(&format!("tidegate_uplink_condition_messages{label} 6")));
        notices[0].tell(Vec::new());
        assert_eq!(metrics.conditions.of("cloud")[0].messages, 3);
        drop(notices);
        assert!(metrics.conditions.of("cloud").is_empty());
        assert!(text().contains(&format!("tidegate_uplink_condition{label} 0")));
    }
}
