//! Under which names the admin port is asked. A page in a browser that has a name of its own lead here (DNS rebinding) does
//! not ask under one of them, and neither does one from elsewhere.

use std::net::{IpAddr, SocketAddr};

use axum::extract::Request;
use axum::http::{HeaderMap, Version, header};

/// What is wrong with the name that a request was made under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MisnamedRequest {
    /// None, or several, where there has to be one.
    Unclear,
    /// It is somebody else's.
    Foreign,
    /// A page from elsewhere asks.
    Page,
}

/// The names that are ours.
#[derive(Clone, Debug)]
pub(super) struct Hosts {
    own: Option<IpAddr>,
    named: Vec<String>,
}

impl Hosts {
    /// Of a port that listens there; those of the loopback are among them.
    pub(super) fn new(listen: SocketAddr, named: &[String]) -> Self {
        let own = listen.ip().to_canonical();
        Self {
            own: (!own.is_unspecified()).then_some(own),
            named: named.to_vec(),
        }
    }

    /// Looks at the request's target, its `Host` and its `Origin`.
    pub(super) fn check(&self, request: &Request) -> Result<(), MisnamedRequest> {
        let headers = request.headers();
        if !all(headers, header::ORIGIN, |origin| self.is_own_page(origin)) {
            return Err(MisnamedRequest::Page);
        }
        let target = request.uri().authority();
        let hosts = headers.get_all(header::HOST).iter().count();
        let is_silent = hosts == 0 && request.version() >= Version::HTTP_11;
        if hosts > 1 || is_silent {
            return Err(MisnamedRequest::Unclear);
        }
        let is_ours = target.is_none_or(|target| self.has(target.as_str()))
            && all(headers, header::HOST, |host| self.has(host));
        is_ours.then_some(()).ok_or(MisnamedRequest::Foreign)
    }

    /// Whether this is one of our names, with or without a port.
    fn has(&self, host: &str) -> bool {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        let address = name
            .strip_prefix('[')
            .and_then(|name| name.strip_suffix(']'))
            .unwrap_or(name);
        if let Ok(address) = address.parse::<IpAddr>() {
            let address = address.to_canonical();
            let is_named = |named: &String| named.parse() == Ok(address);
            return address.is_loopback()
                || self.own == Some(address)
                || self.named.iter().any(is_named);
        }
        let is_same = |named: &str| named.eq_ignore_ascii_case(name.trim_end_matches('.'));
        is_same("localhost") || self.named.iter().any(|named| is_same(named))
    }

    /// Whether an `Origin` header names a page of our own; one that has none to name says `null`.
    fn is_own_page(&self, origin: &str) -> bool {
        origin
            .split_once("://")
            .is_some_and(|(_, host)| self.has(host))
    }
}

/// Whether every header of this name is as it has to be.
fn all(headers: &HeaderMap, name: header::HeaderName, fits: impl Fn(&str) -> bool) -> bool {
    let mut values = headers.get_all(name).iter();
    values.all(|value| value.to_str().is_ok_and(&fits))
}

/// Whether this may be one of the names: a host name or an address, without a port.
pub fn is_host_name(text: &str) -> bool {
    let is_label = |label: &str| {
        let mut bytes = label.bytes();
        !label.is_empty() && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    text.parse::<IpAddr>().is_ok() || (text.len() <= 253 && text.split('.').all(is_label))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn of(listen: &str) -> Hosts {
        let named = ["barn-7.example".to_owned(), "2001:db8::7".to_owned()];
        Hosts::new(listen.parse().unwrap(), &named)
    }

    #[test]
    fn only_pages_of_our_own_may_ask() {
        let hosts = of("127.0.0.1:9646");
        for own in [
            "http://localhost:9646",
            "http://127.0.0.1",
            "http://[::1]:1",
            "https://barn-7.example",
        ] {
            assert!(hosts.is_own_page(own), "{own}");
        }
        for foreign in [
            "null",
            "",
            "http://evil.example",
            "https://localhost.evil.example:9646",
            "localhost",
        ] {
            assert!(!hosts.is_own_page(foreign), "{foreign}");
        }
    }

    #[test]
    fn only_our_names_are_answered() {
        let hosts = of("192.168.0.7:9646");
        for host in [
            "localhost",
            "LocalHost:9646",
            "127.0.0.1:9646",
            "127.1.2.3",
            "[::1]:9646",
            "[::1]",
            "192.168.0.7:80",
            "[::ffff:192.168.0.7]",
            "Barn-7.Example.",
            "barn-7.example:443",
            "[2001:db8::7]:80",
        ] {
            assert!(hosts.has(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:9646",
            "localhost.evil.example",
            "192.168.0.8",
            "0.0.0.0",
            "[2001:db8::1]:80",
            "::1:x",
            "evil@localhost",
            "localhost@evil.example",
        ] {
            assert!(!hosts.has(host), "{host}");
        }
        assert!(!of("0.0.0.0:1").has("0.0.0.0") && !of("127.0.0.1:1").has("192.168.0.7"));
    }

    #[test]
    fn a_target_with_a_name_of_its_own_is_held_to_it() {
        let hosts = of("127.0.0.1:9646");
        let asked = |target: &str, version: Version, own: &[&str]| {
            let mut request = Request::builder().uri(target).version(version);
            for host in own {
                request = request.header(header::HOST, *host);
            }
            hosts.check(&request.body(Body::empty()).unwrap())
        };
        let (new, old) = (Version::HTTP_11, Version::HTTP_10);
        let local: &[&str] = &["localhost"];
        assert_eq!(asked("/", new, local), Ok(()));
        assert_eq!(asked("http://localhost:1/", new, local), Ok(()));
        for target in ["http://evil/", "http://x@evil/", "evil:80"] {
            assert_eq!(asked(target, new, local), Err(MisnamedRequest::Foreign));
            assert_eq!(asked(target, old, &[]), Err(MisnamedRequest::Foreign));
        }
        assert_eq!(asked("/", old, &[]), Ok(()));
        assert_eq!(asked("/", new, &[]), Err(MisnamedRequest::Unclear));
        let twice: &[&str] = &["localhost", "localhost"];
        assert_eq!(asked("/", new, twice), Err(MisnamedRequest::Unclear));
    }

    #[test]
    fn a_name_has_no_port_and_no_path() {
        for good in ["barn-7", "barn-7.example", "10.0.0.7", "fe80::1"] {
            assert!(is_host_name(good), "{good}");
        }
        for bad in [
            "",
            "https://barn-7",
            "barn-7:443",
            "barn-7/",
            "*.example",
            "a b",
        ] {
            assert!(!is_host_name(bad), "{bad}");
        }
    }
}
