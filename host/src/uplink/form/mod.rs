//! What a message looks like upstream, whatever carries it there: as it is, with its id, in an envelope or packed (`encode`), as
//! JSON that every reader takes (`json`), as the members of its payload (`members`), as a text with names in it (`template`), as what a column
//! of a table says (`column`), as a line of a file (`lines`); `compress` is
//! for a whole of them.

pub(super) mod column;
pub(super) mod compress;
pub(super) mod encode;
pub(super) mod json;
pub(super) mod lines;
pub(super) mod members;
pub(super) mod template;
