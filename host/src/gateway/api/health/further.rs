//! What is no reason not to be ready, and is to be known: what will soon not do, or has cost something.

use crate::clock::{Now, utc};
use crate::config::Config;
use crate::gateway::api::accounts::{Accounts, FlowAccount};
use crate::gateway::api::certificates::{self, Certificate};
use crate::gateway::running::RunningGateway;
use crate::heap::resident_bytes;
use crate::spool::{Account, QueueAccount, StoreCondition};
use crate::telemetry::crash::{self, Crash};

use super::form::{FoundPart, Health};
use super::words::Words;

/// Days before its end at which a certificate is to be renewed.
const RENEW_DAYS: u64 = 21;
const DAY_US: u64 = 86_400_000_000;
/// Of a bound, in percent: more is nearly all of it.
const NEARLY: u64 = 90;

/// What the machine and the config say.
pub(super) struct HealthInputs {
    pub(super) now: Now,
    pub(super) resident_bytes: u64,
    pub(super) memory_bytes: u64,
    /// Most dead letters, and most bytes of them.
    pub(super) letters: (u64, u64),
    pub(super) certificates: Vec<Certificate>,
    /// Panics that are kept, and how many of them there were since the start.
    pub(super) crashes: (Vec<Crash>, usize),
}

impl HealthInputs {
    /// Reads the files with certificates.
    pub(super) fn of(running: &RunningGateway) -> Self {
        let Config { gateway, spool, .. } = &*running.config;
        Self {
            now: Now::read(),
            resident_bytes: resident_bytes(),
            memory_bytes: gateway.memory_bytes,
            letters: (spool.dead_letters as u64, spool.dead_letter_bytes),
            certificates: certificates::all(&running.current.now()),
            crashes: crash::all(),
        }
    }
}

pub(super) fn of(accounts: &Accounts, surroundings: &HealthInputs) -> Vec<FoundPart> {
    let spool = &accounts.spool;
    let queue = |one: &QueueAccount| {
        let name = format!("{}:{}", one.uplink, one.class);
        queue(one, &name, spool).of("queue", &name)
    };
    let certificate = |one: &Certificate| {
        let name = format!("{} of {} {}", one.key, one.kind, one.name);
        certificate(one, surroundings.now).of("certificate", &name)
    };
    let devices = |flow: &FlowAccount| devices(flow).of("devices", &flow.name);
    let mut found: Vec<FoundPart> = accounts.flows.iter().map(devices).collect();
    found.extend(spool.queues.iter().map(queue));
    found.extend(surroundings.certificates.iter().map(certificate));
    found.push(letters(spool, surroundings.letters).of("dead-letters", ""));
    found.push(disk(spool).of("disk", ""));
    found.push(memory(spool, surroundings).of("memory", ""));
    found.push(clock(surroundings.now).of("clock", ""));
    found.push(crashes(&surroundings.crashes).of("crashes", ""));
    found
}

fn devices(flow: &FlowAccount) -> Health {
    let quarantined = flow.account.quarantined;
    let words = (quarantined > 0).then(|| {
        format!("{quarantined} devices are in quarantine: their messages are dead letters untried, see `tidegate parked list`")
    });
    Health::fair(words.into_iter().map(Words::own).collect(), "")
}

fn queue(account: &QueueAccount, name: &str, spool: &Account) -> Health {
    let waits = |unreadable: &&crate::spool::UnreadableQueue| unreadable.queue == name;
    if let Some(unreadable) = spool.unreadable.iter().find(waits) {
        let own = "cannot be read for now";
        return Health::Bad(Words::kept(own, format!("{own}: {}", unreadable.why)));
    }
    let filled = account
        .limit_bytes
        .and_then(|limit| part(account.disk_bytes, limit));
    let words = [
        filled.map(|percent| {
            format!("{percent} % of what its class may hold are in use: then messages are given up, see `tidegate ledger`")
        }),
        (account.damaged > 0).then(|| format!("{} messages were lost to damage on disk", account.damaged)),
    ];
    Health::fair(words.into_iter().flatten().map(Words::own).collect(), "; ")
}

/// How full something is in percent, where that is nearly full.
fn part(held: u64, most: u64) -> Option<u64> {
    let percent = held.saturating_mul(100).checked_div(most)?;
    (percent >= NEARLY).then_some(percent)
}

fn certificate(one: &Certificate, now: Now) -> Health {
    let until = match &one.until {
        Err(why) => return Health::Bad(Words::kept("it cannot be read", why.clone())),
        Ok(None) => return Health::Fair(Words::own("it does not say until when it counts")),
        Ok(Some(until)) => *until,
    };
    let day = utc(until);
    let day = day.get(..10).unwrap_or_default();
    if !now.is_set() {
        return Health::Good;
    }
    match until.checked_sub(now.wall.0) {
        None => Health::Bad(Words::own(format!(
            "it has expired on {day}: renew it; it is read again at the next dial"
        ))),
        Some(left) if left < RENEW_DAYS * DAY_US => {
            let days = left / DAY_US;
            Health::Fair(Words::own(format!(
                "it expires in {days} days, on {day}: renew it; it is read again at the next dial"
            )))
        }
        Some(_) => Health::Good,
    }
}

fn letters(spool: &Account, (most, most_bytes): (u64, u64)) -> Health {
    let kept = spool.dead_letters();
    let filled = part(kept, most).max(part(spool.letter_bytes, most_bytes));
    let words = [
        filled.map(|percent| {
            format!("{kept} are kept, {percent} % of what there is room for; the oldest make room: look at them with `tidegate parked list`")
        }),
        (spool.letters_evicted > 0).then(|| {
            format!("{} have made room for newer ones since the start", spool.letters_evicted)
        }),
    ];
    Health::fair(words.into_iter().flatten().map(Words::own).collect(), "; ")
}

fn disk(spool: &Account) -> Health {
    let (free, reserve) = (spool.free_bytes >> 20, spool.reserve_bytes >> 20);
    let condition = spool.condition;
    let is_bad = match condition {
        StoreCondition::DiskFull | StoreCondition::ReadOnly => true,
        // What cannot be read is told of its queue.
        StoreCondition::Failing => spool.unreadable.is_empty(),
        StoreCondition::Well => false,
    };
    if is_bad {
        let (name, advice) = (condition.name(), condition.advice());
        Health::Bad(Words::own(format!("{name}: {advice}")))
    } else if spool.free_bytes < spool.reserve_bytes * 2 {
        Health::Fair(Words::own(format!(
            "{free} MiB are free, and {reserve} MiB stay untouched: free space"
        )))
    } else {
        Health::Good
    }
}

fn memory(spool: &Account, surroundings: &HealthInputs) -> Health {
    let held = surroundings.resident_bytes;
    let words = [
        part(spool.ram_bytes, spool.most_ram_bytes).map(|percent| {
            format!(
                "messages fill {percent} % of the memory they may have: flows and then sources wait"
            )
        }),
        part(held, surroundings.memory_bytes)
            .filter(|_| held > surroundings.memory_bytes)
            .map(|percent| {
                format!(
                    "the process holds {} MiB, {percent} % of `memory`",
                    held >> 20
                )
            }),
    ];
    Health::fair(words.into_iter().flatten().map(Words::own).collect(), "; ")
}

fn clock(now: Now) -> Health {
    if now.is_set() {
        return Health::Good;
    }
    let shown = utc(now.wall.0);
    Health::Fair(Words::own(format!(
        "it shows {shown}, so it was never set: certificates count as not yet valid, and times that are sent on are wrong; let NTP set it"
    )))
}

/// Whatever panicked began anew; that it did is a fault all the same.
fn crashes((kept, here): &(Vec<Crash>, usize)) -> Health {
    let words = kept.last().filter(|_| *here > 0).map(|last| {
        let own = format!(
            "{here} panics of the host's own code since the start, the last at {} in thread `{}`",
            last.at, last.thread
        );
        let all = format!(
            "{own}: {}; what crashed began anew, see `tidegate status`",
            last.what
        );
        Words::kept(own, all)
    });
    Health::fair(words.into_iter().collect(), "")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::words::Reader;
    use super::*;
    use crate::clock::{Uptime, WallTime};
    use crate::spool::{Turning, UnreadableQueue};

    const MIB: u64 = 1 << 20;
    /// 2026-11-29.
    const TODAY_US: u64 = 1_795_910_400_000_000;

    fn spool() -> Account {
        Account {
            boot: 1,
            queues: Vec::new(),
            letters: Vec::new(),
            wear: Default::default(),
            letter_bytes: 0,
            letters_waiting: 0,
            letters_evicted: 0,
            given_up: Vec::new(),
            commits: 0,
            written_bytes: 0,
            condition: StoreCondition::Well,
            free_bytes: 1_000 * MIB,
            reserve_bytes: 64 * MIB,
            ram_bytes: 0,
            most_ram_bytes: 100 * MIB,
            damaged_store: None,
            unreadable: Vec::new(),
            lost_records: (0, 0, 0),
            lost_commits: 0,
            writer: Turning {
                idle: Duration::ZERO,
                is_at_disk: false,
            },
            strangers: Vec::new(),
        }
    }

    fn surroundings() -> HealthInputs {
        HealthInputs {
            now: Now {
                wall: WallTime(TODAY_US),
                uptime: Uptime(1),
            },
            resident_bytes: 30 * MIB,
            memory_bytes: 512 * MIB,
            letters: (100, 100 * MIB),
            certificates: Vec::new(),
            crashes: (Vec::new(), 0),
        }
    }

    fn queued() -> QueueAccount {
        QueueAccount {
            is_full: false,
            uplink: "cloud".into(),
            class: "telemetry".into(),
            in_ram: 0,
            on_disk: 0,
            unsettled: 0,
            ram_bytes: 0,
            disk_bytes: 0,
            capacity_bytes: 0,
            limit_bytes: Some(100 * MIB),
            full_in: None,
            oldest_age: None,
            appended: 0,
            accepted: 0,
            dropped: 0,
            damaged: 0,
        }
    }

    #[track_caller]
    fn fair(health: Health, words: &str) {
        let Health::Fair(why) = &health else {
            unreachable!("{health:?}");
        };
        let why = why.clone().to(Reader::Operator);
        assert!(why.contains(words), "{why}");
    }

    #[track_caller]
    fn bad(health: Health, words: &str) {
        let Health::Bad(why) = &health else {
            unreachable!("{health:?}");
        };
        let why = why.clone().to(Reader::Operator);
        assert!(why.contains(words), "{why}");
    }

    #[test]
    fn memory_at_its_bound_is_told_from_either_side() {
        let full = Account {
            ram_bytes: 95 * MIB,
            ..spool()
        };
        assert_eq!(memory(&spool(), &surroundings()), Health::Good);
        fair(memory(&full, &surroundings()), "95 %");
        let large = HealthInputs {
            resident_bytes: 600 * MIB,
            ..surroundings()
        };
        fair(memory(&spool(), &large), "600 MiB");
    }

    #[test]
    fn a_sick_store_has_failed_in_each_way_and_a_queue_that_cannot_be_read_alone() {
        assert_eq!(disk(&spool()), Health::Good);
        for condition in StoreCondition::BAD {
            let sick = Account {
                condition,
                ..spool()
            };
            bad(disk(&sick), condition.name());
        }
        let low = Account {
            free_bytes: 100 * MIB,
            ..spool()
        };
        fair(disk(&low), "100 MiB are free");
        let unreadable = UnreadableQueue {
            queue: "cloud:telemetry".to_owned(),
            why: "input/output error".to_owned(),
            since: Duration::from_secs(3),
        };
        let sick = Account {
            condition: StoreCondition::Failing,
            unreadable: vec![unreadable],
            ..spool()
        };
        assert_eq!(disk(&sick), Health::Good);
        bad(queue(&queued(), "cloud:telemetry", &sick), "input/output");
        assert_eq!(queue(&queued(), "cloud:alarm", &sick), Health::Good);
    }

    #[test]
    fn a_queue_is_told_before_it_is_full_and_when_damage_cost_it_something() {
        let filled = |disk_bytes, damaged| QueueAccount {
            disk_bytes,
            damaged,
            ..queued()
        };
        let of = |account: &QueueAccount| queue(account, "cloud:telemetry", &spool());
        assert_eq!(of(&filled(89 * MIB, 0)), Health::Good);
        fair(of(&filled(91 * MIB, 0)), "91 %");
        fair(of(&filled(0, 7)), "7 messages were lost");
    }

    #[test]
    fn dead_letters_are_told_when_nearly_full_and_when_some_made_room() {
        assert_eq!(letters(&spool(), (100, 100)), Health::Good);
        let heavy = Account {
            letter_bytes: 99,
            ..spool()
        };
        fair(letters(&heavy, (100, 100)), "99 %");
        let evicted = Account {
            letters_evicted: 3,
            ..spool()
        };
        fair(letters(&evicted, (100, 100)), "3 have made room");
    }

    #[test]
    fn a_certificate_is_told_three_weeks_before_its_end_unless_the_clock_is_not_set() {
        let of = |until| Certificate {
            kind: "uplink",
            name: "cloud".into(),
            key: "cert",
            until,
        };
        let now = surroundings().now;
        let in_days = |days: u64| of(Ok(Some(TODAY_US + days * DAY_US)));
        assert_eq!(certificate(&in_days(22), now), Health::Good);
        fair(certificate(&in_days(20), now), "in 20 days");
        bad(certificate(&of(Ok(Some(TODAY_US - 1))), now), "expired");
        bad(
            certificate(&of(Err("no such file".to_owned())), now),
            "no such file",
        );
        fair(certificate(&of(Ok(None)), now), "does not say");
        let unset = Now::default();
        assert_eq!(certificate(&in_days(1), unset), Health::Good);
        fair(clock(unset), "never set");
        assert_eq!(clock(now), Health::Good);
    }

    #[test]
    fn a_crash_of_this_run_is_told_and_one_of_an_earlier_run_is_not() {
        let crash = Crash {
            thread: "writer".to_owned(),
            ..Crash::default()
        };
        assert_eq!(crashes(&(vec![crash.clone()], 0)), Health::Good);
        fair(crashes(&(vec![crash], 2)), "2 panics");
    }
}
