//! The guests under `tests/guests`, most of them hostile, as components: a constant each, made by `build.rs`. And
//! variations on them.

use anyhow::{Context, Result};

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

/// A guest's component.
pub fn component(name: &str) -> Result<Vec<u8>> {
    let guest = ALL
        .iter()
        .find(|guest| guest.name == name)
        .with_context(|| format!("there is no guest `{name}`"))?;
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
    let places: Vec<_> = component
        .windows(ours.len())
        .enumerate()
        .filter(|(_, bytes)| bytes == ours)
        .collect();
    for (at, _) in places {
        built[at + 1..at + ours.len()].copy_from_slice(version);
    }
    built
}

/// The guest `tables` with what Rust cannot say: `table.grow` by 8,191 elements.
pub fn growing_tables() -> Result<Vec<u8>> {
    // `i32.const MARK`, `memory.grow 0`; and `ref.null func`, `i32.const 8191`, `table.grow 0`.
    const MEMORY: [u8; 8] = [0x41, 0x9e, 0xd6, 0xde, 0xf2, 0x07, 0x40, 0x00];
    const TABLE: [u8; 8] = [0xd0, 0x70, 0x41, 0xff, 0x3f, 0xfc, 0x0f, 0x00];
    let mut tables = component("tables")?;
    let at = tables
        .windows(MEMORY.len())
        .position(|bytes| bytes == MEMORY)
        .context("the mark is not in the code")?;
    tables[at..at + TABLE.len()].copy_from_slice(&TABLE);
    Ok(tables)
}

/// The same component with a core module more, of which it makes so many instances. Each has a table of
/// `table_elements`, if that is not 0.
pub fn crowded(component: &[u8], instances: u8, table_elements: u32) -> Vec<u8> {
    const CORE_MODULE: u8 = 1;
    const CORE_INSTANCES: u8 = 2;
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    if table_elements > 0 {
        // One table of function references, without an upper bound.
        let table = [&[1, 0x70, 0][..], &leb(table_elements)].concat();
        put_section(&mut module, 4, &table);
    }
    let number = sections(component).filter(|id| *id == CORE_MODULE).count() as u32;
    let mut crowded = component.to_vec();
    put_section(&mut crowded, CORE_MODULE, &module);
    // Instantiated, of this module, with no arguments.
    let each = [&[0][..], &leb(number), &[0]].concat();
    put_section(
        &mut crowded,
        CORE_INSTANCES,
        &[
            &leb(u32::from(instances))[..],
            &each.repeat(usize::from(instances)),
        ]
        .concat(),
    );
    crowded
}

fn put_section(to: &mut Vec<u8>, id: u8, content: &[u8]) {
    to.push(id);
    to.extend(leb(content.len() as u32));
    to.extend(content);
}

/// A number as WebAssembly writes it.
fn leb(mut number: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7f {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// The ids of a component's sections, in their order.
fn sections(component: &[u8]) -> impl Iterator<Item = u8> {
    let mut rest = &component[8..];
    std::iter::from_fn(move || {
        let (&id, body) = rest.split_first()?;
        let digits = body.iter().take_while(|byte| **byte > 0x7f).count() + 1;
        let length = body[..digits]
            .iter()
            .rev()
            .fold(0, |length, byte| length << 7 | usize::from(byte & 0x7f));
        rest = &body[digits + length..];
        Some(id)
    })
}
