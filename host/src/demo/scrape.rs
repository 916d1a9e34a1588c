//! The gateway's own figures, read from its metrics port as any operator's tool would.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An answer takes a millisecond; a port that does not answer in this time is gone.
const PATIENCE: Duration = Duration::from_secs(5);
/// No answer of the gateway is longer; the rest is not read.
const ANSWER_BYTES: u64 = 4 << 20;

/// What the gateway counts about input messages, and its swaps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GatewayFigures {
    /// Taken from the field broker.
    pub received: u64,
    /// Dropped on purpose by a plugin.
    pub filtered: u64,
    /// Gone into a plugin's state.
    pub absorbed: u64,
    pub dead_letters: u64,
    /// Readings waiting in the spool; alarms are made by a plugin and count as nobody's input.
    pub owed: u64,
    /// Waiting for a lane.
    pub waiting: u64,
    pub swaps: u64,
    /// Swaps refused; the old plugin went on.
    pub swaps_failed: u64,
}

impl GatewayFigures {
    /// Reads them off the metrics' text.
    pub fn parse(text: &str) -> Self {
        let fate = |fate| sum(text, "tidegate_chain_messages_total", &[("fate", fate)]);
        let changes = |state| sum(text, "tidegate_swap_transitions_total", &[("state", state)]);
        Self {
            received: sum(text, "tidegate_messages_received_total", &[]),
            filtered: fate("filtered"),
            absorbed: fate("absorbed"),
            dead_letters: sum(text, "tidegate_dead_letters_total", &[]),
            owed: sum(text, "tidegate_spool_messages", &[("class", "telemetry")]),
            waiting: sum(text, "tidegate_chain_waiting_messages", &[]),
            swaps: changes("swapped"),
            swaps_failed: changes("refused") + changes("rolled-back"),
        }
    }
}

/// GETs `path`; status code and body. HTTP/1.0, so that the body ends where the connection does.
pub async fn get(address: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    let asked = async {
        let mut stream = TcpStream::connect(address).await?;
        stream
            .write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes())
            .await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES).read_to_end(&mut answer).await?;
        Ok::<_, io::Error>(answer)
    };
    let answer = tokio::time::timeout(PATIENCE, asked)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let text = String::from_utf8_lossy(&answer);
    split(&text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP"))
}

fn split(answer: &str) -> Option<(u16, String)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

/// Sum of all samples of `name` that have `labels`; 0 where there is none yet.
fn sum(text: &str, name: &str, labels: &[(&str, &str)]) -> u64 {
    let mut total = 0.0;
    for line in text.lines() {
        let Some(rest) = line.strip_prefix(name) else {
            continue;
        };
        let (found, value) = match rest.strip_prefix('{') {
            Some(rest) => rest.rsplit_once("} ").unwrap_or_default(),
            None => ("", rest.strip_prefix(' ').unwrap_or_default()),
        };
        if labels
            .iter()
            .all(|(label, wanted)| has_label(found, label, wanted))
        {
            total += value.trim().parse::<f64>().unwrap_or_default();
        }
    }
    // Counters and gauges of messages: whole and not negative, whatever the text says.
    total.max(0.0) as u64
}

fn has_label(labels: &str, label: &str, wanted: &str) -> bool {
    labels.split(',').any(|pair| {
        pair.split_once('=')
            .is_some_and(|(name, value)| name == label && value.trim_matches('"') == wanted)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    const TEXT: &str = "\
# HELP tidegate_chain_messages_total Input messages of a chain by what became of them.
# TYPE tidegate_chain_messages_total counter
tidegate_chain_messages_total{fate=\"filtered\",flow=\"climate\"} 40
tidegate_chain_messages_total{fate=\"filtered\",flow=\"other\"} 2
tidegate_chain_messages_total{fate=\"forwarded\",flow=\"climate\"} 60
tidegate_dead_letters_total{reason=\"rejected\"} 3
tidegate_dead_letters_total_other 9
tidegate_messages_received_total 1e3
tidegate_swap_transitions_total{flow=\"climate\",plugin=\"filter\",state=\"swapped\"} 1
tidegate_swap_transitions_total{flow=\"climate\",plugin=\"filter\",state=\"refused\"} 2
tidegate_spool_messages{class=\"telemetry\",uplink=\"cloud\"} 7
tidegate_spool_messages{class=\"alarm\",uplink=\"cloud\"} 2
";

    #[test]
    fn figures_are_summed_over_labels_and_names_are_whole() {
        let figures = GatewayFigures::parse(TEXT);
        let expected = GatewayFigures {
            received: 1_000,
            filtered: 42,
            dead_letters: 3,
            owed: 7,
            swaps: 1,
            swaps_failed: 2,
            ..GatewayFigures::default()
        };
        assert_eq!(figures, expected);
    }

    #[test]
    fn text_that_is_no_metrics_reads_as_nothing() {
        assert_eq!(
            GatewayFigures::parse("tidegate_spool_messages{ nonsense\ntidegate_spool_messages\n\n"),
            GatewayFigures::default()
        );
    }

    #[tokio::test]
    async fn status_and_body_are_split() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 256];
            let read = stream.read(&mut request).await.unwrap();
            assert!(request[..read].starts_with(b"GET /readyz HTTP/1.0\r\n"));
            stream
                .write_all(b"HTTP/1.0 503 Service Unavailable\r\nA: b\r\n\r\nnot yet")
                .await
                .unwrap();
        };
        let ((), answer) = tokio::join!(serve, get(address, "/readyz"));
        assert_eq!(answer.unwrap(), (503, "not yet".to_owned()));
    }
}
