//! Whether a host is on this side of the line that somebody else may listen on.

use std::net::IpAddr;

/// Ends of names that no public name has.
const LOCAL: [&str; 6] = ["local", "localhost", "lan", "home.arpa", "internal", "test"];

/// Whether a host that is dialled is this machine or on its own network: by its address, or by a name that the public has not.
pub(super) fn is_within(host: &str) -> bool {
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    // A zone names an interface of this machine.
    let (address, zone) = match name.split_once('%') {
        Some((address, _)) => (address, true),
        None => (&*name, false),
    };
    match address.parse::<IpAddr>() {
        Ok(address) => zone || is_private(address.to_canonical()),
        Err(_) => {
            !name.contains('.')
                || LOCAL.iter().any(|end| {
                    name.strip_suffix(end)
                        .is_some_and(|rest| rest.ends_with('.'))
                })
        }
    }
}

/// Whether a port that listens there can be reached from every network that this machine is in.
pub(super) fn is_everywhere(host: &str) -> bool {
    host.parse::<IpAddr>()
        .is_ok_and(|address| address.to_canonical().is_unspecified())
}

/// Whether it is this machine.
pub(super) fn is_loopback(host: &str) -> bool {
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    match name.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => name == "localhost" || name.ends_with(".localhost"),
    }
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            address.is_loopback()
                || address.is_private()
                || address.is_link_local()
                || address.is_unspecified()
        }
        IpAddr::V6(address) => {
            address.is_loopback()
                || address.is_unspecified()
                || address.is_unique_local()
                || address.is_unicast_link_local()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_this_site_is_told_by_address_and_name() {
        for host in [
            "127.0.0.1",
            "127.8.8.8",
            "::1",
            "::ffff:10.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.7.7",
            "169.254.1.1",
            "fe80::1",
            "fe80::1%eth0",
            "fd00::7",
            "localhost",
            "broker",
            "broker.local",
            "Broker.LOCAL.",
            "nas.lan",
            "x.home.arpa",
            "db.internal",
        ] {
            assert!(is_within(host), "{host}");
        }
        for host in [
            "8.8.8.8",
            "172.32.0.1",
            "172.15.0.1",
            "192.169.0.1",
            "100.64.0.1",
            "2001:db8::1",
            "::ffff:8.8.8.8",
            "ingest.example.com",
            "local.example.com",
            "mylocal.com",
            "notlan.de",
        ] {
            assert!(!is_within(host), "{host}");
        }
    }

    #[test]
    fn this_machine_is_told_from_its_network() {
        for host in ["127.0.0.1", "::1", "localhost", "LOCALHOST.", "a.localhost"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["0.0.0.0", "::", "192.168.0.1", "broker.local", "fe80::1"] {
            assert!(!is_loopback(host), "{host}");
        }
        assert!(is_everywhere("0.0.0.0") && is_everywhere("::") && !is_everywhere("10.0.0.1"));
    }
}
