//! The clock: set, kept right, and there after a power cut.

use super::finding::{Finding, FindingLevel};
use super::machine::Machine;
use crate::clock::Now;

const SUBJECT: &str = "clock";
/// What systemd's own time service leaves once it has had an answer.
const TIMESYNC: &str = "run/systemd/timesync";
/// What others that keep the time leave while they run.
const OTHERS: [(&str, &str); 5] = [
    ("run/chrony/chronyd.pid", "chronyd"),
    ("run/chronyd.pid", "chronyd"),
    ("run/ntpd.pid", "ntpd"),
    ("run/openntpd.pid", "openntpd"),
    ("run/gpsd.pid", "gpsd"),
];
/// A battery clock that is further off than this, in seconds, is not set from the system's.
const MOST_OFF: u64 = 120;

pub(super) fn look(machine: &Machine, now: Now) -> Vec<Finding> {
    let mut found = vec![set(machine, now)];
    found.push(battery(machine, now));
    found.extend(zone(machine));
    found
}

fn set(machine: &Machine, now: Now) -> Finding {
    let why = "ages, time stamps and the validity of certificates are wrong while it is wrong";
    if !now.is_set() {
        let mend = "timedatectl set-ntp true, and see that the network is there";
        return Finding::of(
            FindingLevel::Failed,
            SUBJECT,
            "the clock is not set",
            why,
            mend,
        );
    }
    if machine.exists(&format!("{TIMESYNC}/synchronized")) {
        return Finding::ok(SUBJECT, "set, and synchronised by systemd-timesyncd");
    }
    if let Some((_, name)) = OTHERS.iter().find(|(path, _)| machine.exists(path)) {
        return Finding::ok(SUBJECT, format!("set, and {name} keeps it"));
    }
    if machine.exists(TIMESYNC) {
        let mend = "timedatectl timesync-status, and see that a time server can be reached";
        let what = "systemd-timesyncd runs, and has had no answer from a time server";
        return Finding::of(FindingLevel::Warning, SUBJECT, what, why, mend);
    }
    let mend = "timedatectl set-ntp true, or: apt install systemd-timesyncd";
    Finding::of(
        FindingLevel::Warning,
        SUBJECT,
        "nothing keeps the clock right",
        why,
        mend,
    )
}

fn battery(machine: &Machine, now: Now) -> Finding {
    let clocks = machine.names("sys/class/rtc");
    let Some(first) = clocks.first() else {
        let what = "there is no battery clock";
        let why = "after a power cut without a network the time is unknown, and so is how old a message of before is";
        let mend = "add one (DS3231) and dtoverlay=i2c-rtc,ds3231 to /boot/firmware/config.txt";
        return Finding::of(FindingLevel::Warning, SUBJECT, what, why, mend);
    };
    let shown = machine.number(&format!("sys/class/rtc/{first}/since_epoch"));
    let wall = now.wall.0 / 1_000_000;
    match shown {
        Some(shown) if now.is_set() && shown.abs_diff(wall) > MOST_OFF => Finding::of(
            FindingLevel::Warning,
            SUBJECT,
            format!(
                "the battery clock {first} is {} s off",
                shown.abs_diff(wall)
            ),
            "after a power cut the machine begins with a wrong time; the battery may be empty",
            "hwclock --systohc, and look again tomorrow",
        ),
        Some(_) => Finding::ok(SUBJECT, format!("the battery clock {first} goes right")),
        None => Finding::of(
            FindingLevel::Unknown,
            SUBJECT,
            format!("the battery clock {first} cannot be read"),
            "after a power cut the machine may begin with a wrong time",
            "hwclock --show",
        ),
    }
}

/// Days of a plugin begin where its `utc_offset` says, whatever the machine's zone is: only a zone that is none is told.
fn zone(machine: &Machine) -> Option<Finding> {
    if machine.has("etc/localtime") && !machine.exists("etc/localtime") {
        // In a tree below a root a link leads out of it: what it names is looked for inside.
        let target = machine.link("etc/localtime")?;
        let inside = target.to_str().map(|path| path.trim_start_matches("../"));
        if inside.is_some_and(|path| machine.exists(path)) {
            return None;
        }
        let why = "times of the system's log are those of UTC, and nobody expects it";
        let what = "the time zone leads to a file that is not there";
        let mend = "timedatectl set-timezone Europe/Berlin, or: apt install tzdata";
        return Some(Finding::of(
            FindingLevel::Warning,
            "time zone",
            what,
            why,
            mend,
        ));
    }
    None
}
