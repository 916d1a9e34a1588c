//! Tasks that do not outlive the simulation.

use tokio::task::{JoinError, JoinHandle};

/// A task that ends with its owner.
#[derive(Debug)]
pub(super) struct OwnedTask<T>(pub(super) JoinHandle<T>);

impl<T> OwnedTask<T> {
    pub(super) async fn join(mut self) -> Result<T, JoinError> {
        (&mut self.0).await
    }
}

impl<T> Drop for OwnedTask<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
