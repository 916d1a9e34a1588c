//! What lies on disk is read for whoever is owed it; what cannot be read for now is tried again later.

pub(crate) mod reader;
mod retry;
pub(crate) mod sick;
