//! TLS settings from files, and what went wrong with them in words.
//!
//! Files are read at every dial, so that a renewed certificate needs no restart.

use std::path::Path;
use std::sync::Arc;
use std::{fs, io};

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};

use super::{Error, Failure, Tls};
use crate::clock::Now;

/// Builds the client's side, with the protocols it offers. Reads files.
pub(super) fn build(tls: &Tls, server: &str) -> Result<ClientConfig, Error> {
    let mut config = build_plain(tls, server)?;
    config.alpn_protocols = tls.alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
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
        problem: format!("it cannot be set up ({error})"),
        failure: Failure::Refused,
    };
    // The provider is named, since a process-wide default may be missing or another one.
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_root_certificates(roots);
    let Some((chain_path, key_path)) = &tls.identity else { return Ok(builder.with_no_client_auth()) };
    let chain = certificates(chain_path)?;
    let key = PrivateKeyDer::from_pem_slice(&read(key_path)?)
        .map_err(|error| file_error(key_path, &pem_problem(error, "private key")))?;
    builder.with_client_auth_cert(chain, key).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            file_error(key_path, &format!("the key does not belong to the certificate in `{}`", chain_path.display()))
        }
        error => file_error(key_path, &format!("certificate or key of the client does not work ({error})")),
    })
}

/// The name the broker's certificate is checked against.
pub(super) fn server_name(name: &str) -> Result<ServerName<'static>, Error> {
    ServerName::try_from(name.to_owned()).map_err(|_| Error::Tls {
        server: name.to_owned(),
        problem: "this is neither a host name nor an address: set `server_name`".to_owned(),
        failure: Failure::Refused,
    })
}

fn file_error(path: &Path, problem: &str) -> Error {
    Error::File { path: path.to_owned(), problem: problem.to_owned() }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|error| {
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
        pem::Error::NoItemsFound => format!("there is no {wanted} in it (PEM without password is wanted)"),
        error => format!("it is damaged ({error})"),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let pem = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let found = found.map_err(|error| file_error(path, &pem_problem(error, "certificate")))?;
    if found.is_empty() {
        return Err(file_error(path, &pem_problem(pem::Error::NoItemsFound, "certificate")));
    }
    Ok(found)
}

fn own_roots(path: &Path) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| file_error(path, &format!("it is not a CA certificate ({error})")))?;
    }
    Ok(roots)
}

fn system_roots(server: &str) -> Result<RootCertStore, Error> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Some of the system's certificates may be odd; those that are not will do.
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    if usable == 0 {
        let why = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
        return Err(Error::Tls {
            server: server.to_owned(),
            problem: format!("the system has no CA certificates{why}: install `ca-certificates` or set `ca`"),
            failure: Failure::Refused,
        });
    }
    Ok(roots)
}

/// Words for a failed handshake, or for an alert that came later: a server of TLS 1.3 refuses a client
/// certificate only after the handshake. `None` when TLS is not at fault.
pub(super) fn explain(server: &str, error: &io::Error, now: Now) -> Option<Error> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    let (problem, failure) = match error {
        rustls::Error::InvalidCertificate(why) => certificate_problem(why, now),
        rustls::Error::AlertReceived(alert) => alert_problem(*alert),
        rustls::Error::InvalidMessage(_) => {
            ("the other side does not speak TLS: check the port, or write mqtt:// in the URL".to_owned(), Failure::Passing)
        }
        other => (other.to_string(), Failure::Passing),
    };
    Some(Error::Tls { server: server.to_owned(), problem, failure })
}

fn certificate_problem(why: &CertificateError, now: Now) -> (String, Failure) {
    let text = match why {
        CertificateError::UnknownIssuer => {
            "the broker's certificate comes from a CA that is not trusted here: check `ca`".to_owned()
        }
        CertificateError::BadSignature => {
            "the broker's certificate comes from a CA of the same name as the trusted one, but with another key: check `ca`"
                .to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            format!("the broker's certificate has expired ({why}): renew it, or check the gateway's clock")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } if !now.is_set() => {
            return (
                "the broker's certificate is not yet valid, because the gateway's clock is not set".to_owned(),
                Failure::Clock,
            );
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            format!("the broker's certificate is not yet valid ({why}): check the gateway's clock")
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("the broker's certificate is for another name ({why}): set `server_name` or correct the host")
        }
        CertificateError::Revoked => "the broker's certificate is revoked".to_owned(),
        why => format!("the broker's certificate is not accepted ({why})"),
    };
    (text, Failure::Refused)
}

fn alert_problem(alert: AlertDescription) -> (String, Failure) {
    use AlertDescription as Alert;
    match alert {
        Alert::CertificateRequired | Alert::NoCertificate => {
            ("the broker asks for a client certificate: set `certificate` and `key`".to_owned(), Failure::Refused)
        }
        Alert::BadCertificate
        | Alert::UnsupportedCertificate
        | Alert::CertificateRevoked
        | Alert::CertificateExpired
        | Alert::CertificateUnknown
        | Alert::UnknownCA
        | Alert::AccessDenied
        | Alert::DecryptError => (format!("the broker does not accept our client certificate ({alert:?})"), Failure::Refused),
        alert => (format!("the broker broke it off ({alert:?})"), Failure::Passing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_of_the_future_is_the_clock_s_fault_while_that_is_unset() {
        let error = || io::Error::other(rustls::Error::InvalidCertificate(CertificateError::NotValidYet));
        let unset = explain("broker", &error(), Now { wall_us: 5, uptime_us: 5 }).unwrap();
        assert_eq!(unset.kind(), Failure::Clock);
        let set = explain("broker", &error(), Now { wall_us: 1_800_000_000_000_000, uptime_us: 5 }).unwrap();
        assert_eq!(set.kind(), Failure::Refused);
        assert!(explain("broker", &io::Error::other("else"), Now::default()).is_none());
    }
}
