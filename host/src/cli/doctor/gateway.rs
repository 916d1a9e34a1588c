//! The gateway itself: whether it runs, and what it says of itself.

use super::finding::{Finding, FindingLevel};
use crate::cli::show::of;
use crate::gateway::api::status::Status;
use crate::gateway::api::trouble::ConditionStatus;

const SUBJECT: &str = "gateway";
/// Starts of a store over which a start that was just now is one of many.
const MANY_STARTS: u32 = 20;
/// Seconds for which a process that starts over and over has not run.
const JUST_NOW: u64 = 120;

/// What a running gateway says; `uptime_s` is the machine's.
pub(super) fn look(status: &Status, uptime_s: u64) -> Vec<Finding> {
    let mut found = vec![runs(status)];
    found.extend(starts(status, uptime_s));
    found.extend(ends(status));
    found.extend(flows(status));
    found.extend(kept(status));
    found
}

/// What is told of one that cannot be asked: that it runs all the same, where its disk is the reason, or does not run.
pub(super) fn unasked(unreached: Option<&str>) -> Finding {
    if let Some(unreached) = unreached {
        return Finding::of(
            FindingLevel::Failed,
            SUBJECT,
            unreached,
            "what it cannot write is kept in memory, and then not taken",
            "dmesg | tail; df -h; mount -o remount,rw, or make room",
        );
    }
    Finding::of(
        FindingLevel::Warning,
        SUBJECT,
        "it does not run",
        "nothing is taken; the field broker keeps what it may, as long as it may",
        "systemctl start tidegate, and: journalctl -u tidegate -e",
    )
}

fn runs(status: &Status) -> Finding {
    let process = status.process.as_ref().map_or(0, |process| process.pid);
    Finding::ok(
        SUBJECT,
        format!(
            "{} runs, process {process}, start {}",
            status.name, status.boot
        ),
    )
}

/// The machine has been up for long, the process has not, and the store has seen many starts.
fn starts(status: &Status, uptime_s: u64) -> Option<Finding> {
    let process = status.process.as_ref()?;
    let is_young = process.uptime_s < JUST_NOW && uptime_s > 10 * JUST_NOW;
    (is_young && status.boot > MANY_STARTS).then(|| {
        Finding::of(
            FindingLevel::Warning,
            SUBJECT,
            format!("it was started {} s ago, and this is start {}", process.uptime_s, status.boot),
            "if nobody has started it, it ends again and again, and each end sends some messages twice",
            "journalctl -u tidegate -e; systemctl show tidegate -p NRestarts",
        )
    })
}

fn ends(status: &Status) -> Vec<Finding> {
    let mut found = Vec::new();
    let sources = status.sources.iter().map(|source| {
        (
            "source",
            &source.name,
            source.connected,
            source.trouble.as_ref(),
            &source.conditions,
            "nothing comes in there",
        )
    });
    let uplinks = status.uplinks.iter().map(|uplink| {
        (
            "uplink",
            &uplink.name,
            uplink.connected,
            uplink.trouble.as_ref(),
            &uplink.conditions,
            "what is owed there waits",
        )
    });
    for (kind, name, connected, trouble, conditions, why) in sources.chain(uplinks) {
        if !connected {
            let cause = trouble.map_or_else(
                || "no connection".to_owned(),
                |trouble| trouble.cause.clone(),
            );
            let what = format!("{kind} {name} is not connected: {cause}");
            found.push(Finding::of(
                FindingLevel::Failed,
                SUBJECT,
                what,
                why,
                "tidegate check --connect",
            ));
        }
        found.extend(
            conditions
                .iter()
                .map(|condition| condition_of(kind, name, condition)),
        );
    }
    found
}

fn condition_of(kind: &str, name: &str, condition: &ConditionStatus) -> Finding {
    let what = format!("{kind} {name}: {}", condition.words);
    let why = "what it concerns waits, or is laid aside, until that is mended";
    Finding::of(FindingLevel::Warning, SUBJECT, what, why, "tidegate status")
}

fn flows(status: &Status) -> Vec<Finding> {
    let mut found = Vec::new();
    for flow in &status.flows {
        if let Some(why) = &flow.down {
            let what = format!("flow {} could not be started: {why}", flow.name);
            found.push(Finding::of(
                FindingLevel::Failed,
                SUBJECT,
                what,
                "its messages wait",
                "tidegate check",
            ));
        }
        for plugin in flow
            .plugins
            .iter()
            .filter(|plugin| plugin.breaker == "open")
        {
            let what = format!(
                "{}/{} fails so often that it is not asked",
                flow.name, plugin.name
            );
            let why = "its messages go where `on_error` says, mostly to the dead letters";
            found.push(Finding::of(
                FindingLevel::Failed,
                SUBJECT,
                what,
                why,
                "tidegate parked list",
            ));
        }
        if flow.quarantined > 0 {
            let what = format!(
                "flow {}: what is sent by {} is refused again and again",
                flow.name,
                of(flow.quarantined, "device")
            );
            let why = "their messages go straight to the dead letters";
            found.push(Finding::of(
                FindingLevel::Warning,
                SUBJECT,
                what,
                why,
                "tidegate parked list",
            ));
        }
    }
    found
}

/// Store, dead letters, and what nothing in the config leads to.
fn kept(status: &Status) -> Vec<Finding> {
    let mut found = Vec::new();
    let store = &status.store;
    if !store.well {
        let cause = store.why.clone().unwrap_or_default();
        let why = "while it cannot be written, what comes is kept in memory, and then not taken";
        found.push(Finding::of(
            FindingLevel::Failed,
            "store",
            format!("the store is not well: {cause}"),
            why,
            "dmesg | tail; df -h",
        ));
    }
    if let Some(lost) = &store.lost {
        let why = "the disk has lost or altered what was written";
        found.push(Finding::of(
            FindingLevel::Failed,
            "store",
            format!("damage has cost {lost}"),
            why,
            "tidegate ledger; tidegate spool check",
        ));
    }
    if status.dead_letters.kept > 0 {
        let what = of(status.dead_letters.kept, "dead letter");
        let why = "they could not be processed, or were refused; the oldest make room once they are too many";
        found.push(Finding::of(
            FindingLevel::Warning,
            "store",
            what,
            why,
            "tidegate parked list; tidegate parked retry --all",
        ));
    }
    for (queue, messages) in &status.store.strangers {
        let what =
            format!("{messages} messages are owed to {queue}, which the config does not have");
        let why = "nobody sends them, and they take room";
        let mend = "put it back into the config, or: tidegate spool export, tidegate spool drop";
        found.push(Finding::of(FindingLevel::Warning, "store", what, why, mend));
    }
    found
}
