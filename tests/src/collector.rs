//! A server that takes whatever is posted and keeps it: what OTLP over HTTP is sent to, or what an uplink sends. The tests' own.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use serde_json::Value;

/// What it does with requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taking {
    /// Takes them.
    All,
    /// Answers with this status, and some words.
    No(u16),
    /// Reads them, and says nothing.
    Hangs,
}

/// A request that it took.
#[derive(Clone, Debug)]
pub struct Posted {
    /// Path and query.
    pub path: String,
    /// By their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

/// A span, as it came.
#[derive(Clone, Debug)]
pub struct SeenSpan(pub Value);

#[derive(Debug)]
struct ServerState {
    taking: Mutex<Taking>,
    posted: Mutex<Vec<Posted>>,
    asked: Mutex<u64>,
}

/// A running one.
#[derive(Clone, Debug)]
pub struct CollectorServer {
    address: SocketAddr,
    state: Arc<ServerState>,
}

impl CollectorServer {
    /// Starts it.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port")?;
        let address = listener.local_addr()?;
        let state = Arc::new(ServerState {
            taking: Mutex::new(Taking::All),
            posted: Mutex::default(),
            asked: Mutex::default(),
        });
        let serving = Arc::clone(&state);
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let state = Arc::clone(&serving);
                // A connection that breaks ends its thread.
                std::thread::spawn(move || serve(&stream, &state));
            }
        });
        Ok(Self { address, state })
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on it does this.
    pub fn set(&self, taking: Taking) {
        *locked(&self.state.taking) = taking;
    }

    /// What it took.
    pub fn posted(&self) -> Vec<Posted> {
        locked(&self.state.posted).clone()
    }

    /// How many requests came, whether it took them or not.
    pub fn asked(&self) -> u64 {
        *locked(&self.state.asked)
    }

    /// All spans that it took.
    ///
    /// # Panics
    /// When a request is none of OTLP.
    pub fn spans(&self) -> Vec<SeenSpan> {
        let mut spans = Vec::new();
        for posted in self.posted() {
            assert_eq!(posted.path, "/v1/traces");
            let body: Value = serde_json::from_slice(&posted.body).expect("a body is no JSON");
            let list = |value: &Value, key: &str| value[key].as_array().cloned().expect("no list");
            for resource in list(&body, "resourceSpans") {
                for scope in list(&resource, "scopeSpans") {
                    spans.extend(list(&scope, "spans").into_iter().map(SeenSpan));
                }
            }
        }
        spans
    }

    /// Those of this name.
    pub fn called(&self, name: &str) -> Vec<SeenSpan> {
        let spans = self.spans().into_iter();
        spans.filter(|span| span.text("name") == name).collect()
    }
}

impl SeenSpan {
    /// A member that is a text; empty where there is none.
    pub fn text(&self, key: &str) -> &str {
        self.0[key].as_str().unwrap_or_default()
    }

    /// An attribute as text; empty where there is none.
    pub fn attribute(&self, key: &str) -> String {
        let all = self.0["attributes"].as_array().cloned().unwrap_or_default();
        let found = all.iter().find(|one| one["key"] == key);
        let value = found.map(|one| &one["value"]);
        let text = |value: &Value| {
            let text = value["stringValue"].as_str().or(value["intValue"].as_str());
            text.map(str::to_owned)
        };
        value.and_then(text).unwrap_or_default()
    }

    /// As whoever comes next names it: `00-<trace>-<span>-01`.
    pub fn parent_of_next(&self) -> String {
        format!("00-{}-{}-01", self.text("traceId"), self.text("spanId"))
    }
}

fn serve(stream: &TcpStream, state: &ServerState) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let posted = read(&mut reader)?;
        *locked(&state.asked) += 1;
        let taking = *locked(&state.taking);
        let answer = match taking {
            Taking::All => {
                locked(&state.posted).push(posted);
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
                    .to_owned()
            }
            Taking::No(status) => {
                format!("HTTP/1.1 {status} No\r\nContent-Length: 8\r\n\r\nnot here")
            }
            Taking::Hangs => continue,
        };
        let mut stream = stream;
        stream.write_all(answer.as_bytes()).ok()?;
    }
}

fn read(reader: &mut impl BufRead) -> Option<Posted> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = BTreeMap::new();
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        headers.insert(name.trim().to_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length")?.parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Posted {
        path,
        headers,
        body,
    })
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
