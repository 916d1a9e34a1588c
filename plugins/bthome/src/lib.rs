//! Fields of BTHome version 2, which many Bluetooth sensors send and gateways pass on: `40 02 ca 09` becomes `{"temperature":25.06}`.
//!
//! ```toml
//! settings = {}
//! settings = { field = "servicedata", uuid = "servicedatauuid", address = "id", keep = ["id", "rssi"] }
//! settings = { input = "hex", keys = { "54:48:E6:8F:80:A5" = "231d39c1d7cc1ab1aee224cd096db932" } }
//! ```
//!
//! - `field`: a field of a JSON payload that has the service data as text, by its path: `"servicedata"` for OpenMQTTGateway and Theengs. Default:
//!   none; the payload is the service data. The service's UUID (`d2 fc`) may stand before it.
//! - `input`: how the bytes stand there: `"bytes"`, as they are (not in a field), `"hex"`, or `"base64"`. Default: `"hex"` in a field, else `"bytes"`.
//! - `uuid`: a field of a JSON payload that has the service's UUID, by its path, where one topic has sensors of many kinds. Default: none;
//!   everything is BTHome.
//! - `others`: what becomes of a message whose `uuid` is missing, or another than `fcd2`. `"pass"`: it goes on as it is; `"drop"`; `"reject"`.
//!   Default: `"pass"`.
//! - `keys`: the bind keys of devices that encrypt, 32 hexadecimal digits each, by the Bluetooth address. They stand in the config, where whoever reads
//!   that reads them: settings of plugins have no references to secrets. Default: none.
//! - `address`: a field of a JSON payload that has the device's address, by its path. Default: none; the messages' key, which is the device, is the
//!   address where it looks like one. An address within the service data goes before it.
//! - `keep`: fields of a JSON payload, by their names, that stand behind the others. Default: none.
//!
//! Fields are called as in the format: `temperature`, `dew_point` (°C), `humidity`, `moisture`, `battery` (%), `pressure` (hPa), `illuminance` (lux), `mass`
//! (kg), `mass_lb`, `energy` (kWh), `power` (W), `voltage`, `current`, `co2` (ppm), `pm2_5`, `pm10`, `tvoc` (µg/m³), `count`, `rotation`, `direction` (°),
//! `distance` (m), `duration` (s), `speed` (m/s), `acceleration` (m/s²), `gyroscope` (°/s), `rotational_speed` (rpm), `volume`, `volume_storage`, `water` (l),
//! `volume_flow_rate` (m³/h), `gas` (m³), `conductivity` (µS/cm), `precipitation` (mm), `uv_index`, `light_level`, `channel`, `timestamp` (seconds since 1970),
//! `text`, `raw` (in hexadecimal digits), `packet_id`, `settings_revision`, `device_type`, `firmware`. Those that are true or false have the format's names,
//! but where a number has them too: `power_on`, `battery_low`, `gas_detected`, `light_detected`, `moisture_detected`; and `unlocked`. `button` is `"press"`,
//! `"double_press"` and so on, `null` where nothing was done; `dimmer` has `event` and `steps`, `command` has `event` and `arguments`; an event without a
//! name is its number. What stands there more than once is numbered: `temperature_1`, `temperature_2`. Numbers have the digits of their type.
//!
//! Of a message that was encrypted stands its counter in `encryption_counter`: one that is sent again is known by it (`dedupe`), and by `packet_id`.
//! A device with a key that sends without encryption is rejected, and so is what cannot be decrypted.
//!
//! What stands behind an object that is not known is left out, as the format says, and counted in `unknown_objects`. What ends too early, has
//! nothing that is known, or is of another version rejects the message with the reason in words. What deletes a retained reading (an empty
//! payload) goes on.

mod objects;
mod sealed;

use std::collections::BTreeMap;

use tidegate_sdk::foreign::{Bytes, text};
use tidegate_sdk::json::{self, Found, Paths};
use tidegate_sdk::prelude::*;

use sealed::{Address, Keys};

settings! {
    /// The plugin's settings.
    pub struct Settings {
        /// The field that has the service data.
        pub field: Option<String>,
        /// How it stands there.
        pub input: Option<Form>,
        /// The field that has the service's UUID.
        pub uuid: Option<String>,
        /// What becomes of messages of other services.
        #[serde(default)]
        pub others: Others,
        /// Bind keys by address.
        #[serde(default)]
        pub keys: BTreeMap<String, Secret>,
        /// The field that has the address.
        pub address: Option<String>,
        /// Fields that stay.
        #[serde(default)]
        pub keep: Vec<String>,
    }
}

settings! {
    /// How bytes stand somewhere.
    #[derive(Copy, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Form {
        /// As they are.
        Bytes,
        /// By two digits each.
        Hex,
        /// In base64.
        Base64,
    }
}

settings! {
    /// What becomes of messages of other services.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Others {
        /// They go on as they are.
        #[default]
        Pass,
        /// They are filtered.
        Drop,
        /// They go to the dead letters.
        Reject,
    }
}

/// A bind key, which no debugging output shows.
#[derive(Clone, Deserialize)]
#[serde(crate = "tidegate_sdk::serde", transparent)]
pub struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a secret")
    }
}

/// Indices of paths of a JSON payload.
#[derive(Debug)]
struct Fields {
    data: usize,
    uuid: Option<usize>,
    address: Option<usize>,
}

/// The configured plugin.
#[derive(Debug)]
pub struct Bthome {
    paths: Paths,
    /// None where the payload is the service data.
    fields: Option<Fields>,
    form: Form,
    others: Others,
    keys: Keys,
    keep: Vec<String>,
}

/// A message: its service data, and who has sent it.
struct Sent {
    bytes: Vec<u8>,
    sender: Option<Address>,
}

impl Transform for Bthome {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        let mut paths = Paths::default();
        let mut add = |name: &str, path: &Option<String>| -> Result<Option<usize>> {
            let Some(path) = path else {
                return Ok(None);
            };
            let index = paths.add(path);
            Ok(Some(index.map_err(|error| format!("`{name}`: {error}"))?))
        };
        let data = add("field", &settings.field)?;
        let (uuid, address) = (
            add("uuid", &settings.uuid)?,
            add("address", &settings.address)?,
        );
        if data.is_none() && (uuid.is_some() || address.is_some() || !settings.keep.is_empty()) {
            return Err("`uuid`, `address` and `keep` name fields of JSON: set `field`, which has the service data".into());
        }
        let form = match (settings.input, data) {
            (Some(Form::Bytes), Some(_)) => {
                return Err("`input` is \"bytes\", which a `field` of JSON cannot have".into());
            }
            (Some(form), _) => form,
            (None, Some(_)) => Form::Hex,
            (None, None) => Form::Bytes,
        };
        let mut keys = Keys::default();
        for (device, Secret(key)) in &settings.keys {
            keys.add(device, key)?;
        }
        Ok(Self {
            paths,
            fields: data.map(|data| Fields {
                data,
                uuid,
                address,
            }),
            form,
            others: settings.others,
            keys,
            keep: settings.keep,
        })
    }

    fn process(&mut self, message: &Message<'_>, out: &mut Outputs<'_>) -> Result<()> {
        if message.is_delete() {
            out.pass();
            return Ok(());
        }
        let Some(sent) = self.sent(message)? else {
            match self.others {
                Others::Pass => out.pass(),
                Others::Drop => {}
                Others::Reject => return Err("payload is of another service than BTHome".into()),
            }
            return Ok(());
        };
        let opened = sealed::open(&sent.bytes, sent.sender, &self.keys)?;
        let mut is_cut = false;
        out.emit_with(|json| {
            json.push(b'{');
            let mut names = Vec::new();
            is_cut = objects::write(&opened.objects, json, &mut names)?;
            if let Some(count) = opened.counter {
                json.extend_from_slice(format!(",\"encryption_counter\":{count}").as_bytes());
                names.push("encryption_counter".to_owned());
            }
            self.write_kept(message.payload(), json, &names)?;
            json.push(b'}');
            Ok(())
        })?;
        if is_cut {
            counter("unknown_objects", 1);
        }
        Ok(())
    }
}

impl Bthome {
    /// What was sent; `None` where it is of another service.
    fn sent(&mut self, message: &Message<'_>) -> Result<Option<Sent>> {
        let by_key = sealed::address(message.key());
        let Some(fields) = &self.fields else {
            let bytes = match self.form {
                Form::Bytes => message.payload().to_vec(),
                form => read(form, message.text()?.trim())?,
            };
            return Ok(Some(Sent {
                bytes,
                sender: by_key,
            }));
        };
        let found = self.paths.find(message.payload())?;
        if let Some(uuid) = fields.uuid
            && !is_ours(&found, uuid)
        {
            return Ok(None);
        }
        let sender = match fields.address {
            None => by_key,
            Some(index) => {
                let written = text_at(&found, index)?;
                let known = sealed::address(&written);
                Some(known.ok_or_else(|| {
                    format!("field `{}` is no Bluetooth address", found.name(index))
                })?)
            }
        };
        let bytes = read(self.form, &text_at(&found, fields.data)?)?;
        Ok(Some(Sent { bytes, sender }))
    }

    fn write_kept(&self, payload: &[u8], json: &mut Vec<u8>, names: &[String]) -> Result<()> {
        if self.keep.is_empty() {
            return Ok(());
        }
        for member in json::members(payload)? {
            if !self.keep.iter().any(|name| *name == member.name) {
                continue;
            }
            if names.iter().any(|name| *name == member.name) {
                return Err(format!("payload has field `{}` twice", member.name).into());
            }
            json.push(b',');
            text(&member.name, json);
            json.push(b':');
            json.extend_from_slice(member.value.bytes());
        }
        Ok(())
    }
}

fn text_at(found: &Found<'_, '_>, index: usize) -> Result<String> {
    let value = found.require(index)?.text();
    let value = value.ok_or_else(|| format!("field `{}` is no text", found.name(index)))?;
    Ok(value.into_owned())
}

/// Whether a field has the UUID of BTHome: `fcd2`, `0xFCD2`, or its long form.
fn is_ours(found: &Found<'_, '_>, uuid: usize) -> bool {
    let Some(value) = found.value(uuid).and_then(json::Value::text) else {
        return false;
    };
    let value = value.to_ascii_lowercase();
    matches!(
        value.trim_start_matches("0x"),
        "fcd2" | "0000fcd2-0000-1000-8000-00805f9b34fb"
    )
}

fn read(form: Form, text: &str) -> Result<Vec<u8>> {
    let (bytes, what) = match form {
        Form::Base64 => (Bytes::Base64.read(text), "base64"),
        _ => (Bytes::Hex.read(text), "hexadecimal digits"),
    };
    bytes.ok_or_else(|| {
        let shown: String = text.chars().take(40).collect();
        format!("payload has no bytes in {what}: `{shown}`").into()
    })
}

tidegate_sdk::export!(Bthome);

#[cfg(test)]
mod tests;
