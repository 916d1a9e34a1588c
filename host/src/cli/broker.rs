//! `tidegate broker`: the embedded broker as a process of its own, for demo and tests. Hidden.

use std::net::SocketAddr;
use std::process::ExitCode;

use crate::demo::broker;

/// What it is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Loopback address and port; port 0 takes a free one, which is printed
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
}

/// Why there is no broker.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No runtime.
    #[error("cannot start the network's runtime")]
    Runtime(#[source] std::io::Error),
    /// The broker itself.
    #[error(transparent)]
    Broker(#[from] broker::Error),
}

/// Runs until a signal, or until standard input, if it is a pipe, is closed.
pub fn run(args: &Args) -> Result<ExitCode, Error> {
    // One thread: the broker shares two cores with the gateway and the devices it is there for.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Runtime)?;
    runtime.block_on(broker::run(args.listen))?;
    Ok(ExitCode::SUCCESS)
}
