//! What is in RAM: what each queue owes, the account of the bytes, and what plugins have to remember until a commit has it.
//! Pure state: no disk and no clock.

pub(crate) mod checkpoints;
pub(crate) mod queue;
pub(crate) mod ram;
pub(crate) mod ranges;
