//! Changes of plugins as the log of a gateway tells of them.

use serde::Deserialize;

use crate::process::Lines;

/// What is read of a line.
#[derive(Deserialize)]
struct Told {
    pause_us: u32,
}

/// How long messages waited for each confirmed change so far, microseconds, the shortest first.
pub fn pauses_us(lines: &Lines) -> Vec<u32> {
    let told = |line: &String| {
        serde_json::from_str::<Told>(line)
            .ok()
            .map(|told| told.pause_us)
    };
    let mut pauses: Vec<u32> = lines.all().iter().filter_map(told).collect();
    pauses.sort_unstable();
    pauses
}

/// Whether a change has come to `state`, told in a line from number `mark` on.
pub fn has_come_to(lines: &Lines, mark: usize, state: &str) -> bool {
    lines.has_since(mark, &[&format!("\"state\":\"{state}\"")])
}
