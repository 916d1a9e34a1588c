//! Who may come in: the token that a request shows, and the certificates of a connection. Both are read anew while they are
//! used, since they are renewed.

use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::TlsAcceptor;

use super::Config;
use crate::link::{Error, Secret, build_server};

/// How often a token and certificates are read anew: they are renewed, some each hour.
pub(super) const READ_AGAIN: Duration = Duration::from_secs(60);

/// The pauses until they are read once more, where they could not be, or where the token was another one: it may be being written at
/// that moment.
pub(super) const READ_SOON: [Duration; 4] = [
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(16),
];

/// The token and certificates of a moment.
#[derive(Clone)]
pub(super) struct Gate {
    token: Option<Secret>,
    pub(super) tls: Option<TlsAcceptor>,
}

impl Gate {
    /// Reads the files, on a thread that may wait for the disk.
    pub(super) async fn read(config: &Config) -> Result<Self, Error> {
        let config = config.clone();
        match tokio::task::spawn_blocking(move || Self::read_now(&config)).await {
            Ok(read) => read,
            Err(stopped) => Err(Error::Broken(std::io::Error::other(stopped))),
        }
    }

    fn read_now(config: &Config) -> Result<Self, Error> {
        let token = match config.token.as_ref().and_then(Secret::file) {
            Some(path) => Some(Secret::read(path).map_err(|problem| Error::File {
                path: path.to_path_buf(),
                problem,
            })?),
            None => config.token.clone(),
        };
        let tls = match &config.tls {
            Some(tls) => Some(TlsAcceptor::from(Arc::new(build_server(tls)?))),
            None => None,
        };
        Ok(Self { token, tls })
    }

    /// Whether its token is the other one's.
    pub(super) fn has_token_of(&self, other: &Self) -> bool {
        let text = |gate: &Self| gate.token.as_ref().map(|token| token.reveal().to_owned());
        text(self) == text(other)
    }

    /// Whether a token is wanted.
    pub(super) fn wants_token(&self) -> bool {
        self.token.is_some()
    }

    /// Whether a request with this `Authorization` may come in.
    pub(super) fn lets_in(&self, authorization: Option<&[u8]>) -> bool {
        let Some(token) = &self.token else {
            return true;
        };
        let shown = authorization.and_then(|value| {
            let (scheme, shown) = value.split_at_checked(7)?;
            scheme.eq_ignore_ascii_case(b"bearer ").then_some(shown)
        });
        shown.is_some_and(|shown| token.is_shown(shown.trim_ascii()))
    }

    #[cfg(test)]
    pub(super) fn with_token(token: Option<&str>) -> Self {
        Self {
            token: token.map(Secret::new),
            tls: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use prometheus::Registry;
    use tokio::sync::mpsc;

    use super::super::visit::Room;
    use super::super::{BodySplit, PathTopic};
    use super::*;
    use crate::link::{Backoff, ServerTls};
    use crate::source::{self, SourceKind};

    #[tokio::test]
    async fn a_certificate_that_is_half_renewed_is_told_until_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let renewed = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let at = |name: &str| folder.path().join(name);
        let put = |name: &str, pem: String| std::fs::write(at(name), pem).unwrap();
        let (first, second) = (renewed(), renewed());
        put("cert", first.cert.pem());
        put("key", first.signing_key.serialize_pem());
        let own = Config {
            host: "127.0.0.1".to_owned(),
            port: 0,
            tls: Some(ServerTls {
                identity: (at("cert"), at("key")),
                client_ca: None,
            }),
            token: None,
            topic: PathTopic::any(),
            split: BodySplit::None,
            headers: Vec::new(),
            max_body_bytes: 1 << 10,
            max_frame_bytes: 1 << 10,
            keep_alive: Duration::from_secs(30),
            origins: Vec::new(),
            settle_within: Duration::from_secs(1),
            max_connections: 1,
            backoff: Backoff::default(),
        };
        let config = source::Config {
            name: "field".into(),
            kind: SourceKind::Http(Box::new(own.clone())),
            routes: Vec::new(),
            late: Vec::new(),
            max_unsettled_bytes: 1 << 20,
            max_topic_bytes: 100,
            max_payload_bytes: 1_000,
            devices: None,
        };
        let metrics = source::Metrics::new(&Registry::new()).unwrap();
        let (ask, _asked) = mpsc::channel(1);
        let gate = Gate::read(&own).await.unwrap();
        let room = Arc::new(Room::new(&config, &own, gate, &metrics, (ask.clone(), ask)));
        let conditions = || metrics.account("field", Instant::now()).conditions;
        put("cert", second.cert.pem());
        room.read_gate_again(&own);
        while conditions().is_empty() {
            tokio::task::yield_now().await;
        }
        let told = conditions().remove(0);
        assert!(
            told.kind == "not-renewed" && told.words.contains("those of before hold"),
            "{told:?}"
        );
        put("key", second.signing_key.serialize_pem());
        room.read_gate_again(&own);
        while !conditions().is_empty() {
            tokio::task::yield_now().await;
        }
    }

    #[test]
    fn only_the_token_itself_lets_in() {
        let gate = Gate::with_token(Some("hunter2"));
        for good in ["Bearer hunter2", "bearer hunter2", "BEARER  hunter2 "] {
            assert!(gate.lets_in(Some(good.as_bytes())), "{good}");
        }
        for bad in [
            "",
            "hunter2",
            "Bearer",
            "Bearer ",
            "Bearer hunter",
            "Bearer hunter22",
            "Bearer Hunter2",
            "Basic hunter2",
        ] {
            assert!(!gate.lets_in(Some(bad.as_bytes())), "{bad}");
        }
        assert!(!gate.lets_in(None) && Gate::with_token(None).lets_in(None));
    }
}
