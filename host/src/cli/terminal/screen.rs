//! The whole of a terminal, drawn anew each time.

use std::io::{self, Write};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use crate::words;

/// Where a terminal does not say how large it is.
const USUAL: (usize, usize) = (80, 24);
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[0m";

/// What somebody pressed, as far as it means something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// q, Escape or Ctrl-C.
    Quit,
    /// Arrow up, or k.
    Up,
    /// Arrow down, or j.
    Down,
    /// The space bar: what is shown stands still.
    Hold,
}

/// A terminal in the program's hand; as it was before once this is dropped.
pub struct Screen {
    before: Termios,
    colour: bool,
}

impl Screen {
    /// Takes the terminal that standard input and output are.
    ///
    /// # Errors
    /// When standard input is none.
    pub fn open(colour: bool) -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Flush, &raw)?;
        let screen = Self { before, colour };
        write(ENTER)?;
        Ok(screen)
    }

    /// How many columns there are.
    pub fn width(&self) -> usize {
        size().0
    }

    /// Shows as many of `lines` as there is room for; those that begin with `!` in red.
    pub fn show(&self, lines: &[String]) {
        let (_, height) = size();
        let mut text = String::from("\x1b[H");
        for line in lines.iter().take(height.saturating_sub(1)) {
            let line = words::lines(line, usize::MAX);
            if self.colour && line.starts_with('!') {
                text += &format!("{RED}{line}{PLAIN}\x1b[K\r\n");
            } else {
                text += &format!("{line}\x1b[K\r\n");
            }
        }
        text += "\x1b[J";
        // A terminal that is gone is noticed at the next key.
        let _ = write(&text);
    }

    /// What is pressed within this time; [`Key::Quit`] as well when the terminal is gone.
    pub fn key(&self, within: Duration) -> Option<Key> {
        let within = Timespec::try_from(within).ok();
        let input = io::stdin();
        let mut waited = [PollFd::new(&input, PollFlags::IN)];
        match poll(&mut waited, within.as_ref()) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return None,
            Ok(_) => {}
            Err(_) => return Some(Key::Quit),
        }
        let mut pressed = [0; 8];
        match rustix::io::read(input, &mut pressed) {
            Ok(0) | Err(_) => Some(Key::Quit),
            Ok(length) => key(&pressed[..length]),
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Nobody is left to be told.
        let _ = write(LEAVE);
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.before);
    }
}

fn key(pressed: &[u8]) -> Option<Key> {
    match pressed {
        b"q" | b"Q" | b"\x1b" | b"\x03" | b"\x04" => Some(Key::Quit),
        b"\x1b[A" | b"\x1bOA" | b"k" => Some(Key::Up),
        b"\x1b[B" | b"\x1bOB" | b"j" => Some(Key::Down),
        b" " => Some(Key::Hold),
        _ => None,
    }
}

/// How many columns and lines there are.
fn size() -> (usize, usize) {
    match tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
            (usize::from(size.ws_col), usize::from(size.ws_row))
        }
        _ => USUAL,
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
