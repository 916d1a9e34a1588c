//! Brokers: our own embedded one as a child process, mosquitto where it is installed, and others from their registries.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::binary::tidegate;
use crate::certificates::Identity;
use crate::foreign::{Foreign, WebPort};
use crate::port;
use crate::process::{Lines, Process};
use crate::wait::wait_until;

/// Another process may take a port between the look and the broker's bind: then it is another one's turn.
const TRIES: usize = 5;

/// How a mosquitto is set up.
#[derive(Clone, Debug)]
pub struct Mosquitto {
    persistence: bool,
    inflight: u16,
    tls: Option<(PathBuf, Identity)>,
    login: Option<(String, String)>,
    denied: Option<String>,
    options: String,
}

impl Mosquitto {
    /// Keeps sessions and messages over a restart, hands out as many unacknowledged messages as a client takes.
    pub fn new() -> Self {
        Self {
            persistence: true,
            inflight: 0,
            tls: None,
            login: None,
            denied: None,
            options: String::new(),
        }
    }

    /// Unacknowledged messages at most, in either direction; mosquitto's own default is 20.
    #[must_use]
    pub fn inflight(mut self, inflight: u16) -> Self {
        self.inflight = inflight;
        self
    }

    /// Keeps nothing over a restart.
    #[must_use]
    pub fn forgetful(mut self) -> Self {
        self.persistence = false;
        self
    }

    /// A second port with TLS that asks for client certificates signed by `ca`.
    #[must_use]
    pub fn tls(mut self, ca: &Path, identity: Identity) -> Self {
        self.tls = Some((ca.to_path_buf(), identity));
        self
    }

    /// One more line of its config.
    #[must_use]
    pub fn option(mut self, line: &str) -> Self {
        self.options += line;
        self.options.push('\n');
        self
    }

    /// Nobody may publish or read what this filter matches; all else is allowed.
    #[must_use]
    pub fn deny(mut self, filter: &str) -> Self {
        self.denied = Some(filter.to_owned());
        self
    }

    /// Nobody gets in without this name and password.
    #[must_use]
    pub fn login(mut self, user: &str, password: &str) -> Self {
        self.login = Some((user.to_owned(), password.to_owned()));
        self
    }

    /// Starts it.
    pub fn start(self) -> Result<Broker> {
        let folder = tempfile::tempdir().context("no folder for mosquitto")?;
        for _ in 0..TRIES {
            let ports = Ports {
                plain: port::free()?,
                tls: port::free()?,
            };
            fs::write(
                folder.path().join("mosquitto.conf"),
                self.config(folder.path(), &ports)?,
            )?;
            let mut process = start_mosquitto(folder.path())?;
            let tls = self.tls.is_some().then_some(ports.tls);
            if wait_for_ports(&mut process, ports.plain, tls)? {
                let kind = Kind::Mosquitto { folder, tls };
                return Ok(Broker {
                    kind,
                    port: ports.plain,
                    process,
                });
            }
        }
        bail!("mosquitto did not come up in {TRIES} tries")
    }

    fn config(&self, folder: &Path, ports: &Ports) -> Result<String> {
        let place = folder.display();
        // `user root` matters where the tests run as root: mosquitto would become a user who may not write here.
        let mut text = format!(
            "user root\nlistener {} 127.0.0.1\nmax_queued_messages 0\nmax_inflight_messages {}\nset_tcp_nodelay true\n\
             log_type error\nlog_type warning\nlog_type notice\nlog_type subscribe\nlog_type unsubscribe\n",
            ports.plain, self.inflight
        );
        text.push_str(&self.options);
        match &self.login {
            None => text.push_str("allow_anonymous true\n"),
            Some((user, password)) => {
                let file = folder.join("passwords");
                fs::write(&file, format!("{user}:{password}\n"))?;
                let hashed = Command::new("mosquitto_passwd")
                    .arg("-U")
                    .arg(&file)
                    .status();
                if !hashed.context("cannot run mosquitto_passwd")?.success() {
                    bail!("mosquitto_passwd failed");
                }
                writeln!(
                    text,
                    "allow_anonymous false\npassword_file {}",
                    file.display()
                )?;
            }
        }
        if let Some(filter) = &self.denied {
            let file = folder.join("acl");
            fs::write(&file, format!("topic readwrite #\ntopic deny {filter}\n"))?;
            writeln!(text, "acl_file {}", file.display())?;
        }
        if self.persistence {
            writeln!(
                text,
                "persistence true\npersistence_location {place}/\nautosave_interval 30"
            )?;
        }
        if let Some((ca, identity)) = &self.tls {
            writeln!(
                text,
                "listener {} 127.0.0.1\nrequire_certificate true\ncafile {}",
                ports.tls,
                ca.display()
            )?;
            writeln!(
                text,
                "certfile {}\nkeyfile {}",
                identity.certificate.display(),
                identity.key.display()
            )?;
        }
        Ok(text)
    }
}

impl Default for Mosquitto {
    fn default() -> Self {
        Self::new()
    }
}

struct Ports {
    plain: u16,
    tls: u16,
}

#[derive(Debug)]
enum Kind {
    Embedded,
    Mosquitto {
        folder: TempDir,
        tls: Option<u16>,
    },
    Foreign {
        which: Foreign,
        folder: TempDir,
        web: WebPort,
    },
}

/// A running broker on a port of its own, which it keeps over restarts.
#[derive(Debug)]
pub struct Broker {
    kind: Kind,
    port: u16,
    process: Process,
}

impl Broker {
    /// The broker compiled into the binary, as a process of its own. It keeps everything in memory.
    pub fn embedded() -> Result<Self> {
        for _ in 0..TRIES {
            let port = port::free()?;
            let mut process = start_embedded(port)?;
            let mut is_ready = false;
            wait_until("the embedded broker prints its address", || {
                is_ready = process.lines().find(|line| port_in(line)) == Some(port);
                is_ready || !process.is_running()
            })?;
            if is_ready {
                return Ok(Self {
                    kind: Kind::Embedded,
                    port,
                    process,
                });
            }
        }
        bail!("the embedded broker did not come up in {TRIES} tries")
    }

    /// mosquitto with the settings of [`Mosquitto::new`].
    pub fn mosquitto() -> Result<Self> {
        Mosquitto::new().start()
    }

    /// One that nobody here wrote, with its own defaults.
    pub fn foreign(which: Foreign) -> Result<Self> {
        Self::foreign_with(which, None)
    }

    /// The same; for its WebSockets it has this certificate.
    pub fn foreign_with(which: Foreign, identity: Option<Identity>) -> Result<Self> {
        let folder = tempfile::tempdir().context("no folder for a broker")?;
        for _ in 0..TRIES {
            let port = port::free()?;
            let web = WebPort {
                port: port::free()?,
                identity: identity.clone(),
            };
            let mut process = which.start(folder.path(), port, &web)?;
            if wait_for_ports(&mut process, port, None)? {
                return Ok(Self {
                    kind: Kind::Foreign { which, folder, web },
                    port,
                    process,
                });
            }
        }
        bail!("{which:?} did not come up in {TRIES} tries")
    }

    /// Where it listens, without TLS.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The same as URL.
    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// The URL of the port with TLS.
    pub fn tls_url(&self) -> Result<String> {
        match self.kind {
            Kind::Mosquitto {
                tls: Some(port), ..
            } => Ok(format!("mqtts://127.0.0.1:{port}")),
            _ => bail!("this broker has no port with TLS"),
        }
    }

    /// Where it takes WebSockets.
    pub fn web_address(&self) -> Result<SocketAddr> {
        match &self.kind {
            Kind::Foreign { web, .. } => Ok((Ipv4Addr::LOCALHOST, web.port).into()),
            _ => bail!("this broker takes no WebSockets"),
        }
    }

    /// What it wrote; of a mosquitto also who subscribed to what.
    pub fn lines(&self) -> &Lines {
        self.process.lines()
    }

    /// Publishes one message at QoS 1 and waits for its acknowledgement.
    pub fn publish(&self, topic: &str, payload: impl AsRef<[u8]>) -> Result<()> {
        let introduction = crate::client::Introduction {
            id: format!("pub-{:08x}", fastrand::u32(..)),
            clean: true,
        };
        let mut client = crate::client::Client::open(self.address(), &introduction)?;
        client.publish(topic, payload.as_ref(), 1, false);
        client.flush()?;
        let answer = client.receive(Some(crate::wait::PATIENCE))?;
        if answer != Some(crate::client::Packet::Acknowledged(1)) {
            bail!("`{topic}` was answered with {answer:?}");
        }
        Ok(client.close()?)
    }

    /// Stops it in an orderly way; mosquitto writes what it keeps.
    pub fn go_dark(&mut self) -> Result<()> {
        self.process.signal(Signal::TERM)?;
        self.process.wait().map(drop)
    }

    /// Starts it again on the same port.
    pub fn back(&mut self) -> Result<()> {
        let tls;
        (self.process, tls) = match &self.kind {
            Kind::Embedded => (start_embedded(self.port)?, None),
            Kind::Mosquitto { folder, tls } => (start_mosquitto(folder.path())?, *tls),
            Kind::Foreign { which, folder, web } => {
                (which.start(folder.path(), self.port, web)?, None)
            }
        };
        if !wait_for_ports(&mut self.process, self.port, tls)? {
            bail!("the broker did not come back on port {}", self.port);
        }
        Ok(())
    }

    /// Stops its clock: connections stay open, nothing is answered.
    pub fn freeze(&self) -> Result<()> {
        self.process.signal(Signal::STOP)
    }

    /// Ends [`Broker::freeze`].
    pub fn thaw(&self) -> Result<()> {
        self.process.signal(Signal::CONT)
    }
}

/// Whether mosquitto can be started here.
pub fn has_mosquitto() -> bool {
    mosquitto_path().is_some()
}

/// mosquitto, on PATH or where Debian puts it (its folder is not on every user's PATH).
fn mosquitto_path() -> Option<&'static Path> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    let find = || {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders =
            std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
        folders
            .map(|folder| folder.join("mosquitto"))
            .find(|file| file.is_file())
    };
    FOUND.get_or_init(find).as_deref()
}

fn start_mosquitto(folder: &Path) -> Result<Process> {
    let program = mosquitto_path().context("mosquitto is not installed")?;
    Process::start(
        "mosquitto",
        Command::new(program)
            .arg("-c")
            .arg(folder.join("mosquitto.conf")),
    )
}

fn start_embedded(port: u16) -> Result<Process> {
    Process::start(
        "the embedded broker",
        Command::new(tidegate()?).args(["broker", "--listen", &format!("127.0.0.1:{port}")]),
    )
}

/// Waits until somebody listens on both ports; `false` when the process ended instead.
fn wait_for_ports(process: &mut Process, plain: u16, tls: Option<u16>) -> Result<bool> {
    let mut alive = true;
    for port in [Some(plain), tls].into_iter().flatten() {
        wait_until("the broker listens", || {
            alive = process.is_running();
            !alive || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
        })?;
    }
    Ok(alive)
}

/// The port of the first `127.0.0.1:PORT` in `line`.
pub fn port_in(line: &str) -> Option<u16> {
    let (_, rest) = line.split_once("127.0.0.1:")?;
    let digits = rest.split(|symbol: char| !symbol.is_ascii_digit()).next()?;
    digits.parse().ok().filter(|port| *port != 0)
}
