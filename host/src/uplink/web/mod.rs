//! Servers over HTTP, for whoever speaks to one, whatever is said there: one connection with one request at a time and its deadlines
//! (`wire`), what goes wrong with it (`error`), and how long a server wants to be left alone (`pause`). It knows neither messages nor
//! what an answer means.

mod error;
mod pause;
mod wire;

pub use self::error::Error;
pub use self::pause::Pause;
pub(super) use self::pause::asked_for;
pub(super) use self::wire::{Dialling, HttpConnection, Reply, Whole};
