//! The envelope of a message: its version, the address in it, and how it is opened with a bind key.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use aes::Aes128;
use ccm::Ccm;
use ccm::aead::{Aead as _, KeyInit as _};
use ccm::consts::{U4, U13};
use tidegate_sdk::foreign::Bytes;
use tidegate_sdk::prelude::*;

/// The service's UUID, as it stands in the air and in what is authenticated.
const UUID: [u8; 2] = [0xd2, 0xfc];

/// The version of the format that is read.
const VERSION: u8 = 2;

/// Counter and check behind what is encrypted.
const TRAILER: usize = 8;

type Cipher = Ccm<Aes128, U4, U13>;

/// A Bluetooth address, as people write it from left to right.
pub type Address = [u8; 6];

/// The address that a text says, with colons, dashes or nothing between its digits.
pub fn address(text: &str) -> Option<Address> {
    let digits: String = text
        .chars()
        .filter(|letter| !matches!(letter, ':' | '-'))
        .collect();
    Bytes::Hex.read(&digits)?.try_into().ok()
}

/// Bind keys by the address of the device.
#[derive(Default)]
pub struct Keys(BTreeMap<Address, Cipher>);

impl fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.0.keys()).finish()
    }
}

impl Keys {
    /// Adds one, of 32 hexadecimal digits.
    ///
    /// # Errors
    /// The address or the key is none, or the address has one already; the words do not show the key.
    pub fn add(&mut self, device: &str, key: &str) -> Result<()> {
        let known = address(device).ok_or_else(|| {
            format!("`keys`: `{device}` is no Bluetooth address, as in \"54:48:E6:8F:80:A5\"")
        })?;
        let bytes = Bytes::Hex.read(key);
        let cipher = bytes.and_then(|bytes| Cipher::new_from_slice(&bytes).ok());
        let cipher = cipher.ok_or_else(|| {
            format!("`keys`: the key of `{device}` is not one of 32 hexadecimal digits")
        })?;
        match self.0.insert(known, cipher) {
            None => Ok(()),
            Some(_) => Err(format!("`keys`: `{device}` stands there twice").into()),
        }
    }
}

/// What is in a message.
#[derive(Debug)]
pub struct Opened<'b> {
    /// Its objects.
    pub objects: Cow<'b, [u8]>,
    /// The counter of one that was encrypted.
    pub counter: Option<u32>,
}

/// Opens a message that `sender` has sent, as far as that is known.
///
/// # Errors
/// It is too short, of another version, encrypted and cannot be opened, or not encrypted although its device has a key.
pub fn open<'b>(bytes: &'b [u8], sender: Option<Address>, keys: &Keys) -> Result<Opened<'b>> {
    let bytes = bytes.strip_prefix(&UUID).unwrap_or(bytes);
    let (info, behind) = bytes.split_first().ok_or("payload is empty")?;
    if info >> 5 != VERSION {
        let version = info >> 5;
        return Err(format!("payload is not BTHome of version {VERSION}: its first byte, 0x{info:02x}, says version {version}").into());
    }
    let (inside, objects) = match info & 0b10 {
        0 => (None, behind),
        _ => behind
            .split_first_chunk::<6>()
            .map(|(address, rest)| {
                let mut address = *address;
                address.reverse();
                (Some(address), rest)
            })
            .ok_or("payload is not BTHome: it ends within its address")?,
    };
    if info & 1 == 0 {
        let has_key = |address: &Address| keys.0.contains_key(address);
        if sender.iter().chain(&inside).any(has_key) {
            return Err("payload is not encrypted although its device has a key: anybody near may have sent it".into());
        }
        return Ok(Opened {
            objects: Cow::Borrowed(objects),
            counter: None,
        });
    }
    let device = inside.or(sender).ok_or(
        "payload is encrypted and its device's Bluetooth address is not known: `address` names the field that has it",
    )?;
    let shown = shown(device);
    let key = keys
        .0
        .get(&device)
        .ok_or_else(|| format!("payload is encrypted and `keys` has none of the device {shown}"))?;
    let (counter, plain) = decrypt(*info, objects, device, key).ok_or_else(|| {
        format!("payload cannot be decrypted: the key of the device {shown} does not fit, or it was changed on the way")
    })?;
    Ok(Opened {
        objects: Cow::Owned(plain),
        counter: Some(counter),
    })
}

/// The counter, and what was encrypted.
fn decrypt(info: u8, bytes: &[u8], device: Address, key: &Cipher) -> Option<(u32, Vec<u8>)> {
    let length = bytes.len().checked_sub(TRAILER)?;
    let (encrypted, trailer) = bytes.split_at(length);
    let (counter, check) = trailer.split_first_chunk::<4>()?;
    let mut nonce = [0; 13];
    nonce[..6].copy_from_slice(&device);
    nonce[6..8].copy_from_slice(&UUID);
    nonce[8] = info;
    nonce[9..].copy_from_slice(counter);
    let plain = key.decrypt(&nonce.into(), &*[encrypted, check].concat());
    Some((u32::from_le_bytes(*counter), plain.ok()?))
}

fn shown(address: Address) -> String {
    let pairs = address.map(|byte| format!("{byte:02X}"));
    pairs.join(":")
}
