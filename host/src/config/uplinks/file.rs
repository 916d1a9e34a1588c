//! What an uplink into files has.

use std::path::PathBuf;
use std::time::Duration;

use super::super::connection;
use super::super::fields::Fields;
use super::spoken::{Spoken, gathered};
use crate::config::problem::code::ProblemCode;
use crate::uplink::file::Config;
use crate::uplink::{Column, Compress, IdForm, LineFormat, Template, UplinkKind};

/// Keys that mean nothing elsewhere.
pub(super) const OWN_KEYS: &[&str] = &["files", "batch", "pack", "id", "compress"];

const MINUTE: Duration = Duration::from_secs(60);

pub(super) fn read(fields: &mut Fields<'_>, url: &str, name: &str) -> Spoken {
    let is_csv = fields
        .choice("pack", &[("ndjson", false), ("csv", true)])
        .unwrap_or_default();
    let id = id(fields, is_csv, "files.columns");
    let ways = [
        ("none", Compress::None),
        ("zstd", Compress::Zstd),
        ("gzip", Compress::Gzip),
    ];
    let (batch_messages, batch_bytes, batch_wait) = gathered(fields, MINUTE);
    let mut deadlines = fields.section("deadlines");
    let answer = deadlines.duration("answer", Duration::from_millis(100)..=60 * MINUTE);
    deadlines.done();
    let file = Config {
        id: name.to_owned(),
        folder: folder(fields, url),
        has_envelope: id == IdForm::Envelope,
        compress: fields.choice("compress", &ways).unwrap_or_default(),
        batch_messages,
        batch_bytes,
        batch_wait,
        answer,
        backoff: connection::backoff(fields),
        ..files(fields, is_csv)
    };
    Spoken::answered(fields, UplinkKind::File(file), id, 1)
}

/// Where the id of a line goes. In a row it is a column, which the key `columns` names.
pub(super) fn id(fields: &mut Fields<'_>, is_csv: bool, columns: &str) -> IdForm {
    let forms = [("envelope", IdForm::Envelope), ("none", IdForm::None)];
    let is_written = fields.has("id");
    let id = fields.choice("id", &forms).unwrap_or_default();
    if is_csv && is_written && id == IdForm::Envelope {
        let hint = format!("leave it out, and name the column `id` in `{columns}`");
        fields.problem(
            ProblemCode::Conflict,
            "id",
            "an envelope makes no row",
            hint,
        );
    }
    if is_csv { IdForm::None } else { id }
}

fn folder(fields: &mut Fields<'_>, url: &str) -> PathBuf {
    let path = url.strip_prefix("file://").unwrap_or_default();
    let is_plain = !path.contains(['%', '?', '#', '{', '}']);
    if !path.starts_with('/') || path.trim_end_matches('/').is_empty() || !is_plain {
        let hint = "write file:///media/history: three slashes, and the path as it is".to_owned();
        let message = format!("`{}.url` is no path of a folder", fields.path);
        fields.problem(ProblemCode::Url, "url", message, hint);
    }
    // What is not there may come: a stick, a mount.
    if is_plain && crate::file::about(path.as_ref()).is_ok_and(|found| !found.is_dir()) {
        let message = format!("`{}.url` leads to something that is no folder", fields.path);
        let hint = "files are written into a folder, which is never made: name one".to_owned();
        fields.file_problem(ProblemCode::Url, "url", message, hint);
    }
    PathBuf::from(path)
}

/// The table `files`; what stands elsewhere is filled in by the caller.
fn files(fields: &mut Fields<'_>, is_csv: bool) -> Config {
    let mut files = fields.section("files");
    let written = files.text("name").unwrap_or("{class}");
    let mut name = Template::parse(written).unwrap_or_else(|mistake| {
        let message = format!("`{}.name` {mistake}", files.path);
        let hint = "gateway and class may stand in it, in braces".to_owned();
        files.problem(ProblemCode::Choice, "name", message, hint);
        Template::default()
    });
    let is_plain = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    if name.is_of_messages() || !name.plain().all(is_plain) {
        let message = format!(
            "`{}.name` must be the same for all messages of a class",
            files.path
        );
        let hint =
            "letters, digits, `.`, `_` and `-`, {gateway} and {class} may stand in it".to_owned();
        files.problem(ProblemCode::Choice, "name", message, hint);
        name = Template::default();
    }
    let columns = columns(&mut files);
    let config = Config {
        id: String::new(),
        folder: PathBuf::new(),
        mounted: None,
        name,
        // When all classes are known.
        beginnings: Vec::new(),
        form: if is_csv {
            LineFormat::Csv(columns)
        } else {
            LineFormat::Ndjson
        },
        has_envelope: false,
        compress: Compress::None,
        file_bytes: files.size("bytes", 4 << 10..=1 << 30),
        file_age: files.duration(
            "age",
            Duration::from_secs(1)..=Duration::from_secs(366 * 86_400),
        ),
        keep_bytes: files
            .has("keep")
            .then(|| files.size("keep", 1 << 20..=1 << 50)),
        batch_messages: 0,
        batch_bytes: 0,
        batch_wait: Duration::ZERO,
        answer: Duration::ZERO,
        backoff: crate::link::Backoff::default(),
    };
    refuse_less(&files, &config);
    files.done();
    config
}

/// Less than one file has is nothing that is kept.
fn refuse_less(files: &Fields<'_>, config: &Config) {
    let is_less = |keep| keep < config.file_bytes;
    let is_good = !files.check.has_problem_at(files.place_of("keep"))
        && !files.check.has_problem_at(files.place_of("bytes"));
    if is_good && config.keep_bytes.is_some_and(is_less) {
        let message = format!(
            "`{}.keep` is less than one file may have (`bytes`)",
            files.path
        );
        let hint = "each file would go as soon as it is whole: keep several of them".to_owned();
        files.problem(ProblemCode::Conflict, "keep", message, hint);
    }
}

/// What each row has.
pub(super) fn columns(files: &mut Fields<'_>) -> Vec<Column> {
    let mut columns = Vec::new();
    for (column, place) in files.texts("columns") {
        match Column::named(column) {
            Some(column) => columns.push(column),
            None => {
                let message = format!(
                    "`{}.columns` has no column `{}`",
                    files.path,
                    column.escape_debug()
                );
                let hint = "id, time, gateway, class, topic, device, payload, or payload.NAME for a member of it".to_owned();
                files
                    .check
                    .problem(ProblemCode::Choice, place, message, hint);
            }
        }
    }
    if columns.is_empty() && files.has("columns") && !files.check.has_errors() {
        let message = format!("`{}.columns` names none: a line would be empty", files.path);
        files.problem(ProblemCode::OutOfRange, "columns", message, None);
    }
    columns
}
