//! Whether there is a way into a database.

use std::sync::Arc;

use super::wire::PostgresWire;
use super::{Config, Error};

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
