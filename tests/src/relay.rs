//! The bare relay that the gateway is measured against, as a process.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::process::Process;
use crate::{Broker, wait_until};

/// Starts the relay `program`: what the first topic filter matches on `field` goes to the topic on `cloud`.
pub fn start(
    program: &Path,
    field: &Broker,
    cloud: &Broker,
    [filter, topic]: [&str; 2],
) -> Result<Process> {
    let mut command = Command::new(program);
    command.args([
        &field.address().to_string(),
        &cloud.address().to_string(),
        filter,
        topic,
    ]);
    let mut process = Process::start("the relay", &mut command)?;
    wait_until("the relay runs", || {
        process.lines().has(&["relay runs"]) || !process.is_running()
    })?;
    ensure!(
        process.is_running(),
        "`{}` ended at once",
        program.display()
    );
    Ok(process)
}

/// The relay that lies beside a benchmark.
pub fn beside(field: &Broker, cloud: &Broker, topics: [&str; 2]) -> Result<Process> {
    let own = std::env::current_exe()?;
    start(
        &own.parent()
            .context("a program lies in a folder")?
            .join("relay"),
        field,
        cloud,
        topics,
    )
}
