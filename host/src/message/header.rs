//! Headers in the arena form of the plugin contract: for each, name length (u16, little endian), name, value
//! length (u16, little endian), value. MQTT 5 user properties keep their names; the other properties that
//! travel are named `:content-type`, `:response-topic`, `:correlation-data`, `:message-expiry` (seconds, decimal) and
//! `:payload-format` (`1`: text). A colon first cannot be mistaken by a plugin for a name of its own, nor sent by a device:
//! see [`super::legal::is_reserved`].

use bytes::BufMut;

/// A header block that does not parse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// A length points past the end of the block.
    #[error("header block ends inside an entry")]
    Truncated,
    /// MQTT 5 names are text.
    #[error("header name is not utf-8")]
    NameNotText,
    /// A name or value does not fit a 16-bit length.
    #[error("header name or value is longer than 65,535 bytes")]
    TooLong,
}

/// Walks a header block.
#[derive(Clone, Copy, Debug)]
pub struct Headers<'a>(pub &'a [u8]);

impl<'a> Headers<'a> {
    /// The first value under `name`.
    pub fn get(self, name: &str) -> Option<&'a [u8]> {
        self.filter_map(Result::ok)
            .find(|(found, _)| *found == name)
            .map(|(_, value)| value)
    }

    fn take(&mut self) -> Result<&'a [u8], HeaderError> {
        let (length, rest) = self
            .0
            .split_first_chunk::<2>()
            .ok_or(HeaderError::Truncated)?;
        let (field, rest) = rest
            .split_at_checked(usize::from(u16::from_le_bytes(*length)))
            .ok_or(HeaderError::Truncated)?;
        self.0 = rest;
        Ok(field)
    }

    fn entry(&mut self) -> Result<(&'a str, &'a [u8]), HeaderError> {
        let name = self.take()?;
        let value = self.take()?;
        Ok((
            std::str::from_utf8(name).map_err(|_| HeaderError::NameNotText)?,
            value,
        ))
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = Result<(&'a str, &'a [u8]), HeaderError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let entry = self.entry();
        if entry.is_err() {
            self.0 = &[];
        }
        Some(entry)
    }
}

/// Appends one header to a block.
pub fn push_header(block: &mut impl BufMut, name: &str, value: &[u8]) -> Result<(), HeaderError> {
    let length = |field: &[u8]| u16::try_from(field.len()).map_err(|_| HeaderError::TooLong);
    let name_length = length(name.as_bytes())?;
    let value_length = length(value)?;
    block.put_u16_le(name_length);
    block.put_slice(name.as_bytes());
    block.put_u16_le(value_length);
    block.put_slice(value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_pushed_is_read_back(entries in proptest::collection::vec((".{0,20}", proptest::collection::vec(any::<u8>(), 0..40)), 0..8)) {
            let mut block = Vec::new();
            for (name, value) in &entries {
                push_header(&mut block, name, value).unwrap();
            }
            let read: Vec<_> = Headers(&block).map(|entry| entry.map(|(name, value)| (name.to_owned(), value.to_vec()))).collect::<Result<_, _>>().unwrap();
            prop_assert_eq!(read, entries);
        }

        #[test]
        fn any_bytes_end_the_walk_without_a_panic(block in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Headers(&block).count() <= block.len() / 4 + 1);
        }
    }
}
