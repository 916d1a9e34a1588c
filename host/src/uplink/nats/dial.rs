//! How a way into a stream begins, and whether there is one.

use std::sync::Arc;

use serde_json::Value;

use super::{Config, NatsCarrier, Refusing};
use crate::link::{Backoff, Dial, SecretFiles, Tls};
use crate::nats::{Error, NatsConnection, RequestReply, inbox, request, streams_question};
use crate::words;

/// Dials one server, always in the same way.
#[derive(Debug)]
pub(in super::super) struct NatsDialler {
    config: Arc<Config>,
    refusing: Refusing,
}

impl NatsDialler {
    pub(super) fn new(config: Config) -> Self {
        Self {
            config: Arc::new(config),
            refusing: Refusing::default(),
        }
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }
}

impl Dial for NatsDialler {
    type Up = NatsCarrier;
    type Error = Error;

    async fn dial(&self, _: u32) -> Result<NatsCarrier, Error> {
        let mut connection = Box::pin(NatsConnection::open(&self.config.server)).await?;
        let inbox = inbox(&self.config.server.inbox);
        connection.subscribe(&format!("{inbox}*"));
        Ok(NatsCarrier::new(
            Arc::clone(&self.config),
            connection,
            inbox,
            self.refusing.clone(),
        ))
    }

    fn id(&self) -> &str {
        &self.config.server.name
    }

    fn backoff(&self) -> Backoff {
        self.config.server.backoff
    }

    fn files(&self) -> SecretFiles {
        let server = &self.config.server;
        SecretFiles::of(
            server.login.secret(),
            server.tls.iter().flat_map(Tls::paths),
        )
    }

    fn complaint(&self) -> &'static str {
        "no connection to the NATS server"
    }
}

/// Logs in, asks which stream takes the subjects, and leaves; nothing is published to them.
pub(in super::super) async fn reach(config: &Config) -> Result<String, Error> {
    let mut connection = Box::pin(NatsConnection::open(&config.server)).await?;
    let said = found(&mut connection, config).await;
    connection.close().await;
    said
}

async fn found(connection: &mut NatsConnection, config: &Config) -> Result<String, Error> {
    let filter = config.subject.filter();
    if !connection.info().jetstream {
        return Err(unfit(
            "the server has no JetStream".to_owned(),
            "enable it there",
        ));
    }
    let (subject, body) = streams_question(&filter);
    let answer = Box::pin(request(connection, &config.server, subject, &body)).await?;
    let RequestReply::Said(said) = answer else {
        return Ok(
            "a connection stands; this user may not ask which stream takes `nats.subject`"
                .to_owned(),
        );
    };
    if let Some(error) = said["error"]["description"].as_str() {
        return Err(Error::Busy(words::line(error, 200)));
    }
    let streams: Vec<&str> = said["streams"]
        .as_array()
        .map(|streams| streams.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let Some(first) = streams.first() else {
        return Err(unfit(
            format!("no stream takes `{filter}`"),
            "make one there, or look at `nats.subject`",
        ));
    };
    let names = words::line(&streams.join("`, `"), 200);
    let window = answers(connection, config, first).await?;
    Ok(format!(
        "what is published below `{filter}` is taken by `{names}`, or some of it{window}"
    ))
}

/// Whether the stream answers, and for how long it knows repeats, where we may ask.
async fn answers(
    connection: &mut NatsConnection,
    config: &Config,
    stream: &str,
) -> Result<String, Error> {
    let subject = format!("$JS.API.STREAM.INFO.{stream}");
    let answer = Box::pin(request(connection, &config.server, &subject, "")).await?;
    let RequestReply::Said(said) = answer else {
        return Ok(String::new());
    };
    let own = &said["config"];
    for (name, problem) in [
        (
            "no_ack",
            "answers nobody, so that nothing would count as accepted (no_ack)",
        ),
        ("sealed", "takes nothing any more (sealed)"),
    ] {
        if own[name].as_bool() == Some(true) {
            let problem = format!("the stream `{}` {problem}", words::line(stream, 200));
            return Err(unfit(
                problem,
                "make another one there, or look at `nats.subject`",
            ));
        }
    }
    let seconds = own["duplicate_window"]
        .as_u64()
        .map(|nanos| nanos / 1_000_000_000);
    Ok(seconds.map_or_else(String::new, |seconds| {
        format!(", which knows repeats for {seconds} s (`duplicate_window`)")
    }))
}

fn unfit(problem: String, hint: &'static str) -> Error {
    Error::Unfit { problem, hint }
}
