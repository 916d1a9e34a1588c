//! `examples/convert` on brokers of the tests' own: the same file, its two ports replaced.

use std::fs;
use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};

use crate::binary::workspace;

const FIELD: &str = "127.0.0.1:21883";
const CLOUD: &str = "127.0.0.1:21884";

/// The example's config between these two brokers.
pub fn config(field: SocketAddr, cloud: SocketAddr) -> Result<String> {
    let file = workspace().join("examples/convert/tidegate.toml");
    let text =
        fs::read_to_string(&file).with_context(|| format!("cannot read `{}`", file.display()))?;
    ensure!(
        text.contains(FIELD) && text.contains(CLOUD),
        "the example no longer names {FIELD} and {CLOUD}"
    );
    Ok(text
        .replace(FIELD, &field.to_string())
        .replace(CLOUD, &cloud.to_string()))
}
