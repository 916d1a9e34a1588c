//! Memory, swap, and how large a page is.

use super::finding::{Finding, FindingLevel};
use super::machine::{Machine, kibibytes};
use crate::cli::show;

/// The share of the machine's memory that a limit may take: the system needs some, too.
const MOST_OF_ALL: u64 = 80;

pub(super) fn look(machine: &Machine, limit_bytes: u64) -> Vec<Finding> {
    let Some(text) = machine.text("proc/meminfo") else {
        let what = "how much memory there is cannot be read";
        return vec![Finding::of(
            FindingLevel::Unknown,
            "memory",
            what,
            "",
            "cat /proc/meminfo",
        )];
    };
    let mut found = Vec::new();
    if let Some(total) = kibibytes(&text, "MemTotal") {
        found.push(enough(total, kibibytes(&text, "MemAvailable"), limit_bytes));
    }
    found.extend(swap(machine));
    if machine.text("proc/sys/vm/overcommit_memory").as_deref() == Some("2") {
        let why = "a plugin reserves address space that it never uses, and is refused it";
        let mend = "sysctl vm.overcommit_memory=0";
        found.push(Finding::of(
            FindingLevel::Warning,
            "memory",
            "the kernel grants no more than there is",
            why,
            mend,
        ));
    }
    let page = machine.text("proc/self/smaps").and_then(|text| {
        let line = text
            .lines()
            .find(|line| line.starts_with("KernelPageSize:"))?;
        kibibytes(line, "KernelPageSize")
    });
    if let Some(page) = page {
        found.push(Finding::ok(
            "memory",
            format!("pages of {}", show::bytes(page)),
        ));
    }
    found
}

fn enough(total: u64, available: Option<u64>, limit: u64) -> Finding {
    let why = "the kernel ends the process that holds most once there is none left, and with it what is in memory";
    if limit > total / 100 * MOST_OF_ALL {
        let what = format!(
            "`memory` of [gateway] is {}, and the machine has {} in all",
            show::bytes(limit),
            show::bytes(total)
        );
        let mend = format!(
            "write memory = \"{}MiB\" in [gateway]",
            (total >> 21).max(32)
        );
        return Finding::of(FindingLevel::Failed, "memory", what, why, mend);
    }
    match available {
        Some(available) if available < 48 << 20 => Finding::of(
            FindingLevel::Warning,
            "memory",
            format!("{} left of {}", show::bytes(available), show::bytes(total)),
            why,
            "see who takes it: top -o %MEM",
        ),
        _ => Finding::ok(
            "memory",
            format!(
                "{}, of which the gateway may take {}",
                show::bytes(total),
                show::bytes(limit)
            ),
        ),
    }
}

/// Swap on a card: what is in memory is written there over and over.
fn swap(machine: &Machine) -> Option<Finding> {
    let text = machine.text("proc/swaps")?;
    let on_card = text.lines().skip(1).find_map(|line| {
        let mut words = line.split_whitespace();
        let (device, kind) = (words.next()?, words.next()?);
        let is_card = device.contains("mmcblk") || (kind == "file" && root_is_card(machine));
        is_card.then(|| device.to_owned())
    })?;
    let why =
        "pages that come and go wear a card more than all messages do, and it stalls for seconds";
    let mend = "systemctl disable --now dphys-swapfile; swapoff -a; or swap into memory: apt install zram-tools";
    Some(Finding::of(
        FindingLevel::Warning,
        "swap",
        format!("on the card: {on_card}"),
        why,
        mend,
    ))
}

fn root_is_card(machine: &Machine) -> bool {
    let mounts = machine.text("proc/self/mountinfo").unwrap_or_default();
    mounts
        .lines()
        .any(|line| line.split_whitespace().nth(4) == Some("/") && line.contains("mmcblk"))
}
