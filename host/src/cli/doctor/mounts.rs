//! Which file system a path lies on, and which disk that is on.

use std::path::{Path, PathBuf};

use super::machine::Machine;

/// A line of `/proc/self/mountinfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    /// Major and minor number, as `179:2`.
    pub(super) device: String,
    pub(super) point: PathBuf,
    /// Of the mount and of the file system.
    pub(super) options: Vec<String>,
    pub(super) kind: String,
    pub(super) source: String,
}

/// What a disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DiskKind {
    Card,
    /// Flash that is soldered on, behind the same driver as a card.
    Emmc,
    Usb,
    Ssd,
    Spinning,
    Unknown,
}

impl Mount {
    /// The one that `path` lies on.
    pub(super) fn of(machine: &Machine, path: &Path) -> Option<Self> {
        let text = machine.text("proc/self/mountinfo")?;
        let mounts = text.lines().filter_map(Self::parse);
        // Of two at one place the later one hides the earlier.
        mounts
            .filter(|mount| path.starts_with(&mount.point))
            .max_by_key(|mount| mount.point.components().count())
    }

    fn parse(line: &str) -> Option<Self> {
        let (own, shared) = line.split_once(" - ")?;
        let own: Vec<&str> = own.split_whitespace().collect();
        let mut shared = shared.split_whitespace();
        let (kind, source) = (shared.next()?, shared.next()?);
        let options = own
            .get(5)?
            .split(',')
            .chain(shared.next().unwrap_or_default().split(','));
        Some(Self {
            device: (*own.get(2)?).to_owned(),
            point: PathBuf::from(unescaped(own.get(4)?)),
            options: options.map(str::to_owned).collect(),
            kind: kind.to_owned(),
            source: unescaped(source),
        })
    }

    pub(super) fn has(&self, option: &str) -> bool {
        self.options.iter().any(|own| own == option)
    }

    /// The name of its disk: `mmcblk0` for `mmcblk0p2`.
    pub(super) fn disk(&self, machine: &Machine) -> Option<String> {
        let about = machine.text(&format!("sys/dev/block/{}/uevent", self.device));
        let named = about
            .as_deref()
            .and_then(|text| text.lines().find_map(|line| line.strip_prefix("DEVNAME=")));
        let name = named.or_else(|| self.source.strip_prefix("/dev/"))?;
        Some(whole(name).to_owned())
    }
}

/// Spaces and tabs stand there by their number, in octal.
fn unescaped(text: &str) -> String {
    text.replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\012", "\n")
        .replace("\\134", "\\")
}

fn whole(name: &str) -> &str {
    let without = name.trim_end_matches(|digit: char| digit.is_ascii_digit());
    match without.strip_suffix('p') {
        // mmcblk0p2, nvme0n1p1
        Some(disk) if disk.ends_with(|digit: char| digit.is_ascii_digit()) => disk,
        _ if name.starts_with("mmcblk") || name.starts_with("nvme") => name,
        _ => without,
    }
}

/// What the disk of that name is.
pub(super) fn disk(machine: &Machine, name: &str) -> DiskKind {
    let about = format!("sys/block/{name}");
    if name.starts_with("mmcblk") {
        return match machine.text(&format!("{about}/device/type")).as_deref() {
            Some("MMC") => DiskKind::Emmc,
            _ => DiskKind::Card,
        };
    }
    let link = machine.link(&about).unwrap_or_default();
    if link.to_string_lossy().contains("/usb") {
        return DiskKind::Usb;
    }
    match machine
        .text(&format!("{about}/queue/rotational"))
        .as_deref()
    {
        Some("1") => DiskKind::Spinning,
        Some("0") => DiskKind::Ssd,
        _ => DiskKind::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_leads_to_its_disk() {
        for (name, disk) in [
            ("mmcblk0p2", "mmcblk0"),
            ("mmcblk0", "mmcblk0"),
            ("nvme0n1p1", "nvme0n1"),
            ("nvme0n1", "nvme0n1"),
            ("sda1", "sda"),
            ("sda", "sda"),
        ] {
            assert_eq!(whole(name), disk);
        }
    }

    #[test]
    fn a_line_of_the_kernel_is_read_with_its_spaces() {
        let line = r"36 35 98:0 /mnt1 /mnt/my\040disk rw,noatime master:1 - ext3 /dev/root rw,errors=continue";
        let mount = Mount::parse(line).unwrap();
        assert_eq!(mount.point, Path::new("/mnt/my disk"));
        assert!(mount.has("noatime") && mount.has("errors=continue") && mount.kind == "ext3");
        assert_eq!(Mount::parse("nonsense"), None);
    }
}
