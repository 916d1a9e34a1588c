//! `mqtt://user:password@host:port` to the settings of a connection, for tools that are given a broker on the
//! command line.

use std::time::Duration;

use crate::mqtt::{Backoff, Config, Deadlines, Login, Protocol, Secret, Tls};

/// Text that names no broker.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Another scheme, or none.
    #[error("`{0}` does not begin with `mqtt://` or `mqtts://`")]
    Scheme(String),
    /// No host.
    #[error("`{0}` names no host; write `mqtt://HOST:PORT`")]
    Host(String),
    /// The port is no number from 1 to 65535.
    #[error("`{0}` is not a port")]
    Port(String),
}

/// A clean connection to the broker at `url` as `client_id`. Port 1883, or 8883 with TLS, where the URL has none.
pub fn broker(url: &str, client_id: &str) -> Result<Config, AddressError> {
    let (tls, rest) = match (url.strip_prefix("mqtt://"), url.strip_prefix("mqtts://")) {
        (Some(rest), _) => (None, rest),
        (None, Some(rest)) => (Some(Tls::default()), rest),
        (None, None) => return Err(AddressError::Scheme(without_login(url).to_owned())),
    };
    let rest = rest.trim_end_matches('/');
    let (login, place) = rest.rsplit_once('@').map_or((None, rest), |(login, place)| (Some(read_login(login)), place));
    let (host, port) = split_port(place)?;
    let default_port = if tls.is_some() { 8883 } else { 1883 };
    Ok(Config {
        host: host.to_owned(),
        port: port.unwrap_or(default_port),
        protocol: Protocol::Auto,
        client_id: client_id.to_owned(),
        clean_start: true,
        keep_alive: Duration::from_secs(30),
        receive_maximum: u16::MAX,
        inflight: u16::MAX,
        max_packet_bytes: 1 << 20,
        login,
        tls,
        will: None,
        deadlines: Deadlines::default(),
        backoff: Backoff::default(),
    })
}

fn read_login(text: &str) -> Login {
    let (user, password) = text.split_once(':').map_or((text, None), |(user, password)| (user, Some(password)));
    Login { user: user.to_owned(), password: password.map(Secret::new) }
}

/// An address in an error must not show a password.
fn without_login(url: &str) -> &str {
    url.rsplit_once('@').map_or(url, |(_, place)| place)
}

/// `host`, `host:port`, `[::1]` and `[::1]:port`.
fn split_port(place: &str) -> Result<(&str, Option<u16>), AddressError> {
    let (host, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() {
        return Err(AddressError::Host(place.to_owned()));
    }
    let port = port.map(|text| match text.parse() {
        Ok(0) | Err(_) => Err(AddressError::Port(text.to_owned())),
        Ok(port) => Ok(port),
    });
    Ok((host, port.transpose()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_port_login_and_tls_are_read_off_the_url() {
        let plain = broker("mqtt://127.0.0.1:21883", "sim").unwrap();
        assert_eq!((plain.host.as_str(), plain.port, plain.tls.is_some()), ("127.0.0.1", 21883, false));
        let secure = broker("mqtts://ann:p@ss@[::1]/", "sim").unwrap();
        assert_eq!((secure.host.as_str(), secure.port, secure.tls.is_some()), ("::1", 8883, true));
        let login = secure.login.unwrap();
        assert_eq!((login.user.as_str(), login.password.unwrap().reveal()), ("ann", "p@ss"));
    }

    #[test]
    fn what_names_no_broker_is_refused_without_showing_a_password() {
        assert_eq!(broker("http://ann:secret@x", "sim").unwrap_err(), AddressError::Scheme("x".to_owned()));
        assert_eq!(broker("mqtt://:1883", "sim").unwrap_err(), AddressError::Host(":1883".to_owned()));
        assert_eq!(broker("mqtt://x:0", "sim").unwrap_err(), AddressError::Port("0".to_owned()));
    }
}
