//! A server that takes requests, which nobody of the gateway wrote: `tests/web/server.py`.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;

use crate::certificates::Identity;
use crate::port;
use crate::process::{Lines, Process};
use crate::tally::Tally;
use crate::wait::wait_until;

/// One server, over all its lives.
#[derive(Debug)]
pub struct WebServer {
    process: Process,
    port: u16,
    arguments: Vec<String>,
    /// What its earlier lives said.
    before: Vec<Lines>,
}

impl WebServer {
    /// One that keeps its connections.
    pub fn start() -> Result<Self> {
        Self::with(Vec::new())
    }

    /// One that closes after each answer.
    pub fn start_old() -> Result<Self> {
        Self::with(vec!["--old".to_owned()])
    }

    /// One that speaks TLS.
    pub fn start_tls(identity: &Identity) -> Result<Self> {
        let shown = |path: &Path| path.display().to_string();
        let (certificate, key) = (shown(&identity.certificate), shown(&identity.key));
        Self::with(vec!["--tls".to_owned(), certificate, key])
    }

    fn with(arguments: Vec<String>) -> Result<Self> {
        for _ in 0..10 {
            let port = port::free()?;
            let mut process = launch(port, &arguments)?;
            if listens(&mut process)? {
                return Ok(Self {
                    process,
                    port,
                    arguments,
                    before: Vec::new(),
                });
            }
        }
        bail!("the server found no port")
    }

    /// Where readings go.
    pub fn url(&self) -> String {
        let is_tls = self.arguments.iter().any(|argument| argument == "--tls");
        let scheme = if is_tls { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}/in", self.port)
    }

    /// Sets the rule by which it answers from now on. Not over TLS.
    pub fn rule(&self, json: &str) -> Result<()> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        write!(
            stream,
            "POST /control HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{json}",
            json.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        ensure!(answer.contains(" 200 "), "the rule was not taken: {answer}");
        Ok(())
    }

    /// What it said about each request, in order: `METHOD PATH STATUS COUNT NAME=VALUE…`.
    pub fn requests(&self) -> Vec<String> {
        let lines = self.all();
        let requests = lines
            .iter()
            .filter_map(|line| line.strip_prefix("request "));
        requests.map(str::to_owned).collect()
    }

    /// How many requests had an answer with this status.
    pub fn answered(&self, status: u16) -> usize {
        let word = status.to_string();
        let has = |line: &&String| line.split(' ').nth(2) == Some(&word);
        self.requests().iter().filter(has).count()
    }

    /// What it accepted, in order.
    pub fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for line in self.all() {
            let mut words = line.split(' ');
            if words.next() == Some("seen")
                && let (Some(device), Some(number)) = (words.next(), words.next())
                && let Ok(number) = number.parse()
            {
                tally.note(device, number);
            }
        }
        tally
    }

    /// Ids of what it accepted, in order.
    pub fn ids(&self) -> Vec<String> {
        let lines = self.all();
        let seen = lines.iter().filter(|line| line.starts_with("seen "));
        seen.filter_map(|line| line.split(' ').nth(3).map(str::to_owned))
            .collect()
    }

    fn all(&self) -> Vec<String> {
        let lives = self.before.iter().chain([self.process.lines()]);
        lives.flat_map(Lines::all).collect()
    }

    /// Stops its clock.
    pub fn freeze(&self) -> Result<()> {
        self.process.signal(Signal::STOP)
    }

    /// Ends [`Self::freeze`].
    pub fn thaw(&self) -> Result<()> {
        self.process.signal(Signal::CONT)
    }

    /// Kills it.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Starts it again on its port, with no rule.
    pub fn back(&mut self) -> Result<()> {
        wait_until("the server has its port again", || {
            let Ok(mut process) = launch(self.port, &self.arguments) else {
                return false;
            };
            let is_there = listens(&mut process).unwrap_or_default();
            if is_there {
                let life = std::mem::replace(&mut self.process, process);
                self.before.push(life.lines().clone());
            }
            is_there
        })
    }
}

fn launch(port: u16, arguments: &[String]) -> Result<Process> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("web/server.py");
    let mut python = Command::new("python3");
    python.arg(script).arg(port.to_string()).args(arguments);
    Process::start("the server", &mut python).context("the cases over HTTP need python3")
}

/// Whether it listens, and not the one before it.
fn listens(process: &mut Process) -> Result<bool> {
    let lines = process.lines().clone();
    wait_until("the server listens, or ends", || {
        lines.has(&["listening"]) || !process.is_running()
    })?;
    Ok(lines.has(&["listening"]))
}
