//! What opening a connection takes beside dialling, and how its end is read.

use std::borrow::Cow;
use std::io;

use crate::link::{self, Secret};
use crate::mqtt::{Config, Error, Login};

/// A password in a file is read at every dial, on a thread that may wait for the disk: tokens are renewed, some each hour.
pub(super) async fn with_todays_password(config: &Config) -> Result<Cow<'_, Config>, Error> {
    let file = config
        .login
        .as_ref()
        .and_then(|login| login.password.as_ref()?.file().cloned());
    let (Some(login), Some(file)) = (&config.login, file) else {
        return Ok(Cow::Borrowed(config));
    };
    let path = file.to_path_buf();
    let read = tokio::task::spawn_blocking(move || Secret::read(&file))
        .await
        .map_err(|stopped| stopped.to_string());
    let password = read
        .and_then(|read| read)
        .map_err(|problem| Error::Password { path, problem })?;
    let login = Login {
        user: login.user.clone(),
        password: Some(password),
    };
    Ok(Cow::Owned(Config {
        login: Some(login),
        ..config.clone()
    }))
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
