//! What is the same for all WebSockets of a source.

use std::time::Duration;

use tokio::sync::mpsc;

use super::super::desk::PostRequest;
use super::super::split::BodySplit;

/// Messages of a connection that are not answered at most.
pub(super) const UNANSWERED: u64 = 256;

/// What all connections of a source have in common.
pub(in super::super) struct SocketRules {
    pub(in super::super) split: BodySplit,
    pub(in super::super) max_payload_bytes: usize,
    /// The longest message that is taken, in bytes.
    pub(in super::super) max_frame_bytes: usize,
    /// So long a silence before a ping, and as long again until the end.
    pub(in super::super) keep_alive: Duration,
    pub(in super::super) hand_on: mpsc::Sender<PostRequest>,
}
