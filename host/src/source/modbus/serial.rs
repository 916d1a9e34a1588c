//! A serial line: opened in raw mode, alone, and read without waiting. `rustix` has all of it, for any baud rate.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::task::{Context, Poll, ready};

use rustix::fs::{Mode, OFlags};
use rustix::termios::{
    ControlModes, OptionalActions, QueueSelector, SpecialCodeIndex, ioctl_tiocexcl, isatty,
    tcflush, tcgetattr, tcsetattr,
};
use tokio::io::unix::AsyncFd;

/// Where it is, and how fast; a byte has eight bits.
#[derive(Clone, Debug)]
pub struct Serial {
    pub path: PathBuf,
    pub baud: u32,
    pub parity: Parity,
    /// Stop bits: 1 or 2.
    pub stop: u8,
}

/// The bit behind the eight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Parity {
    #[default]
    None,
    Even,
    Odd,
}

#[derive(Debug)]
pub(super) struct SerialPort(AsyncFd<OwnedFd>);

impl SerialPort {
    /// Never waits for a carrier, and is nobody's controlling terminal.
    pub(super) fn open(serial: &Serial) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let port = rustix::fs::open(&serial.path, flags, Mode::empty())?;
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
        control.remove(ControlModes::CRTSCTS);
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
    pub(super) fn poll_read(
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

    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
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
pub(super) fn problem(error: &io::Error) -> &'static str {
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
