//! A login by which each end proves that it knows the password (RFC 5802, with SHA-256 by RFC 7677, and with SHA-512). No sockets.

use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::{digest, hmac, pbkdf2};

/// Rounds of the password's hash that a broker may ask for: a wrong one must not keep us busy for minutes.
const MOST_ROUNDS: u32 = 200_000;
/// Bytes of a salt, at most.
const MOST_SALT: usize = 1_024;
/// What is said first, before the user: nothing is bound to the connection, and nobody logs in for somebody else.
const BEGIN: &str = "n,,";

/// Which hash it is done with.
#[derive(Clone, Copy)]
pub(super) struct ScramHash {
    rounds: pbkdf2::Algorithm,
    keyed: hmac::Algorithm,
    plain: &'static digest::Algorithm,
}

impl ScramHash {
    pub(super) const SHA_256: Self = Self {
        rounds: pbkdf2::PBKDF2_HMAC_SHA256,
        keyed: hmac::HMAC_SHA256,
        plain: &digest::SHA256,
    };
    pub(super) const SHA_512: Self = Self {
        rounds: pbkdf2::PBKDF2_HMAC_SHA512,
        keyed: hmac::HMAC_SHA512,
        plain: &digest::SHA512,
    };

    fn sign(self, key: &[u8], text: &[u8]) -> hmac::Tag {
        hmac::sign(&hmac::Key::new(self.keyed, key), text)
    }
}

/// One login under way.
pub(super) struct Scram {
    hash: ScramHash,
    nonce: String,
    /// What was said first, without its begin.
    first: String,
}

/// The answer to what a broker asks, and what it has to say to that.
pub(super) struct Proof {
    pub(super) last: String,
    pub(super) expected: String,
}

impl Scram {
    /// `nonce`: letters and digits that nobody knows before.
    pub(super) fn new(hash: ScramHash, user: &str, nonce: String) -> Self {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        Self {
            hash,
            first: format!("n={user},r={nonce}"),
            nonce,
        }
    }

    /// What is said first.
    pub(super) fn first(&self) -> String {
        format!("{BEGIN}{}", self.first)
    }

    /// The answer to the broker's first word; in words why there is none.
    pub(super) fn prove(&self, word: &[u8], password: &[u8]) -> Result<Proof, &'static str> {
        const BAD: &str = "its first word in the login is none";
        let word = std::str::from_utf8(word).map_err(|_| BAD)?;
        let part = |name: &str| {
            let mut parts = word.split(',');
            parts.find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
        };
        let nonce = part("r").ok_or(BAD)?;
        if nonce.len() <= self.nonce.len() || !nonce.starts_with(&self.nonce) {
            return Err("its first word in the login answers somebody else's");
        }
        let salt = BASE64.decode(part("s").ok_or(BAD)?).map_err(|_| BAD)?;
        let rounds: NonZeroU32 = part("i").and_then(|count| count.parse().ok()).ok_or(BAD)?;
        if rounds.get() > MOST_ROUNDS || salt.len() > MOST_SALT {
            return Err(
                "it wants more than 200,000 rounds of the password's hash, or a salt over 1 KiB",
            );
        }
        let mut salted = vec![0; self.hash.plain.output_len()];
        pbkdf2::derive(self.hash.rounds, rounds, &salt, password, &mut salted);
        let own = self.hash.sign(&salted, b"Client Key");
        let stored = digest::digest(self.hash.plain, own.as_ref());
        let bound = BASE64.encode(BEGIN);
        let without = format!("c={bound},r={nonce}");
        let said = format!("{},{word},{without}", self.first);
        let signature = self.hash.sign(stored.as_ref(), said.as_bytes());
        let pairs = own.as_ref().iter().zip(signature.as_ref());
        let proof: Vec<u8> = pairs.map(|(one, other)| one ^ other).collect();
        let theirs = self.hash.sign(&salted, b"Server Key");
        let expected = self.hash.sign(theirs.as_ref(), said.as_bytes());
        Ok(Proof {
            last: format!("{without},p={}", BASE64.encode(proof)),
            expected: format!("v={}", BASE64.encode(expected)),
        })
    }
}

impl Proof {
    /// Whether the broker has shown that it knows the password, too.
    pub(super) fn is_met_by(&self, word: &[u8]) -> bool {
        word.split(|byte| *byte == b',').next() == Some(self.expected.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exchange_of_the_rfc_comes_out() {
        // RFC 7677, section 3.
        let scram = Scram::new(
            ScramHash::SHA_256,
            "user",
            "rOprNGfwEbeRWgbNEkqO".to_owned(),
        );
        assert_eq!(scram.first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let word = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let proof = scram.prove(word, b"pencil").unwrap();
        assert_eq!(
            proof.last,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert!(proof.is_met_by(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
        assert!(!proof.is_met_by(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5="));
        assert!(!proof.is_met_by(b"e=invalid-proof"));
    }

    #[test]
    fn what_is_no_answer_to_us_is_told() {
        let scram = Scram::new(ScramHash::SHA_512, "a=b,c", "abc".to_owned());
        assert_eq!(scram.first(), "n,,n=a=3Db=2Cc,r=abc");
        for bad in [
            "",
            "r=abc,s=AAAA,i=1",
            "r=xabcd,s=AAAA,i=1",
            "r=abcd,s=?,i=1",
            "r=abcd,s=AAAA,i=0",
            "r=abcd,s=AAAA,i=200001",
            "e=other-error",
        ] {
            assert!(scram.prove(bad.as_bytes(), b"p").is_err(), "{bad}");
        }
        assert!(scram.prove(b"r=abcd,s=AAAA,i=1", b"p").is_ok());
    }
}
