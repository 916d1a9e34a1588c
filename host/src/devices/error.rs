//! Why there is no register.

/// Each ends a start, and none a gateway that runs.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody else counts under these names.
    #[error("the numbers of the register of devices cannot be shown")]
    Metrics(#[source] prometheus::Error),
    /// The system gives none.
    #[error("the register of devices gets no thread")]
    Thread(#[source] std::io::Error),
}
