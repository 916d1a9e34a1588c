//! Dead letters: what could not be processed, with what is needed to mend it and try again. They wait for a commit
//! (`waiting`), are kept on disk (`form`) up to a number and bytes (`kept`), and the oldest make room.

pub(crate) mod form;
pub(crate) mod kept;
pub(crate) mod letter;
pub(crate) mod waiting;

#[cfg(test)]
mod tests;
