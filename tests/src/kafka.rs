//! A Kafka of a case's own, where one is installed: one broker that is its own controller, and somebody else's client of it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::certificates::Identity;
use crate::port;
use crate::process::Process;
use crate::tally::Tally;
use crate::wait::wait_until;

/// What keeps a small broker's start to some seconds.
const JAVA: [&str; 4] = [
    "-Xmx256m",
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-cp",
];

/// Whether broker and client are installed.
pub fn has_kafka() -> bool {
    let is_broker = |path: PathBuf| path.to_string_lossy().contains("kafka_2.13-");
    let mut jars = fs::read_dir(installed("kafka")).into_iter().flatten();
    let has_broker = jars.any(|jar| jar.is_ok_and(|jar| is_broker(jar.path())));
    let runs = |command: &mut Command| command.output().is_ok_and(|ran| ran.status.success());
    has_broker
        && runs(Command::new("java").arg("-version"))
        && runs(Command::new(python()).args(["-c", "import kafka, zstandard"]))
}

fn installed(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/brokers");
    folder.join(name)
}

fn python() -> PathBuf {
    installed("python/bin/python")
}

/// A record as somebody else reads it.
#[derive(Clone, Debug)]
pub struct KafkaRecord {
    pub partition: u64,
    /// Milliseconds since 1970; -1 for none.
    pub time: i64,
    pub key: String,
    /// The first 2,000 characters of it.
    pub value: String,
    pub headers: BTreeMap<String, String>,
}

/// One broker, over all its lives.
#[derive(Debug)]
pub struct KafkaBroker {
    folder: TempDir,
    port: u16,
    /// Where users log in, over TLS.
    port_of_users: u16,
    controller: u16,
    process: Process,
    client: RefCell<Option<KafkaClient>>,
}

impl KafkaBroker {
    /// Starts an empty one, with these lines in its config.
    pub fn start(config: &str) -> Result<Self> {
        Self::with(config, None)
    }

    /// The same, with a port where the user `barn` logs in with the password `secret`, over TLS.
    pub fn with_users(identity: &Identity) -> Result<Self> {
        Self::with("", Some(identity))
    }

    fn with(config: &str, identity: Option<&Identity>) -> Result<Self> {
        let folder = tempfile::tempdir().context("no folder for a broker")?;
        for _ in 0..5 {
            let [port, port_of_users, controller] = [port::free()?, port::free()?, port::free()?];
            let mut text = common(folder.path(), controller);
            let mut listeners = format!("PLAINTEXT://127.0.0.1:{port}");
            if let Some(own) = identity {
                listeners += &format!(",SASL_SSL://127.0.0.1:{port_of_users}");
                text += &of_users(folder.path(), own)?;
            }
            text += &of_first(&listeners, controller);
            fs::write(folder.path().join("kafka.properties"), text + config)?;
            format(folder.path())?;
            let mut process = launch(folder.path())?;
            if is_up(&mut process, port)? {
                return Ok(Self {
                    folder,
                    port,
                    port_of_users,
                    controller,
                    process,
                    client: RefCell::default(),
                });
            }
        }
        bail!("Kafka found no port")
    }

    /// One more broker beside it, which has no controller; known once it takes connections.
    pub fn second(&self) -> Result<SecondBroker> {
        let folder = tempfile::tempdir().context("no folder for a broker")?;
        let port = port::free()?;
        let text = common(folder.path(), self.controller) + &of_second(port);
        fs::write(folder.path().join("kafka.properties"), text)?;
        format(folder.path())?;
        let mut process = launch(folder.path())?;
        ensure!(is_up(&mut process, port)?, "the second one did not come up");
        Ok(SecondBroker {
            process,
            _folder: folder,
        })
    }

    /// Where the gateway dials.
    pub fn url(&self, topic: &str) -> String {
        format!("kafka://127.0.0.1:{}/{topic}", self.port)
    }

    /// The same for users.
    pub fn url_of_users(&self, topic: &str) -> String {
        format!("kafkas://127.0.0.1:{}/{topic}", self.port_of_users)
    }

    /// What somebody else's client says to this.
    fn ask(&self, question: &Value) -> Result<Value> {
        let mut held = self.client.borrow_mut();
        let mut client = match held.take() {
            Some(client) => client,
            None => KafkaClient::start(self.port)?,
        };
        let answer = client.ask(question)?;
        *held = Some(client);
        match answer["error"].as_str() {
            Some(error) => bail!("{question}: {error}"),
            None => Ok(answer["said"].clone()),
        }
    }

    /// Makes a topic of four partitions; `configs` are settings of it.
    pub fn make(&self, topic: &str, configs: Value) -> Result<()> {
        self.ask(&json!(["make", topic, 4, 1, configs])).map(drop)
    }

    /// The same with each partition at two brokers.
    pub fn make_replicated(&self, topic: &str) -> Result<()> {
        self.ask(&json!(["make", topic, 4, 2, {}])).map(drop)
    }

    /// How many brokers lead partitions of a topic.
    pub fn leaders(&self, topic: &str) -> Result<u64> {
        let told = self.ask(&json!(["leaders", topic]))?;
        told.as_u64().context("no leaders")
    }

    /// Names of the topics that there are.
    pub fn topics(&self) -> Result<Value> {
        self.ask(&json!(["topics"]))
    }

    /// How many records a topic has; 0 where it cannot be asked.
    pub fn count(&self, topic: &str) -> u64 {
        let counted = self.ask(&json!(["count", topic]));
        counted.ok().and_then(|count| count.as_u64()).unwrap_or(0)
    }

    /// Where Java's producers would put a key among four partitions.
    pub fn partition_of(&self, key: &str) -> Result<u64> {
        let told = self.ask(&json!(["partition", key, 4]))?;
        told.as_u64().context("no partition")
    }

    /// All records of a topic, each partition in its order.
    pub fn records(&self, topic: &str) -> Result<Vec<KafkaRecord>> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let read = self.ask(&json!(["records", topic]))?;
        let each = read.as_array().context("no records")?.iter().map(|record| {
            let headers = record[4].as_object().into_iter().flatten();
            KafkaRecord {
                partition: record[0].as_u64().unwrap_or_default(),
                time: record[1].as_i64().unwrap_or_default(),
                key: text(&record[2]),
                value: text(&record[3]),
                headers: headers
                    .map(|(name, value)| (name.clone(), text(value)))
                    .collect(),
            }
        });
        Ok(each.collect())
    }

    /// The readings of a topic, each partition in its order, and how many ids are there more than once.
    pub fn tally(&self, topic: &str) -> Result<(Tally, usize)> {
        let (mut tally, mut ids, mut doubles) = (Tally::default(), BTreeSet::new(), 0);
        for record in self.records(topic)? {
            let reading: Value = serde_json::from_str(&record.value)?;
            let id = record.headers.get("tidegate-id").context("no id")?;
            doubles += usize::from(!ids.insert(id.clone()));
            tally.note(&record.key, reading["seq"].as_u64().context("no number")?);
        }
        Ok((tally, doubles))
    }

    /// SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.client.take();
        self.process.kill()
    }

    /// Starts it again, on the same ports.
    pub fn start_again(&mut self) -> Result<()> {
        self.client.take();
        self.process = launch(self.folder.path())?;
        let is_back = is_up(&mut self.process, self.port)?;
        ensure!(is_back, "Kafka did not come back");
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

/// One more broker.
#[derive(Debug)]
pub struct SecondBroker {
    process: Process,
    _folder: TempDir,
}

impl SecondBroker {
    /// SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }
}

/// What stands in the config of each.
fn common(folder: &Path, controller: u16) -> String {
    format!(
        "controller.quorum.voters=1@127.0.0.1:{controller}\ncontroller.listener.names=CONTROLLER\n\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL\n\
         inter.broker.listener.name=PLAINTEXT\nlog.dirs={}\noffsets.topic.replication.factor=1\n\
         transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
         share.coordinator.state.topic.replication.factor=1\nshare.coordinator.state.topic.min.isr=1\n",
        folder.join("data").display()
    )
}

/// And in that of the first one.
fn of_first(listeners: &str, controller: u16) -> String {
    format!(
        "process.roles=broker,controller\nnode.id=1\nbroker.session.timeout.ms=3000\n\
         listeners={listeners},CONTROLLER://127.0.0.1:{controller}\nadvertised.listeners={listeners}\n"
    )
}

/// Where users log in it is over TLS.
fn of_users(folder: &Path, own: &Identity) -> Result<String> {
    // Its kind of PEM: key and chain in one file.
    let store = folder.join("broker.pem");
    let key = fs::read_to_string(&own.key)?;
    fs::write(&store, key + &fs::read_to_string(&own.certificate)?)?;
    Ok(format!(
        "sasl.enabled.mechanisms=SCRAM-SHA-512\nssl.keystore.type=PEM\nssl.keystore.location={}\n\
         listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;\n",
        store.display()
    ))
}

/// In that of the second one.
fn of_second(port: u16) -> String {
    format!(
        "process.roles=broker\nnode.id=2\nbroker.heartbeat.interval.ms=500\nlisteners=PLAINTEXT://127.0.0.1:{port}\n"
    )
}

fn java(folder: &Path) -> Command {
    let mut command = Command::new("java");
    command
        .args(JAVA)
        .arg(installed("kafka").join("*"))
        .current_dir(folder);
    command
}

/// Makes its folder one of a broker's, and its user known.
fn format(folder: &Path) -> Result<()> {
    // What an attempt before left behind is of other ports.
    let _ = fs::remove_dir_all(folder.join("data"));
    let made = java(folder)
        .args(["kafka.tools.StorageTool", "format", "-t"])
        .args(["AAAAAAAAAAAAAAAAAAAAAQ", "-c", "kafka.properties"])
        .args(["--add-scram", "SCRAM-SHA-512=[name=barn,password=secret]"])
        .output()?;
    ensure!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    Ok(())
}

fn launch(folder: &Path) -> Result<Process> {
    Process::start(
        "kafka",
        java(folder).args(["kafka.Kafka", "kafka.properties"]),
    )
}

/// Waits until it takes connections, or has ended.
fn is_up(process: &mut Process, port: u16) -> Result<bool> {
    let mut is_up = false;
    wait_until("Kafka takes connections", || {
        is_up = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
        is_up || !process.is_running()
    })?;
    Ok(is_up && process.is_running())
}

/// Somebody else's client, which a program of another language is.
#[derive(Debug)]
struct KafkaClient {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl KafkaClient {
    fn start(port: u16) -> Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("brokers/kafka_client.py");
        let mut child = Command::new(python())
            .arg(script)
            .arg(format!("127.0.0.1:{port}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start the client")?;
        let input = child.stdin.take().context("the client has no input")?;
        let output = child.stdout.take().context("the client has no output")?;
        Ok(Self {
            child,
            input,
            output: BufReader::new(output),
        })
    }

    fn ask(&mut self, question: &Value) -> Result<Value> {
        writeln!(self.input, "{question}")?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        serde_json::from_str(&line).with_context(|| format!("the client says {line:?}"))
    }
}

impl Drop for KafkaClient {
    fn drop(&mut self) {
        // Nothing can be done about a failure here.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
