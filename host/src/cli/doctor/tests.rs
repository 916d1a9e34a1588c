//! A machine that a test makes up: well, and with one fault after another.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::disk::SpoolDisk;
use super::limits::WantedLimits;
use super::network::{WantedName, WantedPort};
use super::*;
use crate::clock::{Uptime, WallTime};

const DATA: &str = "/var/lib/tidegate";
const MEMINFO: &str = "proc/meminfo";
const MOUNTS: &str = "proc/self/mountinfo";
const THROTTLED: &str = "sys/devices/platform/soc/soc:firmware/get_throttled";
/// What a machine has that is well.
const TREE: [(&str, &str); 17] = [
    ("run/systemd/timesync/synchronized", ""),
    ("sys/class/rtc/rtc0/since_epoch", "1795953600"),
    (THROTTLED, "0x0"),
    ("sys/class/thermal/thermal_zone0/temp", "51000"),
    (
        MEMINFO,
        "MemTotal:        3884000 kB\nMemFree: 9 kB\nMemAvailable:    2900000 kB\n",
    ),
    (
        "proc/swaps",
        "Filename Type Size Used Priority\n/dev/zram0 partition 1 0 5\n",
    ),
    ("proc/sys/vm/overcommit_memory", "0"),
    (
        "proc/self/smaps",
        "5500-5600 r--p 0 0 0 x\nSize: 4 kB\nKernelPageSize:       16 kB\n",
    ),
    (
        MOUNTS,
        "1 0 179:2 / / rw,noatime - ext4 /dev/mmcblk0p2 rw\n2 1 179:3 / /var/lib/tidegate rw,noatime - ext4 /dev/mmcblk0p3 rw\n",
    ),
    (
        "sys/dev/block/179:3/uevent",
        "MAJOR=179\nMINOR=3\nDEVNAME=mmcblk0p3\n",
    ),
    ("sys/block/mmcblk0/device/type", "MMC"),
    ("sys/block/mmcblk0/device/life_time", "0x01 0x02"),
    ("sys/block/mmcblk0/device/pre_eol_info", "0x01"),
    (
        "proc/self/limits",
        "Limit Soft Hard Units\nMax open files            1024                 524288               files\n",
    ),
    ("proc/sys/fs/inotify/max_user_instances", "128"),
    ("proc/sys/fs/inotify/max_user_watches", "65536"),
    (
        "etc/resolv.conf",
        "# made by hand\nnameserver 192.168.0.1\n",
    ),
];

struct Made {
    root: tempfile::TempDir,
    now: Now,
    facts: Facts,
}

impl Made {
    fn well() -> Self {
        let made = Self {
            root: tempfile::tempdir().unwrap(),
            now: Now {
                wall: WallTime(1_795_953_600_000_000),
                uptime: Uptime(86_400_000_000),
            },
            facts: Facts {
                limit_bytes: 512 << 20,
                folder: SpoolDisk {
                    path: PathBuf::from(DATA),
                    exists: true,
                    free_bytes: 8 << 30,
                    free_inodes: Some(100_000),
                    spool_bytes: 0,
                    quota_bytes: 1 << 30,
                    reserve_bytes: 64 << 20,
                    sync: Ok(Duration::from_millis(12)),
                },
                wanted: WantedLimits {
                    connections: 4,
                    watched: 3,
                },
                ports: vec![WantedPort {
                    of: "admin".to_owned(),
                    at: "127.0.0.1:9646".parse().unwrap(),
                }],
                names: vec![WantedName {
                    of: "uplink.cloud".to_owned(),
                    host: "ingest.example.com".to_owned(),
                    addresses: Ok(vec!["203.0.113.7".parse::<IpAddr>().unwrap()]),
                }],
                certificates: Vec::new(),
                secrets: Vec::new(),
                unreached: None,
            },
        };
        TREE.iter().for_each(|(path, text)| made.write(path, text));
        made
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn remove(&self, path: &str) {
        let path = self.root.path().join(path);
        fs::remove_dir_all(&path)
            .or_else(|_| fs::remove_file(&path))
            .unwrap();
    }

    /// What is not well, but that no gateway runs here.
    fn found(&self) -> Vec<Finding> {
        let machine = Machine::below(self.root.path());
        let mut found = examine(&machine, self.now, &self.facts, None);
        found.retain(|finding| finding.level != FindingLevel::Ok && finding.subject != "gateway");
        found
    }

    fn mounted(&self, line: &str) {
        self.write(
            MOUNTS,
            &format!("1 0 179:2 / / rw,noatime - ext4 /dev/mmcblk0p2 rw\n{line}\n"),
        );
    }
}

/// A fault, and of it the level, the subject and a part of the words.
type Fault = (fn(&mut Made), FindingLevel, &'static str, &'static str);

#[test]
fn a_machine_that_is_well_has_nothing_to_find() {
    assert_eq!(Made::well().found(), []);
}

const FAULTS: [Fault; 40] = [
    (
        |made| made.now.wall.0 = 86_400_000_000,
        FindingLevel::Failed,
        "clock",
        "not set",
    ),
    (
        |made| made.remove("run/systemd/timesync/synchronized"),
        FindingLevel::Warning,
        "clock",
        "no answer",
    ),
    (
        |made| made.remove("run/systemd"),
        FindingLevel::Warning,
        "clock",
        "nothing keeps",
    ),
    (
        |made| made.remove("sys/class/rtc"),
        FindingLevel::Warning,
        "clock",
        "no battery",
    ),
    (
        |made| made.write("sys/class/rtc/rtc0/since_epoch", "1000"),
        FindingLevel::Warning,
        "clock",
        "s off",
    ),
    (
        |made| made.write("sys/class/rtc/rtc0/since_epoch", "?"),
        FindingLevel::Unknown,
        "clock",
        "cannot be read",
    ),
    (
        |made| {
            std::os::unix::fs::symlink(
                "../usr/share/zoneinfo/None",
                made.root.path().join("etc/localtime"),
            )
            .unwrap()
        },
        FindingLevel::Warning,
        "time zone",
        "not there",
    ),
    (
        |made| made.write(THROTTLED, "0x50005"),
        FindingLevel::Failed,
        "power",
        "is below",
    ),
    (
        |made| made.write(THROTTLED, "50000"),
        FindingLevel::Warning,
        "power",
        "was below",
    ),
    (
        |made| made.write(THROTTLED, "0x20002"),
        FindingLevel::Warning,
        "power",
        "slowed",
    ),
    (
        |made| {
            made.remove(THROTTLED);
            made.write("sys/class/hwmon/hwmon1/name", "rpi_volt");
            made.write("sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1");
        },
        FindingLevel::Failed,
        "power",
        "below",
    ),
    (
        |made| made.write("sys/class/thermal/thermal_zone1/temp", "84500"),
        FindingLevel::Warning,
        "heat",
        "84",
    ),
    (
        |made| made.remove(MEMINFO),
        FindingLevel::Unknown,
        "memory",
        "cannot be read",
    ),
    (
        |made| made.write(MEMINFO, "MemTotal: 500000 kB\nMemAvailable: 400000 kB"),
        FindingLevel::Failed,
        "memory",
        "in all",
    ),
    (
        |made| made.write(MEMINFO, "MemTotal: 3884000 kB\nMemAvailable: 4000 kB"),
        FindingLevel::Warning,
        "memory",
        "left of",
    ),
    (
        |made| made.write("proc/sys/vm/overcommit_memory", "2"),
        FindingLevel::Warning,
        "memory",
        "no more",
    ),
    (
        |made| made.write("proc/swaps", "x\n/dev/mmcblk0p4 partition 1 0 5\n"),
        FindingLevel::Warning,
        "swap",
        "mmcblk0p4",
    ),
    (
        |made| made.write("proc/swaps", "x\n/var/swap file 1 0 5\n"),
        FindingLevel::Warning,
        "swap",
        "/var/swap",
    ),
    (
        |made| made.facts.folder.exists = false,
        FindingLevel::Warning,
        "disk",
        "not there",
    ),
    (
        |made| made.remove(MOUNTS),
        FindingLevel::Unknown,
        "disk",
        "mounted",
    ),
    (
        |made| made.mounted("2 1 0:40 / /var/lib/tidegate rw,noatime - tmpfs tmpfs rw"),
        FindingLevel::Failed,
        "disk",
        "in memory",
    ),
    (
        |made| made.mounted("2 1 0:41 / /var/lib rw,relatime - overlay overlay rw"),
        FindingLevel::Failed,
        "disk",
        "overlay",
    ),
    (
        |made| made.mounted("2 1 0:42 / /var/lib/tidegate rw,noatime - nfs4 nas:/x rw"),
        FindingLevel::Failed,
        "disk",
        "network",
    ),
    (
        |made| made.mounted("2 1 0:43 / /var/lib/tidegate rw,noatime - cifs //nas/x rw"),
        FindingLevel::Failed,
        "disk",
        "network",
    ),
    (
        |made| made.mounted("2 1 8:1 / /var/lib/tidegate rw,noatime - vfat /dev/sda1 rw"),
        FindingLevel::Warning,
        "disk",
        "vfat",
    ),
    (
        |made| made.mounted("2 1 8:1 / /var/lib/tidegate ro,noatime - ext4 /dev/sda1 rw"),
        FindingLevel::Failed,
        "disk",
        "read-only",
    ),
    (
        |made| made.mounted("2 1 8:1 / /var/lib/tidegate rw - ext4 /dev/sda1 rw"),
        FindingLevel::Warning,
        "disk",
        "every read",
    ),
    (
        |made| made.mounted(""),
        FindingLevel::Warning,
        "disk",
        "whole machine",
    ),
    (
        |made| made.write("sys/block/mmcblk0/device/life_time", "0x0a 0x01"),
        FindingLevel::Warning,
        "disk",
        "90 %",
    ),
    (
        |made| made.write("sys/block/mmcblk0/device/life_time", "0x0b 0x01"),
        FindingLevel::Failed,
        "disk",
        "worn out",
    ),
    (
        |made| made.write("sys/block/mmcblk0/device/pre_eol_info", "0x03"),
        FindingLevel::Failed,
        "disk",
        "worn out",
    ),
    (
        |made| made.facts.folder.free_bytes = 1 << 20,
        FindingLevel::Failed,
        "disk",
        "`reserve`",
    ),
    (
        |made| made.facts.folder.free_bytes = 512 << 20,
        FindingLevel::Warning,
        "disk",
        "may take",
    ),
    (
        |made| made.facts.folder.free_inodes = Some(3),
        FindingLevel::Failed,
        "disk",
        "inodes",
    ),
    (
        |made| made.facts.folder.sync = Ok(Duration::from_millis(700)),
        FindingLevel::Warning,
        "disk",
        "700 ms",
    ),
    (
        |made| made.facts.folder.sync = Ok(Duration::from_secs(10)),
        FindingLevel::Failed,
        "disk",
        "10.0 s",
    ),
    (
        |made| made.facts.folder.sync = Err("no right".to_owned()),
        FindingLevel::Unknown,
        "disk",
        "no right",
    ),
    (
        |made| made.facts.wanted.connections = 2_000,
        FindingLevel::Warning,
        "descriptors",
        "1024 files",
    ),
    (
        |made| made.write("proc/sys/fs/inotify/max_user_watches", "4"),
        FindingLevel::Warning,
        "inotify",
        "4 files",
    ),
    (
        |made| made.remove("etc/resolv.conf"),
        FindingLevel::Failed,
        "names",
        "resolv.conf",
    ),
];

#[test]
fn each_fault_is_found_and_nothing_else_is_said() {
    for (number, (fault, level, subject, words)) in FAULTS.into_iter().enumerate() {
        let mut made = Made::well();
        fault(&mut made);
        let mut found = made.found();
        // A clock that is not set is wrong against the battery's, too.
        found.retain(|finding| !(number == 0 && finding.level == FindingLevel::Unknown));
        assert!(found.len() == 1, "{number} {words}: {found:#?}");
        let finding = &found[0];
        assert_eq!(
            (finding.level, finding.subject),
            (level, subject),
            "{finding:?}"
        );
        assert!(finding.what.contains(words), "{words}: {finding:?}");
        assert!(
            !finding.mend.is_empty() && finding.text().contains("do: "),
            "{finding:?}"
        );
    }
}

#[test]
fn ports_and_names_that_cannot_be_had_are_found() {
    let mut made = Made::well();
    let v4 = u32::from_ne_bytes([0, 0, 0, 0]);
    made.write(
        "proc/net/tcp",
        &format!("head\n 0: {v4:08X}:25AE 00000000:0000 0A 0 0 0\n"),
    );
    let found = made.found();
    assert!(
        found.len() == 1 && found[0].subject == "ports" && found[0].what.contains("0.0.0.0:9646"),
        "{found:?}"
    );
    made.remove("proc/net/tcp");
    made.facts.names[0].addresses = Ok(vec!["2001:db8::7".parse().unwrap()]);
    assert!(made.found()[0].what.contains("IPv6 addresses only"));
    made.write("proc/net/if_inet6", "20010db8 02 40 00 80 eth0\n");
    assert_eq!(made.found(), []);
    made.facts.names[0].addresses = Err("no such host".to_owned());
    assert!(made.found()[0].what.contains("no such host"));
}

#[test]
fn a_gateway_that_does_not_run_is_a_warning() {
    let made = Made::well();
    let found = examine(
        &Machine::below(made.root.path()),
        made.now,
        &made.facts,
        None,
    );
    let of_gateway = found
        .iter()
        .find(|finding| finding.subject == "gateway")
        .unwrap();
    assert_eq!(of_gateway.level, FindingLevel::Warning);
}

#[test]
fn words_of_the_machine_are_cleaned_before_anybody_sees_them() {
    let made = Made::well();
    made.write(
        "proc/swaps",
        "x\n/dev/mmcblk0\x1b[2J\u{202e} partition 1 0 5\n",
    );
    made.write("sys/class/rtc/rtc0/since_epoch", "\x1b]0;x\x07");
    for finding in made.found() {
        let text = finding.text();
        assert!(
            text.chars()
                .all(|symbol| symbol == '\n' || !('\0'..' ').contains(&symbol)),
            "{text:?}"
        );
        assert!(!text.contains('\u{202e}'), "{text:?}");
    }
}
