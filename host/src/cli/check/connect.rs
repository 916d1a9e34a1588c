//! `tidegate check --connect`: each source and uplink is tried once, in a way that changes nothing there.
//!
//! A broker is asked with a client id of its own and a session that ends with it, so that a gateway that runs is not thrown out, and a
//! source's topics are subscribed to for that moment. To a server goes a connection, and no request: what it says of a message
//! shows when there is one.

use std::time::Duration;

use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::config::{Config, SourceSpec};
use crate::message::Qos;
use crate::mqtt::{self, Connection, Established, Event, Protocol, Subscription};
use crate::words::with_causes;
use crate::{source, uplink};

/// What the other end of a connection for a test is called, behind the name of the real one.
const SUFFIX: &str = "-check";

/// What was found at one end.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct ConnectFinding {
    /// As in the config: `source.field`.
    pub(in crate::cli) end: String,
    /// Host and port, or folder.
    pub(in crate::cli) address: String,
    pub(in crate::cli) is_good: bool,
    /// What it said, or why not and what to do.
    pub(in crate::cli) words: Vec<String>,
}

/// Something is wrong, in words for the operator.
type ConnectResult = Result<Vec<String>, Vec<String>>;

/// Tries them all at once, each with its own deadlines; in the order of the config.
pub(in crate::cli) async fn all(config: &Config) -> Vec<ConnectFinding> {
    let mut tries = JoinSet::new();
    let mut ends = Vec::new();
    for spec in &config.sources {
        ends.push((format!("source.{}", spec.name), spec.kind.facts().address));
        let (spec, place) = (spec.clone(), ends.len() - 1);
        tries.spawn(async move { (place, of_source(&spec).await) });
    }
    for uplink in &config.uplinks {
        ends.push((format!("uplink.{}", uplink.name), uplink.kind.address()));
        let (kind, place) = (uplink.kind.clone(), ends.len() - 1);
        tries.spawn(async move { (place, of_uplink(&kind).await) });
    }
    let mut found: Vec<ConnectResult> = ends
        .iter()
        .map(|_| Err(vec!["the try broke off".to_owned()]))
        .collect();
    while let Some(tried) = tries.join_next().await {
        if let Ok((place, of_end)) = tried {
            found[place] = of_end;
        }
    }
    ends.into_iter()
        .zip(found)
        .map(|((end, address), found)| ConnectFinding {
            end,
            address,
            is_good: found.is_ok(),
            words: found.unwrap_or_else(|why| why),
        })
        .collect()
}

async fn of_source(spec: &SourceSpec) -> ConnectResult {
    match &spec.kind {
        source::SourceKind::Mqtt(own) => {
            let mut filters: Vec<String> = spec
                .routes
                .iter()
                .map(|route| beside(route.pattern.filter()))
                .collect();
            filters.sort_unstable();
            filters.dedup();
            let subscription = |filter| Subscription {
                filter,
                qos: own.qos,
                id: None,
            };
            let wanted = filters.into_iter().map(subscription).collect();
            of_broker(&own.connection, wanted).await
        }
        kind => in_words(source::reach(kind).await),
    }
}

/// In a group of its own: a member of the real one would be given messages, and lose them.
fn beside(filter: String) -> String {
    let shared = filter.strip_prefix("$share/");
    match shared.and_then(|shared| shared.split_once('/')) {
        Some((group, topics)) => format!("$share/{group}{SUFFIX}/{topics}"),
        None => filter,
    }
}

async fn of_uplink(kind: &uplink::UplinkKind) -> ConnectResult {
    match kind.broker() {
        Some(broker) => of_broker(broker, Vec::new()).await,
        None => in_words(uplink::reach(kind).await),
    }
}

fn in_words(reached: Result<String, String>) -> ConnectResult {
    reached.map(|words| vec![words]).map_err(|why| vec![why])
}

/// Logs in, subscribes, and leaves.
async fn of_broker(config: &mqtt::Config, wanted: Vec<Subscription>) -> ConnectResult {
    let guest = mqtt::Config {
        client_id: format!("{}{SUFFIX}", config.client_id),
        clean_start: true,
        will: None,
        // Retained messages come in spite of it, one at a time: none is acknowledged.
        receive_maximum: 1,
        ..config.clone()
    };
    let (mut connection, established) = Connection::open(&guest)
        .await
        .map_err(|error| vec![with_causes(&error)])?;
    let mut good = vec![granted(&established)];
    let mut bad = Vec::new();
    if !wanted.is_empty() {
        match subscribe(&mut connection, &wanted, config.deadlines.answer).await {
            Ok((refused, lowered)) => {
                let count = wanted.len() - refused.len();
                good.push(format!("{count} of {} topics granted", wanted.len()));
                bad.extend(
                    refused
                        .into_iter()
                        .map(|(filter, why)| format!("the topic {filter} is refused: {why}")),
                );
                good.extend(lowered.into_iter().map(|(filter, qos)| {
                    format!("the topic {filter} comes with QoS {} only", qos as u8)
                }));
            }
            Err(why) => bad.push(why),
        }
    }
    connection.close().await;
    if bad.is_empty() {
        Ok(good)
    } else {
        good.extend(bad);
        Err(good)
    }
}

/// What the broker said when it let us in.
pub(in crate::cli) fn granted(established: &Established) -> String {
    let protocol = match established.protocol {
        Protocol::V311 => "MQTT 3.1.1",
        _ => "MQTT 5",
    };
    let window = match established.receive_maximum {
        u16::MAX => "no limit of messages under way said".to_owned(),
        most => format!("takes {most} messages under way"),
    };
    let level = match established.maximum_qos {
        Qos::ExactlyOnce => String::new(),
        level => format!(", QoS {} at most", level as u8),
    };
    let retain = if established.retain_available {
        ""
    } else {
        ", keeps no retained messages"
    };
    format!("{protocol}, {window}{level}{retain}")
}

/// What was refused and why, and what comes with a lower level.
type Answered = (Vec<(String, String)>, Vec<(String, Qos)>);

async fn subscribe(
    connection: &mut Connection,
    wanted: &[Subscription],
    within: Duration,
) -> Result<Answered, String> {
    connection.subscribe(wanted);
    let mut answered = 0;
    let (mut refusals, mut lower) = (Vec::new(), Vec::new());
    let answer = async {
        let mut events = Vec::new();
        loop {
            connection
                .turn(&mut events)
                .await
                .map_err(|error| with_causes(&error))?;
            for event in events.drain(..) {
                if let Event::Subscribed { refused, lowered } = event {
                    answered += 1;
                    refusals.extend(refused);
                    lower.extend(lowered);
                    return Ok::<_, String>(());
                }
            }
        }
    };
    match timeout(within, answer).await {
        Ok(turned) => turned.map(|()| (refusals, lower)),
        Err(_) => Err(format!(
            "it did not answer within {within:?} what it was asked to send"
        )),
    }
}
