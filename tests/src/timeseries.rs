//! Databases that take Influx lines, as `tests/brokers/install` leaves them in `target/brokers`.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::port;
use crate::process::Process;
use crate::tally::Tally;
use crate::wait::wait_until;

/// Which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Influx,
    Victoria,
}

impl Kind {
    /// Whether it was installed.
    pub fn is_there(self) -> bool {
        self.program().exists()
    }

    /// Its name, as the cases use it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Influx => "influxd",
            Self::Victoria => "victoria-metrics",
        }
    }

    fn program(self) -> PathBuf {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/brokers");
        folder.join(self.name())
    }
}

/// One database, over all its lives.
#[derive(Debug)]
pub struct Database {
    kind: Kind,
    folder: TempDir,
    port: u16,
    process: Process,
}

impl Database {
    /// Starts an empty one.
    pub fn start(kind: Kind) -> Result<Self> {
        let folder = tempfile::tempdir().context("no folder for a database")?;
        for _ in 0..5 {
            let port = port::free()?;
            let mut process = launch(kind, folder.path(), port)?;
            if answers(&mut process, port)? {
                return Ok(Self {
                    kind,
                    folder,
                    port,
                    process,
                });
            }
        }
        bail!("{} found no port", kind.name())
    }

    /// Where lines go.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/write?db=barn", self.port)
    }

    /// Makes the database that lines go to, where there is none by itself.
    pub fn create(&self) -> Result<()> {
        if self.kind == Kind::Influx {
            let (status, text) = ask(self.port, "POST", "/query?q=CREATE%20DATABASE%20barn")?;
            ensure!(status == 200, "{status}: {text}");
        }
        Ok(())
    }

    /// The values of `field` that it has, by device, in the order of their times.
    pub fn values(&self, field: &str) -> Result<Vec<(String, Vec<f64>)>> {
        let numbers = |list: &Value| -> Vec<f64> {
            list.as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_f64)
                .collect()
        };
        match self.kind {
            Kind::Influx => {
                let query = format!(
                    "/query?db=barn&q=SELECT%20{field}%20FROM%20telemetry%20GROUP%20BY%20device"
                );
                let (_, text) = ask(self.port, "GET", &query)?;
                let answer: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
                let series = answer["results"][0]["series"].as_array().cloned();
                let of = |one: &Value| {
                    let device = one["tags"]["device"]
                        .as_str()
                        .unwrap_or_default()
                        .to_owned();
                    let values = one["values"].as_array().into_iter().flatten();
                    (device, values.filter_map(|row| row[1].as_f64()).collect())
                };
                Ok(series.iter().flatten().map(of).collect())
            }
            Kind::Victoria => {
                // What has come in a moment ago is not shown before.
                ask(self.port, "GET", "/internal/force_flush")?;
                let query = format!("/api/v1/export?match[]=telemetry_{field}");
                let (_, text) = ask(self.port, "GET", &query)?;
                let of = |line: &str| -> Result<(String, Vec<f64>)> {
                    let one: Value = serde_json::from_str(line).with_context(|| text.clone())?;
                    let device = one["metric"]["device"].as_str().unwrap_or_default();
                    Ok((device.to_owned(), numbers(&one["values"])))
                };
                text.lines()
                    .filter(|line| !line.is_empty())
                    .map(of)
                    .collect()
            }
        }
    }

    /// The readings that it has, by their numbers.
    pub fn tally(&self) -> Result<Tally> {
        let mut tally = Tally::default();
        for (device, numbers) in self.values("seq")? {
            // What is stored twice under two times counts once: it tells nothing about an order.
            let mut numbers: Vec<u64> = numbers.iter().map(|number| *number as u64).collect();
            numbers.sort_unstable();
            numbers
                .into_iter()
                .for_each(|number| tally.note(&device, number));
        }
        Ok(tally)
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

    /// Starts it again on its port, with what it has.
    pub fn back(&mut self) -> Result<()> {
        wait_until("the database has its port again", || {
            let Ok(mut process) = launch(self.kind, self.folder.path(), self.port) else {
                return false;
            };
            let is_there = answers(&mut process, self.port).unwrap_or_default();
            if is_there {
                self.process = process;
            }
            is_there
        })
    }
}

fn launch(kind: Kind, folder: &Path, port: u16) -> Result<Process> {
    let mut command = Command::new(kind.program());
    match kind {
        Kind::Influx => {
            let folder = folder.display();
            let text = format!(
                "reporting-disabled = true\nbind-address = \"127.0.0.1:0\"\n[meta]\ndir = \"{folder}/meta\"\n[data]\ndir = \"{folder}/data\"\nwal-dir = \"{folder}/wal\"\nmax-series-per-database = 0\n[http]\nbind-address = \"127.0.0.1:{port}\"\n"
            );
            let file = Path::new(&folder.to_string()).join("influxdb.conf");
            fs::write(&file, text)?;
            command.arg("run").arg("-config").arg(file);
        }
        Kind::Victoria => {
            command
                .arg(format!("-httpListenAddr=127.0.0.1:{port}"))
                .arg(format!(
                    "-storageDataPath={}",
                    folder.join("data").display()
                ))
                .arg("-retentionPeriod=100y");
        }
    }
    Process::start(kind.name(), &mut command)
}

/// Whether it answers, and not the one before it.
fn answers(process: &mut Process, port: u16) -> Result<bool> {
    wait_until("the database answers, or ends", || {
        !process.is_running() || ask(port, "GET", "/ping").is_ok()
    })?;
    Ok(process.is_running())
}

/// Status and body of a request.
fn ask(port: u16, verb: &str, path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    write!(
        stream,
        "{verb} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|word| word.parse().ok());
    let body = answer
        .split_once("\r\n\r\n")
        .map(|(_, body)| body.to_owned());
    Ok((status.context("no status")?, body.unwrap_or_default()))
}
