//! Who may bring in a plugin: signed components, and the small manifest that is signed with them.
//!
//! A signature lies beside its component as `NAME.minisig`, in the form of [minisign](https://jedisct1.github.io/minisign/)
//! (Ed25519 over BLAKE2b-512), so that `minisign -V` says the same. Its trusted comment, which the key signs too, is the
//! manifest: `name=threshold version=1.2.0 sha256=… expires=2027-06-30`.
//!
//! In come a component, its signature and what is known of the plugin's place; out goes a [`Seal`] or why not. Nothing
//! here reads a clock; only [`keys`], which the command line uses, writes files. The same rules hold whatever way a plugin
//! comes in. An expiry bounds only that: what runs is never stopped by it, since a gateway that comes back from a
//! power cut a year later has to do its work.

mod error;
pub mod keys;
mod manifest;

pub use error::{Denied, KeyError};
pub use manifest::{Field, Manifest, digest};

use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use minisign::{PublicKey, PublicKeyBox, SignatureBox};
use semver::Version;

use crate::clock::Now;
use crate::file;

/// A signature is longer by some headers than its trusted comment; nobody needs more than this.
pub const MAX_SIGNATURE_BYTES: usize = 8 << 10;

/// Where the signature of a component is looked for: `rule.wasm` has `rule.wasm.minisig`.
pub fn signature_path(component: &Path) -> PathBuf {
    let mut path = component.as_os_str().to_owned();
    path.push(".minisig");
    path.into()
}

/// Reads a signature; `None` when there is no such file. Of an overlong one as much is read as is needed to refuse it.
pub fn read_signature(path: &Path) -> std::io::Result<Option<String>> {
    let own = path.to_owned();
    let read = file::within(path, move || {
        let mut bytes = Vec::new();
        file::open(&own)?
            .take(MAX_SIGNATURE_BYTES as u64 + 1)
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    });
    match read {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A key whose signatures count.
#[derive(Clone)]
pub struct VerifyingKey(PublicKey);

impl VerifyingKey {
    /// Reads the content of a minisign public key file, or its second line alone.
    ///
    /// # Errors
    /// It is neither.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        let key = match text.lines().count() {
            1 => PublicKey::from_base64(text),
            _ => PublicKeyBox::from_string(text).and_then(PublicKeyBox::into_public_key),
        };
        key.map(Self)
            .map_err(|error| KeyError::NotAKey(error.to_string()))
    }

    /// The number minisign calls it by.
    pub fn id(&self) -> String {
        key_id(self.0.keynum())
    }
}

impl std::fmt::Debug for VerifyingKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Key({})", self.id())
    }
}

impl PartialEq for VerifyingKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bytes() == other.0.to_bytes()
    }
}

/// minisign shows the eight bytes as a little-endian number.
fn key_id(bytes: &[u8]) -> String {
    bytes
        .iter()
        .rev()
        .map(|byte| format!("{byte:02X}"))
        .collect()
}

/// Whose signatures count, and whether one is needed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trust {
    pub keys: Arc<[VerifyingKey]>,
    /// Files of keys that cannot be read for now. What one of them may have signed is not let in meanwhile.
    pub missing: Arc<[PathBuf]>,
    /// No plugin without a signature, those that are compiled in excepted.
    pub required: bool,
}

/// The place a component is to take.
#[derive(Clone, Copy, Debug)]
pub struct ManifestTerms<'a> {
    /// The name its manifest must have.
    pub name: &'a str,
    /// The highest version that was ever confirmed there; `None` when an operator asks to go below it.
    pub highest: Option<&'a Version>,
    /// Both clocks; without a believable wall clock nothing expires.
    pub now: Now,
}

/// What a valid signature says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    /// Id of the key.
    pub key: String,
    /// What was signed with the component.
    pub manifest: Manifest,
}

impl Trust {
    /// Looks at a component's signature. `None` is a component without one where none is needed.
    ///
    /// # Errors
    /// [`Denied`], for the operator to read.
    pub fn verify(
        &self,
        component: &[u8],
        signature: Option<&str>,
        claim: ManifestTerms<'_>,
    ) -> Result<Option<Seal>, Denied> {
        let has_keys = !(self.keys.is_empty() && self.missing.is_empty());
        let Some(signature) = signature.filter(|_| has_keys) else {
            return if self.required {
                Err(Denied::Unsigned)
            } else {
                Ok(None)
            };
        };
        let seal = self.seal(component, signature)?;
        let Manifest {
            name,
            version,
            expires_us,
            ..
        } = &seal.manifest;
        if name != claim.name {
            return Err(Denied::OtherName {
                signed: name.clone(),
                expected: claim.name.to_owned(),
            });
        }
        if let Some(expired_us) =
            expires_us.filter(|end| claim.now.is_set() && *end <= claim.now.wall.0)
        {
            return Err(Denied::Expired { expired_us });
        }
        match claim.highest.filter(|highest| version < highest) {
            Some(highest) => Err(Denied::Downgrade {
                signed: version.clone(),
                highest: highest.clone(),
            }),
            None => Ok(Some(seal)),
        }
    }

    /// The signature alone: who signed, and what.
    ///
    /// # Errors
    /// As [`Trust::verify`].
    pub fn seal(&self, component: &[u8], signature: &str) -> Result<Seal, Denied> {
        let signature = parse(signature)?;
        let id = key_id(signature.keynum());
        let Some(VerifyingKey(key)) = self.keys.iter().find(|key| key.id() == id) else {
            if !self.missing.is_empty() {
                return Err(Denied::KeyAway {
                    id,
                    files: self.missing.to_vec(),
                });
            }
            return Err(Denied::UnknownKey {
                id,
                known: self.keys.iter().map(VerifyingKey::id).collect(),
            });
        };
        // Quiet, without a copy of the data, and not in minisign's first form, which hashes nothing.
        minisign::verify(key, &signature, Cursor::new(component), true, false, false)
            .map_err(|_| Denied::Altered { id: id.clone() })?;
        let comment = signature
            .trusted_comment()
            .map_err(|error| Denied::Unreadable(error.to_string()))?;
        let manifest =
            Manifest::parse(&comment).map_err(|(field, why)| Denied::NoManifest { field, why })?;
        if manifest
            .sha256
            .as_deref()
            .is_some_and(|digest| digest != manifest::digest(component))
        {
            return Err(Denied::NoManifest {
                field: Field::Sha256,
                why: "is that of another component".to_owned(),
            });
        }
        Ok(Seal { key: id, manifest })
    }
}

/// The library indexes into what it decoded, so its length is looked at first.
fn parse(text: &str) -> Result<SignatureBox, Denied> {
    let unreadable = |why: &str| Denied::Unreadable(why.to_owned());
    if text.len() > MAX_SIGNATURE_BYTES {
        return Err(unreadable("it is longer than 8 KiB"));
    }
    // 64 bytes in base64.
    if text
        .lines()
        .nth(3)
        .is_none_or(|line| line.trim().len() != 88)
    {
        return Err(unreadable(
            "it has not the four lines of a signature by minisign",
        ));
    }
    SignatureBox::from_string(text).map_err(|error| Denied::Unreadable(error.to_string()))
}

#[cfg(test)]
mod tests;
