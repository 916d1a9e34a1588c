//! Tokens made from a key: JSON, signed, and good for a while (RFC 7519).

use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair};
use ring::{error, hmac};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Map, Value, json};

use super::last::LastToken;
use crate::clock::Now;
use crate::link::{FailureKind, FreshToken, Secret, SecretError, TokenLife, TokenSource};

/// What stands in a claim for 16 random letters, others in each token.
pub const RANDOM: &str = "{random}";

/// How a token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigningAlgorithm {
    /// A text that both sides know.
    Hs256,
    Rs256,
    Es256,
    EdDsa,
}

impl SigningAlgorithm {
    /// Each by its name in a token.
    pub const ALL: [(&str, Self); 4] = [
        ("HS256", Self::Hs256),
        ("RS256", Self::Rs256),
        ("ES256", Self::Es256),
        ("EdDSA", Self::EdDsa),
    ];

    fn name(self) -> &'static str {
        let mut all = Self::ALL.iter();
        all.find(|(_, one)| *one == self)
            .map_or("", |(name, _)| name)
    }
}

/// What a token is made of.
#[derive(Clone, Debug)]
pub struct JwtRecipe {
    /// A private key in PEM form, or for HS256 the text of both sides; read anew for each token.
    pub key: Secret,
    pub algorithm: SigningAlgorithm,
    /// The name of the key, in the token's head.
    pub key_id: Option<String>,
    /// What the token says beside `iat` and `exp`; [`RANDOM`] may stand in its texts.
    pub claims: Map<String, Value>,
    /// How long each token is good.
    pub lives: Duration,
    /// All of it in words, without the key itself.
    made_of: String,
    /// The last one that was made.
    last: Arc<Mutex<LastToken>>,
}

impl JwtRecipe {
    /// One that is known by its parts, and by the file of its key where there is one.
    pub fn new(
        key: Secret,
        algorithm: SigningAlgorithm,
        key_id: Option<String>,
        claims: Map<String, Value>,
        lives: Duration,
    ) -> Self {
        let file = key.file().map(|file| file.display().to_string());
        let made_of = format!("{algorithm:?} {file:?} {key_id:?} {claims:?} {lives:?}");
        Self {
            key,
            algorithm,
            key_id,
            claims,
            lives,
            made_of,
            last: Arc::default(),
        }
    }

    /// Whether its key, where that was read, is one for its algorithm.
    ///
    /// # Errors
    /// In words: what it is instead, and what to do.
    pub fn try_key(&self) -> Result<(), String> {
        if self.key.is_read() {
            self.sign(self.key.reveal(), b"")?;
        }
        Ok(())
    }

    /// A token of this moment, signed with `key`.
    ///
    /// # Errors
    /// In words: the key is none for this algorithm.
    fn make(&self, key: &str, second: u64) -> Result<String, String> {
        let mut head = json!({ "alg": self.algorithm.name(), "typ": "JWT" });
        if let Some(key_id) = &self.key_id {
            head["kid"] = key_id.as_str().into();
        }
        let mut claims = self.claims.clone();
        claims.values_mut().for_each(fill);
        claims.insert("iat".to_owned(), second.into());
        claims.insert("exp".to_owned(), (second + self.lives.as_secs()).into());
        let part = |json: Value| BASE64.encode(json.to_string());
        let signed = format!("{}.{}", part(head), part(Value::Object(claims)));
        let signature = self.sign(key, signed.as_bytes())?;
        Ok(format!("{signed}.{}", BASE64.encode(signature)))
    }

    /// The same by these clocks.
    fn make_now(&self, key: &str, now: Now) -> Result<String, SecretError> {
        if !now.is_set() {
            let problem = "the clock of this gateway is not set, and a token that is signed now would be good at another time: it is made once the clock is set";
            return Err(SecretError::token(problem, FailureKind::Clock));
        }
        // One in a file may be half written at this moment.
        let failure = if self.key.file().is_some() {
            FailureKind::Unread
        } else {
            FailureKind::Refused
        };
        self.make(key, now.wall.0 / 1_000_000)
            .map_err(|problem| SecretError::token(problem, failure))
    }

    /// A new token, by the key that there is now.
    async fn fresh(&self) -> Result<FreshToken, SecretError> {
        let key = self.key.current().await?;
        let recipe = self.clone();
        // Signing with RSA takes milliseconds of a small processor.
        let made = tokio::task::spawn_blocking(move || {
            recipe.make_now(key.reveal(), Now::read()).map(Arc::from)
        });
        let stopped = |stopped: tokio::task::JoinError| {
            SecretError::token(stopped.to_string(), FailureKind::Passing)
        };
        Ok(FreshToken {
            text: made.await.map_err(stopped)??,
            life: TokenLife::of(self.lives, Instant::now(), fastrand::f64()),
        })
    }

    fn sign(&self, key: &str, text: &[u8]) -> Result<Vec<u8>, String> {
        let algorithm = self.algorithm;
        if algorithm == SigningAlgorithm::Hs256 {
            if PrivateKeyDer::from_pem_slice(key.as_bytes()).is_ok() {
                return Err("its key is a private key, and HS256 takes a text that both sides know: write the `algorithm` that the key is for".to_owned());
            }
            let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
            return Ok(hmac::sign(&key, text).as_ref().to_vec());
        }
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| {
            format!(
                "what {} signs with is a private key in PEM form, with a line -----BEGIN PRIVATE KEY-----",
                algorithm.name()
            )
        })?;
        sign_with(&key, algorithm, text)
    }
}

/// Puts random letters where they are wanted.
fn fill(claim: &mut Value) {
    match claim {
        Value::String(text) if text.contains(RANDOM) => {
            let letters: String = std::iter::repeat_with(fastrand::alphanumeric)
                .take(16)
                .collect();
            *text = text.replace(RANDOM, &letters);
        }
        Value::Array(values) => values.iter_mut().for_each(fill),
        Value::Object(values) => values.values_mut().for_each(fill),
        _ => {}
    }
}

fn sign_with(
    key: &PrivateKeyDer<'_>,
    algorithm: SigningAlgorithm,
    text: &[u8],
) -> Result<Vec<u8>, String> {
    let random = SystemRandom::new();
    let unfit =
        |why: &dyn std::fmt::Display| format!("its key is none for {}: {why}", algorithm.name());
    let unsigned = |error: error::Unspecified| unfit(&error);
    match (algorithm, key) {
        (SigningAlgorithm::Es256, PrivateKeyDer::Pkcs8(der)) => {
            let form = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
            let pair = EcdsaKeyPair::from_pkcs8(form, der.secret_pkcs8_der(), &random);
            let pair = pair.map_err(|error| unfit(&error))?;
            let made = pair.sign(&random, text).map_err(unsigned)?;
            Ok(made.as_ref().to_vec())
        }
        (SigningAlgorithm::EdDsa, PrivateKeyDer::Pkcs8(der)) => {
            // OpenSSL writes the private half alone.
            let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der());
            let pair = pair.map_err(|error| unfit(&error))?;
            Ok(pair.sign(text).as_ref().to_vec())
        }
        (SigningAlgorithm::Rs256, PrivateKeyDer::Pkcs8(_) | PrivateKeyDer::Pkcs1(_)) => {
            let pair = match key {
                PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
                other => RsaKeyPair::from_pkcs8(other.secret_der()),
            };
            let pair = pair.map_err(|error| unfit(&error))?;
            let mut made = vec![0; pair.public().modulus_len()];
            let form = &signature::RSA_PKCS1_SHA256;
            pair.sign(form, &random, text, &mut made)
                .map_err(unsigned)?;
            Ok(made)
        }
        (_, PrivateKeyDer::Sec1(_)) => Err(unfit(
            &"it is in the form SEC1; `openssl pkcs8 -topk8 -nocrypt -in old.pem -out new.pem` makes PKCS#8 of it",
        )),
        _ => Err(unfit(&"it is of another kind")),
    }
}

impl TokenSource for JwtRecipe {
    fn token(&self) -> Pin<Box<dyn Future<Output = Result<FreshToken, SecretError>> + Send + '_>> {
        Box::pin(async {
            let made = self.fresh().await;
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            last.or_last(made, Instant::now())
        })
    }

    fn refused(&self) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = LastToken::default();
    }

    fn made_of(&self) -> &str {
        &self.made_of
    }

    fn file(&self) -> Option<&Arc<Path>> {
        self.key.file()
    }
}

#[cfg(test)]
mod tests;
