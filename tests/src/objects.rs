//! An object store of a case's own, where one is installed: versitygw, which looks at signatures and keeps objects as files, else moto, which
//! takes any signature and keeps them in memory.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::port;
use crate::process::Process;
use crate::tally::Tally;
use crate::wait::wait_until;

/// Who may put objects there.
pub const ACCESS_KEY: &str = "AKIDEXAMPLE";
pub const SECRET_KEY: &str = "hunter22hunter22";

/// The bucket that is there from the beginning.
const BUCKET: &str = "farm";

/// Whether one is installed.
pub fn has_object_store() -> bool {
    looks_at_signatures() || moto().exists()
}

/// Whether it is one that looks at signatures, and keeps what it was given when it is killed.
pub fn looks_at_signatures() -> bool {
    versity().exists()
}

fn installed(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/brokers");
    folder.join(name)
}

fn versity() -> PathBuf {
    installed("versitygw")
}

fn moto() -> PathBuf {
    installed("python/bin/moto_server")
}

/// An object as somebody else reads it.
#[derive(Clone, Debug)]
pub struct StoredObject {
    pub name: String,
    /// As it was before it was compressed.
    pub text: String,
    /// Grows from one that was put there to the next.
    put_at: u128,
}

/// One store, over all its lives.
#[derive(Debug)]
pub struct ObjectStore {
    folder: TempDir,
    port: u16,
    process: Process,
}

impl ObjectStore {
    /// Starts one with an empty bucket.
    pub fn start() -> Result<Self> {
        let folder = tempfile::tempdir().context("no folder for a store")?;
        for _ in 0..5 {
            let port = port::free()?;
            let mut process = launch(folder.path(), port)?;
            if is_up(&mut process, port)? {
                let store = Self {
                    folder,
                    port,
                    process,
                };
                store.make(BUCKET)?;
                return Ok(store);
            }
        }
        bail!("the object store found no port")
    }

    /// Where the gateway dials.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The bucket, with this prefix.
    pub fn url(&self, prefix: &str) -> String {
        format!("s3://{BUCKET}/{prefix}")
    }

    /// Makes one more bucket.
    pub fn make(&self, bucket: &str) -> Result<()> {
        if looks_at_signatures() {
            return Ok(fs::create_dir(self.folder.path().join(bucket))?);
        }
        let (status, _) = self.ask("PUT", &format!("/{bucket}"))?;
        ensure!(status == 200, "no bucket was made: {status}");
        Ok(())
    }

    /// What is in the bucket, in the order in which it was put there.
    pub fn objects(&self) -> Result<Vec<StoredObject>> {
        self.objects_of(BUCKET)
    }

    /// The same of another bucket.
    pub fn objects_of(&self, bucket: &str) -> Result<Vec<StoredObject>> {
        let mut objects = Vec::new();
        if looks_at_signatures() {
            let root = self.folder.path().join(bucket);
            collect(&root, &root, &mut objects)?;
        } else {
            let (_, list) = self.ask("GET", &format!("/{bucket}?list-type=2"))?;
            let list = String::from_utf8(list)?;
            ensure!(!list.contains("<IsTruncated>true"), "too many objects");
            let log = self.process.lines().all();
            for key in list.split("<Key>").skip(1) {
                let name = key.split('<').next().unwrap_or_default();
                let (status, body) = self.ask("GET", &format!("/{bucket}/{name}"))?;
                ensure!(status == 200, "{name}: {status}");
                // Its own times are whole seconds, but it logs each request once that is done. A line that is still to come is of
                // the last one.
                let put = format!("\"PUT /{bucket}/{name}?");
                let is_it = |line: &String| line.contains(&put) && line.ends_with("\" 200 -");
                let line = log.iter().position(is_it);
                objects.push(stored(name, &body, line.unwrap_or(log.len()) as u128)?);
            }
        }
        objects.sort_by_key(|object| object.put_at);
        Ok(objects)
    }

    /// The readings in all objects, in that order.
    pub fn tally(&self) -> Result<Tally> {
        let mut tally = Tally::default();
        for object in self.objects()? {
            for line in object.text.lines() {
                let line: Value = serde_json::from_str(line)
                    .with_context(|| format!("{}: {line}", object.name))?;
                let number = |value: &Value| value.as_u64().context("no number");
                let device = line["device"].as_str().context("no device")?;
                let place = (number(&line["boot"])?, number(&line["seq"])?);
                tally.note_as(device, number(&line["payload"]["seq"])?, place);
            }
        }
        Ok(tally)
    }

    /// Stops it where it stands.
    pub fn freeze(&self) -> Result<()> {
        self.process.signal(Signal::STOP)
    }

    /// Lets it go on after that.
    pub fn thaw(&self) -> Result<()> {
        self.process.signal(Signal::CONT)
    }

    /// SIGKILL: what it kept in memory is gone.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Starts it again, on the same port.
    pub fn start_again(&mut self) -> Result<()> {
        self.process = launch(self.folder.path(), self.port)?;
        let is_back = is_up(&mut self.process, self.port)?;
        ensure!(is_back, "the object store did not come back");
        Ok(())
    }

    /// One request of the tests' own, to a store that looks at no signature.
    fn ask(&self, method: &str, target: &str) -> Result<(u16, Vec<u8>)> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        write!(
            stream,
            "{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: AWS {ACCESS_KEY}:anybody\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        )?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
        let body = answer.split_off(end.context("no answer")? + 4);
        let head = String::from_utf8_lossy(&answer);
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        Ok((status.context("no status")?, body))
    }
}

fn launch(folder: &Path, port: u16) -> Result<Process> {
    if !looks_at_signatures() {
        let mut command = Command::new(installed("python/bin/python"));
        command
            .arg("-c")
            .arg("from moto.server import main; main()");
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        return Process::start("moto", &mut command);
    }
    let mut command = Command::new(versity());
    command
        .env("ROOT_ACCESS_KEY", ACCESS_KEY)
        .env("ROOT_SECRET_KEY", SECRET_KEY)
        .current_dir(folder)
        .args(["--port", &format!("127.0.0.1:{port}"), "posix"])
        .arg(folder);
    Process::start("versitygw", &mut command)
}

/// Waits until it takes connections, or has ended.
fn is_up(process: &mut Process, port: u16) -> Result<bool> {
    let mut is_up = false;
    wait_until("the object store takes connections", || {
        is_up = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
        is_up || !process.is_running()
    })?;
    Ok(is_up && process.is_running())
}

/// The files below `folder`, by their names in `root`.
fn collect(root: &Path, folder: &Path, found: &mut Vec<StoredObject>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.strip_prefix(root)?.display().to_string();
        // Its own, for what is being put there.
        if name.starts_with(".sgwtmp") {
            continue;
        }
        if path.is_dir() {
            collect(root, &path, found)?;
        } else {
            let put_at = fs::metadata(&path)?.modified()?;
            let put_at = put_at.duration_since(SystemTime::UNIX_EPOCH)?.as_nanos();
            found.push(stored(&name, &fs::read(&path)?, put_at)?);
        }
    }
    Ok(())
}

fn stored(name: &str, body: &[u8], put_at: u128) -> Result<StoredObject> {
    let body = if name.ends_with(".zst") {
        zstd::decode_all(body)?
    } else {
        body.to_vec()
    };
    Ok(StoredObject {
        name: name.to_owned(),
        text: String::from_utf8(body)?,
        put_at,
    })
}
