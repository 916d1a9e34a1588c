//! `tidegate broker`: the embedded broker as a process of its own, for demo and tests. Hidden.

use std::net::SocketAddr;

use clap::Args;

use crate::demo::broker;
use crate::exit::Exit;

use super::sim::failed;

/// Arguments of `tidegate broker`.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// Loopback address and port; port 0 takes a free one, which is printed.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
}

/// Why there is no broker.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot start the network's runtime")]
    Runtime(#[source] std::io::Error),
    #[error(transparent)]
    Broker(#[from] broker::Error),
}

/// Runs until a signal, or until standard input, if it is a pipe, is closed.
pub fn run(arguments: &Arguments) -> Exit {
    match serve(arguments.listen) {
        Ok(()) => Exit::Done,
        Err(error) => failed(&error),
    }
}

fn serve(listen: SocketAddr) -> Result<(), Error> {
    // One thread: the broker shares two cores with the gateway and the devices it is there for.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::Runtime)?;
    Ok(runtime.block_on(broker::run(listen))?)
}
