//! Takes handles of the host's resources without end on a payload that begins with `hoard`; keeps all others.

use tidegate_sdk::prelude::*;

settings! {
    /// The guest; it has no settings.
    pub struct Hoard {}
}

impl Filter for Hoard {
    fn keep(&mut self, message: &Message<'_>) -> Result<bool> {
        let mut held = Vec::new();
        while std::hint::black_box(message.payload()).starts_with(b"hoard") {
            held.push(resource());
        }
        Ok(held.is_empty())
    }
}

/// Something the host has to remember as long as it is held.
#[cfg(target_arch = "wasm32")]
fn resource() -> clocks::wasi::io::poll::Pollable {
    clocks::wasi::clocks::monotonic_clock::subscribe_duration(0)
}

#[cfg(not(target_arch = "wasm32"))]
fn resource() -> u32 {
    panic!("only the host has resources to give");
}

#[cfg(target_arch = "wasm32")]
mod clocks {
    wit_bindgen::generate!({
        inline: "
            package tests:hoard;

            package wasi:io@0.2.0 {
                interface poll {
                    resource pollable {
                        ready: func() -> bool;
                        block: func();
                    }
                    poll: func(in: list<borrow<pollable>>) -> list<u32>;
                }
            }

            package wasi:clocks@0.2.0 {
                interface monotonic-clock {
                    use wasi:io/poll@0.2.0.{pollable};
                    type instant = u64;
                    type duration = u64;
                    now: func() -> instant;
                    resolution: func() -> duration;
                    subscribe-instant: func(when: instant) -> pollable;
                    subscribe-duration: func(when: duration) -> pollable;
                }
            }

            world hoarder {
                import wasi:clocks/monotonic-clock@0.2.0;
            }
        ",
        generate_all,
    });
}

tidegate_sdk::export!(Hoard);
