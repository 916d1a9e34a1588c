//! Values among the records that are sealed (`sealer`), and names that are hidden.
//!
//! ```text
//! value        b'S', then as `sealer` says; the name of its tree and its key go with it
//! in "state"   the key is flow + 0 + plugin + 0 + hidden name, the value [length of the plugin's key u32][key][value]
//! ```
//!
//! Without a key everything stands as it is. What does not open is taken as it is, and its own checksum tells the rest.

use std::borrow::Cow;

use crate::spool::disk::sealing::sealer::Sealer;
use crate::spool::memory::checkpoints;

pub(crate) const SEALED_MARK: u8 = b'S';

/// What is sealed in sled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sealed {
    Letter,
    Ledger,
    State,
}

impl Sealed {
    fn name(self) -> &'static [u8] {
        match self {
            Self::Letter => b"dead",
            Self::Ledger => b"ledger",
            Self::State => b"state",
        }
    }

    /// Numbers stand in the clear under short keys.
    pub(crate) fn has_content(self, key: &[u8]) -> bool {
        key.len() > 1 || self == Self::State
    }

    fn about(self, key: &[u8]) -> Vec<u8> {
        [self.name(), b"\0", key].concat()
    }
}

/// A value as it goes to sled.
pub(crate) fn seal(sealer: &Sealer, kind: Sealed, key: &[u8], plain: Vec<u8>) -> Vec<u8> {
    if sealer.current().is_none() || !kind.has_content(key) {
        return plain;
    }
    let mut sealed = vec![SEALED_MARK];
    sealer.seal(&kind.about(key), &plain, &mut sealed);
    sealed
}

/// A value as it was.
pub(crate) fn open<'v>(
    sealer: &Sealer,
    kind: Sealed,
    key: &[u8],
    value: &'v [u8],
) -> Cow<'v, [u8]> {
    let opened = value
        .strip_prefix(&[SEALED_MARK])
        .and_then(|sealed| sealer.open(&kind.about(key), sealed));
    opened.map_or(Cow::Borrowed(value), Cow::Owned)
}

/// The key of an entry of plugins' state as it stands in sled.
pub(crate) fn state_key<'k>(sealer: &Sealer, key: &'k [u8]) -> Cow<'k, [u8]> {
    let hidden = sealer.hide(key).zip(checkpoints::split(key));
    hidden.map_or(Cow::Borrowed(key), |(hidden, (.., own))| {
        Cow::Owned([&key[..key.len() - own.len()], &hidden].concat())
    })
}

/// An entry of plugins' state as it goes to sled, under its key there.
pub(crate) fn seal_state(sealer: &Sealer, stored: &[u8], key: &[u8], value: &[u8]) -> Vec<u8> {
    let Some((.., own)) = checkpoints::split(key).filter(|_| sealer.current().is_some()) else {
        return value.to_vec();
    };
    let length = u32::try_from(own.len()).unwrap_or(u32::MAX).to_le_bytes();
    seal(
        sealer,
        Sealed::State,
        stored,
        [&length, own, value].concat(),
    )
}

/// Key and value of an entry of plugins' state.
pub(crate) fn open_state<'v>(
    sealer: &Sealer,
    stored: &'v [u8],
    value: &'v [u8],
) -> (Cow<'v, [u8]>, Cow<'v, [u8]>) {
    let Cow::Owned(inner) = open(sealer, Sealed::State, stored, value) else {
        return (stored.into(), value.into());
    };
    let parts = inner.split_first_chunk::<4>().and_then(|(length, rest)| {
        let (own, value) =
            rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        let (.., hidden) = checkpoints::split(stored)?;
        Some((
            [&stored[..stored.len() - hidden.len()], own].concat(),
            value.to_vec(),
        ))
    });
    parts.map_or((stored.into(), value.into()), |(key, value)| {
        (key.into(), value.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::disk::sealing::sealer::tests::sealer;

    #[test]
    fn a_value_opens_under_its_key_only_and_numbers_stay_in_the_clear() {
        let sealer = sealer(&[1]);
        let sealed = seal(&sealer, Sealed::Letter, b"l123", b"payload".to_vec());
        assert_eq!(
            &*open(&sealer, Sealed::Letter, b"l123", &sealed),
            b"payload"
        );
        assert_eq!(&*open(&sealer, Sealed::Letter, b"l124", &sealed), &*sealed);
        assert_eq!(&*open(&sealer, Sealed::Ledger, b"l123", &sealed), &*sealed);
        assert_eq!(
            seal(&sealer, Sealed::Letter, b"m", b"count".to_vec()),
            b"count"
        );
        assert_eq!(&*open(&sealer, Sealed::Letter, b"l125", b"Stale"), b"Stale");
    }

    #[test]
    fn a_hidden_key_shows_flow_and_plugin_and_comes_back_with_its_value() {
        let sealer = sealer(&[1]);
        let key = [
            checkpoints::prefix("climate", "count").as_slice(),
            b"d\x007",
        ]
        .concat();
        let stored = state_key(&sealer, &key).into_owned();
        let (flow, plugin, hidden) = checkpoints::split(&stored).unwrap();
        assert_eq!((flow, plugin, hidden.len()), ("climate", "count", 16));
        let value = seal_state(&sealer, &stored, &key, b"21.5");
        let (back, plain) = open_state(&sealer, &stored, &value);
        assert_eq!((&*back, &*plain), (&*key, &b"21.5"[..]));
        let none = Sealer::default();
        assert_eq!(
            (
                &*state_key(&none, &key),
                seal_state(&none, &key, &key, b"21.5")
            ),
            (&*key, b"21.5".to_vec())
        );
    }
}
