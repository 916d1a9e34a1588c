//! One change of one plugin: begun, tried by the chain, and concluded in what is kept of it.

use serde_json::Value;

use super::super::Place;
use super::super::order::{Line, Outcome, Verdict};
use super::{About, Admission, Candidate, Driver, Turn};
use crate::builtin;
use crate::chain::{self, Change, Refused, State, Step, Swapped, Verify};
use crate::clock::{Now, utc};
use crate::gateway::start::signed_version;
use crate::message::short_digest;
use crate::telemetry::with_causes;
use crate::trust::{self, Claim};
use crate::versions::history::{Event, Who};
use crate::versions::{Code, Refusal, Version};

impl Driver {
    /// An order that is not even tried.
    pub(super) fn refuse(&self, turn: &Turn<'_>, why: String) -> Outcome {
        let about = self.about(turn.place, &Candidate::default());
        tracing::warn!(flow = about.flow, plugin = about.plugin, "nothing is changed: {why}");
        self.verdict(turn, &about, Outcome::Refused, Some(why))
    }

    pub(super) fn about(&self, place: Place, candidate: &Candidate) -> About {
        let (flow, plugin) = (&self.parts.config.flows[place.flow].name, &self.plugin(place).name);
        let written = self.written[place.flow][place.plugin].clone();
        let running = self.parts.versions.entry(flow, plugin).map_or_else(|| written.clone(), |entry| entry.confirmed);
        let digest = candidate.component.as_deref().map_or_else(|| running.digest.clone(), trust::digest);
        let settings = candidate.settings.as_ref().map_or_else(|| running.settings.clone(), Value::to_string);
        About { flow: flow.to_string(), plugin: plugin.to_string(), running, new: Version { digest, settings }, written }
    }

    /// Makes a change and waits for its end.
    pub(super) fn change(&self, turn: &Turn<'_>, candidate: Candidate) -> Outcome {
        let Place { flow, plugin } = turn.place;
        self.desk.board.begin(turn.id, turn.place);
        let about = self.about(turn.place, &candidate);
        let versions = &self.parts.versions;
        if let Some(why) = self.reason_not_to(turn.place, &about, candidate.is_asked) {
            tracing::warn!(flow = about.flow, plugin = about.plugin, candidate = about.new.label(), "not tried: {why}");
            // That the config says so is known from now on.
            versions.confirmed(about.spot(), &about.running, None);
            return self.verdict(turn, &about, Outcome::NotTried, Some(why));
        }
        if about.new != about.running {
            self.note(turn, &about, "begun", (None, None));
            // A cure that does not help is as good as it was.
            if *turn.who != Who::Breaker {
                versions.begin(about.spot(), &about.new, candidate.is_asked);
            }
        }
        let spec = self.plugin(turn.place);
        let signature = candidate.signature.as_deref();
        let highest = self.entry(turn.place).and_then(|entry| entry.highest);
        let verify = |component: &[u8]| {
            let (highest, now) = match candidate.admission {
                Admission::New => (highest.as_ref(), Now::read()),
                Admission::Older => (None, Now::read()),
                // Nothing expires by a clock that is not set.
                Admission::Kept => (None, Now::default()),
            };
            let claim = Claim { name: &spec.signed_as, highest, now };
            spec.trust.verify(component, signature, claim).map(drop).map_err(|denied| with_causes(&denied))
        };
        let change = Change {
            component: candidate.component.as_deref(),
            settings: candidate.settings.as_ref(),
            plan: candidate.plan,
            verify: (!is_builtin(candidate.component.as_deref())).then_some(Verify(&verify)),
        };
        let Some(chain) = self.parts.doors.chain(flow) else { return Outcome::Refused };
        let component = candidate.component.as_deref();
        let signed = component.and_then(|component| signed_version(spec, component, signature));
        let code = component.map(|component| Code { component, signature, signed: signed.as_ref() });
        let result = chain.swap(plugin, change, &|event| {
            if event.state == State::Confirmed {
                versions.confirmed(about.spot(), &about.new, code);
            }
            self.tell(turn, event);
        });
        self.conclude(turn, &about, code, result)
    }

    fn reason_not_to(&self, place: Place, about: &About, is_asked: bool) -> Option<String> {
        let entry = self.entry(place).filter(|_| !is_asked && about.new != about.running)?;
        let refusal = entry.refusal(&about.new).filter(|refusal| refusal.rolled_back)?;
        let name = self.title(place);
        Some(format!("it was rolled back at {}: {}; `tidegate swap {name}` tries it all the same", refusal.at, refusal.why))
    }

    fn conclude(&self, turn: &Turn<'_>, about: &About, code: Option<Code<'_>>, result: Result<Swapped, Refused>) -> Outcome {
        let (new, spot) = (&about.new, about.spot());
        let versions = &self.parts.versions;
        match result {
            Ok(_) if about.new == about.running => {
                // Its signature may be a newer one.
                versions.confirmed(spot, new, code);
                self.verdict(turn, about, Outcome::Unchanged, None)
            }
            Ok(swapped) => {
                self.note(turn, about, State::Confirmed.name(), (None, to_json(swapped.figures.as_ref())));
                self.verdict(turn, about, Outcome::Confirmed, None)
            }
            Err(refused) if self.desk.board.is_stopping() && matches!(refused.step, Step::Cancel | Step::Compile) => {
                versions.suspended(spot);
                self.note(turn, about, Outcome::Suspended.name(), (Some(refused.why.clone()), None));
                self.verdict(turn, about, Outcome::Suspended, Some(refused.why))
            }
            Err(refused) => {
                let rolled_back = refused.state == State::RolledBack;
                let why = format!("{}: {}", refused.step.name(), refused.why);
                // One that an operator has ended is not to come back by itself either.
                let is_final = rolled_back || refused.step == Step::Cancel;
                if *turn.who != Who::Breaker {
                    versions.refused(spot, Refusal::now(new.clone(), why.clone(), is_final));
                }
                let outcome = if rolled_back { Outcome::RolledBack } else { Outcome::Refused };
                self.note(turn, about, outcome.name(), (Some(why.clone()), to_json(refused.figures.as_deref())));
                self.verdict(turn, about, outcome, Some(why))
            }
        }
    }

    /// A transition, for whoever follows.
    fn tell(&self, turn: &Turn<'_>, event: &chain::Event) {
        let event = Event {
            at: utc(event.at),
            old: event.old.to_string(),
            new: event.new.to_string(),
            why: event.why.clone(),
            figures: to_json(event.figures.as_ref()),
            ..Event::now(turn.who, &event.flow, &event.plugin, event.state.name())
        };
        self.desk.board.push(turn.id, Line::Event(event));
    }

    fn note(&self, turn: &Turn<'_>, about: &About, what: &str, (why, figures): (Option<String>, Option<Value>)) {
        let (old, new) = (about.running.digest.clone(), about.new.digest.clone());
        let event = Event::now(turn.who, &about.flow, &about.plugin, what);
        self.parts.audit.note(&Event { old, new, why, figures, ..event });
    }

    fn verdict(&self, turn: &Turn<'_>, about: &About, outcome: Outcome, why: Option<String>) -> Outcome {
        let name = self.title(turn.place);
        let undo = (outcome == Outcome::Confirmed).then(|| {
            // With the same component only the settings differ, and the version before is meant.
            let is_other = about.running.digest != about.new.digest;
            let to = if is_other { format!(" --to {}", short_digest(&about.running.digest)) } else { String::new() };
            format!("tidegate rollback {name}{to}")
        });
        let runs = if outcome == Outcome::Confirmed { &about.new } else { &about.running };
        let verdict = Verdict {
            flow: about.flow.clone(),
            plugin: about.plugin.clone(),
            verdict: outcome,
            running: runs.digest.clone(),
            why,
            undo,
        };
        self.desk.board.push(turn.id, Line::Verdict(verdict));
        outcome
    }

    pub(super) fn title(&self, place: Place) -> String {
        format!("{}/{}", self.parts.config.flows[place.flow].name, self.plugin(place).name)
    }
}

/// What came with this binary needs no signature, whatever way it came here.
fn is_builtin(component: Option<&[u8]>) -> bool {
    component.is_some_and(|component| builtin::NAMES.iter().any(|name| builtin::component(name) == Some(component)))
}

fn to_json(figures: Option<&chain::Report>) -> Option<Value> {
    figures.and_then(|figures| serde_json::to_value(figures).ok())
}
