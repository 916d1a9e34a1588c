//! A connection to a database: one statement at a time, each with deadlines of our own, since a server that stands still answers every probe of
//! the kernel's.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::{Sleep, sleep_until, timeout};
use tokio_postgres::config::SslMode;
use tokio_postgres::error::{DbError, Severity};
use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Connection, NoTls};

use super::table::TargetTable;
use super::verdict::{self, SqlVerdict};
use super::{Config, Error};
use crate::link::{Causes, Question, SharedSocket, Socket};
use crate::words;

/// How often to look how far a statement has got.
const LOOK: Duration = Duration::from_secs(1);
/// What the answer to a statement may have, all that is said beside it included: some hundred bytes for each row of the largest batch.
const ANSWER_BYTES: usize = 8 << 20;
/// Characters of a server's answer that are kept.
const WORDS: usize = 300;

/// What a server says of a statement that it did not run.
#[derive(Debug)]
pub(super) struct ServerNotice {
    pub(super) verdict: SqlVerdict,
    pub(super) hint: &'static str,
    /// SQLSTATE and words, fit to be shown.
    pub(super) answer: String,
    /// The connection ends with it.
    is_last: bool,
}

impl ServerNotice {
    fn of(error: &DbError) -> Self {
        let code = error.code().code();
        let mut answer = format!("{code} {}", words::line(error.message(), WORDS));
        if let Some(detail) = error.detail() {
            answer.push_str(" (");
            answer.push_str(&words::line(detail, WORDS));
            answer.push(')');
        }
        Self {
            verdict: SqlVerdict::of(code),
            hint: verdict::hint(code),
            answer,
            is_last: matches!(
                error.parsed_severity(),
                Some(Severity::Fatal | Severity::Panic)
            ),
        }
    }

    /// Whether it is said of everything, and may be meant of one row.
    pub(super) fn is_doubtful(&self) -> bool {
        matches!(self.verdict, SqlVerdict::Held | SqlVerdict::Away) && !self.is_last
    }

    /// The server takes inserts all the same: it was said of a row, which is refused by a policy or a trigger, or by another server that
    /// a trigger or a foreign table asks.
    pub(super) fn of_a_row(self) -> Self {
        let verdict = match self.verdict {
            SqlVerdict::Away => SqlVerdict::Passing,
            _ => SqlVerdict::Refused,
        };
        tracing::debug!(answer = self.answer, "said of a row, and not of the table");
        Self { verdict, ..self }
    }

    /// What ends a connection that has just begun.
    fn into_error(self) -> Error {
        let Self { hint, answer, .. } = self;
        match self.verdict {
            SqlVerdict::Held | SqlVerdict::Refused => Error::Held { answer, hint },
            SqlVerdict::Failed => Error::Failed(answer),
            SqlVerdict::Passing | SqlVerdict::Away => Error::Busy(answer),
        }
    }
}

/// The values of one column, in the binary form of an array.
#[derive(Debug)]
pub(super) struct Array(pub(super) Bytes);

impl ToSql for Array {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut bytes::BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.extend_from_slice(&self.0);
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TEXT_ARRAY || *ty == Type::BYTEA_ARRAY
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Binary
    }

    to_sql_checked!();
}

type SpokenTo<T> = Result<T, tokio_postgres::Error>;

/// The half of it that reads and writes.
struct WatchedSocket {
    socket: SharedSocket,
    /// Gone once it has ended: what still waits for its answers hears only by that that there will be none.
    connection: Option<Pin<Box<Connection<SharedSocket, NoTlsStream>>>>,
    /// How it ended, if it has.
    end: Option<SpokenTo<()>>,
}

impl WatchedSocket {
    fn poll(&mut self, cx: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection
            && let Poll::Ready(end) = connection.as_mut().poll(cx)
        {
            (self.end, self.connection) = (Some(end), None);
        }
    }

    /// Lets the connection carry what `work` asks for.
    fn poll_with<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut work: Pin<&mut (impl Future<Output = SpokenTo<T>> + ?Sized)>,
    ) -> Poll<SpokenTo<T>> {
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(done);
        }
        self.poll(cx);
        work.poll(cx)
    }

    /// What a failure means: what the server says of a statement, or why the connection is over.
    fn explain(&mut self, error: &tokio_postgres::Error) -> Result<ServerNotice, Error> {
        let last = match &self.end {
            Some(Err(end)) => end.as_db_error(),
            _ => None,
        };
        if let Some(said) = error.as_db_error().or(last) {
            let told = ServerNotice::of(said);
            let is_end = matches!(
                said.parsed_severity(),
                Some(Severity::Fatal | Severity::Panic)
            );
            return match (is_end, told.verdict) {
                (true, SqlVerdict::Held) => Err(told.into_error()),
                (true, _) => Err(Error::Closed(format!(": {}", told.answer))),
                (false, _) => Ok(told),
            };
        }
        if let Some(fault) = self.socket.take_fault() {
            return Err(fault.into());
        }
        if error.is_closed() || self.end.is_some() {
            return Err(Error::Closed(" instead of answering".to_owned()));
        }
        Err(Error::Stranger(words::line(
            &Causes(error).to_string(),
            WORDS,
        )))
    }
}

/// What a server made of a statement, and the question that was about it.
type StatementOutcome = (Result<(), ServerNotice>, Question);

/// A statement under way.
struct StatementExchange {
    work: Pin<Box<dyn Future<Output = SpokenTo<()>> + Send>>,
    question: Question,
}

/// A connection to a database, with the table that rows go into.
pub(super) struct PostgresWire {
    line: WatchedSocket,
    client: Arc<Client>,
    pub(super) table: TargetTable,
    exchange: Option<StatementExchange>,
    config: Arc<Config>,
    timer: Pin<Box<Sleep>>,
}

impl PostgresWire {
    /// Dials, logs in, and looks the table up; each phase has a deadline.
    pub(super) async fn open(config: &Arc<Config>) -> Result<Self, Error> {
        let socket = SharedSocket::new(Socket::dial(config.target()).await?, ANSWER_BYTES);
        let mut login = tokio_postgres::Config::new();
        login
            .user(&config.user)
            .dbname(&config.database)
            .application_name("tidegate")
            // The socket has TLS below already, where the URL says so.
            .ssl_mode(SslMode::Disable);
        if let Some(password) = &config.password {
            login.password(password.todays().await?.reveal());
        }
        let handshake = config.deadlines.handshake;
        let logged_in = timeout(handshake, login.connect_raw(socket.clone(), NoTls))
            .await
            .map_err(|_| Error::Silent(handshake))?;
        let (client, connection) = logged_in.map_err(|error| turned_away(&error, &socket))?;
        let mut line = WatchedSocket {
            socket,
            connection: Some(Box::pin(connection)),
            end: None,
        };
        let answer = config.deadlines.answer;
        let found = {
            let mut setting_up = pin!(set_up(&client, config));
            let spoken = poll_fn(|cx| line.poll_with(cx, setting_up.as_mut()));
            timeout(answer, spoken)
                .await
                .map_err(|_| Error::Late(answer))?
        };
        let table = match found {
            Ok(table) => table,
            Err(error) => return Err(line.explain(&error)?.into_error()),
        };
        Ok(Self {
            line,
            client: Arc::new(client),
            table,
            exchange: None,
            config: Arc::clone(config),
            timer: Box::pin(sleep_until(Instant::now().into())),
        })
    }

    /// Whether a statement is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.exchange.is_some()
    }

    /// While nothing is asked it is only seen when the server closes it.
    pub(super) fn poll_idle(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        self.line.poll(cx);
        match &self.line.end {
            None => Ok(()),
            Some(Err(end)) if end.as_db_error().is_some() => {
                let said = end.as_db_error().map(ServerNotice::of);
                let words = said.map_or_else(String::new, |said| format!(": {}", said.answer));
                Err(Error::Closed(words))
            }
            Some(_) => match self.line.socket.take_fault() {
                Some(fault) => Err(fault.into()),
                None => Err(Error::Closed(String::new())),
            },
        }
    }

    /// Inserts rows; the answer is waited for as long as any, and no longer than `patience`.
    pub(super) fn insert(&mut self, arrays: Vec<Array>, patience: Duration) {
        let client = Arc::clone(&self.client);
        let insert = self.table.insert.clone();
        self.ask(Some(patience), async move {
            client.execute_raw(&insert, &arrays).await.map(drop)
        });
    }

    /// Finds out whether this user may still insert.
    pub(super) fn check(&mut self) {
        let client = Arc::clone(&self.client);
        let check = self.table.check.clone();
        self.ask(None, async move { client.batch_execute(&check).await });
    }

    fn ask(
        &mut self,
        patience: Option<Duration>,
        work: impl Future<Output = SpokenTo<()>> + Send + 'static,
    ) {
        let now = Instant::now();
        self.line.socket.asked();
        self.exchange = Some(StatementExchange {
            work: Box::pin(work),
            question: Question::new(patience, now),
        });
        self.timer.as_mut().reset((now + LOOK).into());
    }

    /// What became of it, and how it went.
    pub(super) fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<StatementOutcome, Error>> {
        loop {
            let Some(exchange) = &mut self.exchange else {
                return Poll::Pending;
            };
            if let Poll::Ready(done) = self.line.poll_with(cx, exchange.work.as_mut()) {
                let Some(StatementExchange { question, .. }) = self.exchange.take() else {
                    return Poll::Pending;
                };
                let told = match done {
                    Ok(()) => Ok(()),
                    Err(error) => Err(self.line.explain(&error)?),
                };
                return Poll::Ready(Ok((told, question)));
            }
            ready!(self.timer.as_mut().poll(cx));
            let now = Instant::now();
            let place = self.line.socket.taken_of();
            let overdue = exchange
                .question
                .overdue(place, &self.config.deadlines, now);
            if let Some(overdue) = overdue {
                return Poll::Ready(Err(overdue.into()));
            }
            let look_at = exchange.question.look_at(LOOK, now);
            self.timer.as_mut().reset(look_at.into());
        }
    }

    /// Takes leave, and waits a moment for that to be through.
    pub(super) async fn close(self) {
        let Self {
            mut line, client, ..
        } = self;
        drop((client, self.exchange));
        let ended = poll_fn(|cx| {
            line.poll(cx);
            if line.end.is_some() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        });
        // Whether it learns that or not: nothing is under way.
        let _ = timeout(LOOK, ended).await;
    }
}

/// What no login came of.
fn turned_away(error: &tokio_postgres::Error, socket: &SharedSocket) -> Error {
    if let Some(said) = error.as_db_error() {
        return ServerNotice::of(said).into_error();
    }
    if let Some(fault) = socket.take_fault() {
        return fault.into();
    }
    if error.is_closed() {
        return Error::Closed(" before the login was through".to_owned());
    }
    Error::Login(words::line(&Causes(error).to_string(), WORDS))
}

/// What is left running by a connection that was given up ends by itself; only then is the table looked up.
async fn set_up(client: &Client, config: &Config) -> SpokenTo<TargetTable> {
    let most = config.deadlines.answer.as_millis().saturating_mul(2);
    let most = most.min(i32::MAX as u128);
    let settings = format!("SET statement_timeout = {most}");
    client.batch_execute(&settings).await?;
    TargetTable::find(client, config).await
}
