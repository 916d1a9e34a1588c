//! A free port on loopback.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context, Result};

/// Below what Linux gives out by itself, to listeners on port 0 and to whoever dials: a broker that is stopped for a while
/// shall find its port free again.
const RANGE: std::ops::Range<u16> = 12_000..32_000;

/// A port that nobody listened on a moment ago. Whoever takes it must expect to lose the race and try another.
pub fn free() -> Result<u16> {
    let mut ports = std::iter::repeat_with(|| fastrand::u16(RANGE)).take(100);
    ports
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .context("no free port on loopback")
}
