//! What the process tells about itself.

#[cfg(feature = "allocations")]
pub mod allocations;
mod line;
pub mod log;
mod repeats;
pub mod sink;

/// An error and its causes, in one line.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // A text that holds its cause says it once.
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}
