//! `[accepted]`: findings that somebody answers for, each with the reason.

use super::advice::Advice;
use crate::config::check::nearest;
use crate::config::fields::Fields;
use crate::config::problem::code::ProblemCode;
use crate::config::tree::{Node, Place, TomlEntry};

/// One line of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct Accepted {
    /// As it is printed.
    pub(super) code: &'static str,
    /// The one it is about; `None`: all.
    pub(super) subject: Option<String>,
    pub(super) reason: String,
    pub(super) place: Place,
}

/// Reads them. What is accepted has to be something that can be found, for a reason.
pub(in crate::config) fn read(fields: &mut Fields<'_>) -> Vec<Accepted> {
    let entries = fields.entries();
    entries
        .iter()
        .filter_map(|entry| one(fields, entry))
        .collect()
}

fn one(fields: &Fields<'_>, entry: &TomlEntry) -> Option<Accepted> {
    let (written, subject) = match entry.key.split_once(':') {
        Some((code, subject)) => (code, Some(subject)),
        None => (entry.key.as_str(), None),
    };
    let Some(code) = known(written, subject) else {
        let names: Vec<&str> = Advice::ALL.iter().map(|advice| advice.name()).collect();
        let hint = nearest(written, &names).map_or_else(
            || format!("there are: {}", names.join(", ")),
            |near| format!("did you mean `{near}`?"),
        );
        let message = format!("nothing that is found is called `{written}`");
        let place = entry.place;
        fields
            .check
            .problem(ProblemCode::Choice, place, message, hint);
        return None;
    };
    let Node::Text(reason) = &entry.item.node else {
        fields.wrong_type(
            &format!("accepted.{}", entry.key),
            "the reason, as text",
            &entry.item,
        );
        return None;
    };
    if reason.trim().is_empty() {
        fields.check.problem(
            ProblemCode::OutOfRange,
            entry.item.place,
            format!("`{}` is accepted without a reason", entry.key),
            "write why it is right here, for who comes after you".to_owned(),
        );
    }
    Some(Accepted {
        code,
        subject: subject.map(str::to_owned),
        reason: reason.clone(),
        place: entry.place,
    })
}

/// Something that can be accepted: of warnings, which have no subject, those that say something of the config.
fn known(written: &str, subject: Option<&str>) -> Option<&'static str> {
    let warnings = ProblemCode::ALL.into_iter().filter(|code| {
        code.is_warning() && !matches!(code, ProblemCode::SecretElsewhere | ProblemCode::Unneeded)
    });
    let mut names = Advice::ALL.into_iter().map(Advice::name).chain(
        warnings
            .map(ProblemCode::name)
            .filter(|_| subject.is_none()),
    );
    names.find(|name| *name == written)
}
