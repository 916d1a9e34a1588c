//! Sim.
mod bits;
mod device;
mod latency;
mod pace;
mod tally;
