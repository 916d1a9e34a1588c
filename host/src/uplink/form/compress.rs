//! Compression of a whole: a body, a file.

use std::io::{self, Read, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

/// How what is sent or kept is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compress {
    #[default]
    None,
    Zstd,
    Gzip,
}

impl Compress {
    /// The compressed body, and the name of how it is; `None` where it goes as it is.
    pub(in crate::uplink) fn of(self, body: &[u8]) -> Option<(Bytes, &'static str)> {
        match self {
            Self::None => None,
            Self::Zstd => Some((zstd::bulk::compress(body, 3).ok()?.into(), "zstd")),
            Self::Gzip => {
                let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
                packed.write_all(body).ok()?;
                Some((packed.finish().ok()?.into(), "gzip"))
            }
        }
    }

    /// How names of files end that are compressed so.
    pub(in crate::uplink) fn ending(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Zstd => ".zst",
            Self::Gzip => ".gz",
        }
    }

    /// Compresses all that is there to be read.
    pub(in crate::uplink) fn copy(self, from: &mut impl Read, to: impl Write) -> io::Result<()> {
        match self {
            Self::None => {
                let mut to = to;
                io::copy(from, &mut to)?;
            }
            Self::Zstd => zstd::stream::copy_encode(from, to, 3)?,
            Self::Gzip => {
                let mut packed = GzEncoder::new(to, Compression::default());
                io::copy(from, &mut packed)?;
                packed.finish()?;
            }
        }
        Ok(())
    }
}
