//! How a way to a server is made: its secrets are read, and it is dialled.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use hyper::HeaderMap;
use hyper::header::{HOST, HeaderName, HeaderValue};

use super::patience::Patience;
use super::settings::Value;
use super::wire::Wire;
use super::{Config, Error, Lane};
use crate::link::{Backoff, Dial, Secret};

/// Dials one server, always in the same way.
#[derive(Debug)]
pub(in super::super) struct Dialler {
    config: Arc<Config>,
    is_unproven: Arc<AtomicBool>,
    patience: Arc<Mutex<Patience>>,
}

/// The server turned away what it was sent last, whatever it was.
#[derive(Clone, Debug)]
pub(super) struct Unproven(Arc<AtomicBool>);

impl Unproven {
    pub(super) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Sets it, and says what it was.
    pub(super) fn set(&self, is_unproven: bool) -> bool {
        self.0.swap(is_unproven, Ordering::Relaxed)
    }
}

impl Dialler {
    pub(super) fn new(config: Config) -> Self {
        Self {
            config: Arc::new(config),
            is_unproven: Arc::default(),
            patience: Arc::default(),
        }
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }
}

impl Dial for Dialler {
    type Up = Lane;
    type Error = Error;

    async fn dial(&self, _: u32) -> Result<Lane, Error> {
        // An interface that came up cuts a back-off short, but not what the server asked for.
        if let Some(left) = self.config.pause.left(Instant::now()) {
            return Err(Error::Asked(left));
        }
        let headers = headers(&self.config).await?;
        let wire = Wire::open(self.config.target()).await?;
        let unproven = Unproven(Arc::clone(&self.is_unproven));
        let patience = Arc::clone(&self.patience);
        let config = Arc::clone(&self.config);
        Ok(Lane::new(config, headers, wire, (unproven, patience)))
    }

    fn id(&self) -> &str {
        &self.config.id
    }

    fn backoff(&self) -> Backoff {
        self.config.backoff
    }

    fn complaint(&self) -> &'static str {
        "no connection to the server"
    }
}

/// Opens a connection to the server and leaves it.
pub(in super::super) async fn reach(config: &Config) -> Result<String, Error> {
    headers(config).await?;
    Wire::open(config.target()).await?.close().await;
    let tls = if config.tls.is_some() {
        "a connection stands, and its certificate is good"
    } else {
        "a connection stands, without TLS"
    };
    Ok(format!("{tls}; no request was made"))
}

/// What every request has.
async fn headers(config: &Config) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::new();
    let authority = HeaderValue::from_str(&config.authority());
    headers.insert(
        HOST,
        authority.map_err(|_| Error::Header("url".to_owned()))?,
    );
    for (name, value) in &config.headers {
        let (text, is_secret) = match value {
            Value::Open(text) => (text.clone(), false),
            Value::Secret(secret) => (todays(secret).await?.reveal().to_owned(), true),
            Value::Token(secret) => (format!("Bearer {}", todays(secret).await?.reveal()), true),
        };
        let wrong = || Error::Header(name.clone());
        let mut value = HeaderValue::from_str(&text).map_err(|_| wrong())?;
        value.set_sensitive(is_secret);
        let name: HeaderName = name.parse().map_err(|_| wrong())?;
        headers.insert(name, value);
    }
    Ok(headers)
}

/// A secret in a file is read at every dial, on a thread that may wait for the disk: tokens are renewed, some each hour.
async fn todays(secret: &Secret) -> Result<Secret, Error> {
    let Some(file) = secret.file().cloned() else {
        return Ok(secret.clone());
    };
    let path = file.to_path_buf();
    let read = tokio::task::spawn_blocking(move || Secret::read(&file))
        .await
        .map_err(|stopped| stopped.to_string());
    read.and_then(|read| read)
        .map_err(|problem| Error::Secret { path, problem })
}
