//! A PostgreSQL of a case's own, where it is installed: a cluster in a folder, on a port of loopback.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::certificates::Identity;
use crate::port;
use crate::process::Process;
use crate::tally::Tally;
use crate::wait::wait_until;

/// Who runs it where we are root: it refuses that.
const USER: &str = "postgres";

/// Whether it is installed.
pub fn has_postgres() -> bool {
    programs().is_some()
}

/// The folder of the newest one's programs: `initdb` is in no path on Debian.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut found: Vec<PathBuf> = versions
        .filter_map(|version| Some(version.ok()?.path().join("bin")))
        .filter(|folder| folder.join("initdb").exists())
        .collect();
    found.sort();
    found.pop()
}

/// A program of it, as whoever may run it.
fn program(name: &str) -> Result<Command> {
    let path = programs().context("PostgreSQL is not there")?.join(name);
    if !rustix::process::getuid().is_root() {
        return Ok(Command::new(path));
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", USER, "--regid", USER, "--clear-groups"])
        .arg(path);
    Ok(command)
}

/// One cluster, over all its lives: the database `farm`, whose role `barn` logs in with the password `secret`.
#[derive(Debug)]
pub struct Postgres {
    folder: TempDir,
    port: u16,
    process: Process,
}

impl Postgres {
    /// Starts an empty one.
    pub fn start() -> Result<Self> {
        Self::with(&[])
    }

    /// The same with TLS, which it asks for.
    pub fn with_tls(identity: &Identity) -> Result<Self> {
        let files = [
            ("server.crt", identity.certificate.as_path()),
            ("server.key", identity.key.as_path()),
        ];
        Self::with(&files)
    }

    fn with(files: &[(&str, &Path)]) -> Result<Self> {
        let folder = tempfile::tempdir().context("no folder for a database")?;
        own(folder.path())?;
        let data = folder.path().join("data");
        let made = program("initdb")?
            .args([
                "-A",
                "trust",
                "-U",
                USER,
                "-E",
                "UTF8",
                "--locale=C",
                "--no-sync",
                "-D",
            ])
            .arg(&data)
            .current_dir("/")
            .output()?;
        ensure!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        let host = if files.is_empty() { "host" } else { "hostssl" };
        let rules = format!(
            "local all all trust\nhost all {USER} 127.0.0.1/32 trust\n{host} all all 127.0.0.1/32 scram-sha-256\n"
        );
        fs::write(data.join("pg_hba.conf"), rules)?;
        for (name, from) in files {
            fs::copy(from, data.join(name))?;
            own(&data.join(name))?;
        }
        for _ in 0..5 {
            let port = port::free()?;
            let mut process = launch(folder.path(), port, !files.is_empty())?;
            if is_up(&mut process, port)? {
                let postgres = Self {
                    folder,
                    port,
                    process,
                };
                postgres.ask_in("postgres", "CREATE ROLE barn LOGIN PASSWORD 'secret'")?;
                postgres.ask_in("postgres", "CREATE DATABASE farm OWNER barn")?;
                return Ok(postgres);
            }
        }
        bail!("PostgreSQL found no port")
    }

    /// Where the gateway dials.
    pub fn url(&self) -> String {
        format!("postgres://barn@127.0.0.1:{}/farm", self.port)
    }

    /// What the database `farm` says, as its owner above all, a line for each row.
    pub fn ask(&self, sql: &str) -> Result<String> {
        self.ask_in("farm", sql)
    }

    /// Says `sql` in a transaction that stays open until [`Self::release`].
    pub fn hold(&self, sql: &str) -> Result<Process> {
        let sql = format!("BEGIN; {sql}; SELECT pg_sleep(3600)");
        let mut command = program("psql")?;
        command
            .args([
                "-X",
                "-q",
                "-h",
                "127.0.0.1",
                "-U",
                USER,
                "-d",
                "farm",
                "-c",
                &sql,
            ])
            .args(["-p", &self.port.to_string()])
            .current_dir("/");
        let holder = Process::start("psql", &mut command)?;
        wait_until("it is held", || {
            let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
            self.ask(sleeping).is_ok_and(|count| count == "1")
        })?;
        Ok(holder)
    }

    /// Ends what [`Self::hold`] began, without a trace.
    pub fn release(&self, holder: Process) -> Result<()> {
        let end =
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
        self.ask(end)?;
        drop(holder);
        Ok(())
    }

    fn ask_in(&self, database: &str, sql: &str) -> Result<String> {
        let output = program("psql")?
            .args([
                "-X",
                "-q",
                "-A",
                "-t",
                "-v",
                "ON_ERROR_STOP=1",
                "-h",
                "127.0.0.1",
                "-U",
                USER,
            ])
            .args(["-p", &self.port.to_string(), "-d", database, "-c", sql])
            .current_dir("/")
            .output()?;
        ensure!(
            output.status.success(),
            "{sql}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
    }

    /// How many rows a table has; 0 where it cannot be asked.
    pub fn count(&self, table: &str) -> u64 {
        let counted = self.ask(&format!("SELECT count(*) FROM {table}"));
        counted.map_or(0, |count| count.parse().unwrap_or_default())
    }

    /// The readings of a table in the order in which they were inserted, which its column `nr` has.
    pub fn tally(&self, table: &str) -> Result<Tally> {
        let rows = self.ask(&format!(
            "SELECT device, payload->>'seq' FROM {table} ORDER BY nr"
        ))?;
        let mut tally = Tally::default();
        for row in rows.lines() {
            let (device, number) = row.rsplit_once('|').context("no number")?;
            tally.note(device, number.parse()?);
        }
        Ok(tally)
    }

    /// SIGKILL to the server; its other processes end when they see that.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Starts it again, on the same port.
    pub fn start_again(&mut self) -> Result<()> {
        let has_tls = self.folder.path().join("data/server.key").exists();
        let (folder, port) = (self.folder.path().to_path_buf(), self.port);
        let mut process = None;
        // What was killed may still be holding its memory.
        wait_until("PostgreSQL is back", || {
            let started = launch(&folder, port, has_tls).ok();
            process = started.and_then(|mut started| {
                is_up(&mut started, port)
                    .is_ok_and(|up| up)
                    .then_some(started)
            });
            process.is_some()
        })?;
        if let Some(process) = process {
            self.process = process;
        }
        Ok(())
    }

    /// Stops the server and every process of it.
    pub fn freeze(&self) -> Result<()> {
        self.signal_all(Signal::STOP)
    }

    /// Lets them go on.
    pub fn thaw(&self) -> Result<()> {
        self.signal_all(Signal::CONT)
    }

    fn signal_all(&self, signal: Signal) -> Result<()> {
        let pid = self.process.pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        self.process.signal(signal)?;
        for child in children.split_whitespace() {
            let child = Pid::from_raw(child.parse()?).context("no process")?;
            // One that ended meanwhile needs no signal.
            let _ = kill_process(child, signal);
        }
        Ok(())
    }
}

/// Gives it to whoever runs the server, and to nobody else.
fn own(path: &Path) -> Result<()> {
    if rustix::process::getuid().is_root() {
        let given = Command::new("chown").arg(USER).arg(path).status()?;
        ensure!(given.success(), "cannot give `{}` away", path.display());
    }
    let mode = if path.is_dir() { "700" } else { "600" };
    let closed = Command::new("chmod").arg(mode).arg(path).status()?;
    ensure!(closed.success(), "cannot close `{}`", path.display());
    Ok(())
}

fn launch(folder: &Path, port: u16, has_tls: bool) -> Result<Process> {
    let data = folder.join("data");
    let ssl = if has_tls { "ssl=on" } else { "ssl=off" };
    let mut command = program("postgres")?;
    command.current_dir("/").arg("-D").arg(&data).args([
        "-p",
        &port.to_string(),
        "-c",
        "listen_addresses=127.0.0.1",
        "-c",
        "shared_buffers=16MB",
        "-c",
        "unix_socket_directories=",
        "-c",
        ssl,
    ]);
    Process::start("postgres", &mut command)
}

/// Waits until it takes connections, or has ended.
fn is_up(process: &mut Process, port: u16) -> Result<bool> {
    let mut is_up = false;
    wait_until("PostgreSQL takes connections", || {
        let asked = program("pg_isready").and_then(|mut ready| {
            let ready = ready.args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()]);
            Ok(ready.current_dir("/").status()?)
        });
        is_up = asked.is_ok_and(|status| status.success());
        is_up || !process.is_running()
    })?;
    Ok(is_up && process.is_running())
}
