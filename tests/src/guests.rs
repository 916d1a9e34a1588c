//! The guests under `tests/guests`, most of them hostile, as components: a constant each, made by `build.rs`.

/// A guest.
#[derive(Clone, Copy, Debug)]
pub struct Guest {
    /// Name of its folder.
    pub name: &'static str,
    /// Its component as a file.
    pub path: &'static str,
    /// The same as bytes.
    pub component: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/guests.rs"));
