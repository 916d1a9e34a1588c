//! A connection to one broker: one question at a time, each with deadlines of our own.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use tokio::time::{Sleep, sleep_until, timeout};

use super::requests::{KafkaApi, SpokenVersions, put_request};
use super::{Config, Error, login};
use crate::link::{self, Deadlines, DrivenSocket, Question, Socket, TokenLife};

/// How often to look how far a request has got.
const LOOK: Duration = Duration::from_secs(1);
/// What an answer may have: about a thousand topics with a hundred partitions each.
const ANSWER_BYTES: usize = 16 << 20;
/// So long a broker is left alone at most, whatever it asks for.
const LONGEST_REST: Duration = Duration::from_secs(60);
/// A login that counts for less could not be renewed in time.
const SHORTEST_LIFE: Duration = Duration::from_secs(1);

/// An answer, and how it went.
#[derive(Debug)]
pub(super) struct BrokerReply {
    pub(super) body: Bytes,
    /// How long the request was on its way; nothing below a second.
    pub(super) sending: Duration,
    /// How long it took in all.
    pub(super) took: Duration,
}

/// A question under way.
struct BrokerExchange {
    number: i32,
    question: Question,
}

/// A connection to a broker.
pub(super) struct BrokerConnection {
    socket: DrivenSocket,
    input: BytesMut,
    output: BytesMut,
    /// Number of the last question.
    number: i32,
    exchange: Option<BrokerExchange>,
    pub(super) versions: SpokenVersions,
    /// What the broker shows us as.
    client: String,
    deadlines: Deadlines,
    /// The broker asked to be left alone until then.
    rest_until: Option<Instant>,
    /// It has answered since it stands: the broker may close it at any moment.
    pub(super) is_used: bool,
    /// How long the login counts, where it ends.
    pub(super) life: Option<TokenLife>,
    timer: Pin<Box<Sleep>>,
}

impl BrokerConnection {
    /// Dials, hears what the broker can, and logs in; each phase has a deadline.
    pub(super) async fn open(config: &Config, host: &str, port: u16) -> Result<Self, Error> {
        let socket = Box::pin(Socket::dial(config.target(host, port))).await?;
        let mut connection = Self {
            socket: DrivenSocket::new(socket),
            input: BytesMut::new(),
            output: BytesMut::new(),
            number: 0,
            exchange: None,
            versions: SpokenVersions::default(),
            client: config.id.clone(),
            deadlines: config.deadlines,
            rest_until: None,
            is_used: false,
            life: None,
            timer: Box::pin(sleep_until(Instant::now().into())),
        };
        let deadline = config.deadlines.handshake;
        let late = |what: &'static str| link::Error::late(what, deadline);
        let asked = connection.request((KafkaApi::Abilities, 0), b"");
        let told = timeout(deadline, asked)
            .await
            .map_err(|_| late("what a Kafka broker says first"))?;
        let told = told.map_err(|error| match error {
            Error::Closed(_) => Error::Closed(
                " before it said anything: if it speaks TLS only, write kafkas:// in the URL",
            ),
            error => error,
        })?;
        connection.versions =
            SpokenVersions::read(&told.body, config.login.is_some())?.map_err(Error::TooOld)?;
        if let Some(own) = &config.login {
            let logged_in = timeout(deadline, login::log_in(&mut connection, own));
            let lifetime = logged_in.await.map_err(|_| late("the login"))??;
            connection.life = lifetime
                .map(|lifetime| lifetime.max(SHORTEST_LIFE))
                .map(|lifetime| TokenLife::of(lifetime, Instant::now(), fastrand::f64()));
        }
        connection.is_used = false;
        Ok(connection)
    }

    /// Whether a question is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.exchange.is_some()
    }

    /// Asks, and waits for the answer as long as any may take.
    pub(super) async fn request(
        &mut self,
        what: (KafkaApi, i16),
        body: &[u8],
    ) -> Result<BrokerReply, Error> {
        self.ask(what, body, None);
        poll_fn(|cx| self.poll_reply(cx)).await
    }

    /// Asks; nothing is written before the answer is waited for. That is as long as any may take, and no longer than `patience`.
    pub(super) fn ask(&mut self, what: (KafkaApi, i16), body: &[u8], patience: Option<Duration>) {
        self.number = self.number.wrapping_add(1);
        put_request(what, self.number, &self.client, body, &mut self.output);
        let now = Instant::now();
        self.exchange = Some(BrokerExchange {
            number: self.number,
            question: Question::new(patience, now),
        });
        self.timer.as_mut().reset((now + LOOK).into());
    }

    /// The answer to what was asked.
    pub(super) fn poll_reply(&mut self, cx: &mut Context<'_>) -> Poll<Result<BrokerReply, Error>> {
        loop {
            let now = Instant::now();
            let taken = self.socket.poll_write(cx, &self.output, now)?;
            self.output.advance(taken);
            let Some(exchange) = &mut self.exchange else {
                return Poll::Pending;
            };
            if let Some(body) = frame(&mut self.input, exchange.number)? {
                let question = &exchange.question;
                let reply = BrokerReply {
                    body,
                    sending: question.sending(),
                    took: question.took(now),
                };
                (self.exchange, self.is_used) = (None, true);
                return Poll::Ready(Ok(reply));
            }
            if let Poll::Ready(read) = self.socket.poll_fill(cx, &mut self.input, 0) {
                if read? == 0 {
                    return Poll::Ready(Err(Error::Closed(" instead of answering")));
                }
                continue;
            }
            ready!(self.timer.as_mut().poll(cx));
            let total = self.socket.total() + self.output.len() as u64;
            let place = (self.socket.socket().taken(), total);
            if let Some(overdue) = exchange.question.overdue(place, &self.deadlines, now) {
                return Poll::Ready(Err(overdue.into()));
            }
            let look_at = exchange.question.look_at(LOOK, now);
            self.timer.as_mut().reset(look_at.into());
        }
    }

    /// While nothing is asked it is only seen when the broker closes it.
    pub(super) fn poll_idle(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        match self.socket.poll_fill(cx, &mut self.input, 0) {
            Poll::Pending => Ok(()),
            Poll::Ready(Ok(0)) => Err(Error::Closed("")),
            Poll::Ready(Ok(_)) => Err(Error::Stranger("it speaks without being asked".to_owned())),
            Poll::Ready(Err(error)) => Err(error.into()),
        }
    }

    /// The broker asks to be left alone for so many milliseconds: what it is asked before that it does not read.
    pub(super) fn rest(&mut self, milliseconds: i32) {
        let wanted = Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0));
        if !wanted.is_zero() {
            self.rest_until = Some(Instant::now() + wanted.min(LONGEST_REST));
        }
    }

    /// Waits until it may be asked again.
    pub(super) async fn rested(&mut self) {
        if let Some(until) = self.rest_until.take() {
            sleep_until(until.into()).await;
        }
    }

    /// Takes leave, and waits for the broker to have read that.
    pub(super) async fn close(mut self, at_most: Duration) {
        // Whether it has: nothing is under way.
        let _ = self.socket.leave(&self.output, at_most).await;
    }
}

/// The answer to the question of that number, if all of it is there.
fn frame(input: &mut BytesMut, number: i32) -> Result<Option<Bytes>, Error> {
    let Some(length) = input.first_chunk::<4>() else {
        return Ok(None);
    };
    let length = i32::from_be_bytes(*length);
    let fits = |length: &usize| (4..=ANSWER_BYTES).contains(length);
    let Some(length) = usize::try_from(length).ok().filter(fits) else {
        let said = crate::words::line_of_bytes(&input[..input.len().min(40)], 40);
        return Err(Error::Stranger(format!("it says `{said}`")));
    };
    if input.len() < 4 + length {
        return Ok(None);
    }
    input.advance(4);
    let mut frame = input.split_to(length);
    if frame.get_i32() != number {
        return Err(Error::Stranger(
            "an answer to what was not asked".to_owned(),
        ));
    }
    Ok(Some(frame.freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_once_it_is_whole_and_only_for_its_question() {
        let whole = b"\0\0\0\x06\0\0\0\x07ab\0\0";
        let mut input = BytesMut::from(&whole[..9]);
        assert!(matches!(frame(&mut input, 7), Ok(None)));
        input.extend_from_slice(&whole[9..]);
        let body = frame(&mut input, 7).ok().flatten();
        assert_eq!((body.as_deref(), input.len()), (Some(&b"ab"[..]), 2));
        assert!(frame(&mut BytesMut::from(&whole[..]), 8).is_err());
        for strange in [
            &b"HTTP/1.1 400"[..],
            b"\x15\x03\x03\0\x02",
            b"\0\0\0\x03abc",
        ] {
            assert!(frame(&mut strange.into(), 7).is_err(), "{strange:?}");
        }
    }
}
