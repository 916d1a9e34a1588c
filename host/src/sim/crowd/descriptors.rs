//! Each connection is a file descriptor, and a shell allows few.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What a simulation needs beside its connections: the watchers, the runtime, the standard streams.
const BESIDE: u64 = 64;

/// So many connections are not allowed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{connections} connections need {needed} file descriptors, and {allowed} are allowed: as root, `ulimit -Hn {needed}` in this shell"
)]
pub struct TooFewDescriptors {
    connections: u32,
    needed: u64,
    allowed: u64,
}

/// Raises this process's own limit as far as so many connections need.
pub(in crate::sim) fn allow(connections: u32) -> Result<(), TooFewDescriptors> {
    let needed = u64::from(connections) + BESIDE;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let raised = Rlimit {
        current: Some(needed),
        maximum: limit.maximum,
    };
    let allowed = limit.maximum.unwrap_or(u64::MAX);
    if needed > allowed || setrlimit(Resource::Nofile, raised).is_err() {
        return Err(TooFewDescriptors {
            connections,
            needed,
            allowed,
        });
    }
    Ok(())
}
