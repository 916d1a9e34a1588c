//! A NATS server of a case's own, where it is installed, and the tests' own client of it: streams are made and read over its wire.

use std::cell::RefCell;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::foreign::Foreign;
use crate::port;
use crate::process::Process;
use crate::tally::Tally;
use crate::wait::{PATIENCE, wait_until};

/// Whether it is installed.
pub fn has_nats() -> bool {
    Foreign::Nats.is_there()
}

/// A message as the tests' client has it.
#[derive(Clone, Debug, Default)]
pub struct NatsMessage {
    pub subject: String,
    /// Where an answer is waited for.
    pub reply: String,
    /// The lines of its headers.
    pub headers: String,
    pub payload: String,
}

impl NatsMessage {
    /// The value of a header; empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        let mut lines = self.headers.lines();
        let found = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        found.unwrap_or_default()
    }
}

/// One server, over all its lives.
#[derive(Debug)]
pub struct NatsServer {
    folder: TempDir,
    port: u16,
    process: Process,
    client: RefCell<Option<NatsClient>>,
}

impl NatsServer {
    /// Starts an empty one, with these lines in its config.
    pub fn start(config: &str) -> Result<Self> {
        let folder = tempfile::tempdir().context("no folder for a server")?;
        for _ in 0..5 {
            let port = port::free()?;
            let store = folder.path().join("jetstream");
            let text = format!(
                "server_name: edge\nlisten: \"127.0.0.1:{port}\"\njetstream {{ store_dir: {store:?} }}\n{config}\n"
            );
            fs::write(folder.path().join("nats.conf"), text)?;
            let mut process = launch(&folder)?;
            if is_up(&mut process, port)? {
                return Ok(Self {
                    folder,
                    port,
                    process,
                    client: RefCell::default(),
                });
            }
        }
        bail!("nats-server found no port")
    }

    /// Where the gateway dials.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Changes its config: `old` becomes `new`. Returns once the server goes by it.
    pub fn reconfigure(&self, old: &str, new: &str) -> Result<()> {
        let file = self.folder.path().join("nats.conf");
        let text = fs::read_to_string(&file)?;
        ensure!(text.contains(old), "its config has no {old:?}");
        fs::write(&file, text.replace(old, new))?;
        let mark = self.process.lines().count();
        self.process.signal(Signal::HUP)?;
        // What is published between the signal and the server's reading of its file is judged by the old one.
        wait_until("the server has its new config", || {
            let reloaded = &["Reloaded server configuration"];
            self.process.lines().has_since(mark, reloaded)
        })
    }

    /// Works with the tests' own connection, which is opened anew when it broke.
    pub fn with<T>(&self, work: impl FnOnce(&mut NatsClient) -> Result<T>) -> Result<T> {
        let mut held = self.client.borrow_mut();
        let client = match held.take() {
            Some(client) => client,
            None => NatsClient::connect(self.port)?,
        };
        let mut client = client;
        let done = work(&mut client)?;
        *held = Some(client);
        Ok(done)
    }

    /// What JetStream answers to a question.
    pub fn ask(&self, what: &str, body: &Value) -> Result<Value> {
        let subject = format!("$JS.API.{what}");
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let answer = self.with(|client| client.request(&subject, &body))?;
        let answer: Value = serde_json::from_str(&answer.payload)
            .with_context(|| format!("{subject}: {answer:?}"))?;
        ensure!(answer["error"].is_null(), "{subject}: {answer}");
        Ok(answer)
    }

    /// Makes a stream, on disk, that takes what matches `subjects`; `more` stands beside that.
    pub fn make(&self, stream: &str, subjects: &str, more: Value) -> Result<()> {
        let mut config = json!({"name": stream, "subjects": [subjects], "retention": "limits", "storage": "file",
            "discard": "new", "max_age": 0, "max_msgs": -1, "max_bytes": -1, "max_consumers": -1, "num_replicas": 1});
        if let (Value::Object(config), Value::Object(more)) = (&mut config, more) {
            config.extend(more);
        }
        self.ask(&format!("STREAM.CREATE.{stream}"), &config)?;
        Ok(())
    }

    /// How many messages a stream has; 0 where it cannot be asked.
    pub fn count(&self, stream: &str) -> u64 {
        let info = self.ask(&format!("STREAM.INFO.{stream}"), &Value::Null);
        info.ok()
            .and_then(|info| info["state"]["messages"].as_u64())
            .unwrap_or_default()
    }

    /// All messages of a stream, in its order.
    pub fn messages(&self, stream: &str) -> Result<Vec<NatsMessage>> {
        let mut client = NatsClient::connect(self.port)?;
        let count = self.count(stream);
        let place = format!("read.{:08x}", fastrand::u32(..));
        client.say(&format!("SUB {place} 9\r\n"))?;
        let consumer = json!({"stream_name": stream, "config": {"deliver_subject": place, "deliver_policy": "all",
            "ack_policy": "none", "replay_policy": "instant", "mem_storage": true, "inactive_threshold": 10_000_000_000_u64}});
        let made = client.request(
            &format!("$JS.API.CONSUMER.CREATE.{stream}"),
            &consumer.to_string(),
        )?;
        ensure!(!made.payload.contains("\"error\""), "{made:?}");
        let mut messages = std::mem::take(&mut client.aside);
        while (messages.len() as u64) < count {
            messages.push(client.read()?);
        }
        Ok(messages)
    }

    /// The readings of a stream, in its order, and how many ids are there more than once.
    pub fn tally(&self, stream: &str) -> Result<(Tally, usize)> {
        let mut tally = Tally::default();
        let mut ids = std::collections::BTreeSet::new();
        let mut doubles = 0;
        for message in self.messages(stream)? {
            // A copy that was sent to see whether others would be taken says so.
            if message.header("Nats-Msg-Id").contains("+again-") {
                continue;
            }
            let device = message.subject.split('.').nth(1).context("no device")?;
            let reading: Value = serde_json::from_str(&message.payload)?;
            tally.note(device, reading["seq"].as_u64().context("no number")?);
            doubles += usize::from(!ids.insert(message.header("Nats-Msg-Id").to_owned()));
        }
        Ok((tally, doubles))
    }

    /// Sends it a signal that no process survives.
    pub fn kill(&mut self) -> Result<()> {
        self.client.take();
        self.process.kill()
    }

    /// Starts it again, on the same port.
    pub fn start_again(&mut self) -> Result<()> {
        self.client.take();
        self.process = launch(&self.folder)?;
        let is_up = is_up(&mut self.process, self.port)?;
        ensure!(is_up, "nats-server did not come back");
        Ok(())
    }

    /// Stops it in the middle of whatever it does.
    pub fn freeze(&self) -> Result<()> {
        self.process.signal(Signal::STOP)
    }

    /// Lets it go on.
    pub fn thaw(&self) -> Result<()> {
        self.process.signal(Signal::CONT)
    }
}

fn launch(folder: &TempDir) -> Result<Process> {
    let mut command = Command::new(Foreign::Nats.program());
    command.arg("-c").arg(folder.path().join("nats.conf"));
    Process::start("nats-server", &mut command)
}

/// Waits until it takes connections and has its streams, or has ended.
fn is_up(process: &mut Process, port: u16) -> Result<bool> {
    let mut is_up = false;
    wait_until("nats-server takes connections", || {
        is_up = process.lines().has(&["Server is ready"])
            && TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
        is_up || !process.is_running()
    })?;
    Ok(is_up && process.is_running())
}

/// The tests' own connection: the user `admin`, where the server knows users.
#[derive(Debug)]
pub struct NatsClient {
    reader: BufReader<TcpStream>,
    /// Where its answers come to.
    place: String,
    /// What came while something else was waited for.
    aside: Vec<NatsMessage>,
}

impl NatsClient {
    /// Logs in.
    pub fn connect(port: u16) -> Result<Self> {
        let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_nodelay(true)?;
        let mut client = Self {
            reader: BufReader::new(socket),
            place: format!("in.{:016x}", fastrand::u64(..)),
            aside: Vec::new(),
        };
        let said = client.line()?;
        ensure!(said.starts_with("INFO "), "it says {said}");
        let who = json!({"verbose": false, "pedantic": false, "headers": true, "no_responders": true, "protocol": 1,
            "user": "admin", "pass": "admin", "lang": "tests", "version": "0"});
        client.say(&format!("CONNECT {who}\r\nSUB {} 1\r\n", client.place))?;
        Ok(client)
    }

    fn say(&mut self, text: &str) -> Result<()> {
        Ok(self.reader.get_mut().write_all(text.as_bytes())?)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        let read = self.reader.read_line(&mut line)?;
        ensure!(read > 0, "the server hung up");
        Ok(line.trim_end().to_owned())
    }

    /// The next message.
    pub fn read(&mut self) -> Result<NatsMessage> {
        loop {
            let line = self.line()?;
            let words: Vec<&str> = line.split(' ').collect();
            let (headers, names) = match words.as_slice() {
                ["MSG", names @ .., _] => (0, names),
                ["HMSG", names @ .., headers, _] => (headers.parse()?, names),
                ["PING"] => {
                    self.say("PONG\r\n")?;
                    continue;
                }
                ["PONG" | "+OK", ..] | ["INFO", ..] => continue,
                _ => bail!("the server says {line}"),
            };
            let total: usize = words[words.len() - 1].parse()?;
            let mut body = vec![0; total + 2];
            self.reader.read_exact(&mut body)?;
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            return Ok(NatsMessage {
                subject: names[0].to_owned(),
                reply: names.get(2).copied().unwrap_or_default().to_owned(),
                headers: text(&body[..headers]),
                payload: text(&body[headers..total]),
            });
        }
    }

    /// Says something and waits for the answer.
    pub fn request(&mut self, subject: &str, payload: &str) -> Result<NatsMessage> {
        let place = self.place.clone();
        self.publish(subject, &place, "", payload)?;
        loop {
            let message = self.read()?;
            if message.subject == place {
                return Ok(message);
            }
            self.aside.push(message);
        }
    }

    /// Publishes with these lines of headers.
    pub fn publish(
        &mut self,
        subject: &str,
        reply: &str,
        headers: &str,
        payload: &str,
    ) -> Result<()> {
        let block = format!("NATS/1.0\r\n{headers}\r\n");
        let total = block.len() + payload.len();
        self.say(&format!(
            "HPUB {subject} {reply} {} {total}\r\n{block}{payload}\r\n",
            block.len()
        ))
    }

    /// Subscribes beside the stream, as one who takes what is published and never says so.
    pub fn listen(&mut self, subject: &str) -> Result<()> {
        self.say(&format!("SUB {subject} 2\r\nPING\r\n"))?;
        self.reader
            .get_ref()
            .set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(())
    }
}
