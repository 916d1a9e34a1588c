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
            Self::Nats => "nats-server",
        }
    }

    fn program(self) -> PathBuf {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/brokers");
        folder.join(match self {
            Self::Aedes => "node_modules/aedes/package.json",
            Self::Nats => "nats-server",
        })
    }

    /// Starts it on `port` of loopback; what it keeps lies in `folder`.
    pub(crate) fn start(self, folder: &Path, port: u16) -> Result<Process> {
        let mut command = match self {
            Self::Aedes => {
                let mut node = Command::new("node");
                node.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/brokers/aedes.mjs")).arg(port.to_string());
                node
            }
            Self::Nats => {
                let file = folder.join("nats.conf");
                fs::write(&file, nats_config(folder, port)).with_context(|| format!("cannot write {}", file.display()))?;
                let mut server = Command::new(self.program());
                server.arg("-c").arg(file);
                server
            }
        };
        Process::start(self.name(), &mut command)
    }
}

/// Its own port for NATS clients is one that the system chooses; nobody uses it.
fn nats_config(folder: &Path, port: u16) -> String {
    let store = folder.join("jetstream");
    format!(
        "server_name: edge\nlisten: \"127.0.0.1:-1\"\njetstream {{\n  store_dir: \"{}\"\n}}\nmqtt {{\n  listen: \"127.0.0.1:{port}\"\n}}\n",
        store.display()
    )
}
