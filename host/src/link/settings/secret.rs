//! A text that must not show, and where the one of today comes from: a file, or whoever makes it anew.

use std::fmt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::link::{ConnectionLoss, Error, FailureKind};

/// Text that must not show: its `Debug` is `[hidden]`. Two that come from the same file are equal, whatever stood in it, and so are
/// two tokens that are made in the same way.
#[derive(Clone)]
pub struct Secret {
    text: Arc<str>,
    origin: SecretOrigin,
    /// Of a token that was made or fetched: how long it is used.
    life: Option<TokenLife>,
}

/// What is asked for the text that counts today.
#[derive(Clone)]
enum SecretOrigin {
    /// It stays what it is.
    Fixed,
    /// The file it comes from, which may hold another one tomorrow.
    File(Arc<Path>),
    Token(Arc<dyn TokenSource>),
}

/// Who makes or fetches a token whenever a connection wants one.
pub trait TokenSource: fmt::Debug + Send + Sync {
    /// One that is good now.
    fn token(&self) -> Pin<Box<dyn Future<Output = Result<FreshToken, SecretError>> + Send + '_>>;

    /// The last one was not taken: it is not given out again.
    fn refused(&self);

    /// What tokens are made of, without any secret: two sources with the same words are the same.
    fn made_of(&self) -> &str;

    /// The file of the secret that they are made or fetched with, if it is in one.
    fn file(&self) -> Option<&Arc<Path>>;
}

/// A token, and how long it is used.
#[derive(Clone)]
pub struct FreshToken {
    pub text: Arc<str>,
    pub life: TokenLife,
}

/// How long a token is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenLife {
    /// When its connection should go on with another one.
    pub renews_at: Instant,
    /// When it counts no more.
    pub ends_at: Instant,
}

impl TokenLife {
    /// Of a token that is good for so long. It is renewed well before its end, so that clocks may differ, and an endpoint may be
    /// away for a while; `random`, 0 to 1, keeps a thousand gateways apart.
    pub fn of(good_for: Duration, now: Instant, random: f64) -> Self {
        Self {
            renews_at: now + good_for.mul_f64(0.75 + 0.1 * random.clamp(0.0, 1.0)),
            ends_at: now + good_for,
        }
    }
}

/// Why a secret is not to be had now; it may be in a moment.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SecretError {
    /// Its file cannot be read; it may be there in a moment, when it is being renewed.
    #[error("cannot read the secret in `{}`: {problem}", path.display())]
    File {
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A token could not be made or fetched.
    #[error("there is no token: {problem}")]
    Token {
        /// Why, and what to do.
        problem: String,
        /// How it is to be met.
        failure: FailureKind,
        /// How long who gives them asks to be left alone.
        pause: Option<Duration>,
    },
}

impl SecretError {
    /// Of a token, without a pause.
    pub fn token(problem: impl Into<String>, failure: FailureKind) -> Self {
        Self::Token {
            problem: problem.into(),
            failure,
            pause: None,
        }
    }
}

impl ConnectionLoss for SecretError {
    fn kind(&self) -> FailureKind {
        match self {
            Self::File { .. } => FailureKind::Passing,
            Self::Token { failure, .. } => *failure,
        }
    }

    fn pause(&self) -> Option<Duration> {
        match self {
            Self::File { .. } => None,
            Self::Token { pause, .. } => *pause,
        }
    }
}

impl Secret {
    /// Largest file of a secret; a token has some kilobytes.
    const MOST_BYTES: u64 = 64 << 10;

    /// Wraps what was read from a variable.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self {
            text: text.into(),
            origin: SecretOrigin::Fixed,
            life: None,
        }
    }

    /// One that is still to be read, from this file.
    pub fn in_file(file: impl AsRef<Path>) -> Self {
        Self {
            origin: SecretOrigin::File(file.as_ref().into()),
            ..Self::new("")
        }
    }

    /// One that is still to be made.
    pub fn made_by(source: Arc<dyn TokenSource>) -> Self {
        Self {
            origin: SecretOrigin::Token(source),
            ..Self::new("")
        }
    }

    /// Whether it was read: none is empty.
    pub fn is_read(&self) -> bool {
        !self.text.is_empty() || matches!(self.origin, SecretOrigin::Fixed)
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
                ..Self::in_file(file)
            }),
        }
    }

    /// As it is now, for a connection that is dialled: what is in a file is read anew, on a thread that may wait for the disk,
    /// and a token is made, or asked for.
    ///
    /// # Errors
    /// It is not to be had now.
    pub async fn todays(&self) -> Result<Self, Error> {
        Ok(self.current().await?)
    }

    /// The same, for who makes tokens of it.
    ///
    /// # Errors
    /// It is not to be had now.
    pub async fn current(&self) -> Result<Self, SecretError> {
        match &self.origin {
            SecretOrigin::Fixed => Ok(self.clone()),
            SecretOrigin::File(file) => {
                let (path, file) = (file.to_path_buf(), Arc::clone(file));
                let read = tokio::task::spawn_blocking(move || Self::read(&file))
                    .await
                    .map_err(|stopped| stopped.to_string());
                read.and_then(|read| read)
                    .map_err(|problem| SecretError::File { path, problem })
            }
            SecretOrigin::Token(source) => {
                let FreshToken { text, life } = source.token().await?;
                Ok(Self {
                    text,
                    origin: self.origin.clone(),
                    life: Some(life),
                })
            }
        }
    }

    /// How long it is used, where it is a token that was made or fetched.
    pub fn life(&self) -> Option<TokenLife> {
        self.life
    }

    /// The other end did not take it: a token that was kept for the next dial is not kept any more.
    pub fn refused(&self) {
        if let SecretOrigin::Token(source) = &self.origin {
            source.refused();
        }
    }

    /// What a secret is of the text that holds it: editors and `echo` end a line, and some begin with a byte order mark.
    pub fn line(text: &str) -> &str {
        text.trim_start_matches('\u{feff}')
            .trim_end_matches(['\n', '\r'])
    }

    /// The file it comes from.
    pub fn file(&self) -> Option<&Arc<Path>> {
        match &self.origin {
            SecretOrigin::File(file) => Some(file),
            SecretOrigin::Fixed | SecretOrigin::Token(_) => None,
        }
    }

    /// The file that it is made with or comes from, whichever there is.
    pub(super) fn file_behind(&self) -> Option<&Arc<Path>> {
        match &self.origin {
            SecretOrigin::Token(source) => source.file(),
            SecretOrigin::File(_) | SecretOrigin::Fixed => self.file(),
        }
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
        match (&self.origin, &other.origin) {
            (SecretOrigin::Fixed, SecretOrigin::Fixed) => self.text == other.text,
            (SecretOrigin::File(own), SecretOrigin::File(others)) => own == others,
            (SecretOrigin::Token(own), SecretOrigin::Token(others)) => {
                own.made_of() == others.made_of()
            }
            _ => false,
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

impl fmt::Debug for FreshToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
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

    #[test]
    fn a_token_is_renewed_before_its_end_and_not_by_all_at_once() {
        let now = Instant::now();
        let hour = Duration::from_secs(3_600);
        let [first, last] = [0.0, 1.0].map(|random| TokenLife::of(hour, now, random));
        assert_eq!(first.renews_at, now + Duration::from_secs(2_700));
        assert_eq!(last.renews_at, now + Duration::from_secs(3_060));
        assert!(first.ends_at == now + hour && last.ends_at == now + hour);
    }
}
