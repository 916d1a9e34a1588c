//! Paths of masked fields as a tree, and what is written in their place.

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tidegate_sdk::json::{self, Member, Object, Value};
use tidegate_sdk::prelude::*;
use tidegate_sdk::serde_json;

use crate::{Do, Field};

/// What hashes are made with.
#[derive(Clone)]
pub struct Key {
    keyed: Hmac<Sha256>,
    digits: usize,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a key")
    }
}

impl Key {
    /// Hashes will have so many hexadecimal digits.
    pub fn new(key: &[u8], digits: usize) -> Result<Self> {
        let keyed = Hmac::new_from_slice(key).map_err(|error| format!("`key`: {error}"))?;
        Ok(Self { keyed, digits })
    }

    /// The hash as a JSON text.
    fn hash(&self, bytes: &[u8]) -> String {
        let mut keyed = self.keyed.clone();
        keyed.update(bytes);
        let mut hash = "\"".to_owned();
        for byte in keyed.finalize().into_bytes() {
            hash.push_str(&format!("{byte:02x}"));
        }
        hash.truncate(1 + self.digits);
        hash.push('"');
        hash
    }
}

/// A field that is masked, or has such in it.
#[derive(Clone, Debug, Default)]
pub struct Node {
    action: Option<Action>,
    below: BTreeMap<String, Node>,
}

#[derive(Clone, Copy, Debug)]
enum Action {
    Drop,
    Hash,
    Truncate(Option<usize>, Option<u8>),
}

impl Node {
    /// Adds a path.
    pub fn add(&mut self, field: &Field) -> Result<()> {
        let path = &field.field;
        let levels = json::levels(path)?;
        if path.contains('[') && levels.len() > 1 {
            return Err(format!(
                "path `{path}` has a place in a list: leave it out, and each element is meant"
            )
            .into());
        }
        let mut node = self;
        for level in levels {
            node = node.below.entry(level).or_default();
            if node.action.is_some() {
                return Err(format!("`{path}` is masked already, or lies in what is").into());
            }
        }
        if !node.below.is_empty() {
            return Err(format!("fields in `{path}` are masked already: leave out one").into());
        }
        node.action = Some(match field.action {
            Do::Drop => Action::Drop,
            Do::Hash => Action::Hash,
            Do::Truncate => Action::Truncate(field.keep, field.decimals),
        });
        Ok(())
    }

    /// Writes the members of an object with what is masked.
    pub fn write(&self, object: &mut Object<'_>, members: &[Member<'_>], key: &Key) -> Result<()> {
        for member in members {
            match self.below.get(&*member.name) {
                None => object.raw(&member.name, member.value.bytes()),
                Some(node) => {
                    if let Some(masked) = node.masked(member.value, key)? {
                        object.raw(&member.name, &masked);
                    }
                }
            }
        }
        Ok(())
    }

    /// What takes the place of a value; `None` where nothing does.
    fn masked(&self, value: Value<'_>, key: &Key) -> Result<Option<Vec<u8>>> {
        if let Some(Action::Drop) = self.action {
            return Ok(None);
        }
        if let Some(elements) = value.elements()? {
            let mut list = vec![b'['];
            for element in elements {
                if let Some(masked) = self.masked(element, key)? {
                    if list.len() > 1 {
                        list.push(b',');
                    }
                    list.extend_from_slice(&masked);
                }
            }
            list.push(b']');
            return Ok(Some(list));
        }
        match self.action {
            _ if value.is_null() => Ok(Some(value.bytes().to_vec())),
            Some(Action::Hash) => Ok(Some(hashed(value, key).into_bytes())),
            Some(Action::Truncate(keep, decimals)) => {
                let cut = truncated(value, keep, decimals);
                if cut.is_none() {
                    counter("unfit_dropped", 1);
                }
                Ok(cut.map(String::into_bytes))
            }
            _ => {
                let Some(members) = value.members()? else {
                    return Ok(Some(value.bytes().to_vec()));
                };
                let mut inner = Vec::new();
                let mut object = Object::begin(&mut inner);
                self.write(&mut object, &members, key)?;
                object.end();
                Ok(Some(inner))
            }
        }
    }
}

fn hashed(value: Value<'_>, key: &Key) -> String {
    match value.text() {
        Some(text) => key.hash(text.as_bytes()),
        None => key.hash(value.canonical().as_bytes()),
    }
}

/// `None` for what cannot be cut in this way.
fn truncated(value: Value<'_>, keep: Option<usize>, decimals: Option<u8>) -> Option<String> {
    if let Some(text) = value.text() {
        let cut: String = text.chars().take(keep?).collect();
        return Some(serde_json::Value::from(cut).to_string());
    }
    Some(value.decimal()?.rounded(decimals?).to_json())
}
