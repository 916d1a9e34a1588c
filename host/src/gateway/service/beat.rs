//! The watchdog's food, and the line that `systemctl status` shows. Both in the network's loop: one that hangs tells nothing.

use std::sync::Arc;
use std::time::Duration;

use super::socket::ServiceSocket;
use crate::gateway::api;
use crate::gateway::pulse::{self, Loop};
use crate::gateway::running::RunningGateway;

/// How often the line is told anew where no watchdog asks more often.
const STATUS: Duration = Duration::from_secs(10);

/// Says for ever how the gateway is, and feeds the watchdog while every loop turns that must.
pub(in crate::gateway) async fn keep_telling(service: ServiceSocket, running: Arc<RunningGateway>) {
    // Three times an interval, so that one that comes late harms nothing.
    let pause = service
        .watchdog()
        .map_or(STATUS, |interval| (interval / 3).min(STATUS));
    let mut told = String::new();
    loop {
        let loops = pulse::loops(&running).await;
        let still = still(&loops);
        match &still {
            None => service.alive(),
            Some(still) => tracing::error!("{still}: the watchdog is not fed"),
        }
        let status = still.unwrap_or_else(|| api::health::in_a_line(&running));
        if status != told {
            service.status(&status);
            told = status;
        }
        tokio::time::sleep(pause).await;
    }
}

/// What is said where a loop stands.
fn still(loops: &[Loop]) -> Option<String> {
    let still: Vec<_> = loops
        .iter()
        .filter(|one| one.stands_still())
        .map(|one| format!("{} for {} s", one.name, one.idle.as_secs()))
        .collect();
    (!still.is_empty()).then(|| format!("stands still: {}", still.join(", ")))
}
