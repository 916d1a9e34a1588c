//! How a connection is left in good order.

use std::future::poll_fn;
use std::task::ready;
use std::time::Duration;

use tokio::time::timeout;

use super::Connection;
use crate::mqtt::Error;

/// How long a closed connection waits for the broker to close as well.
const LINGER: Duration = Duration::from_secs(1);

impl Connection {
    /// Says that we are gone, sends DISCONNECT, flushes within the write deadline and closes.
    pub async fn close(mut self) {
        self.say_gone();
        self.part().await;
    }

    /// The same for a moment, until it is opened anew: nobody is told that we are gone.
    pub async fn leave(mut self) {
        self.part().await;
    }

    async fn part(&mut self) {
        self.session.disconnect();
        let deadline = self.write_deadline;
        let ended = timeout(deadline, async {
            self.flush().await?;
            self.socket.shutdown().await.map_err(Error::from)
        });
        if let Ok(Ok(())) = ended.await {
            // Closing with unread bytes would reset the connection, and what was just sent might not be read.
            let drained = poll_fn(|cx| {
                loop {
                    self.input.clear();
                    ready!(self.poll_fill(cx))?;
                }
            });
            let _: Result<Result<(), Error>, _> = timeout(LINGER.min(deadline), drained).await;
        }
    }
}
