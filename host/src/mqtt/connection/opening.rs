//! How a connection comes to stand: by which version, with which password, and how its end before that is read.

use std::borrow::Cow;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::time::{sleep, timeout};

use super::Connection;
use crate::link::{self, DrivenSocket, Socket, TokenLife};
use crate::mqtt::error::CONNACK_PHASE;
use crate::mqtt::session::Session;
use crate::mqtt::wire::ProtocolVersion;
use crate::mqtt::{Config, Error, Established, Login, Protocol, hint};

impl Connection {
    /// Dials, shakes hands over TLS, sends CONNECT and waits for CONNACK, each within its deadline.
    ///
    /// `Protocol::Auto` tries MQTT 5, and 3.1.1 on a fresh dial where the broker refuses 5, does not answer it, or answers
    /// it with what is no MQTT 5. A broker that only closes may know no better, or be in the middle of a start: 3.1.1 is
    /// kept only if it closes on 5 once more while it takes 3.1.1.
    ///
    /// # Errors
    /// Whatever went wrong, in words for the operator; its kind says how to go on.
    pub async fn open(config: &Config) -> Result<(Self, Established), Error> {
        let config = &*with_todays_password(config).await?;
        Self::open_by_protocol(config)
            .await
            .map_err(|error| hint::explain(error, config))
    }

    async fn open_by_protocol(config: &Config) -> Result<(Self, Established), Error> {
        match config.protocol {
            Protocol::V5 => Self::open_as(config, ProtocolVersion::V5).await,
            Protocol::V311 => Self::open_as(config, ProtocolVersion::V311).await,
            Protocol::Auto => Self::open_as_either(config).await,
        }
    }

    async fn open_as_either(config: &Config) -> Result<(Self, Established), Error> {
        match Self::open_as(config, ProtocolVersion::V5).await {
            Err(Error::Closed { .. }) => {
                let (old, _) = Self::open_as(config, ProtocolVersion::V311).await?;
                old.close().await;
                match Self::open_as(config, ProtocolVersion::V5).await {
                    Ok(opened) => Ok(opened),
                    Err(_) => Self::open_as(config, ProtocolVersion::V311).await,
                }
            }
            Err(error) if error.may_be_the_version() => {
                Self::open_as(config, ProtocolVersion::V311).await
            }
            outcome => outcome,
        }
    }

    async fn open_as(
        config: &Config,
        version: ProtocolVersion,
    ) -> Result<(Self, Established), Error> {
        let session = Session::new(config, version, Instant::now())?;
        let mut connection = Self {
            socket: DrivenSocket::new(Socket::dial(config.target()).await?),
            session,
            input: BytesMut::new(),
            unread: true,
            look: None,
            ahead: 0,
            paused: false,
            manners: None,
            presence: None,
            write_deadline: config.deadlines.write,
            life: life_of(config),
            timer: Box::pin(sleep(Duration::ZERO)),
        };
        let deadline = config.deadlines.handshake;
        match timeout(deadline, poll_fn(|cx| connection.poll_greet(cx))).await {
            Ok(Ok(established)) => Ok((connection, established)),
            Ok(Err(error)) => Err(closed_before_connack(error)),
            Err(_) => Err(link::Error::late(CONNACK_PHASE, deadline).into()),
        }
    }

    fn poll_greet(&mut self, cx: &mut Context<'_>) -> Poll<Result<Established, Error>> {
        let now = Instant::now();
        self.poll_write(cx, now)?;
        loop {
            if let Some(stranger) = hint::stranger(&self.input) {
                return Poll::Ready(Err(stranger));
            }
            if let Some(established) = self.session.greet(&mut self.input, now)? {
                return Poll::Ready(Ok(established));
            }
            ready!(self.poll_fill(cx))?;
        }
    }
}

/// With its password as it is now.
async fn with_todays_password(config: &Config) -> Result<Cow<'_, Config>, Error> {
    let password = config
        .login
        .as_ref()
        .and_then(|login| login.password.as_ref());
    let (Some(login), Some(password)) = (&config.login, password) else {
        return Ok(Cow::Borrowed(config));
    };
    let login = Login {
        user: login.user.clone(),
        password: Some(password.todays().await?),
    };
    Ok(Cow::Owned(Config {
        login: Some(login),
        ..config.clone()
    }))
}

/// How long the password that is shown is used.
fn life_of(config: &Config) -> Option<TokenLife> {
    config.login.as_ref()?.password.as_ref()?.life()
}

/// An end before CONNACK, however the system words it.
fn closed_before_connack(error: Error) -> Error {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    match error {
        Error::Closed { .. } => Error::Closed {
            before_connack: true,
        },
        Error::Link(link::Error::Broken(cause))
            if matches!(
                cause.kind(),
                BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof
            ) =>
        {
            Error::Closed {
                before_connack: true,
            }
        }
        error => error,
    }
}
