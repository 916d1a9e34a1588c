//! What the kernel lets one process have: open files, and files that are watched.

use super::finding::{Finding, FindingLevel};
use super::machine::{Machine, value};

/// Files that the process has open beside its connections: the store, the log, the control socket, plugins.
const OTHERS: u64 = 96;

/// What the config will take.
#[derive(Clone, Copy, Debug)]
pub(super) struct WantedLimits {
    /// Connections out and in, at most.
    pub(super) connections: u64,
    /// Files whose changes are looked for.
    pub(super) watched: u64,
}

/// Of the process `of`: the gateway's number, or `self`.
pub(super) fn look(machine: &Machine, of: &str, wanted: WantedLimits) -> Vec<Finding> {
    let mut found = vec![descriptors(machine, of, wanted.connections + OTHERS)];
    found.extend(watches(machine, wanted.watched));
    found
}

fn descriptors(machine: &Machine, of: &str, needed: u64) -> Finding {
    let text = machine
        .text(&format!("proc/{of}/limits"))
        .unwrap_or_default();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next());
    let Some(soft) = soft else {
        let what = "how many files may be open cannot be read";
        return Finding::of(FindingLevel::Unknown, "descriptors", what, "", "ulimit -n");
    };
    // Those of the shell that this was started from say nothing of what a service will have.
    let whose = if of == "self" {
        ", by this shell's limit, as the gateway does not run; a service has its own (`LimitNOFILE`)"
    } else {
        ""
    };
    match soft.parse::<u64>() {
        Ok(soft) if soft < needed => Finding::of(
            FindingLevel::Warning,
            "descriptors",
            format!("{soft} files may be open, and the config may need {needed}{whose}"),
            "connections are turned away, and chunks cannot be opened, once they are used up",
            "systemctl edit tidegate: [Service] LimitNOFILE=8192; or lower `max_connections`",
        ),
        _ => Finding::ok(
            "descriptors",
            format!("{soft} files may be open, {needed} are enough{whose}"),
        ),
    }
}

fn watches(machine: &Machine, watched: u64) -> Option<Finding> {
    let limit = |name: &str| machine.number(&format!("proc/sys/fs/inotify/{name}"));
    let instances = limit("max_user_instances")?;
    let watches = limit("max_user_watches")?;
    if instances >= 8 && watches >= watched + 16 {
        return Some(Finding::ok("inotify", "enough files can be watched"));
    }
    let what = format!("{watches} files can be watched, by {instances} programs of a user");
    let why = "a plugin or config that is saved is not noticed until `tidegate reload`";
    let mend = "sysctl fs.inotify.max_user_watches=8192 fs.inotify.max_user_instances=128";
    Some(Finding::of(
        FindingLevel::Warning,
        "inotify",
        what,
        why,
        mend,
    ))
}

/// The number of a process, where its limits can be read.
pub(super) fn process(machine: &Machine, pid: u32) -> String {
    let text = machine
        .text(&format!("proc/{pid}/status"))
        .unwrap_or_default();
    value(&text, "Pid").map_or_else(|| "self".to_owned(), str::to_owned)
}
