//! A serial line: opened in raw mode, alone, and read without waiting. `rustix` has all of it, for any baud rate. An adapter that is
//! pulled is found again by its name.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use rustix::fs::{Mode, OFlags};
use rustix::termios::{
    ControlModes, OptionalActions, QueueSelector, SpecialCodeIndex, ioctl_tiocexcl, isatty,
    tcflush, tcgetattr, tcsetattr,
};
use tokio::io::unix::AsyncFd;

/// Where it is, and how its bytes are sent.
#[derive(Clone, Debug)]
pub struct Serial {
    pub path: PathBuf,
    pub baud: u32,
    /// Bits of a byte: 5 to 8.
    pub data: u8,
    pub parity: Parity,
    /// Stop bits: 1 or 2.
    pub stop: u8,
    pub brake: SerialBrake,
}

/// How the other end of a serial line is told to wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SerialBrake {
    /// Not at all: what is not read in time is lost.
    #[default]
    None,
    /// By the wires RTS and CTS.
    Wires,
}

/// The bit behind those of a byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Parity {
    #[default]
    None,
    Even,
    Odd,
}

/// A line that is open, and nobody else's.
#[derive(Debug)]
pub struct SerialPort(AsyncFd<OwnedFd>);

impl SerialPort {
    /// Opens it where `finder` says that its adapter is now, else at its path. Never waits for a carrier, and is nobody's
    /// controlling terminal.
    ///
    /// # Errors
    /// The path that was tried, and what the system says, as [`serial_problem`] explains it.
    pub fn open(
        serial: &Serial,
        finder: Option<&SerialFinder>,
    ) -> Result<Self, (PathBuf, io::Error)> {
        let place = finder.map_or_else(|| serial.path.clone(), SerialFinder::place);
        let port = match Self::open_at(serial, &place) {
            Ok(port) => port,
            Err(error) => return Err((place, error)),
        };
        if let Some(finder) = finder {
            finder.opened(&place);
        }
        Ok(port)
    }

    fn open_at(serial: &Serial, path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let port = rustix::fs::open(path, flags, Mode::empty())?;
        if !isatty(&port) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // Somebody else on the line would take answers of ours.
        ioctl_tiocexcl(&port)?;
        let mut modes = tcgetattr(&port)?;
        modes.make_raw();
        modes.set_speed(serial.baud)?;
        let control = &mut modes.control_modes;
        control.insert(ControlModes::CREAD | ControlModes::CLOCAL);
        control.set(ControlModes::CRTSCTS, serial.brake == SerialBrake::Wires);
        control.remove(ControlModes::CSIZE);
        control.insert(match serial.data {
            5 => ControlModes::CS5,
            6 => ControlModes::CS6,
            7 => ControlModes::CS7,
            _ => ControlModes::CS8,
        });
        control.set(ControlModes::PARENB, serial.parity != Parity::None);
        control.set(ControlModes::PARODD, serial.parity == Parity::Odd);
        control.set(ControlModes::CSTOPB, serial.stop == 2);
        modes.special_codes[SpecialCodeIndex::VMIN] = 1;
        modes.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(&port, OptionalActions::Now, &modes)?;
        tcflush(&port, QueueSelector::IOFlush)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe for types that swap their descriptor, which this one never does"
        )]
        let port = AsyncFd::new(port)?;
        Ok(Self(port))
    }

    /// 0 is the end: the line was unplugged.
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(cx))?;
            let read = guard.try_io(|port| Ok(rustix::io::read(port, &mut *buffer)?));
            if let Ok(read) = read {
                return Poll::Ready(read);
            }
        }
    }

    /// Writes what the line takes.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.0.poll_write_ready(cx))?;
            let written = guard.try_io(|port| Ok(rustix::io::write(port, bytes)?));
            if let Ok(written) = written {
                return Poll::Ready(written);
            }
        }
    }
}

/// What to do about one that cannot be opened.
pub fn serial_problem(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "there is no such line (yet): check the adapter; names in /dev/serial/by-id stay the same"
        }
        io::ErrorKind::PermissionDenied => {
            "the gateway's user may not: add it to the group that owns the line, mostly `dialout`"
        }
        io::ErrorKind::ResourceBusy => "another program has the line: end it",
        io::ErrorKind::InvalidInput => "it is no serial line, or does not know this baud rate",
        _ => "check the adapter",
    }
}

/// Where the system names adapters by what they say of themselves, whichever number they get.
const NAMES: &str = "/dev/serial/by-id";

/// Finds an adapter again that comes back under another number than it went.
#[derive(Debug)]
pub struct SerialFinder {
    path: PathBuf,
    names: PathBuf,
    /// The name by which it was known when it was last open.
    known: Mutex<Option<PathBuf>>,
}

impl SerialFinder {
    /// Of the adapter that is at `path` first.
    pub fn of(path: &Path) -> Self {
        Self::among(path, Path::new(NAMES))
    }

    fn among(path: &Path, names: &Path) -> Self {
        Self {
            path: path.to_owned(),
            names: names.to_owned(),
            known: Mutex::default(),
        }
    }

    /// Where it is now: under the name it had, else where it was said to be.
    pub fn place(&self) -> PathBuf {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let is_there = |name: &&PathBuf| name.exists();
        known
            .as_ref()
            .filter(is_there)
            .unwrap_or(&self.path)
            .clone()
    }

    /// It is open at `place`.
    pub fn opened(&self, place: &Path) {
        let Ok(device) = place.canonicalize() else {
            return;
        };
        let names = std::fs::read_dir(&self.names)
            .into_iter()
            .flatten()
            .flatten();
        let is_its = |name: &PathBuf| name.canonicalize().is_ok_and(|other| other == device);
        let name = names.map(|entry| entry.path()).find(is_its);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        *known = name.or(known.take());
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn an_adapter_that_comes_back_under_another_number_is_found_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let names = at("by-id");
        std::fs::create_dir(&names).unwrap();
        std::fs::write(at("ttyUSB0"), "").unwrap();
        symlink(at("ttyUSB0"), names.join("usb-meter")).unwrap();
        let finder = SerialFinder::among(&at("ttyUSB0"), &names);
        assert_eq!(finder.place(), at("ttyUSB0"));
        finder.opened(&at("ttyUSB0"));
        // It is pulled, and another one gets its number before it is back.
        std::fs::remove_file(names.join("usb-meter")).unwrap();
        assert_eq!(finder.place(), at("ttyUSB0"));
        std::fs::write(at("ttyUSB1"), "").unwrap();
        symlink(at("ttyUSB1"), names.join("usb-meter")).unwrap();
        assert_eq!(
            finder.place().canonicalize().unwrap(),
            at("ttyUSB1").canonicalize().unwrap()
        );
        finder.opened(&names.join("usb-meter"));
        assert_eq!(finder.place(), names.join("usb-meter"));
    }
}
