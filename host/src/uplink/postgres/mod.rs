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

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use tokio_postgres::types::Type;

pub(super) use self::dial::reach;
pub use self::error::Error;
pub use self::settings::{Cell, Config};

use self::dial::DatabaseDialler;
use self::row::{RowShape, array, row};
use self::verdict::SqlVerdict;
use self::wire::{Array, PostgresWire, ServerNotice};
use super::batch::{BatchMessage, Patience, RequestBatch, Unproven};
use super::carrier::{
    Answer, Carrier, CarrierFault, Manner, OutgoingPacket, PacketOrigin, Unsendable, UpstreamLimits,
};
use super::form::column::LineInput;
use super::form::template::Filling;
use crate::link::{LinkMetrics, Question, Redial};
use crate::message::key_hash;

/// The values of a row.
type Row = Vec<Option<Bytes>>;

/// A way into a table.
pub(super) struct PostgresCarrier {
    config: Arc<Config>,
    batch: RequestBatch<Row>,
    wire: PostgresWire,
    /// What was said of rows that may be said of the table: it is being looked at whether it is.
    doubted: Option<ServerNotice>,
    unproven: Unproven,
    /// What is known of the database over all connections of this way.
    patience: Arc<Mutex<Patience>>,
}

/// Ready to dial for the uplink `name`.
pub(super) fn redial(
    config: Config,
    name: Arc<str>,
    metrics: &LinkMetrics,
) -> Redial<<PostgresCarrier as Carrier>::Dial> {
    Redial::new(DatabaseDialler::new(config), "uplink", name, metrics)
}

impl PostgresCarrier {
    fn new(
        config: Arc<Config>,
        wire: PostgresWire,
        (unproven, patience): (Unproven, Arc<Mutex<Patience>>),
    ) -> Self {
        Self {
            batch: RequestBatch::new(usize::from(config.batch_messages), config.batch_bytes),
            config,
            wire,
            doubted: None,
            unproven,
            patience,
        }
    }

    fn patience(&self) -> MutexGuard<'_, Patience> {
        self.patience.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what is in hand, and takes the answer.
    fn poll_turn(
        &mut self,
        cx: &mut Context<'_>,
        answers: &mut Vec<Answer>,
    ) -> Poll<Result<(), Error>> {
        loop {
            if !self.wire.is_busy() {
                self.wire.poll_idle(cx)?;
                if !self.send() {
                    return Poll::Pending;
                }
                continue;
            }
            let (told, question) = match ready!(self.wire.poll_answer(cx)) {
                Ok(answer) => answer,
                Err(error) => {
                    if error.manner() == Manner::StoodStill {
                        let topics = self.batch.topics();
                        self.patience().had_none(topics.into_iter());
                    }
                    return Poll::Ready(Err(error));
                }
            };
            self.conclude(told, &question, answers)?;
            if !answers.is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }

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
        let patience = self.patience().left(self.config.deadlines.answer);
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
        let topics = self.batch.topics().into_iter();
        let told = match (told, self.doubted.take()) {
            (Ok(()), None) => {
                self.unproven.set(false);
                let took = question.took(Instant::now());
                self.patience().took(took, topics);
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
        self.patience().told(topics);
        let ServerNotice {
            verdict,
            hint,
            answer,
            ..
        } = told;
        let is_of_all = matches!(verdict, SqlVerdict::Held | SqlVerdict::Away);
        self.unproven.set(is_of_all);
        match verdict {
            SqlVerdict::Refused => self.batch.refused(&answer, answers),
            SqlVerdict::Held => return Err(Error::Held { answer, hint }),
            // It is an answer over a connection that stands: nobody else need wait for it.
            SqlVerdict::Passing | SqlVerdict::Failed => {
                let sent = self.batch.topics();
                let is_alone = self.batch.is_one();
                if !self.batch.busy(&answer, answers) {
                    return Err(match verdict {
                        SqlVerdict::Failed => Error::Failed(answer),
                        _ => Error::Busy(answer),
                    });
                }
                if is_alone {
                    // It may have waited for a lock: no others wait with it the next time.
                    self.patience().had_none(sent.into_iter());
                }
            }
            SqlVerdict::Away => return Err(Error::Busy(answer)),
        }
        Ok(())
    }
}

impl Carrier for PostgresCarrier {
    type Dial = DatabaseDialler;

    const KEEPS_TIME: bool = true;

    fn online(&self, redial: &mut Redial<DatabaseDialler>) {
        let failures_before = redial.stands();
        let (stage, name) = redial.owner();
        let Config { host, port, .. } = redial.dialled().config();
        let table = self.config.table.join(".");
        if self.wire.table.key.is_empty() {
            tracing::warn!(stage, %name, table, "no unique index of the table has the column of the id: what is sent twice is stored twice");
        }
        tracing::info!(stage, %name, database = %format_args!("{host}:{port}"), table, failures_before, "online");
    }

    fn limits(&self) -> UpstreamLimits {
        UpstreamLimits::of_batches(false)
    }

    fn room(&self) -> usize {
        self.batch.room()
    }

    fn unsent(&self) -> usize {
        0
    }

    fn offer(
        &mut self,
        packet: OutgoingPacket,
        about: PacketOrigin<'_>,
        token: u64,
    ) -> Result<(), Unsendable> {
        if self.batch.room() == 0 {
            return Err(Unsendable::Full);
        }
        // One that is asked about anew has the same id: a table has no use for a second one.
        let entry = LineInput {
            stored: about.stored,
            filling: Filling {
                prefix: about.prefix,
                topic: &packet.topic,
                device: about.stored.message.key(),
            },
            payload: &packet.payload,
            arrived: about.arrived,
        };
        let shapes = &self.wire.table.shapes;
        let cells = self.config.columns.iter().map(|(_, cell)| cell);
        let columns: Vec<_> = cells.zip(shapes.iter().copied()).collect();
        let values = row(&columns, entry);
        let bytes = values.iter().flatten().map(Bytes::len).sum();
        let topic = key_hash(&packet.topic);
        let is_alone = self.patience().is_doubted(topic);
        if !self.batch.takes(bytes, is_alone, |_| true) {
            return Err(Unsendable::Full);
        }
        self.batch.add(BatchMessage {
            token,
            topic,
            is_alone,
            bytes,
            what: values,
        });
        Ok(())
    }

    async fn turn(&mut self, answers: &mut Vec<Answer>) -> Result<(), Error> {
        let turned = poll_fn(|cx| self.poll_turn(cx, answers)).await;
        if turned
            .as_ref()
            .is_err_and(|error| error.manner() != Manner::Elsewhere)
        {
            self.unproven.set(false);
        }
        turned
    }

    fn is_unproven(&self) -> bool {
        self.unproven.get()
    }

    async fn close(self) {
        self.wire.close().await;
    }
}
