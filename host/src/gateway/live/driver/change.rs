//! One change of one plugin: begun, tried by the chain, and concluded in what is kept of it.

use serde_json::Value;

use super::super::PluginIndex;
use super::super::order::{ChangeLine, ChangeOutcome, PluginVerdict};
use super::super::request::Adopted;
use super::Driver;
use super::candidate::{Candidate, ChangeSubject, SignatureRule};
use super::job::{After, Job, JobEnd};
use crate::builtin;
use crate::chain::{self, Change, ChangeState, ChangeStep, NotChanged, Swapped, Verifier};
use crate::clock::{Now, utc};
use crate::gateway::start::signed_version;
use crate::message::short_digest;
use crate::trust::{self, ManifestTerms};
use crate::versions::history::{HistoryEvent, Who};
use crate::versions::{IncomingComponent, RefusedVersion, StoredVersion};
use crate::words::with_causes;

impl Driver {
    /// An order that is not even tried.
    pub(super) fn refuse(&self, id: u64, whose: (PluginIndex, Who), why: String) {
        let job = self.job(id, whose, Candidate::default(), After::default());
        tracing::warn!(
            flow = job.about.flow,
            plugin = job.about.plugin,
            "nothing is changed: {why}"
        );
        job.verdict(ChangeOutcome::Refused, Some(why));
        self.desk.board.end(id);
    }

    pub(super) fn about(&self, place: PluginIndex, candidate: &Candidate) -> ChangeSubject {
        let flow = &self.parts.config.flows[place.flow].name;
        let plugin = &self.plugin(place).name;
        let written = self.written(place).clone();
        let running = self
            .parts
            .versions
            .entry(flow, plugin)
            .map_or_else(|| written.clone(), |entry| entry.confirmed);
        let digest = candidate
            .component
            .as_deref()
            .map_or_else(|| running.digest.clone(), trust::digest);
        let settings = candidate
            .settings
            .as_ref()
            .map_or_else(|| running.settings.clone(), Value::to_string);
        ChangeSubject {
            flow: flow.to_string(),
            plugin: plugin.to_string(),
            running,
            new: StoredVersion { digest, settings },
            written,
        }
    }

    pub(super) fn title(&self, place: PluginIndex) -> String {
        format!(
            "{}/{}",
            self.parts.config.flows[place.flow].name,
            self.plugin(place).name
        )
    }
}

impl Job {
    /// Makes the change and waits for its end, on a thread of its own.
    pub(super) fn run(mut self, mut ending: JobEnd) {
        let candidate = std::mem::take(&mut self.candidate);
        let adopt = self.after.adopt.take();
        let outcome = self.change(candidate);
        // What was only refused is tried again when the config is read again.
        let adopt = adopt.filter(|_| outcome != ChangeOutcome::Refused);
        ending.adopted = adopt.map(|config| Adopted {
            config,
            is_running: outcome == ChangeOutcome::Confirmed,
        });
        if outcome == ChangeOutcome::Confirmed && self.after.is_way_back {
            // Else the config's file would bring it in again.
            let refusal = RefusedVersion::now(
                self.about.running.clone(),
                format!("{} rolled it back", self.who.name()),
                true,
            );
            self.bench.versions.refused(self.about.spot(), refusal);
        }
        if let Some(pair) = self
            .after
            .cure
            .take()
            .filter(|_| outcome != ChangeOutcome::Confirmed)
        {
            self.bench.in_vain.add(pair);
        }
    }

    /// Writes down that another version is tried.
    fn begin(&self, is_asked: bool) {
        let about = &self.about;
        if about.new == about.running {
            return;
        }
        self.note("begun", (None, None));
        // A cure that does not help is as good as it was.
        if self.who != Who::Breaker {
            self.bench
                .versions
                .begin(about.spot(), &about.new, is_asked);
        }
    }

    fn change(&self, candidate: Candidate) -> ChangeOutcome {
        let PluginIndex { flow, plugin } = self.place;
        let about = &self.about;
        let versions = &self.bench.versions;
        self.bench.desk.board.begin(self.id, self.place);
        if let Some(why) = self.reason_not_to(candidate.is_asked) {
            return self.not_tried(why);
        }
        self.begin(candidate.is_asked);
        let signature = candidate.signature.as_deref();
        let highest = versions
            .entry(&about.flow, &about.plugin)
            .and_then(|entry| entry.highest);
        let verify = |component: &[u8]| {
            let (highest, now) = match candidate.admission {
                SignatureRule::New => (highest.as_ref(), Now::read()),
                SignatureRule::Older => (None, Now::read()),
                // Nothing expires by a clock that is not set.
                SignatureRule::Kept => (None, Now::default()),
            };
            let claim = ManifestTerms {
                name: &self.spec.signed_as,
                highest,
                now,
            };
            self.spec
                .trust
                .verify(component, signature, claim)
                .map(drop)
                .map_err(|denied| with_causes(&denied))
        };
        let component = candidate.component.as_deref();
        let verify = (!is_builtin(component)).then_some(Verifier(&verify));
        let change = Change {
            component,
            settings: candidate.settings.as_ref(),
            plan: candidate.plan,
            verify,
        };
        let Some(chain) = self.bench.flow_handles.chain(flow) else {
            return ChangeOutcome::Refused;
        };
        let signed =
            component.and_then(|component| signed_version(&self.spec, component, signature));
        let code = component.map(|component| IncomingComponent {
            component,
            signature,
            signed: signed.as_ref(),
        });
        let result = chain.swap(plugin, change, &|event| {
            if event.state == ChangeState::Confirmed {
                versions.confirmed(about.spot(), &about.new, code);
            }
            self.tell(event);
        });
        self.conclude(code, result)
    }

    fn not_tried(&self, why: String) -> ChangeOutcome {
        let about = &self.about;
        tracing::warn!(
            flow = about.flow,
            plugin = about.plugin,
            candidate = about.new.label(),
            "not tried: {why}"
        );
        // That the config says so is known from now on.
        let versions = &self.bench.versions;
        versions.confirmed(about.spot(), &about.running, None);
        self.verdict(ChangeOutcome::NotTried, Some(why))
    }

    fn reason_not_to(&self, is_asked: bool) -> Option<String> {
        let ChangeSubject {
            flow,
            plugin,
            running,
            new,
            ..
        } = &self.about;
        let entry = self
            .bench
            .versions
            .entry(flow, plugin)
            .filter(|_| !is_asked && new != running)?;
        let refusal = entry.refusal(new).filter(|refusal| refusal.rolled_back)?;
        let name = self.title();
        Some(format!(
            "it was rolled back at {}: {}; `tidegate swap {name}` tries it all the same",
            refusal.at, refusal.why
        ))
    }

    fn conclude(
        &self,
        code: Option<IncomingComponent<'_>>,
        result: Result<Swapped, NotChanged>,
    ) -> ChangeOutcome {
        let about = &self.about;
        let spot = self.about.spot();
        let versions = &self.bench.versions;
        let new = &about.new;
        match result {
            Ok(_) if about.new == about.running => {
                // Its signature may be a newer one.
                versions.confirmed(spot, new, code);
                self.verdict(ChangeOutcome::Unchanged, None)
            }
            Ok(swapped) => {
                self.note(
                    ChangeState::Confirmed.name(),
                    (None, to_json(swapped.figures.as_ref())),
                );
                self.verdict(ChangeOutcome::Confirmed, None)
            }
            Err(refused)
                if self.bench.desk.board.is_stopping()
                    && matches!(refused.step, ChangeStep::Cancel | ChangeStep::Compile) =>
            {
                versions.suspended(spot);
                self.note(
                    ChangeOutcome::Suspended.name(),
                    (Some(refused.why.clone()), None),
                );
                self.verdict(ChangeOutcome::Suspended, Some(refused.why))
            }
            Err(refused) => {
                let rolled_back = refused.state == ChangeState::RolledBack;
                let why = format!("{}: {}", refused.step.name(), refused.why);
                // One that an operator has ended is not to come back by itself either.
                let is_final = rolled_back || refused.step == ChangeStep::Cancel;
                if self.who != Who::Breaker {
                    versions.refused(
                        spot,
                        RefusedVersion::now(new.clone(), why.clone(), is_final),
                    );
                }
                let outcome = if rolled_back {
                    ChangeOutcome::RolledBack
                } else {
                    ChangeOutcome::Refused
                };
                self.note(
                    outcome.name(),
                    (Some(why.clone()), to_json(refused.figures.as_deref())),
                );
                self.verdict(outcome, Some(why))
            }
        }
    }

    /// A transition, for whoever follows. One that is on probation is in place.
    fn tell(&self, event: &chain::ChangeEvent) {
        let is_in_place = event.state == ChangeState::OnProbation;
        let event = HistoryEvent {
            at: utc(event.at),
            old: event.old.to_string(),
            new: event.new.to_string(),
            why: event.why.clone(),
            figures: to_json(event.figures.as_ref()),
            ..HistoryEvent::now(&self.who, &event.flow, &event.plugin, event.state.name())
        };
        self.push(ChangeLine::Event(event));
        if is_in_place {
            self.let_reload_go(ChangeLine::Verdict(
                self.verdict_of(ChangeOutcome::OnProbation, None),
            ));
        }
    }

    fn note(&self, what: &str, (why, figures): (Option<String>, Option<Value>)) {
        let about = &self.about;
        let old = about.running.digest.clone();
        let new = about.new.digest.clone();
        let event = HistoryEvent::now(&self.who, &about.flow, &about.plugin, what);
        self.bench.audit.note(&HistoryEvent {
            old,
            new,
            why,
            figures,
            ..event
        });
    }

    fn verdict(&self, outcome: ChangeOutcome, why: Option<String>) -> ChangeOutcome {
        self.push(ChangeLine::Verdict(self.verdict_of(outcome, why)));
        outcome
    }

    fn verdict_of(&self, outcome: ChangeOutcome, why: Option<String>) -> PluginVerdict {
        let about = &self.about;
        let name = self.title();
        let undo = match outcome {
            ChangeOutcome::OnProbation => Some(format!("tidegate rollback {name}")),
            ChangeOutcome::Confirmed => {
                // With the same component only the settings differ, and the version before is meant.
                let is_other = about.running.digest != about.new.digest;
                let to = if is_other {
                    format!(" --to {}", short_digest(&about.running.digest))
                } else {
                    String::new()
                };
                Some(format!("tidegate rollback {name}{to}"))
            }
            _ => None,
        };
        let unwritten = self
            .bench
            .versions
            .unwritten()
            .filter(|_| outcome == ChangeOutcome::Confirmed);
        let unwritten = unwritten.map(|error| {
            format!("that is not written down ({error}): a restart runs what was written last, until writing, which is tried again, succeeds")
        });
        let why = why.or(unwritten);
        let runs = if undo.is_some() {
            &about.new
        } else {
            &about.running
        };
        PluginVerdict {
            flow: about.flow.clone(),
            plugin: about.plugin.clone(),
            verdict: outcome,
            running: runs.digest.clone(),
            why,
            undo,
        }
    }
}

/// What came with this binary needs no signature, whatever way it came here.
fn is_builtin(component: Option<&[u8]>) -> bool {
    component.is_some_and(builtin::is_one)
}

fn to_json(figures: Option<&chain::TrialReport>) -> Option<Value> {
    figures.and_then(|figures| serde_json::to_value(figures).ok())
}
