//! What the process holds of the machine's memory, and what was freed, on its way back.

use std::path::Path;
use std::time::Duration;

use crate::file;

/// Bytes of RAM that the process holds, as the kernel counts them; 0 where it does not say.
pub fn resident_bytes() -> u64 {
    let kibibytes = || {
        let text = file::read_text(Path::new("/proc/self/status"), file::BY_HAND).ok()?;
        let words = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
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

/// Gives back what the heaps hold and nobody uses. The C library gives threads heaps of their own and keeps what was freed in
/// each: a start, or a change of a plugin, whose threads come and go, would leave some megabytes in one after the other. Takes
/// some milliseconds, in which who needs a heap may wait: not for every batch.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "the C library is asked by a call of its own")]
pub fn give_back() {
    unsafe extern "C" {
        fn malloc_trim(pad: usize) -> std::ffi::c_int;
    }
    // SAFETY: `malloc_trim` is glibc's, with this signature; any thread may call it at any time, and it touches only what is free.
    unsafe { malloc_trim(0) };
}

/// Other C libraries give back by themselves.
#[cfg(not(target_env = "gnu"))]
pub fn give_back() {}

/// How often it is looked at what the process holds.
const LOOK: Duration = Duration::from_secs(10);
/// By how much it has to have grown since what was free was given back last.
const GROWN: u64 = 4 << 20;
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

/// Gives back what peaks have left behind, for as long as it is polled.
pub async fn give_back_after_peaks() {
    let mut peaks = Peaks::new(resident_bytes());
    loop {
        tokio::time::sleep(LOOK).await;
        if peaks.is_due(resident_bytes()) {
            give_back();
            peaks.low = resident_bytes();
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
    fn a_process_holds_some_memory() {
        assert!((1 << 20..1 << 40).contains(&resident_bytes()));
    }
}
