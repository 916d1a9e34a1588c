//! What the process holds of the machine's memory, and what was freed, on its way back.

use std::path::Path;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_holds_some_memory() {
        assert!((1 << 20..1 << 40).contains(&resident_bytes()));
    }
}
