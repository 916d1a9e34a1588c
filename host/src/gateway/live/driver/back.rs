//! The way back to a version that is kept: because an operator wants it, or because the running one keeps failing.

use super::super::PluginIndex;
use super::Driver;
use super::candidate::{Candidate, SignatureRule};
use super::job::After;
use crate::chain::{Artefact, BreakerOpened, ChangePlan};
use crate::gateway::start::signature;
use crate::versions::history::Who;
use crate::versions::{PluginVersions, StoredVersion};

impl Driver {
    pub(super) fn roll_back(
        &mut self,
        (id, place, who): (u64, PluginIndex, Who),
        to: Option<&str>,
    ) {
        match self
            .entry(place)
            .ok_or("nothing is known of it")
            .and_then(|entry| target(&entry, to))
        {
            Ok(target) => self.go_back(id, (place, who), &target, (ChangePlan::default(), None)),
            Err(why) => self.refuse(id, (place, who), why.to_owned()),
        }
    }

    /// The last good version takes the place of one that keeps failing, if it fails on less of the same messages.
    pub(super) fn fail_over(&mut self, flow: usize, opened: &BreakerOpened) {
        let place = PluginIndex {
            flow,
            plugin: opened.plugin,
        };
        if !self.places().contains(&place) {
            // The flow is another one by now.
            return;
        }
        let Some(entry) = self
            .entry(place)
            .filter(|entry| *entry.confirmed.digest == *opened.digest)
        else {
            return;
        };
        let Some(target) = entry
            .good_before()
            .filter(|target| target.digest != entry.confirmed.digest)
        else {
            return;
        };
        let pair = (entry.confirmed.digest.clone(), target.digest.clone());
        if self.in_vain.has(&pair) {
            return;
        }
        let who = Who::Breaker;
        let plugin = self.title(place);
        // Who changes it already may be mending it; should that not help, its breaker opens again.
        let Ok(id) = self
            .desk
            .board
            .open(format!("{} brings back {plugin}", who.name()), Some(place))
        else {
            return;
        };
        let running = entry.confirmed.label();
        let before = target.label();
        let why = &opened.why;
        tracing::warn!(
            plugin,
            running,
            before,
            "a plugin keeps failing, and its last good version is tried: {why}"
        );
        let plan = ChangePlan {
            is_cure: true,
            ..ChangePlan::default()
        };
        self.go_back(id, (place, who), target, (plan, Some(pair)));
    }

    /// Puts a kept version in place of the running one, which is not to come back by itself.
    fn go_back(
        &mut self,
        id: u64,
        whose: (PluginIndex, Who),
        target: &StoredVersion,
        (plan, cure): (ChangePlan, Option<(String, String)>),
    ) {
        let before = self.about(whose.0, &Candidate::default());
        let settings = serde_json::from_str(&target.settings).ok();
        let mut candidate = Candidate {
            settings,
            plan,
            is_asked: true,
            admission: SignatureRule::Kept,
            ..Candidate::default()
        };
        if target.digest != before.running.digest {
            let Some((path, component)) = self.parts.versions.component(&target.digest) else {
                self.in_vain_after(cure);
                return self.refuse(
                    id,
                    whose,
                    format!(
                        "the component {} is not kept whole any more",
                        target.label()
                    ),
                );
            };
            candidate.signature = signature(&Artefact::Kept(path));
            candidate.component = Some(component);
        }
        self.start(
            id,
            whose,
            candidate,
            After {
                is_way_back: true,
                cure,
                ..After::default()
            },
        );
    }

    fn in_vain_after(&self, cure: Option<(String, String)>) {
        cure.into_iter().for_each(|pair| self.in_vain.add(pair));
    }
}

/// The version to go back to: the newest good one, or the newest whose digest begins so.
fn target(entry: &PluginVersions, to: Option<&str>) -> Result<StoredVersion, &'static str> {
    let found = match to {
        Some(prefix) => entry
            .before
            .iter()
            .map(|earlier| &earlier.version)
            .find(|version| version.digest.starts_with(prefix)),
        None => entry.good_before(),
    };
    found.cloned().ok_or(match to {
        Some(_) => {
            "no kept version has such a digest; `tidegate plugins` shows those that are kept"
        }
        None => "no version before is kept; `tidegate plugins` shows those that are",
    })
}
