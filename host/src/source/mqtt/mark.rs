//! A mark on disk that a broker has a session of ours, and what that is subscribed to: a line `=<level> <filter>` for what it
//! has granted for good, `=- <filter>` for what it may have, `=x <filter>` for what was taken back, or the bare filter, as earlier
//! versions wrote it. Where it has none after a restart,
//! it has forgotten us, and with us what it held for us; what it is subscribed to and nobody wants any more is taken back,
//! else the broker would send and hold it for ever. Written when that changes, and never while messages pass.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::file;
use crate::message::Qos;
use crate::message::pattern::covers;
use crate::mqtt;

/// The marks of all sources that run, by name.
#[derive(Clone, Debug, Default)]
pub struct SessionMarks(Arc<Mutex<BTreeMap<Arc<str>, SessionMark>>>);

impl SessionMarks {
    /// The mark of source `name` is `mark` from now on, or the one before where the session is the same.
    pub(crate) fn enter(&self, name: &Arc<str>, mark: SessionMark) -> SessionMark {
        let mut all = self.lock();
        let mark = match all.get(name) {
            Some(before) => mark.after(before),
            None => mark,
        };
        all.insert(Arc::clone(name), mark.clone());
        mark
    }

    /// It runs no more.
    pub fn remove(&self, name: &str) {
        self.lock().remove(name);
    }

    /// Whether the broker has had a session for `name`.
    pub fn is_set(&self, name: &str) -> bool {
        self.lock().get(name).is_some_and(SessionMark::is_set)
    }

    /// What the session of `name` may be subscribed to.
    pub fn filters(&self, name: &str) -> Vec<String> {
        self.lock()
            .get(name)
            .map(SessionMark::filters)
            .unwrap_or_default()
    }

    /// Whether another source than `name` has been granted `filter`, or one that covers it.
    pub(super) fn is_granted_beside(&self, name: &str, filter: &str) -> bool {
        let all = self.lock();
        let mut others = all.iter().filter(|(other, _)| &***other != name);
        others.any(|(_, mark)| mark.granted().keys().any(|outer| covers(outer, filter)))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, SessionMark>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The folder of all marks.
const SESSIONS: &str = "sessions";

/// A session that a broker may have of ours, as its mark says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftSession {
    /// The source that it was of.
    pub source: String,
    /// Address and client id: `host:port client-id`.
    pub owner: String,
    /// What it may be subscribed to.
    pub filters: Vec<String>,
}

/// Whose session a connection opens, as a mark says it.
pub fn owner(mqtt: &mqtt::Config) -> String {
    format!("{}:{} {}", mqtt.host, mqtt.port, mqtt.client_id)
}

/// All sessions that have a mark below `data_dir`. Reads the disk; what cannot be read is none.
pub fn sessions(data_dir: &Path) -> Vec<LeftSession> {
    let files = fs::read_dir(data_dir.join(SESSIONS)).into_iter().flatten();
    let mut found: Vec<LeftSession> = files
        .filter_map(|file| {
            let source = file.ok()?.file_name().into_string().ok()?;
            let path = data_dir.join(SESSIONS).join(&source);
            let says = file::read_text(&path, file::BY_HAND).ok()?;
            let (owner, filters) = says.split_once('\n')?;
            Some(LeftSession {
                source,
                owner: owner.to_owned(),
                filters: filters.lines().map(|line| read_line(line).0).collect(),
            })
        })
        .filter(|session| !session.source.ends_with(".new"))
        .collect();
    found.sort_by(|one, other| one.source.cmp(&other.source));
    found
}

/// Where its mark is.
pub fn mark_file(data_dir: &Path, session: &LeftSession) -> PathBuf {
    data_dir.join(SESSIONS).join(&session.source)
}

/// Takes its mark away.
pub fn forget(data_dir: &Path, session: &LeftSession) {
    let path = mark_file(data_dir, session);
    if let Err(error) = fs::remove_file(&path) {
        let path = path.display();
        tracing::warn!(%path, %error, "the mark of a session stays; it is looked into again at the next start");
    }
}

/// Takes away what other files say of the session whose mark is in `path`: the source had another name.
fn forget_twins(path: &Path, owner: &str) {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return;
    };
    let is_twin = |other: &LeftSession| *other.source != *name && other.owner == owner.trim_end();
    let all = folder.parent().map(sessions).unwrap_or_default();
    for twin in all.iter().filter(|other| is_twin(other)) {
        forget(folder.parent().unwrap_or(folder), twin);
    }
}

/// Notes that `session` is `name`'s from now on, and no other source's.
///
/// # Errors
/// The disk's.
pub fn hand_over(data_dir: &Path, session: &LeftSession, name: &str) -> io::Result<()> {
    let _pen = pen();
    let folder = data_dir.join(SESSIONS);
    let lines: String = session
        .filters
        .iter()
        .map(|filter| write_line((filter, &None)))
        .collect();
    write(&folder.join(name), &format!("{}\n{lines}", session.owner))?;
    if name != session.source
        && file::read_text(&folder.join(&session.source), file::BY_HAND)
            .is_ok_and(|says| says.starts_with(&format!("{}\n", session.owner)))
    {
        fs::remove_file(folder.join(&session.source))?;
    }
    Ok(())
}

/// What a broker has granted of a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) level: Qos,
    /// A broker that is killed and starts again knows of it.
    pub(super) is_lasting: bool,
}

/// Filters, each with what the broker has granted of it, if it has.
pub(super) type Filters = BTreeMap<String, Option<Grant>>;

/// What was taken back is known of so many filters: a broker that goes back to an older state of itself has the last ones.
const FORMER: usize = 64;
/// What a line begins with that has one of them.
const TAKEN_BACK: &str = "=x ";

/// The mark of one source. The default one ends with the process.
#[derive(Clone, Debug, Default)]
pub struct SessionMark {
    path: Option<Arc<Path>>,
    /// Whose session it is: the first line.
    owner: Arc<str>,
    /// Filters the session may have; `None` without a session.
    filters: Arc<Mutex<Option<Filters>>>,
    /// What it was subscribed to and no more, the last at the end.
    former: Arc<Mutex<Vec<String>>>,
}

impl SessionMark {
    /// The mark of source `name`, in a file of `<data_dir>/sessions`; where a source of another name had its session, what that
    /// one's says. Reads the disk; what cannot be read is no mark.
    pub fn find(data_dir: &Path, name: &str, mqtt: &mqtt::Config) -> Self {
        let path: PathBuf = data_dir.join(SESSIONS).join(name);
        let owner = format!("{}\n", owner(mqtt));
        let others = sessions(data_dir).into_iter().map(|other| other.source);
        let found = std::iter::once(name.to_owned())
            .chain(others)
            .find_map(|source| {
                let found = file::read_text(&data_dir.join(SESSIONS).join(source), file::BY_HAND);
                let found = found.unwrap_or_default();
                let lines = found.strip_prefix(&owner)?.lines();
                let (former, filters): (Vec<_>, Vec<_>) =
                    lines.partition(|line| line.starts_with(TAKEN_BACK));
                let former = former.into_iter().map(|line| read_line(line).0);
                Some((
                    filters.into_iter().map(read_line).collect(),
                    former.collect::<Vec<_>>(),
                ))
            });
        let (filters, former) = found.unzip();
        Self {
            path: Some(path.into()),
            owner: owner.into(),
            filters: Arc::new(Mutex::new(filters)),
            former: Arc::new(Mutex::new(former.unwrap_or_default())),
        }
    }

    /// This mark, where `before` has been kept until now: two of the same session would know different things.
    #[must_use]
    pub(crate) fn after(self, before: &Self) -> Self {
        if self.owner == before.owner {
            before.clone()
        } else {
            self
        }
    }

    /// Whether the broker has had a session of ours.
    pub(super) fn is_set(&self) -> bool {
        self.lock().is_some()
    }

    /// What that session may be subscribed to.
    pub(super) fn filters(&self) -> Vec<String> {
        self.lock()
            .iter()
            .flatten()
            .map(|(filter, _)| filter.clone())
            .collect()
    }

    /// What it has granted, and with which level.
    pub(super) fn granted(&self) -> BTreeMap<String, Qos> {
        self.lock()
            .iter()
            .flatten()
            .filter_map(|(filter, grant)| Some((filter.clone(), (*grant)?.level)))
            .collect()
    }

    /// What was taken back, the last at the end.
    pub(super) fn taken_back(&self) -> Vec<String> {
        self.former().clone()
    }

    /// `filters` are taken back; written with what is set next.
    pub(super) fn take_back(&self, filters: &[String]) {
        let mut former = self.former();
        former.retain(|known| !filters.contains(known));
        former.extend_from_slice(filters);
        let over = former.len().saturating_sub(FORMER);
        former.drain(..over);
    }

    fn former(&self) -> MutexGuard<'_, Vec<String>> {
        self.former.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It has one, which may be subscribed to `filters`. The disk is written in the background, if that is news.
    pub(super) fn set(&self, filters: Filters) {
        if self.lock().as_ref() == Some(&filters) {
            return;
        }
        *self.lock() = Some(filters);
        let Some(path) = self.path.clone() else {
            return;
        };
        let own = self.clone();
        tokio::task::spawn_blocking(move || {
            let _pen = pen();
            // Who comes last writes what is known last.
            let mut lines: String = own.lock().iter().flatten().map(write_line).collect();
            for filter in &*own.former() {
                lines.push_str(&format!("{TAKEN_BACK}{filter}\n"));
            }
            if let Err(error) = write(&path, &format!("{}{lines}", own.owner)) {
                let path = path.display();
                tracing::warn!(%path, %error, "no mark of our session is left: if the broker loses it while we are down, nobody is told");
                return;
            }
            forget_twins(&path, &own.owner);
        });
    }

    /// The session has nothing of ours any more.
    pub(super) fn forget(&self) {
        let own = self.clone();
        tokio::task::spawn_blocking(move || {
            let _pen = pen();
            let Some(path) = &own.path else { return };
            if let Err(error) = fs::remove_file(path) {
                let path = path.display();
                tracing::warn!(%path, %error, "the mark of a session that is over stays; it is looked into again at the next start");
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, Option<Filters>> {
        self.filters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Held by who writes or takes away a mark, of whatever source: one that goes still writes its own while its session is handed over.
fn pen() -> MutexGuard<'static, ()> {
    static PEN: Mutex<()> = Mutex::new(());
    PEN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read_line(line: &str) -> (String, Option<Grant>) {
    let marked = line.strip_prefix('=').and_then(|rest| rest.split_once(' '));
    marked.map_or_else(
        || (line.to_owned(), None),
        |(level, filter)| {
            let level = level.parse().ok().and_then(Qos::from_level);
            let lasting = |level| Grant {
                level,
                is_lasting: true,
            };
            (filter.to_owned(), level.map(lasting))
        },
    )
}

fn write_line((filter, grant): (&String, &Option<Grant>)) -> String {
    let lasting = grant.filter(|grant| grant.is_lasting);
    lasting.map_or_else(
        || format!("=- {filter}\n"),
        |grant| format!("={} {filter}\n", grant.level as u8),
    )
}

fn write(path: &Path, says: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let beside = path.with_added_extension("new");
    let mut written = File::create(&beside)?;
    written.write_all(says.as_bytes())?;
    written.sync_all()?;
    fs::rename(&beside, path)?;
    file::sync_folder(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::scripted::ScriptedBroker;

    fn lasting(filter: &str) -> (String, Option<Grant>) {
        let grant = Grant {
            level: Qos::AtLeastOnce,
            is_lasting: true,
        };
        (filter.to_owned(), Some(grant))
    }

    #[tokio::test]
    async fn what_was_granted_lately_may_be_there_after_a_start_and_is_not_taken_for_granted() {
        let folder = tempfile::tempdir().unwrap();
        let config = ScriptedBroker::bind().await.config();
        let lately = Grant {
            level: Qos::AtLeastOnce,
            is_lasting: false,
        };
        let mark = || SessionMark::find(folder.path(), "field", &config);
        let first = mark();
        first.set([lasting("d/+"), ("e".to_owned(), Some(lately))].into());
        assert!(first.granted().contains_key("e"), "while the process lives");
        while mark().filters() != ["d/+", "e"] {
            tokio::task::yield_now().await;
        }
        assert_eq!(mark().granted().into_keys().collect::<Vec<_>>(), ["d/+"]);
    }

    #[tokio::test]
    async fn a_mark_is_of_one_broker_and_client_id() {
        let folder = tempfile::tempdir().unwrap();
        let config = ScriptedBroker::bind().await.config();
        let mark = || SessionMark::find(folder.path(), "field:priority", &config);
        assert!(!mark().is_set());
        let names = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        let filters = |names: &[&str]| names.iter().map(|name| lasting(name)).collect();
        let first = mark();
        first.set(filters(&["d/+", "e/#"]));
        first.set(filters(&["d/+"]));
        while mark().filters() != names(&["d/+"]) {
            tokio::task::yield_now().await;
        }
        assert!(mark().is_set());
        assert_eq!(
            mark().granted().into_iter().collect::<Vec<_>>(),
            [("d/+".to_owned(), Qos::AtLeastOnce)]
        );
        let lines = ["=1 d/+", "=- =1 x", "plain/#", "=1x"].map(read_line);
        let read: Vec<_> = lines
            .iter()
            .map(|(filter, level)| (&**filter, level.is_some()))
            .collect();
        assert_eq!(
            read,
            [
                ("d/+", true),
                ("=1 x", false),
                ("plain/#", false),
                ("=1x", false)
            ]
        );
        let other = mqtt::Config {
            client_id: "another".into(),
            ..config.clone()
        };
        assert!(!SessionMark::find(folder.path(), "field:priority", &other).is_set());
    }

    #[tokio::test]
    async fn what_was_taken_back_is_known_after_a_restart_as_far_as_there_is_room() {
        let folder = tempfile::tempdir().unwrap();
        let config = ScriptedBroker::bind().await.config();
        let mark = || SessionMark::find(folder.path(), "field", &config);
        let names: Vec<_> = (0..FORMER + 2)
            .map(|number| format!("f/{number}"))
            .collect();
        let first = mark();
        first.take_back(&names);
        first.take_back(&names[9..10]);
        first.set([lasting("d/+")].into());
        while mark().filters() != ["d/+"] {
            tokio::task::yield_now().await;
        }
        let known = mark().taken_back();
        assert_eq!(known.len(), FORMER);
        assert_eq!((&*known[0], &*known[FORMER - 1]), ("f/2", "f/9"));
    }

    #[tokio::test]
    async fn a_session_goes_on_under_the_name_that_its_source_has_now() {
        let folder = tempfile::tempdir().unwrap();
        let config = ScriptedBroker::bind().await.config();
        let before = SessionMark::find(folder.path(), "field", &config);
        before.set([lasting("d/+")].into());
        while sessions(folder.path()).is_empty() {
            tokio::task::yield_now().await;
        }
        let renamed = SessionMark::find(folder.path(), "yard", &config);
        assert_eq!(renamed.filters(), ["d/+"]);
        renamed.set([lasting("d/+"), lasting("f")].into());
        while sessions(folder.path())
            .iter()
            .any(|session| session.source != "yard")
        {
            tokio::task::yield_now().await;
        }
        let again = SessionMark::find(folder.path(), "yard", &config);
        assert_eq!(again.filters(), ["d/+", "f"]);
    }
}
