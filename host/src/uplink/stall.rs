//! A connection that has fallen silent with messages under way, where a fallback stands by: the queues are given away, the
//! connection is kept and watched.

use std::time::Instant;

use tokio::sync::watch;

use super::serve::{Parting, Uplink};
use crate::message::Qos;
use crate::mqtt::{Connection, Ended, Established, Stop};

impl Uplink {
    /// Why this connection is not to be used: its broker would take messages without ever saying so.
    pub(super) fn unfit(&self, established: &Established) -> Option<Ended> {
        let is_lower = |wanted: &Qos| *wanted > Qos::AtMostOnce && established.maximum_qos == Qos::AtMostOnce;
        (!self.allows_level_0 && self.wanted.iter().any(is_lower)).then_some(Ended::Level0Only)
    }

    /// When the connection counts as silent, if it is.
    pub(super) fn silent_at(&mut self, connection: &Connection) -> Option<Instant> {
        let has_unanswered = self.in_flight() > 0;
        self.post.silent_at(has_unanswered, connection.last_heard(), Instant::now())
    }

    /// Gives the queues away until upstream says something: what is under way may then arrive twice.
    pub(super) async fn stand_by(
        &mut self,
        connection: &mut Connection,
        stop: &mut watch::Receiver<Stop>,
    ) -> Result<(), Parting> {
        tracing::warn!(uplink = %self.name, in_flight = self.in_flight(),
            "upstream is silent with messages under way: its fallback gets the queues, the connection is kept");
        self.release();
        self.backlog.link(false);
        self.post.falter(Instant::now());
        let (silent_since, mut events) = (connection.last_heard(), Vec::new());
        while connection.last_heard() == silent_since && *stop.borrow() == Stop::Run {
            tokio::select! {
                biased;
                turned = connection.turn(&mut events) => turned.map_err(Ended::from)?,
                changed = stop.changed() => if changed.is_err() { break },
            }
            events.clear();
        }
        self.post.take().await;
        tracing::info!(uplink = %self.name, "upstream is heard again: it has its queues back");
        self.start_over();
        self.backlog.link(true);
        Ok(())
    }
}
