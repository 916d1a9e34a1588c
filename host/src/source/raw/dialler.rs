//! What there is to take from, dialled, listened to or opened again and again until it stands.

use std::io;

use tokio::net::{TcpListener, UdpSocket};

use super::program::{ProgramRounds, ProgramRun, RawProgram};
use super::tail;
use super::wire::{Error, RawWire};
use super::{Config, RawAddress};
use crate::link::{
    self, Backoff, Deadlines, Dial, Peer, SerialFinder, SerialPort, Socket, Target, serial_problem,
};

const PEER: Peer = Peer {
    noun: "device",
    plain: "tcp://",
    upgrade: None,
};

/// What a socket of datagrams should have room for; the system grants what it allows (`net.core.rmem_max`).
const ROOM_BYTES: usize = 4 << 20;

/// What was opened, and stands.
#[derive(Debug)]
pub(super) enum Opened {
    Wire(RawWire),
    Listener(TcpListener),
    Datagrams(UdpSocket),
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

    fn cannot_listen(&self, source: io::Error) -> Error {
        Error::Link(link::Error::Listen {
            address: self.id.clone(),
            problem: port_problem(&source),
            source,
        })
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
                let listener = TcpListener::bind((bare(host), *port)).await;
                listener
                    .map(Opened::Listener)
                    .map_err(|source| self.cannot_listen(source))
            }
            RawAddress::Datagrams { host, port } => {
                let socket = bind_datagrams(host, *port).await;
                socket
                    .map(Opened::Datagrams)
                    .map_err(|source| self.cannot_listen(source))
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

/// A port for datagrams, with as much room as the system allows.
///
/// # Errors
/// What the system says.
pub(in crate::source) async fn bind_datagrams(host: &str, port: u16) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((bare(host), port)).await?;
    // What the system allows is enough to go on with.
    let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(ROOM_BYTES);
    Ok(socket)
}

fn bare(host: &str) -> &str {
    host.trim_matches(['[', ']'])
}

/// What to do where a port cannot be had.
pub(in crate::source) fn port_problem(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another program has the port: end it, or take another port",
        io::ErrorKind::PermissionDenied => {
            "the gateway's user may not: take a port above 1023, or grant CAP_NET_BIND_SERVICE"
        }
        io::ErrorKind::AddrNotAvailable => "no interface of this machine has that address (yet)",
        _ => "check address and port",
    }
}

/// Whether there is something to take from, in words; nothing is taken. A port is had for a moment; a serial line is looked at and
/// not opened, since a gateway that runs would lose bytes by it; a program is looked at and not run.
///
/// # Errors
/// Why not, in words.
pub(in crate::source) async fn reach(config: &Config) -> Result<String, String> {
    let taken = |cause: io::Error| {
        format!("the port cannot be had: {cause}; a gateway that runs holds it rightly")
    };
    match &config.address {
        RawAddress::Dial { .. } => {
            let dialled = RawDialler::new(config).dial(0).await;
            dialled
                .map(|_| "it takes connections; nothing was read".to_owned())
                .map_err(|error| link::Causes(&error).to_string())
        }
        RawAddress::Listen { host, port, .. } => {
            let bound = TcpListener::bind((bare(host), *port)).await;
            bound.map(|_| "the port is free".to_owned()).map_err(taken)
        }
        RawAddress::Datagrams { host, port } => {
            let bound = UdpSocket::bind((bare(host), *port)).await;
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
