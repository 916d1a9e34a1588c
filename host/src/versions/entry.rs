//! What is known of one plugin.

use serde::{Deserialize, Serialize};

use super::{KEPT, REFUSED};
use crate::clock::{Now, utc};

/// How often a version may be interrupted by the end of the gateway before it counts as the cause of that.
const INTERRUPTIONS: u32 = 2;

/// A component with its settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredVersion {
    /// SHA-256 of the component, in hexadecimal; empty where there is none that can be read.
    pub digest: String,
    /// JSON, as it is handed to `configure`.
    pub settings: String,
}

/// A plugin of the config, by the names of its flow and its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginVersions {
    pub flow: String,
    pub plugin: String,
    /// Runs, and has proven itself.
    pub confirmed: StoredVersion,
    pub since: String,
    /// What the config said when that was decided.
    pub based_on: StoredVersion,
    /// Good versions from before, the newest first.
    pub before: Vec<Earlier>,
    /// Versions that were not taken, the newest first.
    pub refused: Vec<RefusedVersion>,
    /// Is tried beside the one that runs.
    pub trying: Option<Attempt>,
    /// The highest version that a signature gave to one that was confirmed.
    #[serde(default)]
    pub highest: Option<semver::Version>,
}

/// A version that was good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Earlier {
    #[serde(flatten)]
    pub version: StoredVersion,
    /// Until when it ran (UTC).
    pub until: String,
}

/// A version that was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedVersion {
    #[serde(flatten)]
    pub version: StoredVersion,
    pub at: String,
    /// In words for the operator.
    pub why: String,
    /// It had messages of its own before it was taken back: it is not tried again until an operator asks. What was
    /// refused before may be put in place again.
    pub rolled_back: bool,
}

/// A version that is being tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    #[serde(flatten)]
    pub version: StoredVersion,
    /// By an operator's request, whose component is nowhere else: not tried again by itself.
    pub is_asked: bool,
    /// How often the end of the gateway has interrupted it, this time included until it has ended.
    pub interrupted: u32,
}

impl Attempt {
    /// Whether it is to be tried again after the end of the gateway has interrupted it.
    pub fn is_tried_again(&self) -> bool {
        !self.is_asked && self.interrupted < INTERRUPTIONS
    }
}

impl RefusedVersion {
    pub fn now(version: StoredVersion, why: String, rolled_back: bool) -> Self {
        Self {
            version,
            at: now(),
            why,
            rolled_back,
        }
    }
}

impl PluginVersions {
    /// Of a plugin that runs as the config says.
    pub(super) fn new(flow: &str, plugin: &str, written: &StoredVersion) -> Self {
        Self {
            flow: flow.to_owned(),
            plugin: plugin.to_owned(),
            confirmed: written.clone(),
            since: now(),
            based_on: written.clone(),
            before: Vec::new(),
            refused: Vec::new(),
            trying: None,
            highest: None,
        }
    }

    pub(super) fn is_of(&self, flow: &str, plugin: &str) -> bool {
        self.flow == flow && self.plugin == plugin
    }

    /// Why a version is not to run by itself, if it is not.
    pub fn refusal(&self, version: &StoredVersion) -> Option<&RefusedVersion> {
        self.refused
            .iter()
            .find(|refusal| refusal.version == *version)
    }

    /// What a roll-back brings back: the newest good version from before.
    pub fn good_before(&self) -> Option<&StoredVersion> {
        self.before
            .iter()
            .map(|earlier| &earlier.version)
            .find(|version| self.refusal(version).is_none())
    }

    /// Digests of the components that must be kept.
    pub(super) fn digests(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&*self.confirmed.digest)
            .chain(self.before.iter().map(|earlier| &*earlier.version.digest))
    }

    pub(super) fn begin(&mut self, version: &StoredVersion, is_asked: bool) {
        let interrupted = self
            .trying
            .take()
            .filter(|attempt| attempt.version == *version)
            .map_or(0, |attempt| attempt.interrupted);
        self.trying = Some(Attempt {
            version: version.clone(),
            is_asked,
            interrupted: interrupted + 1,
        });
    }

    pub(super) fn suspend(&mut self) {
        if let Some(attempt) = &mut self.trying {
            attempt.interrupted = attempt.interrupted.saturating_sub(1);
        }
    }

    /// An attempt that is not made again: one that was interrupted again and again counts as rolled back.
    pub(super) fn give_up_attempt(&mut self) {
        match self.trying.take() {
            Some(attempt) if !attempt.is_asked && !attempt.is_tried_again() => {
                let why = "the gateway ended again and again while it was tried".to_owned();
                self.refuse(RefusedVersion::now(attempt.version, why, true));
            }
            _ => {}
        }
    }

    pub(super) fn confirm(&mut self, version: &StoredVersion) {
        self.trying = self
            .trying
            .take()
            .filter(|attempt| attempt.version != *version);
        if self.confirmed == *version {
            return;
        }
        self.refused.retain(|refusal| refusal.version != *version);
        self.before
            .retain(|earlier| earlier.version != *version && earlier.version != self.confirmed);
        let version = std::mem::replace(&mut self.confirmed, version.clone());
        // A start that could not read it has nothing to go back to.
        if !version.digest.is_empty() {
            self.before.insert(
                0,
                Earlier {
                    version,
                    until: now(),
                },
            );
            self.before.truncate(KEPT);
        }
        self.since = now();
    }

    /// A signed version was confirmed.
    pub(super) fn raise(&mut self, signed: Option<&semver::Version>) {
        self.highest = self.highest.take().max(signed.cloned());
    }

    pub(super) fn refuse(&mut self, refusal: RefusedVersion) {
        self.trying = self
            .trying
            .take()
            .filter(|attempt| attempt.version != refusal.version);
        self.refused
            .retain(|earlier| earlier.version != refusal.version);
        self.refused.insert(0, refusal);
        self.refused.truncate(REFUSED);
    }
}

fn now() -> String {
    utc(Now::read().wall.0)
}
