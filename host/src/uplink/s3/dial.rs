//! What is known of a server over all connections to it, and how a bucket is tried without putting anything there.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::super::web::{HttpConnection, Reply};
use super::sign::{ServerClock, SignedBucket};
use super::verdict::{self, StoreVerdict, StoreWords};
use super::{Config, Error};
use crate::clock::Now;

/// What is known of a server over all connections to it.
#[derive(Debug, Default)]
pub(super) struct ServerFacts {
    pub(super) clock: ServerClock,
    /// It takes no object under a condition.
    pub(super) is_unconditional: bool,
    /// That its clock is another one was said.
    pub(super) has_said_clock: bool,
}

/// The same, for whoever dials and for the connection that stands.
#[derive(Clone, Debug, Default)]
pub(in crate::uplink) struct SharedFacts(Arc<Mutex<ServerFacts>>);

impl SharedFacts {
    pub(super) fn lock(&self) -> MutexGuard<'_, ServerFacts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks the server for the names of none of the bucket's objects: whether it is there, and the login good. A second time by the
/// server's clock, where ours is another one.
pub(in super::super) async fn reach(config: &Config) -> Result<String, Error> {
    let keys = SignedBucket::of_today(&config.place, config.secrets()).await?;
    let mut clock = ServerClock::default();
    let (mut reply, differs) = ask(config, &keys, &mut clock).await?;
    if differs.is_some() && reply.status.as_u16() == 403 {
        (reply, _) = ask(config, &keys, &mut clock).await?;
    }
    let said = StoreWords::of(&reply, keys.secrets());
    let status = reply.status.as_u16();
    let clocks = differs.map_or_else(String::new, |differs| {
        let seconds = differs.as_secs();
        format!("; its clock is {seconds} s from ours, and requests are signed by its own")
    });
    let bucket = &config.place.name;
    match StoreVerdict::of(status, &said.code, false) {
        StoreVerdict::Accepted => Ok(format!(
            "the bucket `{bucket}` is there, and the login is good{clocks}; no object was put there"
        )),
        StoreVerdict::Held if said.code == "AccessDenied" => Ok(format!(
            "the server answers, and does not let this key list the bucket `{bucket}`, which putting objects there does not need{clocks}; whether it may do that shows with the first one"
        )),
        StoreVerdict::Held => Err(Error::Held {
            hint: verdict::hint(status, &said.code),
            answer: said.text,
        }),
        _ => Err(Error::Busy {
            answer: said.text,
            pause: None,
        }),
    }
}

/// Asks once, over a connection of its own; by how much the clocks differ, where they do.
async fn ask(
    config: &Config,
    keys: &SignedBucket,
    clock: &mut ServerClock,
) -> Result<(Reply, Option<Duration>), Error> {
    let mut wire = HttpConnection::open(config.target()).await?;
    let asked = keys.look(clock.now(Now::read()));
    poll_fn(|cx| wire.poll_ready(cx)).await;
    wire.ask(asked, config.deadlines.answer);
    let reply = poll_fn(|cx| wire.poll_reply(cx)).await?;
    wire.close().await;
    let differs = clock.hear(&reply.headers, Now::read());
    Ok((reply, differs))
}
