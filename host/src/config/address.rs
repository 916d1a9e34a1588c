//! Where a broker is: `mqtt://host:port` or `mqtts://host:port`.

/// A broker's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: bool,
}

/// A URL that is none of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AddressError {
    /// No `scheme://`.
    #[error("has no scheme")]
    NoScheme,
    /// A scheme that means the same as one of ours.
    #[error("has the scheme `{0}`, which is written `{1}` here")]
    OtherWord(String, &'static str),
    /// A scheme that is planned.
    #[error("asks for `{0}`, which is not available yet")]
    Later(String),
    /// Another scheme.
    #[error("has the unknown scheme `{0}`")]
    UnknownScheme(String),
    /// User name or password in the URL, where it would be logged.
    #[error("has a user name or password in it")]
    Login,
    /// Nothing before the port.
    #[error("has no host")]
    NoHost,
    /// Colons that are none of a port's.
    #[error("has an IPv6 address without brackets")]
    Brackets,
    /// Not 1 to 65535.
    #[error("has a bad port")]
    Port,
    /// Something after the port.
    #[error("has more than a host and a port")]
    Path,
}

impl AddressError {
    /// What to write instead.
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::NoScheme | Self::UnknownScheme(_) | Self::OtherWord(..) => {
                "write mqtt://host:1883, or mqtts://host:8883 for TLS"
            }
            Self::Later(_) => "use mqtt:// or mqtts://",
            Self::Login => "use the keys `user` and `password`",
            Self::NoHost | Self::Path => "write mqtt://host:1883",
            Self::Brackets => "write mqtt://[::1]:1883",
            Self::Port => "a port is a number from 1 to 65535",
        }
    }
}

impl Address {
    /// Parses a URL; 1883 and 8883 are the ports where it names none.
    pub(crate) fn parse(url: &str) -> Result<Self, AddressError> {
        let (scheme, rest) = url.split_once("://").ok_or(AddressError::NoScheme)?;
        let tls = match scheme {
            "mqtt" => false,
            "mqtts" => true,
            "tcp" => return Err(AddressError::OtherWord(scheme.to_owned(), "mqtt")),
            "ssl" | "tls" | "mqtt+ssl" => return Err(AddressError::OtherWord(scheme.to_owned(), "mqtts")),
            "ws" | "wss" | "quic" => return Err(AddressError::Later(scheme.to_owned())),
            other => return Err(AddressError::UnknownScheme(crate::words::line(other, 16))),
        };
        if rest.contains('@') {
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
            return Err(AddressError::Brackets);
        }
        let port = port.map_or(Ok(if tls { 8883 } else { 1883 }), |port| port.parse().map_err(|_| AddressError::Port))?;
        if port == 0 {
            return Err(AddressError::Port);
        }
        Ok(Self { host: host.to_owned(), port, tls })
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
    Ok(rest.rsplit_once(':').map_or((rest, None), |(host, port)| (host, Some(port))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, host: &str, port: u16, tls: bool) {
        assert_eq!(Address::parse(url), Ok(Address { host: host.to_owned(), port, tls }));
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
    fn what_is_wrong_with_a_url_is_told_apart() {
        let error = |url| Address::parse(url).unwrap_err();
        assert_eq!(error("localhost"), AddressError::NoScheme);
        assert_eq!(error("ssl://x"), AddressError::OtherWord("ssl".into(), "mqtts"));
        assert_eq!(error("ws://x"), AddressError::Later("ws".into()));
        assert_eq!(error("http://x"), AddressError::UnknownScheme("http".into()));
        assert_eq!(error("mqtt://me:secret@x"), AddressError::Login);
        assert_eq!(error("mqtt://:1883"), AddressError::NoHost);
        assert_eq!([error("mqtt://::1"), error("mqtt://fe80::1:1883")], [AddressError::Brackets, AddressError::Brackets]);
        assert_eq!(error("mqtt://x:0"), AddressError::Port);
        assert_eq!(error("mqtt://x:y"), AddressError::Port);
        assert_eq!(error("mqtt://x/path"), AddressError::Path);
    }
}
