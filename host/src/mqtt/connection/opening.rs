//! What opening a connection takes beside dialling, and how its end is read.

use std::borrow::Cow;
use std::io;

use crate::link::{self, TokenLife};
use crate::mqtt::{Config, Error, Login};

/// With its password as it is now.
pub(super) async fn with_todays_password(config: &Config) -> Result<Cow<'_, Config>, Error> {
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
pub(super) fn life_of(config: &Config) -> Option<TokenLife> {
    config.login.as_ref()?.password.as_ref()?.life()
}

pub(super) fn broken(cause: io::Error) -> Error {
    link::Error::Broken(cause).into()
}

/// An end before CONNACK, however the system words it.
pub(super) fn closed_before_connack(error: Error) -> Error {
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
