//! What lies on disk is sealed, where there is a key, and which keys that takes.

pub(crate) mod keys;
pub(crate) mod sealer;
