//! A mark on disk that a broker has a session of ours. Where it has none after a restart, it has forgotten us, and with us
//! what it held for us. Written once for each source, broker and client id, and never while messages pass.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::mqtt;

/// The mark of one source. The default one ends with the process.
#[derive(Clone, Debug, Default)]
pub struct SessionMark {
    path: Option<PathBuf>,
    says: Arc<str>,
    is_set: Arc<AtomicBool>,
}

impl SessionMark {
    /// The mark of source `name`, in a file of `<data_dir>/sessions`. Reads the disk; what cannot be read is no mark.
    pub fn find(data_dir: &Path, name: &str, mqtt: &mqtt::Config) -> Self {
        let path = data_dir.join("sessions").join(name);
        let says = format!("{}:{} {}\n", mqtt.host, mqtt.port, mqtt.client_id);
        let is_set = fs::read(&path).is_ok_and(|found| found == says.as_bytes());
        Self { path: Some(path), says: says.into(), is_set: Arc::new(AtomicBool::new(is_set)) }
    }

    /// Whether the broker has had a session of ours.
    pub(super) fn is_set(&self) -> bool {
        self.is_set.load(Ordering::Acquire)
    }

    /// It has one. The disk is written in the background, if that is news.
    pub(super) fn set(&self) {
        if self.is_set.swap(true, Ordering::AcqRel) {
            return;
        }
        let Some(path) = self.path.clone() else { return };
        let says = Arc::clone(&self.says);
        tokio::task::spawn_blocking(move || {
            if let Err(error) = write(&path, &says) {
                let path = path.display();
                tracing::warn!(%path, %error, "no mark of our session is left: if the broker loses it while we are down, nobody is told");
            }
        });
    }
}

fn write(path: &Path, says: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let beside = path.with_added_extension("new");
    let mut file = File::create(&beside)?;
    file.write_all(says.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::scripted::Broker;

    #[tokio::test]
    async fn a_mark_is_of_one_broker_and_client_id() {
        let folder = tempfile::tempdir().unwrap();
        let config = Broker::bind().await.config();
        let mark = || SessionMark::find(folder.path(), "field:priority", &config);
        assert!(!mark().is_set());
        mark().set();
        while !mark().is_set() {
            tokio::task::yield_now().await;
        }
        let other = mqtt::Config { client_id: "another".into(), ..config.clone() };
        assert!(!SessionMark::find(folder.path(), "field:priority", &other).is_set());
        assert!(!SessionMark::find(folder.path(), "field", &config).is_set());
    }
}
