//! The tables there is one of: `[gateway]`, `[devices]`, `[spool]`, `[log]`, `[telemetry]`.

pub(super) mod admin;
pub(super) mod devices;
pub(super) mod telemetry;
mod trust;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::check::shown;
use super::connection::is_topic;
use super::fields::Fields;
use super::layers::{Secrets, Sources};
use super::secret;
use super::tree::Place;
use crate::chain::CompileLimits;
use crate::clock::ChangeWindow;
use crate::config::problem::code::ProblemCode;
use crate::file;
use crate::link::Secret;
use crate::spool::{Sealer, SealingKey};
use crate::trust::Trust;

/// The gateway as a whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Gateway {
    /// In client ids and metrics.
    pub name: Arc<str>,
    /// What all limits together may take, bytes.
    pub memory_bytes: u64,
    /// How long a stop may wait for what is under way.
    pub shutdown_grace: Duration,
    /// Folder for what must survive.
    pub data_dir: PathBuf,
    /// Native stack of plugins, bytes; every plugin's limits hold it too, since the engine has one value for all.
    pub plugin_stack_bytes: usize,
    /// What compiling one plugin may take.
    pub compile: CompileLimits,
    /// Where upstream is told who changed which plugin; `None`: it is not.
    pub audit_topic: Option<Arc<str>>,
    /// When changes by file are made; `None`: at once.
    pub change_window: Option<ChangeWindow>,
    /// Whose signatures count for plugins.
    pub trust: Trust,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Data lost, or the operator must act.
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Text on a terminal and in the journal, JSON elsewhere.
    #[default]
    Auto,
    Text,
    /// One JSON object a line.
    Json,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogSettings {
    pub level: LogLevel,
    pub format: Format,
}

/// The spool's numbers; queues and flows are added when those are known.
#[derive(Debug)]
pub(super) struct SpoolLimits {
    pub(super) spill_after: Duration,
    pub(super) commit_every: Duration,
    pub(super) head_bytes: usize,
    pub(super) chunk_bytes: usize,
    pub(super) cache_bytes: u64,
    pub(super) reserve_bytes: u64,
    pub(super) dead_letters: usize,
    pub(super) gap_topic: Option<Arc<str>>,
    pub(super) dead_letter_bytes: u64,
    pub(super) sealer: Sealer,
}

/// The gateway itself, and where it says how much memory it may have.
pub(super) fn gateway(fields: &mut Fields<'_>) -> (Gateway, Place) {
    let name = match fields.text("name") {
        Some(name) => {
            fields.check.name("gateway", name, fields.place_of("name"));
            name.to_owned()
        }
        None => host_name(),
    };
    let memory_bytes = fields.size("memory", 32 << 20..=1 << 40);
    let shutdown_grace = fields.duration(
        "shutdown_grace",
        Duration::from_millis(1)..=Duration::from_secs(3_600),
    );
    let plugin_stack_bytes =
        usize::try_from(fields.size("plugin_stack", 64 << 10..=8 << 20)).unwrap_or_default();
    let compile = CompileLimits {
        memory_bytes: fields.size("plugin_compile_memory", 64 << 20..=16 << 30),
        time: fields.duration(
            "plugin_compile_time",
            Duration::from_millis(1)..=Duration::from_secs(3_600),
        ),
    };
    let data_dir = data_dir(fields);
    let trust = trust::read(fields);
    let audit_topic = topic(fields, "audit_topic", &name);
    let change_window = change_window(fields);
    let gateway = Gateway {
        name: name.into(),
        memory_bytes,
        shutdown_grace,
        data_dir,
        plugin_stack_bytes,
        compile,
        audit_topic,
        change_window,
        trust,
    };
    (gateway, fields.place_of("memory"))
}

/// When changes by file are made.
fn change_window(fields: &mut Fields<'_>) -> Option<ChangeWindow> {
    let written = fields
        .text("change_window")
        .filter(|text| !text.is_empty())?;
    ChangeWindow::parse(written)
        .map_err(|why| {
            let message = format!("`gateway.change_window` cannot be \"{written}\": {why}");
            let hint = "write \"02:00-04:00\" or \"Sat Sun 22:30-05:00\", in UTC".to_owned();
            fields.problem(ProblemCode::Choice, "change_window", message, hint);
        })
        .ok()
}

/// Where what must survive a restart stands: what was given at the start, what is written, or what the system offers.
fn data_dir(fields: &mut Fields<'_>) -> PathBuf {
    let sources = fields.check.sources;
    let written = fields.text("data_dir");
    if written == Some("") {
        let hint = "name a folder, or leave the line out".to_owned();
        fields.problem(
            ProblemCode::DataDir,
            "data_dir",
            "`gateway.data_dir` is empty",
            hint,
        );
    }
    let written = written.map(|path| sources.folder().join(path));
    let data_dir = sources
        .data_dir
        .clone()
        .or(written)
        .or_else(|| default_data_dir(sources))
        .unwrap_or_else(|| {
            let hint = "set `data_dir` in [gateway], or give --data-dir".to_owned();
            fields.check.problem(
                ProblemCode::Missing,
                fields.place,
                "there is no folder for what must survive a restart",
                hint,
            );
            PathBuf::new()
        });
    if let Some((place, why)) = unmakeable(&data_dir) {
        let message = format!(
            "the data folder `{}` cannot be made: `{}` {why}",
            shown(&data_dir),
            shown(place)
        );
        fields.problem(
            ProblemCode::DataDir,
            "data_dir",
            message,
            "name a folder on a disk".to_owned(),
        );
    }
    data_dir
}

/// What is in the way of a folder that is not there yet: the nearest thing that is there, and what is wrong with it. Rights
/// are not looked at, since whoever checks a config need not be who runs it.
fn unmakeable(folder: &Path) -> Option<(&Path, &'static str)> {
    let nearest = folder
        .ancestors()
        .find(|path| path.symlink_metadata().is_ok())?;
    if !nearest.is_dir() {
        let why = if nearest.is_symlink() {
            "is a link that leads nowhere"
        } else {
            "is not a folder"
        };
        return Some((nearest, why));
    }
    let is_there = nearest == folder;
    let real = nearest.canonicalize().ok()?;
    let is_kernel_s = ["/proc", "/sys"]
        .iter()
        .any(|kernel_s| real.starts_with(kernel_s));
    let is_read_only =
        rustix::fs::access(nearest, rustix::fs::Access::WRITE_OK) == Err(rustix::io::Errno::ROFS);
    match (is_there, is_kernel_s, is_read_only) {
        (_, true, _) => Some((nearest, "is the kernel's and keeps nothing")),
        (false, _, true) => Some((nearest, "is on a disk that is read-only")),
        _ => None,
    }
}

/// The machine's name, made fit for a client id.
fn host_name() -> String {
    let found =
        file::read_text(Path::new("/proc/sys/kernel/hostname"), file::BY_HAND).unwrap_or_default();
    let name: String = found
        .trim()
        .chars()
        .filter(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.'))
        .take(64)
        .collect();
    if name.is_empty() {
        "gateway".to_owned()
    } else {
        name
    }
}

/// Where data is when nobody says where: of root, or of the user.
pub(super) fn default_data_dir(sources: &Sources) -> Option<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Some(PathBuf::from("/var/lib/tidegate"));
    }
    let variable = |name| {
        sources
            .env
            .get(name)
            .filter(|path| !path.is_empty())
            .map(PathBuf::from)
    };
    Some(
        variable("XDG_STATE_HOME")
            .or_else(|| Some(variable("HOME")?.join(".local/state")))?
            .join("tidegate"),
    )
}

/// Reads `[spool]` of a gateway of this name.
pub(super) fn spool(gateway: &str) -> impl FnOnce(&mut Fields<'_>) -> SpoolLimits {
    move |fields| spool_limits(fields, gateway)
}

fn spool_limits(fields: &mut Fields<'_>, gateway: &str) -> SpoolLimits {
    let whole = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    let range = || Duration::from_millis(1)..=Duration::from_secs(3_600);
    let limits = SpoolLimits {
        spill_after: fields.duration("spill_after", range()),
        commit_every: fields.duration("commit_every", range()),
        head_bytes: whole(fields.size("head", 64 << 10..=1 << 30)),
        // LZ4 looks no further back than 64 KiB, and a chunk is what damage costs.
        chunk_bytes: whole(fields.size("chunk", 4 << 10..=96 << 10)),
        cache_bytes: fields.size("cache", 1 << 20..=1 << 30),
        reserve_bytes: fields.size("reserve", 1 << 20..=1 << 40),
        dead_letters: fields.count("dead_letters", 1..=10_000_000) as usize,
        gap_topic: topic(fields, "gap_topic", gateway),
        dead_letter_bytes: fields.size("dead_letter_bytes", 64 << 10..=1 << 40),
        sealer: sealer(fields),
    };
    if limits.chunk_bytes > limits.head_bytes && limits.head_bytes > 0 {
        fields.problem(
            ProblemCode::Conflict,
            "chunk",
            "`chunk` is larger than `head`",
            None,
        );
    }
    limits
}

/// The keys that what is on disk is sealed with, today's first.
fn sealer(fields: &mut Fields<'_>) -> Sealer {
    if !fields.has("encrypt") {
        return Sealer::default();
    }
    let Some(mut encrypt) = fields.table("encrypt") else {
        return Sealer::default();
    };
    if fields.check.sources.secrets == Secrets::Unused {
        return Sealer::default();
    }
    encrypt.require("key", "{ file = \"spool.key\" }");
    let current =
        secret::read_now(&mut encrypt, "key").and_then(|text| sealing_key(&encrypt, "key", &text));
    let old = secret::read_list(&mut encrypt, "old_keys");
    let old: Vec<SealingKey> = old
        .iter()
        .filter_map(|text| sealing_key(&encrypt, "old_keys", text))
        .collect();
    encrypt.done();
    Sealer::new(current.into_iter().chain(old))
}

fn sealing_key(encrypt: &Fields<'_>, key: &str, text: &Secret) -> Option<SealingKey> {
    let found = SealingKey::parse(text.reveal());
    if found.is_none() {
        let hint = "make one: (umask 077; openssl rand -hex 32 > spool.key)".to_owned();
        encrypt.problem(
            ProblemCode::SecretUnreadable,
            key,
            "a key to encrypt with is not 64 hexadecimal digits",
            hint,
        );
    }
    found
}

/// Where upstream is told something of the gateway itself.
fn topic(fields: &mut Fields<'_>, key: &'static str, gateway: &str) -> Option<Arc<str>> {
    let topic = fields
        .text(key)
        .filter(|topic| !topic.is_empty())?
        .replace("{gateway}", gateway);
    if !is_topic(&topic) || topic.contains(['{', '}']) {
        let hint =
            "a topic has no `+` and `#`, and only {gateway} may stand in this one; \"\" for none"
                .to_owned();
        fields.problem(
            ProblemCode::Topic,
            key,
            format!("`{topic}` cannot be published to"),
            hint,
        );
    }
    Some(topic.into())
}

pub(super) fn log(fields: &mut Fields<'_>) -> LogSettings {
    let levels = [
        ("error", LogLevel::Error),
        ("warn", LogLevel::Warn),
        ("info", LogLevel::Info),
        ("debug", LogLevel::Debug),
        ("trace", LogLevel::Trace),
    ];
    let formats = [
        ("auto", Format::Auto),
        ("text", Format::Text),
        ("json", Format::Json),
    ];
    LogSettings {
        level: fields.choice("level", &levels).unwrap_or_default(),
        format: fields.choice("format", &formats).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests;
