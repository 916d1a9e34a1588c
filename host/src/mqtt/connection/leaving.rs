//! How a connection is left in good order.

use super::Connection;

impl Connection {
    /// Says that we are gone, sends DISCONNECT, and closes once the broker has, or takes too long. Whether it has: then it has read
    /// all that was said.
    pub async fn close(mut self) -> bool {
        self.say_gone();
        self.part().await
    }

    /// The same for a moment, until it is opened anew: nobody is told that we are gone.
    pub async fn leave(mut self) -> bool {
        self.part().await
    }

    async fn part(&mut self) -> bool {
        self.session.disconnect();
        let output = self.session.output();
        self.socket.leave(output, self.write_deadline).await
    }
}
