//! What a process has used, from `/proc`, and how delays are summed up.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// CPU time of a process so far, all threads, user and system. Counted in ticks of 10 ms.
pub fn cpu(pid: u32) -> Result<Duration> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).context("the process is gone")?;
    // The command's name may hold spaces and parentheses; fields 14 and 15 are counted from after the last one.
    let (_, fields) = text.rsplit_once(") ").context("no stat line")?;
    let mut fields = fields.split(' ').skip(11);
    let mut ticks = || {
        fields
            .next()
            .and_then(|field| field.parse::<u64>().ok())
            .context("no time in stat")
    };
    Ok(Duration::from_millis(10 * (ticks()? + ticks()?)))
}

/// Resident memory in bytes: now and at its highest.
pub fn memory(pid: u32) -> Result<(u64, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).context("the process is gone")?;
    let line = |name: &str| {
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .context("no memory in status")?;
        let kib: u64 = value
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .context("memory is in kB")?;
        Ok::<_, anyhow::Error>(kib * 1024)
    };
    Ok((line("VmRSS:")?, line("VmHWM:")?))
}

/// Resident memory in bytes in which a page that lies in several places counts once: the images of plugins' memories, of which
/// every instance has a view and few pages of its own, are a thousand times in the plain figure.
pub fn memory_once(pid: u32) -> Result<u64> {
    let text =
        fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).context("the process is gone")?;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix("Pss:"))
        .context("no `Pss` in smaps_rollup")?;
    let kib: u64 = value
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .context("memory is in kB")?;
    Ok(kib * 1024)
}

/// Threads of a process.
pub fn threads(pid: u32) -> Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/task"))
        .context("the process is gone")?
        .count())
}

/// The processes that a process has started, its main thread or another, and that have not ended.
pub fn children(pid: u32) -> Result<Vec<u32>> {
    let mut children = Vec::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task")).context("the process is gone")? {
        // A thread may end meanwhile.
        let text = fs::read_to_string(thread?.path().join("children")).unwrap_or_default();
        children.extend(
            text.split_whitespace()
                .filter_map(|word| word.parse::<u32>().ok()),
        );
    }
    Ok(children)
}

/// The value below which `share` of the sorted delays lie, in milliseconds; NaN of none.
pub fn percentile_ms(sorted_us: &[u32], share: f64) -> f64 {
    let place = ((sorted_us.len() as f64 * share) as usize).min(sorted_us.len().saturating_sub(1));
    sorted_us
        .get(place)
        .map_or(f64::NAN, |us| f64::from(*us) / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_used_something() {
        let (now, peak) = memory(std::process::id()).unwrap();
        assert!(now > 0 && peak >= now && memory_once(std::process::id()).unwrap() > 0);
        assert!(cpu(std::process::id()).is_ok());
    }
}
