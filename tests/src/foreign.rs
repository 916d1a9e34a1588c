//! Brokers that nobody here wrote, as `tests/brokers/install` leaves them in `target/brokers`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::certificates::Identity;
use crate::process::Process;

/// Where a broker takes MQTT over WebSockets, at the path `/mqtt`; with TLS, where it has an identity.
#[derive(Clone, Debug)]
pub struct WebPort {
    pub port: u16,
    pub identity: Option<Identity>,
}

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

    pub(crate) fn program(self) -> PathBuf {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/brokers");
        folder.join(match self {
            Self::Aedes => "node_modules/aedes/package.json",
            Self::Amqtt => "python/bin/amqtt",
            Self::Nats => "nats-server",
        })
    }

    /// Starts it on `port` of loopback, and for WebSockets on `web`, where it takes them; what it keeps lies in `folder`.
    pub(crate) fn start(self, folder: &Path, port: u16, web: &WebPort) -> Result<Process> {
        let mut command = match self {
            Self::Aedes => {
                let mut node = Command::new("node");
                node.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/brokers/aedes.mjs"))
                    .arg(port.to_string())
                    .arg(web.port.to_string());
                node
            }
            Self::Amqtt => self.with_config(folder, "-c", &amqtt_config(port))?,
            Self::Nats => self.with_config(folder, "-c", &nats_config(folder, port, web))?,
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
fn nats_config(folder: &Path, port: u16, web: &WebPort) -> String {
    let tls = match &web.identity {
        None => "no_tls: true".to_owned(),
        Some(own) => format!(
            "tls {{ cert_file: {:?}, key_file: {:?} }}",
            own.certificate, own.key
        ),
    };
    let web = web.port;
    let store = folder.join("jetstream");
    format!(
        "server_name: edge\nlisten: \"127.0.0.1:-1\"\njetstream {{\n  store_dir: \"{}\"\n}}\nmqtt {{\n  listen: \"127.0.0.1:{port}\"\n}}\nwebsocket {{\n  listen: \"127.0.0.1:{web}\"\n  {tls}\n}}\n",
        store.display()
    )
}
