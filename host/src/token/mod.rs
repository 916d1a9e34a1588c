//! Tokens that are shown in place of a password, and that end: made here from a key, or fetched from who gives them out.
//!
//! - `jwt`: a text in JSON, signed (RFC 7519), with one of four algorithms; `doubt`: what of one that was refused may be the reason.
//! - `endpoint`: asks for one over HTTP, as a client with a secret of its own (RFC 6749, section 4.4), and keeps it while it is good;
//!   `answer`: what the endpoint says. Neither of `jwt` and `answer` knows sockets or clocks.
//! - `last`: the last one that was made, used while it is good where no new one can be made.
//!
//! A connection asks for a token when it is dialled ([`crate::link::Secret`]), and goes on with another one before the end of it.

mod answer;
mod doubt;
mod endpoint;
mod jwt;
mod last;

pub use doubt::doubt;
pub use endpoint::{EndpointLogin, TokenEndpoint, TokenRequest};
pub use jwt::{JwtRecipe, RANDOM, SigningAlgorithm};
