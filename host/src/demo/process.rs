//! The demo's child processes: brokers and the gateway, this same program under other subcommands.
//!
//! Each has a process group of its own, so that Ctrl-C reaches the demo alone, which then ends them in order. None
//! outlives a demo that ends by itself: brokers end with their standard input, and what is dropped is killed.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::broker::READY;
use super::scrape;

/// A broker is up in milliseconds; the gateway compiles its plugins first.
const START: Duration = Duration::from_secs(60);
/// The gateway's own limit for a drain is shorter.
const STOP: Duration = Duration::from_secs(15);
/// Between two looks at the gateway's log.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// What the line with the gateway's metrics address contains.
const ADMIN: &str = "admin http://";
/// Lines of a log that are shown when its writer failed.
const LAST_LINES: usize = 20;

/// Why a child is not there.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot start `{name}`")]
    Start {
        name: &'static str,
        source: io::Error,
    },
    /// It ended, or did not say what it should.
    #[error("`{name}` {what}; the end of its log, `{}`:\n{log}", path.display())]
    Failed {
        name: &'static str,
        what: String,
        /// Its log, which stays.
        path: PathBuf,
        /// The last lines of it.
        log: String,
    },
}

#[derive(Debug)]
pub struct ChildProcess {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl ChildProcess {
    fn start<A: AsRef<OsStr>>(
        program: &Path,
        name: &'static str,
        arguments: &[A],
        log: PathBuf,
        stdout: Option<Stdio>,
    ) -> Result<Self, Error> {
        let failed = |source| Error::Start { name, source };
        let file = File::create(&log).map_err(failed)?;
        let stdout = match stdout {
            Some(stdout) => stdout,
            None => Stdio::from(file.try_clone().map_err(failed)?),
        };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(stdout)
            .stderr(Stdio::from(file));
        command.kill_on_drop(true).process_group(0);
        let child = command.spawn().map_err(failed)?;
        Ok(Self { name, child, log })
    }

    /// Starts a broker on a free port; its address.
    pub async fn broker(
        program: &Path,
        name: &'static str,
        folder: &Path,
    ) -> Result<(Self, SocketAddr), Error> {
        let log = folder.join(format!("{name}.log"));
        let mut process = Self::start(
            program,
            name,
            &["broker", "--listen", "127.0.0.1:0"],
            log,
            Some(Stdio::piped()),
        )?;
        let mut line = String::new();
        if let Some(stdout) = process.child.stdout.take() {
            let mut stdout = BufReader::new(stdout);
            // A time-out or an error leaves the line empty, which is reported as no address.
            let _ = tokio::time::timeout(START, stdout.read_line(&mut line)).await;
        }
        match line
            .trim()
            .strip_prefix(READY)
            .and_then(|address| address.parse().ok())
        {
            Some(address) => Ok((process, address)),
            None => Err(process.failed("did not print an address")),
        }
    }

    /// Starts the gateway, and waits until it has subscribed: before that the broker keeps messages for nobody. The address of its
    /// metrics port.
    pub async fn gateway(
        program: &Path,
        config: &Path,
        data: &Path,
        folder: &Path,
    ) -> Result<(Self, SocketAddr), Error> {
        let arguments = [
            OsStr::new("run"),
            OsStr::new("--config"),
            config.as_os_str(),
            OsStr::new("--data-dir"),
            data.as_os_str(),
        ];
        let mut process = Self::start(
            program,
            "gateway",
            &arguments,
            folder.join("gateway.log"),
            None,
        )?;
        let deadline = tokio::time::Instant::now() + START;
        while tokio::time::Instant::now() < deadline {
            // Looked for before the end is: a gateway that ends at once may have printed it.
            if let Some(address) = admin_address(&process.read_log())
                && is_ready(address).await
            {
                return Ok((process, address));
            }
            process.check()?;
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Err(process.failed("did not come up"))
    }

    /// Fails when it has ended.
    pub fn check(&mut self) -> Result<(), Error> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.failed(&format!("ended: {status}"))),
            Err(source) => Err(Error::Start {
                name: self.name,
                source,
            }),
        }
    }

    /// SIGTERM, and SIGKILL when that takes too long. `None`: it had to be killed.
    pub async fn stop(mut self) -> Option<ExitStatus> {
        drop(self.child.stdin.take());
        let id = self
            .child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        if let Some(id) = id {
            // It may have ended a moment ago.
            let _ = kill_process(id, Signal::TERM);
        }
        if let Ok(ended) = tokio::time::timeout(STOP, self.child.wait()).await {
            return ended.ok();
        }
        let _ = self.child.kill().await;
        None
    }

    /// An error with the end of its log.
    pub fn failed(&self, what: &str) -> Error {
        let text = self.read_log();
        let lines: Vec<_> = text.lines().collect();
        let log = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n");
        Error::Failed {
            name: self.name,
            what: what.to_owned(),
            path: self.log.clone(),
            log,
        }
    }

    fn read_log(&self) -> String {
        std::fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }
}

/// Whether its source stands, and so has subscribed.
async fn is_ready(address: SocketAddr) -> bool {
    let answer = scrape::get(address, "/metrics").await;
    let is_up = |line: &str| line.starts_with("tidegate_source_up{") && line.ends_with(" 1");
    answer.is_ok_and(|(_, text)| text.lines().any(is_up))
}

fn admin_address(log: &str) -> Option<SocketAddr> {
    log.lines().find_map(|line| {
        let (_, rest) = line.split_once(ADMIN)?;
        let end = rest
            .find(|letter: char| !letter.is_ascii_digit() && !".:[]abcdef".contains(letter))
            .unwrap_or(rest.len());
        // Only a whole line counts: the port of one that is still being written may lack digits.
        (log.ends_with('\n') || !log.ends_with(line)).then(|| rest[..end].parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metrics_address_is_found_in_a_log_once_its_line_is_whole() {
        assert_eq!(
            admin_address("INFO starts\nINFO admin http://127.0.0.1:40"),
            None
        );
        let log = "INFO starts\nadmin http://127.0.0.1:40123/metrics\nmore";
        assert_eq!(admin_address(log), Some("127.0.0.1:40123".parse().unwrap()));
        assert_eq!(
            admin_address("admin http://[::1]:9\n"),
            Some("[::1]:9".parse().unwrap())
        );
    }
}
