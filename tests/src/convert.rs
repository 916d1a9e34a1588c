//! `examples/convert` on brokers of the tests' own: the same file, its two ports replaced.

use std::fs;
use std::net::SocketAddr;

use anyhow::{Context, Result};

use crate::binary::workspace;
use crate::config::Config;

/// The example's config between these two brokers.
pub fn config(field: SocketAddr, cloud: SocketAddr) -> Result<Config> {
    example("convert").map(|example| {
        example
            .change("source.field.url", format!("mqtt://{field}"))
            .change("uplink.cloud.url", format!("mqtt://{cloud}"))
    })
}

/// The config of `examples/NAME`, as it is shipped.
pub fn example(name: &str) -> Result<Config> {
    let file = workspace().join(format!("examples/{name}/tidegate.toml"));
    let text =
        fs::read_to_string(&file).with_context(|| format!("cannot read `{}`", file.display()))?;
    Ok(Config::read(&text))
}
