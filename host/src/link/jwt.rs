//! Tokens made from a key, for brokers that take one in place of a password: JSON, signed, and good for a while (RFC 7519).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair};
use ring::{error, hmac};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Map, Value, json};

use crate::clock::Now;

/// Clocks differ: a token is good from so much earlier on.
const SKEW_S: u64 = 60;

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
        all.find(|(_, one)| *one == self).map_or("", |(name, _)| name)
    }
}

/// What a token is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenRecipe {
    /// The file with the key: PEM, or for HS256 a text.
    pub key: PathBuf,
    pub algorithm: SigningAlgorithm,
    /// The name of the key, in the token's head.
    pub key_id: Option<String>,
    /// What the token says beside `iat`, `nbf` and `exp`.
    pub claims: Map<String, Value>,
    /// How long each token is good.
    pub lives: Duration,
}

impl TokenRecipe {
    /// A token of this moment, from the key as it is in its file now. Waits for the disk.
    ///
    /// # Errors
    /// In words: the key cannot be read or is none for this algorithm, or the clock is not set.
    pub fn make(&self, now: Now) -> Result<Arc<str>, String> {
        if !now.is_set() {
            return Err("the clock is not set, and a token made now would be good at another time: it is made once the clock is".to_owned());
        }
        let mut head = json!({ "alg": self.algorithm.name(), "typ": "JWT" });
        if let Some(key_id) = &self.key_id {
            head["kid"] = key_id.as_str().into();
        }
        let mut claims = self.claims.clone();
        let second = now.wall.0 / 1_000_000;
        claims.insert("iat".to_owned(), second.into());
        claims.insert("nbf".to_owned(), (second - SKEW_S).into());
        claims.insert("exp".to_owned(), (second + self.lives.as_secs()).into());
        let part = |json: Value| BASE64.encode(json.to_string());
        let signed = format!("{}.{}", part(head), part(Value::Object(claims)));
        let signature = self.sign(signed.as_bytes())?;
        Ok(format!("{signed}.{}", BASE64.encode(signature)).into())
    }

    /// How long a token is used: its connection begins anew, with the next one, well before it ends.
    pub fn used_for(&self) -> Duration {
        self.lives.mul_f64(0.8)
    }

    fn sign(&self, text: &[u8]) -> Result<Vec<u8>, String> {
        let algorithm = self.algorithm;
        if algorithm == SigningAlgorithm::Hs256 {
            let secret = super::Secret::read(&self.key)?;
            let key = hmac::Key::new(hmac::HMAC_SHA256, secret.reveal().as_bytes());
            return Ok(hmac::sign(&key, text).as_ref().to_vec());
        }
        let key = private_key(&self.key)?;
        let random = SystemRandom::new();
        let unfit = |why: &dyn std::fmt::Display| {
            format!("its key is none for {}: {why}", algorithm.name())
        };
        let unsigned = |error: error::Unspecified| unfit(&error);
        match (algorithm, &key) {
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
                let pair = match &key {
                    PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
                    other => RsaKeyPair::from_pkcs8(other.secret_der()),
                };
                let pair = pair.map_err(|error| unfit(&error))?;
                let mut made = vec![0; pair.public().modulus_len()];
                let form = &signature::RSA_PKCS1_SHA256;
                pair.sign(form, &random, text, &mut made).map_err(unsigned)?;
                Ok(made)
            }
            (_, PrivateKeyDer::Sec1(_)) => Err(unfit(
                &"it is in the form SEC1; `openssl pkcs8 -topk8 -nocrypt -in old.pem -out new.pem` makes PKCS#8 of it",
            )),
            _ => Err(unfit(&"it is of another kind")),
        }
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    /// Longest file of a key.
    const MOST_BYTES: u64 = 64 << 10;
    let text = crate::file::read_text(path, MOST_BYTES).map_err(|error| error.to_string())?;
    PrivateKeyDer::from_pem_slice(text.as_bytes())
        .map_err(|_| "it holds no private key in PEM form".to_owned())
}

#[cfg(test)]
mod tests {
    use ring::signature::{KeyPair, UnparsedPublicKey};

    use super::*;
    use crate::clock::{Uptime, WallTime};

    const NOW: Now = Now {
        wall: WallTime(1_800_000_000_000_000),
        uptime: Uptime(0),
    };

    fn recipe(folder: &Path, algorithm: SigningAlgorithm, key: &str) -> TokenRecipe {
        let file = folder.join("key");
        std::fs::write(&file, key).unwrap();
        TokenRecipe {
            key: file,
            algorithm,
            key_id: Some("k1".to_owned()),
            claims: Map::from_iter([("aud".to_owned(), Value::from("farm"))]),
            lives: Duration::from_secs(3_600),
        }
    }

    /// Head and claims, what was signed, and the signature.
    fn parts(token: &str) -> (Value, Value, String, Vec<u8>) {
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let (head, claims) = signed.split_once('.').unwrap();
        let json = |part: &str| serde_json::from_slice(&BASE64.decode(part).unwrap()).unwrap();
        let signature = BASE64.decode(signature).unwrap();
        (json(head), json(claims), signed.to_owned(), signature)
    }

    fn pem(kind: &str, der: &[u8]) -> String {
        let text = base64::prelude::BASE64_STANDARD.encode(der);
        format!("-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n")
    }

    #[test]
    fn a_token_says_what_it_is_to_say_and_for_how_long_and_is_signed_by_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let recipe = recipe(folder.path(), SigningAlgorithm::Hs256, "a text of both\n");
        let (head, claims, signed, made) = parts(&recipe.make(NOW).unwrap());
        assert_eq!(head, json!({ "alg": "HS256", "typ": "JWT", "kid": "k1" }));
        let second = 1_800_000_000_u64;
        let expected = json!({ "aud": "farm", "iat": second, "nbf": second - 60, "exp": second + 3_600 });
        assert_eq!(claims, expected);
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"a text of both");
        hmac::verify(&key, signed.as_bytes(), &made).unwrap();
    }

    #[test]
    fn curves_sign_what_others_can_verify() {
        let folder = tempfile::tempdir().unwrap();
        let random = SystemRandom::new();
        let form = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        let der = EcdsaKeyPair::generate_pkcs8(form, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(form, der.as_ref(), &random).unwrap();
        let text = pem("PRIVATE KEY", der.as_ref());
        let recipe_of = |algorithm| recipe(folder.path(), algorithm, &text);
        let (_, _, signed, made) = parts(&recipe_of(SigningAlgorithm::Es256).make(NOW).unwrap());
        let public = pair.public_key().as_ref();
        let key = UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, public);
        key.verify(signed.as_bytes(), &made).unwrap();
        let error = recipe_of(SigningAlgorithm::Rs256).make(NOW).unwrap_err();
        assert!(error.contains("none for RS256"), "{error}");

        let der = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(der.as_ref()).unwrap();
        let text = pem("PRIVATE KEY", der.as_ref());
        let recipe = recipe(folder.path(), SigningAlgorithm::EdDsa, &text);
        let (_, _, signed, made) = parts(&recipe.make(NOW).unwrap());
        let key = UnparsedPublicKey::new(&signature::ED25519, pair.public_key().as_ref());
        key.verify(signed.as_bytes(), &made).unwrap();
    }

    #[test]
    fn what_keeps_a_token_from_being_made_is_said_and_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let unset = Now::default();
        let plain = recipe(folder.path(), SigningAlgorithm::Hs256, "text");
        assert!(plain.make(unset).unwrap_err().contains("clock is not set"));
        let none = recipe(folder.path(), SigningAlgorithm::Es256, "no key");
        assert!(none.make(NOW).unwrap_err().contains("no private key"));
        let sec1 = pem("EC PRIVATE KEY", b"0123");
        let sec1 = recipe(folder.path(), SigningAlgorithm::Es256, &sec1);
        assert!(sec1.make(NOW).unwrap_err().contains("openssl pkcs8"));
    }
}
