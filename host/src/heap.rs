//! What the process holds of the machine's memory, and what was freed, on its way back.

use std::path::Path;
use std::time::Duration;

use crate::file;

/// Bytes of RAM that the process holds, as the kernel counts them; 0 where it does not say.
pub fn resident_bytes() -> u64 {
    counted("VmRSS:")
}

/// The same without the pages of files: heaps, stacks and what plugins hold.
fn anonymous_bytes() -> u64 {
    counted("RssAnon:")
}

fn counted(name: &str) -> u64 {
    let kibibytes = || {
        let text = file::read_text(Path::new("/proc/self/status"), file::BY_HAND).ok()?;
        let words = text.lines().find_map(|line| line.strip_prefix(name))?;
        words.split_whitespace().next()?.parse::<u64>().ok()
    };
    kibibytes().unwrap_or_default() << 10
}

/// Heaps that all threads share. The C library gives each thread one, and what was freed in one is of no use to the others: after
/// a burst, whose messages are made in one thread and freed in another, megabytes lay idle in each. Two are enough: one is
/// in use mostly.
#[cfg(target_env = "gnu")]
const HEAPS: std::ffi::c_int = 2;

/// Has all threads that begin from now on share a few heaps.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "the C library is told by a call of its own")]
pub fn share() {
    /// As glibc's `malloc.h` has it.
    const M_ARENA_MAX: std::ffi::c_int = -8;
    unsafe extern "C" {
        fn mallopt(param: std::ffi::c_int, value: std::ffi::c_int) -> std::ffi::c_int;
    }
    // SAFETY: `mallopt` is glibc's, with this signature, and sets a number.
    unsafe { mallopt(M_ARENA_MAX, HEAPS) };
}

/// Other C libraries share by themselves.
#[cfg(not(target_env = "gnu"))]
pub fn share() {}

/// Gives back what nobody uses: of the heaps, and of the program itself.
pub fn give_back() {
    trim();
    let_go_of_program();
}

/// Lets go of the pages of the program that it has used once and may never use again: those that read the config, built the
/// chains and looked through the plugins make up half of what a process holds after its start. What is used comes back from the
/// page cache, sixteen pages at a time, within some milliseconds for all of it.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "the kernel is told by a call of its own")]
fn let_go_of_program() {
    /// Room for the mappings of thousands of flows.
    const MAPS: u64 = 16 << 20;
    let Ok(program) = std::fs::read_link("/proc/self/exe") else {
        return;
    };
    let Ok(maps) = file::read_text(Path::new("/proc/self/maps"), MAPS) else {
        return;
    };
    for (from, to) in unwritten_parts(&maps, &program.to_string_lossy()) {
        let start = std::ptr::with_exposed_provenance_mut(from);
        // SAFETY: the range is a private mapping of the program's file that nobody can write and nobody has written: whatever
        // is read there next is read from the file, which cannot be changed while it runs.
        let told =
            unsafe { rustix::mm::madvise(start, to - from, rustix::mm::Advice::LinuxDontNeed) };
        if told.is_err() {
            // The pages stay, as they would have without it.
            return;
        }
    }
}

/// Elsewhere the kernel sees to it by itself.
#[cfg(not(target_os = "linux"))]
fn let_go_of_program() {}

/// Code and constants of the program at `program`, as addresses from and to, out of `maps`, which has the form of
/// `/proc/self/maps`. What was written when it was loaded (a table of addresses) is none of them: it begins elsewhere in the file.
#[cfg(any(target_os = "linux", test))]
fn unwritten_parts(maps: &str, program: &str) -> Vec<(usize, usize)> {
    let part = |line: &str| {
        let (head, path) = line.split_at_checked(line.find('/')?)?;
        let mut words = head.split_whitespace();
        let (range, rights, offset) = (words.next()?, words.next()?, words.next()?);
        let is_code = rights == "r-xp";
        let is_head = rights == "r--p" && offset.bytes().all(|digit| digit == b'0');
        if path != program || !(is_code || is_head) {
            return None;
        }
        let (from, to) = range.split_once('-')?;
        let address = |text| usize::from_str_radix(text, 16).ok();
        Some((address(from)?, address(to)?))
    };
    maps.lines().filter_map(part).collect()
}

/// Gives back what the heaps hold and nobody uses. The C library gives threads heaps of their own and keeps what was freed in
/// each: a start, or a change of a plugin, whose threads come and go, would leave some megabytes in one after the other. Takes
/// some milliseconds, in which who needs a heap may wait: not for every batch.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "the C library is asked by a call of its own")]
fn trim() {
    unsafe extern "C" {
        fn malloc_trim(pad: usize) -> std::ffi::c_int;
    }
    // SAFETY: `malloc_trim` is glibc's, with this signature; any thread may call it at any time, and it touches only what is free.
    unsafe { malloc_trim(0) };
}

/// Other C libraries give back by themselves.
#[cfg(not(target_env = "gnu"))]
fn trim() {}

/// How often it is looked at what the process holds.
const LOOK: Duration = Duration::from_secs(10);
/// By how much it has to have grown since what was free was given back last.
const GROWN: u64 = 4 << 20;
/// So many of them are the first minute.
const FIRST_LOOKS: u64 = 6;
/// Looks after a growth at which what is free is given back: a burst may last a while.
const TURNS: [u32; 3] = [0, 6, 30];

/// When what is free is to be given back.
#[derive(Clone, Copy, Debug)]
struct Peaks {
    /// What was held when it was given back last.
    low: u64,
    /// Looks since it grew.
    looks: u32,
}

impl Peaks {
    fn new(held: u64) -> Self {
        let looks = u32::MAX;
        Self { low: held, looks }
    }

    /// Whether it is time, while so many bytes are held.
    fn is_due(&mut self, held: u64) -> bool {
        self.looks = if held > self.low.saturating_add(GROWN) {
            0
        } else {
            self.looks.saturating_add(1)
        };
        self.low = self.low.min(held);
        TURNS.contains(&self.looks)
    }
}

/// Gives back what the first minute and peaks have left behind, for as long as it is polled.
pub async fn give_back_after_peaks() {
    let mut peaks = Peaks::new(anonymous_bytes());
    for look in 1_u64.. {
        tokio::time::sleep(LOOK).await;
        if peaks.is_due(anonymous_bytes()) {
            trim();
            peaks.low = anonymous_bytes();
        }
        if look == FIRST_LOOKS {
            // Links have been dialled, files looked through and old chunks read.
            let_go_of_program();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_is_given_back_at_once_and_twice_later_and_then_no_more() {
        const MIB: u64 = 1 << 20;
        let mut peaks = Peaks::new(20 * MIB);
        assert!((0..100).all(|_| !peaks.is_due(23 * MIB)));
        // What is in use stays.
        let due = |peaks: &mut Peaks, held| {
            let is_due = peaks.is_due(held);
            peaks.low = if is_due { held } else { peaks.low };
            is_due
        };
        let turns: Vec<u32> = (0..1_000).filter(|_| due(&mut peaks, 40 * MIB)).collect();
        assert_eq!(turns, TURNS);
        assert!(!due(&mut peaks, 30 * MIB) && due(&mut peaks, 35 * MIB));
    }

    #[test]
    fn code_and_constants_of_the_program_and_nothing_else_are_let_go_of() {
        let maps = "\
55d0a000-55d0b000 r--p 00000000 fe:00 42 /usr/bin/tide gate
55d0b000-55d0c000 r-xp 00001000 fe:00 42 /usr/bin/tide gate
55d0c000-55d0d000 r--p 00002000 fe:00 42 /usr/bin/tide gate
55d0d000-55d0e000 rw-p 00003000 fe:00 42 /usr/bin/tide gate
7f000000-7f001000 r-xp 00001000 fe:00 43 /usr/lib/libc.so.6
7f001000-7f002000 r-xp 00000000 00:00 0
7ffd0000-7ffd1000 rw-p 00000000 00:00 0  [stack]
";
        let parts = unwritten_parts(maps, "/usr/bin/tide gate");
        assert_eq!(
            parts,
            [(0x55d0_a000, 0x55d0_b000), (0x55d0_b000, 0x55d0_c000)]
        );
    }

    #[test]
    fn what_was_let_go_of_is_there_again_when_it_is_used() {
        let before = resident_bytes();
        give_back();
        assert!(resident_bytes() < before, "{before}");
        // Code and constants of all kinds.
        assert!(format!("{:?}", std::fs::read_dir("/nowhere")).contains("NotFound"));
    }

    #[test]
    fn a_process_holds_some_memory() {
        assert!((1 << 20..1 << 40).contains(&resident_bytes()));
    }
}
