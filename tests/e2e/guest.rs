//! The guests as bytes, and variations on them.

use anyhow::{Context, Result};
use tidegate_tests::guests;

/// A guest's component.
pub fn component(name: &str) -> Result<Vec<u8>> {
    let guest = guests::ALL.iter().find(|guest| guest.name == name).with_context(|| format!("there is no guest `{name}`"))?;
    Ok(guest.component.to_vec())
}

/// The same component with another digest: a custom section, which means nothing, holds `mark`.
pub fn marked(component: &[u8], mark: u32) -> Vec<u8> {
    let mut marked = component.to_vec();
    // Section 0, its length, and its name with length: `mark`; then four bytes of content.
    marked.extend([0, 9, 4, b'm', b'a', b'r', b'k']);
    marked.extend(mark.to_le_bytes());
    marked
}

/// The same component as if it had been built against version `version` of the contract, which is 0.1.0.
pub fn of_version(component: &[u8], version: &[u8; 5]) -> Vec<u8> {
    let mut built = component.to_vec();
    let ours = b"@0.1.0";
    let places: Vec<_> = component.windows(ours.len()).enumerate().filter(|(_, bytes)| bytes == ours).collect();
    for (at, _) in places {
        built[at + 1..at + ours.len()].copy_from_slice(version);
    }
    built
}
