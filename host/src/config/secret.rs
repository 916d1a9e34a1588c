//! Secrets: never in the config itself, always by reference. What is read here is looked at; a connection reads a file anew
//! at each dial, since tokens are renewed. So at a start one that cannot be read is no mistake: its connection tells.

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::link::Secret;
use crate::message::legal;

use super::check::shown;
use super::fields::Fields;
use super::layers::Secrets;
use super::tree::Node;
use crate::config::problem::code::ProblemCode;

pub(super) const HOW: &str = "write { file = \"…\" }, { env = \"…\" } or { credential = \"…\" }";

/// Reads what `key` refers to; `None` when it is not there or cannot be read.
pub(super) fn read(fields: &mut Fields<'_>, key: &'static str) -> Option<Secret> {
    let item = fields.find(key)?;
    if !matches!(item.node, Node::Table(_)) {
        fields.check.hide(item);
        fields.problem(
            ProblemCode::OpenSecret,
            key,
            format!("`{}.{key}` stands in the open", fields.path),
            HOW.to_owned(),
        );
        return None;
    }
    follow(fields.table(key)?)
}

/// The same of one that stands behind `Bearer ` in a header, which whoever shows it puts there.
pub(super) fn read_token(fields: &mut Fields<'_>, key: &'static str) -> Option<Secret> {
    let found = read(fields, key)?;
    if found.is_read()
        && let Some(mistake) = token_mistake(found.reveal())
    {
        let hint = "in its file stands the token, on one line, and nothing else".to_owned();
        fields.file_problem(ProblemCode::OutOfRange, key, mistake, hint);
    }
    Some(found)
}

fn token_mistake(token: &str) -> Option<&'static str> {
    let scheme = token.get(..7).unwrap_or_default();
    if legal::check_text(token.as_bytes()).is_err() || token.trim().is_empty() {
        Some("a token is a text of one line, and not empty")
    } else if scheme.eq_ignore_ascii_case("bearer ") {
        Some("the token begins with `Bearer `, which is put before it anyway")
    } else {
        None
    }
}

/// The same of one that is wanted now: whatever it is for, it is not read again.
pub(super) fn read_now(fields: &mut Fields<'_>, key: &'static str) -> Option<Secret> {
    let found = read(fields, key)?;
    now(fields, key, found)
}

fn now(fields: &Fields<'_>, key: &str, found: Secret) -> Option<Secret> {
    if found.is_read() {
        return Some(found);
    }
    let path = found.file()?;
    let problem = Secret::read(path).err().unwrap_or_default();
    let message = format!("secret `{}` cannot be read: {problem}", shown(path));
    fields.problem(ProblemCode::SecretUnreadable, key, message, None);
    None
}

/// Reads what each of the references under `key` leads to, which is wanted now.
pub(super) fn read_list(fields: &mut Fields<'_>, key: &'static str) -> Vec<Secret> {
    let Some(item) = fields.find(key) else {
        return Vec::new();
    };
    let items = if let Node::List(items) = &item.node {
        items.as_slice()
    } else {
        std::slice::from_ref(item)
    };
    if let Some(open) = items
        .iter()
        .find(|item| !matches!(item.node, Node::Table(_)))
    {
        fields.check.hide(open);
        let message = format!("`{}.{key}` stands in the open", fields.path);
        fields.check.problem(
            ProblemCode::OpenSecret,
            open.place,
            message,
            format!("a list of references: {HOW}"),
        );
        return Vec::new();
    }
    let found: Vec<Secret> = fields.list(key).into_iter().filter_map(follow).collect();
    let all = found.into_iter();
    all.filter_map(|found| now(fields, key, found)).collect()
}

/// Reads what a reference leads to.
pub(super) fn follow(mut reference: Fields<'_>) -> Option<Secret> {
    let env = reference.text("env");
    let file = reference.text("file");
    let credential = reference.text("credential");
    let secret = match (env, file, credential) {
        (Some(name), None, None) | (None, Some(name), None) | (None, None, Some(name))
            if reference.check.sources.secrets == Secrets::Unused =>
        {
            Some(Secret::in_file(name))
        }
        (Some(name), None, None) => from_env(&reference, name),
        (None, Some(path), None) => from_file(
            &reference,
            "file",
            (reference.check.sources.folder(), path),
            true,
        ),
        (None, None, Some(name)) => from_credential(&reference, name),
        _ => {
            reference.problem(
                ProblemCode::Conflict,
                "",
                format!("`{}` needs exactly one reference", reference.path),
                HOW.to_owned(),
            );
            None
        }
    };
    reference.done();
    secret
}

fn from_env(reference: &Fields<'_>, name: &str) -> Option<Secret> {
    let found = reference
        .check
        .sources
        .env
        .get(name)
        .map(|text| Secret::new(Secret::line(text)));
    if found.is_none() {
        not_here(
            reference,
            "env",
            format!("environment variable `{name}` is not set"),
            "it must be set where the gateway is started",
        );
    }
    found
}

fn from_credential(reference: &Fields<'_>, name: &str) -> Option<Secret> {
    let Some(folder) = reference.check.sources.env.get("CREDENTIALS_DIRECTORY") else {
        let hint = format!("systemd hands it over: LoadCredential={name}:/path in the unit");
        not_here(
            reference,
            "credential",
            "no credentials were handed to this process".to_owned(),
            &hint,
        );
        return None;
    };
    from_file(reference, "credential", (Path::new(folder), name), false)
}

fn from_file(
    reference: &Fields<'_>,
    key: &str,
    (folder, written): (&Path, &str),
    guarded_by_mode: bool,
) -> Option<Secret> {
    let path = &folder.join(written);
    let secret = match Secret::read(path) {
        Ok(secret) => secret,
        Err(_) if reference.check.sources.secrets.wait_for(written, folder) => {
            return Some(Secret::in_file(path));
        }
        Err(problem) => {
            let message = format!("secret `{}` cannot be read: {problem}", shown(path));
            if crate::file::read(path, 1 << 20)
                .is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
            {
                not_here(
                    reference,
                    key,
                    message,
                    "whoever runs the gateway must be allowed to read it",
                );
            } else {
                reference.problem(ProblemCode::SecretUnreadable, key, message, None);
            }
            return None;
        }
    };
    let mode = crate::file::about(path).map_or(0, |found| found.permissions().mode());
    if guarded_by_mode && mode & 0o004 != 0 {
        let hint = format!("chmod 640 {}", shown(path));
        reference.problem(
            ProblemCode::SecretExposed,
            key,
            "everybody on this machine can read this secret",
            hint,
        );
    }
    Some(secret)
}

/// What the process that runs the gateway may have: for whoever checks it is a note.
fn not_here(reference: &Fields<'_>, key: &str, message: String, hint: &str) {
    let code = if reference.check.sources.secrets == Secrets::Elsewhere {
        ProblemCode::SecretElsewhere
    } else {
        ProblemCode::SecretUnreadable
    };
    reference.problem(code, key, message, hint.to_owned());
}
