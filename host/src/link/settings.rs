//! What a connection needs to know, whatever is spoken on it; already checked (`config` does that).

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::Error;

/// Text that must not show: its `Debug` is `[hidden]`. Two that come from the same file are equal, whatever stood in it.
#[derive(Clone)]
pub struct Secret {
    text: Arc<str>,
    /// The file it comes from, which may hold another one tomorrow.
    file: Option<Arc<Path>>,
}

impl Secret {
    /// Largest file of a secret; a token has some kilobytes.
    const MOST_BYTES: u64 = 64 << 10;

    /// Wraps what was read from a variable.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self {
            text: text.into(),
            file: None,
        }
    }

    /// One that is still to be read, from this file.
    pub fn in_file(file: impl AsRef<Path>) -> Self {
        Self {
            text: "".into(),
            file: Some(file.as_ref().into()),
        }
    }

    /// Whether it was read: none is empty.
    pub fn is_read(&self) -> bool {
        !self.text.is_empty() || self.file.is_none()
    }

    /// Reads a file, or a credential; the end of its line does not belong to it.
    ///
    /// # Errors
    /// In words: it cannot be read, is no file, is too large, or is empty.
    pub fn read(file: &Path) -> Result<Self, String> {
        let text =
            crate::file::read_text(file, Self::MOST_BYTES).map_err(|error| error.to_string())?;
        match Self::line(&text) {
            "" => Err("it is empty".to_owned()),
            line if line.contains('\0') => {
                Err("it holds NUL: it is no text, or text in UTF-16".to_owned())
            }
            line => Ok(Self {
                text: line.into(),
                file: Some(file.into()),
            }),
        }
    }

    /// As it is now: what is in a file is read at every dial, on a thread that may wait for the disk, since tokens are renewed.
    ///
    /// # Errors
    /// The file, and what is wrong with it.
    pub async fn todays(&self) -> Result<Self, Error> {
        let Some(file) = self.file.clone() else {
            return Ok(self.clone());
        };
        let path = file.to_path_buf();
        let read = tokio::task::spawn_blocking(move || Self::read(&file))
            .await
            .map_err(|stopped| stopped.to_string());
        read.and_then(|read| read)
            .map_err(|problem| Error::Secret { path, problem })
    }

    /// What a secret is of the text that holds it: editors and `echo` end a line, and some begin with a byte order mark.
    pub fn line(text: &str) -> &str {
        text.trim_start_matches('\u{feff}')
            .trim_end_matches(['\n', '\r'])
    }

    /// The file it comes from.
    pub fn file(&self) -> Option<&Arc<Path>> {
        self.file.as_ref()
    }

    /// Whether somebody shows this one, in a time that says nothing of where two differ, only of their lengths. One that was
    /// never read, or is empty, is shown by nobody. Spaces around it are not part of it: no header has them.
    pub fn is_shown(&self, shown: &[u8]) -> bool {
        let own = self.text.as_bytes().trim_ascii();
        let differ = own.iter().zip(shown).fold(0, |differ, (one, other)| {
            std::hint::black_box(differ | (one ^ other))
        });
        !own.is_empty() && own.len() == shown.len() && differ == 0
    }

    /// The text itself, for the packet it belongs in.
    pub fn reveal(&self) -> &str {
        &self.text
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        if self.file.is_some() {
            self.file == other.file
        } else {
            other.file.is_none() && self.text == other.text
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

/// TLS: own CA or the system's roots, and a client certificate where the peer asks for one.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// PEM file with the CA certificates to trust; `None`: the system's roots.
    pub ca: Option<PathBuf>,
    /// PEM files: certificate chain and private key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Name to check the certificate against; `None`: the host of the URL.
    pub server_name: Option<String>,
    /// Protocols offered in the handshake (ALPN), the most wanted first; empty: none.
    pub alpn: Vec<String>,
}

impl Tls {
    /// The files with certificates, and what each is for.
    pub fn certificates(&self) -> Vec<(&'static str, &Path)> {
        let own = self.identity.as_ref().map(|(chain, _)| ("cert", &**chain));
        let ca = self.ca.as_deref().map(|ca| ("ca", ca));
        own.into_iter().chain(ca).collect()
    }
}

impl ServerTls {
    /// The certificates that it names, each with what it is for.
    pub fn certificates(&self) -> Vec<(&'static str, &Path)> {
        let ca = self.client_ca.as_deref().map(|ca| ("client_ca", ca));
        [("cert", &*self.identity.0)]
            .into_iter()
            .chain(ca)
            .collect()
    }
}

/// TLS at a port that others dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTls {
    /// PEM files: certificate chain and private key.
    pub identity: (PathBuf, PathBuf),
    /// PEM file with the CAs that client certificates come from; with it nobody gets in without one.
    pub client_ca: Option<PathBuf>,
}

/// A deadline for each phase; a phase that misses it costs the connection.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// Name look-up and TCP connect.
    pub dial: Duration,
    /// TLS handshake, and again CONNECT to CONNACK.
    pub handshake: Duration,
    /// Until the socket takes what was ready to be written.
    pub write: Duration,
    /// Until a message that was sent is answered; or twenty times what answers take, if that is longer.
    pub answer: Duration,
}

impl Default for Deadlines {
    /// Bad mobile links show round trips up to 850 ms and bursts of 6 s: 8, 8 and 10 s are above both. An answer is more
    /// than a round trip: upstream may store the message, and copy it, before it answers.
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            dial: seconds(8),
            handshake: seconds(8),
            write: seconds(10),
            answer: seconds(30),
        }
    }
}

/// Delay before the n-th attempt to reconnect: doubles from `first` to `cap`, each ±`jitter`.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// Delay after the first failure.
    pub first: Duration,
    /// No delay is longer.
    pub cap: Duration,
    /// Share by which a delay is moved at random, 0 to 1.
    pub jitter: f64,
}

impl Backoff {
    /// The same with no delay longer than `most`, unless its first one is.
    pub(super) fn capped(self, most: Duration) -> Self {
        Self {
            cap: self.cap.min(most.max(self.first)),
            ..self
        }
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            cap: Duration::from_secs(60),
            jitter: 0.2,
        }
    }
}

/// How a connection is carried.
#[derive(Clone, Copy, Debug)]
pub struct Carriage<'a> {
    /// With the query, as it stands in the URL.
    pub path: &'a str,
    /// What is spoken within.
    pub protocol: &'static str,
    /// The largest packet that is to get through.
    pub max_packet_bytes: u32,
}

/// Where to dial, and how.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    pub host: &'a str,
    pub port: u16,
    /// TLS, where it is spoken.
    pub tls: Option<&'a Tls>,
    /// For the dial and the handshake.
    pub deadlines: Deadlines,
    pub peer: &'static Peer,
    /// The WebSocket that it is carried over, where it is.
    pub carriage: Option<Carriage<'a>>,
}

/// Who is at the other end, in the words of errors.
#[derive(Debug, PartialEq, Eq)]
pub struct Peer {
    /// What it is: `broker`.
    pub noun: &'static str,
    /// The scheme of a URL that speaks to it without TLS: `mqtt://`.
    pub plain: &'static str,
    /// What comes before TLS, where a connection begins without.
    pub upgrade: Option<Upgrade>,
}

/// What is said before a TLS handshake.
#[derive(Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// We ask for it.
    Asked {
        ask: &'static [u8],
        /// The byte that agrees.
        yes: u8,
    },
    /// The peer speaks first: one line, which the socket keeps.
    Greeted,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_has_no_spaces_around_it_and_needs_none() {
        let shown = |own: &str, shown: &str| Secret::new(own).is_shown(shown.as_bytes());
        assert!(shown("abc ", "abc") && shown(" abc", "abc") && shown("a c", "a c"));
        assert!(!shown("abc", "abd") && !shown("  ", "") && !shown("abc", "ab"));
    }

    #[test]
    fn a_secret_in_a_file_ends_with_its_line_and_must_be_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Secret::read(&path).map(|secret| secret.reveal().to_owned())
        };
        assert_eq!(read("abc\r\n"), Ok("abc".to_owned()));
        assert_eq!(read(" a b "), Ok(" a b ".to_owned()));
        assert_eq!(read("\u{feff}abc\n"), Ok("abc".to_owned()));
        assert!(
            read("a\0b\0").unwrap_err().contains("NUL")
                && read("\u{feff}").unwrap_err().contains("empty")
        );
        assert!(
            read("\n").unwrap_err().contains("empty")
                && read(&"x".repeat(70_000))
                    .unwrap_err()
                    .contains("are read at most")
        );
        assert!(
            Secret::read(folder.path()).is_err()
                && Secret::read(&folder.path().join("none")).is_err()
        );
    }
}
