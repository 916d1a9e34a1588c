//! The gateway itself: its folders, its log, its secrets, and what it tells of itself.

use std::path::PathBuf;

use super::StrictLook;
use super::advice::Advice;
use crate::config::check::shown;
use crate::config::tree::{Node, Place, TomlItem};
use crate::config::{Config, LogLevel, layers};
use crate::file::{self, SecretGuard};

/// Folders that a restart of the machine empties.
const FLEETING: [&str; 4] = ["/tmp", "/run", "/var/run", "/dev/shm"];

/// Where a secret is.
struct SecretPlace<'a> {
    /// Its place in the config: `uplink.cloud.password`.
    path: String,
    place: Place,
    key: &'a str,
    written: &'a str,
}

impl Config {
    /// Files of secrets that the config leads to, each with the key under which it does.
    pub fn secret_files(&self) -> Vec<(String, PathBuf)> {
        let mut kept = Vec::new();
        self.secrets(&mut kept);
        let files = kept.into_iter().filter(|kept| kept.key != "env");
        files
            .map(|kept| (kept.path, self.origin.folder.join(kept.written)))
            .collect()
    }

    fn secrets<'a>(&'a self, found: &mut Vec<SecretPlace<'a>>) {
        // What a plugin calls its settings is its own.
        let tables = self.origin.tree.entries.iter();
        for entry in tables
            .filter(|entry| matches!(&*entry.key, "source" | "uplink" | "spool" | "telemetry"))
        {
            secrets(&entry.key, &entry.item, found);
        }
    }
}

impl<'a> StrictLook<'a> {
    pub(super) fn house(&mut self) {
        if self.config.spool.gap_topic.is_none() {
            let message = "upstream is not told what was given up: `gap_topic` is empty";
            let hint = "leave `gap_topic` out, or name a topic";
            let place = self.place("spool", "gap_topic");
            self.find(Advice::LossesUntold, "spool", place, message, hint);
        }
        if self.config.log.level > LogLevel::Info {
            let place = self.place("log", "level");
            let message = "the log is set to more than life events";
            self.find(
                Advice::VerboseLog,
                "log",
                place,
                message,
                "write level = \"info\", or leave it out; `-v` is for a moment",
            );
        }
        let folder = &self.config.gateway.data_dir;
        if FLEETING.iter().any(|fleeting| folder.starts_with(fleeting)) {
            let message = format!(
                "the data folder `{}` does not outlive a restart of the machine",
                shown(folder)
            );
            let place = self.place("gateway", "data_dir");
            let hint = "name a folder on a disk, such as /var/lib/tidegate, or leave it out";
            self.find(Advice::DataInTmp, "gateway", place, message, hint);
        }
        let mut kept = Vec::new();
        self.config.secrets(&mut kept);
        kept.into_iter().for_each(|kept| self.secret(&kept));
    }

    fn secret(&mut self, kept: &SecretPlace<'a>) {
        if kept.key == "env" {
            let message = format!("`{}` comes out of the environment", kept.path);
            let hint = "write { credential = \"…\" }, which systemd's LoadCredential hands over, or { file = \"…\" }";
            self.find(
                Advice::SecretInEnvironment,
                &*kept.path,
                kept.place,
                message,
                hint,
            );
            return;
        }
        let path: PathBuf = self.config.origin.folder.join(kept.written);
        let message = match file::guard(&path, &self.config.gateway.data_dir) {
            SecretGuard::Kept => return,
            SecretGuard::Owner(owner) => format!(
                "`{}` belongs to user {owner}, who is not the gateway's",
                shown(&path)
            ),
            SecretGuard::Written => format!("others can write to `{}`", shown(&path)),
        };
        let hint = format!(
            "chown root {0}; chmod 640 {0}, in the gateway's group",
            shown(&path)
        );
        self.find(
            Advice::ForeignSecret,
            &*kept.path,
            kept.place,
            message,
            hint,
        );
    }

    /// As [`StrictLook::place`], else another one.
    pub(super) fn place_or(&self, table: &str, key: &str, other: Place) -> Place {
        let place = self.place(table, key);
        if place == Place::whole(layers::FILE) {
            other
        } else {
            place
        }
    }
}

/// References to secrets in `item`, and keys of TLS.
fn secrets<'a>(path: &str, item: &'a TomlItem, found: &mut Vec<SecretPlace<'a>>) {
    match &item.node {
        Node::Table(table) => {
            let only = matches!(table.entries.as_slice(), [_]);
            for entry in &table.entries {
                let is_key = entry.key == "key" && path.ends_with(".tls");
                let leads = is_key || (only && matches!(&*entry.key, "file" | "env"));
                match &entry.item.node {
                    Node::Text(written) if leads => found.push(SecretPlace {
                        path: path.to_owned(),
                        place: entry.item.place,
                        key: &entry.key,
                        written,
                    }),
                    _ => secrets(&format!("{path}.{}", entry.key), &entry.item, found),
                }
            }
        }
        Node::List(items) => {
            for (number, item) in items.iter().enumerate() {
                secrets(&format!("{path}.{number}"), item, found);
            }
        }
        _ => {}
    }
}
