//! Ports that the gateway wants, and names that it has to look up.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::finding::{Finding, FindingLevel};
use super::machine::Machine;

/// The state of a socket that listens.
const LISTENS: &str = "0A";

/// A port that the config has, and whose it is.
#[derive(Clone, Debug)]
pub(super) struct WantedPort {
    /// Whose it is, as `admin` or `source.web`.
    pub(super) of: String,
    pub(super) at: SocketAddr,
}

/// A name that the config has, and what it was found to be.
#[derive(Clone, Debug)]
pub(super) struct WantedName {
    pub(super) of: String,
    pub(super) host: String,
    pub(super) addresses: Result<Vec<IpAddr>, String>,
}

/// Ports, of a gateway that does not run: which of them somebody else has.
pub(super) fn ports(machine: &Machine, ports: &[WantedPort]) -> Vec<Finding> {
    let taken = listening(machine);
    let conflict = |port: &WantedPort| {
        let other = taken.iter().find(|other| meets(**other, port.at))?;
        Some(Finding::of(
            FindingLevel::Failed,
            "ports",
            format!(
                "{} wants {}, and another program listens at {other}",
                port.of, port.at
            ),
            "the port is tried again and again, and until it is free nothing can be asked or posted there",
            format!(
                "see who it is: ss -ltnp 'sport = :{}'; or name another port in the config",
                other.port()
            ),
        ))
    };
    let wanted = ports.iter().filter(|port| port.at.port() != 0);
    let mut found: Vec<Finding> = wanted.filter_map(conflict).collect();
    if found.is_empty() {
        found.push(Finding::ok("ports", "nobody else has them"));
    }
    found
}

fn meets(other: SocketAddr, own: SocketAddr) -> bool {
    let is_any = |address: IpAddr| address.is_unspecified();
    let (one, two) = (other.ip().to_canonical(), own.ip().to_canonical());
    other.port() == own.port()
        && (one == two
            || (is_any(one) && (one.is_ipv6() || two.is_ipv4()))
            || (is_any(two) && (two.is_ipv6() || one.is_ipv4())))
}

fn listening(machine: &Machine) -> Vec<SocketAddr> {
    let of = |path: &str| {
        let text = machine.text(path).unwrap_or_default();
        text.lines().skip(1).filter_map(socket).collect::<Vec<_>>()
    };
    [of("proc/net/tcp"), of("proc/net/tcp6")].concat()
}

/// `  0: 0100007F:25AE 00000000:0000 0A …`: words of 32 bits, each in the byte order of the machine.
fn socket(line: &str) -> Option<SocketAddr> {
    let mut words = line.split_whitespace().skip(1);
    let (local, _, state) = (words.next()?, words.next()?, words.next()?);
    let (address, port) = local.split_once(':').filter(|_| state == LISTENS)?;
    let word = |at: usize| {
        let part = address.get(8 * at..8 * at + 8)?;
        u32::from_str_radix(part, 16).ok().map(u32::to_ne_bytes)
    };
    let ip = if address.len() == 8 {
        IpAddr::V4(Ipv4Addr::from(word(0)?))
    } else {
        let mut bytes = [0; 16];
        for at in 0..4 {
            bytes[4 * at..4 * at + 4].copy_from_slice(&word(at)?);
        }
        IpAddr::V6(Ipv6Addr::from(bytes))
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

pub(super) fn names(machine: &Machine, names: &[WantedName]) -> Vec<Finding> {
    let mut found = Vec::new();
    if !names.is_empty() && !has_resolver(machine) {
        let what = "/etc/resolv.conf names no server";
        let why = "no name can be looked up, and so nothing is connected to";
        let mend = "resolvectl status; or name the brokers by their addresses";
        found.push(Finding::of(FindingLevel::Failed, "names", what, why, mend));
    }
    let has_v6 = has_global_v6(machine);
    found.extend(names.iter().filter_map(|name| name_of(name, has_v6)));
    if found.is_empty() && !names.is_empty() {
        found.push(Finding::ok("names", format!("{} found", names.len())));
    }
    found
}

fn name_of(name: &WantedName, has_v6: bool) -> Option<Finding> {
    let (of, host) = (&name.of, &name.host);
    match &name.addresses {
        Err(error) => Some(Finding::of(
            FindingLevel::Failed,
            "names",
            format!("{of}: {host} is not found: {error}"),
            "without its address nothing is sent to it; what is owed waits",
            format!(
                "getent hosts {host}; a name that ends in .local wants: apt install libnss-mdns"
            ),
        )),
        Ok(addresses) if !has_v6 && addresses.iter().all(IpAddr::is_ipv6) => Some(Finding::of(
            FindingLevel::Failed,
            "names",
            format!(
                "{of}: {host} has IPv6 addresses only, and this machine has none that leads out"
            ),
            "it cannot be reached",
            "ip -6 addr; ask the network for IPv6, or the other side for an IPv4 address",
        )),
        Ok(_) => None,
    }
}

fn has_resolver(machine: &Machine) -> bool {
    let text = machine.text("etc/resolv.conf").unwrap_or_default();
    text.lines()
        .any(|line| line.trim_start().starts_with("nameserver"))
}

/// Whether an address is there that is good beyond the own link: the scope of the fourth column is 0 then.
fn has_global_v6(machine: &Machine) -> bool {
    let text = machine.text("proc/net/if_inet6").unwrap_or_default();
    let is_global = |line: &str| line.split_whitespace().nth(3) == Some("00");
    text.lines().any(is_global)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_of_the_kernel_s_list_is_read() {
        let v4 = u32::from_ne_bytes([127, 0, 0, 1]);
        let line = format!("   0: {v4:08X}:25AE 00000000:0000 0A 00000000:00000000 00:00000000");
        assert_eq!(socket(&line), Some("127.0.0.1:9646".parse().unwrap()));
        assert_eq!(socket(&line.replace(" 0A ", " 01 ")), None);
        let last = u32::from_ne_bytes([0, 0, 0, 1]);
        let line = format!(
            "   1: 000000000000000000000000{last:08X}:25AE {:032X}:0000 0A",
            0
        );
        assert_eq!(socket(&line), Some("[::1]:9646".parse().unwrap()));
        for line in ["", "0: x 0 0A", "0: ffff:zz 0 0A", "0: äöü:1 0 0A"] {
            assert_eq!(socket(line), None, "{line}");
        }
    }

    #[test]
    fn a_port_is_taken_by_whoever_listens_everywhere() {
        let meet = |other: &str, own: &str| meets(other.parse().unwrap(), own.parse().unwrap());
        assert!(meet("0.0.0.0:80", "127.0.0.1:80") && meet("[::]:80", "127.0.0.1:80"));
        assert!(meet("127.0.0.1:80", "0.0.0.0:80") && meet("127.0.0.1:80", "127.0.0.1:80"));
        assert!(!meet("127.0.0.1:80", "127.0.0.1:81") && !meet("127.0.0.2:80", "127.0.0.1:80"));
        assert!(!meet("0.0.0.0:80", "[::1]:80") && !meet("192.168.0.1:80", "127.0.0.1:80"));
    }
}
