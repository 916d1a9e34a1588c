//! The tokens that let in at the admin port, as they are now: those in files are read again and again, since they are renewed
//! and withdrawn. One that cannot be read lets nobody in until it can; at the first look that finds it so the one of before holds, since it
//! may be being replaced at this moment.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::AccessToken;
use super::caller::Scope;
use crate::link::Secret;

/// Tokens of a moment, each with its name.
pub(super) struct Tokens {
    wanted: Vec<AccessToken>,
    today: Mutex<Vec<AccessToken>>,
    /// What is wrong with a file, by the token's name: said once.
    said: Mutex<BTreeMap<Arc<str>, String>>,
}

impl Tokens {
    /// Nobody is let in before they are read.
    pub(super) fn new(wanted: &[AccessToken]) -> Self {
        Self {
            wanted: wanted.to_vec(),
            today: Mutex::default(),
            said: Mutex::default(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// Reads the files, on a thread that may wait for the disk. Whether one is not what it was: it may be half written, and is to be
    /// read again soon.
    pub(super) async fn read(&self) -> bool {
        let mut found = Vec::new();
        let mut is_new = false;
        for token in &self.wanted {
            match token.secret.todays().await {
                Ok(secret) => {
                    self.is_good_again(&token.name);
                    is_new |= self
                        .before(&token.name)
                        .is_some_and(|before| before.secret.reveal() != secret.reveal());
                    found.push(AccessToken {
                        secret,
                        ..token.clone()
                    });
                }
                Err(error) => {
                    let before = self
                        .before(&token.name)
                        .filter(|_| !self.is_known(&token.name));
                    is_new |= before.is_some();
                    self.is_gone(&token.name, &error.to_string());
                    found.extend(before);
                }
            }
        }
        *self.today.lock().unwrap_or_else(PoisonError::into_inner) = found;
        is_new
    }

    /// The one of this name that holds.
    fn before(&self, name: &str) -> Option<AccessToken> {
        let today = self.today.lock().unwrap_or_else(PoisonError::into_inner);
        today.iter().find(|token| &*token.name == name).cloned()
    }

    /// Whether it was said that it cannot be read.
    fn is_known(&self, name: &str) -> bool {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.contains_key(name)
    }

    /// Name and scope of the token that is shown. All are looked at, so that the time it takes says nothing of which it is.
    pub(super) fn found(&self, shown: &[u8]) -> Option<(Arc<str>, Scope)> {
        let today = self.today.lock().unwrap_or_else(PoisonError::into_inner);
        today.iter().fold(None, |found, token| {
            if token.secret.is_shown(shown) {
                Some((Arc::clone(&token.name), token.scope))
            } else {
                found
            }
        })
    }

    fn is_gone(&self, name: &Arc<str>, why: &str) {
        let why = crate::words::line(why, crate::words::REASON);
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.insert(Arc::clone(name), why.clone()) != Some(why.clone()) {
            tracing::warn!(token = %name, why, "a token cannot be read: where that lasts for a second it lets nobody in until it can");
        }
    }

    fn is_good_again(&self, name: &str) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.remove(name).is_some() {
            tracing::info!(token = name, "a token can be read again");
        }
    }
}

/// What an `Authorization` shows, if it is a token.
pub(super) fn shown(authorization: &[u8]) -> Option<&[u8]> {
    let (scheme, shown) = authorization.split_at_checked(7)?;
    let is_bearer = scheme.eq_ignore_ascii_case(b"bearer ");
    is_bearer.then(|| shown.trim_ascii())
}

impl From<(&str, Scope, Secret)> for AccessToken {
    fn from((name, scope, secret): (&str, Scope, Secret)) -> Self {
        Self {
            name: name.into(),
            scope,
            secret,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_token_is_the_one_that_its_file_has_now_and_none_without() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ops");
        std::fs::write(&file, "first-first-first\n").unwrap();
        let wanted = [
            ("ops", Scope::Operate, Secret::in_file(&file)).into(),
            ("ci", Scope::Deploy, Secret::new("always-always-always")).into(),
        ];
        let tokens = Tokens::new(&wanted);
        let scope = |shown: &str| tokens.found(shown.as_bytes()).map(|(_, scope)| scope);
        assert_eq!(scope("always-always-always"), None, "before it is read");
        tokens.read().await;
        assert_eq!(scope("first-first-first"), Some(Scope::Operate));
        assert_eq!(scope("always-always-always"), Some(Scope::Deploy));
        std::fs::write(&file, "second-second-second\n").unwrap();
        tokens.read().await;
        assert_eq!(scope("first-first-first"), None);
        assert_eq!(scope("second-second-second"), Some(Scope::Operate));
        std::fs::remove_file(&file).unwrap();
        assert!(tokens.read().await, "it is not looked at again soon");
        assert_eq!(scope("second-second-second"), Some(Scope::Operate));
        assert!(!tokens.read().await);
        assert_eq!(scope("second-second-second"), None);
        // One that was half written at one look is whole at the next.
        std::fs::write(&file, "third-thi").unwrap();
        tokens.read().await;
        std::fs::write(&file, "third-third-third\n").unwrap();
        assert!(tokens.read().await, "it is not looked at again soon");
        assert_eq!(scope("third-third-third"), Some(Scope::Operate));
        assert!(!tokens.read().await);
        std::fs::write(&file, "").unwrap();
        tokens.read().await;
        assert_eq!(scope("third-third-third"), Some(Scope::Operate));
        std::fs::write(&file, "fourth-fourth-fourth\n").unwrap();
        tokens.read().await;
        assert_eq!(scope("third-third-third"), None);
        assert_eq!(scope("fourth-fourth-fourth"), Some(Scope::Operate));
        std::fs::remove_file(&file).unwrap();
        tokens.read().await;
        tokens.read().await;
        assert_eq!(scope("always-always-always"), Some(Scope::Deploy));
        assert_eq!(scope(""), None);
    }

    #[test]
    fn only_a_bearer_shows_a_token() {
        assert_eq!(shown(b"Bearer abc"), Some(&b"abc"[..]));
        assert_eq!(shown(b"bearer  abc "), Some(&b"abc"[..]));
        for other in ["", "abc", "Bearer", "Basic abc", "Bearerabc"] {
            assert_eq!(shown(other.as_bytes()), None, "{other}");
        }
    }
}
