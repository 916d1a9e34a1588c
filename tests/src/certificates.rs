//! A certificate authority for one case: brokers and clients with certificates of its own.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// A certificate chain and its key, as PEM files.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// The authority. Its certificate lies in `ca`.
pub struct Authority {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    issued: Cell<u32>,
    /// What the other side has to trust.
    pub ca: PathBuf,
}

impl Authority {
    /// A fresh authority whose files go into `folder`.
    pub fn new(folder: &Path, name: &str) -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        let ca = folder.join(format!("{name}.pem"));
        fs::write(&ca, certificate.pem())
            .with_context(|| format!("cannot write `{}`", ca.display()))?;
        Ok(Self {
            folder: folder.to_path_buf(),
            issuer: Issuer::new(params, key),
            issued: Cell::new(0),
            ca,
        })
    }

    /// A certificate for a broker on loopback, valid for `127.0.0.1` and `localhost`.
    pub fn broker(&self) -> Result<Identity> {
        self.issue(
            "broker",
            vec!["127.0.0.1".into(), "localhost".into()],
            ExtendedKeyUsagePurpose::ServerAuth,
        )
    }

    /// A certificate for a client.
    pub fn client(&self, name: &str) -> Result<Identity> {
        self.issue(name, vec![name.into()], ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// The same, which counts until this moment (microseconds since 1970, to the day).
    pub fn client_until(&self, name: &str, until_us: u64) -> Result<Identity> {
        let day = tidegate::clock::utc(until_us);
        let part = |range: std::ops::Range<usize>| -> Result<i32> { Ok(day[range].parse()?) };
        let (year, month, day) = (part(0..4)?, part(5..7)?, part(8..10)?);
        let mut params = CertificateParams::new(vec![name.into()])?;
        params.not_after = rcgen::date_time_ymd(year, u8::try_from(month)?, u8::try_from(day)?);
        self.issue_with(name, params, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn issue(
        &self,
        name: &str,
        alternatives: Vec<String>,
        purpose: ExtendedKeyUsagePurpose,
    ) -> Result<Identity> {
        self.issue_with(name, CertificateParams::new(alternatives)?, purpose)
    }

    fn issue_with(
        &self,
        name: &str,
        mut params: CertificateParams,
        purpose: ExtendedKeyUsagePurpose,
    ) -> Result<Identity> {
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![purpose];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        // Files of its own for each: whoever was given an earlier identity of this name may still be reading it.
        let number = self.issued.replace(self.issued.get() + 1);
        let file = |ending| self.folder.join(format!("{name}-{number}.{ending}"));
        let identity = Identity {
            certificate: file("crt"),
            key: file("key"),
        };
        fs::write(&identity.certificate, certificate.pem())?;
        fs::write(&identity.key, key.serialize_pem())?;
        Ok(identity)
    }
}
