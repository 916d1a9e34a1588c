//! `mqtt://user:password@host:port` to the settings of a connection, for tools that are given a broker on the
//! command line.

use std::time::Duration;

use crate::config::{AddressError, BrokerAddress};
use crate::link::{Backoff, Deadlines, Secret, Tls};
use crate::mqtt::{Config, Login, Protocol};

/// Text that names no broker. It is shown without its login.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{url}` {mistake}: {}", .mistake.hint())]
pub struct NoBroker {
    url: String,
    mistake: AddressError,
}

/// A clean connection to the broker at `url` as `client_id`. Port 1883, or 8883 with TLS, where the URL has none.
pub fn broker(url: &str, client_id: &str) -> Result<Config, NoBroker> {
    let (url, login) = without_login(url);
    let address = BrokerAddress::parse(&url).map_err(|mistake| NoBroker { url, mistake })?;
    Ok(Config {
        host: address.host,
        port: address.port,
        protocol: Protocol::Auto,
        client_id: client_id.to_owned(),
        clean_start: true,
        keep_alive: Duration::from_secs(30),
        receive_maximum: u16::MAX,
        inflight: u16::MAX,
        max_packet_bytes: 1 << 20,
        login,
        tls: address.tls.then(Tls::default),
        websocket: address.websocket,
        will: None,
        priority: false,
        deadlines: Deadlines::default(),
        backoff: Backoff::default(),
    })
}

fn read_login(text: &str) -> Login {
    let (user, password) = text
        .split_once(':')
        .map_or((text, None), |(user, password)| (user, Some(password)));
    Login {
        user: user.to_owned(),
        password: password.map(Secret::new),
    }
}

/// Takes `user:password@` out of a URL: the config allows none, and an error must not show a password.
fn without_login(url: &str) -> (String, Option<Login>) {
    let (scheme, rest) = url.split_at(url.find("://").map_or(0, |at| at + "://".len()));
    match rest.rsplit_once('@') {
        Some((login, place)) => (format!("{scheme}{place}"), Some(read_login(login))),
        None => (url.to_owned(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_port_login_and_tls_are_read_off_the_url() {
        let plain = broker("mqtt://127.0.0.1:21883", "sim").unwrap();
        assert_eq!(
            (plain.host.as_str(), plain.port, plain.tls.is_some()),
            ("127.0.0.1", 21883, false)
        );
        let secure = broker("mqtts://ann:p@ss@[::1]/", "sim").unwrap();
        assert_eq!(
            (secure.host.as_str(), secure.port, secure.tls.is_some()),
            ("::1", 8883, true)
        );
        let login = secure.login.unwrap();
        assert_eq!(
            (login.user.as_str(), login.password.unwrap().reveal()),
            ("ann", "p@ss")
        );
    }

    #[test]
    fn what_names_no_broker_is_refused_without_showing_a_password() {
        let refused = |url| broker(url, "sim").unwrap_err().to_string();
        let say = "write mqtt://host:1883, or mqtts://host:8883 for TLS";
        assert_eq!(
            refused("http://ann:secret@x"),
            format!("`http://x` has the unknown scheme `http`: {say}")
        );
        assert_eq!(refused("ann:secret@x"), format!("`x` has no scheme: {say}"));
        assert_eq!(
            refused("mqtt://ann:secret@x:0"),
            "`mqtt://x:0` has a bad port: a port is a number from 1 to 65535"
        );
    }
}
