//! The service manager: `socket` is what it hears, `beat` says for as long as the gateway runs how that is; `ports` are those that
//! it keeps open over a restart.

pub(super) mod beat;
pub(super) mod ports;
pub(super) mod socket;
