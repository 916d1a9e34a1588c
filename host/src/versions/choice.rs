//! What is to run at a start.

use super::entry::{PluginVersions, StoredVersion};

/// Versions to start with, best first, and why the config's own is not the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choices {
    /// Never empty: where nothing else is known, the config's.
    pub versions: Vec<StoredVersion>,
    /// Why the first is not what the config says.
    pub passed_over: Option<PassedOver>,
    /// What the config says was under way when the gateway ended: it is to be tried again beside the first choice.
    pub is_tried_again: bool,
}

/// Why what the config says is not what runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PassedOver {
    /// An operator has put another version in its place.
    ByOperator,
    /// It may do harm, in words for the operator.
    Unproven(String),
}

impl Choices {
    pub(super) fn new(entry: Option<&PluginVersions>, written: &StoredVersion) -> Self {
        let Some(entry) = entry else {
            return Self::of(vec![written.clone()], None);
        };
        let good = std::iter::once(&entry.confirmed)
            .chain(entry.before.iter().map(|earlier| &earlier.version));
        let mut good: Vec<StoredVersion> = good
            .filter(|version| entry.refusal(version).is_none())
            .cloned()
            .collect();
        let wanted = wanted(entry, written);
        match doubt(entry, &wanted) {
            Some(why) if !good.is_empty() => {
                let is_tried_again = entry
                    .trying
                    .as_ref()
                    .is_some_and(|it| it.version == wanted && it.is_tried_again());
                Self {
                    is_tried_again,
                    ..Self::of(good, Some(PassedOver::Unproven(why)))
                }
            }
            _ => {
                let doubt =
                    doubt(entry, written).map_or(PassedOver::ByOperator, PassedOver::Unproven);
                let passed_over = (wanted != *written).then_some(doubt);
                good.retain(|version| *version != wanted);
                good.insert(0, wanted);
                Self::of(good, passed_over)
            }
        }
    }

    fn of(versions: Vec<StoredVersion>, passed_over: Option<PassedOver>) -> Self {
        Self {
            versions,
            passed_over,
            is_tried_again: false,
        }
    }
}

/// Why a version is not to run without something that guards it.
fn doubt(entry: &PluginVersions, version: &StoredVersion) -> Option<String> {
    let refusal = entry.refusal(version).map(|refusal| {
        let what = if refusal.rolled_back {
            "rolled back"
        } else {
            "refused"
        };
        format!("it was {what} at {}: {}", refusal.at, refusal.why)
    });
    let attempt = entry
        .trying
        .as_ref()
        .filter(|attempt| attempt.version == *version);
    let interrupted = attempt.map(|attempt| {
        let again = "it had not proven itself when the gateway ended, and is tried again beside it";
        if attempt.is_tried_again() {
            again
        } else {
            "the gateway ended again while it was tried"
        }
        .to_owned()
    });
    interrupted.or(refusal)
}

/// The newest instruction, for component and settings apart: what the config says differently from when the running
/// version was decided on counts, the rest is as it was decided.
fn wanted(entry: &PluginVersions, written: &StoredVersion) -> StoredVersion {
    let pick = |written: &String, based_on: &String, confirmed: &String| {
        if written == based_on {
            confirmed.clone()
        } else {
            written.clone()
        }
    };
    StoredVersion {
        digest: pick(
            &written.digest,
            &entry.based_on.digest,
            &entry.confirmed.digest,
        ),
        settings: pick(
            &written.settings,
            &entry.based_on.settings,
            &entry.confirmed.settings,
        ),
    }
}
