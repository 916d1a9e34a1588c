//! Keeps what devices have said from whoever takes the card out: with a key, chunks, dead letters, ledger and plugins'
//! state lie on disk sealed. In the clear stay places, times, sizes, and the names that the config has.
//!
//! ```text
//! sealed       [id of the key, 8 bytes][salt, 24][ciphertext][tag, 16]      ChaCha20-Poly1305
//! from a key   HKDF-SHA256 → id, a key for hidden names, a secret; secret and salt → cipher key and nonce of one value
//! ```
//!
//! Every value has a cipher key of its own, made from 24 random bytes, so that no nonce is ever used twice however much
//! is written, and nothing need be counted over kills. Where a value lies is authenticated with it.

use std::fmt;
use std::sync::Arc;

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

const SALT: usize = 24;
const TAG: usize = 16;
const SECRET: usize = 32;
/// Bytes that sealing adds.
pub(crate) const OVERHEAD: usize = ID + SALT + TAG;
/// Bytes of a key's id.
pub(crate) const ID: usize = 8;
/// Bytes of a hidden name: two of them are never the same by chance.
const NAME: usize = 16;

/// 32 random bytes that the operator keeps elsewhere.
#[derive(Clone, PartialEq, Eq)]
pub struct SealingKey([u8; SECRET]);

impl SealingKey {
    /// From 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let mut key = [0; SECRET];
        if text.len() != 2 * SECRET || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        for (byte, at) in key.iter_mut().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
        }
        Some(Self(key))
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

/// Which key; says nothing about the key itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub(crate) [u8; ID]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl KeyId {
    /// From what `Display` wrote.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let word = u64::from_str_radix(text, 16)
            .ok()
            .filter(|_| text.len() == 2 * ID)?;
        Some(Self(word.to_be_bytes()))
    }
}

struct Opener {
    id: KeyId,
    secret: Prk,
    names: hmac::Key,
    own: SealingKey,
}

/// So many bytes out of HKDF.
struct Bytes<const N: usize>;

impl<const N: usize> KeyType for Bytes<N> {
    fn len(&self) -> usize {
        N
    }
}

fn expand<const N: usize>(secret: &Prk, purpose: &[&[u8]]) -> [u8; N] {
    let mut out = [0; N];
    let filled = secret
        .expand(purpose, Bytes::<N>)
        .and_then(|material| material.fill(&mut out));
    filled.expect("HKDF gives 8,160 bytes");
    out
}

impl Opener {
    fn new(key: SealingKey) -> Self {
        let root = Salt::new(HKDF_SHA256, b"tidegate spool").extract(&key.0);
        let names = hmac::Key::new(hmac::HMAC_SHA256, &expand::<SECRET>(&root, &[b"names"]));
        let secret = Prk::new_less_safe(HKDF_SHA256, &expand::<SECRET>(&root, &[b"values"]));
        Self {
            id: KeyId(expand(&root, &[b"id"])),
            secret,
            names,
            own: key,
        }
    }

    /// What seals one value.
    fn cipher(&self, salt: &[u8]) -> (LessSafeKey, Nonce) {
        let material: [u8; SECRET + NONCE_LEN] = expand(&self.secret, &[salt]);
        let (key, nonce) = material.split_at(SECRET);
        let key =
            UnboundKey::new(&CHACHA20_POLY1305, key).expect("the cipher takes keys of 32 bytes");
        (
            LessSafeKey::new(key),
            Nonce::try_assume_unique_for_key(nonce).expect("a nonce has 12 bytes"),
        )
    }
}

/// The keys of a store: the first seals, all of them open. Without a key nothing is sealed.
#[derive(Clone, Default)]
pub struct Sealer(Arc<[Opener]>);

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|key| key.id))
            .finish()
    }
}

impl PartialEq for Sealer {
    fn eq(&self, other: &Self) -> bool {
        self.0
            .iter()
            .map(|key| &key.own)
            .eq(other.0.iter().map(|key| &key.own))
    }
}

impl Sealer {
    /// What is written is sealed with the first of `keys`.
    pub fn new(keys: impl IntoIterator<Item = SealingKey>) -> Self {
        Self(keys.into_iter().map(Opener::new).collect())
    }

    /// The key that seals.
    pub fn current(&self) -> Option<KeyId> {
        self.0.first().map(|key| key.id)
    }

    /// Whether it can open what `id` has sealed.
    pub(crate) fn has(&self, id: KeyId) -> bool {
        self.0.iter().any(|key| key.id == id)
    }

    /// Appends `plain` to `out`, sealed together with `about`; without a key as it is.
    pub(crate) fn seal(&self, about: &[u8], plain: &[u8], out: &mut Vec<u8>) {
        let Some(key) = self.0.first() else {
            return out.extend_from_slice(plain);
        };
        let mut salt = [0; SALT];
        SystemRandom::new()
            .fill(&mut salt)
            .expect("the kernel has random bytes once it is up");
        out.reserve(plain.len() + OVERHEAD);
        out.extend_from_slice(&key.id.0);
        out.extend_from_slice(&salt);
        let begin = out.len();
        out.extend_from_slice(plain);
        let (cipher, nonce) = key.cipher(&salt);
        let tag = cipher.seal_in_place_separate_tag(nonce, Aad::from(about), &mut out[begin..]);
        out.extend_from_slice(tag.expect("a value is smaller than 256 GiB").as_ref());
    }

    /// What was sealed together with `about`; `None` when the key is not here, or a bit is not as it was.
    pub(crate) fn open(&self, about: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (id, rest) = sealed.split_first_chunk::<ID>()?;
        let (salt, body) = rest.split_first_chunk::<SALT>()?;
        let key = self.0.iter().find(|key| key.id.0 == *id)?;
        let (cipher, nonce) = key.cipher(salt);
        let mut plain = body.to_vec();
        let length = cipher
            .open_in_place(nonce, Aad::from(about), &mut plain)
            .ok()?
            .len();
        plain.truncate(length);
        Some(plain)
    }

    /// What stands for a name that must not show: always the same under one key.
    pub(crate) fn hide(&self, name: &[u8]) -> Option<[u8; NAME]> {
        let whole = hmac::sign(&self.0.first()?.names, name);
        whole.as_ref().first_chunk().copied()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn key(number: u8) -> SealingKey {
        SealingKey::parse(&format!("{number:02x}").repeat(SECRET)).unwrap()
    }

    pub(crate) fn sealer(numbers: &[u8]) -> Sealer {
        Sealer::new(numbers.iter().copied().map(key))
    }

    fn sealed(sealer: &Sealer, plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        sealer.seal(b"here", plain, &mut out);
        out
    }

    #[test]
    fn a_key_is_64_digits_and_never_shows() {
        let digits = "00ff".repeat(16);
        let key = SealingKey::parse(&digits).unwrap();
        assert_eq!(
            (key.0[1], format!("{key:?}")),
            (0xff, "[hidden]".to_owned())
        );
        for wrong in [
            &digits[1..],
            &format!("{digits}0"),
            &digits.replace('0', "g"),
            &"+f".repeat(32),
            &"ä".repeat(32),
        ] {
            assert_eq!(SealingKey::parse(wrong), None, "{wrong}");
        }
        assert!(!format!("{:?}", sealer(&[0xab])).contains("abab"));
        let id = sealer(&[1]).current().unwrap();
        assert_eq!(KeyId::parse(&id.to_string()), Some(id));
    }

    #[test]
    fn old_keys_open_and_the_first_seals() {
        let before = sealed(&sealer(&[1]), b"21.5");
        let after = sealer(&[2, 1]);
        assert_eq!(after.open(b"here", &before).unwrap(), b"21.5");
        assert!(sealer(&[2]).open(b"here", &before).is_none());
        let fresh = sealed(&after, b"21.5");
        assert!(
            sealer(&[1]).open(b"here", &fresh).is_none()
                && sealer(&[2]).open(b"here", &fresh).is_some()
        );
        assert!(after != sealer(&[1, 2]) && after == sealer(&[2, 1]));
    }

    #[test]
    fn the_same_value_is_never_sealed_alike_and_a_hidden_name_always() {
        let sealer = sealer(&[1]);
        assert_ne!(sealed(&sealer, b"21.5"), sealed(&sealer, b"21.5"));
        assert_eq!(sealer.hide(b"d7"), sealer.hide(b"d7"));
        assert_ne!(sealer.hide(b"d7"), sealer.hide(b"d8"));
        assert_eq!(
            (
                sealed(&Sealer::default(), b"21.5"),
                Sealer::default().hide(b"d7")
            ),
            (b"21.5".to_vec(), None)
        );
    }

    proptest! {
        #[test]
        fn what_was_sealed_opens_where_it_lay_and_with_any_bit_changed_not_at_all(
            plain in proptest::collection::vec(any::<u8>(), 0..300), at in any::<prop::sample::Index>(), bit in 0_u32..8,
        ) {
            let sealer = sealer(&[1, 2]);
            let mut value = sealed(&sealer, &plain);
            prop_assert_eq!(value.len(), plain.len() + OVERHEAD);
            prop_assert_eq!(sealer.open(b"here", &value), Some(plain));
            prop_assert_eq!(sealer.open(b"there", &value), None);
            let at = at.index(value.len());
            value[at] ^= 1 << bit;
            prop_assert_eq!(sealer.open(b"here", &value), None);
            value.truncate(at);
            prop_assert_eq!(sealer.open(b"here", &value), None);
        }
    }
}
