//! How far one message may spread on its way through the plugins of a flow: two that each make thousands out of one make
//! millions together. Whatever a message has led to by then is taken back, and it is poison as a whole.

use std::collections::HashMap;

use crate::chain::lane::item::Item;
use crate::chain::settings::PluginConfig;
use crate::message::PluginRef;

/// What one message may lead to at any time, over all plugins: as much as the most generous limit of one of them lets a
/// single call answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Most {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

impl Most {
    pub(crate) fn of(plugins: &[PluginConfig]) -> Self {
        let most =
            |of: fn(&PluginConfig) -> usize| plugins.iter().map(of).max().unwrap_or(usize::MAX);
        Self {
            messages: most(|plugin| plugin.limits.output_messages),
            bytes: most(|plugin| plugin.limits.output_bytes),
        }
    }
}

/// Messages, and the bytes the plugins made for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

/// A message that has led to several.
#[derive(Debug)]
struct Spread {
    /// As it was when it did, and the plugin that did it; unknown where it has waited since.
    root: Option<(Item, PluginRef)>,
    now: Amount,
}

/// The messages of a batch that have led to several, by their number in it.
#[derive(Debug)]
pub(super) struct Spreads {
    most: Most,
    known: HashMap<u32, Spread>,
    /// Those that have led to too much, while the plugin that did it is at work.
    over: Vec<u32>,
}

impl Spreads {
    pub(crate) fn new(most: Most) -> Self {
        Self {
            most,
            known: HashMap::new(),
            over: Vec::new(),
        }
    }

    pub(crate) fn begin(&mut self) {
        self.known.clear();
        self.over.clear();
    }

    /// One of `origin` is there beside others, whatever it was before.
    pub(crate) fn add(&mut self, origin: u32) {
        self.known
            .entry(origin)
            .or_insert(Spread {
                root: None,
                now: Amount::default(),
            })
            .now
            .messages += 1;
    }

    /// Whether the message with number `origin` has led to several.
    pub(crate) fn has(&self, origin: u32) -> bool {
        !self.known.is_empty() && self.known.contains_key(&origin)
    }

    /// One of the messages of `origin`, of so many bytes, becomes `amount`; `false` when that is too much.
    pub(crate) fn grow(
        &mut self,
        origin: u32,
        bytes: usize,
        amount: Amount,
        root: impl FnOnce() -> (Item, PluginRef),
    ) -> bool {
        let first = || Spread {
            root: Some(root()),
            now: Amount { messages: 1, bytes },
        };
        let Amount {
            messages: all,
            bytes: total,
        } = &mut self.known.entry(origin).or_insert_with(first).now;
        *all = (*all + amount.messages).saturating_sub(1);
        *total = (*total + amount.bytes).saturating_sub(bytes);
        *all <= self.most.messages && *total <= self.most.bytes
    }

    /// One of the messages of `origin` has come to its end.
    pub(crate) fn end(&mut self, origin: u32, bytes: usize) {
        if let Some(Spread { now, .. }) = self.known.get_mut(&origin) {
            *now = Amount {
                messages: now.messages.saturating_sub(1),
                bytes: now.bytes.saturating_sub(bytes),
            };
        }
    }

    /// It has led to too much: what it was, if that is known; what else has come of it is void.
    pub(super) fn condemn(&mut self, origin: u32) -> Option<(Item, PluginRef)> {
        let root = self.known.remove(&origin).and_then(|spread| spread.root);
        if root.is_some() {
            self.over.push(origin);
        }
        root
    }

    /// The same of what no message led to: none of it is wanted.
    pub(super) fn condemn_all(&mut self, origin: u32) {
        self.known.remove(&origin);
        self.over.push(origin);
    }

    /// Whether any has led to too much in the plugin that is at work.
    pub(super) fn has_over(&self) -> bool {
        !self.over.is_empty()
    }

    pub(crate) fn is_over(&self, origin: u32) -> bool {
        self.over.contains(&origin)
    }

    /// The plugin has done its work: what came of those is gone.
    pub(super) fn forget_over(&mut self) {
        self.over.clear();
    }

    pub(super) fn too_much(&self) -> String {
        let Most { messages, bytes } = self.most;
        format!(
            "one message led to more than {messages} messages or {bytes} bytes on its way through the plugins of its flow"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> (Item, PluginRef) {
        (
            Item::default(),
            PluginRef {
                name: "a".into(),
                digest: "b".into(),
            },
        )
    }

    #[test]
    fn what_comes_of_a_message_is_counted_over_all_plugins_and_what_ends_is_not() {
        let amount = |messages, bytes| Amount { messages, bytes };
        let mut spreads = Spreads::new(Most {
            messages: 10,
            bytes: 1_000,
        });
        assert!(!spreads.has(7));
        assert!(spreads.grow(7, 100, amount(6, 600), root) && spreads.has(7));
        (0..4).for_each(|_| spreads.end(7, 100));
        assert!(
            spreads.grow(7, 100, amount(9, 900), root),
            "one of two becomes nine"
        );
        assert!(!spreads.grow(7, 100, amount(2, 200), root));
        assert!(spreads.condemn(7).is_some() && spreads.is_over(7) && !spreads.is_over(6));
        assert!(spreads.grow(6, 100, amount(2, 1_000), root));
        assert!(
            !spreads.grow(6, 500, amount(1, 501), root),
            "bytes count as well"
        );
        spreads.forget_over();
        assert!(!spreads.has_over());
    }
}
