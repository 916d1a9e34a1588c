//! What there is to take from, dialled, listened to or opened again and again until it stands.

use tokio::net::{TcpListener, UdpSocket};

use super::program::{ProgramRounds, ProgramRun, RawProgram};
use super::tail;
use super::wire::{Error, RawWire};
use super::{Config, RawAddress};
use crate::link::{
    self, Backoff, Deadlines, Dial, Peer, Port, SerialFinder, SerialPort, Socket, Target,
    serial_problem,
};

const PEER: Peer = Peer {
    noun: "device",
    plain: "tcp://",
    upgrade: None,
};

/// What was opened, and stands.
#[derive(Debug)]
pub(super) enum Opened {
    Wire(RawWire),
    Listener(Port<TcpListener>),
    Datagrams(Port<UdpSocket>),
    /// A program that is run again and again.
    Rounds(RawProgram, ProgramRounds),
    /// They are looked for again and again, and not dialled.
    Files,
}

#[derive(Debug)]
pub(super) struct RawDialler {
    address: RawAddress,
    backoff: Backoff,
    id: String,
    /// Of a serial line, its adapter.
    finder: Option<SerialFinder>,
}

impl RawDialler {
    pub(super) fn new(config: &Config) -> Self {
        let finder = match &config.address {
            RawAddress::Serial(serial) => Some(SerialFinder::of(&serial.path)),
            _ => None,
        };
        Self {
            id: config.address.to_string(),
            address: config.address.clone(),
            backoff: config.backoff,
            finder,
        }
    }
}

impl Dial for RawDialler {
    type Up = Opened;
    type Error = Error;

    async fn dial(&self, _: u32) -> Result<Opened, Error> {
        match &self.address {
            RawAddress::Dial { host, port } => {
                let target = Target {
                    host,
                    port: *port,
                    tls: None,
                    deadlines: Deadlines::default(),
                    peer: &PEER,
                    carriage: None,
                };
                let socket = Socket::dial(target).await?;
                Ok(Opened::Wire(RawWire::Dialled(Box::new(socket))))
            }
            RawAddress::Listen { host, port, .. } => {
                let listener = Port::listen(host, *port).await?;
                Ok(Opened::Listener(listener))
            }
            RawAddress::Datagrams { host, port } => {
                let socket = Port::datagrams(host, *port).await?;
                Ok(Opened::Datagrams(socket))
            }
            RawAddress::Serial(serial) => SerialPort::open(serial, self.finder.as_ref())
                .map(|port| Opened::Wire(RawWire::Line(port)))
                .map_err(|(path, source)| Error::Open {
                    path: crate::words::line(&path.to_string_lossy(), 200),
                    source,
                }),
            RawAddress::Program(program) => match program.rounds {
                Some(rounds) => Ok(Opened::Rounds(program.clone(), rounds)),
                None => start(program).map(Opened::Wire),
            },
            RawAddress::Files(_) => Ok(Opened::Files),
        }
    }

    fn id(&self) -> &str {
        &self.id
    }

    fn backoff(&self) -> Backoff {
        self.backoff
    }

    fn complaint(&self) -> &'static str {
        "nothing comes in here"
    }
}

/// Starts a program, as a wire that is read only.
///
/// # Errors
/// No process is to be had.
pub(super) fn start(program: &RawProgram) -> Result<RawWire, Error> {
    let started = ProgramRun::start(program);
    started
        .map(|run| RawWire::Program(Box::new(run)))
        .map_err(|source| Error::Start {
            path: program.path.display().to_string(),
            source,
        })
}

/// Whether there is something to take from, in words; nothing is taken. A port is had for a moment; a serial line is looked at and
/// not opened, since a gateway that runs would lose bytes by it; a program is looked at and not run.
///
/// # Errors
/// Why not, in words.
pub(in crate::source) async fn reach(config: &Config) -> Result<String, String> {
    let taken = |error: link::Error| {
        let causes = link::Causes(&error);
        format!("the port cannot be had: {causes}; a gateway that runs holds it rightly")
    };
    match &config.address {
        RawAddress::Dial { .. } => {
            let dialled = RawDialler::new(config).dial(0).await;
            dialled
                .map(|_| "it takes connections; nothing was read".to_owned())
                .map_err(|error| link::Causes(&error).to_string())
        }
        RawAddress::Listen { host, port, .. } => {
            let bound = Port::listen(host, *port).await;
            bound.map(|_| "the port is free".to_owned()).map_err(taken)
        }
        RawAddress::Datagrams { host, port } => {
            let bound = Port::datagrams(host, *port).await;
            bound.map(|_| "the port is free".to_owned()).map_err(taken)
        }
        RawAddress::Serial(serial) => {
            let found = std::fs::metadata(&serial.path);
            found
                .map(|_| "the line is there; it was not opened".to_owned())
                .map_err(|cause| format!("{}: {cause}", serial_problem(&cause)))
        }
        RawAddress::Program(program) => program.reach(),
        RawAddress::Files(pattern) => {
            let own = pattern.clone();
            let looked = tokio::task::spawn_blocking(move || {
                let folder = own.path();
                crate::file::within(&folder, move || Ok(tail::reach(&own)))
            });
            match looked.await {
                Ok(Ok(reached)) => reached,
                Ok(Err(cause)) => Err(cause.to_string()),
                Err(_) => Err("the try broke off".to_owned()),
            }
        }
    }
}
