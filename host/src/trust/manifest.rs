//! The manifest: words of `key=value` in a signature's trusted comment. Words nobody knows are stepped over.

use semver::Version;

use crate::clock::{day, utc};
use crate::message::hexadecimal;

/// A part of the manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    Name,
    Version,
    Sha256,
    Expires,
}

impl Field {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Version => "version",
            Self::Sha256 => "sha256",
            Self::Expires => "expires",
        }
    }
}

/// What a signature says of its component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    pub name: String,
    /// Its version, as cargo counts.
    pub version: Version,
    /// SHA-256 of the component, in hexadecimal.
    pub sha256: Option<String>,
    /// From this moment on it is not let in any more, microseconds since 1970.
    pub expires_us: Option<u64>,
}

impl Manifest {
    /// Reads a trusted comment.
    ///
    /// # Errors
    /// Which part is missing or cannot be read, and why.
    pub(super) fn parse(comment: &str) -> Result<Self, (Field, String)> {
        let find = |field: Field| {
            let word = |word: &'_ str| {
                Some(
                    word.split_once('=')
                        .filter(|(key, _)| *key == field.name())?
                        .1
                        .to_owned(),
                )
            };
            comment
                .split_whitespace()
                .find_map(word)
                .filter(|value| !value.is_empty())
        };
        let missing = |field| (field, "is missing".to_owned());
        let version = find(Field::Version).ok_or_else(|| missing(Field::Version))?;
        let version = Version::parse(&version)
            .map_err(|error| (Field::Version, format!("`{version}` is none: {error}")))?;
        let expires = find(Field::Expires);
        let expires_us = expires.map(|text| {
            day(&text).ok_or_else(|| {
                (
                    Field::Expires,
                    format!("`{text}` is no date like 2027-06-30"),
                )
            })
        });
        Ok(Self {
            name: find(Field::Name).ok_or_else(|| missing(Field::Name))?,
            version,
            sha256: find(Field::Sha256),
            expires_us: expires_us.transpose()?,
        })
    }

    pub(super) fn comment(&self) -> String {
        let mut comment = format!("name={} version={}", self.name, self.version);
        if let Some(sha256) = &self.sha256 {
            comment.push_str(&format!(" sha256={sha256}"));
        }
        if let Some(expires_us) = self.expires_us {
            comment.push_str(&format!(
                " expires={}",
                &utc(expires_us.saturating_sub(1))[.."2027-06-30".len()]
            ));
        }
        comment
    }
}

/// SHA-256 of a component, in hexadecimal.
pub fn digest(component: &[u8]) -> String {
    hexadecimal(ring::digest::digest(&ring::digest::SHA256, component).as_ref())
}
