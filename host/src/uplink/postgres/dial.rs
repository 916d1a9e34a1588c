//! How a way into a database begins: it is dialled, and the table is looked up.

use std::sync::{Arc, Mutex};

use super::super::batch::{Patience, Unproven};
use super::wire::PostgresWire;
use super::{Config, Error, PostgresCarrier};
use crate::link::{Backoff, Dial, SecretFiles, Tls};

/// Dials one database, always in the same way.
#[derive(Debug)]
pub(in super::super) struct DatabaseDialler {
    config: Arc<Config>,
    unproven: Unproven,
    patience: Arc<Mutex<Patience>>,
}

impl DatabaseDialler {
    pub(super) fn new(config: Config) -> Self {
        Self {
            config: Arc::new(config),
            unproven: Unproven::default(),
            patience: Arc::default(),
        }
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }
}

impl Dial for DatabaseDialler {
    type Up = PostgresCarrier;
    type Error = Error;

    async fn dial(&self, _: u32) -> Result<PostgresCarrier, Error> {
        let wire = Box::pin(PostgresWire::open(&self.config)).await?;
        let known = (self.unproven.clone(), Arc::clone(&self.patience));
        Ok(PostgresCarrier::new(Arc::clone(&self.config), wire, known))
    }

    fn id(&self) -> &str {
        &self.config.id
    }

    fn backoff(&self) -> Backoff {
        self.config.backoff
    }

    fn files(&self) -> SecretFiles {
        SecretFiles::of(
            &self.config.password,
            self.config.tls.iter().flat_map(Tls::paths),
        )
    }

    fn complaint(&self) -> &'static str {
        "no way into the database"
    }
}

/// Logs in, looks the table up, and leaves.
pub(in super::super) async fn reach(config: &Config) -> Result<String, Error> {
    // Whoever only looks makes nothing.
    let config = Arc::new(Config {
        create: false,
        ..config.clone()
    });
    let wire = Box::pin(PostgresWire::open(&config)).await?;
    let key = wire.table.key.join("`, `");
    wire.close().await;
    let repeats = if key.is_empty() {
        "no unique index has the id: what is sent twice is stored twice".to_owned()
    } else {
        format!("repeats are known by `{key}`")
    };
    Ok(format!("the table is there and takes rows; {repeats}"))
}
