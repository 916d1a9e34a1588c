//! Into a table of PostgreSQL (TimescaleDB is one): batches of rows, each one statement and so one transaction, and each row once where the
//! table has a unique index with the id.
//!
//! - `row`: what stands for a message. `verdict`: what an SQLSTATE says. `table`: statements, from what the catalog says of the table.
//! - `wire`: one connection, one statement on it, with deadlines. `dial`: how a way into a database begins.
//!
//! Upstream has a message when the statement that inserts it was answered, which is behind its commit. One that says nothing about a
//! row (a right, a table, no room) ends the way instead, so that everything waits, is owed again, and the back-off holds.

mod dial;
mod error;
mod row;
mod settings;
mod table;
mod verdict;
mod wire;

use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use tokio_postgres::types::Type;

pub(super) use self::dial::reach;
pub use self::error::Error;
pub use self::settings::{Cell, Config};

use self::row::{RowShape, array, row};
use self::verdict::SqlVerdict;
use self::wire::{Array, PostgresWire, ServerNotice};
use super::batch::{BatchCarrier, BatchMemory, BatchMessage, RequestBatch};
use super::carrier::{Answer, OutgoingPacket, PacketOrigin, Unsendable};
use crate::link::{Backoff, Question, SecretFiles, Tls};

/// The values of a row.
type Row = Vec<Option<Bytes>>;

/// A way into a table.
pub(super) struct PostgresCarrier {
    config: Arc<Config>,
    batch: RequestBatch<Row>,
    wire: PostgresWire,
    /// What was said of rows that may be said of the table: it is being looked at whether it is.
    doubted: Option<ServerNotice>,
    memory: BatchMemory,
}

impl PostgresCarrier {
    /// Sends the next statement, if there is one.
    fn send(&mut self) -> bool {
        let Some(messages) = self.batch.next() else {
            return false;
        };
        let shapes = self.wire.table.shapes.iter();
        let arrays = shapes.enumerate().map(|(number, shape)| {
            let values = messages.iter().map(|held| held.what[number].as_ref());
            let element = match shape {
                RowShape::Bytes => Type::BYTEA.oid(),
                _ => Type::TEXT.oid(),
            };
            Array(array(element, messages.len(), values))
        });
        let arrays = arrays.collect();
        let patience = self.memory.left(self.config.deadlines.answer);
        self.wire.insert(arrays, patience);
        true
    }

    /// What the answer says about what was sent.
    fn conclude(
        &mut self,
        told: Result<(), ServerNotice>,
        question: &Question,
        answers: &mut Vec<Answer>,
    ) -> Result<(), Error> {
        let topics = self.batch.topics();
        let told = match (told, self.doubted.take()) {
            (Ok(()), None) => {
                self.memory.set_unproven(false);
                let took = question.took(Instant::now());
                self.memory.took(took, topics);
                self.batch.pace(question.sending());
                self.batch.accepted(answers);
                return Ok(());
            }
            (Ok(()), Some(told)) => told.of_a_row(),
            (Err(told), None) if told.is_doubtful() => {
                self.doubted = Some(told);
                self.wire.check();
                return Ok(());
            }
            (Err(told), _) => told,
        };
        self.memory.told(topics);
        let ServerNotice {
            verdict,
            hint,
            answer,
            ..
        } = told;
        let is_of_all = matches!(verdict, SqlVerdict::Held | SqlVerdict::Away);
        self.memory.set_unproven(is_of_all);
        match verdict {
            SqlVerdict::Refused => self.batch.refused(&answer, answers),
            SqlVerdict::Held => return Err(Error::Held { answer, hint }),
            // It is an answer over a connection that stands: nobody else need wait for it.
            SqlVerdict::Passing | SqlVerdict::Failed => {
                if !self.memory.is_of_one(&mut self.batch, &answer, answers) {
                    return Err(match verdict {
                        SqlVerdict::Failed => Error::Failed(answer),
                        _ => Error::Busy(answer),
                    });
                }
            }
            SqlVerdict::Away => return Err(Error::Busy(answer)),
        }
        Ok(())
    }
}

impl BatchCarrier for PostgresCarrier {
    type Settings = Config;
    type Known = ();
    type Fault = Error;
    type What = Row;

    const HAS_HEADERS: bool = false;
    const COMPLAINT: &'static str = "no way into the database";

    fn id(config: &Config) -> &str {
        &config.id
    }

    fn backoff(config: &Config) -> Backoff {
        config.backoff
    }

    fn files(config: &Config) -> SecretFiles {
        SecretFiles::of(&config.password, config.tls.iter().flat_map(Tls::paths))
    }

    async fn open(config: &Arc<Config>, (): &(), memory: &BatchMemory) -> Result<Self, Error> {
        let wire = Box::pin(PostgresWire::open(config)).await?;
        Ok(Self {
            batch: RequestBatch::new(usize::from(config.batch_messages), config.batch_bytes),
            config: Arc::clone(config),
            wire,
            doubted: None,
            memory: memory.clone(),
        })
    }

    fn announce(&self, (stage, name): (&str, &str), failures_before: u32) {
        let Config { host, port, .. } = &*self.config;
        let table = self.config.table.join(".");
        if self.wire.table.key.is_empty() {
            tracing::warn!(stage, %name, table, "no unique index of the table has the column of the id: what is sent twice is stored twice");
        }
        tracing::info!(stage, %name, database = %format_args!("{host}:{port}"), table, failures_before, "online");
    }

    fn memory(&self) -> &BatchMemory {
        &self.memory
    }

    fn places(&self) -> usize {
        self.batch.room()
    }

    /// One that is asked about anew has the same id: a table has no use for a second one.
    fn stand_in(
        &mut self,
        packet: OutgoingPacket,
        about: PacketOrigin<'_>,
    ) -> Result<(usize, Row), Unsendable> {
        let shapes = &self.wire.table.shapes;
        let cells = self.config.columns.iter().map(|(_, cell)| cell);
        let columns: Vec<_> = cells.zip(shapes.iter().copied()).collect();
        let values = row(&columns, about.line_input(&packet));
        let bytes = values.iter().flatten().map(Bytes::len).sum();
        Ok((bytes, values))
    }

    fn add(&mut self, message: BatchMessage<Row>, _: PacketOrigin<'_>) -> Result<(), Unsendable> {
        self.batch.offer(message, |_, _| true)
    }

    /// Sends what is in hand, and takes the answer.
    fn poll_step(
        &mut self,
        cx: &mut Context<'_>,
        answers: &mut Vec<Answer>,
    ) -> Poll<Result<(), Error>> {
        if !self.wire.is_busy() {
            self.wire.poll_idle(cx)?;
            return if self.send() {
                Poll::Ready(Ok(()))
            } else {
                Poll::Pending
            };
        }
        let answered = ready!(self.wire.poll_answer(cx));
        let (told, question) =
            answered.inspect_err(|error| self.memory.ended(error, self.batch.topics()))?;
        Poll::Ready(self.conclude(told, &question, answers))
    }

    async fn leave(self) {
        self.wire.close().await;
    }
}
