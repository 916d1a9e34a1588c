//! TLS settings from files, and what went wrong with them in words.
//!
//! Files are read at every dial, so that a renewed certificate needs no restart.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore, ServerConfig};

use super::{Error, FailureKind, Peer, ServerTls, Tls};
use crate::clock::Now;
use crate::file;

/// The library takes no signature of a shorter RSA key.
const LEAST_RSA_BITS: usize = 2_048;

/// Builds the client's side, with the protocols it offers. Reads files.
pub(super) fn build(tls: &Tls, server: &str) -> Result<ClientConfig, Error> {
    let mut config = build_plain(tls, server)?;
    config.alpn_protocols = tls
        .alpn
        .iter()
        .map(|protocol| protocol.as_bytes().to_vec())
        .collect();
    Ok(config)
}

/// Own CA or the system's roots, ring as the provider, TLS 1.2 and 1.3. Reads files.
fn build_plain(tls: &Tls, server: &str) -> Result<ClientConfig, Error> {
    let roots = match &tls.ca {
        Some(path) => own_roots(path)?,
        None => system_roots(server)?,
    };
    let unusable = |error: rustls::Error| Error::Tls {
        server: server.to_owned(),
        problem: format!("it cannot be set up ({})", plain(&error)),
        failure: FailureKind::Refused,
    };
    // The provider is named, since a process-wide default may be missing or another one.
    let builder =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_root_certificates(roots);
    let Some((chain_path, key_path)) = &tls.identity else {
        return Ok(builder.with_no_client_auth());
    };
    let (chain, key) = identity(chain_path, key_path)?;
    builder
        .with_client_auth_cert(chain, key)
        .map_err(|error| identity_error(error, chain_path, key_path))
}

/// Builds the server's side, for HTTP/1.1. Reads files.
///
/// # Errors
/// Which file cannot be used, and why.
pub fn build_server(tls: &ServerTls) -> Result<ServerConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let (chain_path, key_path) = &tls.identity;
    let (chain, key) = identity(chain_path, key_path)?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| file_error(chain_path, &plain(&error)))?;
    let builder = match &tls.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let roots = Arc::new(own_roots(path)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider)
                .build()
                .map_err(|error| file_error(path, &plain(&error)))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| identity_error(error, chain_path, key_path))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

type CertificateAndKey = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn identity(chain_path: &Path, key_path: &Path) -> Result<CertificateAndKey, Error> {
    let key = PrivateKeyDer::from_pem_slice(&read(key_path)?)
        .map_err(|error| file_error(key_path, &pem_problem(error, "private key")))?;
    Ok((certificates(chain_path)?, key))
}

fn identity_error(error: rustls::Error, chain_path: &Path, key_path: &Path) -> Error {
    match error {
        rustls::Error::InconsistentKeys(_) => file_error(
            key_path,
            &format!(
                "the key does not belong to the certificate in `{}`",
                chain_path.display()
            ),
        ),
        error => file_error(
            key_path,
            &format!("certificate or key does not work ({})", plain(&error)),
        ),
    }
}

/// Whether a client certificate and a key can be used, together. Reads files.
///
/// # Errors
/// Which file, and what is wrong with it.
pub fn check_identity(chain_path: &Path, key_path: &Path) -> Result<(), Error> {
    let (chain, key) = identity(chain_path, key_path)?;
    let provider = rustls::crypto::ring::default_provider();
    let usable = rustls::sign::CertifiedKey::from_der(chain, key, &provider);
    usable
        .map(drop)
        .map_err(|error| identity_error(error, chain_path, key_path))
}

/// The library's words without its names for things: `UnknownCa` becomes `unknown ca`.
fn plain(error: &impl std::fmt::Display) -> String {
    let text = error.to_string();
    let mut words = String::with_capacity(text.len() + 8);
    let mut before = ' ';
    for letter in text.chars() {
        if letter.is_ascii_uppercase() && before.is_ascii_lowercase() {
            words.push(' ');
        }
        words.push(
            if letter.is_ascii_uppercase() && before.is_ascii_lowercase() {
                letter.to_ascii_lowercase()
            } else {
                letter
            },
        );
        before = letter;
    }
    words
}

/// Bits of the RSA key in a certificate; `None` of one with another kind of key, or none that can be read.
fn rsa_bits(certificate: &[u8]) -> Option<usize> {
    /// rsaEncryption with its empty parameters.
    const RSA: &[u8] = &[
        0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
    ];
    let at = certificate
        .windows(RSA.len())
        .position(|window| window == RSA)?;
    let (_, bits) = der(certificate.get(at + RSA.len()..)?, 0x03)?;
    let (_, key) = der(bits.get(1..)?, 0x30)?;
    let (length, modulus) = der(key, 0x02)?;
    Some((length - modulus.iter().take_while(|byte| **byte == 0).count()) * 8)
}

/// Length and what follows of a value of this kind.
pub(super) fn der(bytes: &[u8], kind: u8) -> Option<(usize, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<2>()?;
    if head[0] != kind {
        return None;
    }
    if head[1] < 0x80 {
        return Some((usize::from(head[1]), rest));
    }
    let (length, rest) = rest.split_at_checked(usize::from(head[1] & 0x7f))?;
    Some((
        length
            .iter()
            .fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
        rest,
    ))
}

/// The name the peer's certificate is checked against.
pub(super) fn server_name(name: &str) -> Result<ServerName<'static>, Error> {
    ServerName::try_from(name.to_owned()).map_err(|_| Error::Tls {
        server: name.to_owned(),
        problem: "this is neither a host name nor an address: set `server_name`".to_owned(),
        failure: FailureKind::Refused,
    })
}

fn file_error(path: &Path, problem: &str) -> Error {
    Error::File {
        path: path.to_owned(),
        problem: problem.to_owned(),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    file::read(path, file::BY_HAND).map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::NotFound => ": check the path",
            io::ErrorKind::PermissionDenied => ": let the gateway's user read it",
            _ => "",
        };
        file_error(path, &format!("{error}{hint}"))
    })
}

fn pem_problem(error: pem::Error, wanted: &str) -> String {
    match error {
        pem::Error::NoItemsFound => {
            format!("there is no {wanted} in it (PEM without password is wanted)")
        }
        error => format!("it is damaged ({error})"),
    }
}

pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let pem = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let found = found.map_err(|error| file_error(path, &pem_problem(error, "certificate")))?;
    if found.is_empty() {
        return Err(file_error(
            path,
            &pem_problem(pem::Error::NoItemsFound, "certificate"),
        ));
    }
    Ok(found)
}

fn own_roots(path: &Path) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        if let Some(bits) = rsa_bits(&certificate).filter(|bits| *bits < LEAST_RSA_BITS) {
            let problem = format!(
                "its RSA key has {bits} bits, and {LEAST_RSA_BITS} are the least that is trusted: make a new CA"
            );
            return Err(file_error(path, &problem));
        }
        roots.add(certificate).map_err(|error| {
            file_error(
                path,
                &format!("it is not a CA certificate ({})", plain(&error)),
            )
        })?;
    }
    Ok(roots)
}

fn system_roots(server: &str) -> Result<RootCertStore, Error> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Some of the system's certificates may be odd; those that are not will do.
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    if usable == 0 {
        let why = found
            .errors
            .first()
            .map(|error| format!(" ({error})"))
            .unwrap_or_default();
        return Err(Error::Tls {
            server: server.to_owned(),
            problem: format!(
                "the system has no CA certificates{why}: install `ca-certificates` or set `ca`"
            ),
            failure: FailureKind::Refused,
        });
    }
    Ok(roots)
}

/// Words for a failed handshake, or for an alert that came later: a server of TLS 1.3 refuses a client
/// certificate only after the handshake. `None` when TLS is not at fault.
pub(super) fn explain(server: &str, peer: &Peer, error: &io::Error, now: Now) -> Option<Error> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    let (problem, failure) = match error {
        rustls::Error::InvalidCertificate(why) => certificate_problem(peer.noun, why, now),
        rustls::Error::AlertReceived(alert) => alert_problem(peer.noun, *alert),
        rustls::Error::InvalidMessage(_) => (
            format!(
                "the other side does not speak TLS: check the port, or write {} in the URL",
                peer.plain
            ),
            FailureKind::Passing,
        ),
        other => (plain(other), FailureKind::Passing),
    };
    Some(Error::Tls {
        server: server.to_owned(),
        problem,
        failure,
    })
}

fn certificate_problem(noun: &str, why: &CertificateError, now: Now) -> (String, FailureKind) {
    let text = match why {
        CertificateError::UnknownIssuer => {
            format!("the {noun}'s certificate comes from a CA that is not trusted here: check `ca`")
        }
        CertificateError::BadSignature => format!(
            "the signature of the {noun}'s certificate does not fit: it comes from a CA of the same name as the trusted one with \
             another key (check `ca`), or its key is too short to be trusted (RSA of less than 2048 bits)"
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => format!(
            "the {noun}'s certificate has expired{}: renew it, or check the gateway's clock",
            context(why)
        ),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }
            if !now.is_set() =>
        {
            let text = format!(
                "the {noun}'s certificate is not yet valid, because the gateway's clock is not set"
            );
            return (text, FailureKind::Clock);
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => format!(
            "the {noun}'s certificate is not yet valid{}: check the gateway's clock",
            context(why)
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!(
                "the {noun}'s certificate is for another name{}: set `server_name` or correct the host",
                context(why)
            )
        }
        CertificateError::Other(other) if is_ca(other) => format!(
            "the {noun} shows a CA's certificate as its own, as `openssl req -x509` makes it, and none of a CA is accepted as a \
             {noun}'s: make one for the {noun} (with basicConstraints=CA:FALSE) and name that as `ca`, or sign it with this CA"
        ),
        CertificateError::Revoked => format!("the {noun}'s certificate is revoked"),
        why => format!(
            "the {noun}'s certificate is not accepted ({})",
            plain(&why).to_lowercase()
        ),
    };
    (text, FailureKind::Refused)
}

/// The library has no word of its own for this one.
fn is_ca(other: &rustls::OtherError) -> bool {
    format!("{other:?}").contains("CaUsedAsEndEntity")
}

/// What the library knows beyond the kind of problem, in its words; nothing where it has only a name for it.
fn context(why: &CertificateError) -> String {
    let text = why.to_string();
    if text.contains(' ') {
        format!(" ({text})")
    } else {
        String::new()
    }
}

/// `BadCertificate` as `bad certificate`.
fn alert_words(alert: AlertDescription) -> String {
    plain(&format!("{alert:?}")).to_lowercase()
}

fn alert_problem(noun: &str, alert: AlertDescription) -> (String, FailureKind) {
    use AlertDescription as Alert;
    match alert {
        Alert::CertificateRequired | Alert::NoCertificate => (
            format!("the {noun} asks for a client certificate: set `cert` and `key`"),
            FailureKind::Refused,
        ),
        Alert::BadCertificate
        | Alert::UnsupportedCertificate
        | Alert::CertificateRevoked
        | Alert::CertificateExpired
        | Alert::CertificateUnknown
        | Alert::UnknownCA
        | Alert::AccessDenied
        | Alert::DecryptError => (
            format!(
                "the {noun} does not accept our client certificate ({})",
                alert_words(alert)
            ),
            FailureKind::Refused,
        ),
        alert => (
            format!("the {noun} broke it off ({})", alert_words(alert)),
            FailureKind::Passing,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Uptime, WallTime};
    use crate::link::ConnectionLoss;

    const BROKER: Peer = Peer {
        noun: "broker",
        plain: "mqtt://",
        upgrade: None,
    };

    #[test]
    fn what_is_wrong_is_said_in_words() {
        let words = |error| {
            explain("broker", &BROKER, &io::Error::other(error), Now::default())
                .unwrap()
                .to_string()
        };
        for alert in [
            AlertDescription::UnknownCA,
            AlertDescription::BadCertificate,
            AlertDescription::ProtocolVersion,
        ] {
            let text = words(rustls::Error::AlertReceived(alert));
            assert!(!text.contains(&format!("{alert:?}")), "{text}");
        }
        for why in [
            CertificateError::Expired,
            CertificateError::NotValidForName,
            CertificateError::BadEncoding,
        ] {
            let text = words(rustls::Error::InvalidCertificate(why.clone()));
            assert!(!text.contains(&format!("{why:?}")), "{text}");
        }
        assert!(
            words(rustls::Error::InvalidCertificate(
                CertificateError::BadSignature
            ))
            .contains("2048 bits")
        );
        #[derive(Debug, thiserror::Error)]
        #[error("the library has its own words")]
        struct CaUsedAsEndEntity;
        let other = rustls::OtherError(Arc::new(CaUsedAsEndEntity));
        let text = words(rustls::Error::InvalidCertificate(CertificateError::Other(
            other,
        )));
        assert!(
            text.contains("CA:FALSE") && !text.contains("other"),
            "{text}"
        );
    }

    #[test]
    fn a_certificate_tells_how_long_its_rsa_key_is() {
        let modulus = |bytes: u8| {
            [
                &[0x02, 0x81, bytes + 1, 0x00][..],
                &vec![0x8f; usize::from(bytes)],
                &[0x02, 0x01, 0x03],
            ]
            .concat()
        };
        let key = modulus(128);
        let bits = [&[0x03, 0x81, 0x90, 0x00, 0x30, 0x81, 0x8c][..], &key].concat();
        let oid = [
            0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
        ];
        assert_eq!(
            rsa_bits(&[b"before".as_slice(), &oid, &bits].concat()),
            Some(1_024)
        );
        assert_eq!(rsa_bits(b"none of this"), None);
        assert_eq!(rsa_bits(&oid), None);
    }

    #[test]
    fn a_certificate_of_the_future_is_the_clock_s_fault_while_that_is_unset() {
        let error = || {
            io::Error::other(rustls::Error::InvalidCertificate(
                CertificateError::NotValidYet,
            ))
        };
        let unset = explain(
            "broker",
            &BROKER,
            &error(),
            Now {
                wall: WallTime(5),
                uptime: Uptime(5),
            },
        )
        .unwrap();
        assert_eq!(unset.kind(), FailureKind::Clock);
        let set = explain(
            "broker",
            &BROKER,
            &error(),
            Now {
                wall: WallTime(1_800_000_000_000_000),
                uptime: Uptime(5),
            },
        )
        .unwrap();
        assert_eq!(set.kind(), FailureKind::Refused);
        assert!(explain("broker", &BROKER, &io::Error::other("else"), Now::default()).is_none());
    }
}
