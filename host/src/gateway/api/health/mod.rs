//! What `/livez`, `/readyz` and `/healthz` say: three questions with one account behind them.
//!
//! `/livez`: does each loop turn that must? Else the process is to be started again. `/readyz`: can it do its job? Not ready: a
//! lane that is gone, a flow that could not be started, a store that cannot be written. Degraded, with cause, since when and
//! the next try: a source or uplink without a connection, which is retrying by design; a broker that grants less than was
//! asked for. An unreachable upstream is not unready: to store and forward is the job. `/healthz`: how is each part, and what
//! will soon not do? Nobody is to start anything again because of that.
//!
//! Whoever may use the port reads them, and a prober may carry them on: they are in the gateway's own words. What devices,
//! plugins and upstream said, and addresses, are in the same account over the control socket.

mod form;
mod further;
mod parts;
mod words;

use std::sync::Arc;

use axum::extract::{RawQuery, State as Of};
use axum::http::HeaderMap;
use axum::response::Response;

pub use form::{HealthPart, Report, State};

use self::form::{Health, HealthQuery};
use self::words::{Reader, Words};
use super::accounts::Accounts;
use crate::admin::{ApiResult, json};
use crate::gateway::pulse;
use crate::gateway::running::RunningGateway;
pub(super) use parts::{store_losses, store_trouble};

pub(super) async fn alive(
    Of(running): Of<Arc<RunningGateway>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let part = |one: pulse::Loop| {
        let seconds = one.idle.as_secs();
        let health = match one.excuse {
            Some(excuse) if one.idle > pulse::STILL => Health::Fair(Words::own(format!(
                "has not turned for {seconds} s: {excuse}"
            ))),
            _ if one.stands_still() => {
                Health::Bad(Words::own(format!("has not turned for {seconds} s")))
            }
            _ => Health::Good,
        };
        health.of("loop", &one.name)
    };
    let loops = pulse::loops(&running).await;
    let report = Report::new(loops.into_iter().map(part).collect(), Reader::Anybody);
    let words = ["ok", "ok", "stands still"];
    report.answer(&HealthQuery::of(query.as_deref(), &headers), words)
}

pub(super) async fn ready(
    Of(running): Of<Arc<RunningGateway>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let report = Report::new(parts::of(&Accounts::of(&running)), Reader::Anybody);
    let words = ["ready", "ready, degraded", "not ready"];
    report.answer(&HealthQuery::of(query.as_deref(), &headers), words)
}

pub(super) async fn healthy(
    Of(running): Of<Arc<RunningGateway>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> ApiResult {
    let report = tokio::task::spawn_blocking(move || Report::open(&running)).await?;
    Ok(report.answer(&HealthQuery::of(query.as_deref(), &headers), WORDS))
}

/// For the operator's command.
pub(super) async fn show(Of(running): Of<Arc<RunningGateway>>) -> ApiResult {
    let report = move || json(&Report::of(&running, Reader::Operator));
    let report = tokio::task::spawn_blocking(report);
    Ok(report.await?)
}

/// The same as `/readyz` on one line, for the service manager: what is not well by its name, then what is owed.
pub(in crate::gateway) fn in_a_line(running: &RunningGateway) -> String {
    let accounts = Accounts::of(running);
    let queues = accounts.spool.queues.iter();
    let owed: u64 = queues.map(|queue| queue.in_ram + queue.on_disk).sum();
    let report = Report::new(parts::of(&accounts), Reader::Anybody);
    let not_well = report.parts.iter().filter(|part| part.state != State::Ok);
    let not_well: Vec<String> = not_well.map(HealthPart::title).collect();
    let words = match report.state {
        State::Ok => "ready".to_owned(),
        State::Degraded => format!("degraded: {}", not_well.join(", ")),
        State::Failed => format!("not ready: {}", not_well.join(", ")),
    };
    format!("{words}; {owed} messages owed")
}

/// What the worst of the parts comes to.
pub const WORDS: [&str; 3] = ["healthy", "degraded", "failed"];

impl Report {
    /// Every part, for whoever may use the port. Reads the files with certificates.
    pub(in crate::gateway::api) fn open(running: &RunningGateway) -> Self {
        Self::of(running, Reader::Anybody)
    }

    fn of(running: &RunningGateway, reader: Reader) -> Self {
        let accounts = Accounts::of(running);
        let ready = parts::of(&accounts).into_iter();
        let further = further::of(&accounts, &further::HealthInputs::of(running));
        Self::new(ready.chain(further).collect(), reader)
    }
}
