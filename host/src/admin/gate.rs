//! Who may come in at the admin port: under which name it is asked, and with which token. Tokens and certificates are read again
//! while it is served, since they are renewed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio_rustls::TlsAcceptor;

use super::Config;
use super::attend::Vouched;
use super::caller::{Caller, CallerOrigin, Scope};
use super::hosts::{Hosts, MisnamedRequest};
use super::routes::stranger;
use super::tokens::{self, Tokens};
use super::tries::FailedTries;
use crate::link::{Causes, Error, ServerTls, build_server};

/// How often the files of tokens and certificates are read.
const READ_AGAIN: Duration = Duration::from_secs(10);
/// The same where one is not what it was: it may be being written at this moment.
const READ_SOON: Duration = Duration::from_secs(1);

/// What all requests at the port go through.
pub(super) struct AccessGate {
    hosts: Hosts,
    tokens: Tokens,
    reads_openly: bool,
    failed: Mutex<FailedTries>,
    tls: Option<ServerTls>,
    /// None while its files were never good.
    acceptor: Mutex<Option<TlsAcceptor>>,
    /// What is wrong with its files: said once.
    said: Mutex<Option<String>>,
}

impl AccessGate {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            hosts: Hosts::new(config.listen, &config.hosts),
            tokens: Tokens::new(&config.tokens),
            reads_openly: config.reads_openly,
            failed: Mutex::default(),
            tls: config.tls.clone(),
            acceptor: Mutex::default(),
            said: Mutex::default(),
        }
    }

    /// What whoever comes here could be served at most.
    pub(super) fn most(&self) -> Scope {
        if self.tokens.is_empty() {
            Scope::Open
        } else {
            Scope::Deploy
        }
    }

    pub(super) fn wants_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// For the next handshake.
    pub(super) fn acceptor(&self) -> Option<TlsAcceptor> {
        let acceptor = self.acceptor.lock().unwrap_or_else(PoisonError::into_inner);
        acceptor.clone()
    }

    /// Reads tokens and certificates. A token that cannot be read, not even a second later, lets nobody in; certificates of before
    /// hold. Whether it is to be looked again soon.
    pub(super) async fn read(&self) -> bool {
        let is_new = self.tokens.read().await;
        let Some(tls) = self.tls.clone() else {
            return is_new;
        };
        let built = match tokio::task::spawn_blocking(move || build_server(&tls)).await {
            Ok(built) => built,
            Err(stopped) => Err(Error::Broken(std::io::Error::other(stopped))),
        };
        let why = match built {
            Ok(settings) => {
                let acceptor = TlsAcceptor::from(Arc::new(settings));
                *self.acceptor.lock().unwrap_or_else(PoisonError::into_inner) = Some(acceptor);
                None
            }
            Err(error) => Some(Causes(&error).to_string()),
        };
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cause) = why.as_ref().filter(|_| *said != why) {
            let cause = crate::words::line(cause, crate::words::REASON);
            tracing::warn!(
                cause,
                "the admin port's certificate cannot be read: the one of before holds, and without one nobody is answered"
            );
        }
        let is_news = why.is_some() && *said != why;
        *said = why;
        is_new || is_news
    }

    /// Does so for ever.
    pub(super) async fn read_again(&self) {
        let mut pause = READ_AGAIN;
        loop {
            tokio::time::sleep(pause).await;
            pause = if self.read().await {
                READ_SOON
            } else {
                READ_AGAIN
            };
        }
    }

    /// Who asks, by what the request shows.
    fn caller(&self, caller: Caller, headers: &HeaderMap) -> Result<Caller, Unwelcome> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let shown = values.next().filter(|_| !self.tokens.is_empty());
        let Some(shown) = shown else {
            let is_open = self.reads_openly;
            return is_open.then_some(caller).ok_or(Unwelcome::Nobody);
        };
        let CallerOrigin::Port { peer, .. } = caller.origin else {
            return Ok(caller);
        };
        let now = Instant::now();
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(wait) = failed.wait(peer.ip(), now) {
            return Err(Unwelcome::Waits(wait));
        }
        let token = tokens::shown(shown.as_bytes()).filter(|_| values.next().is_none());
        match token.and_then(|token| self.tokens.found(token)) {
            Some((name, scope)) => Ok(Caller {
                origin: CallerOrigin::Port {
                    peer,
                    token: Some(name),
                },
                scope,
            }),
            None => {
                failed.note(peer.ip(), now);
                tracing::warn!(from = %peer.ip(), "a wrong token was shown at the admin port");
                Err(Unwelcome::Stranger)
            }
        }
    }
}

/// Why nobody is let in.
enum Unwelcome {
    /// No token is shown.
    Nobody,
    /// A wrong one is.
    Stranger,
    /// So many wrong ones came from there that whoever is there waits.
    Waits(Duration),
}

impl IntoResponse for Unwelcome {
    fn into_response(self) -> Response {
        match self {
            Self::Nobody => stranger("this port wants a token: Authorization: Bearer …\n"),
            Self::Stranger => stranger("that is no token of this gateway\n"),
            Self::Waits(wait) => {
                let seconds = [(header::RETRY_AFTER, (wait.as_secs() + 1).to_string())];
                let words = "too many wrong tokens came from there: wait\n";
                (StatusCode::TOO_MANY_REQUESTS, seconds, words).into_response()
            }
        }
    }
}

/// Looks at a request before anything of it is done.
pub(super) async fn pass(
    State(gate): State<Arc<AccessGate>>,
    mut request: Request,
    next: Next,
) -> Response {
    if let Err(misnamed) = gate.hosts.check(&request) {
        return refused(misnamed);
    }
    let Some(caller) = request.extensions_mut().remove::<Caller>() else {
        return StatusCode::FORBIDDEN.into_response();
    };
    match gate.caller(caller, request.headers()) {
        Ok(caller) => {
            if caller.scope > Scope::Open
                && let Some(vouched) = request.extensions().get::<Vouched>()
            {
                vouched.vouch();
            }
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(unwelcome) => unwelcome.into_response(),
    }
}

fn refused(misnamed: MisnamedRequest) -> Response {
    let (status, words) = match misnamed {
        MisnamedRequest::Unclear => (StatusCode::BAD_REQUEST, "one Host has to be named\n"),
        MisnamedRequest::Page => (
            StatusCode::FORBIDDEN,
            "no page from elsewhere may ask here\n",
        ),
        MisnamedRequest::Foreign => (
            StatusCode::MISDIRECTED_REQUEST,
            "this port is not asked under that name: localhost, 127.0.0.1 and [::1] are good, the address it listens on, and what \
             `hosts` in [admin] says\n",
        ),
    };
    (status, words).into_response()
}
