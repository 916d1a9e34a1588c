//! What a source tells the register of devices: who sent something, and what is said of whether he is there.

use std::sync::Arc;

use crate::clock::{Now, Uptime};
use crate::message::{DeviceBook, DeviceSign, Marks, Message, Pattern, Span};

/// What a broker has kept comes right behind a new subscription. What comes later with the mark of it was sent just now, by a
/// device that has its messages kept: MQTT 5 leaves the mark on both.
const KEPT_US: u64 = 5_000_000;

/// Where what is known of devices goes.
#[derive(Clone)]
pub struct DeviceWatch {
    /// The one that belongs to this source.
    pub book: Arc<dyn DeviceBook>,
    /// Topics by which it is told whether a device is there.
    pub status: Arc<[Pattern]>,
}

/// The same over the connections of one source.
pub(super) struct SourceWatch {
    watch: DeviceWatch,
    /// When the last connection was there.
    connected: Uptime,
}

impl SourceWatch {
    pub(super) fn of(watch: DeviceWatch) -> Self {
        Self {
            watch,
            connected: Now::read().uptime,
        }
    }

    /// A new connection stands: kept messages may come.
    pub(super) fn reconnected(&mut self) {
        self.connected = Now::read().uptime;
    }

    /// Notes it if `message` says whether a device is there; such a one is no message of the device.
    pub(super) fn is_status(&self, message: &Message) -> bool {
        let status = self.watch.status.iter();
        let Some(key) = status
            .filter_map(|pattern| pattern.matches(message.topic_str()))
            .next()
        else {
            return false;
        };
        if let Some(sign) = self.sign(message, key) {
            self.watch.book.told(sign, &message.payload);
        }
        true
    }

    /// Notes that the device which `key` names has sent `message`.
    pub(super) fn heard(&self, message: &Message, key: Span) {
        if let Some(sign) = self.sign(message, key) {
            self.watch.book.heard(sign);
        }
    }

    /// Of nobody where there is no key; what went out from here and came back is no device's word.
    fn sign<'m>(&self, message: &'m Message, key: Span) -> Option<DeviceSign<'m>> {
        let start = usize::from(key.offset);
        let device = message.topic.get(start..start + usize::from(key.len))?;
        if device.is_empty() || message.marks.rounds() > 0 {
            return None;
        }
        let marks = message.marks;
        let is_kept = marks.has(Marks::RETAIN) && message.uptime.us_since(self.connected) < KEPT_US;
        Some(DeviceSign {
            device,
            bytes: message.topic.len() + message.headers.len() + message.payload.len(),
            at: Now {
                wall: message.received,
                uptime: message.uptime,
            },
            is_live: !is_kept && !marks.has(Marks::DUPLICATE),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use bytes::Bytes;

    use super::*;
    use crate::message::Qos;

    /// Device, whether it was live, and what was told of it.
    type Noted = (String, bool, Option<String>);

    #[derive(Default)]
    struct Notes(Mutex<Vec<Noted>>);

    impl DeviceBook for Notes {
        fn heard(&self, sign: DeviceSign<'_>) {
            self.note(sign, None);
        }

        fn told(&self, sign: DeviceSign<'_>, payload: &[u8]) {
            self.note(sign, Some(String::from_utf8_lossy(payload).into_owned()));
        }
    }

    impl Notes {
        fn note(&self, sign: DeviceSign<'_>, told: Option<String>) {
            let device = String::from_utf8_lossy(sign.device).into_owned();
            self.0.lock().unwrap().push((device, sign.is_live, told));
        }
    }

    #[test]
    fn what_a_broker_kept_or_sends_again_is_no_sign_of_life_and_what_went_out_from_here_no_device()
    {
        let notes = Arc::<Notes>::default();
        let mut watch = SourceWatch::of(DeviceWatch {
            book: Arc::clone(&notes) as Arc<dyn DeviceBook>,
            status: [Pattern::parse("{device}/there").unwrap()].into(),
        });
        watch.connected = Uptime(1_000_000);
        let pattern = Pattern::parse("{device}/t").unwrap();
        let take = |topic: &'static str, marks: Marks, at_us: u64| {
            let message = Message {
                topic: Bytes::from_static(topic.as_bytes()),
                payload: Bytes::from_static(b"online"),
                uptime: Uptime(at_us),
                marks,
                ..Message::default()
            };
            if !watch.is_status(&message) {
                watch.heard(&message, pattern.matches(topic).unwrap());
            }
        };
        let plain = Marks::of(Qos::AtLeastOnce);
        take("d1/t", plain, 1_000_001);
        take("d2/t", plain.with(Marks::RETAIN, true), 1_000_001);
        take("d2/t", plain.with(Marks::RETAIN, true), 9_000_000);
        take("d3/t", plain.with(Marks::DUPLICATE, true), 9_000_000);
        take("d4/t", plain.after_rounds(1), 9_000_000);
        take("/t", plain, 9_000_000);
        take("d1/there", plain, 9_000_000);
        let noted = |device: &str, is_live, told: Option<&str>| {
            (device.to_owned(), is_live, told.map(str::to_owned))
        };
        assert_eq!(
            *notes.0.lock().unwrap(),
            [
                noted("d1", true, None),
                noted("d2", false, None),
                noted("d2", true, None),
                noted("d3", false, None),
                noted("d1", true, Some("online")),
            ]
        );
    }
}
