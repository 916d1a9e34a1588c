//! What the config asks of the machine, and what only the system can answer about it.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::certificates::{CertificateFile, CertificateUse};
use super::disk::SpoolDisk;
use super::limits::WantedLimits;
use super::machine::shown;
use super::network::{WantedName, WantedPort};
use super::secrets::SecretFile;
use crate::cli::place::unreached::by_its_disk;
use crate::config::Config;
use crate::{file, link};

/// For a name to be found, and for a disk to take a few small writes.
const PATIENCE: Duration = Duration::from_secs(10);
/// Small writes that are timed; the slowest counts.
const WRITES: usize = 5;
/// Files of the spool that are counted, so that a look ends.
const MOST_FILES: usize = 200_000;

/// Everything but the machine's own files.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) limit_bytes: u64,
    pub(super) folder: SpoolDisk,
    pub(super) wanted: WantedLimits,
    pub(super) ports: Vec<WantedPort>,
    pub(super) names: Vec<WantedName>,
    pub(super) certificates: Vec<CertificateFile>,
    pub(super) secrets: Vec<SecretFile>,
    /// In words, of a gateway that runs and cannot be asked: why.
    pub(super) unreached: Option<String>,
}

/// Gathers them; names are looked up meanwhile.
pub(super) async fn gather(config: &Config) -> Facts {
    Facts {
        limit_bytes: config.gateway.memory_bytes,
        folder: folder(config),
        wanted: wanted(config),
        ports: ports(config),
        names: names(config).await,
        certificates: certificates(config),
        secrets: secrets(config),
        unreached: by_its_disk(config).map(|unreached| unreached.to_string()),
    }
}

pub(super) fn secrets(config: &Config) -> Vec<SecretFile> {
    let files = config.secret_files().into_iter();
    files.map(|(of, path)| SecretFile { of, path }).collect()
}

fn folder(config: &Config) -> SpoolDisk {
    let written = &config.gateway.data_dir;
    let path = fs::canonicalize(written)
        .unwrap_or_else(|_| std::path::absolute(written).unwrap_or_else(|_| written.clone()));
    let exists = path.is_dir();
    // What is not there yet will lie where its nearest parent does.
    let there = path
        .ancestors()
        .find(|path| path.is_dir())
        .unwrap_or(Path::new("/"));
    let space = rustix::fs::statvfs(there).ok();
    let quotas = config
        .spool
        .queues
        .iter()
        .map(|queue| queue.policy.max_bytes);
    SpoolDisk {
        exists,
        free_bytes: space
            .as_ref()
            .map_or(0, |space| space.f_bavail.saturating_mul(space.f_frsize)),
        // Some file systems make them as they are needed, and say that there are none.
        free_inodes: space
            .filter(|space| space.f_files > 0)
            .map(|space| space.f_favail),
        spool_bytes: taken(&config.spool.path),
        quota_bytes: quotas.fold(config.spool.dead_letter_bytes, u64::saturating_add),
        reserve_bytes: config.spool.reserve_bytes,
        sync: if exists {
            sync_time(&path)
        } else {
            Err("the folder is not there".to_owned())
        },
        path,
    }
}

fn taken(folder: &Path) -> u64 {
    let mut folders = vec![folder.to_owned()];
    let (mut bytes, mut left) = (0, MOST_FILES);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .take(left)
        {
            left = left.saturating_sub(1);
            match entry.metadata() {
                Ok(about) if about.is_dir() => folders.push(entry.path()),
                Ok(about) => bytes += about.len(),
                Err(_) => {}
            }
        }
    }
    bytes
}

/// On a thread of its own: a disk that hangs holds up no look at the rest.
fn sync_time(folder: &Path) -> Result<Duration, String> {
    let path = folder.join(format!(".doctor-{}", std::process::id()));
    let (tell, told) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        // Whoever asked may have given up.
        drop(tell.send(write_and_sync(path)));
    });
    told.recv_timeout(PATIENCE).unwrap_or(Ok(PATIENCE))
}

fn write_and_sync(path: PathBuf) -> Result<Duration, String> {
    let words = |error: std::io::Error| error.to_string();
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .map_err(words)?;
    let mut slowest = Duration::ZERO;
    let mut write = || -> std::io::Result<()> {
        for _ in 0..WRITES {
            let begun = Instant::now();
            file.write_all(&[0; 4_096])?;
            file.sync_data()?;
            slowest = slowest.max(begun.elapsed());
        }
        Ok(())
    };
    let written = write();
    drop(fs::remove_file(&path));
    written.map_err(words).map(|()| slowest)
}

fn wanted(config: &Config) -> WantedLimits {
    let in_use = |source: &crate::config::SourceSpec| source.kind.facts().connections;
    let inward: u64 = config.sources.iter().map(in_use).sum();
    let outward: u64 = config
        .uplinks
        .iter()
        .map(|uplink| 2 * u64::from(uplink.connections))
        .sum();
    let plugins: usize = config.flows.iter().map(|flow| flow.plugins.len()).sum();
    WantedLimits {
        connections: inward + outward,
        watched: plugins as u64 + 1,
    }
}

fn ports(config: &Config) -> Vec<WantedPort> {
    let mut ports = vec![WantedPort {
        of: "admin".to_owned(),
        at: config.admin.listen,
    }];
    for source in &config.sources {
        let listens = source.kind.facts().listens;
        if let Some(at) = listens.filter(|at| !at.is_datagrams) {
            let (host, port) = (at.host, at.port);
            let host = if host.eq_ignore_ascii_case("localhost") {
                "127.0.0.1"
            } else {
                host
            };
            if let Ok(address) = host.parse::<IpAddr>() {
                ports.push(WantedPort {
                    of: format!("source.{}", source.name),
                    at: (address, port).into(),
                });
            }
        }
    }
    ports
}

async fn names(config: &Config) -> Vec<WantedName> {
    let mut wanted: Vec<(String, String)> = Vec::new();
    for source in &config.sources {
        if let Some(host) = source.kind.facts().dials {
            wanted.push((format!("source.{}", source.name), host.to_owned()));
        }
    }
    for uplink in &config.uplinks {
        let facts = uplink.kind.facts();
        if facts.port.is_some() {
            wanted.push((format!("uplink.{}", uplink.name), facts.host.to_owned()));
        }
    }
    // An address is found already, with a zone, too.
    let is_name = |host: &str| {
        let address = host.split('%').next().unwrap_or(host);
        address.parse::<IpAddr>().is_err() && !host.eq_ignore_ascii_case("localhost")
    };
    wanted.retain(|(_, host)| is_name(host));
    let mut looks = JoinSet::new();
    for (of, host) in wanted {
        looks.spawn(async move {
            let addresses = look_up(&host).await;
            WantedName {
                of,
                host,
                addresses,
            }
        });
    }
    let mut found = looks.join_all().await;
    found.sort_by(|one, two| one.of.cmp(&two.of));
    found
}

async fn look_up(host: &str) -> Result<Vec<IpAddr>, String> {
    match timeout(PATIENCE, tokio::net::lookup_host((host, 0))).await {
        Ok(Ok(found)) => Ok(found.map(|address| address.ip()).collect()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

fn certificates(config: &Config) -> Vec<CertificateFile> {
    let mut files = Vec::new();
    for source in &config.sources {
        let of = format!("source.{}", source.name);
        let facts = source.kind.facts();
        of_client(&of, facts.tls, &mut files);
        if let Some(tls) = facts.server_tls {
            files.push(pem(&of, &tls.identity.0, CertificateUse::Server));
            let ca = tls.client_ca.iter();
            files.extend(ca.map(|path| pem(&of, path, CertificateUse::Ca)));
        }
    }
    for uplink in &config.uplinks {
        let of = format!("uplink.{}", uplink.name);
        of_client(&of, uplink.kind.facts().tls, &mut files);
    }
    files
}

fn of_client(of: &str, tls: Option<&link::Tls>, files: &mut Vec<CertificateFile>) {
    let Some(tls) = tls else { return };
    files.extend(tls.ca.iter().map(|path| pem(of, path, CertificateUse::Ca)));
    let own = tls.identity.iter();
    files.extend(own.map(|(certificate, _)| pem(of, certificate, CertificateUse::Client)));
}

fn pem(of: &str, path: &Path, kind: CertificateUse) -> CertificateFile {
    CertificateFile {
        of: of.to_owned(),
        path: shown(path),
        kind,
        content: file::read(path, file::BY_HAND).map_err(|error| error.to_string()),
    }
}
