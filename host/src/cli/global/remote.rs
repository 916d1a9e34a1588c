//! Another gateway than one of this machine: which one, how it is reached, and what is shown there.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::admin::{Client, ClientError, NetworkGateway, SshTarget, is_host_name};
use crate::cli::terminal::say;
use crate::link::{Secret, Tls};

/// Port of a URL that names none.
const PORT: u16 = 9_646;

/// Which gateway a command asks, where it is none of this machine.
#[derive(Clone, Debug, Default, Args)]
pub struct RemoteArguments {
    /// Ask the gateway there: ssh://user@host, which runs `tidegate` there, or the admin port at https://host:9646.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "TIDEGATE_GATEWAY",
        hide_env_values = true
    )]
    pub gateway: Option<String>,
    /// A file with the token to show at that admin port.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "TIDEGATE_TOKEN_FILE",
        hide_env_values = true
    )]
    pub token_file: Option<PathBuf>,
    /// The CA that its certificate comes from, instead of the system's.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "TIDEGATE_CA",
        hide_env_values = true
    )]
    pub ca: Option<PathBuf>,
    /// A certificate of our own, where it asks for one.
    #[arg(long, global = true, value_name = "FILE", requires = "client_key")]
    pub client_cert: Option<PathBuf>,
    /// The key that belongs to it.
    #[arg(long, global = true, value_name = "FILE", requires = "client_cert")]
    pub client_key: Option<PathBuf>,
}

/// Why a gateway elsewhere is not asked.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// What was written cannot be meant.
    #[error("{0}")]
    Usage(String),
    /// The token cannot be read.
    #[error("the token `{}`: {problem}", path.display())]
    Token {
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Nobody answers there, or nobody who would.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// What a URL means.
#[derive(Debug, PartialEq, Eq)]
enum Address {
    Ssh {
        user: Option<String>,
        host: String,
        port: Option<u16>,
    },
    Http {
        host: String,
        port: u16,
        is_tls: bool,
    },
}

impl RemoteArguments {
    /// The gateway there, if one is named; `data_dir` is its folder, where that can be told.
    ///
    /// # Errors
    /// The URL or a file cannot be used, or nobody answers.
    pub fn reach(&self, data_dir: Option<&Path>) -> Result<Option<Client>, RemoteError> {
        let Some(url) = &self.gateway else {
            return Ok(None);
        };
        let client = match parse(url).map_err(RemoteError::Usage)? {
            Address::Ssh { user, host, port } => Client::through_ssh(&SshTarget {
                user,
                host,
                port,
                data_dir: data_dir.map(|folder| folder.display().to_string()),
            })?,
            Address::Http { host, port, is_tls } => {
                if data_dir.is_some() {
                    return Err(RemoteError::Usage(
                        "--data-dir is for a gateway of this machine, or one behind ssh://; leave it out with an admin port"
                            .to_owned(),
                    ));
                }
                Client::dial(self.at_port(host, port, is_tls)?)?
            }
        };
        Ok(Some(client))
    }

    fn at_port(
        &self,
        host: String,
        port: u16,
        is_tls: bool,
    ) -> Result<NetworkGateway, RemoteError> {
        let read = |path: &PathBuf| {
            Secret::read(path).map_err(|problem| RemoteError::Token {
                path: path.clone(),
                problem,
            })
        };
        let token = self.token_file.as_ref().map(read).transpose()?;
        if token.is_some() && !is_tls && !is_of_this_machine(&host) {
            say("note: over http:// whoever listens on the way has the token");
        }
        let identity = self.client_cert.clone().zip(self.client_key.clone());
        let tls = is_tls.then(|| Tls {
            ca: self.ca.clone(),
            identity,
            ..Tls::default()
        });
        Ok(NetworkGateway {
            host,
            port,
            tls,
            token,
        })
    }
}

fn is_of_this_machine(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// What a URL means; whatever is wrong with it is said without what it says, since it may be a secret.
fn parse(url: &str) -> Result<Address, String> {
    const FORMS: &str =
        "write ssh://user@host, ssh://user@host:22, https://host:9646 or http://127.0.0.1:9646";
    let (scheme, rest) = url
        .split_once("://")
        .ok_or(format!("--gateway wants a URL: {FORMS}"))?;
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '?', '#']) {
        return Err(format!(
            "--gateway wants no path and nothing behind it: {FORMS}"
        ));
    }
    let (user, place) = match authority.rsplit_once('@') {
        Some((user, place)) => (Some(user), place),
        None => (None, authority),
    };
    let (host, port) = host_and_port(place).ok_or(format!("--gateway names no host: {FORMS}"))?;
    match (scheme, user) {
        ("ssh", user) => {
            let is_name = |user: &str| {
                let mut bytes = user.bytes();
                let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
                !user.is_empty() && !user.starts_with('-') && bytes.all(is_plain)
            };
            if user.is_some_and(|user| !is_name(user)) || host.starts_with('-') {
                return Err(format!("--gateway names nobody who could log in: {FORMS}"));
            }
            Ok(Address::Ssh {
                user: user.map(str::to_owned),
                host,
                port,
            })
        }
        ("http" | "https", Some(_)) => Err(
            "no token and no login in a URL, which gets logged: give --token-file the file with it"
                .to_owned(),
        ),
        ("http" | "https", None) => Ok(Address::Http {
            host,
            port: port.unwrap_or(PORT),
            is_tls: scheme == "https",
        }),
        _ => Err(format!("--gateway knows no such scheme: {FORMS}")),
    }
}

fn host_and_port(place: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            let port = match rest {
                "" => None,
                rest => Some(rest.strip_prefix(':')?),
            };
            (host, port)
        }
        None => match place.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    let port = port.map(str::parse).transpose().ok()?;
    is_host_name(host).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_how_a_gateway_is_reached() {
        let ssh = |user: Option<&str>, host: &str, port| Address::Ssh {
            user: user.map(str::to_owned),
            host: host.to_owned(),
            port,
        };
        let http = |host: &str, port, is_tls| Address::Http {
            host: host.to_owned(),
            port,
            is_tls,
        };
        for (url, expected) in [
            ("ssh://barn-7", ssh(None, "barn-7", None)),
            (
                "ssh://pi@barn-7:2222/",
                ssh(Some("pi"), "barn-7", Some(2222)),
            ),
            ("https://barn-7", http("barn-7", 9646, true)),
            ("https://[fe80::1]:1", http("fe80::1", 1, true)),
            ("http://127.0.0.1:80/", http("127.0.0.1", 80, false)),
        ] {
            assert_eq!(parse(url), Ok(expected), "{url}");
        }
    }

    #[test]
    fn what_is_no_such_url_is_refused_and_not_shown() {
        for url in [
            "S3CR3T",
            "ssh://-oProxyCommand=S3CR3T",
            "ssh://-x@host",
            "ssh://a;b@host",
            "ssh://host S3CR3T",
            "ssh://",
            "https://S3CR3T@host",
            "https://me:S3CR3T@host",
            "https://host/S3CR3T",
            "https://host?token=S3CR3T",
            "https://host:S3CR3T",
            "ftp://S3CR3T",
        ] {
            let words = parse(url).unwrap_err();
            assert!(!words.contains("S3CR3T"), "{url}: {words}");
        }
    }
}
