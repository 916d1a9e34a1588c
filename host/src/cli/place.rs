//! Where a command finds what it is about: a running gateway, through its control socket, or the files of a stopped
//! one. The same request goes to either.

pub mod relay;
pub mod unreached;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::Args;
use prometheus::Registry;
use serde::de::DeserializeOwned;

use super::global::remote::RemoteError;
use super::{Global, Surroundings, say};
use crate::admin::{Client, ClientError};
use crate::config::{self, Config};
use crate::exit::Exit;
use crate::file;
use crate::gateway::api::status::Status;
use crate::spool::{self, Metrics, Spool, Stopped, ToolError, ToolRequest};
use crate::words::with_causes;

/// Bytes of the kernel's list of sockets that are looked through.
const MOST_SOCKETS: u64 = 16 << 20;

/// Which gateway a command is about, by the folder of its data.
#[derive(Clone, Debug, Args)]
pub struct DataDirArgument {
    /// Folder of the gateway's data; wins over the config's `data_dir`, and a running gateway is then found without
    /// its config.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

/// What is to be done there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The store is only read.
    Look,
    /// Something is taken out or put in.
    Change,
    /// As `Change`; a store that does not open is moved aside.
    Repair,
}

/// Why a command ends.
#[derive(Debug, thiserror::Error)]
pub enum CommandFailure {
    /// The config's mistakes have been shown.
    #[error("the config cannot be read; with --data-dir a running gateway is found without it")]
    Config,
    /// Another gateway than the one that was meant would be found.
    #[error("there is no config `{}`; without -c the gateway that runs on this machine is found, with --data-dir the one on that folder", .0.display())]
    NoConfig(PathBuf),
    /// The running gateway, at its control socket.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The files of a gateway that does not run.
    #[error(transparent)]
    Spool(spool::Error),
    /// The files do not open.
    #[error("{0}; `tidegate spool repair` does what can be done")]
    Broken(String),
    /// What was asked of the files.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// Somebody has the lock, and no socket.
    #[error(
        "process {holder} has the data folder `{}` and does not answer yet or any more: it starts or stops; try again",
        path.display()
    )]
    Silent {
        /// Number of the process, as the lock file has it.
        holder: String,
        path: PathBuf,
    },
    /// There is nothing at all.
    #[error("no gateway runs on `{}`, and none has left a store there", .0.display())]
    Nothing(PathBuf),
    /// Only a running one will do.
    #[error("no gateway runs on `{}`: {what}; start it first", path.display())]
    NotRunning {
        path: PathBuf,
        /// Why it has to run.
        what: &'static str,
    },
    /// One runs, without a control socket.
    #[error("a gateway runs on `{}`, and no command reaches it: {why}, and without room to write there is no control socket; {elsewhere}", path.display())]
    Unreached {
        path: PathBuf,
        /// What is wrong with its disk.
        why: &'static str,
        /// Where it can be seen all the same.
        elsewhere: String,
    },
    /// Files made by another user would keep the gateway out.
    #[error(
        "the store `{}` belongs to user {owner}, and files that another user makes in it would keep the gateway out: \
         run this as its owner (sudo -u '#{owner}' tidegate …)", path.display()
    )]
    Owner { path: PathBuf, owner: u32 },
    /// Numbers of the own files.
    #[error("cannot set up metrics")]
    Metrics(#[from] prometheus::Error),
    /// A file of the user's.
    #[error("`{}`", path.display())]
    File {
        path: PathBuf,
        /// What is wrong with it.
        source: std::io::Error,
    },
    /// Whoever read our output has seen enough.
    #[error("nobody reads the output any more")]
    ReaderGone,
    /// Any other, said in full.
    #[error("{0}")]
    Said(String),
    /// The command line lacks something.
    #[error("{0}")]
    Usage(String),
}

impl CommandFailure {
    /// Says it, and answers the exit code.
    pub fn end(&self) -> Exit {
        if matches!(self, Self::ReaderGone) {
            return Exit::Done;
        }
        say(&format!("error: {}", with_causes(self)));
        match self {
            Self::Config | Self::NoConfig(_) => Exit::Config,
            Self::Nothing(_) | Self::NotRunning { .. } => Exit::NotRunning,
            Self::Usage(_) => Exit::Usage,
            _ => Exit::Failed,
        }
    }
}

impl From<RemoteError> for CommandFailure {
    fn from(error: RemoteError) -> Self {
        match error {
            RemoteError::Usage(words) => Self::Usage(words),
            RemoteError::Client(error) => Self::Client(error),
            error @ RemoteError::Token { .. } => Self::Said(error.to_string()),
        }
    }
}

impl From<spool::Error> for CommandFailure {
    fn from(error: spool::Error) -> Self {
        match error {
            spool::Error::Locked { path, holder } => Self::Silent { holder, path },
            spool::Error::Store { .. } => Self::Broken(with_causes(&error)),
            other => Self::Spool(other),
        }
    }
}

/// The files of a stopped gateway.
enum LockedFiles {
    Looking(Box<Stopped>),
    Changing(Spool),
}

/// A running or a stopped gateway.
pub enum GatewayOrFiles {
    /// A running one, through its control socket.
    Running(Client),
    /// The config and the locked files of one that does not run.
    Stopped(Box<Config>, StoppedStore),
}

/// Locked files; see [`GatewayOrFiles::Stopped`].
pub struct StoppedStore(LockedFiles);

impl StoppedStore {
    /// Puts the files into the new folder `into`, as a running gateway does.
    pub fn snapshot(&self, into: &Path) -> Result<Vec<spool::SnapshotFile>, spool::SnapshotError> {
        match &self.0 {
            LockedFiles::Looking(store) => store.snapshot(into),
            LockedFiles::Changing(spool) => spool.snapshot(into),
        }
    }
}

/// A running gateway, or else the config of one that does not run.
pub enum GatewayOrConfig {
    /// A running one, through its control socket.
    Running(Client),
    /// The config of one that does not run.
    Stopped(Box<Config>),
}

/// Looks for a running gateway: where the command line says, or on this machine.
pub fn find(
    global: &Global,
    at: &DataDirArgument,
    _: Surroundings,
) -> Result<GatewayOrConfig, CommandFailure> {
    if let Some(client) = global.remote.reach(at.data_dir.as_deref())? {
        return Ok(GatewayOrConfig::Running(client));
    }
    if let Some(data_dir) = &at.data_dir
        && let Some(client) = Client::reach(data_dir)?
    {
        return Ok(GatewayOrConfig::Running(client));
    }
    let sources = global.sources(at.data_dir.clone());
    if global.names_a_config() && at.data_dir.is_none() && !sources.path.exists() {
        return Err(CommandFailure::NoConfig(sources.path));
    }
    let (config, problems) = config::load_somehow(&sources);
    if let Some(client) = Client::reach(&config.gateway.data_dir)? {
        return Ok(GatewayOrConfig::Running(client));
    }
    let has_store = config.spool.path.join("store").exists();
    if config::is_default_data_dir(&sources, &config.gateway.data_dir)
        && !has_store
        && let Some(client) = elsewhere()?
        && (!global.names_a_config() || runs_on(&client, &sources.path)?)
    {
        return Ok(GatewayOrConfig::Running(client));
    }
    // With the data named, a config that is not there is not missed.
    let is_missed = at.data_dir.is_none() || sources.path.exists();
    if let Some(problems) = problems.filter(|_| is_missed || !has_store) {
        // Whoever operates needs the data, not a faultless file; what it lacks shows in what is found.
        say(&format!(
            "the config has {}; `tidegate check` shows {}",
            problems.summary(),
            if problems.errors() == 1 { "it" } else { "them" }
        ));
        if !sources.path.exists() && !has_store {
            return Err(CommandFailure::Nothing(config.gateway.data_dir.clone()));
        }
    }
    if let Some(unreached) = unreached::by_its_disk(&config) {
        return Err(unreached);
    }
    Ok(GatewayOrConfig::Stopped(Box::new(config)))
}

/// A running gateway, or else the config of one that has left a store.
pub fn find_left(
    global: &Global,
    at: &DataDirArgument,
    surroundings: Surroundings,
) -> Result<GatewayOrConfig, CommandFailure> {
    let found = find(global, at, surroundings)?;
    if let GatewayOrConfig::Stopped(config) = &found
        && !config.spool.path.join("store").exists()
    {
        return Err(CommandFailure::Nothing(config.gateway.data_dir.clone()));
    }
    Ok(found)
}

/// Whether a gateway was started with this config.
fn runs_on(client: &Client, config: &Path) -> Result<bool, CommandFailure> {
    let status: Status = client.get("/v1/status")?;
    let file = status.config.file;
    let own = fs::canonicalize(config).unwrap_or_else(|_| config.to_owned());
    // As it was given to the gateway, which may have been started in another folder.
    Ok(file == config || own.ends_with(&file))
}

/// The gateway that runs on this machine on a folder that nobody named: another user's, whose default is another.
fn elsewhere() -> Result<Option<Client>, CommandFailure> {
    let sockets = file::read_text(Path::new("/proc/net/unix"), MOST_SOCKETS).unwrap_or_default();
    let path = |line: &str| {
        Some(
            Path::new(
                line.split_whitespace()
                    .nth(7)?
                    .strip_suffix("/admin.sock")?,
            )
            .to_owned(),
        )
    };
    let mut folders: Vec<PathBuf> = sockets
        .lines()
        .filter_map(path)
        .filter(|path| path.is_absolute())
        .collect();
    folders.sort();
    folders.dedup();
    let reach = |folder: PathBuf| {
        Client::reach(&folder)
            .ok()
            .flatten()
            .map(|client| (folder, client))
    };
    let mut found: Vec<_> = folders.into_iter().filter_map(reach).collect();
    if found.len() > 1 {
        let folders: Vec<_> = found
            .iter()
            .map(|(folder, _)| folder.display().to_string())
            .collect();
        return Err(CommandFailure::Usage(format!(
            "several gateways run here: name one with --data-dir: {}",
            folders.join(", ")
        )));
    }
    Ok(found.pop().map(|(folder, client)| {
        say(&format!("the gateway on {}", folder.display()));
        client
    }))
}

/// The running gateway; `what` says why no other will do.
pub fn running(
    global: &Global,
    at: &DataDirArgument,
    surroundings: Surroundings,
    what: &'static str,
) -> Result<Client, CommandFailure> {
    match find(global, at, surroundings)? {
        GatewayOrConfig::Running(client) => Ok(client),
        GatewayOrConfig::Stopped(config) => Err(CommandFailure::NotRunning {
            path: config.gateway.data_dir.clone(),
            what,
        }),
    }
}

impl GatewayOrFiles {
    /// The running gateway, or the files of a stopped one.
    pub fn find(
        global: &Global,
        at: &DataDirArgument,
        surroundings: Surroundings,
        purpose: Access,
    ) -> Result<Self, CommandFailure> {
        let config = match find(global, at, surroundings)? {
            GatewayOrConfig::Running(client) => return Ok(Self::Running(client)),
            GatewayOrConfig::Stopped(config) => config,
        };
        let store = config.spool.path.join("store");
        let Ok(about) = fs::metadata(&store) else {
            return Err(CommandFailure::Nothing(config.gateway.data_dir.clone()));
        };
        if about.uid() != rustix::process::geteuid().as_raw() {
            return Err(CommandFailure::Owner {
                path: store,
                owner: about.uid(),
            });
        }
        let quieter = Global {
            quiet: global.quiet.saturating_add(1),
            ..global.clone()
        };
        quieter.start_log(&config, surroundings);
        let files = open(&config, purpose)?;
        Ok(Self::Stopped(config, StoppedStore(files)))
    }

    /// Asks; the answer is of the type that the request names.
    pub fn ask<A: DeserializeOwned>(&self, request: ToolRequest) -> Result<A, CommandFailure> {
        let answer = match self {
            Self::Running(client) => return Ok(client.post("/v1/spool", &request)?),
            Self::Stopped(_, StoppedStore(LockedFiles::Looking(store))) => {
                store.tools().answer(request)?
            }
            Self::Stopped(_, StoppedStore(LockedFiles::Changing(spool))) => {
                spool.tools().answer(request)?
            }
        };
        serde_json::from_value(answer)
            .map_err(|error| CommandFailure::Said(format!("an answer of another form: {error}")))
    }

    /// What `tidegate status` shows.
    pub fn status(&self) -> Result<Status, CommandFailure> {
        Ok(match self {
            Self::Running(client) => client.get("/v1/status")?,
            Self::Stopped(config, StoppedStore(LockedFiles::Looking(store))) => {
                Status::of_stopped(config, &store.account())
            }
            Self::Stopped(config, StoppedStore(LockedFiles::Changing(spool))) => {
                Status::of_stopped(config, &spool.account())
            }
        })
    }

    /// Writes what was changed and lets go of the files.
    pub fn close(self) -> Result<(), CommandFailure> {
        match self {
            Self::Stopped(_, StoppedStore(LockedFiles::Changing(spool))) => Ok(spool.close()?),
            Self::Running(_) | Self::Stopped(..) => Ok(()),
        }
    }

    /// Whether it is a running gateway.
    pub fn is_running(&self) -> bool {
        matches!(self, Self::Running(_))
    }
}

fn open(config: &Config, purpose: Access) -> Result<LockedFiles, CommandFailure> {
    let metrics = || Metrics::new(&Registry::new());
    let looked = Stopped::open(config.spool.clone(), metrics()?);
    let whole = match (looked, purpose) {
        (Ok(store), Access::Look) => return Ok(LockedFiles::Looking(Box::new(store))),
        (Ok(store), _) => store.config().clone(),
        (Err(_), Access::Repair) => config.spool.clone(),
        (Err(error), _) => return Err(error.into()),
    };
    Ok(LockedFiles::Changing(Spool::open(whole, metrics()?)?))
}

/// A file of the user's could not be read or written.
pub fn file_failure(path: &Path, source: std::io::Error) -> CommandFailure {
    CommandFailure::File {
        path: path.to_owned(),
        source,
    }
}
