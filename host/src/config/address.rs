//! Where a broker is: `mqtt://host:port` or `mqtts://host:port`; over WebSockets `mqtt+ws://host:port/path` or `mqtt+wss://…`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::mqtt;

/// The path at which most brokers take WebSockets.
const USUAL_PATH: &str = "/mqtt";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BrokerAddress {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: bool,
    /// The path of a WebSocket, with its query, where the scheme says so.
    pub(crate) websocket: Option<String>,
}

/// A URL that is none of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AddressError {
    #[error("has no scheme")]
    NoScheme,
    /// A scheme that means the same as one of ours.
    #[error("has the scheme `{0}`, which is written `{1}` here")]
    OtherWord(String, &'static str),
    /// A scheme that is planned.
    #[error("asks for `{0}`, which is not available yet")]
    Later(String),
    #[error("has the unknown scheme `{0}`")]
    UnknownScheme(String),
    /// User name or password in the URL, where it would be logged.
    #[error("has a user name or password in it")]
    Login,
    /// Nothing before the port.
    #[error("has no host")]
    NoHost,
    /// Colons that are none of a port's: what it says with brackets.
    #[error("has an IPv6 address without brackets")]
    Brackets(String),
    /// Neither a name nor an address.
    #[error("has the host `{0}`, which is neither a name nor an address")]
    Host(String),
    /// Not 1 to 65535.
    #[error("has a bad port")]
    Port,
    /// Something after the port.
    #[error("has more than a host and a port")]
    Path,
    /// The path of a WebSocket has what cannot be sent.
    #[error("has a path with something in it that no request can have")]
    SocketPath,
}

impl AddressError {
    /// What to write instead.
    pub(crate) fn hint(&self) -> String {
        let hint = match self {
            Self::Brackets(meant) => return format!("write {meant}"),
            Self::OtherWord(_, "mqtt+ws" | "mqtt+wss") => {
                "MQTT over WebSockets is mqtt+ws://host/mqtt, with TLS mqtt+wss://; for WebSockets that devices open, a source listens at http:// or https://"
            }
            Self::SocketPath => {
                "write mqtt+ws://host/mqtt; letters beyond ASCII, spaces and # as %20 and the like"
            }
            Self::Host(_) => {
                "a name has letters, digits, `-`, `_` and dots; an address is 192.168.0.7 or [fe80::7]"
            }
            Self::NoScheme | Self::UnknownScheme(_) | Self::OtherWord(..) => {
                "write mqtt://host:1883, or mqtts://host:8883 for TLS"
            }
            Self::Later(_) => "use mqtt:// or mqtts://",
            Self::Login => "use the keys `user` and `password`",
            Self::NoHost | Self::Path => "write mqtt://host:1883",
            Self::Port => "a port is a number from 1 to 65535",
        };
        hint.to_owned()
    }
}

/// Ports that are the usual ones of something, what that is, and the schemes that are spoken there.
const USUAL_PORTS: [(u16, &str, &[&str]); 5] = [
    (80, "HTTP without TLS", &["http", "mqtt+ws"]),
    (
        443,
        "HTTP with TLS",
        &["https", "mqtt+wss", "mqtts", "kafkas"],
    ),
    (1883, "MQTT without TLS", &["mqtt"]),
    (8883, "MQTT with TLS", &["mqtts"]),
    (5432, "PostgreSQL", &["postgres", "postgres+tls"]),
];

impl BrokerAddress {
    /// Where its port is the usual one of something else than what `scheme` says: that, and what may be meant.
    pub fn port_of_another(&self, scheme: &str) -> Option<(String, String)> {
        let port = self.port;
        let (is, meant) = match (scheme, port) {
            ("mqtt", 8883) => (
                "is the port of connections with TLS, and `mqtt://` is one without".to_owned(),
                "write mqtts://".to_owned(),
            ),
            ("mqtts", 1883) => (
                "is the port of connections without TLS, and `mqtts://` is one with it".to_owned(),
                "write mqtt://, or port 8883".to_owned(),
            ),
            _ => {
                let other = USUAL_PORTS.iter().find(|(known, _, _)| *known == port);
                let (_, what, schemes) = other.filter(|(_, _, its)| !its.contains(&scheme))?;
                (
                    format!("is the port of {what}, and `{scheme}://` is something else"),
                    format!("write {}://, or another port", schemes.join(":// or ")),
                )
            }
        };
        Some((format!("{port} {is}"), meant))
    }

    /// Parses a URL; 1883 and 8883 are the ports where it names none, of WebSockets 80 and 443.
    pub(crate) fn parse(url: &str) -> Result<Self, AddressError> {
        let (scheme, rest) = url.split_once("://").ok_or(AddressError::NoScheme)?;
        let tls = match scheme {
            "mqtt" => false,
            "mqtts" => true,
            "tcp" => return Err(AddressError::OtherWord(scheme.to_owned(), "mqtt")),
            "ssl" | "tls" | "mqtt+ssl" => {
                return Err(AddressError::OtherWord(scheme.to_owned(), "mqtts"));
            }
            "mqtt+ws" | "mqtt+wss" => return Self::of_websocket(scheme, rest),
            "ws" => return Err(AddressError::OtherWord(scheme.to_owned(), "mqtt+ws")),
            "wss" => return Err(AddressError::OtherWord(scheme.to_owned(), "mqtt+wss")),
            "quic" => return Err(AddressError::Later(scheme.to_owned())),
            other => return Err(AddressError::UnknownScheme(crate::words::line(other, 16))),
        };
        Self::of(scheme, rest, tls, if tls { 8883 } else { 1883 })
    }

    /// The scheme that it would have without TLS.
    pub(crate) fn scheme(&self) -> &'static str {
        match self.websocket {
            None => "mqtt",
            Some(_) => "mqtt+ws",
        }
    }

    /// With a path, which is the usual one where none is written.
    fn of_websocket(scheme: &str, rest: &str) -> Result<Self, AddressError> {
        let tls = scheme == "mqtt+wss";
        let (place, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let is_sent = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
        if !path.bytes().all(is_sent) {
            return Err(AddressError::SocketPath);
        }
        let address = Self::of(scheme, place, tls, if tls { 443 } else { 80 })?;
        let path = if path.is_empty() { USUAL_PATH } else { path };
        Ok(Self {
            websocket: Some(path.to_owned()),
            ..address
        })
    }

    /// Parses the URL of a port to listen on; 80 and 443 are the ports where it names none.
    pub(crate) fn parse_http(url: &str) -> Result<Self, AddressError> {
        match url.split_once("://") {
            Some(("http", rest)) => Self::of("http", rest, false, 80),
            Some(("https", rest)) => Self::of("https", rest, true, 443),
            _ => Err(AddressError::NoScheme),
        }
    }

    /// The same of a URL with a path, and that: all behind the server, from its first `/`, `?` or `#` on.
    ///
    /// # Errors
    /// As of the address alone.
    pub(super) fn parse_http_with_path(url: &str) -> Result<(Self, &str), AddressError> {
        let start = url.find("://").map_or(0, |at| at + "://".len());
        let end = url[start..]
            .find(['/', '?', '#'])
            .map_or(url.len(), |at| start + at);
        let (server, path) = url.split_at(end);
        Ok((Self::parse_http(server)?, path))
    }

    /// Parses the URL of a scheme without TLS; `standard` is the port where it names none.
    pub(crate) fn parse_as(url: &str, scheme: &str, standard: u16) -> Result<Self, AddressError> {
        match url.split_once("://") {
            Some((its, rest)) if its == scheme => Self::of(scheme, rest, false, standard),
            Some((other, _)) => Err(AddressError::UnknownScheme(crate::words::line(other, 16))),
            None => Err(AddressError::NoScheme),
        }
    }

    fn of(scheme: &str, rest: &str, tls: bool, standard: u16) -> Result<Self, AddressError> {
        // In brackets a percent sign is before a zone; elsewhere it hides a login.
        if rest.contains('@') || (rest.contains('%') && !rest.starts_with('[')) {
            return Err(AddressError::Login);
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#', ' ']) {
            return Err(AddressError::Path);
        }
        let (host, port) = split_port(rest)?;
        if host.is_empty() {
            return Err(AddressError::NoHost);
        }
        if host.contains(':') && !rest.starts_with('[') {
            return Err(without_brackets(scheme, rest, standard));
        }
        if !is_host(host, rest.starts_with('[')) {
            return Err(AddressError::Host(crate::words::line(host, 64)));
        }
        let port = port
            .map_or(Some(standard), number)
            .filter(|port| *port > 0)
            .ok_or(AddressError::Port)?;
        Ok(Self {
            host: host.to_owned(),
            port,
            tls,
            websocket: None,
        })
    }
}

/// Which broker it is, for comparisons: a machine's own names are one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BrokerIdentity(String, u16);

impl BrokerIdentity {
    /// The broker of a connection.
    pub(super) fn of(mqtt: &mqtt::Config) -> Self {
        Self::at(&mqtt.host, mqtt.port)
    }

    /// What is at an address; one of this machine that listens everywhere is at its loopback, too.
    pub(super) fn at(host: &str, port: u16) -> Self {
        let host = host.trim_matches(['[', ']']);
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let name = match host.parse::<IpAddr>().map(|address| address.to_canonical()) {
            Ok(address) if address.is_loopback() || address.is_unspecified() => {
                "localhost".to_owned()
            }
            Ok(address) => address.to_string(),
            Err(_) if host.ends_with(".localhost") => "localhost".to_owned(),
            Err(_) => host,
        };
        Self(name, port)
    }
}

fn number(port: &str) -> Option<u16> {
    port.parse()
        .ok()
        .filter(|_| port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// What was meant by an address without brackets: with the port that it seems to end in.
fn without_brackets(scheme: &str, rest: &str, standard: u16) -> AddressError {
    let meant =
        |address: &str, port: u16| AddressError::Brackets(format!("{scheme}://[{address}]:{port}"));
    let is_address = |text: &str| text.parse::<Ipv6Addr>().is_ok();
    match rest
        .rsplit_once(':')
        .map(|(address, port)| (address, number(port)))
    {
        // Of `::1:1884` the end may be a part of the address, too; a port has the more digits.
        Some((address, Some(port)))
            if is_address(address) && (port >= 1_000 || !is_address(rest)) =>
        {
            meant(address, port)
        }
        _ if is_address(rest) => meant(rest, standard),
        _ => AddressError::Host(crate::words::line(rest, 64)),
    }
}

/// Whether something may have that name or address. A name that ends in a number is an address to the system.
fn is_host(host: &str, in_brackets: bool) -> bool {
    if in_brackets {
        let (address, zone) = host
            .split_once('%')
            .map_or((host, None), |(address, zone)| (address, Some(zone)));
        return address.parse::<Ipv6Addr>().is_ok() && zone != Some("");
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let is_label = |label: &str| {
        let inner = |letter: char| letter.is_alphanumeric() || matches!(letter, '-' | '_');
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(inner)
    };
    let is_number = name
        .rsplit('.')
        .next()
        .is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    if is_number {
        host.parse::<Ipv4Addr>().is_ok()
    } else {
        name.len() <= 253 && name.split('.').all(is_label)
    }
}

fn split_port(rest: &str) -> Result<(&str, Option<&str>), AddressError> {
    if let Some(v6) = rest.strip_prefix('[') {
        let (host, after) = v6.split_once(']').ok_or(AddressError::NoHost)?;
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if after.is_empty() => Ok((host, None)),
            None => Err(AddressError::Path),
        };
    }
    Ok(rest
        .rsplit_once(':')
        .map_or((rest, None), |(host, port)| (host, Some(port))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, host: &str, port: u16, tls: bool) {
        assert_eq!(
            BrokerAddress::parse(url),
            Ok(BrokerAddress {
                host: host.to_owned(),
                port,
                tls,
                websocket: None
            })
        );
    }

    #[test]
    fn a_url_names_host_port_and_whether_it_is_tls() {
        check("mqtt://127.0.0.1:21883", "127.0.0.1", 21883, false);
        check("mqtt://broker.local", "broker.local", 1883, false);
        check("mqtts://broker.local/", "broker.local", 8883, true);
        check("mqtts://[::1]:99", "::1", 99, true);
        check("mqtt://[fe80::1]", "fe80::1", 1883, false);
    }

    #[test]
    fn over_websockets_a_url_has_a_path_too() {
        for (url, port, tls, path) in [
            ("mqtt+ws://broker.local", 80, false, "/mqtt"),
            ("mqtt+wss://broker.local/", 443, true, "/"),
            (
                "mqtt+wss://broker.local:8084/a/b%20c?d=e@f",
                8084,
                true,
                "/a/b%20c?d=e@f",
            ),
        ] {
            let parsed = BrokerAddress::parse(url).unwrap();
            assert_eq!((parsed.port, parsed.tls), (port, tls), "{url}");
            assert_eq!(parsed.websocket.as_deref(), Some(path), "{url}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_url_is_told_apart() {
        let error = |url| BrokerAddress::parse(url).unwrap_err();
        assert_eq!(error("localhost"), AddressError::NoScheme);
        assert_eq!(
            error("ssl://x"),
            AddressError::OtherWord("ssl".into(), "mqtts")
        );
        assert_eq!(
            error("ws://x"),
            AddressError::OtherWord("ws".into(), "mqtt+ws")
        );
        assert_eq!(error("quic://x"), AddressError::Later("quic".into()));
        assert_eq!(error("mqtt+ws://me:secret@x/mqtt"), AddressError::Login);
        assert_eq!(error("mqtt+ws://x/a#b"), AddressError::SocketPath);
        assert_eq!(error("mqtt+ws://x/a b"), AddressError::SocketPath);
        assert_eq!(error("mqtt+ws:///mqtt"), AddressError::NoHost);
        assert_eq!(
            error("http://x"),
            AddressError::UnknownScheme("http".into())
        );
        assert_eq!(error("mqtt://me:secret@x"), AddressError::Login);
        assert_eq!(error("mqtt://me%3Asecret%40x"), AddressError::Login);
        assert_eq!(error("mqtt://:1883"), AddressError::NoHost);
        assert_eq!(error("mqtt://x:0"), AddressError::Port);
        assert_eq!(error("mqtt://x:y"), AddressError::Port);
        assert_eq!(error("mqtt://x:+1883"), AddressError::Port);
        assert_eq!(error("mqtt://x/path"), AddressError::Path);
    }

    #[test]
    fn a_host_that_can_be_none_is_refused() {
        for host in [
            "[::g]",
            "[]",
            "[1.2.3.4]",
            "[fe80::1%]",
            "300.1.1.1",
            "1.2.3",
            "-h",
            "h-",
            "a..b",
            ".",
            "h\u{7}",
            "a*b",
        ] {
            let error = BrokerAddress::parse(&format!("mqtt://{host}")).unwrap_err();
            assert!(
                matches!(error, AddressError::Host(_) | AddressError::NoHost),
                "{host}: {error}"
            );
        }
        for host in [
            "h_x",
            "broker.local.",
            "7.example",
            "xn--bcher-kva.de",
            "bücher.de",
            "[fe80::1%eth0]",
            "1.2.3.4",
        ] {
            assert!(
                BrokerAddress::parse(&format!("mqtt://{host}")).is_ok(),
                "{host}"
            );
        }
    }

    #[test]
    fn a_hint_with_a_url_in_it_is_taken() {
        for (url, meant) in [
            ("mqtt://::1", "mqtt://[::1]:1883"),
            ("mqtt://::1:1884", "mqtt://[::1]:1884"),
            ("mqtts://fe80::7:8884", "mqtts://[fe80::7]:8884"),
            ("mqtts://fe80::7", "mqtts://[fe80::7]:8883"),
            (
                "mqtt://fe80:0:0:0:0:0:0:7:99",
                "mqtt://[fe80:0:0:0:0:0:0:7]:99",
            ),
        ] {
            let hint = BrokerAddress::parse(url).unwrap_err().hint();
            assert_eq!(hint, format!("write {meant}"));
            assert!(BrokerAddress::parse(meant).is_ok());
        }
        assert!(matches!(
            BrokerAddress::parse("mqtt://a:b:1883"),
            Err(AddressError::Host(_))
        ));
    }

    #[test]
    fn a_broker_is_one_under_all_names_of_this_machine() {
        let at = |host| BrokerIdentity::at(host, 1883);
        for host in [
            "LOCALHOST",
            "127.0.0.1",
            "127.0.0.2",
            "::1",
            "0:0:0:0:0:0:0:1",
            "::ffff:127.0.0.1",
            "localhost.",
        ] {
            assert_eq!(at(host), at("localhost"), "{host}");
        }
        assert_eq!(at("Broker.Example."), at("broker.example"));
        assert!(at("192.168.0.1") != at("localhost") && at("a.example") != at("b.example"));
    }
}
