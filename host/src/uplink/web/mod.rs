//! Servers over HTTP, for whoever speaks to one, whatever is said there: one connection with one request at a time and its deadlines
//! (`wire`), one such connection after the other (`client`), what goes wrong with them (`error`), and how long a server wants to be left alone (`pause`). It knows neither messages nor
//! what an answer means.

mod client;
mod error;
mod pause;
mod wire;

pub(super) use self::client::HttpClient;
pub use self::error::Error;
pub use self::pause::Pause;
pub(super) use self::wire::{Dialling, HttpConnection, Reply, Whole};
