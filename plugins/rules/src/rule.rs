//! One rule, ready to be looked at.

use tidegate_sdk::json::Paths;
use tidegate_sdk::prelude::*;

use crate::condition::{Reading, Tree, have_margin};
use crate::settings::RuleSettings;
use crate::standing::{Standing, Waits};
use crate::tell::Telling;
use crate::text::{Named, Set};

/// Letters of a rule's name at most.
const LONGEST_NAME: usize = 64;

/// Letters of a port's name at most.
const LONGEST_PORT: usize = 32;

/// A rule.
#[derive(Debug)]
pub struct Rule {
    /// A number for its name.
    pub of: u32,
    when: Tree,
    clear: Option<Tree>,
    /// How long it must hold, and its end last.
    pub waits: Waits,
    /// Whether anything is remembered of it.
    pub is_kept: bool,
    /// Fields that its texts name.
    pub named: Named,
    /// What it tells.
    pub telling: Telling,
    /// Fields that readings get.
    pub set: Vec<(String, Set)>,
    /// Readings end here.
    pub drop: bool,
    /// The port that readings leave through.
    pub to: Option<String>,
    /// The rules behind it are not looked at.
    pub stop: bool,
}

impl Rule {
    /// Checks one of the settings' rules.
    pub fn new(settings: RuleSettings, paths: &mut Paths) -> Result<Self> {
        check(&settings)?;
        let name = settings.name;
        let mut named = Named::default();
        let has_margin = have_margin(&settings.when);
        if has_margin && !settings.clear.is_empty() {
            return Err("`clear` says what ends it: `hysteresis` does not go with that".into());
        }
        if have_margin(&settings.clear) {
            return Err("`clear` takes no `hysteresis`".into());
        }
        let when = Tree::new(settings.when, settings.need, paths, "when")?;
        let clear = (!settings.clear.is_empty())
            .then(|| Tree::new(settings.clear, settings.need, paths, "clear"))
            .transpose()?;
        let mut set = Vec::new();
        for (field, value) in settings.set {
            let value = Set::new(value, &name, &mut named, paths)
                .map_err(|error| format!("`set.{field}`: {error}"))?;
            set.push((field, value));
        }
        let tells = (settings.alarm, settings.publish);
        let telling = Telling::new(&name, tells, &mut named, paths)?;
        let waits = Waits {
            hold_us: settings.hold.micros(),
            release_us: settings.release.unwrap_or(settings.hold).micros(),
        };
        let is_kept = has_margin
            || clear.is_some()
            || telling.has_edges()
            || waits.hold_us + waits.release_us > 0;
        Ok(Self {
            of: tidegate_sdk::hash(name.as_bytes()) as u32,
            when,
            clear,
            waits,
            is_kept,
            named,
            telling,
            set,
            drop: settings.drop,
            to: settings.to,
            stop: settings.stop,
        })
    }

    /// The ports it needs.
    pub fn ports(&self) -> impl Iterator<Item = &str> {
        self.to.as_deref().into_iter().chain(self.telling.ports())
    }

    /// Whether payloads have to be JSON.
    pub fn needs_json(&self) -> bool {
        self.when.needs_json()
            || self.clear.as_ref().is_some_and(Tree::needs_json)
            || !self.set.is_empty()
            || !self.named.is_empty()
    }

    /// Whether a reading wants it to hold; `None` where it lacks what that depends on.
    pub fn wanted(&self, reading: &Reading<'_, '_>, standing: &Standing) -> Result<Option<bool>> {
        match &self.clear {
            Some(clear) if standing.holds => Ok(clear.holds(reading, true)?.map(|over| !over)),
            _ => self.when.holds(reading, standing.holds),
        }
    }
}

/// What cannot work.
fn check(settings: &RuleSettings) -> Result<()> {
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_');
    let name = &settings.name;
    if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(is_letter) {
        return Err(format!(
            "`name` has 1 to {LONGEST_NAME} letters, digits, `-` or `_`: it becomes part of topics"
        )
        .into());
    }
    let to = settings.to.iter();
    let alarm = settings.alarm.iter().map(|alarm| &alarm.port);
    let messages = settings.publish.iter().map(|message| &message.port);
    for port in to.chain(alarm).chain(messages) {
        if port.is_empty() || port.len() > LONGEST_PORT || !port.chars().all(is_letter) {
            return Err(format!(
                "a port has 1 to {LONGEST_PORT} letters, digits, `-` or `_`, not `{port}`"
            )
            .into());
        }
    }
    if settings.drop && (settings.to.is_some() || !settings.set.is_empty()) {
        return Err("`drop` ends a reading: `to` and `set` do not go with it".into());
    }
    let does_nothing = settings.set.is_empty()
        && settings.to.is_none()
        && settings.alarm.is_none()
        && settings.publish.is_empty()
        && !(settings.drop || settings.stop);
    if does_nothing {
        return Err(
            "it does nothing: give it `set`, `drop`, `to`, `stop`, `alarm` or `publish`".into(),
        );
    }
    Ok(())
}
