//! What is to run at a start.

use super::entry::{Entry, Version};

/// Versions to start with, best first, and why the config's own is not the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choices {
    /// Never empty: where nothing else is known, the config's.
    pub versions: Vec<Version>,
    /// Why what the config says is not tried, in words for the operator.
    pub passed_over: Option<String>,
    /// What the config says was under way when the gateway ended: it is to be tried again beside the first choice.
    pub is_tried_again: bool,
}

impl Choices {
    pub(super) fn new(entry: Option<&Entry>, written: &Version) -> Self {
        let plain = |versions| Self { versions, passed_over: None, is_tried_again: false };
        let Some(entry) = entry else { return plain(vec![written.clone()]) };
        let good = std::iter::once(&entry.confirmed).chain(entry.before.iter().map(|earlier| &earlier.version));
        let mut good: Vec<Version> = good.filter(|version| entry.refusal(version).is_none()).cloned().collect();
        let wanted = wanted(entry, written);
        if let Some(attempt) = entry.trying.as_ref().filter(|attempt| attempt.version == wanted) {
            let is_tried_again = attempt.is_tried_again();
            let why = if is_tried_again {
                "it had not proven itself when the gateway ended, and is tried again beside it"
            } else {
                "the gateway ended again while it was tried"
            };
            if !good.is_empty() {
                return Self { versions: good, passed_over: Some(why.to_owned()), is_tried_again };
            }
        }
        match entry.refusal(&wanted) {
            Some(refusal) if !good.is_empty() => {
                let what = if refusal.rolled_back { "rolled back" } else { "refused" };
                let why = format!("it was {what} at {}: {}", refusal.at, refusal.why);
                Self { versions: good, passed_over: Some(why), is_tried_again: false }
            }
            _ => {
                good.retain(|version| *version != wanted);
                good.insert(0, wanted);
                plain(good)
            }
        }
    }
}

/// The newest instruction, for component and settings apart: what the config says differently from when the running
/// version was decided on counts, the rest is as it was decided.
fn wanted(entry: &Entry, written: &Version) -> Version {
    let pick = |written: &String, based_on: &String, confirmed: &String| {
        if written == based_on { confirmed.clone() } else { written.clone() }
    };
    Version {
        digest: pick(&written.digest, &entry.based_on.digest, &entry.confirmed.digest),
        settings: pick(&written.settings, &entry.based_on.settings, &entry.confirmed.settings),
    }
}
