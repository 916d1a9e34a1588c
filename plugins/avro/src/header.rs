//! What stands before a value and says which schema it has.

use tidegate_sdk::prelude::*;

settings! {
    /// What stands before a value.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "kebab-case")]
    pub enum Header {
        /// Nothing.
        #[default]
        None,
        /// A zero, and the schema's id in a registry.
        Confluent,
        /// Two bytes, and the schema's fingerprint.
        SingleObject,
    }
}

/// How a single object begins.
const MARK: [u8; 2] = [0xc3, 0x01];

impl Header {
    /// The id, where there is one, and where the value begins.
    ///
    /// # Errors
    /// It is another header, or that of another schema.
    pub fn read(
        self,
        payload: &[u8],
        wanted: Option<u32>,
        fingerprint: u64,
    ) -> Result<(Option<u32>, usize)> {
        match (self, payload) {
            (Self::None, _) => Ok((None, 0)),
            (Self::Confluent, [0, a, b, c, d, ..]) => {
                let id = u32::from_be_bytes([*a, *b, *c, *d]);
                match wanted {
                    Some(wanted) if wanted != id => {
                        Err(format!("payload has the schema {id}, not {wanted}").into())
                    }
                    _ => Ok((Some(id), 5)),
                }
            }
            (Self::Confluent, _) => {
                Err("payload does not begin with a zero and the schema's id".into())
            }
            (Self::SingleObject, _) => {
                let print = payload
                    .strip_prefix(&MARK)
                    .and_then(|rest| rest.first_chunk::<8>())
                    .ok_or("payload does not begin with c3 01 and the schema's fingerprint")?;
                let print = u64::from_le_bytes(*print);
                if print != fingerprint {
                    return Err(format!("payload has a schema of the fingerprint {print:016x}, `schema` has {fingerprint:016x}").into());
                }
                Ok((None, 10))
            }
        }
    }

    /// Appends it.
    pub fn write(self, id: Option<u32>, fingerprint: u64, payload: &mut Vec<u8>) {
        match self {
            Self::None => {}
            Self::Confluent => {
                payload.push(0);
                payload.extend_from_slice(&id.unwrap_or_default().to_be_bytes());
            }
            Self::SingleObject => {
                payload.extend_from_slice(&MARK);
                payload.extend_from_slice(&fingerprint.to_le_bytes());
            }
        }
    }
}
