//! The disk of the data folder: what it is, how it is mounted, how much room it has, how fast it is and how worn.

use std::path::PathBuf;
use std::time::Duration;

use super::finding::{Finding, FindingLevel};
use super::machine::{Machine, shown};
use super::mounts::{self, DiskKind, Mount};
use crate::cli::show;

const SUBJECT: &str = "disk";
/// A sync that takes this long holds up commits at a thousand messages a second.
const SLOW: Duration = Duration::from_millis(500);
/// What the gateway takes for a disk that fails.
const FAILING: Duration = Duration::from_secs(2);
/// A file system with fewer takes no chunk soon.
const LEAST_INODES: u64 = 2_000;

/// What is known of the folder by asking the system.
#[derive(Clone, Debug)]
pub(super) struct SpoolDisk {
    pub(super) path: PathBuf,
    pub(super) exists: bool,
    pub(super) free_bytes: u64,
    pub(super) free_inodes: Option<u64>,
    /// What the spool takes there already.
    pub(super) spool_bytes: u64,
    /// What the config lets it take.
    pub(super) quota_bytes: u64,
    pub(super) reserve_bytes: u64,
    /// How long the slowest of some small writes took to be safe; `Err` when there was none.
    pub(super) sync: Result<Duration, String>,
}

pub(super) fn look(machine: &Machine, folder: &SpoolDisk) -> Vec<Finding> {
    let mut found = Vec::new();
    let path = shown(&folder.path);
    if !folder.exists {
        let why = "nothing can be kept until it is there; `tidegate run` makes it, if it may";
        let mend = format!("tidegate doctor --fix, or: install -d -m 750 {path}");
        let what = format!("the data folder {path} is not there");
        found.push(Finding::of(FindingLevel::Warning, SUBJECT, what, why, mend));
    }
    match Mount::of(machine, &folder.path) {
        Some(mount) => found.extend(mounted(machine, &mount, &path)),
        None => found.push(Finding::of(
            FindingLevel::Unknown,
            SUBJECT,
            format!("where {path} is mounted cannot be read"),
            "",
            format!("findmnt -T {path}"),
        )),
    }
    found.push(room(folder));
    if folder.free_inodes.is_some_and(|free| free < LEAST_INODES) {
        let what = "hardly any file can be made: the file system has no inodes left";
        let why = "chunks are files, and without one nothing more is kept";
        found.push(Finding::of(
            FindingLevel::Failed,
            SUBJECT,
            what,
            why,
            format!("df -i {path}, and delete small files"),
        ));
    }
    found.push(speed(folder));
    found
}

fn mounted(machine: &Machine, mount: &Mount, path: &str) -> Vec<Finding> {
    let point = shown(&mount.point);
    let mut found: Vec<Finding> = system(&mount.kind, path).into_iter().collect();
    let mut say = |level, what: String, why: &str, mend: String| {
        found.push(Finding::of(level, SUBJECT, what, why, mend));
    };
    if mount.has("ro") {
        let why = "nothing can be kept; a card that fails is mounted so by the kernel";
        let mend = format!("dmesg | grep -i -e mmc -e ext4; mount -o remount,rw {point}");
        say(
            FindingLevel::Failed,
            format!("{point} is mounted read-only"),
            why,
            mend,
        );
    } else if !mount.has("noatime") && !mount.has("relatime") {
        let why = "each read of a file is a write to the card";
        let mend = format!("add noatime in /etc/fstab; mount -o remount,noatime {point}");
        let what = format!("{point} notes every read (neither noatime nor relatime)");
        say(FindingLevel::Warning, what, why, mend);
    }
    if mount.point.as_os_str() == "/" && !matches!(&*mount.kind, "tmpfs" | "overlay") {
        let why = "each commit syncs the whole file system, with all that others have written there, and they can fill it";
        let what = format!("{path} shares the file system of the whole machine");
        say(
            FindingLevel::Warning,
            what,
            why,
            "a partition of its own, mounted at the folder".to_owned(),
        );
    }
    if let Some(name) = mount.disk(machine) {
        found.push(kind(mounts::disk(machine, &name), &name));
        found.extend(wear(machine, &name));
    }
    found
}

/// A file system that does not keep what it is given.
fn system(kind: &str, path: &str) -> Option<Finding> {
    let (level, where_it_lies, why, mend) = match kind {
        "tmpfs" | "ramfs" => (
            FindingLevel::Failed,
            format!("in memory ({kind})"),
            "it would not survive a reboot, and neither would what is owed",
            "set `data_dir` in [gateway] to a folder on a disk",
        ),
        "overlay" | "aufs" | "squashfs" => (
            FindingLevel::Failed,
            format!("on an {kind} file system"),
            "what is written there is gone with the container, or with a reboot of a system that is read-only",
            "give the folder a volume or a partition of its own",
        ),
        kind if is_network(kind) => (
            FindingLevel::Failed,
            format!("on a network file system ({kind})"),
            "it is away when the network is, which is when it is needed, and a sync there is no promise",
            "set `data_dir` in [gateway] to a folder on a disk of this machine",
        ),
        "vfat" | "exfat" | "ntfs" | "ntfs3" | "fuseblk" => (
            FindingLevel::Warning,
            format!("on {kind}"),
            "it has no journal and no rights: a power cut can take the whole of it, and everybody reads the keys",
            "make it ext4: mkfs.ext4, which deletes what is there",
        ),
        _ => return None,
    };
    Some(Finding::of(
        level,
        SUBJECT,
        format!("{path} lies {where_it_lies}"),
        why,
        mend,
    ))
}

fn is_network(kind: &str) -> bool {
    kind.starts_with("nfs")
        || matches!(
            kind,
            "cifs" | "smb3" | "9p" | "ceph" | "glusterfs" | "afs" | "fuse.sshfs" | "virtiofs"
        )
}

fn kind(disk: DiskKind, name: &str) -> Finding {
    let what = match disk {
        DiskKind::Card => "an SD card",
        DiskKind::Emmc => "eMMC",
        DiskKind::Usb => "a disk at USB",
        DiskKind::Ssd => "an SSD",
        DiskKind::Spinning => "a spinning disk",
        DiskKind::Unknown => "of a kind that the kernel does not say",
    };
    Finding::ok(SUBJECT, format!("{name} is {what}"))
}

/// What eMMC tells of itself, in tenths of its life; cards do not.
fn wear(machine: &Machine, name: &str) -> Option<Finding> {
    let text = machine.text(&format!("sys/block/{name}/device/life_time"))?;
    let hexadecimal = |word: &str| u32::from_str_radix(word.trim_start_matches("0x"), 16).ok();
    let used = text.split_whitespace().filter_map(hexadecimal).max()?;
    let end = machine.text(&format!("sys/block/{name}/device/pre_eol_info"));
    let end = end.as_deref().and_then(hexadecimal).unwrap_or_default();
    let why = "a disk at the end of its life turns read-only or forgets, mostly without a word";
    let mend = "change it, and lower `max` of the classes or raise `commit_every` for the next one";
    if used >= 0xb || end >= 3 {
        return Some(Finding::of(
            FindingLevel::Failed,
            SUBJECT,
            format!("{name} is worn out"),
            why,
            mend,
        ));
    }
    if used >= 9 || end == 2 {
        let what = format!(
            "{name} has used {} % of its life or more",
            (used.max(1) - 1) * 10
        );
        return Some(Finding::of(FindingLevel::Warning, SUBJECT, what, why, mend));
    }
    (used > 0).then(|| {
        Finding::ok(
            SUBJECT,
            format!("{name} has used {} % of its life at most", used * 10),
        )
    })
}

fn room(folder: &SpoolDisk) -> Finding {
    let path = shown(&folder.path);
    let free = show::bytes(folder.free_bytes);
    if folder.free_bytes < folder.reserve_bytes {
        return Finding::of(
            FindingLevel::Failed,
            SUBJECT,
            format!(
                "{free} free, and `reserve` is {}",
                show::bytes(folder.reserve_bytes)
            ),
            "below that the gateway keeps messages in memory, and then gives up what classes let it",
            format!("see what takes it: du -xh {path} / | sort -h | tail"),
        );
    }
    let wanted = folder.quota_bytes.saturating_add(folder.reserve_bytes);
    let has = folder.free_bytes.saturating_add(folder.spool_bytes);
    if has < wanted {
        return Finding::of(
            FindingLevel::Warning,
            SUBJECT,
            format!(
                "{free} free, and classes and dead letters may take {} in all",
                show::bytes(wanted)
            ),
            "in a long outage the disk is full before the limits of the classes are met, and all of them give up, alarms too",
            "make room, or lower `max` of the classes in the config",
        );
    }
    Finding::ok(
        SUBJECT,
        format!("{free} free, enough for all that classes and dead letters may take"),
    )
}

fn speed(folder: &SpoolDisk) -> Finding {
    let why = "while a sync hangs nothing is acknowledged, and what is in memory is not safe";
    let mend =
        "look for errors: dmesg | grep -i -e mmc -e usb; cards of class A1 or A2 are made for this";
    match &folder.sync {
        Ok(took) if *took >= FAILING => {
            let what = format!("a small write took {:.1} s to be safe", took.as_secs_f64());
            Finding::of(FindingLevel::Failed, SUBJECT, what, why, mend)
        }
        Ok(took) if *took >= SLOW => {
            let what = format!("a small write took {} ms to be safe", took.as_millis());
            Finding::of(FindingLevel::Warning, SUBJECT, what, why, mend)
        }
        Ok(took) => Finding::ok(
            SUBJECT,
            format!(
                "a small write is safe after {:.1} ms",
                took.as_secs_f64() * 1_000.0
            ),
        ),
        Err(why_not) => {
            let mend = if folder.exists {
                "run this as the gateway's user, or as root".to_owned()
            } else {
                format!(
                    "make it for the gateway's user: install -d -m 750 -o USER {}",
                    shown(&folder.path)
                )
            };
            let what = format!("how fast it is was not measured: {why_not}");
            Finding::of(FindingLevel::Unknown, SUBJECT, what, why, mend)
        }
    }
}
