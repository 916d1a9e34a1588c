//! What two would want that one can have: a client id, an address to listen at, a serial line, a folder.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use crate::admin;
use crate::config::address::BrokerIdentity;
use crate::config::check::Check;
use crate::config::identity::ClientIdentity;
use crate::config::problem::code::ProblemCode;
use crate::config::sources::spec::SourceSpec;
use crate::config::tree::Place;
use crate::file;
use crate::source;
use crate::uplink;

/// Something of which there is one.
#[derive(Debug, PartialEq, Eq)]
enum Thing {
    Port {
        host: String,
        port: u16,
    },
    /// The same for datagrams, beside which another one may have connections.
    Datagrams {
        host: String,
        port: u16,
    },
    Line(PathBuf),
    Folder(PathBuf),
    /// Of a stream, at a server.
    Consumer {
        server: BrokerIdentity,
        stream: String,
        consumer: String,
    },
}

/// Refuses that two sources or two uplinks have one thing, or one of them what is the admin port's, or the gateway's own.
pub(super) fn refuse(
    check: &Check<'_>,
    sources: &[(SourceSpec, Place)],
    uplinks: &[(uplink::Config, Place)],
    admin: &admin::Config,
    data_dir: &Path,
) {
    refuse_own_folder(check, uplinks, data_dir);
    let listening = Thing::Port {
        host: admin.listen.ip().to_string(),
        port: admin.listen.port(),
    };
    let mut all = vec![("admin.listen".to_owned(), listening)];
    let of_sources = sources.iter().map(|(source, place)| {
        let path = format!("source.{}", source.name);
        (path, Thing::of_source(&source.kind), *place)
    });
    let of_uplinks = uplinks.iter().map(|(uplink, place)| {
        let path = format!("uplink.{}", uplink.name);
        (path, Thing::of_uplink(&uplink.kind), *place)
    });
    for (path, thing, place) in of_sources.chain(of_uplinks) {
        let Some(thing) = thing else {
            continue;
        };
        if let Some((other, _)) = all.iter().find(|(_, other)| thing.is_also(other)) {
            let (what, hint) = thing.words();
            let message = format!("`{other}` and `{path}` have one {what}");
            check.problem(ProblemCode::Conflict, place, message, hint.to_owned());
        }
        all.push((path, thing));
    }
}

impl Thing {
    fn of_source(kind: &source::SourceKind) -> Option<Self> {
        let facts = kind.facts();
        if let Some(at) = facts.listens {
            let (host, port) = (at.host.to_owned(), at.port);
            return Some(if at.is_datagrams {
                Self::Datagrams { host, port }
            } else {
                Self::Port { host, port }
            });
        }
        if let Some(line) = facts.line {
            return Some(Self::Line(led_to(line)));
        }
        facts.consumer.map(|its| Self::Consumer {
            server: BrokerIdentity::at(its.host, its.port),
            stream: its.stream.to_owned(),
            consumer: its.consumer.to_owned(),
        })
    }

    fn of_uplink(kind: &uplink::UplinkKind) -> Option<Self> {
        match kind {
            uplink::UplinkKind::File(file) => Some(Self::Folder(led_to(&file.folder))),
            _ => None,
        }
    }

    fn is_also(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Port { host, port },
                Self::Port {
                    host: one,
                    port: its,
                },
            )
            | (
                Self::Datagrams { host, port },
                Self::Datagrams {
                    host: one,
                    port: its,
                },
            ) => {
                // An unknown host has been told of already; port 0 takes a free one.
                port == its && *port != 0 && !host.is_empty() && meet(host, one)
            }
            // The same.
            (Self::Folder(path), Self::Folder(_)) => self == other && !path.as_os_str().is_empty(),
            _ => self == other,
        }
    }

    fn words(&self) -> (String, &'static str) {
        match self {
            Self::Port { port, .. } | Self::Datagrams { port, .. } => (
                format!("address to listen at, port {port}"),
                "only the first of them could: give each a port of its own",
            ),
            Self::Line(_) => (
                "serial line".to_owned(),
                "what one of them reads the other does not get: one source has the line",
            ),
            Self::Consumer { .. } => (
                "consumer".to_owned(),
                "what one of them gets the other does not, nor do its flows: make another consumer of the stream, or give the flows one source",
            ),
            Self::Folder(_) => (
                "folder".to_owned(),
                "each would count and delete what the other has written: give each a folder of its own",
            ),
        }
    }
}

/// Refuses a folder for files that lies in the gateway's own, or around it.
fn refuse_own_folder(check: &Check<'_>, uplinks: &[(uplink::Config, Place)], data_dir: &Path) {
    let own = led_to(data_dir);
    for (uplink, place) in uplinks {
        let uplink::UplinkKind::File(file) = &uplink.kind else {
            continue;
        };
        let folder = led_to(&file.folder);
        // One that is no folder's path has been told of already.
        if own.parent().is_none() || folder.parent().is_none() {
            continue;
        }
        let name = &uplink.name;
        let message = if folder.starts_with(&own) {
            format!("`uplink.{name}` writes into the gateway's data folder")
        } else if own.starts_with(&folder) {
            format!("the gateway's data folder lies in the one that `uplink.{name}` writes into")
        } else {
            continue;
        };
        let hint = "what is in the data folder is the gateway's alone, goes with it, and holds its keys: give the files a folder elsewhere";
        check.problem(ProblemCode::Conflict, *place, message, hint.to_owned());
    }
}

/// Whether two that listen at these hosts would want the same port.
fn meet(one: &str, other: &str) -> bool {
    let at = |host: &str| match host.trim_matches(['[', ']']) {
        name if name.eq_ignore_ascii_case("localhost") => Some(IpAddr::from(Ipv4Addr::LOCALHOST)),
        host => host.parse::<IpAddr>().ok(),
    };
    match (at(one), at(other)) {
        (Some(one), Some(other)) => {
            let is_any =
                |ip: IpAddr, of: IpAddr| ip.is_unspecified() && (ip.is_ipv6() || of.is_ipv4());
            one == other || is_any(one, other) || is_any(other, one)
        }
        _ => one.eq_ignore_ascii_case(other),
    }
}

/// Where a path leads to, as far as there is something.
fn led_to(path: &Path) -> PathBuf {
    let own = path.to_owned();
    let known = file::within(path, move || {
        let found = own.ancestors().find_map(|ancestor| {
            let rest = own.strip_prefix(ancestor).ok()?;
            Some(fs::canonicalize(ancestor).ok()?.join(rest))
        });
        Ok(found)
    });
    let known = known.ok().flatten();
    let known = known.unwrap_or_else(|| path.to_path_buf());
    known.components().collect()
}

pub(super) fn refuse_client_ids(check: &Check<'_>, identities: &[ClientIdentity]) {
    for (index, one) in identities.iter().enumerate() {
        let twin = |other: &&ClientIdentity| {
            other.mqtt.client_id == one.mqtt.client_id
                && BrokerIdentity::of(&other.mqtt) == BrokerIdentity::of(&one.mqtt)
        };
        let unknown_broker = one.mqtt.host.is_empty();
        if let Some(other) = identities[..index]
            .iter()
            .find(twin)
            .filter(|_| !unknown_broker)
        {
            let message = format!(
                "`{}` and `{}` have the client id `{}` at one broker",
                other.path, one.path, one.mqtt.client_id
            );
            let hint = "they would throw each other out: give each its own `client_id`".to_owned();
            check.problem(ProblemCode::ClientId, one.place, message, hint);
        }
    }
}
