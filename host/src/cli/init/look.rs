//! A look at a broker: what comes by in some seconds, with a client id and a session that end with it.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::recognise::Seen;
use crate::message::Qos;
use crate::mqtt::{self, Connection, Event, Subscription};
use crate::words::with_causes;

/// What it is called there, behind the name of the real one.
const SUFFIX: &str = "-look";
/// Messages that are kept; a busy broker shows all it has in fewer.
const MOST: usize = 5_000;
/// Bytes of a payload that are kept: enough for the shape of it.
const HEAD: usize = 4 << 10;

/// What was seen, and what the broker said of itself.
#[derive(Debug)]
pub(super) struct Looked {
    pub(super) seen: Vec<Seen>,
    pub(super) said: String,
}

/// Looks for as long as `time`. Everything is asked for with QoS 0, so that nothing is owed to us.
pub(super) async fn look(config: &mqtt::Config, time: Duration) -> Result<Looked, String> {
    let guest = mqtt::Config {
        client_id: format!("{}{SUFFIX}", config.client_id),
        clean_start: true,
        will: None,
        ..config.clone()
    };
    let (mut connection, established) = Connection::open(&guest)
        .await
        .map_err(|error| with_causes(&error))?;
    connection.subscribe(&[Subscription {
        filter: "#".to_owned(),
        qos: Qos::AtMostOnce,
        id: None,
    }]);
    let until = Instant::now() + time;
    let mut seen = Vec::new();
    let mut events = Vec::new();
    while seen.len() < MOST {
        match timeout_at(until, connection.turn(&mut events)).await {
            Err(_) => break,
            Ok(Err(error)) => return Err(with_causes(&error)),
            Ok(Ok(_)) => {}
        }
        for event in events.drain(..) {
            match event {
                Event::Publish { publish, .. } => seen.push(Seen {
                    topic: String::from_utf8_lossy(&publish.topic).into_owned(),
                    payload: publish.payload.iter().take(HEAD).copied().collect(),
                }),
                Event::Subscribed { refused, .. } if !refused.is_empty() => {
                    return Err("it does not let this user see every topic: name one that may, or look at nothing (--look 0s)".to_owned());
                }
                _ => {}
            }
        }
    }
    connection.close().await;
    Ok(Looked {
        seen,
        said: crate::cli::check::connect::granted(&established),
    })
}
