//! What a look at one thing has found.

use serde::Serialize;

use crate::words;

/// Characters of what is said of one thing.
const LONGEST: usize = 400;

/// How bad it is; the worst comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum FindingLevel {
    Ok,
    /// It could not be found out.
    Unknown,
    /// It works, and will not always.
    Warning,
    /// It does not work, or what is owed is in danger.
    Failed,
}

/// One finding. Texts of the machine stand in it, so each is cleaned where it is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) level: FindingLevel,
    /// What was looked at: `clock`, `disk`.
    pub(super) subject: &'static str,
    pub(super) what: String,
    /// Why it matters; empty where nothing is wrong.
    pub(super) why: String,
    /// What to do, as a command where there is one.
    pub(super) mend: String,
}

impl Finding {
    pub(super) fn ok(subject: &'static str, what: impl AsRef<str>) -> Self {
        Self::of(FindingLevel::Ok, subject, what, "", "")
    }

    pub(super) fn of(
        level: FindingLevel,
        subject: &'static str,
        what: impl AsRef<str>,
        why: impl AsRef<str>,
        mend: impl AsRef<str>,
    ) -> Self {
        let clean = |text: &str| words::line(text, LONGEST);
        Self {
            level,
            subject,
            what: clean(what.as_ref()),
            why: clean(why.as_ref()),
            mend: clean(mend.as_ref()),
        }
    }

    /// As lines for people.
    pub(super) fn text(&self) -> String {
        let mark = match self.level {
            FindingLevel::Ok => "ok",
            FindingLevel::Unknown => "unknown",
            FindingLevel::Warning => "warning",
            FindingLevel::Failed => "FAILED",
        };
        let mut text = format!("{mark:<8} {:<12} {}", self.subject, self.what);
        for (label, words) in [("why", &self.why), ("do", &self.mend)] {
            if !words.is_empty() {
                text.push_str(&format!("\n{:<21} {label}: {words}", ""));
            }
        }
        text
    }
}
