//! A bare relay on the gateway's own MQTT connection: what the way costs without chain, spool and gateway. The
//! benchmarks measure the gateway against it.
//!
//! `relay FROM TO FILTER TOPIC`, the first two `HOST:PORT`: takes what the filter matches at QoS 1 and publishes it
//! unchanged to the topic; a message is acknowledged once upstream has accepted it.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use tidegate::link::{Backoff, Deadlines, pause_under_load};
use tidegate::message::Qos;
use tidegate::mqtt::{AckToken, Config, Connection, Event, Protocol, Publish, Subscription};
use tokio::runtime::Builder;

const INFLIGHT: u16 = 1_000;
const RECEIVE_MAXIMUM: u16 = 5_000;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [from, to, filter, topic] = arguments.as_slice() else {
        bail!("usage: relay FROM TO FILTER TOPIC, the first two HOST:PORT")
    };
    let runtime = pause_under_load(Builder::new_current_thread().enable_all()).build()?;
    let (source, uplink) = (
        config(from, "relay-source", false)?,
        config(to, "relay-uplink", true)?,
    );
    let relay = Relay {
        topic: Bytes::from(topic.clone()),
        ..Relay::default()
    };
    runtime.block_on(relay.run(&source, &uplink, filter))
}

fn config(address: &str, client_id: &str, clean_start: bool) -> Result<Config> {
    let (host, port) = address
        .rsplit_once(':')
        .context("an address is HOST:PORT")?;
    Ok(Config {
        host: host.to_owned(),
        port: port.parse()?,
        protocol: Protocol::V5,
        client_id: format!("{client_id}-{}", std::process::id()),
        clean_start,
        keep_alive: Duration::from_secs(30),
        receive_maximum: RECEIVE_MAXIMUM,
        inflight: INFLIGHT,
        max_packet_bytes: 1 << 20,
        login: None,
        tls: None,
        websocket: None,
        will: None,
        priority: false,
        deadlines: Deadlines::default(),
        backoff: Backoff::default(),
    })
}

/// A message that was taken and is not acknowledged yet, in order of arrival.
struct Taken {
    ack: Option<AckToken>,
    accepted: bool,
}

#[derive(Default)]
struct Relay {
    topic: Bytes,
    taken: VecDeque<Taken>,
    /// Token of the first entry of `taken`.
    first: u64,
    /// Taken and not yet handed to the uplink; all of these are at the end of `taken`.
    waiting: VecDeque<Publish>,
}

impl Relay {
    async fn run(mut self, from: &Config, to: &Config, filter: &str) -> Result<()> {
        let (mut uplink, _) = Connection::open(to).await.context("upstream")?;
        let (mut source, _) = Connection::open(from).await.context("field")?;
        source.subscribe(&[Subscription {
            filter: filter.into(),
            qos: Qos::AtLeastOnce,
            id: None,
        }]);
        println!("relay runs");
        let (mut arrived, mut answered) = (Vec::new(), Vec::new());
        loop {
            tokio::select! {
                turned = source.turn(&mut arrived) => turned.context("field")?,
                turned = uplink.turn(&mut answered) => turned.context("upstream")?,
            }
            arrived.drain(..).for_each(|event| self.take(event));
            for event in answered.drain(..) {
                self.answer(event)?;
            }
            self.forward(&mut uplink)?;
            self.acknowledge(&mut source);
        }
    }

    fn take(&mut self, event: Event) {
        if let Event::Publish { publish, token } = event {
            self.taken.push_back(Taken {
                ack: token,
                accepted: false,
            });
            self.waiting.push_back(Publish {
                topic: self.topic.clone(),
                qos: Qos::AtLeastOnce,
                retain: false,
                duplicate: false,
                ..publish
            });
        }
    }

    fn forward(&mut self, uplink: &mut Connection) -> Result<()> {
        while uplink.room() > 0 {
            let Some(publish) = self.waiting.pop_front() else {
                break;
            };
            let place = self.taken.len() - self.waiting.len() - 1;
            if let Err(error) = uplink.publish(&publish, self.first + place as u64) {
                bail!("cannot be sent: {error:?}");
            }
        }
        Ok(())
    }

    fn answer(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Accepted { token } => {
                let place = usize::try_from(token - self.first)?;
                self.taken
                    .get_mut(place)
                    .context("an answer to a message that was not sent")?
                    .accepted = true;
                Ok(())
            }
            Event::Refused { reason, .. } => bail!("upstream refused a message: {reason}"),
            _ => Ok(()),
        }
    }

    fn acknowledge(&mut self, source: &mut Connection) {
        while self.taken.front().is_some_and(|taken| taken.accepted) {
            let taken = self.taken.pop_front();
            self.first += 1;
            if let Some(ack) = taken.and_then(|taken| taken.ack) {
                source.acknowledge(ack);
            }
        }
    }
}
