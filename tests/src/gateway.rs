//! The real binary, running: started on a config, killed, stopped, asked for its metrics.

use std::borrow::Borrow;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::binary::tidegate;
use crate::broker::port_in;
use crate::config::Config;
use crate::process::{Lines, Process};
use crate::wait::{PATIENCE, wait_until};

/// A gateway that is not started yet. Its folder, with config and data, lives as long as it does.
#[derive(Debug)]
pub struct Setup {
    folder: TempDir,
    data: PathBuf,
    environment: Vec<(String, String)>,
    /// A program that runs the gateway, with its arguments.
    under: Vec<String>,
}

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    setup: Setup,
    process: Process,
    admin: u16,
}

impl Gateway {
    /// A gateway on this config.
    ///
    /// # Panics
    /// When no temporary folder can be written.
    pub fn with(config: impl Borrow<Config>) -> Setup {
        Self::within(|_| config)
    }

    /// A gateway on the config that is made for its folder.
    ///
    /// # Panics
    /// When no temporary folder can be written.
    pub fn within<C: Borrow<Config>>(make: impl FnOnce(&Path) -> C) -> Setup {
        let folder = tempfile::tempdir().expect("the tests can write a temporary folder");
        let text = make(folder.path()).borrow().to_string();
        fs::write(folder.path().join("tidegate.toml"), text).expect("the folder was just made");
        Setup {
            data: folder.path().join("data"),
            folder,
            environment: Vec::new(),
            under: Vec::new(),
        }
    }
}

impl Setup {
    /// Sets an environment variable for the gateway.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Puts the data folder elsewhere.
    #[must_use]
    pub fn data_at(mut self, data: PathBuf) -> Self {
        self.data = data;
        self
    }

    /// Runs the gateway by another program, which must leave it the process id.
    #[must_use]
    pub fn under(mut self, program: &[&str]) -> Self {
        self.under = program.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// The folder with config and data; plugin paths in the config are relative to it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The config file.
    pub fn config_file(&self) -> PathBuf {
        self.folder.path().join("tidegate.toml")
    }

    /// Writes another config, for the next start.
    pub fn rewrite(&self, config: impl Borrow<Config>) -> Result<()> {
        Ok(fs::write(self.config_file(), config.borrow().to_string())?)
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.data.clone()
    }

    /// Starts it and waits until its sources are online.
    pub fn start(self) -> Result<Gateway> {
        let gateway = self.launch()?;
        gateway.wait_online()?;
        Ok(gateway)
    }

    /// Starts it and waits only until its admin port is served.
    pub fn launch(self) -> Result<Gateway> {
        let (process, admin) = self.spawn()?;
        Ok(Gateway {
            setup: self,
            process,
            admin,
        })
    }

    /// Runs it to its end, for a config that cannot work.
    pub fn fail(&self) -> Result<(ExitStatus, Lines)> {
        let mut process = Process::start("the gateway", &mut self.command()?)?;
        let status = process.wait()?;
        Ok((status, process.lines().clone()))
    }

    fn command(&self) -> Result<Command> {
        let mut words = self
            .under
            .iter()
            .map(std::ffi::OsStr::new)
            .chain([tidegate()?.as_os_str()]);
        let mut command = Command::new(words.next().context("no program to run")?);
        command.args(words);
        command
            .arg("run")
            .arg("--config")
            .arg(self.config_file())
            .arg("--data-dir")
            .arg(self.data());
        command.env("TIDEGATE_ADMIN__LISTEN", "127.0.0.1:0");
        // A machine that compiles beside the cases takes a quarter of a minute for a plugin, and a small one more.
        command.env("TIDEGATE_GATEWAY__PLUGIN_COMPILE_TIME", "10m");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }

    fn spawn(&self) -> Result<(Process, u16)> {
        let mut process = Process::start("the gateway", &mut self.command()?)?;
        let mut admin = None;
        let mut alive = true;
        wait_until("the gateway prints its admin port", || {
            alive = process.is_running();
            admin = process.lines().find(|line| {
                if line.contains("admin http") {
                    port_in(line)
                } else {
                    None
                }
            });
            admin.is_some() || !alive
        })?;
        match admin {
            Some(port) => Ok((process, port)),
            None => bail!(
                "the gateway ended with {} instead of starting",
                process.wait()?
            ),
        }
    }
}

impl Gateway {
    /// SIGKILL: nothing is said, nothing is written.
    pub fn kill(mut self) -> Result<Setup> {
        self.process.kill()?;
        Ok(self.setup)
    }

    /// SIGTERM: what it still owes is written, and it ends.
    pub fn stop(self) -> Result<(ExitStatus, Setup)> {
        self.terminate()?;
        self.end()
    }

    /// SIGTERM, without waiting for what comes of it.
    pub fn terminate(&self) -> Result<()> {
        self.process.signal(Signal::TERM)
    }

    /// Waits for its end.
    pub fn end(mut self) -> Result<(ExitStatus, Setup)> {
        let status = self.process.wait()?;
        Ok((status, self.setup))
    }

    /// Where its admin port is.
    pub fn admin(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.admin).into()
    }

    /// SIGSTOP.
    pub fn freeze(&self) -> Result<()> {
        self.process.signal(Signal::STOP)
    }

    /// SIGCONT.
    pub fn thaw(&self) -> Result<()> {
        self.process.signal(Signal::CONT)
    }

    /// Whether the process lives.
    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// What it wrote.
    pub fn lines(&self) -> &Lines {
        self.process.lines()
    }

    /// Folder with config and data.
    pub fn folder(&self) -> &Path {
        self.setup.folder()
    }

    /// Puts a new config in place of the running one, as an editor would: written beside, then renamed.
    pub fn rewrite_config(&self, config: impl Borrow<Config>) -> Result<()> {
        self.rewrite_text(&config.borrow().to_string())
    }

    /// The same with a text, where the text as such is what matters.
    pub fn rewrite_text(&self, text: &str) -> Result<()> {
        replace_file(&self.setup.config_file(), text.as_bytes())
    }

    /// Writes a new config in place and calls `command`, which is to find the change before the watch reports it: that waits
    /// until a file has stood still for 200 ms, and a command on a busy machine may take longer to begin. So the file is
    /// touched until the command has ended.
    pub fn rewrite_for<T>(
        &self,
        config: impl Borrow<Config>,
        command: impl FnOnce() -> T,
    ) -> Result<T> {
        let (path, is_over) = (self.setup.config_file(), AtomicBool::new(false));
        self.setup.rewrite(config)?;
        let file = File::options().write(true).open(&path)?;
        let touch = || -> Result<()> {
            while !is_over.load(Ordering::Relaxed) {
                file.set_modified(SystemTime::now())?;
                std::thread::park_timeout(Duration::from_millis(5));
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let touching = scope.spawn(touch);
            let answer = command();
            is_over.store(true, Ordering::Relaxed);
            touching
                .join()
                .map_err(|_| anyhow!("whoever touched the config panicked"))??;
            Ok(answer)
        })
    }

    /// Puts new content in place of a file in the gateway's folder, written beside and then renamed.
    pub fn replace(&self, file: &str, content: &[u8]) -> Result<()> {
        replace_file(&self.setup.folder().join(file), content)
    }

    /// Waits until every source has a connection and has subscribed.
    pub fn wait_online(&self) -> Result<()> {
        wait_until("the gateway's sources are online", || self.is_online())
    }

    /// Whether every source has a connection.
    pub fn is_online(&self) -> bool {
        let Ok((200, text)) = self.get("/metrics") else {
            return false;
        };
        let mut states = text
            .lines()
            .filter_map(|line| line.strip_prefix("tidegate_source_up{"))
            .peekable();
        states.peek().is_some() && states.all(|state| state.ends_with("} 1"))
    }

    /// Asks the admin port: status code and body.
    pub fn get(&self, path: &str) -> Result<(u16, String)> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.admin))
            .context("the admin port is closed")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
        let code = head
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .context("no HTTP status")?;
        Ok((code, body.to_owned()))
    }

    /// What `tidegate health` says with all that is for the operator: a line for each part, and the code that HTTP has for it.
    pub fn health(&self) -> Result<(u16, String)> {
        let output = Command::new(tidegate()?)
            .arg("health")
            .arg("--config")
            .arg(self.folder().join("tidegate.toml"))
            .arg("--data-dir")
            .arg(&self.setup.data)
            .output()
            .context("cannot run tidegate")?;
        let code = match output.status.code() {
            Some(0 | 7) => 200,
            Some(1) => 503,
            _ => bail!("{}", String::from_utf8_lossy(&output.stderr)),
        };
        Ok((code, String::from_utf8_lossy(&output.stdout).into_owned()))
    }

    /// Sum of a metric over all its series that have each of `labels`; 0 when there is none.
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        // A scrape that fails reads as nothing: `wait_until` asks again, an assertion then shows the 0.
        self.get("/metrics")
            .map_or(0.0, |(_, text)| sum(&text, name, labels))
    }
}

/// Writes beside and renames over, as editors and deployments do.
pub fn replace_file(path: &Path, content: &[u8]) -> Result<()> {
    let beside = path.with_extension("being-written");
    fs::write(&beside, content).with_context(|| format!("cannot write `{}`", beside.display()))?;
    fs::rename(&beside, path).with_context(|| format!("cannot replace `{}`", path.display()))
}

/// Sums the samples of `name` that have all of `labels` in a Prometheus text.
pub fn sum(text: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
    let sample = |line: &str| {
        let rest = line.strip_prefix(name)?;
        let (series, value) = rest.rsplit_once(' ')?;
        let fits = series.is_empty() || series.starts_with('{');
        let wanted = labels
            .iter()
            .all(|(label, value)| series.contains(&format!("{label}=\"{value}\"")));
        (fits && wanted)
            .then(|| value.parse::<f64>().ok())
            .flatten()
    };
    text.lines().filter_map(sample).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_summed_over_the_series_that_have_the_labels() {
        let text = "# HELP a_total x\na_total{flow=\"x\",plugin=\"p\"} 3\na_total{flow=\"y\"} 4\na_total_other 9\nb 1.5\n";
        assert_eq!(sum(text, "a_total", &[]), 7.0);
        assert_eq!(sum(text, "a_total", &[("flow", "y")]), 4.0);
        assert_eq!(sum(text, "b", &[]), 1.5);
    }
}
