//! For whoever signs: keys and signatures, as `tidegate plugin keygen` and `sign` make them. minisign reads them, and they
//! may come from it.

use std::fs::{self, OpenOptions};
use std::io::{Cursor, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use minisign::{KeyPair, PError, SecretKey, SecretKeyBox};
use semver::Version;

use super::manifest::{Manifest, digest};
use super::{KeyError, VerifyingKey, signature_path};

/// How a secret key is protected.
#[derive(Clone, Debug)]
pub enum Password {
    /// Asked for on the terminal.
    Ask,
    /// The first line of a file.
    File(PathBuf),
    /// Not at all: whoever reads the file can sign.
    None,
}

impl Password {
    /// `None` is no password.
    fn get(&self, prompt: &str) -> Result<Option<String>, KeyError> {
        match self {
            Self::Ask => rpassword::prompt_password(prompt)
                .map(Some)
                .map_err(KeyError::NoTerminal),
            Self::File(path) => Ok(Some(
                read(path)?.lines().next().unwrap_or_default().to_owned(),
            )),
            Self::None => Ok(None),
        }
    }
}

/// Files of a new pair of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFiles {
    /// To be kept: who has it can sign. Mode 0600.
    pub secret: PathBuf,
    /// For `plugin_keys` of the gateways.
    pub public: PathBuf,
    /// What minisign calls the pair.
    pub id: String,
    /// The public key in one line.
    pub line: String,
}

/// Makes `PREFIX.key` and `PREFIX.pub`.
///
/// # Errors
/// One of them is there already, or cannot be written.
pub fn generate(prefix: &Path, password: &Password) -> Result<KeyFiles, KeyError> {
    let with = |extension: &str| {
        let mut path = prefix.as_os_str().to_owned();
        path.push(extension);
        PathBuf::from(path)
    };
    let secret = with(".key");
    let public = with(".pub");
    if let Some(there) = [&secret, &public].into_iter().find(|path| path.exists()) {
        return Err(KeyError::Exists(there.clone()));
    }
    let word = password.get("Password for the new key: ")?;
    if matches!(password, Password::Ask) && password.get("Once more: ")? != word {
        return Err(KeyError::Differ);
    }
    let failed = |error: PError| KeyError::Failed {
        verb: "make a key",
        why: error.to_string(),
    };
    let pair = match word {
        Some(word) => KeyPair::generate_encrypted_keypair(Some(word)),
        None => KeyPair::generate_unencrypted_keypair(),
    };
    let pair = pair.map_err(failed)?;
    let comment = "secret key for tidegate plugins, readable by minisign";
    create(
        &secret,
        0o600,
        &pair.sk.to_box(Some(comment)).map_err(failed)?.into_string(),
    )?;
    create(
        &public,
        0o644,
        &pair.pk.to_box().map_err(failed)?.into_string(),
    )?;
    let id = VerifyingKey(pair.pk.clone()).id();
    let line = pair.pk.to_base64();
    Ok(KeyFiles {
        secret,
        public,
        id,
        line,
    })
}

/// Signs a component as `name`, `version`, good until `expires_us`, and writes the signature beside it. One that lies
/// there is replaced.
///
/// # Errors
/// A file cannot be read or written, or the key does not open.
pub fn sign(
    component: &Path,
    key: &Path,
    password: &Password,
    manifest: Manifest,
) -> Result<PathBuf, KeyError> {
    let bytes = crate::file::read(component, crate::file::COMPONENT)
        .map_err(|source| file("read", component, source))?;
    let key = open(key, password)?;
    let manifest = Manifest {
        sha256: Some(digest(&bytes)),
        ..manifest
    };
    let comment = Some("signature of a tidegate plugin, readable by minisign");
    let signature = minisign::sign(
        None,
        &key,
        Cursor::new(&bytes),
        Some(&manifest.comment()),
        comment,
    );
    let signature = signature.map_err(|error| KeyError::Failed {
        verb: "sign",
        why: error.to_string(),
    })?;
    let path = signature_path(component);
    fs::write(&path, signature.into_string()).map_err(|source| file("write", &path, source))?;
    Ok(path)
}

/// A manifest whose digest is filled in when it is signed.
pub fn manifest(name: String, version: Version, expires_us: Option<u64>) -> Manifest {
    Manifest {
        name,
        version,
        sha256: None,
        expires_us,
    }
}

fn open(path: &Path, password: &Password) -> Result<SecretKey, KeyError> {
    let text = read(path)?;
    let none = |error: &dyn std::fmt::Display| KeyError::NotAKey(error.to_string());
    let line = text.lines().nth(1).unwrap_or_default().trim();
    let bytes = BASE64_STANDARD.decode(line).map_err(|error| none(&error))?;
    // Not through a box: minisign itself leaves the checksum of an open key at zero, which the library does not take.
    let key = SecretKey::from_bytes(&bytes).map_err(|error| none(&error))?;
    if !key.is_encrypted() {
        return Ok(key);
    }
    let word = password
        .get(&format!("Password of {}: ", path.display()))?
        .unwrap_or_default();
    let sealed = SecretKeyBox::from_string(&text).map_err(|error| none(&error))?;
    sealed
        .into_secret_key(Some(word))
        .map_err(|error| KeyError::Locked(error.to_string()))
}

fn read(path: &Path) -> Result<String, KeyError> {
    crate::file::read_text(path, crate::file::BY_HAND).map_err(|source| file("read", path, source))
}

fn create(path: &Path, mode: u32, content: &str) -> Result<(), KeyError> {
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path);
    written
        .and_then(|mut file| {
            file.write_all(content.as_bytes())
                .and_then(|()| file.sync_all())
        })
        .map_err(|source| {
            if source.kind() == ErrorKind::AlreadyExists {
                KeyError::Exists(path.to_owned())
            } else {
                file("write", path, source)
            }
        })
}

fn file(verb: &'static str, path: &Path, source: std::io::Error) -> KeyError {
    KeyError::File {
        verb,
        path: path.to_owned(),
        source,
    }
}
