//! A connection to a broker as [`crate::link`] dials it.

use std::sync::Arc;

use super::manners::Manners;
use super::{Config, Connection, Error, Established};
use crate::link::{self, Backoff, Dial, LinkMetrics, SecretFiles, Tls};

/// One connection to a broker that is dialled again whenever it is lost.
pub type BrokerRedial = link::Redial<BrokerDialler>;

/// Dials one broker, always in the same way.
#[derive(Debug)]
pub struct BrokerDialler {
    config: Config,
    manners: Arc<Manners>,
}

impl BrokerRedial {
    /// Ready to dial for `name` of `stage`.
    pub fn to(config: Config, stage: &'static str, name: Arc<str>, metrics: &LinkMetrics) -> Self {
        let manners = Manners::new(stage, Arc::clone(&name), metrics.strays(&name));
        let dialler = BrokerDialler {
            config,
            manners: Arc::new(manners),
        };
        Self::new(dialler, stage, name, metrics)
    }

    /// The broker granted what is needed.
    pub fn online(&mut self, established: &Established) {
        let failures_before = self.stands();
        let (stage, name) = self.owner();
        let Config { host, port, .. } = &self.dialled().config;
        tracing::info!(stage, %name, broker = %format_args!("{host}:{port}"), protocol = ?established.protocol,
            receive_maximum = established.receive_maximum, failures_before, "online");
    }
}

impl Dial for BrokerDialler {
    type Up = (Connection, Established);
    type Error = Error;

    async fn dial(&self, unanswered: u32) -> Result<Self::Up, Error> {
        let (mut connection, established) = Connection::open(&self.config).await?;
        connection.mind(Arc::clone(&self.manners));
        connection.be_patient(1 << unanswered);
        if let Some(will) = &self.config.will {
            connection.announce(will, &established);
        }
        Ok((connection, established))
    }

    fn id(&self) -> &str {
        &self.config.client_id
    }

    fn backoff(&self) -> Backoff {
        self.config.backoff
    }

    fn files(&self) -> SecretFiles {
        let login = self.config.login.as_ref();
        let password = login.and_then(|login| login.password.as_ref());
        SecretFiles::of(password, self.config.tls.iter().flat_map(Tls::paths))
    }

    fn complaint(&self) -> &'static str {
        "no connection to the broker"
    }
}
