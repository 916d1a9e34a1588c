//! Brokers that nobody here wrote, as `tests/brokers/install` leaves them in `target/brokers`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::process::Process;

/// Which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// aedes on Node.js: MQTT 3.1.1, everything in RAM.
    Aedes,
    /// amqtt on Python: MQTT 3.1.1, everything in RAM.
    Amqtt,
    /// The MQTT side of nats-server: 3.1.1 over JetStream, on disk.
    Nats,
}

impl Foreign {
    /// Whether it was installed.
    pub fn is_there(self) -> bool {
        self.program().exists()
    }

    /// Its name, as the cases use it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aedes => "aedes",
            Self::Amqtt => "amqtt",
            Self::Nats => "nats-server",
        }
    }

    fn program(self) -> PathBuf {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/brokers");
        folder.join(match self {
            Self::Aedes => "node_modules/aedes/package.json",
            Self::Amqtt => "python/bin/amqtt",
            Self::Nats => "nats-server",
        })
    }

    /// Starts it on `port` of loopback; what it keeps lies in `folder`.
    pub(crate) fn start(self, folder: &Path, port: u16) -> Result<Process> {
        let mut command = match self {
            Self::Aedes => {
                let mut node = Command::new("node");
                node.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/brokers/aedes.mjs"))
                    .arg(port.to_string());
                node
            }
            Self::Amqtt => self.with_config(folder, "-c", &amqtt_config(port))?,
            Self::Nats => self.with_config(folder, "-c", &nats_config(folder, port))?,
        };
        Process::start(self.name(), &mut command)
    }

    fn with_config(self, folder: &Path, option: &str, text: &str) -> Result<Command> {
        let file = folder.join("config.yaml");
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        let mut command = Command::new(self.program());
        command.arg(option).arg(file);
        Ok(command)
    }
}

fn amqtt_config(port: u16) -> String {
    format!(
        "listeners:\n  default:\n    type: tcp\n    bind: 127.0.0.1:{port}\nplugins:\n  \
         amqtt.plugins.authentication.AnonymousAuthPlugin:\n    allow_anonymous: true\n"
    )
}

/// Its own port for NATS clients is one that the system chooses; nobody uses it.
fn nats_config(folder: &Path, port: u16) -> String {
    let store = folder.join("jetstream");
    format!(
        "server_name: edge\nlisten: \"127.0.0.1:-1\"\njetstream {{\n  store_dir: \"{}\"\n}}\nmqtt {{\n  listen: \"127.0.0.1:{port}\"\n}}\n",
        store.display()
    )
}
