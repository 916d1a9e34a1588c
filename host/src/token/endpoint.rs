//! Tokens that somebody gives out over HTTP to a client that shows its own secret (RFC 6749, section 4.4).

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, to_bytes};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER};
use hyper_util::rt::TokioIo;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::answer;
use crate::link::{
    Causes, ConnectionLoss, Deadlines, FailureKind, FreshToken, Peer, Secret, SecretError,
    SharedSocket, Socket, Target, Tls, TokenLife, TokenSource,
};

/// Who is at the other end, in the words of errors.
const ENDPOINT: Peer = Peer {
    noun: "token endpoint",
    plain: "http://",
    upgrade: None,
};

/// Largest answer: tokens have some kilobytes.
const ANSWER_BYTES: usize = 64 << 10;
/// How much comes for it at most, with its head.
const RAW_BYTES: usize = 256 << 10;
/// A token with less left than this is not shown any more.
const LEAST_LEFT: Duration = Duration::from_secs(5);
/// How long a new one is waited for while the last one is good.
const BESIDE: Duration = Duration::from_secs(2);
/// An endpoint that gave none is left alone for so long, while the last token is good.
const PAUSE: Duration = Duration::from_secs(30);

/// How a client shows its secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EndpointLogin {
    /// In the header `Authorization`, which every endpoint has to take.
    #[default]
    Basic,
    /// In the body, for those that take nothing else.
    Body,
}

/// What is asked, and of whom.
#[derive(Clone, Debug)]
pub struct TokenRequest {
    pub host: String,
    pub port: u16,
    /// TLS where the URL says `https`.
    pub tls: Option<Tls>,
    /// Path and query of the URL.
    pub path: String,
    /// What the endpoint knows this gateway by.
    pub client: String,
    pub secret: Secret,
    pub login: EndpointLogin,
    /// What the token is to be good for, where the endpoint wants to be told.
    pub scope: Option<String>,
    /// Whom it is to be shown to, the same.
    pub audience: Option<String>,
    /// `answer` is for the whole of the request.
    pub deadlines: Deadlines,
}

/// An endpoint, and its last token while that is good. Connections that dial at once ask once.
#[derive(Debug)]
pub struct TokenEndpoint {
    asked: Arc<TokenRequest>,
    kept: Mutex<KeptToken>,
    /// What is asked in words, without the secret.
    made_of: String,
}

/// What is known at one time.
#[derive(Debug, Default)]
struct KeptToken {
    /// The last one, while it is good.
    last: Option<FreshToken>,
    /// Being fetched, beside those who go on with the last one.
    next: Option<JoinHandle<Result<FreshToken, SecretError>>>,
}

impl TokenEndpoint {
    /// Nobody is asked before a connection wants a token.
    pub fn new(asked: TokenRequest) -> Self {
        let file = asked.secret.file().map(|file| file.display().to_string());
        Self {
            made_of: format!("{asked:?} {file:?}"),
            asked: Arc::new(asked),
            kept: Mutex::default(),
        }
    }

    /// The last token, or a new one; while no new one is to be had, the last one as long as it is good. A new one that takes long is
    /// fetched on, for whoever asks next.
    async fn current(&self) -> Result<FreshToken, SecretError> {
        let mut kept = self.kept.lock().await;
        let begun = Instant::now();
        let is_ready = kept.next.as_ref().is_some_and(JoinHandle::is_finished);
        let is_fresh = |last: &&FreshToken| begun < last.life.renews_at && !is_ready;
        if let Some(token) = kept.last.as_ref().filter(is_fresh) {
            return Ok(token.clone());
        }
        let is_good = |last: &FreshToken| left(last, begun) >= LEAST_LEFT;
        let patience = kept.last.as_ref().filter(|last| is_good(last));
        let patience = patience.map(|_| BESIDE);
        let error = match self.fetched(&mut kept.next, patience).await {
            Ok(token) => {
                kept.last = Some(token.clone());
                return Ok(token);
            }
            Err(error) => error,
        };
        let now = Instant::now();
        let Some(old) = kept.last.as_mut() else {
            return Err(error);
        };
        let left = left(old, now);
        if left < LEAST_LEFT {
            kept.last = None;
            return Err(error);
        }
        let cause = Causes(&error).to_string();
        let good_for = format!("{left:.0?}");
        tracing::warn!(host = %self.asked.host, cause, good_for, "no new token: the last one is used while it is good");
        // Later each time, and never again and again near its end.
        // The file of its secret may be there in a moment.
        let is_ours = matches!(error, SecretError::File { .. });
        let pause = if is_ours {
            PAUSE
        } else {
            (left / 2).max(PAUSE)
        };
        old.life.renews_at = now + pause;
        Ok(old.clone())
    }

    /// A new token, which is `next` or fetched now; one that takes longer than `patience` stays `next`.
    async fn fetched(
        &self,
        next: &mut Option<JoinHandle<Result<FreshToken, SecretError>>>,
        patience: Option<Duration>,
    ) -> Result<FreshToken, SecretError> {
        let asked = Arc::clone(&self.asked);
        let fetch = || tokio::spawn(async move { asked.fetch().await });
        let before = next.take();
        let was_begun = before.is_some();
        let mut fetching = before.unwrap_or_else(fetch);
        let waited = match patience {
            None => Ok((&mut fetching).await),
            Some(patience) => timeout(patience, &mut fetching).await,
        };
        let Ok(fetched) = waited else {
            *next = Some(fetching);
            let problem = format!("the token endpoint has not answered within {BESIDE:?}");
            return Err(SecretError::token(problem, FailureKind::Passing));
        };
        match fetched {
            // Nobody has asked since it came.
            Ok(Ok(token)) if was_begun && left(&token, Instant::now()) < LEAST_LEFT => {
                self.asked.fetch().await
            }
            Ok(fetched) => fetched,
            Err(error) => {
                let problem = format!("what fetches it stopped: {error}");
                Err(SecretError::token(problem, FailureKind::Passing))
            }
        }
    }
}

/// How long it is good from then on.
fn left(token: &FreshToken, now: Instant) -> Duration {
    token.life.ends_at.saturating_duration_since(now)
}

impl TokenSource for TokenEndpoint {
    fn token(&self) -> Pin<Box<dyn Future<Output = Result<FreshToken, SecretError>> + Send + '_>> {
        Box::pin(self.current())
    }

    fn refused(&self) {
        // Whoever holds it asks for another one anyway.
        if let Ok(mut kept) = self.kept.try_lock() {
            kept.last = None;
        }
    }

    fn made_of(&self) -> &str {
        &self.made_of
    }

    fn file(&self) -> Option<&Arc<Path>> {
        self.asked.secret.file()
    }
}

impl TokenRequest {
    /// Asks once, and reads the answer.
    async fn fetch(&self) -> Result<FreshToken, SecretError> {
        let secret = self.secret.current().await?;
        let request = self.request(secret.reveal())?;
        // Counted from here on: what the answer takes is not added to what the token is good for.
        let asked_at = Instant::now();
        let target = Target {
            host: &self.host,
            port: self.port,
            tls: self.tls.as_ref(),
            deadlines: self.deadlines,
            peer: &ENDPOINT,
            carriage: None,
        };
        let socket = Socket::dial(target).await.map_err(|error| {
            SecretError::token(
                format!("at the token endpoint: {}", Causes(&error)),
                error.kind(),
            )
        })?;
        let deadline = self.deadlines.answer;
        let asked = timeout(deadline, ask(socket, request)).await;
        let (status, body, asks) = asked.map_err(|_| {
            let problem = format!("the token endpoint did not answer within {deadline:?}");
            SecretError::token(problem, FailureKind::Passing)
        })??;
        let (secret, pair) = (secret.reveal(), self.pair(secret.reveal()));
        let secrets = [secret, &escaped(secret), &pair];
        let given = answer::read(status, &body, asks.as_deref(), &secrets)?;
        Ok(FreshToken {
            text: given.text.into(),
            life: TokenLife::of(given.good_for, asked_at, fastrand::f64()),
        })
    }

    fn request(&self, secret: &str) -> Result<Request<Body>, SecretError> {
        let mut form = vec![("grant_type", "client_credentials")];
        let mut authorization = None;
        match self.login {
            EndpointLogin::Basic => {
                authorization = Some(format!("Basic {}", self.pair(secret)));
            }
            EndpointLogin::Body => {
                form.extend([("client_id", &*self.client), ("client_secret", secret)]);
            }
        }
        form.extend(self.scope.as_deref().map(|scope| ("scope", scope)));
        form.extend(
            self.audience
                .as_deref()
                .map(|audience| ("audience", audience)),
        );
        let form: Vec<String> = form
            .into_iter()
            .map(|(name, value)| format!("{name}={}", escaped(value)))
            .collect();
        let mut request = Request::post(&self.path)
            .header(HOST, self.authority())
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let unfit = |_: &dyn std::error::Error| {
            let problem =
                "the token endpoint cannot be asked: its `url` has what no request can have";
            SecretError::token(problem, FailureKind::Refused)
        };
        if let Some(authorization) = authorization {
            let mut value = HeaderValue::from_str(&authorization).map_err(|error| unfit(&error))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        request
            .body(Body::from(form.join("&")))
            .map_err(|error| unfit(&error))
    }

    /// Who asks, as a header has it.
    fn pair(&self, secret: &str) -> String {
        BASE64_STANDARD.encode(format!("{}:{}", escaped(&self.client), escaped(secret)))
    }

    /// As it stands in the header `Host`.
    fn authority(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        let standard = if self.tls.is_some() { 443 } else { 80 };
        if self.port == standard {
            host
        } else {
            format!("{host}:{}", self.port)
        }
    }
}

/// Status, body and `Retry-After` of what is answered.
async fn ask(
    socket: Socket,
    request: Request<Body>,
) -> Result<(u16, Vec<u8>, Option<String>), SecretError> {
    let broken = |what: &str| {
        let problem = format!("the token endpoint {what}");
        SecretError::token(problem, FailureKind::Passing)
    };
    let socket = SharedSocket::new(socket, RAW_BYTES);
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket))
        .await
        .map_err(|_| broken("hung up"))?;
    let exchange = async {
        let reply = sender
            .send_request(request)
            .await
            .map_err(|_| broken("hung up instead of answering, or does not speak HTTP"))?;
        let (head, body) = reply.into_parts();
        let asks = head.headers.get(RETRY_AFTER);
        let asks = asks.and_then(|asks| Some(asks.to_str().ok()?.to_owned()));
        let body = to_bytes(Body::new(body), ANSWER_BYTES).await.map_err(|_| {
            broken("did not send its answer to the end, or it is longer than any token")
        })?;
        Ok((head.status.as_u16(), body.to_vec(), asks))
    };
    tokio::pin!(exchange, connection);
    tokio::select! {
        biased;
        answered = &mut exchange => return answered,
        _ = &mut connection => {}
    }
    // It has ended with its last bytes: they are there.
    exchange.await
}

/// As a form has it: letters, digits and `-._~` as they are.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(char::from(byte));
            }
            byte => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
