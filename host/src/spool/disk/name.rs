//! What a store is called: random, made once, so that neither files nor message ids of two stores are taken for one
//! another's.
//!
//! Its files carry the name for good. A store that was copied, restored or moved to another board may run a second time
//! elsewhere: it takes another name for the ids of its messages. That is seen by what stands in the lock file of where it
//! was: the machine, the folder and the lock file itself, each with the moment it was made, which no copy has. What a copy of
//! a whole card on the same board has been through cannot be seen.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use ring::digest::{Context, SHA256};
use ring::rand::{SecureRandom, SystemRandom};

/// Letters of a name: 40 bits.
const LENGTH: usize = 8;
const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// What tells one machine from another, as far as it has them and any user may read them.
const MACHINE: [&str; 2] = ["/etc/machine-id", "/proc/device-tree/serial-number"];

/// Both names of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoreName {
    pub store: Arc<str>,
    pub ids: Arc<str>,
    /// It lies elsewhere than it did when it was last open, or is not known to lie there still.
    pub is_copied: bool,
}

pub(crate) fn any() -> Arc<str> {
    let mut bytes = [0_u8; LENGTH];
    SystemRandom::new()
        .fill(&mut bytes)
        .expect("the kernel has random bytes once it is up");
    bytes
        .iter()
        .map(|byte| char::from(LETTERS[usize::from(byte % 32)]))
        .collect::<String>()
        .into()
}

/// Whether this can be a name: it goes into topics and files.
pub(crate) fn is_name(text: &str) -> bool {
    text.len() == LENGTH && text.bytes().all(|letter| LETTERS.contains(&letter))
}

/// Where a store is: the machine, and folder and lock file as the file system knows them.
pub(crate) fn whereabouts(folder: &Path) -> String {
    let mut place = Context::new(&SHA256);
    for path in MACHINE {
        place.update(&std::fs::read(path).unwrap_or_default());
        place.update(b"\n");
    }
    for path in [folder, &folder.join("lock")] {
        let about = std::fs::metadata(path).ok();
        let made = about
            .as_ref()
            .and_then(|about| about.created().ok()?.duration_since(UNIX_EPOCH).ok());
        place.update(&about.map_or(0, |about| about.ino()).to_be_bytes());
        place.update(&made.map_or(0, |made| made.as_nanos()).to_be_bytes());
    }
    place
        .finish()
        .as_ref()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_not_alike_and_fit_into_a_topic() {
        let names: std::collections::BTreeSet<_> = (0..100).map(|_| any()).collect();
        assert!(names.len() == 100 && names.iter().all(|name| is_name(name)));
        assert!(!is_name("abc/defg") && !is_name("ABCDEFGH") && !is_name("abcdefg"));
    }

    #[test]
    fn two_folders_are_two_places_and_so_is_one_that_was_made_anew() {
        let (one, two) = (
            crate::spool::tests::tempdir(),
            crate::spool::tests::tempdir(),
        );
        let write = || std::fs::write(one.path().join("lock"), "x").unwrap();
        write();
        let before = whereabouts(one.path());
        write();
        assert_eq!(whereabouts(one.path()), before);
        assert_ne!(whereabouts(two.path()), before);
        std::fs::remove_file(one.path().join("lock")).unwrap();
        write();
        assert_ne!(
            whereabouts(one.path()),
            before,
            "a lock file that was restored is another one"
        );
    }
}
