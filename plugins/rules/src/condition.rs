//! Conditions, and whether they hold for a reading.

use tidegate_sdk::TopicFilter;
use tidegate_sdk::compare::{Comparison, Where};
use tidegate_sdk::json::{Found, Paths};
use tidegate_sdk::prelude::*;

use crate::settings::{Condition, Missing, Need};

/// Conditions of one rule at most.
const MOST: usize = 100;

/// Whether one of them has a margin, so that it matters whether the rule holds already.
pub fn have_margin(conditions: &[Condition]) -> bool {
    conditions.iter().any(|condition| {
        let inner = [&condition.all, &condition.any];
        condition.hysteresis.is_some() || inner.into_iter().flatten().any(|some| have_margin(some))
    })
}

/// A reading, as conditions look at it.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'r, 'm> {
    /// The message.
    pub message: &'r Message<'m>,
    /// What was found in it, where anything is looked for.
    pub found: Option<Found<'r, 'm>>,
    /// What becomes of it where it lacks a field.
    pub missing: Missing,
}

/// A condition, ready to be looked at.
#[derive(Debug)]
pub enum Tree {
    /// A comparison, and the same while the rule holds.
    Compare(Comparison, Box<Comparison>),
    /// The topic is one of these.
    Topic(TopicFilter),
    /// All of them, or one.
    Several(Need, Vec<Tree>),
}

impl Tree {
    /// Checks the conditions of one setting, `place` of the settings.
    pub fn new(
        conditions: Vec<Condition>,
        need: Need,
        paths: &mut Paths,
        place: &str,
    ) -> Result<Self> {
        let mut left = MOST;
        Self::several(conditions, need, paths, (place, &mut left))
    }

    fn several(
        conditions: Vec<Condition>,
        need: Need,
        paths: &mut Paths,
        (place, left): (&str, &mut usize),
    ) -> Result<Self> {
        if conditions.is_empty() {
            return Err(format!("`{place}` is empty: name a condition").into());
        }
        let mut trees = Vec::new();
        for (number, condition) in conditions.into_iter().enumerate() {
            *left = left
                .checked_sub(1)
                .ok_or_else(|| format!("`{place}`: a rule has {MOST} conditions at most"))?;
            let place = format!("{place}.{number}");
            trees.push(Self::one(condition, paths, (&place, left))?);
        }
        Ok(Self::Several(need, trees))
    }

    fn one(
        condition: Condition,
        paths: &mut Paths,
        (place, left): (&str, &mut usize),
    ) -> Result<Self> {
        let Condition {
            field,
            op,
            value,
            hysteresis,
            topic,
            all,
            any,
        } = condition;
        if field.is_none() && (op.is_some() || value.is_some() || hysteresis.is_some()) {
            return Err(format!("`{place}` compares no `field`").into());
        }
        let wrong = |error: Error| Error::from(format!("`{place}`: {error}"));
        match (field, topic, all, any) {
            (Some(field), None, None, None) => {
                let op = op.ok_or_else(|| format!("`{place}.op` is missing"))?;
                let compared = Where { field, op, value };
                let first = Comparison::new(compared, paths).map_err(wrong)?;
                let eased = match hysteresis {
                    Some(by) => first.eased(by).map_err(wrong)?,
                    None => first.clone(),
                };
                Ok(Self::Compare(first, eased.into()))
            }
            (None, Some(topic), None, None) => {
                TopicFilter::new(&topic).map(Self::Topic).map_err(wrong)
            }
            (None, None, Some(all), None) => {
                Self::several(all, Need::All, paths, (&format!("{place}.all"), left))
            }
            (None, None, None, Some(any)) => {
                Self::several(any, Need::Any, paths, (&format!("{place}.any"), left))
            }
            _ => Err(format!(
                "`{place}` is one of: `field` with `op` and `value`, `topic`, `all`, `any`"
            )
            .into()),
        }
    }

    /// Whether fields are compared.
    pub fn needs_json(&self) -> bool {
        match self {
            Self::Compare(..) => true,
            Self::Topic(_) => false,
            Self::Several(_, trees) => trees.iter().any(Self::needs_json),
        }
    }

    /// Whether it holds; `None` where a field is lacking on which it depends.
    pub fn holds(&self, reading: &Reading<'_, '_>, held: bool) -> Result<Option<bool>> {
        match self {
            Self::Topic(filter) => Ok(Some(filter.matches(reading.message.topic_bytes()))),
            Self::Compare(first, eased) => {
                let Some(found) = &reading.found else {
                    return Ok(None);
                };
                let comparison = if held { eased } else { first };
                let holds = comparison.holds(found)?;
                if holds.is_none() && reading.missing == Missing::Reject {
                    found.require(comparison.path())?;
                }
                Ok(holds)
            }
            Self::Several(need, trees) => {
                let decisive = *need == Need::Any;
                let mut told = Some(!decisive);
                for tree in trees {
                    match tree.holds(reading, held)? {
                        Some(holds) if holds == decisive => return Ok(Some(decisive)),
                        Some(_) => {}
                        None => told = None,
                    }
                }
                Ok(told)
            }
        }
    }
}
