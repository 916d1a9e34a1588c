//! The service manager: `socket` is what it hears, `beat` says for as long as the gateway runs how that is.

pub(super) mod beat;
pub(super) mod socket;
